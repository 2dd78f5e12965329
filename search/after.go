package search

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// After returns the conditions for the rows that come, in the order of the keys, after the row that has the values given:
// nil for null, else what the key's type holds. The rows of each condition come before those of the next; where the first key
// is a column, each condition is a range of an index that begins with it.
func After(keys []Key, values []any) []Clause {
	first, value := keys[0], values[0]
	var parts []Clause
	if len(keys) > 1 {
		parts = append(parts, allOf(first.is(value), after(keys[1:], values[1:])))
	}
	if value == nil {
		return parts
	}
	later := first.beyond(value)
	if len(parts) > 0 && !first.Column {
		parts[0] = anyOf(parts[0], later)
	} else {
		parts = append(parts, later)
	}
	if !first.NotNull {
		parts = append(parts, first.is(nil))
	}
	return parts
}

// never holds for no row.
const never = "1 = 0"

// after is the one condition for the rows after a row.
func after(keys []Key, values []any) Clause {
	first, value := keys[0], values[0]
	later := first.beyond(value)
	if value != nil && !first.NotNull {
		later = anyOf(later, first.is(nil))
	}
	if len(keys) == 1 {
		return later
	}
	return anyOf(later, allOf(first.is(value), after(keys[1:], values[1:])))
}

// is is the condition that the key has the value.
func (k Key) is(value any) Clause {
	if value == nil {
		return Clause{k.SQL + " IS NULL", k.Args}
	}
	return k.compare(" = ", value)
}

// beyond is the condition that the key comes after the value and is not null.
func (k Key) beyond(value any) Clause {
	switch {
	case value == nil:
		return Clause{SQL: never}
	case k.Desc:
		return k.compare(" < ", value)
	}
	return k.compare(" > ", value)
}

func (k Key) compare(op string, value any) Clause {
	return Clause{k.SQL + op + "?", append(append([]any(nil), k.Args...), value)}
}

func allOf(a, b Clause) Clause { return join(a, " AND ", b) }

func anyOf(a, b Clause) Clause { return join(a, " OR ", b) }

func join(a Clause, op string, b Clause) Clause {
	return Clause{"(" + a.SQL + op + b.SQL + ")", append(append([]any(nil), a.Args...), b.Args...)}
}

// FormatValue writes a value of a sort key as text; false if it is of another type or no text that can be kept.
func (t Type) FormatValue(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, t == Text && isText(v)
	case int64:
		if t == Double {
			return strconv.FormatFloat(float64(v), 'g', -1, 64), true
		}
		return strconv.FormatInt(v, 10), t != Text
	case int32:
		return t.FormatValue(int64(v))
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), t == Double
	}
	return "", false
}

// ParseValue reads what FormatValue wrote; false for a text that it cannot have written.
func (t Type) ParseValue(text string) (any, bool) {
	switch t {
	case Text:
		return text, isText(text)
	case Double:
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && !math.IsNaN(v)
	case Int32:
		v, err := strconv.ParseInt(text, 10, 32)
		return v, err == nil
	default:
		v, err := strconv.ParseInt(text, 10, 64)
		return v, err == nil
	}
}

// isText tells whether a text can be written as JSON and compared with on both databases.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
