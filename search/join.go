package search

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Query is a search: what follows the entity's table in FROM, the condition, and the order. Nothing is joined that would give a
// row of the entity twice.
type Query struct {
	Joins Clause
	Where Clause
	Order []Key
	// Lead is the same search, begun with what the first sort key is about; nil where no index has that in order.
	Lead *Lead
}

// Query is [Schema.Where] and [Schema.OrderBy] for one statement, which looks up once what both are about.
func (s *Schema) Query(d Dialect, filter string, orderBy []string) (q Query, err error) {
	rows := &joins{}
	if q.Where, err = s.where(d, filter, nil, rows); err != nil {
		return Query{}, err
	}
	if q.Order, err = s.orderBy(d, orderBy, rows); err != nil {
		return Query{}, err
	}
	rows.sort()
	q.Joins = rows.clause(d, nil, false)
	q.Lead = rows.lead(d, q.Order)
	return q, nil
}

// joins are the rows of other tables that a query joins.
type joins struct {
	rows  []*joined
	first *joined // what to sort by first; nil for a column of the entity
	never bool    // conditions stand for themselves
	// count is how many conditions are about other tables, joined or not.
	count int
}

// joined is the row of a field with a key.
type joined struct {
	field    *Field // as it is named here
	of       *Field // of the schema
	key      string
	filtered bool // rows of the entity without it are left out
	equal    bool // a filter asks for one value
}

// row finds the row of a field with a key, or adds it; nil where there is none, or too many are.
func (j *joins) row(f *Field, key string) *joined {
	if j.never || f.Row == "" {
		return nil
	}
	for _, r := range j.rows {
		if r.of.From == f.From && r.key == key {
			return r
		}
	}
	if j.count >= maxJoined {
		return nil
	}
	j.count++
	r := &joined{field: f.renamed("row_" + strconv.Itoa(len(j.rows))), of: f, key: key}
	j.rows = append(j.rows, r)
	return r
}

// sort puts the rows that a filter needs before those to sort by. SQLite takes them in this order, PostgreSQL in any.
func (j *joins) sort() {
	rank := func(r *joined) int {
		switch {
		case r.equal: // which most likely leaves out the most
			return 0
		case r.filtered:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(j.rows, func(a, b *joined) int { return cmp.Compare(rank(a), rank(b)) })
}

// clause joins the rows, but for one.
func (j *joins) clause(d Dialect, but *joined, nested bool) (c Clause) {
	for _, r := range j.rows {
		if r == but {
			continue
		}
		table, owner := r.field.table()
		c.SQL += joinOn(d, table, owner+" AND "+r.field.KeyColumn+" = ?", r.filtered, nested)
		c.Args = append(c.Args, r.key)
	}
	return c
}

// joinOn joins a table. Nested is that its rows are looked up for each row so far, whose order they then keep; SQLite does nothing else.
func joinOn(d Dialect, table, on string, inner, nested bool) string {
	kind := " JOIN "
	switch {
	case !inner:
		kind = " LEFT JOIN "
	case d == SQLite:
		kind = " CROSS JOIN "
	}
	if d == PostgreSQL && nested {
		name := table[strings.LastIndexByte(table, ' ')+1:]
		return kind + "LATERAL (SELECT " + name + ".* FROM " + table + " WHERE " + on + " OFFSET 0) AS " + name + " ON TRUE"
	}
	return kind + table + " ON " + on
}

// table is the table that the field's rows are in, and the condition for those of one row of the entity.
func (f *Field) table() (table, owner string) {
	table, owner, _ = strings.Cut(f.From, " WHERE ")
	return table, owner
}

// renamed is the field with another name for its row.
func (f *Field) renamed(row string) *Field {
	g := *f
	rename := strings.NewReplacer(" "+f.Row+" WHERE ", " "+row+" WHERE ", f.Row+".", row+".")
	for _, sql := range []*string{&g.Column, &g.From, &g.KeyColumn, &g.NaN} {
		*sql = rename.Replace(*sql)
	}
	g.Row = row
	return &g
}
