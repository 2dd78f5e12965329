package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// mixedWorkload: loggers write while one client searches among 5,000 runs.
func (e *env) mixedWorkload() workload {
	const loggers = 16
	return workload{
		name: fmt.Sprintf("%d loggers while one reads", loggers),
		figures: []figure{
			{name: "log-metric", unit: perSecond, targets: []target{atLeast(sqlite, 5, fasttrackml), atLeast(postgres, 4, fasttrackml)}},
			{name: "p99 of runs/search", unit: milliseconds, targets: []target{atLeast("", 3, fasttrackml)}},
		},
		peers: []string{fasttrackml, mlflow},
		prepare: func(ctx context.Context, s *server) (round, error) {
			search, err := s.searching(ctx, e.searchedRuns, filterAndOrder)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) ([]float64, error) {
				var reads load
				var readErr error
				var wg sync.WaitGroup
				wg.Go(func() { reads, readErr = search(ctx, 2*e.window) })
				writes, err := s.logMetrics(ctx, loggers, 2*e.window)
				wg.Wait()
				if err := errors.Join(err, readErr); err != nil {
					return nil, err
				}
				return []float64{writes.perSecond(), reads.quantile(0.99)}, nil
			}, nil
		},
	}
}
