package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

func loggingWorkloads() []workload {
	all := []workload{
		logMetric(1, atLeast(sqlite, 1.5, fasttrackml), atLeast(postgres, 4, fasttrackml)),
		logMetric(16, atLeast(sqlite, 5, fasttrackml), atLeast(sqlite, 0.5, limit), atLeast(postgres, 6, fasttrackml), atLeast(postgres, 0.6, limit)),
	}
	for _, workers := range []int{1, 8} {
		all = append(all, logBatch(workers,
			atLeast(sqlite, 1.2, fasttrackml), atLeast(sqlite, 0.75, limit), atLeast(postgres, 1.5, fasttrackml), atLeast(postgres, 0.75, limit)))
	}
	return append(all, trainingRun())
}

// logMetric: every worker logs one metric after the other into a run of its own. Read back: as many points as were acknowledged.
func logMetric(workers int, targets ...target) workload {
	return workload{
		name:    fmt.Sprintf("log-metric, c=%d", workers),
		figures: []figure{{unit: perSecond, targets: targets}},
		peers:   []string{fasttrackml, mlflow},
		prepare: func(_ context.Context, s *server) (round, error) {
			return func(ctx context.Context) ([]float64, error) {
				l, err := s.logMetrics(ctx, workers, s.env.window)
				return []float64{l.perSecond()}, err
			}, nil
		},
		limit: func(ctx context.Context, b *bare) (round, error) {
			if b.engine == sqlite {
				return b.sqliteMetrics(workers), nil
			}
			return b.postgresMetrics(workers), nil
		},
		limitIs: map[string]string{
			sqlite:   fmt.Sprintf("%d rows and their latest in one transaction", workers),
			postgres: "each row and its latest in one statement, c=" + strconv.Itoa(workers),
		},
	}
}

func (s *server) logMetrics(ctx context.Context, workers int, window time.Duration) (load, error) {
	runs, err := newRuns(ctx, s, workers)
	if err != nil {
		return load{}, err
	}
	acknowledged := make([]int, workers)
	l, err := drive(ctx, s, workers, window, func(c *client, w, i int) error {
		body := fmt.Appendf(nil, `{"run_id":"%s","key":"loss","value":%d.5,"timestamp":%d,"step":%d}`, runs[w], i, seedStart+i, i)
		if err := c.post("runs/log-metric", body); err != nil {
			return err
		}
		acknowledged[w]++
		return nil
	})
	if err != nil {
		return load{}, err
	}
	for w, run := range runs {
		if err := checkHistory(ctx, s, run, "loss", acknowledged[w], func(i int) float64 { return float64(i) + 0.5 }); err != nil {
			return load{}, err
		}
	}
	return l, nil
}

// A batch holds so many metrics: batchKeys keys at batchSize/batchKeys steps.
const (
	batchSize = 1000
	batchKeys = 10
)

type metric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"`
	Step      int64   `json:"step"`
}

// batchMetrics are the metrics of a run's i-th batch of a size, step after step.
func batchMetrics(i, size int) []metric {
	all := make([]metric, size)
	for j := range all {
		step := int64(i*(size/batchKeys) + j/batchKeys)
		all[j] = metric{Key: "metric_" + strconv.Itoa(j%batchKeys), Value: float64(step) + 0.25, Timestamp: 1700000000000 + step, Step: step}
	}
	return all
}

// batchBody is the request's JSON, written by hand: encoding/json would cost the machine what the servers lack.
func batchBody(run string, metrics []metric) []byte {
	body := append(make([]byte, 0, 80*len(metrics)+100), `{"run_id":"`+run+`","metrics":[`...)
	for i, m := range metrics {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, `{"key":"`...), m.Key...), `","value":`...)
		body = strconv.AppendFloat(body, m.Value, 'f', -1, 64)
		body = strconv.AppendInt(append(body, `,"timestamp":`...), m.Timestamp, 10)
		body = strconv.AppendInt(append(body, `,"step":`...), m.Step, 10)
		body = append(body, '}')
	}
	return append(body, "]}"...)
}

// logBatch: every worker logs batches of 1,000 metrics into a run of its own. Read back: the points of each key.
func logBatch(workers int, targets ...target) workload {
	return workload{
		name:    fmt.Sprintf("log-batch of 1,000, c=%d", workers),
		figures: []figure{{unit: metricsPerSec, targets: targets}},
		peers:   []string{fasttrackml, mlflow},
		prepare: func(_ context.Context, s *server) (round, error) {
			return func(ctx context.Context) ([]float64, error) {
				runs, err := newRuns(ctx, s, workers)
				if err != nil {
					return nil, err
				}
				acknowledged := make([]int, workers)
				l, err := drive(ctx, s, workers, s.env.window, func(c *client, w, i int) error {
					if err := c.post("runs/log-batch", batchBody(runs[w], batchMetrics(i, batchSize))); err != nil {
						return err
					}
					acknowledged[w]++
					return nil
				})
				if err != nil {
					return nil, err
				}
				for w, run := range runs {
					for _, key := range []string{"metric_0", fmt.Sprintf("metric_%d", batchKeys-1)} {
						if err := checkHistory(ctx, s, run, key, acknowledged[w]*batchSize/batchKeys, func(i int) float64 { return float64(i) + 0.25 }); err != nil {
							return nil, err
						}
					}
				}
				return []float64{l.perSecond() * batchSize}, nil
			}, nil
		},
		limit: func(_ context.Context, b *bare) (round, error) {
			if b.engine == sqlite {
				return b.sqliteBatches(), nil
			}
			return b.postgresBatches(workers), nil
		},
		limitIs: map[string]string{
			sqlite:   "1,000 rows in INSERTs of 100 and their latest in one transaction",
			postgres: "1,000 rows by unnest and their latest in one transaction, c=" + strconv.Itoa(workers),
		},
	}
}

