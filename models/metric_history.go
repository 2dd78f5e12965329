package models

import "context"

// RunMetric is a metric's value with the run that logged it.
type RunMetric struct {
	RunID string
	Metric
}

// MetricHistories gives the logged values of one metric in several runs, ordered by run, timestamp, step and value; at most limit in all.
func (s *Store) MetricHistories(ctx context.Context, runIDs []string, key string, limit int) (history []RunMetric, err error) {
	err = s.view(ctx, func(t *tx) error {
		history, err = pick[RunMetric](t, `SELECT run_uuid AS run_id, key, value, timestamp, step, is_nan FROM metrics
			WHERE key = ? AND run_uuid IN ? ORDER BY run_uuid, timestamp, step, value LIMIT ?`, key, runIDs, limit)
		return err
	})
	return history, err
}

// StepRange limits a history to steps, both ends included.
type StepRange struct{ First, Last int64 }

// SampleMetricHistories gives at most limit values for each run, in the order of runIDs and by step, timestamp and value.
// They are spread evenly over the values logged; the first and the last are among them, of a single one the last.
func (s *Store) SampleMetricHistories(ctx context.Context, runIDs []string, key string, steps *StepRange, limit int) (sample []RunMetric, err error) {
	where, args := "key = ? AND run_uuid IN ?", []any{limit, key, runIDs}
	if steps != nil {
		where += " AND step BETWEEN ? AND ?"
		args = append(args, steps.First, steps.Last)
	}
	var rows []RunMetric
	err = s.view(ctx, func(t *tx) error {
		rows, err = pick[RunMetric](t, `SELECT run_uuid AS run_id, key, value, timestamp, step, is_nan FROM (
				SELECT *, LAG(bucket) OVER w AS previous, LEAD(bucket) OVER w AS next FROM (
					SELECT *, NTILE(?) OVER (PARTITION BY run_uuid ORDER BY step, timestamp, value, is_nan) AS bucket FROM metrics WHERE `+where+`) AS bucketed
				WINDOW w AS (PARTITION BY run_uuid ORDER BY step, timestamp, value, is_nan)) AS neighbours
			WHERE previous IS NULL OR previous <> bucket OR next IS NULL
			ORDER BY run_uuid, step, timestamp, value, is_nan`, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	byRun := make(map[string][]RunMetric, len(runIDs))
	for _, m := range rows {
		byRun[m.RunID] = append(byRun[m.RunID], m)
	}
	for _, id := range runIDs {
		values := byRun[id]
		if n := len(values); n > limit { // the last value is beside the first of each part
			values = append(values[:n-2:n-2], values[n-1])
		}
		sample = append(sample, values...)
	}
	return sample, nil
}
