package models

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"greenroom/models/modelstest"
)

// onBoth runs a test on a fresh store of each database.
func onBoth(t *testing.T, test func(t *testing.T, s *Store)) {
	modelstest.Run(t, func(t *testing.T, uri string) { test(t, open(t, uri)) })
}

func open(t testing.TB, uri string) *Store {
	t.Helper()
	return openWith(t, uri, Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: elsewhere})
}

// elsewhere are schemes that let a test have experiments and versions without files.
var elsewhere = []string{"s3", "gs", "dbfs", "wasbs"}

func openWith(t testing.TB, uri string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), uri, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wantError checks an error's code and the start of its message.
func wantError(t *testing.T, err error, code Code, prefix string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || !strings.HasPrefix(e.Message, prefix) {
		t.Errorf("got error %v, want %s: %s…", err, code, prefix)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestParseURI(t *testing.T) {
	for _, c := range []struct{ uri, dsn, shown, wrong string }{
		{uri: "sqlite:///a b.db", dsn: "file:a%20b.db?", shown: "sqlite:///a b.db"},
		{uri: "sqlite:////var/lib/x.db", dsn: "file:/var/lib/x.db?", shown: "sqlite:////var/lib/x.db"},
		{uri: "postgresql+psycopg2://u:p@h:5432/d", dsn: "postgresql://u:p@h:5432/d", shown: "postgresql://u:xxxxx@h:5432/d"},
		{uri: "postgresql://h/d?password=p&sslmode=disable&sslpassword=q", dsn: "postgresql://h/d?password=p&sslmode=disable", shown: "postgresql://h/d?password=xxxxx&sslmode=disable&sslpassword=xxxxx"},
		{uri: "postgres://h/d", dsn: "postgresql://h/d", shown: "postgresql://h/d"},
		{uri: "sqlite://", wrong: "names no file"},
		{uri: "sqlite:///:memory:", wrong: "names no file"},
		{uri: "mysql://h/d", wrong: "not supported"},
		{uri: "./mlruns", wrong: `"./mlruns" is not a database URI`},
		{uri: "postgresq://u:p@h/d", wrong: `"postgresq:…" is not a database URI`},
		{uri: "postgresql:/u:p@h/d", wrong: `"postgresql:…" is not a database URI`},
		{uri: "u:p@h/d", wrong: `"u:…" is not a database URI`},
	} {
		t.Run(c.uri, func(t *testing.T) {
			got, err := ParseURI(c.uri)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("got error %v, want …%s…", err, c.wrong)
				}
				return
			}
			if err != nil || !strings.HasPrefix(got.DSN, c.dsn) || got.String() != c.shown {
				t.Errorf("got %q (shown %q), %v; want %q…", got.DSN, got, err, c.dsn)
			}
		})
	}
}

func TestExplain_TheDatabaseIsAway(t *testing.T) {
	_, err := pgx.Connect(t.Context(), "postgresql://127.0.0.1:1/none")
	wantError(t, explain(err), TemporarilyUnavailable, "The database cannot take the request now; try again.")
}

func TestExplain_TheDatabaseGoesAway(t *testing.T) {
	s := open(t, modelstest.PostgreSQL(t))
	pool := must(s.write.DB())(t)
	conn := must(pool.Conn(t.Context()))(t)
	defer conn.Close()
	err := conn.Raw(func(c any) error {
		if err := c.(*stdlib.Conn).Conn().PgConn().Conn().Close(); err != nil {
			t.Error(err)
		}
		_, err := c.(*stdlib.Conn).Conn().Exec(t.Context(), "SELECT 1")
		wantError(t, explain(err), TemporarilyUnavailable, "The database cannot take the request now; try again.")
		_, err = c.(*stdlib.Conn).Conn().Exec(t.Context(), "SELECT 1")
		return err
	})
	wantError(t, explain(err), TemporarilyUnavailable, "The database cannot take the request now; try again.")
	for _, err := range []error{io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, driver.ErrBadConn} {
		wantError(t, explain(fmt.Errorf("query: %w", err)), TemporarilyUnavailable, "The database cannot take the request now; try again.")
	}
}

func TestExplain_AValueTooLongForItsColumn(t *testing.T) {
	s := open(t, modelstest.PostgreSQL(t))
	err := s.update(t.Context(), func(t *tx) error {
		_, err := t.exec("UPDATE experiments SET lifecycle_stage = repeat('x', 33)")
		return err
	})
	wantError(t, err, BadRequest, "The database refused a value of the request: value too long for type character varying(32)")
}
