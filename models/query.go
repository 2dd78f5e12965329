package models

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"greenroom/search"
)

// query is a SELECT that grows by clauses.
type query struct {
	text strings.Builder
	args []any
}

func newQuery(text string, args ...any) *query {
	q := &query{args: args}
	q.text.WriteString(text)
	return q
}

// and adds a condition; the query has a WHERE already.
func (q *query) and(c search.Clause) *query {
	if c.SQL == "" {
		return q
	}
	q.text.WriteString(" AND (")
	q.text.WriteString(c.SQL)
	q.text.WriteString(")")
	q.args = append(q.args, c.Args...)
	return q
}

// add appends SQL and the values for its placeholders.
func (q *query) add(text string, args ...any) *query {
	q.text.WriteString(text)
	q.args = append(q.args, args...)
	return q
}

// each runs a query and calls fn with each of its rows. PostgreSQL plans it for the values at hand: what users search for takes any
// shape, and a plan for all values of a shape is slow for most.
func (t *tx) each(q *query, fn func(scanner) error) error {
	text, args := q.plain(t.s.dialect)
	asked := question{text, args, fn}
	if p, together := t.Statement.ConnPool.(*pgTx); together {
		p.plan(true)
		p.queue(asked)
		return p.flush(t.Statement.Context)
	}
	return t.askNow(asked)
}

// plain is the query as a driver takes it: a list is a parameter for each of its values, and a parameter $1 on PostgreSQL. To SQLite
// that is a name, which it looks up among all others.
func (q *query) plain(d search.Dialect) (text string, args []any) {
	parts := strings.Split(q.text.String(), "?")
	var b strings.Builder
	bind := func(value any) {
		args = append(args, value)
		if d == search.PostgreSQL {
			fmt.Fprint(&b, "$", len(args))
		} else {
			b.WriteString("?")
		}
	}
	for i, part := range parts {
		b.WriteString(part)
		if i == len(q.args) {
			break
		}
		list := reflect.ValueOf(q.args[i])
		if list.Kind() != reflect.Slice {
			bind(q.args[i])
			continue
		}
		for j := range list.Len() {
			b.WriteString([]string{"(", ", "}[min(j, 1)])
			bind(list.Index(j).Interface())
		}
		b.WriteString(")")
	}
	return b.String(), args
}

// chunk bounds how many values one statement binds: SQLite takes 32766, PostgreSQL 65535.
const chunk = 5000

// eachChunk calls fn with all values, a bounded number at a time.
func eachChunk[T any](values []T, fn func([]T) error) error {
	for part := range slices.Chunk(values, chunk) {
		if err := fn(part); err != nil {
			return err
		}
	}
	return nil
}

// insertRows runs "INSERT INTO … VALUES (row), (row), …" + conflict for all rows, and tells how many rows came in. All values
// of a column have one type.
func (t *tx) insertRows(insert, row, conflict string, rows [][]any) (inserted int64, err error) {
	for len(rows) > 0 {
		n := t.insertable(len(rows))
		var some int64
		if t.s.dialect == search.PostgreSQL {
			arrays, types := arraysOf(rows[:n])
			some, err = t.execPlain(insert+" SELECT * FROM unnest("+types+") "+conflict, arrays...)
		} else {
			args := make([]any, 0, n*len(rows[0]))
			for _, r := range rows[:n] {
				args = append(args, r...)
			}
			some, err = t.execPlain(insert+" VALUES "+row+strings.Repeat(", "+row, n-1)+" "+conflict, args...)
		}
		if err != nil {
			return inserted, err
		}
		inserted += some
		rows = rows[n:]
	}
	return inserted, nil
}

// insertable is how many of so many rows one statement inserts. The database prepares each text once, so there are few: one
// for any number of rows on PostgreSQL, and one for each of three numbers on SQLite.
func (t *tx) insertable(rows int) int {
	switch {
	case t.s.dialect == search.PostgreSQL:
		return min(rows, 10_000)
	case rows >= 100:
		return 100
	case rows >= 10:
		return 10
	}
	return 1
}

// arraysOf gives rows as one array for each column, and PostgreSQL's types of these parameters.
func arraysOf(rows [][]any) (arrays []any, types string) {
	for i, first := range rows[0] {
		var array any
		var kind string
		switch first.(type) {
		case string:
			array, kind = arrayOf[string](rows, i), "text"
		case *string:
			array, kind = arrayOf[*string](rows, i), "text"
		case int64:
			array, kind = arrayOf[int64](rows, i), "bigint"
		case float64:
			array, kind = arrayOf[float64](rows, i), "double precision"
		case bool:
			array, kind = arrayOf[bool](rows, i), "boolean"
		default:
			panic(fmt.Sprintf("models: no array of %T", first))
		}
		arrays = append(arrays, array)
		types += fmt.Sprintf(", $%d::%s[]", i+1, kind)
	}
	return arrays, types[len(", "):]
}

func arrayOf[T any](rows [][]any, i int) []T {
	values := make([]T, len(rows))
	for j, r := range rows {
		values[j] = r[i].(T)
	}
	return values
}

// sortRows puts rows for insertRows into one order for all writers, by the texts and numbers at the places given: two
// transactions then lock rows in the same order, and never wait for each other.
func sortRows(rows [][]any, places ...int) {
	slices.SortFunc(rows, func(a, b []any) int {
		for _, i := range places {
			if n := compareValues(a[i], b[i]); n != 0 {
				return n
			}
		}
		return 0
	})
}

func compareValues(a, b any) int {
	switch a := a.(type) {
	case int64:
		return cmp.Compare(a, b.(int64))
	case float64:
		return cmp.Compare(a, b.(float64))
	default:
		return cmp.Compare(a.(string), b.(string))
	}
}

// upsertTags sets tags in a table with the columns key, value and one owner column. Keys are sorted, so that two transactions lock rows in the same order.
func (t *tx) upsertTags(table, ownerColumn string, owner any, tags []Tag) error {
	rows := make([][]any, 0, len(tags))
	for _, tag := range lastPerKey(tags) {
		rows = append(rows, []any{tag.Key, tag.Value, owner})
	}
	_, err := t.insertRows("INSERT INTO "+table+" (key, value, "+ownerColumn+")", "(?, ?, ?)",
		"ON CONFLICT (key, "+ownerColumn+") DO UPDATE SET value = excluded.value", rows)
	return err
}

// lastPerKey keeps the last tag given for each key, sorted by key.
func lastPerKey(tags []Tag) []Tag {
	last := make(map[string]string, len(tags))
	for _, t := range tags {
		last[t.Key] = t.Value
	}
	out := make([]Tag, 0, len(last))
	for k, v := range last {
		out = append(out, Tag{k, v})
	}
	slices.SortFunc(out, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
