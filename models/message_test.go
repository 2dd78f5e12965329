package models

import (
	"encoding/json"
	"math"
	"testing"
)

// What Python's json.dumps prints for the same values.
func TestQuote_PrintsAsMLflowsMessagesDo(t *testing.T) {
	for want, value := range map[string]any{
		`"<a> & 'b'"`:          "<a> & 'b'",
		`"\"\\/"`:              `"\/`,
		`"\n\r\t\b\f\u0001"`:   "\n\r\t\b\f\x01",
		`"\u00fc\u2028\u007f"`: "ü\u2028\x7f",
		`"\ud83d\ude00"`:       "😀",
		`5`:                    json.Number("5"),
		`["a","\u00e9"]`:       []any{"a", "é"},
		`null`:                 nil,
		`true`:                 true,
		`?`:                    math.NaN(),
		`{"k":"<"}`:            map[string]any{"k": "<"},
	} {
		if got := Quote(value); got != want {
			t.Errorf("Quote(%#v) = %s, want %s", value, got, want)
		}
	}
}

func TestPythonFloat(t *testing.T) {
	for want, f := range map[string]float64{
		"1.0": 1, "-0.5": -0.5, "0.0": 0, "0.0001": 1e-4, "1e-05": 1e-5, "1e+16": 1e16, "1000000000000000.0": 1e15, "nan": math.NaN(), "1.5e+300": 1.5e300,
	} {
		if got := pythonFloat(f); got != want {
			t.Errorf("pythonFloat(%g) = %s, want %s", f, got, want)
		}
	}
}
