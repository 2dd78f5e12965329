// Package modelstest gives tests real databases of their own, on SQLite and on PostgreSQL. It never skips: a test that
// can not have PostgreSQL fails.
package modelstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"greenroom/auth"
	"greenroom/models/schema"
)

// ArtifactLocation is that of experiment 0 in the databases of this package.
const ArtifactLocation = "mlflow-artifacts:/0"

// Anyone is the test's context, in the name of somebody who may do everything.
func Anyone(t testing.TB) context.Context { return auth.With(t.Context(), auth.Anyone()) }

// Run runs a test on each kind of database; uri names a new one with MLflow's and Greenroom's tables and experiment 0.
func Run(t *testing.T, test func(t *testing.T, uri string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgresql", func(t *testing.T) { test(t, PostgreSQL(t)) })
}

// RunEmpty is Run on databases without any table.
func RunEmpty(t *testing.T, test func(t *testing.T, uri string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, EmptySQLite(t)) })
	t.Run("postgresql", func(t *testing.T) { test(t, EmptyPostgreSQL(t)) })
}

// EmptySQLite is the URI (sqlite:////…) of a file that does not exist yet.
func EmptySQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:///" + filepath.Join(t.TempDir(), "greenroom.db")
}

// SQLite is the URI of a new migrated SQLite file.
func SQLite(t testing.TB) string {
	t.Helper()
	content, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	uri := EmptySQLite(t)
	_, source, _ := Source(uri)
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return uri
}

// sqliteTemplate is the content of a migrated SQLite file, made once.
var sqliteTemplate = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "greenroom-test-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "template.db")
	if err := migrate("sqlite:///" + file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// Open opens a database of this package without any setting of its own, and closes it after the test.
func Open(t testing.TB, uri string) (*sql.DB, schema.Dialect) {
	t.Helper()
	driver, source, dialect := Source(uri)
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, dialect
}

// Source turns a URI of this package into what sql.Open takes.
func Source(uri string) (driver, source string, dialect schema.Dialect) {
	if file, ok := strings.CutPrefix(uri, "sqlite:///"); ok {
		return "sqlite", file, schema.SQLite
	}
	return "pgx", uri, schema.PostgreSQL
}

func migrate(uri string) error {
	driver, source, dialect := Source(uri)
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	err = schema.Migrate(context.Background(), db, dialect, schema.Options{ArtifactLocation: ArtifactLocation, URI: uri})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("migrate the template database: %w", err)
	}
	return nil
}
