package models

import (
	"context"
	"slices"

	"gorm.io/gorm"

	"greenroom/search"
)

// logStatement writes metrics and tags to an active run in one round trip and one transaction, PostgreSQL's own around a
// statement. Each part waits for the one before, so that all writers lock rows in one order.
const logStatement = `WITH run AS (SELECT run_uuid, lifecycle_stage FROM runs WHERE run_uuid = $1),
	active AS (SELECT run_uuid FROM run WHERE lifecycle_stage = 'active'),
	history AS (INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
		SELECT m.key, m.value, m.timestamp, run_uuid, m.step, m.is_nan
		FROM active, unnest($2::text[], $3::double precision[], $4::bigint[], $5::bigint[], $6::boolean[]) AS m (key, value, timestamp, step, is_nan)
		ON CONFLICT DO NOTHING RETURNING 1),
	latest AS (INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
		SELECT m.key, m.value, m.timestamp, run_uuid, m.step, m.is_nan
		FROM active, unnest($7::text[], $8::double precision[], $9::bigint[], $10::bigint[], $11::boolean[]) AS m (key, value, timestamp, step, is_nan)
		WHERE (SELECT count(*) FROM history) >= 0 ` + laterWins + ` RETURNING 1),
	tagged AS (INSERT INTO tags (key, value, run_uuid)
		SELECT t.key, t.value, run_uuid FROM active, unnest($12::text[], $13::text[]) AS t (key, value)
		WHERE (SELECT count(*) FROM latest) >= 0 ` + lastTagWins + `)
	SELECT lifecycle_stage FROM run`

// fitsStatement tells whether logStatement does all that a batch asks for: params, new names and logged models need a look at what is stored.
func (s *Store) fitsStatement(b Batch) bool {
	return s.dialect == search.PostgreSQL && len(b.Params) == 0 &&
		!slices.ContainsFunc(b.Metrics, func(m Metric) bool { return m.ModelID != "" }) &&
		!slices.ContainsFunc(b.Tags, func(t Tag) bool { return t.Key == tagRunName })
}

// logAtOnce is LogBatch for what fitsStatement.
func (s *Store) logAtOnce(ctx context.Context, runID string, b Batch) error {
	args := []any{runID}
	for _, metrics := range [][]Metric{sortedMetrics(b.Metrics), latestPerKey(b.Metrics)} {
		args = append(args, metricArrays(metrics)...)
	}
	tags := lastPerKey(b.Tags)
	keys, values := make([]string, len(tags)), make([]string, len(tags))
	for i, t := range tags {
		keys[i], values[i] = t.Key, t.Value
	}
	args = append(args, keys, values)
	return retried(ctx, func() error {
		return s.connected(ctx, s.write, func(db *gorm.DB) error {
			t := &tx{DB: db, s: s}
			run := Run{ID: runID}
			ok, err := t.scanPlain(logStatement, args, &run.LifecycleStage)
			if err != nil {
				return err
			}
			if !ok {
				return runNotFound(runID)
			}
			return run.requireActive()
		})
	})
}

func metricArrays(metrics []Metric) []any {
	n := len(metrics)
	keys, values, timestamps, steps, nans := make([]string, n), make([]float64, n), make([]int64, n), make([]int64, n), make([]bool, n)
	for i, m := range metrics {
		keys[i], values[i], timestamps[i], steps[i], nans[i] = m.Key, m.Value, m.Timestamp, m.Step, m.IsNaN
	}
	return []any{keys, values, timestamps, steps, nans}
}
