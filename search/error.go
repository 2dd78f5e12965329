package search

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Error is a mistake in a filter or an order_by item.
type Error struct {
	// Message says what is wrong, in MLflow's words where it has any, and ends with the position if that is known.
	Message string
	// Pos is the place of the mistake in the text: characters from 1; 0 if it is the text as a whole.
	Pos int
}

func (e *Error) Error() string { return e.Message }

// maxMessage is the number of bytes of a message that are shown; the filter is often part of it.
const maxMessage = 4000

// errorAt makes an Error for the byte offset pos of src.
func errorAt(src string, pos int, message string) *Error {
	n := utf8.RuneCountInString(src[:pos]) + 1
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return &Error{Message: fmt.Sprintf("%s (at position %d)", message, n), Pos: n}
}

func errorf(format string, args ...any) *Error { return &Error{Message: fmt.Sprintf(format, args...)} }

// Message is the wording of an error. Names in braces stand for the case at hand; see fill.
type Message string

// fill replaces the names in braces: pairs are name, value, name, value and so on.
func (m Message) fill(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		pairs[i] = "{" + pairs[i] + "}"
	}
	return strings.NewReplacer(pairs...).Replace(string(m))
}

// set prints names as MLflow prints a set, sorted: {'a', 'b'}.
func set(names []string) string {
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	return "{'" + strings.Join(sorted, "', '") + "'}"
}

// setOfKeys is set for the keys of m.
func setOfKeys[V any](m map[string]V) string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	return set(names)
}

// Repr prints a text as MLflow's messages do where they quote one: 'a', or "it's".
func Repr(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	r := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	s = r.Replace(s)
	if quote == "'" {
		s = strings.ReplaceAll(s, "'", `\'`)
	}
	return quote + s + quote
}
