package search

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits. They keep a filter within what both databases accept and a query within reason.
const (
	maxFilterBytes = 64 << 10
	maxClauses     = 500
	maxListValues  = 5000
	maxPattern     = 50_000 // bytes; SQLite refuses a longer pattern

	// maxJoined is how many conditions about other tables the planner may turn into joins. The time to plan grows with
	// their third power and more: 100 take seconds on PostgreSQL and on SQLite.
	maxJoined = 6
)

// Where returns the condition for a filter. For rows of the entity it is true or not true, never an error of the database.
func (s *Schema) Where(d Dialect, filter string) (Clause, error) {
	return s.WhereWithin(d, filter, nil)
}

// WhereWithin is [Schema.Where], where scoped fields count only the rows for which the clause within holds. If no
// comparison of the filter is about them, one such row must exist. A nil within limits nothing.
func (s *Schema) WhereWithin(d Dialect, filter string, within *Clause) (Clause, error) {
	return s.where(d, filter, within, &joins{never: true})
}

func (s *Schema) where(d Dialect, filter string, within *Clause, rows *joins) (Clause, error) {
	if err := CheckText("filter", filter); err != nil {
		return Clause{}, err
	}
	if filter != "" && strings.TrimSpace(filter) == "" {
		return Clause{}, errorAt(filter, 0, s.Blank.fill("filter", Repr(filter)))
	}
	tree, strays, statements := parse(filter)
	if statements > 1 {
		i := slices.IndexFunc(strays, func(t token) bool { return t.kind == semicolon })
		return Clause{}, errorAt(filter, strays[i].pos, s.ManyParts.fill("filter", Repr(filter)))
	}
	if len(strays) > 0 {
		return Clause{}, errorAt(filter, strays[0].pos, s.BadClause.fill("filter", Repr(filter), "clauses", sources(strays, ""), "quoted", sources(strays, "'")))
	}
	b := &builder{schema: s, dialect: d, filter: filter, within: within, rows: rows}
	conditions, err := b.expr(tree)
	if err != nil {
		return Clause{}, err
	}
	if within != nil && !b.scoped {
		conditions = append(conditions, b.inScope())
	}
	if s.Hidden != nil && !b.shown {
		conditions = append(conditions, Clause{SQL: s.Hidden.Without})
	}
	if len(conditions) == 0 {
		return Clause{}, nil
	}
	sql, args := &strings.Builder{}, []any(nil)
	for _, c := range conditions {
		args = append(args, c.Args...)
	}
	writeAnd(sql, conditions)
	return Clause{SQL: sql.String(), Args: args}, nil
}

// CheckText refuses, with an *Error, what is too long for a clause and what PostgreSQL takes in no text. The word what names it.
func CheckText(what, s string) error {
	switch {
	case len(s) > maxFilterBytes:
		return errorf("Invalid %s: it has %d bytes; at most %d are allowed", what, len(s), maxFilterBytes)
	case !utf8.ValidString(s):
		return errorf("Invalid %s: it is not valid UTF-8", what)
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return errorAt(s, i, "Invalid "+what+": it holds a NUL character")
	}
	return nil
}

// sources lists tokens as written, each between the quotes given.
func sources(tokens []token, quote string) string {
	parts := make([]string, len(tokens))
	for i, t := range tokens {
		parts[i] = quote + t.src + quote
	}
	return strings.Join(parts, ", ")
}

// writeAnd joins conditions by AND as a balanced tree: SQLite limits the depth of an expression.
func writeAnd(sql *strings.Builder, conditions []Clause) {
	if len(conditions) <= 8 {
		for i, c := range conditions {
			if i > 0 {
				sql.WriteString(" AND ")
			}
			sql.WriteString(c.SQL)
		}
		return
	}
	half := len(conditions) / 2
	sql.WriteString("(")
	writeAnd(sql, conditions[:half])
	sql.WriteString(") AND (")
	writeAnd(sql, conditions[half:])
	sql.WriteString(")")
}

