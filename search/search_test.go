package search

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// things is a small vocabulary: attributes, numbers and tags, with hidden drafts.
func things() *Schema {
	text := &Field{Column: "things.name", Ops: []string{"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"}, NotNull: true, BadOp: "bad op {op} of {ops}", BadValue: "bad text {value}"}
	attributes := &Group{
		Name:   "attribute",
		BadKey: "no key {key} in {keys}",
		Fields: map[string]*Field{
			"name":  text,
			"size":  {Column: "things.size", Type: Int64, Ops: []string{"<", "=", ">"}, BadOp: "bad op {op}", BadValue: "bad number {value}", BadNumber: "not whole {value}"},
			"count": {Column: "things.count", Type: Int32, Literal: Either, Whole: true, BareText: true, Ops: []string{"="}, BadOp: "bad op {op}", BadNumber: "not whole {value}"},
		},
	}
	attributes.Order = attributes.Fields
	numbers := &Group{Name: "number", Any: &Field{
		Column: "n.value", From: "numbers n WHERE n.id = things.id", KeyColumn: "n.key", NaN: "n.is_nan", Scoped: true,
		Type: Double, Ops: []string{"<", ">", "!="}, BadOp: "bad op {op}", BadValue: "bad number {value}",
	}}
	tags := &Group{Name: "tag", NoOrder: "no order by {group}", Any: &Field{
		Column: "t.value", From: "tags t WHERE t.id = things.id", KeyColumn: "t.key",
		Ops: []string{"=", "!=", "LIKE", "IS NULL", "IS NOT NULL"}, BadOp: "bad op {op}", BadValue: "bad text {value}",
	}}
	return &Schema{
		Groups: map[string]*Group{"attribute": attributes, "number": numbers, "tag": tags}, Bare: attributes,
		Default: []Term{{Column: "things.size", Desc: true}},
		Ties:    []Term{{Column: "things.id", NotNull: true}},
		Hidden:  &Hidden{Group: tags, Key: "draft", ShowIf: map[string]string{"=": "yes"}, Without: "NOT EXISTS (drafts)"},
		Blank:   "blank", BadClause: "bad clauses {clauses}", ManyParts: "many parts", BadGroup: "no group {group}", BadNull: "no null {key}",
	}
}

func TestScanCutsAFilterIntoTokens(t *testing.T) {
	type tok struct {
		Kind kind
		Src  string
	}
	for _, c := range []struct {
		src  string
		want []tok
	}{
		{"", nil},
		{" \t\n", nil},
		{"metrics.loss>=-1.5", []tok{{name, "metrics.loss"}, {comparator, ">="}, {decimal, "-1.5"}}},
		{"a.`b c`.\"d e\"", []tok{{name, "a.`b c`.\"d e\""}}},
		{"12 .5 1. 1e-3 1_0 0x1F", []tok{{integer, "12"}, {decimal, ".5"}, {decimal, "1."}, {decimal, "1e-3"}, {name, "1_0"}, {other, "0x1F"}}},
		{"'it''s' 'a\\'b'", []tok{{text, "'it''s'"}, {text, "'a\\'b'"}}},
		{"'a\\' AND", []tok{{text, "'a\\'"}, {and, "AND"}}},
		{"'a''", []tok{{text, "'a'"}, {other, "'"}}},
		{"'open", []tok{{other, "'"}, {name, "open"}}},
		{"\"", []tok{{other, "\""}}},
		{"x not like y", []tok{{name, "x"}, {comparator, "not like"}, {name, "y"}}},
		{"not in (a,b);", []tok{{keyword, "not"}, {keyword, "in"}, {open, "("}, {name, "a"}, {comma, ","}, {name, "b"}, {closing, ")"}, {semicolon, ";"}}},
		{"f1-score tags.a/b", []tok{{operation, "f1-score"}, {operation, "tags.a/b"}}},
		{"and.x like.y", []tok{{name, "and.x"}, {name, "like.y"}}},
		{"a -- rest\nb", []tok{{name, "a"}, {other, "-- rest"}, {name, "b"}}},
		{"métrique = '🙂'", []tok{{name, "métrique"}, {comparator, "="}, {text, "'🙂'"}}},
		{"\xff", []tok{{other, "\xff"}}},
	} {
		var got []tok
		for _, s := range scan(c.src) {
			if s.kind != end {
				got = append(got, tok{s.kind, s.src})
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.src, diff)
		}
	}
}

