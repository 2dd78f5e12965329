package search

import (
	"math"
	"strings"
)

// Lead is a search that goes through the values of its first sort key in the order of an index, and so ends once it has found
// enough. It gives the rows of the entity that have such a value, which come before all others.
type Lead struct {
	// From is what follows FROM, the entity included.
	From Clause
	// Order are the sort keys of the query; the first is the indexed column.
	Order []Key

	first Key    // of the query
	table string // of the values
	part  Clause // of the index: a key's numbers
}

// lead is the search by way of the row to sort by first, if an index has its values in order.
func (j *joins) lead(d Dialect, order []Key) *Lead {
	if j.first == nil || j.first.field.Index == "" {
		return nil
	}
	f := j.first.field
	table, owner := f.table()
	own, id, _ := strings.Cut(owner, " = ")
	entity, _, _ := strings.Cut(id, ".")
	if d == SQLite {
		table += " INDEXED BY " + f.Index
	}
	others := j.clause(d, j.first, true) // before the entity: most filters leave out more than it does
	return &Lead{
		From:  Clause{table + strings.ReplaceAll(others.SQL, id, own) + joinOn(d, entity, owner, true, true), others.Args},
		Order: append([]Key{{Clause{SQL: f.Column}, f.Type, order[0].Desc, true, true}}, order[1:]...),
		first: order[0],
		table: table,
		part:  Clause{f.KeyColumn + " = ? AND " + f.NaN + " = FALSE", []any{j.first.key}},
	}
}

// Reach is a SELECT for the value n rows after the first, or after the first that does not come before from, whatever the filter
// says of them; for none, if there are fewer.
func (l *Lead) Reach(from any, n int) Clause {
	key, part := l.Order[0], l.part
	if from != nil {
		part = allOf(part, key.from(from))
	}
	return Clause{"SELECT " + key.SQL + " FROM " + l.table + " WHERE " + part.SQL + " ORDER BY " + key.By(key.SQL) + " LIMIT 1 OFFSET ?", append(part.Args[:len(part.Args):len(part.Args)], n)}
}

// Near is the condition for the rows that the lead finds before the value reach; nil for all.
func (l *Lead) Near(reach any) Clause {
	if reach == nil {
		return l.part
	}
	return allOf(l.part, l.Order[0].before(reach))
}

// Far is the condition for all rows of the query but those of Near.
func (l *Lead) Far(reach any) Clause {
	if reach == nil {
		reach = math.Inf(map[bool]int{false: 1, true: -1}[l.first.Desc]) // where what is not a number comes
	}
	return anyOf(l.first.from(reach), l.first.is(nil))
}

func (k Key) before(value any) Clause {
	return k.compare(map[bool]string{false: " < ", true: " > "}[k.Desc], value)
}

func (k Key) from(value any) Clause {
	return k.compare(map[bool]string{false: " >= ", true: " <= "}[k.Desc], value)
}
