package models

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"greenroom/search"
)

// record is one row of many columns as its driver has it, good until the next one is read: to scan takes longer, column by column.
// It is of texts and whole numbers, and false is for null.
type record interface {
	text(column int) (string, bool)
	number(column int) (int64, bool)
}

// records calls fn with each row of a query, whose parameters are $1, $2, … on PostgreSQL and ? on SQLite.
func (r rowReader) records(ctx context.Context, query string, args []any, fn func(record) error) error {
	return r.rows(ctx, query, args, func(rows pgx.Rows) error { return eachPostgresRecord(rows, fn) }, func(rows driver.Rows) error { return eachSQLiteRecord(rows, fn) })
}

func eachPostgresRecord(rows pgx.Rows, fn func(record) error) error {
	r := &pgRecord{}
	for rows.Next() {
		r.fields, r.values = rows.FieldDescriptions(), rows.RawValues()
		if err := fn(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

type pgRecord struct {
	fields []pgconn.FieldDescription
	values [][]byte
}

// text is of a column whose text and binary forms are the same.
func (r *pgRecord) text(column int) (string, bool) {
	v := r.values[column]
	return string(v), v != nil
}

func (r *pgRecord) number(column int) (int64, bool) {
	v := r.values[column]
	if r.fields[column].Format == pgx.BinaryFormatCode {
		switch len(v) {
		case 4:
			return int64(int32(binary.BigEndian.Uint32(v))), true
		case 8:
			return int64(binary.BigEndian.Uint64(v)), true
		}
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

func eachSQLiteRecord(rows driver.Rows, fn func(record) error) error {
	values := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(sqliteRecord(values))
		}
		if err != nil {
			return err
		}
	}
}

type sqliteRecord []driver.Value

func (r sqliteRecord) text(column int) (string, bool) {
	var text string
	err := scanSQLite(r[column], &text)
	return text, err == nil && r[column] != nil
}

func (r sqliteRecord) number(column int) (int64, bool) {
	n, ok := r[column].(int64)
	return n, ok
}

// jsonRecord is a row that comes as one JSON array: the JSON of each of its elements.
type jsonRecord []string

// splitJSON splits an array as the databases write it, which are trusted to write JSON. There is nothing in null and "".
func splitJSON(array string) (r jsonRecord, err error) {
	if array == "" || array == "null" || array == "[]" {
		return nil, nil
	}
	r = make(jsonRecord, 0, min(1+strings.Count(array, ","), 16))
	depth, begin := 0, 0
	for i := 0; i < len(array); i++ {
		switch array[i] {
		case '"':
			for i++; i < len(array) && array[i] != '"'; i++ {
				if array[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth == 1 {
				begin = i + 1
			}
		case ',', ']', '}':
			if depth == 1 {
				r = append(r, strings.TrimSpace(array[begin:i]))
				begin = i + 1
			}
			if array[i] != ',' {
				depth--
			}
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("read %d bytes of JSON: the array has no end", len(array))
	}
	return r, nil
}

func (r jsonRecord) text(column int) (string, bool) {
	v := r[column]
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	if strings.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1], true
	}
	var text string
	err := json.Unmarshal([]byte(v), &text)
	return text, err == nil
}

func (r jsonRecord) number(column int) (int64, bool) {
	n, err := strconv.ParseInt(r[column], 10, 64)
	return n, err == nil
}

// sortKeys are the values of columns from first on, by which rows are sorted: texts, whole numbers and nulls.
func sortKeys(r record, first int, order []search.Key) []any {
	keys := make([]any, len(order))
	for i, k := range order {
		if k.Type == search.Text {
			if text, ok := r.text(first + i); ok {
				keys[i] = text
			}
		} else if n, ok := r.number(first + i); ok {
			keys[i] = n
		}
	}
	return keys
}
