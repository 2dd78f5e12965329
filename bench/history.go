package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// sampleSize is how many points of each run MLflow's page of charts asks for.
const sampleSize = 320

func (e *env) historyWorkloads() []workload {
	least, most := e.points[0], e.points[len(e.points)-1]
	whole := workload{
		name:    fmt.Sprintf("history of %s points, whole", plain(float64(least))),
		figures: []figure{{unit: perSecond, targets: []target{atLeast(sqlite, 5, fasttrackml), atLeast(postgres, 4, fasttrackml)}}},
		peers:   []string{fasttrackml, mlflow},
		prepare: func(ctx context.Context, s *server) (round, error) {
			runs, err := s.seededHistory(ctx, 1, least)
			if err != nil {
				return nil, err
			}
			return s.ask(with("metrics/get-history", "run_id", runs[0], "metric_key", "loss"), func(answer []byte) error {
				// FastTrackML's come from PostgreSQL in any order.
				_, err := checkPoints(answer, runs, 0, least, s.name != fasttrackml)
				return err
			}), nil
		},
		limit:   func(ctx context.Context, b *bare) (round, error) { return b.history(ctx, least) },
		limitIs: map[string]string{sqlite: "the rows read and added up", postgres: "the rows read and added up"},
	}
	all := []workload{whole}
	for _, n := range e.points {
		peers := []string{mlflow}
		if n > least { // which takes genuine MLflow minutes
			peers = nil
		}
		paged, sampled := pagedHistory(n, peers), sampledHistory(fmt.Sprintf("history of %s points, sampled", plain(float64(n))), 1, n, peers)
		if peers == nil {
			paged.note, sampled.note = "mlflow takes minutes", "mlflow takes minutes"
		}
		all = append(all, paged, sampled)
	}
	return append(all, sampledHistory(fmt.Sprintf("get-history-bulk-interval of 20 runs of %s points", plain(float64(most/200))), 20, most/200,
		[]string{mlflow}, atLeast("", 50, mlflow)))
}

// pagedHistory reads all pages of 25,000, the most that MLflow's own client asks for.
func pagedHistory(n int, peers []string) workload {
	const size = 25_000
	return workload{
		name:    fmt.Sprintf("history of %s points, in pages of 25,000", plain(float64(n))),
		figures: []figure{{unit: pointsPerSec}},
		peers:   peers,
		prepare: func(ctx context.Context, s *server) (round, error) {
			runs, err := s.seededHistory(ctx, 1, n)
			if err != nil {
				return nil, err
			}
			pages := (n + size - 1) / size
			answers, tokens := make([]repeated, pages), make([]string, pages+1)
			for i := range answers {
				answers[i].check = func(answer []byte) (err error) {
					tokens[i+1], err = checkPoints(answer, runs, i*size, min((i+1)*size, n), true)
					return err
				}
			}
			read := func(c *client, _, i int) error {
				page := i % pages
				query := []string{"run_id", runs[0], "metric_key", "loss", "max_results", fmt.Sprint(size)}
				if page > 0 {
					query = append(query, "page_token", tokens[page])
				}
				answer, err := c.ok("GET", with("metrics/get-history", query...), nil)
				if err != nil {
					return err
				}
				return answers[page].verify(answer)
			}
			c, err := dial(ctx, s.base)
			if err != nil {
				return nil, err
			}
			defer c.close()
			for i := range pages {
				if err := read(c, 0, i); err != nil {
					return nil, err
				}
			}
			return func(ctx context.Context) ([]float64, error) {
				l, err := drive(ctx, s, 1, s.env.window, read)
				return []float64{l.perSecond() * float64(n) / float64(pages)}, err
			}, nil
		},
	}
}

