package mlflowapi

import (
	"math"
	"strconv"
)

// double is a 64-bit float on the wire. NaN travels as a string, as in proto JSON; a whole number keeps its ".0".
type double float64

// MarshalJSON implements json.Marshaler.
func (d double) MarshalJSON() ([]byte, error) { return appendDouble(nil, float64(d)), nil }

func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	case f == math.Trunc(f) && math.Abs(f) < 1e16:
		return strconv.AppendFloat(b, f, 'f', 1, 64)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// optional is nil for "": the field is then absent from the answer.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// value is "" for nil.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
