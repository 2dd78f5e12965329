package main

import (
	"context"
	"fmt"
)

// history reads n points of a run in the order of get-history.
func (b *bare) history(ctx context.Context, n int) (round, error) {
	run, err := b.newRun(ctx)
	if err != nil {
		return nil, err
	}
	metrics := rows{table: "metrics", columns: []string{"key", "value", "timestamp", "run_uuid", "step", "is_nan"}}
	for step := range n {
		m := historyMetric(step)
		metrics.values = append(metrics.values, []any{m.Key, m.Value, m.Timestamp, run, m.Step, false})
	}
	if err := b.storage.insert(ctx, together(metrics)); err != nil {
		return nil, err
	}
	if err := b.storage.settle(ctx); err != nil {
		return nil, err
	}
	const query = "SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = $1 AND key = $2 ORDER BY timestamp, step, value"
	read := b.readSQLite
	if b.pool != nil {
		read = b.readPostgreSQL
	}
	return func(ctx context.Context) ([]float64, error) {
		l, err := work(ctx, 1, b.env.window, func(_, _ int) error {
			got, err := read(ctx, query, run, "loss")
			if err == nil && got != n {
				err = fmt.Errorf("%d points, want %d", got, n)
			}
			return err
		})
		return []float64{l.perSecond()}, err
	}, nil
}

// scanner is what both drivers' rows have.
type scanner interface {
	Next() bool
	Scan(into ...any) error
	Err() error
}

func (b *bare) readSQLite(ctx context.Context, query string, args ...any) (int, error) {
	found, err := b.db.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	return count(found)
}

func (b *bare) readPostgreSQL(ctx context.Context, query string, args ...any) (int, error) {
	found, err := b.pool.Query(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	return count(found)
}

func count(found scanner) (n int, err error) {
	var m metric
	var isNaN bool
	for found.Next() {
		if err := found.Scan(&m.Key, &m.Value, &m.Timestamp, &m.Step, &isNaN); err != nil {
			return 0, err
		}
		n++
	}
	return n, found.Err()
}
