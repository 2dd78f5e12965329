package reliability_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// TestR32_BigRequestsAtOnceDoNotEndTheServer sends many of the largest batches and wide searches together to a server that is
// told to do with little memory. Each is answered or shed, and the server goes on.
func TestR32_BigRequestsAtOnceDoNotEndTheServer(t *testing.T) {
	if *full {
		t.Parallel() // for half an hour
	}
	s := newServer(t, modelstest.EmptySQLite(t))
	s.env = append(s.env, "GOMEMLIMIT=128MiB")
	s.start()
	c := newCaller(s.url)
	defer c.close()
	_, run := newRun(t, c, "R32")
	metrics := make([]metric, 900)
	for i := range metrics {
		metrics[i] = metric{"m", float64(i), 1, int64(i)}
	}
	for part := range int64(size(5, 100)) {
		for i := range metrics {
			metrics[i].Step = part*900 + int64(i)
		}
		c.must(t, "POST", "runs/log-batch", map[string]any{"run_id": run, "metrics": metrics}, nil)
	}
	params := make([]pair, 100)
	for i := range params {
		params[i] = pair{"p" + strconv.Itoa(i), strings.Repeat("v", 6000)}
	}
	requests := []struct {
		method, path string
		body         []byte
	}{
		{"GET", "metrics/get-history?metric_key=m&run_id=" + run, nil},
		{"POST", "runs/log-batch", encoded(t, map[string]any{"run_id": run, "metrics": metrics, "params": params})},
		// Many values in few bytes, and nothing that anybody needs.
		{"POST", "runs/search", encoded(t, map[string]any{"experiment_ids": []string{"0"}, "ignored": make([]int, 5_000_000)})},
		{"POST", "runs/search", encoded(t, map[string]any{"experiment_ids": []string{"0"}, "max_results": 50_000})},
		{"GET", "metrics/get-history?metric_key=m&run_id=" + run, nil},
		{"POST", "runs/log-batch", encoded(t, map[string]any{"run_id": run, "metrics": metrics, "params": params})},
		{"POST", "runs/search", encoded(t, map[string]any{"experiment_ids": []string{"0"}, "ignored": make([]struct{}, 2_000_000)})},
		{"POST", "runs/search", encoded(t, map[string]any{"experiment_ids": []string{"0"}, "max_results": 50_000})},
	}
	var answered, shed atomic.Int64
	callers := fleet{s}.callers(t, 32)
	var most memory
	another, rounds := lasting(2, 30*time.Minute), 0
	for ; another(rounds) && !t.Failed(); rounds++ {
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			together(callers, func(i int, c *caller) {
				r := requests[i%len(requests)]
				status, answer, err := exchange(c.client, r.method, s.url+"/api/2.0/mlflow/"+r.path, r.body)
				switch {
				case err == nil && status == http.StatusOK:
					answered.Add(1)
				case err == nil && status == http.StatusServiceUnavailable:
					shed.Add(1)
				default:
					t.Errorf("%s: %d %.300s %v", r.path, status, answer, err)
				}
			})
		}()
		most = max(most, s.mostMemory(finished, func() {}))
		if *full {
			time.Sleep(5 * time.Second) // other tests have the machine, too
		}
	}
	c.must(t, "GET", "experiments/get?experiment_id=0", nil, nil)
	if most > 1<<30 {
		t.Errorf("the server took %s", most)
	}
	report(t, "R32", "clients", len(callers), "rounds", rounds, "answered", answered.Load(), "shed", shed.Load(), "memory_max", most)
	s.stop()
}

func encoded(t testing.TB, fields any) []byte {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
