package models

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"slices"
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
	scope   []any  // what rows depends on and the caller chose
	lead    *lead  // nil if there is none
	about   string // more columns, of subqueries about a row: the rows of a page alone are asked
}

// lead is a listing's way by the index that has the values of the first sort key in order.
type lead struct {
	*search.Lead
	rows *query // " FROM … WHERE …", as of the listing
	all  *query // the same of the entity alone
}

// part is a condition for some rows of a listing, which come before those of the next part.
type part struct {
	search.Clause
	lead bool // they are read by way of the lead
}

// row is a record that a search reads by itself.
type row[T any] interface {
	*T
	// columns are where the listing's columns go.
	columns() []any
}

// pickPage reads one page of a search by database/sql.
func pickPage[T any, R row[T]](t *tx, l listing, p Page) ([]R, error) {
	return readPage(t, l, p, func(q *query, add func(R, func() []any)) error {
		keys := make([]any, len(l.order))
		copied := func() []any { return slices.Clone(keys) }
		return t.each(q, func(row scanner) error {
			record := R(new(T))
			into := record.columns()
			for i := range keys {
				into = append(into, &keys[i])
			}
			if err := row.Scan(into...); err != nil {
				return err
			}
			add(record, copied)
			return nil
		})
	})
}

// readPage reads one page of a search, by as many queries as it has parts until the page is full. read runs one, and adds each row
// with what gives the values of its sort keys. A search too large for one statement is the user's mistake.
func readPage[R any](t *tx, l listing, p Page, read func(q *query, add func(row R, keys func() []any)) error) (found []R, err error) {
	limit, offset := p.Limit, p.Offset
	var after []any
	digest := ""
	if p.Cursor != nil {
		limit, offset = p.Limit+1, p.Cursor.Offset
		digest = l.digest(p)
		if p.Cursor.After != nil && p.Cursor.Search == digest {
			if after, err = p.Cursor.values(l.order); err != nil {
				return nil, err
			}
			offset = 0
		}
	}
	parts, err := l.parts(t, after, limit, offset)
	if err != nil {
		return nil, err
	}
	var last []any // the sort keys of the page's last row
	for _, part := range parts {
		if len(found) == limit {
			break
		}
		q := l.query(t.s.dialect, part, limit-len(found), offset)
		if err := q.check(); err != nil {
			return nil, err
		}
		err := read(q, func(row R, keys func() []any) {
			if found = append(found, row); len(found) == p.Limit {
				last = keys()
			}
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

// parts divides the rows after those with the sort keys given, or all.
func (l listing) parts(t *tx, after []any, limit, offset int) (parts []part, err error) {
	rest := []search.Clause{{}}
	if after != nil {
		rest = search.After(l.order, after)
	}
	if l.lead != nil && offset == 0 {
		near, far, err := l.lead.divide(t, after, limit)
		if err != nil {
			return nil, err
		}
		for _, c := range near {
			parts = append(parts, part{c, true})
		}
		for i, c := range rest {
			rest[i] = c.And(far)
		}
	}
	for _, c := range rest {
		parts = append(parts, part{c, false})
	}
	return parts, nil
}

// detour is how many rows of the index a search may read in vain for each row that it is to find, and how many there must be that
// it would read without the index.
const detour = 10

// divide gives the conditions for the rows that the lead is to find, and the one for all others. Of the index it takes a bounded part:
// the rows there may belong to others, or fail the filter.
func (l *lead) divide(t *tx, after []any, limit int) (near []search.Clause, far search.Clause, err error) {
	var from any
	places := []search.Clause{{}}
	if after != nil {
		value, ok := after[0].(float64)
		if !ok || math.IsInf(value, 0) {
			return nil, far, nil // past what the index has
		}
		from, places = value, search.After(l.Order, after)
	}
	reach := l.Reach(from, limit*detour)
	q := newQuery("SELECT (SELECT 1").add(l.all.text.String(), l.all.args...).add(" LIMIT 1 OFFSET ?), (", limit*detour).add(reach.SQL+")", reach.Args...)
	if err := q.check(); err != nil {
		return nil, far, err
	}
	var many, to any
	if err := t.each(q, func(row scanner) error { return row.Scan(&many, &to) }); err != nil || many == nil {
		return nil, far, err
	}
	for _, p := range places {
		near = append(near, p.And(l.Near(to)))
	}
	return near, l.Far(to), nil
}

// query selects columns and sort keys of the rows for which part holds, too, and then what is about them.
func (l listing) query(d search.Dialect, part part, limit, offset int) *query {
	if part.lead {
		l.rows, l.order = l.lead.rows, l.lead.Order
	}
	// SQLite finds the page's rows first, and then their columns: to sort, it would read those of all rows that match.
	byID := d == search.SQLite && (!l.order[0].Column || l.about != "")
	table, _, _ := strings.Cut(l.columns, ".")
	q := newQuery("SELECT " + l.columns)
	names, again := "", " ORDER BY "
	if byID {
		q = newQuery("SELECT " + table + ".rowid AS id")
	}
	by := make([]string, len(l.order))
	for i, k := range l.order {
		name := "key_" + strconv.Itoa(i)
		q.add(", ").add(k.SQL, k.Args...).add(" AS " + name)
		names += ", " + name
		if by[i] = k.By(name); k.Column {
			by[i] = k.By(k.SQL)
		}
		again += []string{"", ", "}[min(i, 1)] + k.By(name)
	}
	q.add(l.rows.text.String(), l.rows.args...)
	q.and(l.where).and(part.Clause).add(" ORDER BY "+strings.Join(by, ", ")).add(" LIMIT ? OFFSET ?", limit, offset)
	switch {
	case byID:
		again = ") AS page CROSS JOIN " + table + " ON " + table + ".rowid = page.id" + again
	case l.about != "":
		again = ") AS " + table + again
	default:
		return q
	}
	if l.about != "" {
		names += ", " + l.about
	}
	return newQuery("SELECT "+l.columns+names+" FROM (").add(q.text.String(), q.args...).add(again)
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

// check refuses a search that binds more.
func (q *query) check() error {
	n := 0
	for _, arg := range q.args {
		if list := reflect.ValueOf(arg); list.Kind() == reflect.Slice {
			n += list.Len()
		} else {
			n++
		}
	}
	if n > maxBound {
		return invalid("The search compares with %d values; at most %d are possible. Name fewer experiments or datasets, or shorten the filter.", n, maxBound)
	}
	return nil
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
