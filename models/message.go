package models

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Quote prints a JSON value as MLflow's messages do: ASCII only.
func Quote(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "?"
	}
	return ascii(strings.TrimSuffix(b.String(), "\n"))
}

// ascii writes everything but printable ASCII as JSON's \u escapes.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > math.MaxUint16:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// pythonFloat prints a number as MLflow's messages do: always with a point or an exponent.
func pythonFloat(f float64) string {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return "nan"
	case abs != 0 && abs < 1e-4 || abs >= 1e16:
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
