package mlflowapi

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// double is a 64-bit float on the wire. NaN travels as a string, as in proto JSON; a whole number keeps its ".0".
type double float64

// MarshalJSON implements json.Marshaler.
func (d double) MarshalJSON() ([]byte, error) {
	f := float64(d)
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Infinity"`), nil
	case f == math.Trunc(f) && math.Abs(f) < 1e16:
		return strconv.AppendFloat(nil, f, 'f', 1, 64), nil
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64), nil
}

// A page token is base64 of {"offset": N}, the form MLflow's own tokens have.
func pageToken(offset int) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"offset": ` + strconv.Itoa(offset) + `}`))
}

// pageOffset reads a page token; "" is the first page.
func pageOffset(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return 0, invalid("Invalid page token, could not base64-decode")
	}
	var page struct {
		Offset *int `json:"offset"`
	}
	if err := json.Unmarshal(text, &page); err != nil || page.Offset == nil || *page.Offset < 0 {
		return 0, invalid("Invalid page token, parsed value=%s", strings.ToValidUTF8(string(text), "?"))
	}
	return *page.Offset, nil
}

// nextPage cuts rows to the page's size and gives the token for what follows. A store that is asked for size+1 rows
// shows by the extra one that there is more.
func nextPage[T any](rows []T, offset, size int) ([]T, string) {
	if len(rows) <= size {
		return rows, ""
	}
	return rows[:size], pageToken(offset + size)
}

// optional is nil for "": the field is then absent from the answer.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
