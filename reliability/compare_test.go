package reliability_test

import (
	"strings"
	"testing"
)

func TestCompareFindsWhatIsWrong(t *testing.T) {
	entries := []entry{
		{write: write{ID: "run", Facts: []string{"run a in r", "tag a first=a"}}, acknowledged: true},
		{write: write{ID: "batch", Facts: []string{"param a p=v", "tag a t=v"}}},
		{write: write{ID: "version", Facts: []string{"version m s"}}, acknowledged: true, number: "m/1 s"},
		{write: write{ID: "old", Slot: "alias m x", Value: "1"}},
		{write: write{ID: "set", Slot: "alias m x", Value: "2"}, acknowledged: true},
		{write: write{ID: "cut off", Slot: "alias m x", Value: "3"}},
		{write: write{ID: "cut off too", Slot: "alias m y", Value: "3"}},
	}
	tests := []struct {
		name  string
		spoil func(h *held)
		want  string // "" if nothing is wrong
	}{
		{"as acknowledged", func(*held) {}, ""},
		{"the write that was cut off happened", func(h *held) { h.facts["param a p=v"], h.facts["tag a t=v"] = 1, 1 }, ""},
		{"the slot's write that was cut off happened", func(h *held) { h.slots["alias m x"] = "3" }, ""},
		{"half of the write that was cut off happened", func(h *held) { h.facts["tag a t=v"] = 1 }, "of batch, which was not acknowledged, 1 of 2"},
		{"a lost run", func(h *held) { delete(h.facts, "run a in r"); delete(h.facts, "tag a first=a") }, "of run, which was acknowledged, 0 of 2"},
		{"a lost tag", func(h *held) { delete(h.facts, "tag a first=a") }, "of run, which was acknowledged, 1 of 2"},
		{"a run twice", func(h *held) { h.facts["run a in r"] = 2 }, "run is there more than once"},
		{"what nobody wrote", func(h *held) { h.facts["run b in r"] = 1 }, `"run b in r" is there 1 times`},
		{"an alias that nobody set", func(h *held) { h.slots["alias m z"] = "1" }, "nobody has set it"},
		{"an alias went back", func(h *held) { h.slots["alias m x"] = "1" }, `alias m x is "1", want one of ["2" "3"]`},
		{"an alias is gone", func(h *held) { delete(h.slots, "alias m x") }, `alias m x is ""`},
		{"a version with another number", func(h *held) { h.numbers = map[string]string{"m/2": "s"} }, "version m/1 has source"},
		{"a gap between versions", func(h *held) { h.numbers["m/3"] = "u" }, "2 versions of m up to number 3"},
		{"another point as the latest", func(h *held) {
			h.point("a", metric{"k", 1, 1, 1})
			h.latest["a k"] = metric{"k", 1, 1, 0}.fact("a")
		}, "the latest is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeld()
			h.facts["run a in r"], h.facts["tag a first=a"], h.facts["version m s"] = 1, 1, 1
			h.numbers["m/1"] = "s"
			h.slots["alias m x"] = "2"
			tt.spoil(h)
			_, wrong := compare(entries, h)
			if got := strings.Join(wrong, "\n"); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
