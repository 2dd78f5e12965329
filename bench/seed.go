package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// seededRun is a run of the tables that are filled behind the servers' backs. Its data follow from its number, so that
// every answer can be foretold.
type seededRun struct {
	id     string
	number int
}

// seedStart is the start time of the first seeded run; each later one starts a millisecond later.
const seedStart = 1700000000000

func (r seededRun) accuracy() float64 { return float64(r.number*7919%10007) / 10007 }
func (r seededRun) optimizer() string { return []string{"adam", "sgd", "lamb"}[r.number%3] }

// seedRuns fills an experiment with finished runs of a few params, tags and metrics each; fields is how many of each.
// The oldest is the first.
func seedRuns(ctx context.Context, s *server, experiment string, n, fields int) ([]seededRun, error) {
	const atOnce = 20_000
	all := make([]seededRun, n)
	for i := range all {
		all[i] = seededRun{fmt.Sprintf("%08x%08x%016x", (i*2654435761)&0xffffffff, n, len(s.seeded)), i}
	}
	err := s.storage.insert(ctx, func(yield func([]rows) bool) {
		for some := range slices.Chunk(all, atOnce) {
			if !yield(s.runRows(experiment, some, fields)) {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("seed %s with runs: %w", s.name, err)
	}
	return all, nil
}

// runRows are the rows of runs in the tables of the server's product.
func (s *server) runRows(experiment string, seeded []seededRun, fields int) []rows {
	runs := rows{table: "runs", columns: []string{
		"run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status",
		"start_time", "end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id",
	}}
	if s.name == fasttrackml {
		runs.columns = append(runs.columns, "row_num")
	}
	params := rows{table: "params", columns: []string{"run_uuid", "key", "value"}}
	if s.name == fasttrackml {
		params.columns[2] = "value_str"
	}
	tags := rows{table: "tags", columns: []string{"run_uuid", "key", "value"}}
	metrics, latest := s.metricTable("metrics"), s.metricTable("latest_metrics")
	for _, r := range seeded {
		start := int64(seedStart + r.number)
		row := []any{
			r.id, fmt.Sprintf("run-%d", r.number), "UNKNOWN", "", "", "bench", "FINISHED",
			start, start + 1000, "", "active", "mlflow-artifacts:/" + experiment + "/" + r.id + "/artifacts", number(experiment),
		}
		if s.name == fasttrackml {
			row = append(row, r.number)
		}
		runs.values = append(runs.values, row)
		for i := range fields {
			param, key := fmt.Sprint(r.number%(10+i)), fmt.Sprintf("param_%d", i)
			if i == 0 {
				key, param = "optimizer", r.optimizer()
			}
			params.values = append(params.values, []any{r.id, key, param})
			tags.values = append(tags.values, []any{r.id, fmt.Sprintf("tag_%d", i), fmt.Sprint(r.number % (20 + i))})
			m := metric{Key: fmt.Sprintf("metric_%d", i), Value: float64(r.number % (30 + i)), Timestamp: start, Step: 1}
			if i == 0 {
				m.Key, m.Value = "accuracy", r.accuracy()
			}
			metrics.values = append(metrics.values, s.metricRow(r.id, m))
			latest.values = append(latest.values, s.metricRow(r.id, m))
		}
	}
	return []rows{runs, params, tags, metrics, latest}
}

// metricTable has the columns of metrics or latest_metrics, in the order of metricRow.
func (s *server) metricTable(name string) rows {
	r := rows{table: name, columns: []string{"run_uuid", "key", "value", "timestamp", "step", "is_nan"}}
	if s.name == fasttrackml {
		r.columns = append(r.columns, "context_id", map[string]string{"metrics": "iter", "latest_metrics": "last_iter"}[name])
	}
	return r
}

func (s *server) metricRow(run string, m metric) []any {
	row := []any{run, m.Key, m.Value, m.Timestamp, m.Step, false}
	if s.name == fasttrackml {
		row = append(row, 1, m.Step+1)
	}
	return row
}

// best are the runs that runs/search shall find for filterAndOrder, in its order.
func best(seeded []seededRun, atMost int) []string {
	var found []seededRun
	for _, r := range seeded {
		if r.optimizer() == "adam" && r.accuracy() > 0.5 {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b seededRun) int { return cmp.Compare(b.accuracy(), a.accuracy()) })
	return ids(found[:min(atMost, len(found))])
}

// newestFirst are the runs in the default order of runs/search.
func newestFirst(seeded []seededRun) []string {
	all := ids(seeded)
	slices.Reverse(all)
	return all
}

func ids(seeded []seededRun) []string {
	all := make([]string, len(seeded))
	for i, r := range seeded {
		all[i] = r.id
	}
	return all
}
