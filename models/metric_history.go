package models

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"greenroom/search"
)

// RunMetric is a metric's value with the run that logged it.
type RunMetric struct {
	RunID string
	Metric
}

// HistoryPage selects a part of a metric's history, which is ordered by timestamp, step and value.
type HistoryPage struct {
	// After is the value that the page follows; nil for the first page. Its key does not count.
	After *Metric
	// Offset is how many values to pass over after that; finding the place takes time that grows with it.
	Offset int
	// Limit is how many values to give at most.
	Limit int
}

// MetricHistory gives a page of the logged values of one metric.
func (s *Store) MetricHistory(ctx context.Context, runID, key string, page HistoryPage) (history []Metric, err error) {
	err = s.view(ctx, func(t *tx) error {
		history, err = t.metricHistory(runID, key, page)
		return err
	})
	return history, err
}

const (
	historyColumns = "value, timestamp, step, is_nan"
	afterValue     = "(timestamp, step, value, is_nan) > (?, ?, ?, ?)"
	historyOrder   = " ORDER BY timestamp, step, value, is_nan LIMIT ?"
)

func (t *tx) metricHistory(runID, key string, p HistoryPage) ([]Metric, error) {
	if t.s.dialect == search.SQLite {
		if page, ok, err := t.nearMetrics(runID, key, p); ok || err != nil {
			return page, err
		}
	}
	q := newQuery("SELECT "+historyColumns+" FROM metrics"+t.byRunAndKey()+" WHERE run_uuid = ? AND key = ?", runID, key)
	if p.After != nil {
		q.and(search.Clause{SQL: afterValue, Args: historyPlace(p.After)})
	}
	q.text.WriteString(historyOrder + " OFFSET ?")
	return t.pickMetrics(key, p.Limit, q.text.String(), append(q.args, p.Limit, p.Offset)...)
}

// byRunAndKey names the index by which SQLite finds a run's metric. Without statistics it would take the primary key, and
// read the metrics of that name of all runs.
func (t *tx) byRunAndKey() string {
	if t.s.dialect == search.SQLite {
		return " INDEXED BY index_metrics_run_uuid_key_step"
	}
	return ""
}

// nearMetrics finds the page of a long history in the order of the primary key (key, timestamp, step, run_uuid, …), which has
// the other runs' metrics of that name in between: where they are few, this reads little more than the page, while the
// index by run and key has to sort the whole history. ok is false if it did not fill the page soon enough.
func (t *tx) nearMetrics(runID, key string, p HistoryPage) (page []Metric, ok bool, err error) {
	if p.Offset > 0 {
		return nil, false, nil
	}
	long := 2 * p.Limit
	n, _, err := pickOne[int](t, "SELECT count(*) FROM (SELECT 1 FROM metrics"+t.byRunAndKey()+" WHERE run_uuid = ? AND key = ? LIMIT ?)", runID, key, long)
	if err != nil || n < long {
		return nil, false, err
	}
	near := newQuery(" FROM metrics WHERE key = ?", key)
	if p.After != nil {
		near.and(search.Clause{SQL: "(timestamp, step) >= (?, ?)", Args: []any{p.After.Timestamp, p.After.Step}})
	}
	near.text.WriteString(" ORDER BY timestamp, step, run_uuid, value, is_nan LIMIT ?")
	budget := 8 * p.Limit
	q := newQuery("SELECT "+historyColumns+" FROM (SELECT *"+near.text.String()+") AS near WHERE run_uuid = ?", append(slices.Clone(near.args), budget, runID)...)
	if p.After != nil {
		q.and(search.Clause{SQL: afterValue, Args: historyPlace(p.After)})
	}
	page, err = t.pickMetrics(key, p.Limit, q.text.String()+historyOrder, append(q.args, p.Limit)...)
	if err != nil || len(page) == p.Limit {
		return page, true, err
	}
	_, more, err := pickOne[int](t, "SELECT 1"+near.text.String()+" OFFSET ?", append(near.args, 1, budget)...)
	return page, !more, err
}

func historyPlace(m *Metric) []any { return []any{m.Timestamp, m.Step, m.Value, m.IsNaN} }

