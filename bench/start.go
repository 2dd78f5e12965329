package main

import (
	"context"
	"os"
	"time"
)

func startWorkloads() []workload {
	return []workload{
		{
			name: "start on fresh storage",
			figures: []figure{
				{name: "first 200", unit: milliseconds, targets: []target{atLeast(sqlite, 1.0/2, fasttrackml), atLeast(postgres, 1.0/3, fasttrackml)}},
				{name: "idle memory (PSS)", unit: mib, targets: []target{atMost(sqlite, 40<<20), atMost(postgres, 45<<20)}},
			},
			peers:   []string{fasttrackml, mlflow},
			prepare: prepareStart,
		},
		{
			name:    "the program's file",
			figures: []figure{{unit: mib, targets: []target{atMost("", 60<<20)}}},
			engines: []string{sqlite},
			peers:   []string{fasttrackml},
			prepare: func(_ context.Context, s *server) (round, error) {
				return func(context.Context) ([]float64, error) {
					info, err := os.Stat(s.program)
					if err != nil {
						return nil, err
					}
					return []float64{float64(info.Size())}, nil
				}, nil
			},
		},
	}
}

// prepareStart: a new server is started on an empty database, and left alone before its memory is looked at. Of a slow
// one, the start that was needed anyway is the only one.
func prepareStart(ctx context.Context, s *server) (round, error) {
	if s.slow {
		used, err := s.idleMemory(ctx)
		values := []float64{s.took.Seconds(), used}
		return func(context.Context) ([]float64, error) {
			now := values
			values = nil
			return now, nil
		}, err
	}
	return func(ctx context.Context) ([]float64, error) {
		fresh, err := s.env.start(ctx, s.product, s.storage.engine)
		if err != nil {
			return nil, err
		}
		used, err := fresh.idleMemory(ctx)
		if err != nil {
			return nil, err
		}
		return []float64{fresh.took.Seconds(), used}, fresh.stop()
	}, nil
}

// idleMemory is what a server that has answered a few requests takes after a while without any.
func (s *server) idleMemory(ctx context.Context) (float64, error) {
	select {
	case <-time.After(s.env.window):
		return s.memory()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
