package models

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

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
		of := func(id string) []RunMetric {
			return []RunMetric{{id, NewMetric("m", 2, 1, 5)}, {id, NewMetric("m", 1, 2, 0)}, {id, NewMetric("m", math.NaN(), 3, 0)}}
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
