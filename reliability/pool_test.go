package reliability_test

import (
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// patience is what a client with a common load balancer or gateway in between has. The server's own bounds add up to a quarter of it.
const patience = time.Minute

// TestR9_HalfOpenConnectionsAreGivenUp makes all connections to PostgreSQL half-open, again and again: sometimes so that new
// ones are, too, until all requests have been refused, sometimes for a moment, which leaves only the old ones dead.
func TestR9_HalfOpenConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	uri := modelstest.PostgreSQL(t)
	proxy, through := modelstest.NewProxy(t, uri)
	r, j := random(t), newJournal(t)
	s := startServer(t, through)
	rounds := size(2, 50)
	var answers, recoveries durations
	var refused int64
	goroutines := 0
	for round := range rounds {
		scope := "r" + strconv.Itoa(round)
		l := startLoad(t, s, j, scope, writers, r, true)
		l.waitFor(2 * writers)
		if round == 0 {
			goroutines = s.goroutines()
		}
		askers := startAskers(t, s, l, 3*writers)
		time.Sleep(between(r, time.Millisecond, 50*time.Millisecond))
		proxy.Stall()
		if round%2 == 0 {
			answers = append(answers, askers.untilRefused()...)
		} else {
			time.Sleep(between(r, time.Millisecond, time.Second))
		}
		proxy.Heal()
		healed := time.Now()
		if round%2 == 1 {
			answers = append(answers, askers.untilServed()...)
		}
		l.waitFor(2 * writers)
		recoveries = append(recoveries, time.Since(healed))
		l.end()
		refused += l.refused.Load()
		checkRound(t, s, uri, j, scope)
		if t.Failed() {
			t.FailNow()
		}
	}
	wantWithin(t, patience, "an answer", answers.worst())
	wantWithin(t, patience, "a recovery", recoveries.worst())
	left := 0
	eventually(t, "the goroutines of dead connections have ended", func() bool {
		left = s.goroutines()
		return left <= goroutines
	})
	s.stop()
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, "R9", "stalls", rounds, "writers", writers, "acknowledged", sum.acknowledged, "refused", refused, "lost", sum.lost, "duplicated", sum.duplicated,
		"answer_max", answers.worst(), "recovery_median", recoveries.median(), "recovery_max", recoveries.worst(), "goroutines_before", goroutines, "goroutines_after", left)
}

var goroutineCount = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// goroutines is how many the server says it has.
func (s *server) goroutines() int {
	s.t.Helper()
	answer, err := probes.Get(s.url + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := strconv.Atoi(match(s.t, goroutineCount, answer.Body))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// askers send requests one after the other until they are told what to wait for, each with a connection of its own.
type askers struct {
	wanted atomic.Int32 // the status to end with
	done   sync.WaitGroup
	mu     sync.Mutex
	took   durations
}

func startAskers(t testing.TB, s *server, l *load, n int) *askers {
	a := new(askers)
	fields := map[string]any{"experiment_id": l.experiment, "key": "asked", "value": "x"}
	for range n {
		c := newCaller(s.url)
		c.client.Transport = hinted{t, c.client.Transport}
		a.done.Go(func() {
			defer c.close()
			for {
				begin := time.Now()
				status, text, err := c.call(http.MethodPost, "experiments/set-experiment-tag", fields, nil)
				a.mu.Lock()
				a.took = append(a.took, time.Since(begin))
				a.mu.Unlock()
				if err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable {
					t.Errorf("set-experiment-tag: %d %s %v", status, text, err)
					return
				}
				if status == int(a.wanted.Load()) {
					return
				}
				if status == http.StatusServiceUnavailable {
					time.Sleep(pace)
				}
			}
		})
	}
	return a
}

// untilRefused ends each of them with a refusal, untilServed with a success. They give the times of all answers.
func (a *askers) untilRefused() durations { return a.until(http.StatusServiceUnavailable) }
func (a *askers) untilServed() durations  { return a.until(http.StatusOK) }

func (a *askers) until(status int32) durations {
	a.wanted.Store(status)
	a.done.Wait()
	return a.took
}

// hinted wants every 503 to say when to come back.
type hinted struct {
	t    testing.TB
	next http.RoundTripper
}

func (h hinted) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := h.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
		h.t.Errorf("%s: a 503 without Retry-After", request.URL.Path)
	}
	return response, err
}

