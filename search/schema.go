package search

// Dialect is the database the SQL text is for.
type Dialect int

// The databases served. On SQLite every connection must have run PRAGMA case_sensitive_like = ON.
const (
	SQLite Dialect = iota
	PostgreSQL
)

// Clause is a piece of SQL: a condition or a list of sort keys, without the word WHERE or ORDER BY. SQL has one ? for each
// of Args, in order, and no other question mark. An empty SQL asks for nothing.
type Clause struct {
	SQL  string
	Args []any
}

// And holds where both clauses do; an empty one asks for nothing.
func (c Clause) And(other Clause) Clause {
	switch {
	case c.SQL == "":
		return other
	case other.SQL == "":
		return c
	}
	return allOf(c, other)
}

// Schema is the search vocabulary of one entity. It is read only and safe for concurrent use.
type Schema struct {
	// Groups are what may stand before the dot, by each of its names: "metric" and "metrics" lead to the same Group.
	Groups map[string]*Group
	// Bare is the group of a key without a dot.
	Bare *Group
	// ExactOps makes LIKE, ILIKE and IN count only in capitals.
	ExactOps bool
	// OpFirst reports a bad comparator rather than a bad value, if both are.
	OpFirst bool
	// LooseKeys takes keys with operator characters in them, such as f1-score, without backticks.
	LooseKeys bool
	// PlainOrder takes sort keys whole, with their dot, and knows only those of Bare.
	PlainOrder bool
	// Default is the order when the user asks for none.
	Default []Term
	// Ties are the sort keys appended to any order, so that pages never overlap.
	Ties []Term
	// RepeatedOrder lets an order name the same field twice; the second has no effect.
	RepeatedOrder bool
	// Hidden are rows left out unless the filter asks for them; nil for none.
	Hidden *Hidden

	// Wording. {clauses}: what could not be read; {quoted}: the same, each in quotes; {filter}: the filter in quotes.
	Blank     Message // nothing but spaces
	BadClause Message
	ManyParts Message // more than one statement
	BadGroup  Message // {group}
	BadNull   Message // {group}, {key}: IS NULL where it means nothing
	BadOrder  Message // {key}, {keys}: a key that cannot be sorted by; empty: as for a filter
}

// Group is one sort of things to search by: attributes, metrics, params, tags, datasets.
type Group struct {
	// Name is the group in messages.
	Name string
	// Fields are the keys that may be filtered by; nil if the group has any key, see Any.
	Fields map[string]*Field
	// Any is the field of all keys in a group whose keys the users make.
	Any *Field
	// Order are the keys that may be sorted by, when they are not any key.
	Order map[string]*Field
	// RawKeys looks up keys with their quotes and backticks, so that quoted ones are unknown.
	RawKeys bool

	BadKey  Message // {key}, {keys}: not in Fields
	NoOrder Message // {group}, {key}: the group cannot be sorted by; empty: it can
}

// Type is what a Field's column holds and how its values are written.
type Type int

const (
	// Text is written in quotes.
	Text Type = iota
	// Double is a number, written without quotes.
	Double
	// Int32 is a whole number in a column of 32 bits; how it is written is up to Field.Literal.
	Int32
	// Int64 is the same in 64 bits.
	Int64
)

// Literal is how whole numbers are written.
type Literal int

const (
	// Bare is without quotes.
	Bare Literal = iota
	// Quoted is in quotes.
	Quoted
	// Either is with or without.
	Either
)

// Field is one thing to search by. SQL texts in it hold no question mark.
type Field struct {
	// Column is the value, such as "runs.status" or "t.value".
	Column string
	// From is set for values in rows of another table: "tags t WHERE t.run_uuid = runs.run_uuid".
	From string
	// Row is set where From has one row with a key at the most: the name of the row, "t", which nothing else in these texts ends with.
	Row string
	// KeyColumn is the column in From that equals the key of the user.
	KeyColumn string
	// NaN is the column in From that is true if the value is not a number; empty if there is none.
	NaN string
	// Index is the name of an index on KeyColumn and Column of the rows where NaN is false; empty if there is none.
	Index string
	// Latest picks one row of From to sort by, if there can be several: "ORDER BY … LIMIT 1".
	Latest string
	// Scoped limits From by the clause given to WhereWithin.
	Scoped bool

	Type    Type
	Literal Literal
	// Whole refuses numbers with a fraction.
	Whole bool
	// BareText takes an unquoted value as text.
	BareText bool
	// Names are words that stand for a whole number.
	Names map[string]int64
	// Ops are the comparators that may be used, in capitals: "=", "LIKE", "NOT IN", "IS NULL", …
	Ops []string
	// NotNull tells that Column is never null.
	NotNull bool

	// Wording. {group}, {key}, {value} as written, {repr} the value in quotes, {op}, {ops}, the
	// same in the order of Ops {list}, {filter} in quotes.
	BadValue    Message // a value of the wrong sort
	NoList      Message // set for fields that take no list although Ops, which messages print, has IN
	BadOp       Message
	BadNumber   Message // not a whole number
	BadFraction Message // a number with a fraction; empty: BadNumber
}

// Term is a sort key of the Schema's own.
type Term struct {
	Column  string
	Type    Type
	Desc    bool
	NotNull bool
}

// Hidden are rows with a mark that searches leave out. A comparison with the mark decides about showing them; it is then
// an ordinary comparison if they are shown, and otherwise none, so that rows without the mark stay.
type Hidden struct {
	// Group and Key name the mark in a filter.
	Group *Group
	Key   string
	// ShowIf are the values, lower case, that ask for the rows, by comparator: {"=": "true", "!=": "false"}.
	ShowIf map[string]string
	// Without is the condition for rows without the mark.
	Without string
}