func TestWhereMakesSQLWithArguments(t *testing.T) {
	const visible = "NOT EXISTS (drafts)"
	for _, c := range []struct {
		name    string
		dialect Dialect
		filter  string
		sql     string
		args    []any
	}{
		{"an empty filter only hides", SQLite, "", visible, nil},
		{"AND may be missing or too many", SQLite, "AND name = 'a' AND AND name != \"b\" name = 'c' and", "things.name = ? AND things.name != ? AND things.name = ? AND " + visible, []any{"a", "b", "c"}},
		{"LIKE on SQLite", SQLite, `name like 'a\b%'`, "things.name LIKE ? AND " + visible, []any{`a\b%`}},
		{"LIKE on PostgreSQL knows no escape", PostgreSQL, `name LIKE 'a\b%'`, "things.name LIKE ? ESCAPE '' AND " + visible, []any{`a\b%`}},
		{"ILIKE on SQLite", SQLite, "name ILIKE 'A'", "lower(things.name) LIKE lower(?) AND " + visible, []any{"A"}},
		{"ILIKE on PostgreSQL", PostgreSQL, "name ILIKE 'A'", "things.name ILIKE ? ESCAPE '' AND " + visible, []any{"A"}},
		{"IN", SQLite, "name IN ('a', \"b\",)", "things.name IN (?, ?) AND " + visible, []any{"a", "b"}},
		{"NOT IN", SQLite, "name not  in ('a')", "things.name NOT IN (?) AND " + visible, []any{"a"}},
		{"a whole number", SQLite, "size > 5", "things.size > ? AND " + visible, []any{int64(5)}},
		{"a fraction compared with a whole column", PostgreSQL, "size > 5.5", "things.size > CAST(? AS DOUBLE PRECISION) AND " + visible, []any{5.5}},
		{"a number beyond the column", PostgreSQL, "size < 99999999999999999999", "things.size < CAST(? AS DOUBLE PRECISION) AND " + visible, []any{1e20}},
		{"a quoted number", SQLite, "count = '7'", "things.count = ? AND " + visible, []any{int64(7)}},
		{"not a number is only unequal", SQLite, "number.x > 1 AND number.y != 2", "EXISTS (SELECT 1 FROM numbers n WHERE n.id = things.id AND n.key = ? AND n.value > ? AND NOT n.is_nan)" +
			" AND EXISTS (SELECT 1 FROM numbers n WHERE n.id = things.id AND n.key = ? AND (n.value != ? OR n.is_nan)) AND " + visible, []any{"x", 1.0, "y", 2.0}},
		{"keys are arguments", SQLite, "tag.`a' OR 1=1 --` = 'x'", "EXISTS (SELECT 1 FROM tags t WHERE t.id = things.id AND t.key = ? AND t.value = ?) AND " + visible, []any{"a' OR 1=1 --", "x"}},
		{"IS NULL", SQLite, "tag.a IS NULL", "NOT EXISTS (SELECT 1 FROM tags t WHERE t.id = things.id AND t.key = ?) AND " + visible, []any{"a"}},
		{"IS NOT NULL", SQLite, "tag.a is not null", "EXISTS (SELECT 1 FROM tags t WHERE t.id = things.id AND t.key = ?) AND " + visible, []any{"a"}},
		{"the mark shows what is hidden", SQLite, "tag.draft = 'YES'", "EXISTS (SELECT 1 FROM tags t WHERE t.id = things.id AND t.key = ? AND t.value = ?)", []any{"draft", "YES"}},
		{"the mark with another value says nothing", SQLite, "tag.draft != 'yes'", visible, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := things().Where(c.dialect, c.filter)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Clause{c.sql, c.args}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhereWithinLimitsScopedFields(t *testing.T) {
	within := &Clause{"n.place = ? OR n.place = ?", []any{"p", "q"}}
	for filter, want := range map[string]Clause{
		"number.x > 1": {"EXISTS (SELECT 1 FROM numbers n WHERE n.id = things.id AND n.key = ? AND n.value > ? AND NOT n.is_nan AND (n.place = ? OR n.place = ?)) AND NOT EXISTS (drafts)", []any{"x", 1.0, "p", "q"}},
		"name = 'a'":   {"things.name = ? AND EXISTS (SELECT 1 FROM numbers n WHERE n.id = things.id AND (n.place = ? OR n.place = ?)) AND NOT EXISTS (drafts)", []any{"a", "p", "q"}},
	} {
		got, err := things().WhereWithin(SQLite, filter, within)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filter, diff)
		}
	}
}

func TestWhereNamesTheMistakeAndItsPlace(t *testing.T) {
	for _, c := range []struct{ filter, message string }{
		{"  ", "blank (at position 1)"},
		{"name = 'a' OR name = 'b'", "bad clauses OR (at position 12)"},
		{"(name = 'a') name", "bad clauses (name = 'a'), name (at position 1)"},
		{"name = 'a';", "bad clauses ; (at position 11)"},
		{"name = 'a'; name = 'b'", "many parts (at position 11)"},
		{"name IN ('a'", "bad clauses name, IN, (, 'a' (at position 1)"},
		{"name = 'é' AND nope = 1", "no key nope in {'count', 'name', 'size'} (at position 16)"},
		{"x.y = 1", "no group x (at position 1)"},
		{"name > 'a'", "bad op > of {'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'} (at position 6)"},
		{"name = ('a')", "bad op = of {'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'} (at position 6)"},
		{"name = 1", "bad text 1 (at position 8)"},
		{"name = a", "Parameter value is either not quoted or unidentified quote types used for string value a. Use either single or double quotes. (at position 8)"},
		{"name IS NULL", "no null name (at position 6)"},
		{"name IN ()", "While parsing a list in the query, expected a non-empty list of string values, but got empty list (at position 9)"},
		{"name IN ('a' 'b')", "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list. (at position 14)"},
		{"name IN ('a', 1)", "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: ('a', 1) (at position 15)"},
		{"size = '5'", "bad number '5' (at position 8)"},
		{"count = 3000000000", "Invalid value for numeric attribute 'count': 3000000000 is out of range (at position 9)"},
		{"count = 'x'", "not whole x (at position 9)"},
		{"count = NULL", "not whole NULL (at position 9)"},
		{"count = 1.5", "not whole 1.5 (at position 9)"},
		{"number.f1-score > 1", "Invalid comparison clause. Expected 'Identifier' found 'number.f1-score': put a key with special characters between backticks (at position 1)"},
		{"name = 'a\x00b'", "Invalid filter: it holds a NUL character (at position 10)"},
		{"name = '\xff'", "Invalid filter: it is not valid UTF-8"},
		{strings.Repeat("x", 70_000), "Invalid filter: it has 70000 bytes; at most 65536 are allowed"},
		{strings.Repeat("name='a' ", 501), "Invalid filter: at most 500 comparisons are allowed (at position 4501)"},
		{"name LIKE '" + strings.Repeat("x", 50_001) + "'", "Invalid pattern: at most 50000 bytes are allowed (at position 11)"},
	} {
		_, err := things().Where(SQLite, c.filter)
		var mistake *Error
		if !errors.As(err, &mistake) || mistake.Message != c.message {
			t.Errorf("%.60q: got %v, want %s", c.filter, err, c.message)
		}
	}
}

func TestOrderByEndsWithATie(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect Dialect
		items   []string
		sql     string
		args    []any
	}{
		{"none", SQLite, nil, "things.size DESC NULLS LAST, things.id ASC", nil},
		{"attributes", SQLite, []string{"name desc", "attribute.size"}, "things.name DESC, things.size ASC NULLS LAST, things.id ASC", nil},
		{"not a number comes after numbers", SQLite, []string{"number.`a b`"}, "(SELECT CASE WHEN n.is_nan THEN 9e999 ELSE n.value END FROM numbers n WHERE n.id = things.id AND n.key = ?) ASC NULLS LAST, things.id ASC", []any{"a b"}},
		{"in both directions", PostgreSQL, []string{"number.x DESC"}, "(SELECT CASE WHEN n.is_nan THEN -CAST('Infinity' AS DOUBLE PRECISION) ELSE n.value END FROM numbers n WHERE n.id = things.id AND n.key = ?) DESC NULLS LAST, things.id ASC", []any{"x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := things().OrderBy(c.dialect, c.items)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Clause{c.sql, c.args}, Sort(keys)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOrderByNamesTheMistake(t *testing.T) {
	for _, c := range []struct {
		items   []string
		message string
	}{
		{[]string{""}, "Invalid order_by clause ''. Could not be parsed. (at position 1)"},
		{[]string{"name, size"}, "Invalid order_by clause 'name, size'. Could not be parsed. (at position 5)"},
		{[]string{"name up"}, "Invalid ordering key in order_by clause 'name up'. (at position 6)"},
		{[]string{"nope"}, "no key nope in {'count', 'name', 'size'} (at position 1)"},
		{[]string{"tag.x"}, "no order by tag (at position 1)"},
		{[]string{"name", "name DESC"}, "`order_by` contains duplicate fields: ['name', 'name DESC']"},
		{make([]string, 101), "Invalid order_by: it has 101 items; at most 100 are allowed"},
		{[]string{"number.`\x00`"}, "Invalid order_by: it holds a NUL character (at position 9)"},
	} {
		_, err := things().OrderBy(SQLite, c.items)
		var mistake *Error
		if !errors.As(err, &mistake) || mistake.Message != c.message {
			t.Errorf("%.60q: got %v, want %s", c.items, err, c.message)
		}
	}
}

func TestWhereIsLinear(t *testing.T) {
	for _, piece := range []string{"(", ")", "'", "\"", "`", "''", "\\'", "a.", "a-", "(a", "a in (", "not ", "1e", "--", "a=1;", "é"} {
		filter := strings.Repeat(piece, maxFilterBytes/len(piece))
		start := time.Now()
		if _, err := things().Where(SQLite, filter); err == nil {
			t.Errorf("%q repeated is accepted", piece)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%q repeated takes %v", piece, took)
		}
	}
}

// seeds are filters of every sort of clause.
var seeds = []string{
	"", " ", "name = 'a'", "size > 1.5 AND count = '7'", "number.`a b` != 1e999", "tag.\"x\" IS NOT NULL", "name NOT IN ('a', \"b\",)", "name ILIKE '%it''s%'",
	"tag.draft = 'yes'", "a OR b", "((", "'", "name = 'a'; name = 'b'", "number.f1-score > 0x10", "name DESC", "number.x asc", "é.`", "NOT LIKE", "tag.a RLIKE 'x'", "name = NULL", "size < 99999999999999999999",
}

// checkAnswer fails unless the clause has an argument for each placeholder, or the error is the user's.
func checkAnswer(t *testing.T, c Clause, err error) {
	t.Helper()
	var mistake *Error
	switch {
	case err != nil && !errors.As(err, &mistake):
		t.Errorf("the error is no *Error: %v", err)
	case err == nil && strings.Count(c.SQL, "?") != len(c.Args):
		t.Errorf("%d arguments for %s", len(c.Args), c.SQL)
	}
}

func FuzzWhere(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	schema := things()
	within := &Clause{"n.place = ?", []any{"p"}}
	f.Fuzz(func(t *testing.T, filter string) {
		for _, d := range []Dialect{SQLite, PostgreSQL} {
			c, err := schema.Where(d, filter)
			checkAnswer(t, c, err)
			c, err = schema.WhereWithin(d, filter, within)
			checkAnswer(t, c, err)
		}
	})
}

func FuzzOrderBy(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, "name DESC")
	}
	schema := things()
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, d := range []Dialect{SQLite, PostgreSQL} {
			keys, err := schema.OrderBy(d, []string{first, second})
			checkAnswer(t, Sort(keys), err)
			keys, err = schema.OrderByItems(d, []Item{{Identifier: first, Within: &Clause{"n.place = ?", []any{"p"}}}, {Identifier: second, Desc: true}})
			checkAnswer(t, Sort(keys), err)
		}
	})
}
