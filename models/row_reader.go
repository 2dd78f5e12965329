package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"greenroom/panics"
	"greenroom/search"
)

// rowReader reads many rows straight through the driver: database/sql and gorm take longer for them than the database.
type rowReader struct {
	s    *Store
	conn *sql.Conn
}

// readRows runs fn with a connection of its own and without a transaction: each of its queries sees what is committed then. A panic
// of fn is an error: it may run in a goroutine of its own, where a panic ends the process.
func (s *Store) readRows(ctx context.Context, fn func(rowReader) error) error {
	return explain(panics.Caught(func() error {
		return s.connected(ctx, s.read, func(db *gorm.DB) error {
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
		})
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
		// Closing the connection would wait for the transaction that a panic leaves behind.
		return errors.Join(panics.Caught(func() error { return fn(r) }), tx.Rollback())
	})
}

// each scans the rows of a query into *string, *int64, *float64 and *bool, which are zero for null, or **string, and calls row
// after each of them. The query's parameters are $1, $2, … on both databases.
func (r rowReader) each(ctx context.Context, query string, args, into []any, row func() error) error {
	return r.rows(ctx, query, args, func(rows pgx.Rows) error {
		return eachPostgresRow(rows, into, row)
	}, func(rows driver.Rows) error {
		return eachSQLiteRow(ctx, rows, into, row)
	})
}

// rows asks a query and has its answer read as one driver or the other gives it. A panic of who reads is an error, so that the answer
// is closed: SQLite would go on showing its connection what it saw then.
func (r rowReader) rows(ctx context.Context, query string, args []any, postgres func(pgx.Rows) error, sqlite func(driver.Rows) error) error {
	return r.conn.Raw(func(conn any) error {
		switch conn := conn.(type) {
		case *stdlib.Conn:
			rows, err := conn.Conn().Query(ctx, query, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			return panics.Caught(func() error { return postgres(rows) })
		case *sqliteConn:
			named := make([]driver.NamedValue, len(args))
			for i, arg := range args {
				value, err := driver.DefaultParameterConverter.ConvertValue(arg)
				if err != nil {
					return err
				}
				named[i] = driver.NamedValue{Ordinal: i + 1, Value: value}
			}
			rows, err := conn.QueryContext(ctx, query, named)
			if err != nil {
				return err
			}
			return errors.Join(panics.Caught(func() error { return sqlite(rows) }), rows.Close())
		}
		return fmt.Errorf("no rows from a %T", conn)
	})
}

func eachPostgresRow(rows pgx.Rows, into []any, row func() error) error {
	defer rows.Close()
	var texts strings.Builder
	columns := rows.FieldDescriptions()
	for rows.Next() {
		for i, raw := range rows.RawValues() {
			if err := scanPostgres(raw, columns[i].Format, into[i], &texts); err != nil {
				return err
			}
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// textBlock is how many bytes of text are allocated at once.
const textBlock = 8 << 10

// keepText copies a text into a block that it shares with others.
func keepText(block *strings.Builder, raw []byte) string {
	if len(raw) > textBlock/8 {
		return string(raw)
	}
	if block.Cap()-block.Len() < len(raw) {
		*block = strings.Builder{} // the texts keep the full one
		block.Grow(textBlock)
	}
	start := block.Len()
	block.Write(raw)
	return block.String()[start:]
}

// scanPostgres takes a value in one of the forms in which PostgreSQL sends it: binary, but for a driver that is told to describe nothing.
func scanPostgres(raw []byte, format int16, into any, texts *strings.Builder) (err error) {
	binaryOf := func(size int) bool { return format == pgx.BinaryFormatCode && len(raw) == size }
	switch into := into.(type) {
	case *string:
		*into = keepText(texts, raw)
		return nil
	case **string:
		*into = nil
		if raw != nil {
			text := keepText(texts, raw)
			*into = &text
		}
		return nil
	case *int64:
		switch {
		case raw == nil:
			*into = 0
		case binaryOf(8):
			*into = int64(binary.BigEndian.Uint64(raw))
		case binaryOf(4):
			*into = int64(int32(binary.BigEndian.Uint32(raw)))
		default:
			*into, err = strconv.ParseInt(string(raw), 10, 64)
		}
		return err
	case *float64:
		switch {
		case raw == nil:
			*into = 0
		case binaryOf(8):
			*into = math.Float64frombits(binary.BigEndian.Uint64(raw))
		default:
			*into, err = strconv.ParseFloat(string(raw), 64)
		}
		return err
	case *bool:
		*into = len(raw) == 1 && (raw[0] == 1 || raw[0] == 't')
		return nil
	}
	return fmt.Errorf("scan a value of PostgreSQL into a %T", into)
}

func eachSQLiteRow(ctx context.Context, rows driver.Rows, into []any, row func() error) error {
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

// scanSQLite takes a value as SQLite keeps it: booleans are 0 and 1, a whole number in a column of floats may be an integer, and any
// column may hold a blob.
func scanSQLite(v driver.Value, into any) error {
	switch into := into.(type) {
	case *string:
		switch v := v.(type) {
		case string:
			*into = v
			return nil
		case []byte:
			*into = string(v)
			return nil
		case nil:
			*into = ""
			return nil
		}
	case **string:
		*into = nil
		if v == nil {
			return nil
		}
		*into = new(string)
		return scanSQLite(v, *into)
	case *int64:
		switch v := v.(type) {
		case int64:
			*into = v
			return nil
		case nil:
			*into = 0
			return nil
		}
	case *float64:
		switch v := v.(type) {
		case float64:
			*into = v
			return nil
		case int64:
			*into = float64(v)
			return nil
		case nil:
			*into = 0
			return nil
		}
	case *bool:
		switch v := v.(type) {
		case int64:
			*into = v != 0
			return nil
		case bool:
			*into = v
			return nil
		case nil:
			*into = false
			return nil
		}
	}
	return fmt.Errorf("scan a %T of SQLite into a %T", v, into)
}
