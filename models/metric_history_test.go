package models

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func wholeHistory(ctx context.Context, s *Store, runID, key string) ([]Point, error) {
	return readHistory(ctx, s, runID, key, HistoryPage{Limit: math.MaxInt})
}

func readHistory(ctx context.Context, s *Store, runID, key string, page HistoryPage) (points []Point, err error) {
	for h, more := s.MetricHistory(runID, key, page), true; more && len(points) < page.Limit; {
		var part []Point
		if part, more, err = h.Next(ctx); err != nil {
			return nil, err
		}
		points = append(points, part...)
	}
	return points, nil
}

func TestMetricHistory_PagesGiveEachValueOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id, other := modelstest.Anyone(t), newTestRun(t, s), newTestRun(t, s)
		var metrics, others []Metric
		for i := range int64(60) {
			// Several values at one time and step, steps that go back, and a time when the other run logs much more.
			metrics = append(metrics, NewMetric("m", float64(i%4), i/3, (60-i)/2), NewMetric("m", math.NaN(), i/3, 7))
			others = append(others, NewMetric("m", float64(i), 10, i), NewMetric("m", float64(i), 30, i))
		}
		for run, batch := range map[string][]Metric{id: metrics, other: others} {
			if err := s.LogBatch(ctx, run, Batch{Metrics: batch}); err != nil {
				t.Fatal(err)
			}
		}
		want := must(wholeHistory(ctx, s, id, "m"))(t)
		if len(want) != 80 { // NaN is once in each time
			t.Fatalf("got %d values", len(want))
		}
		for _, limit := range []int{1, 3, 7, 79, 80, 100} {
			var got []Point
			for page := (HistoryPage{Limit: limit}); ; {
				found := must(readHistory(ctx, s, id, "m", page))(t)
				if len(found) == 0 {
					break
				}
				got = append(got, found...)
				page.After = &found[len(found)-1]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d: %s", limit, diff)
			}
			if diff := cmp.Diff(want[5:min(5+limit, len(want))], must(readHistory(ctx, s, id, "m", HistoryPage{Offset: 5, Limit: limit}))(t)); diff != "" {
				t.Errorf("offset 5, limit %d: %s", limit, diff)
			}
		}
	})
}

func TestMetricHistory_LongerThanWhatIsReadAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const part, stretch, n = 3, 3 * historyStretch, 4*3*historyStretch + 1
		ctx, id, other := modelstest.Anyone(t), newTestRun(t, s), newTestRun(t, s)
		var metrics, others []Metric
		var want []Point
		for i := range int64(n) {
			metrics = append(metrics, NewMetric("m", float64(i%5), i/2, i))
			want = append(want, Point{float64(i % 5), i / 2, i, false})
			// For a while another run logs too much to read its values, too.
			others = append(others, NewMetric("m", float64(i), n/4, 3*i), NewMetric("m", float64(i), n/4, 3*i+1), NewMetric("m", float64(i), n/4, 3*i+2))
		}
		for run, all := range map[string][]Metric{id: metrics, other: others} {
			for batch := range slices.Chunk(all, maxBatchMetrics) {
				if err := s.LogBatch(ctx, run, Batch{Metrics: batch}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, limit := range []int{part, stretch - 1, stretch, stretch + 1, n - 1, n, math.MaxInt} {
			h := s.MetricHistory(id, "m", HistoryPage{Limit: limit})
			h.part = part
			var got []Point
			more := true
			for more && len(got) < limit {
				points, goesOn, err := h.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				got, more = append(got, points...), goesOn
			}
			if diff := cmp.Diff(want[:min(limit, n)], got); diff != "" || more != (limit < n) {
				t.Errorf("a page of %d, and more: %v: %s", limit, more, diff)
			}
		}
	})
}

