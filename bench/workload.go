package main

import (
	"context"
	"fmt"
)

// limit is the contestant that writes and reads the same rows without a server.
const limit = "limit"

// workload is one row of the issue of what is measured: a few figures, taken from each contestant in every round.
type workload struct {
	name    string
	figures []figure
	engines []string // nil for both
	peers   []string // who serves it, besides ours
	prepare func(ctx context.Context, s *server) (round, error)
	// limit is what is measured without a server, if anything.
	limit func(ctx context.Context, l *bare) (round, error)
	// limitIs says what the limit is, on each engine.
	limitIs map[string]string
	// note says which peers are left out, and why.
	note string
}

// round measures once and returns a value for each figure, or nothing if a contestant sits this round out.
type round func(ctx context.Context) ([]float64, error)

// figure is one number that a round yields.
type figure struct {
	name    string
	unit    unit
	targets []target
}

// unit is how a figure is written, and whether less of it is better.
type unit struct {
	name  string
	less  bool
	scale float64 // what the value is divided by
}

var (
	perSecond     = unit{name: "req/s", scale: 1}
	metricsPerSec = unit{name: "metrics/s", scale: 1}
	pointsPerSec  = unit{name: "points/s", scale: 1}
	runsPerSec    = unit{name: "runs/s", scale: 1}
	filesPerSec   = unit{name: "files/s", scale: 1}
	mibPerSec     = unit{name: "MiB/s", scale: 1 << 20}
	milliseconds  = unit{name: "ms", scale: 1e-3, less: true}
	mib           = unit{name: "MiB", scale: 1 << 20, less: true}
	times         = unit{name: "×", scale: 1, less: true}
)

// target is what ours shall reach on an engine ("" for both).
type target struct {
	engine string
	// against a contestant: ours is at least this many times better, by the median of the rounds' ratios.
	against string
	times   float64
	// atMost is the bound of ours itself, in the figure's base unit, where against is empty.
	atMost float64
}

func atLeast(engine string, times float64, against string) target {
	return target{engine: engine, against: against, times: times}
}

func atMost(engine string, bound float64) target { return target{engine: engine, atMost: bound} }

// workloads are all that can be measured, in the table's order.
func (e *env) workloads() []workload {
	var all []workload
	for _, topic := range [][]workload{
		startWorkloads(), loggingWorkloads(), {e.mixedWorkload()}, e.searchWorkloads(), e.historyWorkloads(), e.registryWorkloads(), e.artifactWorkloads(),
	} {
		all = append(all, topic...)
	}
	return all
}

// newRuns creates n runs in experiment 0 and returns their ids.
func newRuns(ctx context.Context, s *server, n int) ([]string, error) {
	c, err := dial(ctx, s.base)
	if err != nil {
		return nil, err
	}
	defer c.close()
	ids := make([]string, n)
	for i := range ids {
		if ids[i], err = createRun(c, "0"); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func createRun(c *client, experiment string) (string, error) {
	var answer struct {
		Run struct {
			Info struct {
				RunID        string `json:"run_id"`
				ExperimentID string `json:"experiment_id"`
			} `json:"info"`
		} `json:"run"`
	}
	request := map[string]any{"experiment_id": experiment, "start_time": 1700000000000, "user_id": "bench"}
	if err := c.call("POST", "runs/create", request, &answer); err != nil {
		return "", err
	}
	if info := answer.Run.Info; info.RunID == "" || info.ExperimentID != experiment {
		return "", fmt.Errorf("runs/create: answered run %q of experiment %q", info.RunID, info.ExperimentID)
	}
	return answer.Run.Info.RunID, nil
}

func createExperiment(c *client, name string) (string, error) {
	var answer struct {
		ID string `json:"experiment_id"`
	}
	err := c.call("POST", "experiments/create", map[string]any{"name": name}, &answer)
	return answer.ID, err
}