func sampledHistory(name string, count, n int, peers []string, targets ...target) workload {
	return workload{
		name:    name,
		figures: []figure{{unit: perSecond, targets: targets}},
		peers:   peers,
		prepare: func(ctx context.Context, s *server) (round, error) {
			runs, err := s.seededHistory(ctx, count, n)
			if err != nil {
				return nil, err
			}
			query := []string{"metric_key", "loss", "max_results", fmt.Sprint(sampleSize)}
			for _, run := range runs {
				query = append(query, "run_ids", run)
			}
			return s.ask(with("metrics/get-history-bulk-interval", query...), func(answer []byte) error {
				return checkSample(answer, runs, n)
			}), nil
		},
	}
}

// ask sends one GET over and over.
func (s *server) ask(path string, check func(answer []byte) error) round {
	answers := repeated{check: check}
	return func(ctx context.Context) ([]float64, error) {
		l, err := drive(ctx, s, 1, s.env.window, func(c *client, _, _ int) error {
			answer, err := c.ok("GET", path, nil)
			if err != nil {
				return err
			}
			return answers.verify(answer)
		})
		return []float64{l.perSecond()}, errors.Join(err, answers.checkOthers())
	}
}

type point struct {
	metric
	RunID string `json:"run_id"`
}

type points struct {
	Metrics []point `json:"metrics"`
	Token   string  `json:"next_page_token"`
}

// checkPoints finds the steps from first to end, without end, in an answer.
func checkPoints(answer []byte, runs []string, first, end int, inOrder bool) (token string, err error) {
	var got points
	if err := json.Unmarshal(answer, &got); err != nil {
		return "", err
	}
	if len(got.Metrics) != end-first {
		return "", fmt.Errorf("%d points, want %d", len(got.Metrics), end-first)
	}
	if !inOrder {
		slices.SortFunc(got.Metrics, func(a, b point) int { return cmp.Compare(a.Step, b.Step) })
	}
	for i, m := range got.Metrics {
		if want := historyMetric(first + i); m.metric != want || m.RunID != "" && m.RunID != runs[0] {
			return "", fmt.Errorf("point %d is %+v, want %+v", i, m, want)
		}
	}
	return got.Token, nil
}

// checkSample finds about sampleSize points of each run, the first and the last among them.
func checkSample(answer []byte, runs []string, n int) error {
	var got points
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	count, ends := map[string]int{}, map[string]int{}
	for _, m := range got.Metrics {
		if m.metric != historyMetric(int(m.Step)) {
			return fmt.Errorf("a point is %+v", m)
		}
		count[m.RunID]++
		if m.Step == 0 || m.Step == int64(n-1) {
			ends[m.RunID]++
		}
	}
	for _, run := range runs {
		if c := count[run]; c < min(n, sampleSize)*9/10 || c > sampleSize*11/10 || ends[run] != 2 {
			return fmt.Errorf("%d points of run %s, with %d of its first and last", c, run, ends[run])
		}
	}
	if len(count) != len(runs) {
		return fmt.Errorf("points of %d runs, want %d", len(count), len(runs))
	}
	return nil
}

func historyMetric(step int) metric {
	return metric{Key: "loss", Value: float64(step%1000) + 0.125, Timestamp: int64(seedStart + step), Step: int64(step)}
}

// seededHistory is so many runs with n points of the metric loss, made once for each server.
func (s *server) seededHistory(ctx context.Context, count, n int) ([]string, error) {
	name := fmt.Sprintf("history-%d-%d", count, n)
	if made, ok := s.histories[name]; ok {
		return made, nil
	}
	runs, err := newRuns(ctx, s, count)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		metrics, latest := s.metricTable("metrics"), s.metricTable("latest_metrics")
		for step := range n {
			metrics.values = append(metrics.values, s.metricRow(run, historyMetric(step)))
		}
		latest.values = metrics.values[n-1:]
		if err := s.storage.insert(ctx, together(metrics, latest)); err != nil {
			return nil, fmt.Errorf("seed %s with a history: %w", s.name, err)
		}
	}
	s.histories[name] = runs
	return runs, s.storage.settle(ctx)
}