// builder checks a parsed filter against a schema and makes its SQL.
type builder struct {
	schema  *Schema
	dialect Dialect
	filter  string
	within  *Clause

	scoped  bool // a comparison was about a scoped field
	marked  bool // a comparison was about the mark of hidden rows
	shown   bool // hidden rows are asked for
	clauses int
	rows    *joins
}

func (b *builder) expr(e expr) ([]Clause, error) {
	switch e := e.(type) {
	case *conjunction:
		var conditions []Clause
		for _, term := range e.terms {
			cs, err := b.expr(term)
			if err != nil {
				return nil, err
			}
			conditions = append(conditions, cs...)
		}
		return conditions, nil
	case *comparison:
		if b.clauses++; b.clauses > maxClauses {
			return nil, errorAt(b.filter, e.left.pos, "Invalid filter: at most "+strconv.Itoa(maxClauses)+" comparisons are allowed")
		}
		return b.comparison(e)
	}
	panic("search: unknown node")
}

// identifier is a resolved left side.
type identifier struct {
	group *Group
	key   string
	field *Field
}

// resolve finds the group and key an identifier means. The field is nil if the group has no such key.
func (s *Schema) resolve(src string, ordering bool) (identifier, Message, []string) {
	word, rest, dotted := cutKey(src)
	group := s.Bare
	if ordering && s.PlainOrder {
		rest, dotted = src, false
	}
	if dotted {
		if isQuoted(word, '`') {
			word = word[1 : len(word)-1]
		}
		if group = s.Groups[word]; group == nil {
			return identifier{}, s.BadGroup, []string{"group", word}
		}
	}
	id := identifier{group: group, key: key(rest), field: group.Any}
	if ordering && group.NoOrder != "" {
		return id, group.NoOrder, []string{"group", group.Name, "key", id.key}
	}
	if id.field != nil {
		return id, "", nil
	}
	fields := group.Fields
	if ordering {
		fields = group.Order
	}
	name := id.key
	if group.RawKeys && !ordering {
		name = rest
	}
	if id.field = fields[name]; id.field == nil {
		message := group.BadKey
		if ordering && s.BadOrder != "" {
			message = s.BadOrder
		}
		return id, message, []string{"key", name, "keys", setOfKeys(fields)}
	}
	return id, "", nil
}

func (b *builder) comparison(c *comparison) ([]Clause, error) {
	if c.left.kind != name && (c.left.kind != operation || !b.schema.LooseKeys) {
		return nil, errorAt(b.filter, c.left.pos, "Invalid comparison clause. Expected 'Identifier' found '"+c.left.src+
			"': put a key with special characters between backticks")
	}
	id, message, names := b.schema.resolve(c.left.src, false)
	if message != "" {
		return nil, errorAt(b.filter, c.left.pos, message.fill(names...))
	}
	f := id.field
	op := c.op
	if !b.schema.ExactOps {
		op = strings.ToUpper(strings.Join(strings.Fields(op), " "))
	}
	fail := func(pos int, m Message, value string) error {
		return errorAt(b.filter, pos, m.fill("group", id.group.Name, "key", id.key, "op", op, "value", value, "repr", Repr(value),
			"ops", set(f.Ops), "list", "('"+strings.Join(f.Ops, "', '")+"')", "filter", Repr(b.filter)))
	}
	allowed := slices.Contains(f.Ops, op)
	if c.nullTest() {
		if !allowed {
			return nil, fail(c.opPos, b.schema.BadNull, "")
		}
		exists := b.exists(f, id.key, Clause{})
		if op == "IS NULL" {
			exists.SQL = "NOT " + exists.SQL
		}
		return []Clause{exists}, nil
	}

	if b.schema.OpFirst && !allowed {
		return nil, fail(c.opPos, f.BadOp, c.src)
	}
	values, err := b.values(c, f, fail)
	if err != nil {
		return nil, err
	}
	if !allowed || c.isList != (op == "IN" || op == "NOT IN") {
		return nil, fail(c.opPos, f.BadOp, c.src)
	}
	for i, v := range values {
		t := c.right
		if c.isList {
			t = c.list[2*i]
		}
		if values[i], err = b.number(f, v, func(m Message, value string) error { return fail(t.pos, m, value) }); err != nil {
			return nil, err
		}
	}
	if op == "LIKE" || op == "ILIKE" {
		if p, ok := values[0].(string); ok && len(p) > maxPattern {
			return nil, errorAt(b.filter, c.right.pos, "Invalid pattern: at most "+strconv.Itoa(maxPattern)+" bytes are allowed")
		}
	}
	if h := b.schema.Hidden; h != nil && id.group == h.Group && id.key == h.Key {
		if text, ok := values[0].(string); !b.marked && ok {
			b.marked = true
			b.shown = h.ShowIf[op] != "" && strings.ToLower(text) == h.ShowIf[op]
		}
		if !b.shown {
			return nil, nil
		}
	}

	if row := b.rows.row(f, id.key); row != nil {
		row.filtered = true
		row.equal = row.equal || op == "="
		return []Clause{b.compare(row.field, op, values)}, nil
	}
	condition := b.compare(f, op, values)
	if f.From != "" {
		condition = b.exists(f, id.key, condition)
	}
	return []Clause{condition}, nil
}

