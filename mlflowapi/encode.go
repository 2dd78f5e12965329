package mlflowapi

import (
	"context"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// appender is an answer that writes its own JSON, byte for byte what encoding/json makes of it: for those that are asked for
// often or are long.
type appender interface {
	appendJSON(b []byte) []byte
}

// encode makes an answer's JSON.
func encode(answer any) ([]byte, error) {
	if a, ok := answer.(appender); ok {
		return a.appendJSON(make([]byte, 0, 512)), nil
	}
	return json.Marshal(answer)
}

// inParts is an answer too long to be made as a whole. next gives its JSON part by part, and tells which is the last; a part
// is good until the next one is asked for.
type inParts struct {
	next func(context.Context) (part []byte, last bool, err error)
}

// writeParts sends the parts as they are made. A failure in the middle breaks the answer off, so that nobody takes it for whole.
func (a *API) writeParts(c *gin.Context, parts *inParts) {
	ctx := c.Request.Context()
	part, last, err := parts.next(ctx)
	if err != nil {
		a.fail(c, err)
		return
	}
	if last {
		writeJSON(c, part)
		return
	}
	answer := newAnswer(c)
	defer answer.done()
	for answer.write(part) && !last {
		if part, last, err = parts.next(ctx); err != nil {
			if ctx.Err() == nil {
				a.logFailure(c, err)
			}
			breakOff(c)
		}
	}
}

// fields begins each member of an object with its name, and puts commas between them.
type fields struct{ empty bool }

func (f *fields) name(b []byte, name string) []byte {
	if !f.empty {
		b = append(b, ',')
	}
	f.empty = false
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func object(b []byte) ([]byte, fields) { return append(b, '{'), fields{empty: true} }

func (f *fields) text(b []byte, name, value string) []byte {
	return appendString(f.name(b, name), value)
}

func (f *fields) number(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(f.name(b, name), value, 10)
}

// Optional members are left out where they are nil.

func (f *fields) optionalText(b []byte, name string, value *string) []byte {
	if value == nil {
		return b
	}
	return f.text(b, name, *value)
}

func (f *fields) optionalNumber(b []byte, name string, value *int64) []byte {
	if value == nil {
		return b
	}
	return f.number(b, name, *value)
}

// appendList writes a list by what appends each of its elements.
func appendList[T any](b []byte, list []T, element func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(b, v)
	}
	return append(b, ']')
}

// appendMarshaled leaves a value that always marshals to encoding/json.
func appendMarshaled(b []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return append(b, text...)
}

// appendString writes a text as encoding/json does, which is left all that is not plain.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return appendMarshaled(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
