package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// searchFields is how many params, tags and metrics each run has that is searched.
const searchFields = 5

func (e *env) searchWorkloads() []workload {
	among := plain(float64(e.searchedRuns)) + " runs"
	all := []workload{
		searchRuns("runs/search, filter and order, "+among, e.searchedRuns, filterAndOrder, atLeast("", 6, fasttrackml)),
		searchRuns("runs/search, a page of 1,000, "+among, e.searchedRuns, func(experiment string, seeded []seededRun) (map[string]any, []string) {
			return pageRequest(experiment, 1000, ""), newestFirst(seeded)[:1000]
		}, atLeast("", 5, fasttrackml)),
	}
	return append(all, e.pagesWorkload())
}

// filterAndOrder is a search for the best runs, and what it shall find.
func filterAndOrder(experiment string, seeded []seededRun) (request map[string]any, want []string) {
	return map[string]any{
		"experiment_ids": []string{experiment}, "max_results": 100,
		"filter":   "metrics.accuracy > 0.5 and params.optimizer = 'adam'",
		"order_by": []string{"metrics.accuracy DESC"},
	}, best(seeded, 100)
}

// question is a search among an experiment's runs, and what it shall find.
type question func(experiment string, seeded []seededRun) (request map[string]any, want []string)

// searchRuns asks one question over and over.
func searchRuns(name string, n int, q question, targets ...target) workload {
	return workload{
		name:    name,
		figures: []figure{{unit: perSecond, targets: targets}},
		peers:   []string{fasttrackml, mlflow},
		prepare: func(ctx context.Context, s *server) (round, error) {
			search, err := s.searching(ctx, n, q)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) ([]float64, error) {
				l, err := search(ctx, s.env.window)
				return []float64{l.perSecond()}, err
			}, nil
		},
	}
}

// searching is one client that asks a question among n runs for the length of a window. Checked: which runs are found, in which
// order, with all their data.
func (s *server) searching(ctx context.Context, n int, q question) (search func(ctx context.Context, window time.Duration) (load, error), err error) {
	experiment, seeded, err := s.seededExperiment(ctx, n, searchFields)
	if err != nil {
		return nil, err
	}
	request, want := q(experiment, seeded)
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answers := repeated{check: func(answer []byte) error {
		_, err := checkRuns(answer, want, searchFields)
		return err
	}}
	return func(ctx context.Context, window time.Duration) (load, error) {
		l, err := drive(ctx, s, 1, window, func(c *client, _, _ int) error {
			answer, err := c.ok("POST", "runs/search", body)
			if err != nil {
				return err
			}
			return answers.verify(answer)
		})
		return l, errors.Join(err, answers.checkOthers())
	}, nil
}

type seededExperiment struct {
	id   string
	runs []seededRun
}

// seededExperiment is an experiment with n runs, made once for each server.
func (s *server) seededExperiment(ctx context.Context, n, fields int) (string, []seededRun, error) {
	name := fmt.Sprintf("seeded-%d-%d", n, fields)
	if made, ok := s.seeded[name]; ok {
		return made.id, made.runs, nil
	}
	c, err := dial(ctx, s.base)
	if err != nil {
		return "", nil, err
	}
	defer c.close()
	id, err := createExperiment(c, name)
	if err != nil {
		return "", nil, err
	}
	runs, err := seedRuns(ctx, s, id, n, fields)
	if err != nil {
		return "", nil, err
	}
	s.seeded[name] = seededExperiment{id, runs}
	return id, runs, s.storage.settle(ctx)
}

// checkRuns finds these runs in an answer of runs/search, each with its params, tags and metrics, and returns the next page's token.
func checkRuns(answer []byte, want []string, fields int) (token string, err error) {
	var page struct {
		Runs []struct {
			Info struct {
				RunID string `json:"run_id"`
			} `json:"info"`
			Data struct {
				Params, Tags, Metrics []struct{ Key string }
			} `json:"data"`
		} `json:"runs"`
		Token string `json:"next_page_token"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return "", err
	}
	var got []string
	for _, r := range page.Runs {
		got = append(got, r.Info.RunID)
		if d := r.Data; len(d.Params) != fields || len(d.Tags) < fields || len(d.Metrics) != fields {
			return "", fmt.Errorf("run %s has %d params, %d tags and %d metrics, want %d of each", r.Info.RunID, len(d.Params), len(d.Tags), len(d.Metrics), fields)
		}
	}
	if !slices.Equal(got, want) {
		return "", fmt.Errorf("found %d runs, want %d, or in another order", len(got), len(want))
	}
	return page.Token, nil
}

func number(id string) int {
	n, _ := strconv.Atoi(id) // an experiment's id is a number
	return n
}
