package models

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"greenroom/search"
)

// Point is one value of a metric's history. NaN is kept as IsNaN with Value 0, infinities as the largest finite doubles.
type Point struct {
	Value     float64
	Timestamp int64 // milliseconds since 1970
	Step      int64
	IsNaN     bool
}

// Float is the value as logged.
func (p Point) Float() float64 { return Metric{Value: p.Value, IsNaN: p.IsNaN}.Float() }

// compareTime orders a history.
func (p Point) compareTime(q Point) int {
	return cmp.Or(cmp.Compare(p.Timestamp, q.Timestamp), cmp.Compare(p.Step, q.Step), cmp.Compare(p.Value, q.Value), compareBool(p.IsNaN, q.IsNaN))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// into is what to scan the columns of pointColumns into.
func (p *Point) into() []any { return []any{&p.Value, &p.Timestamp, &p.Step, &p.IsNaN} }

const pointColumns = "value, timestamp, step, is_nan"

// RunPoint is a value with the run that logged it.
type RunPoint struct {
	RunID string
	Point
}

// HistoryPage selects a part of a metric's history, which is ordered by timestamp, step and value.
type HistoryPage struct {
	// After is the value that the page follows; nil for the first page.
	After *Point
	// Offset is how many values to pass over after that; finding the place takes time that grows with it.
	Offset int
	// Limit is how many values to give at most.
	Limit int
}

const (
	// historyPart is how many values of a history are handed over at a time.
	historyPart = 4_000
	// historyStretch is how many parts are read at a time.
	historyStretch = 25
)

// MetricHistory reads a page of the logged values of one metric, part by part. It reads a stretch ahead of its caller and has
// room for it, so that no connection to the database waits for a slow client.
type MetricHistory struct {
	s          *Store
	runID, key string
	part       int         // values in a part
	page       HistoryPage // what is to come
	ahead      chan historyAhead
}

type historyAhead struct {
	points []Point
	// end says that these are the stretch's last; more, that the history goes on after them.
	end, more bool
	err       error
}

// MetricHistory begins to read a page of a metric's history.
func (s *Store) MetricHistory(runID, key string, page HistoryPage) *MetricHistory {
	return &MetricHistory{s: s, runID: runID, key: key, part: historyPart, page: page}
}

// Next gives the page's next values, and whether the history goes on after them. It is called until there are no more, or the page is full.
// What is logged between two calls may be in the history or not.
func (h *MetricHistory) Next(ctx context.Context) (points []Point, more bool, err error) {
	if h.ahead == nil {
		h.ahead = make(chan historyAhead, historyStretch)
		stretch := h.page
		stretch.Limit = min(stretch.Limit, historyStretch*h.part)
		go h.readAhead(ctx, stretch, h.ahead)
	}
	part := <-h.ahead
	if part.err != nil {
		return nil, false, part.err
	}
	if n := len(part.points); n > 0 {
		h.page = HistoryPage{After: &part.points[n-1], Limit: h.page.Limit - n}
	}
	if part.end {
		h.ahead = nil
	}
	return part.points, !part.end || part.more, nil
}

// readAhead sends a stretch, for which there is room.
func (h *MetricHistory) readAhead(ctx context.Context, stretch HistoryPage, ahead chan<- historyAhead) {
	left := stretch.Limit
	stretch.Limit++ // one more shows that there is more
	last := historyAhead{end: true}
	last.err = h.s.readRows(ctx, func(r rowReader) error {
		return r.history(ctx, h.runID, h.key, stretch, func(p Point) {
			switch {
			case left == 0:
				last.more = true
				return
			case len(last.points) == h.part:
				ahead <- historyAhead{points: last.points}
				fallthrough
			case last.points == nil:
				last.points = make([]Point, 0, min(left, h.part))
			}
			last.points = append(last.points, p)
			left--
		})
	})
	ahead <- last
}

// MetricHistories gives the logged values of one metric in several runs, ordered by run, timestamp, step and value; at most limit in all.
func (s *Store) MetricHistories(ctx context.Context, runIDs []string, key string, limit int) (history []RunPoint, err error) {
	err = s.readSnapshot(ctx, func(r rowReader) error {
		for _, id := range distinct(runIDs) {
			err := r.history(ctx, id, key, HistoryPage{Limit: limit - len(history)}, func(p Point) { history = append(history, RunPoint{id, p}) })
			if err != nil || len(history) == limit {
				return err
			}
		}
		return nil
	})
	return history, err
}

// distinct gives texts in order, each once.
func distinct(texts []string) []string { return slices.Compact(slices.Sorted(slices.Values(texts))) }

// history gives the values of a page one after another.
func (r rowReader) history(ctx context.Context, runID, key string, page HistoryPage, give func(Point)) error {
	if r.s.dialect == search.SQLite && page.Offset == 0 {
		done, err := r.nearHistory(ctx, runID, key, &page, give)
		if err != nil || done {
			return err
		}
	}
	var p Point
	q := numbered{}
	q.add("SELECT "+pointColumns+" FROM metrics"+r.byRunAndKey()+" WHERE run_uuid = $ AND key = $", runID, key)
	if m := page.After; m != nil {
		// The first condition is one for the primary key, where the run comes before the value.
		q.add(" AND (timestamp, step) >= ($, $) AND (timestamp, step, value, is_nan) > ($, $, $, $)", m.Timestamp, m.Step, m.Timestamp, m.Step, m.Value, m.IsNaN)
	}
	q.add(" ORDER BY timestamp, step, value, is_nan LIMIT $ OFFSET $", int64(page.Limit), int64(page.Offset))
	return r.each(ctx, q.text.String(), q.args, p.into(), func() error {
		give(p)
		return nil
	})
}

// numbered is a query that grows; its parameters are written as $ and get their numbers.
type numbered struct {
	text strings.Builder
	args []any
}

func (q *numbered) add(text string, args ...any) {
	for i, part := range strings.Split(text, "$") {
		if i > 0 {
			q.text.WriteString("$" + strconv.Itoa(len(q.args)+i))
		}
		q.text.WriteString(part)
	}
	q.args = append(q.args, args...)
}

// byRunAndKey names the index by which SQLite finds a run's metric. Without statistics it would take the primary key, and
// read the metrics of that name of all runs.
func (r rowReader) byRunAndKey() string {
	if r.s.dialect == search.SQLite {
		return " INDEXED BY index_metrics_run_uuid_key_step"
	}
	return ""
}

const (
	// nearCredit is how many values of other runs nearHistory passes over before it gives up; each of its own run's earns nearEarns more.
	nearCredit = 40_000
	nearEarns  = 3
	// nearLong is how long a history is that is worth that.
	nearLong = 10_000
)

var errEnough = errors.New("no more rows are needed")

// nearHistory reads a page of a long history in the order of the primary key (key, timestamp, step, run_uuid, value, is_nan),
// which has the values of other runs in between: where they are few, this takes half the time of sorting what the index by run
// and key finds. When there are too many it gives up, with the rest of the page for page. One in 64 of the others shows itself.
func (r rowReader) nearHistory(ctx context.Context, runID, key string, page *HistoryPage, give func(Point)) (done bool, err error) {
	long, n := int64(min(2*page.Limit, nearLong)), int64(0)
	err = r.each(ctx, "SELECT count(*) FROM (SELECT 1 FROM metrics"+r.byRunAndKey()+" WHERE run_uuid = $1 AND key = $2 LIMIT $3)", []any{runID, key, long}, []any{&n}, func() error { return nil })
	if err != nil || n < long {
		return false, err
	}
	// Each row costs by its columns, so two are one: whether the value is NaN, or another run's.
	const others, another = 64, 2
	var q numbered
	q.add("SELECT value, timestamp, step, CASE run_uuid WHEN $ THEN is_nan ELSE $ END FROM metrics WHERE key = $", runID, int64(another), key)
	after := Point{Timestamp: math.MinInt64, Step: math.MinInt64, Value: math.Inf(-1)}
	if page.After != nil {
		after = *page.After
		q.add(" AND (timestamp, step) >= ($, $)", after.Timestamp, after.Step)
	}
	q.add(" AND (run_uuid = $ OR rowid % $ = 0) ORDER BY timestamp, step, run_uuid, value, is_nan", runID, int64(others))
	limit, most := page.Limit, min(8*page.Limit, nearCredit)
	credit := most
	var p Point
	var kind int64
	err = r.each(ctx, q.text.String(), q.args, []any{&p.Value, &p.Timestamp, &p.Step, &kind}, func() error {
		p.IsNaN = kind == 1
		switch {
		case kind == another:
			if credit -= others; credit < 0 {
				page.After, page.Limit = &after, limit
				return errEnough
			}
		case p.compareTime(after) > 0:
			give(p)
			after = p
			credit = min(credit+nearEarns, most)
			if limit--; limit == 0 {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return credit >= 0, err
}