// CloseIdleConnections is what http.Client looks for.
func (h hinted) CloseIdleConnections() { h.next.(*http.Transport).CloseIdleConnections() }

// TestR10_ManyClientsWaitForFewConnections lets 500 clients come at once, and locks what they want to change until the
// server has no connection left and says so.
func TestR10_ManyClientsWaitForFewConnections(t *testing.T) {
	t.Parallel()
	const clients = 500
	uri := modelstest.PostgreSQL(t)
	s := startFleet(t, uri, 1)[0]
	db, _ := modelstest.Open(t, uri)
	setUp := newCaller(s.url)
	defer setUp.close()
	experiment, run := newRun(t, setUp, "R10")
	setUp.must(t, "POST", "registered-models/create", map[string]any{"name": "R10"}, nil)
	rounds, perClient := size(1, 10), size(4, 20)
	var served, refused atomic.Int64
	var mu sync.Mutex
	var answers durations
	for round := range rounds {
		lock, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Exec("SELECT FROM runs WHERE run_uuid = $1 FOR UPDATE", run); err != nil {
			t.Fatal(err)
		}
		before := refused.Load()
		var done sync.WaitGroup
		for client := range clients {
			done.Go(func() {
				c := newCaller(s.url)
				defer c.close()
				c.client.Transport = hinted{t, c.client.Transport}
				for n := range perClient {
					id := strconv.Itoa(round) + "-" + strconv.Itoa(client) + "-" + strconv.Itoa(n)
					path, fields := "runs/set-tag", map[string]any{"run_id": run, "key": "k" + strconv.Itoa(client%10), "value": id}
					switch (client + n) % 5 {
					case 1:
						path, fields = "runs/log-metric", map[string]any{"run_id": run, "key": "m", "value": n, "timestamp": client, "step": round}
					case 2:
						path, fields = "runs/search", map[string]any{"experiment_ids": []string{experiment}}
					case 3:
						path, fields = "model-versions/create", map[string]any{"name": "R10", "source": "s3://bucket/" + id}
					}
					begin := time.Now()
					status, text, err := c.call(http.MethodPost, path, fields, nil)
					mu.Lock()
					answers = append(answers, time.Since(begin))
					mu.Unlock()
					switch {
					case err == nil && status == http.StatusOK:
						served.Add(1)
					case err == nil && status == http.StatusServiceUnavailable:
						refused.Add(1)
					default:
						t.Errorf("%s: %d %s %v", path, status, text, err)
					}
				}
			})
		}
		eventually(t, "a request is refused", func() bool { return refused.Load() > before })
		if err := lock.Rollback(); err != nil {
			t.Fatal(err)
		}
		done.Wait()
	}
	wantWithin(t, patience/2, "99 of 100 answers", answers.p99())
	wantWithin(t, patience, "an answer", answers.worst())
	setUp.must(t, "POST", "runs/set-tag", map[string]any{"run_id": run, "key": "after", "value": "all"}, nil)
	found := deadlocks(t, db)
	if found > 0 || served.Load() == 0 {
		t.Errorf("%d deadlocks, %d requests served", found, served.Load())
	}
	report(t, "R10", "clients", clients, "connections", 20, "rounds", rounds, "requests", len(answers), "served", served.Load(), "refused", refused.Load(), "deadlocks", found,
		"answer_median", answers.median(), "answer_p99", answers.p99(), "answer_max", answers.worst())
}
