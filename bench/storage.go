package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// The engines, as in -databases and in the table.
const (
	sqlite   = "sqlite"
	postgres = "postgresql"
)

// storage is fresh storage for one server: a folder, and a database that nobody else uses.
type storage struct {
	engine string
	dir    string
	url    string // of the PostgreSQL database
}

// newStorage makes an empty database and a folder beside it.
func (e *env) newStorage(ctx context.Context, engine string) (storage, error) {
	dir, err := os.MkdirTemp(e.dir, engine+"-")
	if err != nil {
		return storage{}, err
	}
	s := storage{engine: engine, dir: dir}
	if engine == postgres {
		s.url, err = e.cluster.createDatabase(ctx)
	}
	return s, err
}

func (s storage) file() string { return filepath.Join(s.dir, "bench.db") }

// open connects to the database straight through the driver.
func (s storage) open(options string) (*sql.DB, error) {
	if s.engine == postgres {
		return sql.Open("pgx", s.url)
	}
	return sql.Open("sqlite", "file:"+s.file()+"?_pragma=busy_timeout(60000)"+options)
}

// rows are rows of one table.
type rows struct {
	table   string
	columns []string
	values  [][]any
}

// insert puts rows into the database behind the server's back, as fast as the engine takes them: all that parts yields in
// one transaction.
func (s storage) insert(ctx context.Context, parts iter.Seq[[]rows]) error {
	if s.engine == postgres {
		conn, err := pgx.Connect(ctx, s.url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx) //nolint:errcheck // after the commit there is nothing to lose
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for tables := range parts {
				for _, b := range tables {
					if _, err := tx.CopyFrom(ctx, pgx.Identifier{b.table}, b.columns, pgx.CopyFromRows(b.values)); err != nil {
						return fmt.Errorf("copy into %s: %w", b.table, err)
					}
				}
			}
			return nil
		})
	}
	// With room for the indexes, whose entries go anywhere, and without files for what a statement may have to take back.
	db, err := s.open("&_pragma=synchronous(OFF)&_pragma=cache_size(-1000000)&_pragma=temp_store(MEMORY)")
	if err != nil {
		return err
	}
	defer db.Close()
	return inTransaction(ctx, db, func(tx *sql.Tx) error {
		for tables := range parts {
			for _, b := range tables {
				if err := insertRows(ctx, tx, b); err != nil {
					return fmt.Errorf("insert into %s: %w", b.table, err)
				}
			}
		}
		return nil
	})
}

// together is one part for insert.
func together(tables ...rows) iter.Seq[[]rows] {
	return func(yield func([]rows) bool) { yield(tables) }
}

// settle does at once what PostgreSQL's autovacuum does within a minute, and would do while something is measured. SQLite
// does nothing of the kind by itself.
func (s storage) settle(ctx context.Context) error {
	if s.engine != postgres {
		return nil
	}
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM (ANALYZE)")
	return errors.Join(err, conn.Close(ctx))
}

// insertRows inserts a hundred rows with each statement.
func insertRows(ctx context.Context, tx *sql.Tx, b rows) error {
	const atOnce = 100
	full, err := tx.PrepareContext(ctx, insertStatement(b.table, b.columns, atOnce))
	if err != nil {
		return err
	}
	defer full.Close() //nolint:errcheck // nothing is left to lose
	args := make([]any, 0, atOnce*len(b.columns))
	for start := 0; start < len(b.values); start += atOnce {
		some := b.values[start:min(start+atOnce, len(b.values))]
		args = args[:0]
		for _, row := range some {
			args = append(args, row...)
		}
		if len(some) == atOnce {
			_, err = full.ExecContext(ctx, args...)
		} else {
			_, err = tx.ExecContext(ctx, insertStatement(b.table, b.columns, len(some)), args...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func insertStatement(table string, columns []string, n int) string {
	row := "(?" + strings.Repeat(", ?", len(columns)-1) + ")"
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES " + row + strings.Repeat(", "+row, n-1)
}
