package reliability_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

func TestR33_BrokenRequestsLeaveNothingOpen(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		leaveNothing(t, "R33-sqlite", modelstest.EmptySQLite(t), "BEGIN IMMEDIATE")
	})
	t.Run("postgresql", func(t *testing.T) {
		leaveNothing(t, "R33-postgresql", modelstest.PostgreSQL(t), "BEGIN; LOCK TABLE runs, tags, metrics, latest_metrics, params, experiments, experiment_tags IN ACCESS EXCLUSIVE MODE")
	})
}

// poolGrowth is how many goroutines or open files more a server may have because its pools of connections were not yet full.
// Each way to break a request off comes more often than that.
const poolGrowth = 24

// leaveNothing breaks requests off in every way, again and again, while lock holds what they want for a while. Afterwards the
// server has as many goroutines and open files as after the first time, and no temporary files.
func leaveNothing(t *testing.T, number, uri, lock string) {
	t.Helper()
	const clients, patience = 60, 100 * time.Millisecond
	s := startServer(t, uri)
	c := newCaller(s.url)
	defer c.close()
	_, run := newRun(t, c, number)
	putFile(t, s, "big")
	driver, source, _ := modelstest.Source(uri)
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	var broken int
	round := func() {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), lock); err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		for i := range clients {
			done.Go(func() { giveUp(t, s, run, i, patience) })
			done.Go(func() { breakOff(t, s, run, i) })
		}
		done.Wait()
		if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		for i := range clients {
			done.Go(func() { breakOff(t, s, run, i) })
		}
		done.Wait()
		broken += 3 * clients
		c.must(t, "POST", "runs/log-metric", map[string]any{"run_id": run, "key": "m", "value": broken, "timestamp": 1}, nil)
		c.must(t, "POST", "runs/search", map[string]any{"experiment_ids": []string{"0"}}, nil)
	}
	round()
	before := s.settled()
	rounds := size(4, 50)
	for range rounds {
		round()
	}
	eventually(t, fmt.Sprintf("goroutines and open files are down to %+v", before), func() bool {
		now := s.usage()
		return now.goroutines <= before.goroutines+poolGrowth && now.files <= before.files+poolGrowth
	})
	after := s.settled()
	staged, err := filepath.Glob(filepath.Join(s.dir, "artifacts", ".greenroom-uploads", "*"))
	if err != nil || len(staged) > 0 {
		t.Errorf("uploads that were broken off have left %v (%v)", staged, err)
	}
	report(t, number, "rounds", rounds, "broken_requests", broken, "goroutines_before", before.goroutines, "goroutines_after", after.goroutines,
		"open_files_before", before.files, "open_files_after", after.files)
	s.stop()
}

// giveUp asks for what is locked, and hangs up before there is an answer.
func giveUp(t testing.TB, s *server, run string, i int, patience time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	path, body := "runs/search", `{"experiment_ids":["0"]}`
	switch i % 3 {
	case 1:
		path, body = "runs/log-metric", fmt.Sprintf(`{"run_id":%q,"key":"m","value":1,"timestamp":%d}`, run, i)
	case 2:
		path, body = "runs/log-batch", fmt.Sprintf(`{"run_id":%q,"tags":[{"key":"t%d","value":"v"}]}`, run, i)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/2.0/mlflow/"+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true}
	if response, err := transport.RoundTrip(request); err == nil { // a read on SQLite waits for no writer
		_, _ = io.Copy(io.Discard, response.Body) // until the patience ends
		response.Body.Close()
	}
}

// breakOff sends a request in part, or reads its answer in part, and resets the connection.
func breakOff(t testing.TB, s *server, run string, i int) {
	metric := fmt.Sprintf(`{"run_id":%q,"key":"m","value":1,"timestamp":%d}`, run, i)
	file := "PUT " + artifactPath + "cut/" + strconv.Itoa(i) + " HTTP/1.1\r\nHost: x\r\n"
	some := strings.Repeat("x", 300_000)
	requests := []struct {
		text string
		read int // how many bytes of the answer
	}{
		{"POST /api/2.0/mlflow/runs/log-metric HTTP/1.1\r\nHost:", 0},
		{post("runs/log-metric", metric)[:150], 0},
		{post("runs/log-metric", metric), 0},
		{post("runs/log-metric", metric[1:]), 1},
		{post("no/such/path", metric), 1},
		{post("runs/log-metric", strings.Replace(metric, run, "none", 1)), 1},
		{file + "Content-Length: 1000000\r\n\r\n" + some, 0},
		{file + "Transfer-Encoding: chunked\r\n\r\n493e0\r\n" + some + "\r\n5\r\nx", 0},
		{file + "Content-Length: 99999999999999\r\n\r\n", 0},
		{"GET " + artifactPath + "big/model.bin HTTP/1.1\r\nHost: x\r\n\r\n", 1000},
		{"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /ver", 10},
		{"not HTTP\r\n\r\n", 0},
	}
	request := requests[i%len(requests)]
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(request.text)) // fails where the server has refused it already
	if request.read > 0 && i%5 > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what is locked may have no answer
		_, _ = io.ReadFull(conn, make([]byte, request.read))
	}
	if i%2 == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset instead of a proper end
	}
}

// post is the text of a request to MLflow's API.
func post(path, body string) string {
	return fmt.Sprintf("POST /api/2.0/mlflow/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// usage is what a server holds.
type usage struct{ goroutines, files int }

var openFiles = regexp.MustCompile(`(?m)^process_open_fds (\d+)$`)

// usage is what the server says of itself.
func (s *server) usage() usage {
	s.t.Helper()
	answer, err := probes.Get(s.url + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	number := func(pattern *regexp.Regexp) int {
		n, err := strconv.Atoi(match(s.t, pattern, strings.NewReader(string(text))))
		if err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	return usage{number(goroutineCount), number(openFiles)}
}

// settled is what the server holds once that stays the same.
func (s *server) settled() usage {
	s.t.Helper()
	var last usage
	same := 0
	eventually(s.t, "goroutines and open files stay the same", func() bool {
		if now := s.usage(); now != last {
			last, same = now, 0
		} else {
			same++
		}
		return same >= 20
	})
	return last
}
