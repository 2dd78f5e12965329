package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"greenroom/search"
)

// rowReader reads many rows straight through the driver: database/sql and gorm take longer for them than the database.
type rowReader struct {
	s    *Store
	conn *sql.Conn
}

// readRows runs fn with a connection of its own and without a transaction: each of its queries sees what is committed then. A panic
// of fn is an error: it may run in a goroutine of its own, where a panic ends the process.
func (s *Store) readRows(ctx context.Context, fn func(rowReader) error) (err error) {
	defer recovered(&err)
	return explain(s.connected(ctx, s.read, func(db *gorm.DB) error {
		if conn, ok := db.Statement.ConnPool.(*sql.Conn); ok {
			return fn(rowReader{s, conn})
		}
		pool, err := db.DB()
		if err != nil {
			return err
		}
		conn, err := pool.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return fn(rowReader{s, conn})
	}))
}

// readSnapshot is readRows with one snapshot of the database for all queries.
func (s *Store) readSnapshot(ctx context.Context, fn func(rowReader) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if s.dialect == search.PostgreSQL {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return s.readRows(ctx, func(r rowReader) error {
		tx, err := r.conn.BeginTx(ctx, opts)
		if err != nil {
			return err
		}
		return errors.Join(orPanic(func() error { return fn(r) }), tx.Rollback())
	})
}

// orPanic makes a panic an error with its stack. It is called where a panic would leave a transaction behind: its connection,
// when it is closed, waits for the transaction to end.
func orPanic(fn func() error) (err error) {
	defer recovered(&err)
	return fn()
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// each scans the rows of a query into *string, *int64, *float64 and *bool, and calls row after each of them. The query's
// parameters are $1, $2, … on both databases.
func (r rowReader) each(ctx context.Context, query string, args, into []any, row func() error) error {
	return r.conn.Raw(func(conn any) (err error) {
		defer recovered(&err)
		switch conn := conn.(type) {
		case *stdlib.Conn:
			rows, err := conn.Conn().Query(ctx, query, args...)
			if err != nil {
				return err
			}
			return eachPostgresRow(rows, into, row)
		case *sqliteConn:
			named := make([]driver.NamedValue, len(args))
			for i, arg := range args {
				named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
			}
			rows, err := conn.QueryContext(ctx, query, named)
			if err != nil {
				return err
			}
			return eachSQLiteRow(ctx, rows, into, row)
		}
		return fmt.Errorf("no rows from a %T", conn)
	})
}

func eachPostgresRow(rows pgx.Rows, into []any, row func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}

func eachSQLiteRow(ctx context.Context, rows driver.Rows, into []any, row func() error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(into))
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil: // the driver looks at it before the first row only
			return ctx.Err()
		}
		for i, v := range values {
			if err := scanSQLite(v, into[i]); err != nil {
				return err
			}
		}
		if err := row(); err != nil {
			return err
		}
	}
}

// scanSQLite takes a value as SQLite keeps it: booleans are 0 and 1, and a whole number in a column of floats may be an integer.
func scanSQLite(v driver.Value, into any) error {
	switch v := v.(type) {
	case int64:
		switch into := into.(type) {
		case *int64:
			*into = v
			return nil
		case *float64:
			*into = float64(v)
			return nil
		case *bool:
			*into = v != 0
			return nil
		}
	case float64:
		if into, ok := into.(*float64); ok {
			*into = v
			return nil
		}
	case string:
		if into, ok := into.(*string); ok {
			*into = v
			return nil
		}
	}
	return fmt.Errorf("scan a %T of SQLite into a %T", v, into)
}
