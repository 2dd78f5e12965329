package models

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"greenroom/models/modelstest"
)

// shortSilence makes PostgreSQL be asked many times within a test.
const shortSilence = 20 * time.Millisecond

func openPool(t *testing.T, uri string) *sql.DB {
	t.Helper()
	pool := must(openPostgres(uri, shortSilence))(t)
	t.Cleanup(func() { pool.Close() })
	return pool
}

func TestPostgres_AStatementMayTakeItsTime(t *testing.T) {
	pool := openPool(t, modelstest.EmptyPostgreSQL(t))
	var slept int
	if err := pool.QueryRow("SELECT 7 FROM pg_sleep(0.5)").Scan(&slept); err != nil || slept != 7 {
		t.Errorf("got %d, %v", slept, err)
	}
}

func TestPostgres_AStatementMayBeLarge(t *testing.T) {
	pool := openPool(t, modelstest.EmptyPostgreSQL(t))
	text := bytes.Repeat([]byte("x"), 20<<20)
	var length int
	if err := pool.QueryRow("SELECT length($1::bytea)", text).Scan(&length); err != nil || length != len(text) {
		t.Errorf("got %d, %v", length, err)
	}
}

func TestPostgres_AWaitForALockIsWork(t *testing.T) {
	pool := openPool(t, modelstest.EmptyPostgreSQL(t))
	holder := must(pool.Begin())(t)
	if _, err := holder.Exec("SELECT pg_advisory_xact_lock(1)"); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := pool.Exec("SELECT pg_advisory_xact_lock(1)")
		waited <- err
	}()
	// Several times the silence, and the time that a verdict takes.
	if _, err := holder.Exec("SELECT pg_sleep(1.5)"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestPostgres_AConnectionThatIsHalfOpenIsGivenUp(t *testing.T) {
	proxy, uri := modelstest.NewProxy(t, modelstest.EmptyPostgreSQL(t))
	pool := openPool(t, uri)
	for _, c := range []struct {
		fact, statement string
		args            []any
		healed          bool
	}{
		{"nothing passes", "SELECT 1", nil, false},
		{"others pass", "SELECT 1", nil, true},
		{"a statement is sent", "SELECT length($1::bytea)", []any{bytes.Repeat([]byte("x"), 20<<20)}, true},
	} {
		t.Run(c.fact, func(t *testing.T) {
			proxy.Heal()
			conn := must(pool.Conn(t.Context()))(t)
			defer conn.Close()
			if err := conn.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			proxy.Stall()
			if c.healed {
				proxy.Heal()
			}
			if _, err := conn.ExecContext(t.Context(), c.statement, c.args...); !isDisconnect(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := pool.Exec("SELECT 1"); err != nil {
		t.Error(err)
	}
}

func TestPostgres_IdleConnectionsThatAreHalfOpenAreReplaced(t *testing.T) {
	proxy, uri := modelstest.NewProxy(t, modelstest.EmptyPostgreSQL(t))
	pool := openPool(t, uri)
	conns := make([]*sql.Conn, 5)
	for i := range conns {
		conns[i] = must(pool.Conn(t.Context()))(t)
	}
	for _, conn := range conns {
		err := conn.Raw(func(c any) error {
			socketOf(c.(*stdlib.Conn).Conn()).usedAt.Store(0)
			return nil
		})
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Stall()
	proxy.Heal()
	for range conns {
		if _, err := pool.Exec("SELECT 1"); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgres_ABrokenOffStatementEndsAtOnce(t *testing.T) {
	pool := openPool(t, modelstest.EmptyPostgreSQL(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*shortSilence)
	defer cancel()
	if _, err := pool.ExecContext(ctx, "SELECT pg_sleep(600)"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestUpdate_TellsToComeBackWhenAllConnectionsAreTaken(t *testing.T) {
	s := open(t, modelstest.PostgreSQL(t))
	pool := must(s.write.DB())(t)
	for range pgConns {
		defer must(pool.Conn(t.Context()))(t).Close()
	}
	err := s.update(modelstest.Anyone(t), func(*tx) error { return nil })
	wantError(t, err, TemporarilyUnavailable, "The server has no connection to the database to spare; try again.")
}

func TestUpdate_IsDoneOnceItsCommitWasAnswered(t *testing.T) {
	proxy, uri := modelstest.NewProxy(t, modelstest.EmptyPostgreSQL(t))
	s := open(t, uri)
	ctx := modelstest.Anyone(t)
	proxy.EndAfter("COMMIT\x00") // and so before PostgreSQL says that it is ready for more
	for range 2 {
		if _, err := s.CreateRun(ctx, NewRun{}); err != nil {
			t.Error(err)
		}
	}
	runs, err := s.SearchRuns(ctx, []int64{0}, ActiveOnly, Page{Limit: 10})
	if err != nil || len(runs) != 2 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
}
