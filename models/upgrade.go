package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"greenroom/models/schema"
)

// Inspect tells what the database at uri holds. An SQLite file that does not exist is empty.
func Inspect(ctx context.Context, uri string) (schema.Status, error) {
	target, err := ParseURI(uri)
	if err != nil {
		return schema.Status{}, err
	}
	if target.Dialect == schema.SQLite {
		if _, err := os.Stat(target.Path); errors.Is(err, fs.ErrNotExist) {
			target.DSN = ":memory:"
		} else {
			target.DSN = "file:" + (&url.URL{Path: target.Path}).EscapedPath() + "?mode=rw&_pragma=busy_timeout(20000)"
		}
	}
	var status schema.Status
	err = withDatabase(target, func(db *sql.DB) error {
		status, err = schema.Inspect(ctx, db, target.Dialect)
		return err
	})
	return status, err
}

// Upgrade creates or upgrades the tables of the database at uri as Open does, except for experiment 0, which waits for a
// server that knows where artifacts go. It refuses what Open refuses (*schema.RefusedError).
func Upgrade(ctx context.Context, uri string) error {
	target, err := ParseURI(uri)
	if err != nil {
		return err
	}
	if err := target.makeFile(); err != nil {
		return err
	}
	return withDatabase(target, func(db *sql.DB) error {
		return schema.Migrate(ctx, db, target.Dialect, schema.Options{URI: target.String()})
	})
}

// makeFile makes a new SQLite file and its folder, for this user alone; SQLite gives its journals the same mode.
func (t Target) makeFile() error {
	if t.Dialect != schema.SQLite {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(t.Path), 0o700); err != nil {
		return fmt.Errorf("make the folder of the database: %w", err)
	}
	file, err := os.OpenFile(t.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return file.Close()
}

func withDatabase(target Target, f func(*sql.DB) error) error {
	driver := "sqlite"
	if target.Dialect == schema.PostgreSQL {
		driver = "pgx"
	}
	db, err := sql.Open(driver, target.DSN)
	if err == nil {
		err = f(db)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", target, err)
	}
	return nil
}
