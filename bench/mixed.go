package main

import (
	"context"
	"encoding/json"
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
			experiment, seeded, err := s.seededExperiment(ctx, e.searchedRuns, searchFields)
			if err != nil {
				return nil, err
			}
			request, want := filterAndOrder(experiment, seeded)
			body, err := json.Marshal(request)
			if err != nil {
				return nil, err
			}
			answers := repeated{check: func(answer []byte) error {
				_, err := checkRuns(answer, want, searchFields)
				return err
			}}
			return func(ctx context.Context) ([]float64, error) {
				var reads load
				var readErr error
				var wg sync.WaitGroup
				wg.Go(func() {
					reads, readErr = drive(ctx, s, 1, 2*e.window, func(c *client, _, _ int) error {
						answer, err := c.ok("POST", "runs/search", body)
						if err != nil {
							return err
						}
						return answers.verify(answer)
					})
				})
				writes, err := s.logMetrics(ctx, loggers, 2*e.window)
				wg.Wait()
				if err != nil {
					return nil, err
				}
				if err := errors.Join(readErr, answers.checkOthers()); err != nil {
					return nil, err
				}
				return []float64{writes.perSecond(), reads.quantile(0.99)}, nil
			}, nil
		},
	}
}
