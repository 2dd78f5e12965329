package models

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"greenroom/search"
)

// Page is the part of a search's result that is asked for.
type Page struct {
	Filter  string
	OrderBy []string
	Offset  int
	Limit   int
	// Cursor is where the page begins, in place of Offset; nil for none. The search moves it to the end of the page.
	Cursor *Cursor
}

// Cursor is a place in the result of a search. The zero Cursor is the beginning.
type Cursor struct {
	// Offset is how many rows are before the place.
	Offset int
	// After are the values of the sort keys, nil for null, of the row before the place. With them nobody's changes to other rows
	// make a search skip a row or give it twice; without them, or if Search is another one, the place is where Offset says.
	After []*string
	// Search is the digest of the search that After belongs to.
	Search string
	// More tells that rows come after the place.
	More bool
}

// listing is a search as SQL.
type listing struct {
	columns string // of a row
	rows    *query // " FROM … WHERE …": all that the caller may see
	where   search.Clause
	order   []search.Key
	scope   []any // what rows depends on and the caller chose
}

// row is a record that a search reads by itself.
type row[T any] interface {
	*T
	// columns are where the listing's columns go.
	columns() []any
}

// pickPage reads one page of a search, by one query or, where a page begins in the middle of an order with nulls and equal
// values, by up to three. A search too large for one statement is the user's mistake.
func pickPage[T any, R row[T]](t *tx, l listing, p Page) ([]R, error) {
	parts, limit, offset := []search.Clause{{}}, p.Limit, p.Offset
	digest := ""
	if p.Cursor != nil {
		limit, offset = p.Limit+1, p.Cursor.Offset
		digest = l.digest(p)
		if p.Cursor.After != nil && p.Cursor.Search == digest {
			values, err := p.Cursor.values(l.order)
			if err != nil {
				return nil, err
			}
			parts, offset = search.After(l.order, values), 0
		}
	}
	var found []R
	var last []any // the sort keys of the page's last row
	for _, part := range parts {
		if len(found) == limit {
			break
		}
		q := l.query(t.s.dialect, part, limit-len(found), offset)
		if n := q.bound(); n > maxBound {
			return nil, invalid("The search compares with %d values; at most %d are possible. Name fewer experiments or datasets, or shorten the filter.", n, maxBound)
		}
		keys := make([]any, len(l.order))
		err := t.each(q, func(rows *sql.Rows) error {
			record := R(new(T))
			into := record.columns()
			for i := range keys {
				into = append(into, &keys[i])
			}
			if err := rows.Scan(into...); err != nil {
				return err
			}
			if found = append(found, record); len(found) == p.Limit {
				last = append([]any(nil), keys...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if c := p.Cursor; c != nil {
		*c = Cursor{Offset: c.Offset + min(len(found), p.Limit), More: len(found) > p.Limit}
		if c.More {
			found = found[:p.Limit]
			c.remember(l.order, last, digest)
		}
	}
	return found, nil
}

// query selects columns and sort keys of the rows for which part holds, too.
func (l listing) query(d search.Dialect, part search.Clause, limit, offset int) *query {
	// SQLite finds the page's rows first, and then their columns: to sort, it would read those of all rows that match.
	byID := d == search.SQLite && !l.order[0].Column
	table, _, _ := strings.Cut(l.columns, ".")
	q := newQuery("SELECT " + l.columns)
	names, again := "", ""
	if byID {
		q = newQuery("SELECT " + table + ".rowid AS id")
	}
	by := make([]string, len(l.order))
	for i, k := range l.order {
		name := "key_" + strconv.Itoa(i)
		q.add(", ").add(k.SQL, k.Args...).add(" AS " + name)
		names += ", page." + name
		if by[i] = k.By(name); k.Column {
			by[i] = k.By(k.SQL)
		}
		again += ", " + k.By("page."+name)
	}
	q.add(l.rows.text.String(), l.rows.args...)
	q.and(l.where).and(part).add(" ORDER BY "+strings.Join(by, ", ")).add(" LIMIT ? OFFSET ?", limit, offset)
	if !byID {
		return q
	}
	return newQuery("SELECT "+l.columns+names+" FROM (").add(q.text.String(), q.args...).
		add(") AS page CROSS JOIN " + table + " ON " + table + ".rowid = page.id ORDER BY " + again[len(", "):])
}

// digest tells this search from others.
func (l listing) digest(p Page) string {
	text, err := json.Marshal([]any{l.columns, p.Filter, append([]string{}, p.OrderBy...), l.scope})
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func (c *Cursor) remember(order []search.Key, last []any, digest string) {
	after := make([]*string, len(order))
	for i, k := range order {
		if last[i] == nil {
			continue
		}
		text, ok := k.Type.FormatValue(last[i])
		if !ok {
			return
		}
		after[i] = &text
	}
	c.After, c.Search = after, digest
}

func (c *Cursor) values(order []search.Key) ([]any, error) {
	bad := invalid("Invalid page token: it does not fit the search.")
	if len(c.After) != len(order) {
		return nil, bad
	}
	values := make([]any, len(order))
	for i, k := range order {
		if c.After[i] == nil {
			continue
		}
		var ok bool
		if values[i], ok = k.Type.ParseValue(*c.After[i]); !ok {
			return nil, bad
		}
	}
	return values, nil
}

// maxBound is how many values one search binds. SQLite takes 32766, PostgreSQL 65535; gorm binds each of a list's.
const maxBound = 30_000

// bound is how many values the query binds.
func (q *query) bound() (n int) {
	for _, arg := range q.args {
		if list := reflect.ValueOf(arg); list.Kind() == reflect.Slice {
			n += list.Len()
		} else {
			n++
		}
	}
	return n
}

// orZero reads a column that may be null into p: the zero value then.
func orZero[T any](p *T) sql.Scanner { return zeroIfNull[T]{p} }

type zeroIfNull[T any] struct{ p *T }

func (z zeroIfNull[T]) Scan(src any) error {
	var value sql.Null[T]
	err := value.Scan(src)
	*z.p = value.V
	return err
}
