package models

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"

	"golang.org/x/sync/errgroup"

	"greenroom/search"
)

// StepRange limits a history to steps, both ends included.
type StepRange struct{ First, Last int64 }

// sampleReaders is how many connections read the histories of one sample.
const sampleReaders = 2

// SampleMetricHistories gives at most limit values for each run, in the order of runIDs and by step, timestamp and value.
// They are spread evenly over the values logged; the first and the last are among them, of a single one the last.
func (s *Store) SampleMetricHistories(ctx context.Context, runIDs []string, key string, steps *StepRange, limit int) ([]RunPoint, error) {
	runs := distinct(runIDs)
	found := make([][]Point, len(runs))
	all, ctx := errgroup.WithContext(ctx)
	for first := range min(sampleReaders, len(runs)) {
		all.Go(func() error {
			return s.readSnapshot(ctx, func(r rowReader) (err error) {
				for i := first; i < len(runs) && err == nil; i += sampleReaders {
					found[i], err = sampling{r, runs[i], key, steps, limit}.points(ctx)
				}
				return err
			})
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	var n int
	for _, points := range found {
		n += len(points)
	}
	sample := make([]RunPoint, 0, n)
	for _, id := range runIDs {
		at, _ := slices.BinarySearch(runs, id)
		for _, p := range found[at] {
			sample = append(sample, RunPoint{id, p})
		}
	}
	return sample, nil
}

// sampling takes limit values of those of a run's metric that are at steps, or of all for nil.
type sampling struct {
	rowReader
	runID, key string
	steps      *StepRange
	limit      int
}

// points goes through the steps alone, which are in the index, and then reads what was logged at those it takes.
func (s sampling) points(ctx context.Context) ([]Point, error) {
	history, err := s.allSteps(ctx)
	if err != nil {
		return nil, err
	}
	if history.n <= s.limit {
		return s.logged(ctx, history.distinct())
	}
	places := s.places(history)
	wanted := make([]int64, 0, len(places))
	for _, p := range places {
		if n := len(wanted); n == 0 || wanted[n-1] != p.step {
			wanted = append(wanted, p.step)
		}
	}
	logged, err := s.logged(ctx, wanted)
	if err != nil {
		return nil, err
	}
	sample := make([]Point, len(places))
	first := 0 // of the values at a step
	for i, p := range places {
		for logged[first].Step != p.step {
			first++
		}
		sample[i] = logged[first+p.nth]
	}
	return sample, nil
}

// stepList is a sorted list of steps, kept as the differences of neighbours: most histories take a byte for each.
type stepList struct {
	n           int
	last        int64
	differences []byte
}

func (l *stepList) add(step int64) {
	l.differences = binary.AppendVarint(l.differences, step-l.last)
	l.last = step
	l.n++
}

// each calls fn with the steps in order.
func (l *stepList) each(fn func(i int, step int64)) {
	rest, step := l.differences, int64(0)
	for i := range l.n {
		difference, size := binary.Varint(rest)
		rest, step = rest[size:], step+difference
		fn(i, step)
	}
}

// distinct gives each step once.
func (l *stepList) distinct() (steps []int64) {
	l.each(func(_ int, step int64) {
		if n := len(steps); n == 0 || steps[n-1] != step {
			steps = append(steps, step)
		}
	})
	return steps
}

func (s sampling) allSteps(ctx context.Context) (*stepList, error) {
	var q numbered
	q.add("SELECT step FROM metrics"+s.byRunAndKey()+" WHERE run_uuid = $ AND key = $", s.runID, s.key)
	if s.steps != nil {
		q.add(" AND step BETWEEN $ AND $", s.steps.First, s.steps.Last)
	}
	q.add(" ORDER BY step")
	var list stepList
	var step int64
	err := s.each(ctx, q.text.String(), q.args, []any{&step}, func() error {
		list.add(step)
		return nil
	})
	return &list, err
}

// samplePlace is where a value is in a history by step, timestamp and value.
type samplePlace struct {
	step int64
	nth  int // of those at the step
}

// places tells which values make the sample: the first of each of limit parts that differ by one in size at the most, but
// the last value instead of the first of the last part.
func (s sampling) places(history *stepList) []samplePlace {
	places := make([]samplePlace, 0, s.limit)
	size, larger := history.n/s.limit, history.n%s.limit
	next, first, before := 0, 0, int64(0)
	if s.limit == 1 {
		next = history.n - 1
	}
	history.each(func(i int, step int64) {
		if step != before || i == 0 {
			first, before = i, step
		}
		if i != next {
			return
		}
		places = append(places, samplePlace{step, i - first})
		switch part := len(places); part {
		case s.limit - 1:
			next = history.n - 1
		default:
			next = part*size + min(part, larger)
		}
	})
	return places
}

// logged reads the values at some steps, by step, timestamp and value.
func (s sampling) logged(ctx context.Context, steps []int64) (points []Point, err error) {
	if len(steps) == 0 {
		return nil, nil
	}
	// A subquery with OFFSET is not merged into the join: PostgreSQL seeks each step, and does not read the whole history instead.
	query, wanted := "SELECT points.* FROM unnest($1::bigint[]) AS wanted(step) CROSS JOIN LATERAL (SELECT "+pointColumns+
		" FROM metrics WHERE run_uuid = $2 AND key = $3 AND step = wanted.step OFFSET 0) AS points", any(steps)
	if s.s.dialect == search.SQLite {
		text, err := json.Marshal(steps)
		if err != nil {
			return nil, err
		}
		query, wanted = "SELECT metrics.value, timestamp, step, is_nan FROM json_each($1) AS wanted CROSS JOIN metrics"+s.byRunAndKey()+
			" ON step = wanted.value WHERE run_uuid = $2 AND metrics.key = $3", string(text)
	}
	var p Point
	err = s.each(ctx, query, []any{wanted, s.runID, s.key}, p.into(), func() error {
		points = append(points, p)
		return nil
	})
	slices.SortFunc(points, func(a, b Point) int { return cmp.Or(cmp.Compare(a.Step, b.Step), a.compareTime(b)) })
	return points, err
}
