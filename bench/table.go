package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// contestants are the columns of the table, in order.
var contestants = []string{ours, fasttrackml, mlflow, limit}

// result is what one figure of a workload came to on one engine.
type result struct {
	workload, engine string
	figure           figure
	limitIs          string
	notes            []string // what was left out
	// values of each contestant by round; NaN where it sat a round out.
	values map[string][]float64
}

// spread is the median, least and greatest of some values.
type spread struct{ median, least, greatest float64 }

func spreadOf(values []float64) (spread, bool) {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return spread{}, false
	}
	slices.Sort(sorted)
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}, true
}

// ratios say how many times better ours was than another contestant in each round in which both were measured.
func (r result) ratios(against string) []float64 {
	var all []float64
	other := r.values[against]
	for i, mine := range r.values[ours] {
		if i >= len(other) || math.IsNaN(mine) || math.IsNaN(other[i]) {
			continue
		}
		if r.figure.unit.less {
			all = append(all, other[i]/mine)
		} else {
			all = append(all, mine/other[i])
		}
	}
	return all
}

// verdict says of every target of this engine whether it was met. What was not measured is neither.
func (r result) verdict() string {
	var all []string
	for _, t := range r.figure.targets {
		if t.engine != "" && t.engine != r.engine {
			continue
		}
		if text, ok := r.judge(t); ok {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

func (r result) judge(t target) (string, bool) {
	if t.against == "" {
		mine, ok := spreadOf(r.values[ours])
		return fmt.Sprintf("≤ %s %s: %s", r.figure.unit.format(t.atMost), r.figure.unit.name, yes(mine.median <= t.atMost)), ok
	}
	ratio, ok := spreadOf(r.ratios(t.against))
	text := fmt.Sprintf("≥ %s × %s", plain(t.times), t.against)
	switch {
	case t.against == limit:
		text = fmt.Sprintf("≥ %s %% of the limit", plain(100*t.times))
	case t.times < 1:
		text = fmt.Sprintf("≤ %s × %s's", plain(1/t.times), t.against)
	}
	return text + ": " + yes(ratio.median >= t.times), ok
}

func yes(met bool) string {
	if met {
		return "yes"
	}
	return "**no**"
}

// writeTable writes the results as a table of Markdown.
func writeTable(w io.Writer, results []result) error {
	var b strings.Builder
	b.WriteString("| workload | database | unit | " + strings.Join(contestants, " | ") + " | × fasttrackml | × mlflow | × limit | target |\n")
	b.WriteString("|" + strings.Repeat("---|", 7+len(contestants)) + "\n")
	for _, r := range results {
		if _, measured := spreadOf(r.values[ours]); !measured {
			continue
		}
		name := r.workload
		if r.figure.name != "" {
			name += ": " + r.figure.name
		}
		cells := []string{name, r.engine, r.figure.unit.name}
		for _, c := range contestants {
			cells = append(cells, written(r.values[c], r.figure.unit.format))
		}
		for _, c := range contestants[1:] {
			cells = append(cells, written(r.ratios(c), plain))
		}
		b.WriteString("| " + strings.Join(append(cells, r.verdict()), " | ") + " |\n")
	}
	var limits, notes []string // each once, though a workload has several figures
	add := func(list *[]string, line string) {
		if !slices.Contains(*list, line) {
			*list = append(*list, line)
		}
	}
	for _, r := range results {
		if _, measured := spreadOf(r.values[limit]); measured {
			add(&limits, fmt.Sprintf("- %s, %s: %s\n", r.workload, r.engine, r.limitIs))
		}
		for _, note := range r.notes {
			add(&notes, fmt.Sprintf("- %s: %s\n", r.workload, note))
		}
	}
	for _, list := range []struct {
		title string
		lines []string
	}{{"The limit is", limits}, {"What was left out", notes}} {
		if len(list.lines) > 0 {
			b.WriteString("\n" + list.title + ":\n\n" + strings.Join(list.lines, ""))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// written is "median (least–greatest)", or a dash.
func written(values []float64, format func(float64) string) string {
	s, ok := spreadOf(values)
	if !ok {
		return "–"
	}
	if s.least == s.greatest {
		return format(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", format(s.median), format(s.least), format(s.greatest))
}

func (u unit) format(value float64) string { return plain(value / u.scale) }

// plain writes a number with three digits that count, and commas between thousands.
func plain(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	whole, fraction, dot := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dot {
		whole += "." + fraction
	}
	return whole
}
