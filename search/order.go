package search

import (
	"strings"
)

// maxOrderItems is the number of sort keys an order may have.
const maxOrderItems = 100

// Item is one sort key. Where it is about a metric, Within limits the rows that count; nil limits nothing.
type Item struct {
	Identifier string
	Desc       bool
	Within     *Clause
}

// Key is one sort key of an order.
type Key struct {
	Clause       // the value
	Type    Type // of the value
	Desc    bool
	NotNull bool // the value is never null; otherwise nulls come last
	// Column tells that the value is a column of the entity itself, which an index may have in order.
	Column bool
}

// By is the key in a list of sort keys, where the value may have another name.
func (k Key) By(value string) string {
	direction := map[bool]string{false: " ASC", true: " DESC"}[k.Desc]
	if k.NotNull {
		return value + direction
	}
	return value + direction + " NULLS LAST"
}

// OrderBy returns the sort keys for order_by items such as "metrics.loss DESC", followed by the entity's own that make
// the order complete. Missing values come last in both directions, and before them metrics that are not a number.
func (s *Schema) OrderBy(d Dialect, items []string) ([]Key, error) {
	return s.orderBy(d, items, &joins{never: true})
}

func (s *Schema) orderBy(d Dialect, items []string, rows *joins) ([]Key, error) {
	parsed := make([]Item, len(items))
	if len(items) > maxOrderItems {
		return nil, errorf("Invalid order_by: it has %d items; at most %d are allowed", len(items), maxOrderItems)
	}
	for i, item := range items {
		var err error
		if parsed[i], err = parseItem(item); err != nil {
			return nil, err
		}
	}
	return s.order(d, parsed, rows, func() string { return list(items) })
}

// OrderByItems is [Schema.OrderBy] for items that come apart.
func (s *Schema) OrderByItems(d Dialect, items []Item) ([]Key, error) {
	names := make([]string, len(items))
	for i, item := range items {
		if err := CheckText("order_by", item.Identifier); err != nil {
			return nil, err
		}
		names[i] = item.Identifier
	}
	return s.order(d, items, &joins{never: true}, func() string { return list(names) })
}

// Sort is the list of the keys for ORDER BY.
func Sort(keys []Key) Clause {
	terms, args := make([]string, len(keys)), []any(nil)
	for i, k := range keys {
		terms[i] = k.By(k.SQL)
		args = append(args, k.Args...)
	}
	return Clause{SQL: strings.Join(terms, ", "), Args: args}
}

// parseItem reads `identifier [ASC|DESC]`.
func parseItem(item string) (Item, error) {
	if err := CheckText("order_by", item); err != nil {
		return Item{}, err
	}
	tokens := scan(item)
	unreadable := func(t token) error {
		return errorAt(item, t.pos, "Invalid order_by clause '"+item+"'. Could not be parsed.")
	}
	if tokens[0].kind != name {
		return Item{}, unreadable(tokens[0])
	}
	parsed := Item{Identifier: tokens[0].src}
	if tokens[1].kind == end {
		return parsed, nil
	}
	if tokens[1].kind != name || tokens[2].kind != end {
		return Item{}, unreadable(tokens[1])
	}
	switch strings.ToUpper(tokens[1].src) {
	case "ASC":
	case "DESC":
		parsed.Desc = true
	default:
		return Item{}, errorAt(item, tokens[1].pos, "Invalid ordering key in order_by clause '"+item+"'.")
	}
	return parsed, nil
}

// order makes the sort keys. Columns are told apart by their SQL and, where users make the keys, by the key.
func (s *Schema) order(d Dialect, items []Item, rows *joins, printed func() string) ([]Key, error) {
	if len(items) > maxOrderItems {
		return nil, errorf("Invalid order_by: it has %d items; at most %d are allowed", len(items), maxOrderItems)
	}
	type sortKey struct{ column, key string }
	seen := map[sortKey]bool{}
	var keys []Key
	terms := s.Ties
	if len(items) == 0 && s.Default != nil {
		terms = append(append([]Term(nil), s.Default...), s.Ties...)
	}
	for _, item := range items {
		identifier := item.Identifier
		id, message, names := s.resolve(identifier, true)
		if message != "" {
			return nil, errorAt(identifier, 0, message.fill(names...))
		}
		f := id.field
		k := sortKey{column: f.Column}
		if f.From != "" {
			k.column, k.key = f.From, id.key
		}
		if seen[k] && item.Within == nil {
			if s.RepeatedOrder {
				continue
			}
			return nil, errorf("`order_by` contains duplicate fields: %s", printed())
		}
		seen[k] = true
		if f.From == "" {
			keys = append(keys, Key{Clause{SQL: f.Column}, f.Type, item.Desc, f.NotNull, true})
			continue
		}
		if row := rows.row(f, id.key); row != nil && item.Within == nil {
			if len(keys) == 0 {
				rows.first = row
			}
			keys = append(keys, Key{Clause{SQL: row.field.sortColumn(d, item.Desc)}, f.Type, item.Desc, false, false})
			continue
		}
		args := []any{id.key}
		if item.Within != nil {
			args = append(args, item.Within.Args...)
		}
		keys = append(keys, Key{Clause{f.sortValue(d, item), args}, f.Type, item.Desc, false, false})
	}
	for _, t := range terms {
		if k := (sortKey{column: t.Column}); !seen[k] {
			seen[k] = true
			keys = append(keys, Key{Clause{SQL: t.Column}, t.Type, t.Desc, t.NotNull, true})
		}
	}
	return keys, nil
}

// sortColumn is the value in a row of From to sort by. What is not a number is an infinity that sorts after all numbers: stored
// numbers are finite.
func (f *Field) sortColumn(d Dialect, desc bool) string {
	if f.NaN == "" {
		return f.Column
	}
	infinity := map[Dialect]string{SQLite: "9e999", PostgreSQL: "CAST('Infinity' AS DOUBLE PRECISION)"}[d]
	if desc {
		infinity = "-" + infinity
	}
	return "CASE WHEN " + f.NaN + " THEN " + infinity + " ELSE " + f.Column + " END"
}

// sortValue is the subquery for the value of a key.
func (f *Field) sortValue(d Dialect, item Item) string {
	sql := "(SELECT " + f.sortColumn(d, item.Desc) + " FROM " + f.From + " AND " + f.KeyColumn + " = ?"
	if item.Within != nil {
		sql += " AND (" + item.Within.SQL + ")"
	}
	if f.Latest != "" {
		sql += " " + f.Latest
	}
	return sql + ")"
}

// list prints items as MLflow does: ['a', 'b'].
func list(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = Repr(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
