package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestRatios_CompareWithinARound(t *testing.T) {
	values := map[string][]float64{ours: {100, 300, 200}, fasttrackml: {50, 100, math.NaN()}}
	more := result{figure: figure{unit: perSecond}, values: values}
	if got, _ := spreadOf(more.ratios(fasttrackml)); got != (spread{2.5, 2, 3}) {
		t.Errorf("more is better: got %v, want 2.5 (2–3)", got)
	}
	less := result{figure: figure{unit: milliseconds}, values: values}
	if got, _ := spreadOf(less.ratios(fasttrackml)); math.Abs(got.median-(0.5+1.0/3)/2) > 1e-9 || got.greatest != 0.5 {
		t.Errorf("less is better: got %v, want the mean of 1/2 and 1/3", got)
	}
	if got := more.ratios(mlflow); len(got) != 0 {
		t.Errorf("not measured: got %v, want none", got)
	}
}

func TestVerdict_JudgesTheMedianOfTheRatios(t *testing.T) {
	r := result{engine: sqlite, figure: figure{unit: perSecond, targets: []target{
		atLeast(sqlite, 5, fasttrackml), atLeast(sqlite, 0.5, limit), atLeast(postgres, 9, fasttrackml), atLeast("", 2, mlflow),
	}}, values: map[string][]float64{ours: {10, 60, 70}, fasttrackml: {10, 10, 10}, limit: {200, 200, 200}}}
	if got, want := r.verdict(), "≥ 5 × fasttrackml: yes; ≥ 50 % of the limit: **no**"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	start := result{
		engine: sqlite, figure: figure{unit: mib, targets: []target{atLeast("", 0.5, fasttrackml), atMost("", 40<<20)}},
		values: map[string][]float64{ours: {41 << 20}, fasttrackml: {30 << 20}},
	}
	if got, want := start.verdict(), "≤ 2 × fasttrackml's: yes; ≤ 40 MiB: **no**"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteTable_KeepsRoundsThatWereSatOutApart(t *testing.T) {
	var b strings.Builder
	r := result{workload: "w", engine: sqlite, figure: figure{unit: perSecond}, limitIs: "rows", values: map[string][]float64{
		ours: {1000, 3000}, mlflow: {10, math.NaN()}, limit: {2000, 2000},
	}}
	if err := writeTable(&b, []result{r}); err != nil {
		t.Fatal(err)
	}
	want := "| w | sqlite | req/s | 2,000 (1,000–3,000) | – | 10 | 2,000 | – | 100 | 1 (0.5–1.5) |  |\n\nThe limit is:\n\n- w, sqlite: rows\n"
	if got := b.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant at its end\n%s", got, want)
	}
}

func TestPlain_WritesThreeDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.1234: "0.123", 1: "1", 1.5: "1.5", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567: "1,234,567", 0.5: "0.5", 40: "40"} {
		if got := plain(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

func TestQuantile_IsALatencyThatWasSeen(t *testing.T) {
	var l load
	for i := range 200 {
		l.latencies = append(l.latencies, time.Duration(200-i)*time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 0.1, 0.99: 0.198, 1: 0.2} {
		if got := l.quantile(q); got != want {
			t.Errorf("%v: got %v s, want %v s", q, got, want)
		}
	}
}