// tuple prints a list of values as MLflow does: ('a', 1), or (1,).
func tuple(tokens []token) string {
	var parts []string
	for _, t := range tokens {
		if s, quoted := unquote(t.src); quoted {
			parts = append(parts, Repr(s))
		} else if t.kind != comma {
			parts = append(parts, t.src)
		}
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// literal is a value that has yet to become a number.
type literal struct {
	src  string
	kind kind
}

// values reads the right side of a comparison: a string for a text, a literal for a number.
func (b *builder) values(c *comparison, f *Field, fail func(int, Message, string) error) ([]any, error) {
	if c.isList {
		return b.listValues(c, f, fail)
	}
	t := c.right
	numeric := t.kind == integer || t.kind == decimal
	switch {
	case f.Type == Double, f.Type != Text && f.Literal == Bare:
		if !numeric {
			return nil, fail(t.pos, f.BadValue, c.src)
		}
		return []any{literal{t.src, t.kind}}, nil
	case numeric && f.Type != Text && f.Literal == Either:
		return []any{literal{t.src, t.kind}}, nil
	case numeric || t.kind == operation || t.kind == keyword:
		switch {
		case !f.BareText:
			return nil, fail(t.pos, f.BadValue, c.src)
		case f.Type != Text:
			return []any{literal{t.src, text}}, nil
		}
		return []any{t.src}, nil
	}
	s, quoted := unquote(t.src)
	if !quoted && !f.BareText {
		return nil, fail(t.pos, "Parameter value is either not quoted or unidentified quote types used for string value {value}. "+
			"Use either single or double quotes.", t.src)
	}
	if f.Type != Text {
		return []any{literal{s, text}}, nil
	}
	return []any{s}, nil
}

func (b *builder) listValues(c *comparison, f *Field, fail func(int, Message, string) error) ([]any, error) {
	switch {
	case f.NoList != "":
		return nil, fail(c.right.pos, f.NoList, c.src)
	case !slices.Contains(f.Ops, "IN"):
		return nil, fail(c.right.pos, f.BadValue, c.src)
	case len(c.list) == 0:
		return nil, fail(c.right.pos, "While parsing a list in the query, expected a non-empty list of string values, but got empty list", c.src)
	}
	var values []any
	for i, t := range c.list {
		if i%2 == 1 {
			if t.kind != comma {
				return nil, fail(t.pos, "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.", c.src)
			}
			continue
		}
		s, quoted := unquote(t.src)
		switch {
		case quoted && f.Type != Text:
			values = append(values, literal{s, text})
		case quoted:
			values = append(values, s)
		case t.kind == integer || t.kind == decimal:
			return nil, fail(t.pos, "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: {value}", tuple(c.list))
		default:
			return nil, fail(t.pos, "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.", c.src)
		}
	}
	if len(values) > maxListValues {
		return nil, fail(c.right.pos, Message("While parsing a list in the query, found more than "+strconv.Itoa(maxListValues)+" values"), c.src)
	}
	return values, nil
}

// number turns a literal into the number that the field's column is compared with: an int64 or a float64.
// Texts pass as they are.
func (b *builder) number(f *Field, v any, fail func(Message, string) error) (any, error) {
	l, ok := v.(literal)
	if !ok {
		return v, nil
	}
	if f.Type == Double || l.kind == decimal && !f.Whole {
		// out of range gives an infinity, which compares as it should
		n, _ := strconv.ParseFloat(l.src, 64)
		return n, nil
	}
	if n, ok := f.Names[l.src]; ok {
		return n, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(l.src), 10, 64)
	switch {
	case err != nil && l.kind == integer && !f.Whole:
		n, _ := strconv.ParseFloat(l.src, 64)
		return n, nil
	case err != nil && isInteger(l.src), err == nil && f.Type == Int32 && int64(int32(n)) != n:
		return nil, fail("Invalid value for numeric attribute '{key}': {value} is out of range", l.src)
	case err != nil:
		if l.kind == decimal && f.BadFraction != "" {
			return nil, fail(f.BadFraction, l.src)
		}
		return nil, fail(f.BadNumber, l.src)
	}
	return n, nil
}

func isInteger(s string) bool {
	s = strings.TrimPrefix(strings.TrimSpace(s), "-")
	return s != "" && span(s, digits) == len(s)
}

// compare is the condition on the field's column alone.
func (b *builder) compare(f *Field, op string, values []any) Clause {
	c := Clause{Args: values}
	switch op {
	case "IN", "NOT IN":
		c.SQL = f.Column + " " + op + " (?" + strings.Repeat(", ?", len(values)-1) + ")"
	case "LIKE":
		c.SQL = f.Column + " LIKE ?" + b.noEscape()
	case "ILIKE":
		if b.dialect == SQLite {
			c.SQL = "lower(" + f.Column + ") LIKE lower(?)"
		} else {
			c.SQL = f.Column + " ILIKE ?" + b.noEscape()
		}
	default:
		placeholder := "?"
		if n, ok := values[0].(float64); ok && f.Type != Double {
			placeholder = "CAST(? AS DOUBLE PRECISION)"
			if math.IsInf(n, 0) {
				c.Args = []any{math.Copysign(math.MaxFloat64, n)}
			}
		}
		c.SQL = f.Column + " " + op + " " + placeholder
	}
	switch {
	case f.NaN == "":
	case op == "!=":
		c.SQL = "(" + c.SQL + " OR " + f.NaN + ")"
	default:
		c.SQL += " AND NOT " + f.NaN
	}
	return c
}

// noEscape makes a backslash in a pattern an ordinary character, which it always is on SQLite.
func (b *builder) noEscape() string {
	if b.dialect == PostgreSQL {
		return " ESCAPE ''"
	}
	return ""
}

// exists is the condition that the field's table has a row with the key for which condition holds.
func (b *builder) exists(f *Field, key string, condition Clause) Clause {
	sql := "EXISTS (SELECT 1 FROM " + f.From
	var args []any
	if f.KeyColumn != "" {
		sql += " AND " + f.KeyColumn + " = ?"
		args = append(args, key)
	}
	if condition.SQL != "" {
		sql += " AND " + condition.SQL
		args = append(args, condition.Args...)
	}
	if f.Scoped {
		b.scoped = true
		if b.within != nil {
			sql += " AND (" + b.within.SQL + ")"
			args = append(args, b.within.Args...)
		}
	}
	if b.rows.count++; b.rows.count > maxJoined {
		sql += " LIMIT 1 OFFSET 0" // keeps either planner from making a join of it
	}
	return Clause{SQL: sql + ")", Args: args}
}

// inScope is the condition that some scoped field has a row within the scope.
func (b *builder) inScope() Clause {
	for _, g := range b.schema.Groups {
		if g.Any != nil && g.Any.Scoped {
			return Clause{SQL: "EXISTS (SELECT 1 FROM " + g.Any.From + " AND (" + b.within.SQL + "))", Args: b.within.Args}
		}
	}
	panic("search: the schema has no scoped field")
}
