package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// pageSize is the size of the measured pages, and pageFields how many params, tags and metrics each run has.
const (
	pageSize   = 100
	pageFields = 1
)

// pagesWorkload: the first and the last page in the default order, in databases with more and more runs. Before, every
// page is walked and must hold the right runs.
func (e *env) pagesWorkload() workload {
	w := workload{
		name:    fmt.Sprintf("runs/search, default order, pages of %d", pageSize),
		peers:   []string{fasttrackml, mlflow},
		prepare: preparePages,
	}
	if len(e.runs) > 1 {
		w.note = fmt.Sprintf("the peers have %s runs: from 10,000 on, fasttrackml refuses its own page tokens, and mlflow takes minutes",
			plain(float64(e.runs[0])))
	}
	for _, n := range e.runs {
		for _, page := range []string{"first", "last"} {
			w.figures = append(w.figures, figure{name: fmt.Sprintf("%s of %s runs", page, plain(float64(n))), unit: perSecond})
		}
	}
	if len(e.runs) > 1 {
		for _, page := range []string{"first", "last"} {
			w.figures = append(w.figures, figure{
				name:    fmt.Sprintf("cost of the %s grows, %s → %s runs", page, plain(float64(e.runs[0])), plain(float64(e.runs[len(e.runs)-1]))),
				unit:    times,
				targets: []target{atMost("", 2)},
			})
		}
	}
	return w
}

// preparePages starts a server for each size, of which the peers have the smallest; one that is slow to start has it among
// the runs of other workloads.
func preparePages(ctx context.Context, s *server) (round, error) {
	var pages [][]byte // first and last of each size
	var answers []*repeated
	var on []*server
	for _, n := range s.env.runs {
		if s.name != ours && len(pages) > 0 {
			break
		}
		sibling := s
		if !s.slow {
			var err error
			if sibling, err = s.env.start(ctx, s.product, s.storage.engine); err != nil {
				return nil, err
			}
		}
		experiment, seeded, err := sibling.seededExperiment(ctx, n, pageFields)
		if err != nil {
			return nil, err
		}
		want := newestFirst(seeded)
		last, err := walk(ctx, sibling, experiment, want)
		if err != nil {
			return nil, err
		}
		for _, p := range []struct {
			token string
			want  []string
		}{{"", want[:pageSize]}, {last, want[n-pageSize:]}} {
			body, err := json.Marshal(pageRequest(experiment, pageSize, p.token))
			if err != nil {
				return nil, err
			}
			pages = append(pages, body)
			on = append(on, sibling)
			answers = append(answers, &repeated{check: func(answer []byte) error {
				_, err := checkRuns(answer, p.want, pageFields)
				return err
			}})
		}
	}
	return func(ctx context.Context) ([]float64, error) {
		var rates []float64
		for i, body := range pages {
			l, err := drive(ctx, on[i], 1, s.env.window/2, func(c *client, _, _ int) error {
				answer, err := c.ok("POST", "runs/search", body)
				if err != nil {
					return err
				}
				return answers[i].verify(answer)
			})
			if err = errors.Join(err, answers[i].checkOthers()); err != nil {
				return nil, err
			}
			rates = append(rates, l.perSecond())
		}
		if n := len(rates); n > 2 && n == 2*len(s.env.runs) {
			rates = append(rates, rates[0]/rates[n-2], rates[1]/rates[n-1])
		}
		return rates, nil
	}, nil
}

func pageRequest(experiment string, size int, token string) map[string]any {
	request := map[string]any{"experiment_ids": []string{experiment}, "max_results": size}
	if token != "" {
		request["page_token"] = token
	}
	return request
}

// walk reads all runs, which must be these, and returns the token of the last page of pageSize.
func walk(ctx context.Context, s *server, experiment string, want []string) (last string, err error) {
	c, err := dial(ctx, s.base)
	if err != nil {
		return "", err
	}
	defer c.close()
	token := ""
	for len(want) > pageSize {
		size := min(1000, len(want)-pageSize)
		body, err := json.Marshal(pageRequest(experiment, size, token))
		if err != nil {
			return "", err
		}
		answer, err := c.ok("POST", "runs/search", body)
		if err != nil {
			return "", err
		}
		if token, err = checkRuns(answer, want[:size], pageFields); err != nil {
			return "", err
		}
		want = want[size:]
	}
	return token, nil
}