// pickMetrics reads the rows of a query for historyColumns. It scans into any, which database/sql does several times faster
// than into structs or numbers: histories are long.
func (t *tx) pickMetrics(key string, atMost int, query string, args ...any) (metrics []Metric, err error) {
	rows, err := t.Raw(query, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	metrics = make([]Metric, 0, min(atMost, 1000))
	var value, timestamp, step, isNaN any
	for rows.Next() {
		if err := rows.Scan(&value, &timestamp, &step, &isNaN); err != nil {
			return nil, err
		}
		metrics = append(metrics, scannedMetric(key, value, timestamp, step, isNaN))
	}
	return metrics, rows.Err()
}

// scannedMetric takes what the drivers give for historyColumns. SQLite has 0 and 1 for booleans, and may keep a whole number
// in a column of floats as an integer.
func scannedMetric(key string, value, timestamp, step, isNaN any) Metric {
	m := Metric{Key: key}
	switch v := value.(type) {
	case float64:
		m.Value = v
	case int64:
		m.Value = float64(v)
	}
	m.Timestamp, _ = timestamp.(int64)
	m.Step, _ = step.(int64)
	switch v := isNaN.(type) {
	case bool:
		m.IsNaN = v
	case int64:
		m.IsNaN = v != 0
	}
	return m
}

// pickRunMetrics reads the rows of a query for run_uuid and historyColumns.
func (t *tx) pickRunMetrics(key, query string, args ...any) (metrics []RunMetric, err error) {
	rows, err := t.Raw(query, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var run string
	var value, timestamp, step, isNaN any
	for rows.Next() {
		if err := rows.Scan(&run, &value, &timestamp, &step, &isNaN); err != nil {
			return nil, err
		}
		metrics = append(metrics, RunMetric{run, scannedMetric(key, value, timestamp, step, isNaN)})
	}
	return metrics, rows.Err()
}

// MetricHistories gives the logged values of one metric in several runs, ordered by run, timestamp, step and value; at most limit in all.
func (s *Store) MetricHistories(ctx context.Context, runIDs []string, key string, limit int) (history []RunMetric, err error) {
	err = s.view(ctx, func(t *tx) error {
		history, err = t.pickRunMetrics(key, "SELECT run_uuid, "+historyColumns+" FROM metrics"+t.byRunAndKey()+
			" WHERE key = ? AND run_uuid IN ? ORDER BY run_uuid, timestamp, step, value, is_nan LIMIT ?", key, runIDs, limit)
		return err
	})
	return history, err
}

// StepRange limits a history to steps, both ends included.
type StepRange struct{ First, Last int64 }

// SampleMetricHistories gives at most limit values for each run, in the order of runIDs and by step, timestamp and value.
// They are spread evenly over the values logged; the first and the last are among them, of a single one the last.
func (s *Store) SampleMetricHistories(ctx context.Context, runIDs []string, key string, steps *StepRange, limit int) (sample []RunMetric, err error) {
	var found map[string][]RunMetric
	err = s.view(ctx, func(t *tx) error {
		var err error
		found, err = t.sampleHistories(sampling{key, steps, limit}, runIDs)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, id := range runIDs {
		sample = append(sample, found[id]...)
	}
	return sample, nil
}

// sampling says which values of each run's metric to take: limit of those at steps, or of all for nil.
type sampling struct {
	key   string
	steps *StepRange
	limit int
}

// of is FROM and WHERE for the values to choose from.
func (s sampling) of(t *tx, runIDs []string) *query {
	q := newQuery(" FROM metrics"+t.byRunAndKey()+" WHERE key = ? AND run_uuid IN ?", s.key, runIDs)
	if s.steps != nil {
		q.and(search.Clause{SQL: "step BETWEEN ? AND ?", Args: []any{s.steps.First, s.steps.Last}})
	}
	return q
}

// sampleHistories gives the samples by run.
func (t *tx) sampleHistories(s sampling, runIDs []string) (map[string][]RunMetric, error) {
	q := s.of(t, runIDs)
	counts, err := pick[runCount](t, "SELECT run_uuid AS run_id, count(*) AS n"+q.text.String()+" GROUP BY run_uuid ORDER BY run_uuid", q.args...)
	if err != nil {
		return nil, err
	}
	var whole []string
	var long []runCount
	for _, c := range counts {
		if c.N <= s.limit {
			whole = append(whole, c.RunID)
		} else {
			long = append(long, c)
		}
	}
	found := map[string][]RunMetric{}
	if len(whole) > 0 {
		q := s.of(t, whole)
		rows, err := t.pickRunMetrics(s.key, "SELECT run_uuid, "+historyColumns+q.text.String()+" ORDER BY run_uuid, step", q.args...)
		if err != nil {
			return nil, err
		}
		found = bySteps(rows)
	}
	if len(long) > 0 {
		err = t.sampleLongHistories(s, long, found)
	}
	return found, err
}

type runCount struct {
	RunID string
	N     int
}

// valuePlace is where a value is in a run's history by step, timestamp and value.
type valuePlace struct {
	RunID string `json:"run"`
	Step  int64  `json:"step"`
	nth   int    // of those at the step
}

// sampleLongHistories adds the samples of runs that have more values than the limit. It goes through their steps alone, which
// are in the index, and then reads what was logged at those it takes.
func (t *tx) sampleLongHistories(s sampling, runs []runCount, found map[string][]RunMetric) error {
	places, err := t.samplePlaces(s, runs)
	if err != nil {
		return err
	}
	wanted, err := json.Marshal(slices.CompactFunc(slices.Clone(places), func(a, b valuePlace) bool { return a.RunID == b.RunID && a.Step == b.Step }))
	if err != nil {
		return err
	}
	from := " FROM json_each(?) AS wanted CROSS JOIN metrics" + t.byRunAndKey() +
		" ON metrics.run_uuid = wanted.value->>'run' AND metrics.key = ? AND metrics.step = wanted.value->>'step'"
	if t.s.dialect == search.PostgreSQL {
		from = " FROM json_to_recordset(CAST(? AS json)) AS wanted(run text, step bigint) JOIN metrics ON metrics.run_uuid = wanted.run AND metrics.key = ? AND metrics.step = wanted.step"
	}
	rows, err := t.pickRunMetrics(s.key, "SELECT metrics.run_uuid, metrics.value, metrics.timestamp, metrics.step, metrics.is_nan"+from, string(wanted), s.key)
	if err != nil {
		return err
	}
	logged := bySteps(rows)
	for _, p := range places {
		values := logged[p.RunID]
		at := slices.IndexFunc(values, func(m RunMetric) bool { return m.Step == p.Step })
		logged[p.RunID] = values[at:]
		found[p.RunID] = append(found[p.RunID], values[at+p.nth])
	}
	return nil
}

// samplePlaces tells which values make each run's sample: the first of each of limit parts that differ by one in size at the
// most, but the last value instead of the first of the last part.
func (t *tx) samplePlaces(s sampling, runs []runCount) (places []valuePlace, err error) {
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.RunID
	}
	q := s.of(t, ids)
	rows, err := t.Raw("SELECT step"+q.text.String()+" ORDER BY run_uuid, step", q.args...).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for _, r := range runs {
		size, larger := r.N/s.limit, r.N%s.limit
		part, first, before := 0, 0, int64(0)
		for i := range r.N {
			var step any
			if !rows.Next() {
				return nil, errors.Join(rows.Err(), fmt.Errorf("run %s has %d values of a metric, not %d", r.RunID, i, r.N))
			}
			if err := rows.Scan(&step); err != nil {
				return nil, err
			}
			now, _ := step.(int64)
			if now != before || i == 0 {
				first, before = i, now
			}
			next := part*size + min(part, larger)
			if part == s.limit-1 {
				next = r.N - 1
			}
			if i == next {
				places = append(places, valuePlace{r.RunID, now, i - first})
				part++
			}
		}
	}
	return places, rows.Err()
}

// bySteps sorts values by step, timestamp and value, for each run.
func bySteps(rows []RunMetric) map[string][]RunMetric {
	byRun := map[string][]RunMetric{}
	for _, m := range rows {
		byRun[m.RunID] = append(byRun[m.RunID], m)
	}
	for _, values := range byRun {
		slices.SortFunc(values, func(a, b RunMetric) int {
			return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Value, b.Value), compareBool(a.IsNaN, b.IsNaN))
		})
	}
	return byRun
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