func TestMetricHistories_OfSeveralRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, a, b := modelstest.Anyone(t), newTestRun(t, s), newTestRun(t, s)
		if a > b {
			a, b = b, a
		}
		for _, id := range []string{a, b} {
			if err := s.LogBatch(ctx, id, Batch{Metrics: []Metric{NewMetric("m", 2, 1, 5), NewMetric("m", 1, 2, 0), NewMetric("m", math.NaN(), 3, 0), NewMetric("other", 1, 1, 1)}}); err != nil {
				t.Fatal(err)
			}
		}
		of := func(id string) []RunPoint {
			return []RunPoint{{id, Point{2, 1, 5, false}}, {id, Point{1, 2, 0, false}}, {id, Point{0, 3, 0, true}}}
		}
		history := must(s.MetricHistories(ctx, []string{b, "none", a}, "m", 5))(t)
		if diff := cmp.Diff(append(of(a), of(b)[:2]...), history); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSampleMetricHistories_SpreadsEvenlyAndKeepsTheEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, a, b := modelstest.Anyone(t), newTestRun(t, s), newTestRun(t, s)
		var ten []Metric
		for i := range int64(10) {
			ten = append(ten, NewMetric("m", float64(i), 100-i, i))
		}
		for id, metrics := range map[string][]Metric{a: ten, b: ten[3:5]} {
			if err := s.LogBatch(ctx, id, Batch{Metrics: metrics}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name  string
			runs  []string
			steps *StepRange
			limit int
			want  []int64
		}{
			{"fewer values than the limit", []string{b, "none"}, nil, 5, []int64{3, 4}},
			{"as many", []string{a}, nil, 10, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{"more", []string{a}, nil, 4, []int64{0, 3, 6, 9}},
			{"two", []string{a}, nil, 2, []int64{0, 9}},
			{"one", []string{a}, nil, 1, []int64{9}},
			{"a range of steps", []string{a}, &StepRange{2, 5}, 3, []int64{2, 4, 5}},
			{"a long range of steps", []string{a, b}, &StepRange{1, 8}, 3, []int64{1, 4, 8, 3, 4}},
			{"nothing in the range", []string{a}, &StepRange{20, 50}, 3, nil},
			{"each run by itself, in the order asked for", []string{b, a}, nil, 2, []int64{3, 4, 0, 9}},
		} {
			var got []int64
			for _, m := range must(s.SampleMetricHistories(ctx, c.runs, "m", c.steps, c.limit))(t) {
				got = append(got, m.Step)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	})
}

func TestSampleMetricHistories_TakesFromValuesOfTheSameStep(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		var metrics []Metric
		for i := range int64(12) {
			metrics = append(metrics, NewMetric("m", float64(-i), 5, i/6))
		}
		if err := s.LogBatch(ctx, id, Batch{Metrics: metrics}); err != nil {
			t.Fatal(err)
		}
		var got []float64
		for _, m := range must(s.SampleMetricHistories(ctx, []string{id}, "m", nil, 5))(t) {
			got = append(got, m.Value)
		}
		if diff := cmp.Diff([]float64{-5, -2, -11, -9, -6}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMetricHistory_PanicsFailTheRequestAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		if err := s.LogBatch(ctx, id, Batch{Metrics: []Metric{NewMetric("m", 1, 1, 1), NewMetric("m", 2, 2, 2)}}); err != nil {
			t.Fatal(err)
		}
		broken := map[string]func() error{
			"history": func() error {
				h := s.MetricHistory(id, "m", HistoryPage{Limit: math.MaxInt})
				h.part = 1 << 50 // for which there is no room
				_, _, err := h.Next(ctx)
				return err
			},
			"sample": func() error {
				_, err := s.SampleMetricHistories(ctx, []string{id}, "m", nil, 0) // parts of which there are none
				return err
			},
		}
		for name, ask := range broken {
			for range 2 * pgConns { // more often than there are connections that a panic could keep
				if err := ask(); err == nil || !strings.Contains(err.Error(), "panic: runtime error") || !strings.Contains(err.Error(), "metric_") {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		if err := s.LogMetric(ctx, id, NewMetric("m", 3, 3, 3)); err != nil {
			t.Fatal(err)
		}
		if got := must(wholeHistory(ctx, s, id, "m"))(t); len(got) != 3 {
			t.Errorf("%d values afterwards", len(got))
		}
	})
}
