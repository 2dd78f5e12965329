package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// load is what closed-loop workers did within a window: each sends its next request when the one before was answered.
type load struct {
	done      int
	elapsed   time.Duration // until the last answer
	latencies []time.Duration
}

func (l load) perSecond() float64 { return float64(l.done) / l.elapsed.Seconds() }

// quantile is the latency that the share q of the steps did not exceed, in seconds.
func (l load) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(l.latencies))
	return sorted[int(math.Ceil(q*float64(len(sorted))))-1].Seconds()
}

// step is one request, or several that are counted as one, of worker w; i counts the worker's steps, the warm-up among them.
type step func(c *client, w, i int) error

// drive runs workers for the length of a window, each on a connection of its own and at least one step. Before, each takes
// a step that does not count: connections, statements and the first answer's full check are no part of what is measured.
func drive(ctx context.Context, s *server, workers int, window time.Duration, do step) (load, error) {
	clients := make([]*client, workers)
	for w := range clients {
		c, err := dial(ctx, s.base)
		if err != nil {
			return load{}, err
		}
		defer c.close()
		clients[w] = c
	}
	return work(ctx, workers, window, func(w, i int) error { return do(clients[w], w, i) })
}

// work is drive without connections.
func work(ctx context.Context, workers int, window time.Duration, do func(w, i int) error) (load, error) {
	if _, err := repeat(ctx, workers, 0, do); err != nil {
		return load{}, err
	}
	return repeat(ctx, workers, window, func(w, i int) error { return do(w, i+1) })
}

// repeat lets workers take steps until a window is over, each at least one.
func repeat(ctx context.Context, workers int, window time.Duration, do func(w, i int) error) (load, error) {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	latencies := make([][]time.Duration, workers)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	begun := time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := 0; i == 0 || ctx.Err() == nil; i++ {
				start := time.Now()
				if errs[w] = do(w, i); errs[w] != nil {
					cancel()
					return
				}
				latencies[w] = append(latencies[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	l := load{elapsed: time.Since(begun), latencies: slices.Concat(latencies...)}
	l.done = len(l.latencies)
	for _, err := range errs {
		if err != nil {
			return load{}, err
		}
	}
	return l, nil
}
