package main

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
)

const (
	insertMetric = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
	upsertLatest = "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)" +
		" ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan"
)

// sqliteMetrics writes one metric of each of n runs and their latest in every transaction.
func (b *bare) sqliteMetrics(n int) round {
	return func(ctx context.Context) ([]float64, error) {
		runs, err := b.newRuns(ctx, n)
		if err != nil {
			return nil, err
		}
		insert, err := b.db.PrepareContext(ctx, insertMetric)
		if err != nil {
			return nil, err
		}
		defer insert.Close() //nolint:errcheck // nothing is left to lose
		upsert, err := b.db.PrepareContext(ctx, upsertLatest)
		if err != nil {
			return nil, err
		}
		defer upsert.Close() //nolint:errcheck // nothing is left to lose
		l, err := work(ctx, 1, b.env.window, func(_, i int) error {
			return inTransaction(ctx, b.db, func(tx *sql.Tx) error {
				insert, upsert := tx.StmtContext(ctx, insert), tx.StmtContext(ctx, upsert)
				for _, run := range runs {
					if _, err := insert.ExecContext(ctx, "loss", float64(i)+0.5, 1700000000000+i, run, i); err != nil {
						return err
					}
					if _, err := upsert.ExecContext(ctx, "loss", float64(i)+0.5, 1700000000000+i, run, i); err != nil {
						return err
					}
				}
				return nil
			})
		})
		return []float64{l.perSecond() * float64(n)}, err
	}
}

// sqliteBatches writes 1,000 metrics of a run and the latest of their keys in every transaction.
func (b *bare) sqliteBatches() round {
	return func(ctx context.Context) ([]float64, error) {
		run, err := b.newRun(ctx)
		if err != nil {
			return nil, err
		}
		l, err := work(ctx, 1, b.env.window, func(_, i int) error {
			batch := rows{table: "metrics", columns: []string{"key", "value", "timestamp", "run_uuid", "step", "is_nan"}}
			for _, m := range batchMetrics(i, batchSize) {
				batch.values = append(batch.values, []any{m.Key, m.Value, m.Timestamp, run, m.Step, 0})
			}
			return inTransaction(ctx, b.db, func(tx *sql.Tx) error {
				if err := insertRows(ctx, tx, batch); err != nil {
					return err
				}
				for _, v := range batch.values[batchSize-batchKeys:] {
					if _, err := tx.ExecContext(ctx, upsertLatest, v[:5]...); err != nil {
						return err
					}
				}
				return nil
			})
		})
		return []float64{l.perSecond() * batchSize}, err
	}
}

func inTransaction(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after the commit there is nothing to roll back
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

const postgresMetric = `WITH m AS (INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ($1, $2, $3, $4, $5, false))
INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ($1, $2, $3, $4, $5, false)
ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan`

// postgresMetrics writes a metric and its latest in one statement, by so many workers, each into a run of its own.
func (b *bare) postgresMetrics(workers int) round {
	return func(ctx context.Context) ([]float64, error) {
		runs, err := b.newRuns(ctx, workers)
		if err != nil {
			return nil, err
		}
		l, err := work(ctx, workers, b.env.window, func(w, i int) error {
			_, err := b.pool.Exec(ctx, postgresMetric, "loss", float64(i)+0.5, 1700000000000+i, runs[w], i)
			return err
		})
		return []float64{l.perSecond()}, err
	}
}

const (
	postgresUnnest = `INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT k, v, t, $1, s, false FROM unnest($2::text[], $3::float8[], $4::bigint[], $5::bigint[]) AS u (k, v, t, s)`
	postgresLatest = `INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT k, v, t, $1, s, false FROM unnest($2::text[], $3::float8[], $4::bigint[], $5::bigint[]) AS u (k, v, t, s)
ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan`
)

// postgresBatches writes 1,000 metrics of a run and the latest of their keys in every transaction, by so many workers.
func (b *bare) postgresBatches(workers int) round {
	return func(ctx context.Context) ([]float64, error) {
		runs, err := b.newRuns(ctx, workers)
		if err != nil {
			return nil, err
		}
		l, err := work(ctx, workers, b.env.window, func(w, i int) error {
			var keys []string
			var values []float64
			var timestamps, steps []int64
			for _, m := range batchMetrics(i, batchSize) {
				keys, values = append(keys, m.Key), append(values, m.Value)
				timestamps, steps = append(timestamps, m.Timestamp), append(steps, m.Step)
			}
			last := batchSize - batchKeys
			statements := &pgx.Batch{} // one transaction, one round trip
			statements.Queue(postgresUnnest, runs[w], keys, values, timestamps, steps)
			statements.Queue(postgresLatest, runs[w], keys[last:], values[last:], timestamps[last:], steps[last:])
			return b.pool.SendBatch(ctx, statements).Close()
		})
		return []float64{l.perSecond() * batchSize}, err
	}
}
