package reliability_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// TestR32_BigRequestsAtOnceDoNotEndTheServer sends many of the largest batches and wide searches together to a server that is
// told to do with little memory. Each is answered or shed, and the server goes on.
func TestR32_BigRequestsAtOnceDoNotEndTheServer(t *testing.T) {
	s := newServer(t, modelstest.EmptySQLite(t))
	s.env = append(s.env, "GOMEMLIMIT=128MiB")
	s.start()
	c := newCaller(s.url)
	defer c.close()
	var made struct {
		Run struct {
			Info struct {
				RunID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	c.must(t, "POST", "runs/create", map[string]any{"experiment_id": "0"}, &made)
	metrics := make([]metric, 900)
	for i := range metrics {
		metrics[i] = metric{"m", float64(i), 1, int64(i)}
	}
	for part := range int64(size(5, 100)) {
		for i := range metrics {
			metrics[i].Step = part*900 + int64(i)
		}
		c.must(t, "POST", "runs/log-batch", map[string]any{"run_id": made.Run.Info.RunID, "metrics": metrics}, nil)
	}
	params := make([]pair, 100)
	for i := range params {
		params[i] = pair{"p" + strconv.Itoa(i), strings.Repeat("v", 6000)}
	}
	var answered, shed atomic.Int64
	var most int64
	var done sync.WaitGroup
	clients, rounds := 32, size(3, 100)
	for i := range clients {
		done.Go(func() {
			c := newCaller(s.url)
			defer c.close()
			for range rounds {
				method, path, fields := "GET", "metrics/get-history?metric_key=m&run_id="+made.Run.Info.RunID, any(nil)
				switch i % 4 {
				case 1:
					method, path, fields = "POST", "runs/log-batch", map[string]any{"run_id": made.Run.Info.RunID, "metrics": metrics, "params": params}
				case 2: // many values in few bytes, and nothing that anybody needs
					ignored := any(make([]int, 5_000_000))
					if i%8 == 2 {
						ignored = make([]struct{}, 2_000_000)
					}
					method, path, fields = "POST", "runs/search", map[string]any{"experiment_ids": []string{"0"}, "ignored": ignored}
				case 3:
					method, path, fields = "POST", "runs/search", map[string]any{"experiment_ids": []string{"0"}, "max_results": 50_000}
				}
				status, text, err := c.call(method, path, fields, nil)
				switch {
				case err == nil && status == http.StatusOK:
					answered.Add(1)
				case err == nil && status == http.StatusServiceUnavailable:
					shed.Add(1)
				default:
					t.Errorf("%s: %d %.300s %v", path, status, text, err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-tick.C:
			most = max(most, s.memory())
			continue
		case <-finished:
		}
		break
	}
	c.must(t, "GET", "experiments/get?experiment_id=0", nil, nil)
	if most > 1<<30 {
		t.Errorf("the server took %d MiB", most>>20)
	}
	report(t, "R32", "clients", clients, "requests", clients*rounds, "answered", answered.Load(), "shed", shed.Load(), "memory_max", fmt.Sprintf("%dMiB", most>>20))
	s.stop()
}