// checkHistory reads a metric back: n points, whose values by step are those of value.
func checkHistory(ctx context.Context, s *server, run, key string, n int, value func(i int) float64) error {
	c, err := dial(ctx, s.base)
	if err != nil {
		return err
	}
	defer c.close()
	seen := make([]bool, n)
	for token, more := "", true; more; more = token != "" {
		query := []string{"run_id", run, "metric_key", key, "max_results", "25000"}
		if token != "" {
			query = append(query, "page_token", token)
		}
		var page struct {
			Metrics []metric `json:"metrics"`
			Next    string   `json:"next_page_token"`
		}
		if err := c.call("GET", with("metrics/get-history", query...), nil, &page); err != nil {
			return err
		}
		for _, m := range page.Metrics {
			if m.Step < 0 || m.Step >= int64(n) || seen[m.Step] || m.Value != value(int(m.Step)) {
				return fmt.Errorf("%s: history of %s has %+v; %d points were acknowledged", s.name, key, m, n)
			}
			seen[m.Step] = true
		}
		token = page.Next
	}
	for step, found := range seen {
		if !found {
			return fmt.Errorf("%s: history of %s lacks step %d of %d acknowledged points", s.name, key, step, n)
		}
	}
	return nil
}

// A training run's life.
const (
	lifeParams  = 20
	lifeTags    = 20
	lifeBatches = 50
	lifeMetrics = batchKeys
)

// trainingRun: a run is created, gets params and tags one by one as clients send them, batches of metrics, and an end.
// Read back: the run with all of it.
func trainingRun() workload {
	const workers = 8
	return workload{
		name: fmt.Sprintf("a training run's life, c=%d", workers),
		figures: []figure{{unit: runsPerSec, targets: []target{
			atLeast(sqlite, 4, fasttrackml), atLeast(sqlite, 40, mlflow), atLeast(postgres, 5, fasttrackml),
		}}},
		peers: []string{fasttrackml, mlflow},
		prepare: func(_ context.Context, s *server) (round, error) {
			return func(ctx context.Context) ([]float64, error) {
				runs := make([][]string, workers)
				l, err := drive(ctx, s, workers, s.env.window, func(c *client, w, _ int) error {
					run, err := live(c)
					runs[w] = append(runs[w], run)
					return err
				})
				if err != nil {
					return nil, err
				}
				c, err := dial(ctx, s.base)
				if err != nil {
					return nil, err
				}
				defer c.close()
				for _, ids := range runs {
					for _, id := range ids {
						if err := checkLife(c, id); err != nil {
							return nil, err
						}
					}
				}
				return []float64{l.perSecond()}, nil
			}, nil
		},
	}
}

func live(c *client) (string, error) {
	run, err := createRun(c, "0")
	if err != nil {
		return "", err
	}
	for i := range lifeParams {
		if err := c.post("runs/log-parameter", fmt.Appendf(nil, `{"run_id":"%s","key":"param_%d","value":"%d"}`, run, i, i)); err != nil {
			return run, err
		}
	}
	for i := range lifeTags {
		if err := c.post("runs/set-tag", fmt.Appendf(nil, `{"run_id":"%s","key":"tag_%d","value":"%d"}`, run, i, i)); err != nil {
			return run, err
		}
	}
	for i := range lifeBatches {
		if err := c.post("runs/log-batch", batchBody(run, batchMetrics(i, lifeMetrics))); err != nil {
			return run, err
		}
	}
	return run, c.call("POST", "runs/update", map[string]any{"run_id": run, "status": "FINISHED", "end_time": 1700000001000}, nil)
}

func checkLife(c *client, id string) error {
	var answer struct {
		Run struct {
			Info struct {
				Status string `json:"status"`
			} `json:"info"`
			Data struct {
				Metrics []metric
				Params  []struct{ Key, Value string }
				Tags    []struct{ Key, Value string }
			} `json:"data"`
		} `json:"run"`
	}
	if err := c.call("GET", with("runs/get", "run_id", id), nil, &answer); err != nil {
		return err
	}
	data := answer.Run.Data
	tags := 0
	for _, t := range data.Tags {
		if len(t.Key) > 4 && t.Key[:4] == "tag_" && t.Key[4:] == t.Value {
			tags++
		}
	}
	params := 0
	for _, p := range data.Params {
		if p.Key == "param_"+p.Value {
			params++
		}
	}
	last := 0
	for _, m := range data.Metrics {
		if m.Step == lifeBatches-1 && m.Value == float64(m.Step)+0.25 {
			last++
		}
	}
	if answer.Run.Info.Status != "FINISHED" || tags != lifeTags || params != lifeParams || last != lifeMetrics {
		return fmt.Errorf("run %s: %s with %d of %d tags, %d of %d params, %d of %d metrics", id,
			answer.Run.Info.Status, tags, lifeTags, params, lifeParams, last, lifeMetrics)
	}
	return nil
}
