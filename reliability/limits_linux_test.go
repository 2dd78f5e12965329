package reliability_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// memory is a number of bytes.
type memory int64

func (m memory) String() string { return strconv.FormatInt(int64(m)>>20, 10) + "MiB" }

// memory is what a server has resident now.
func (s *server) memory() memory {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return memory(kib << 10)
		}
	}
	s.t.Fatal("no VmRSS")
	return 0
}

// mostMemory is the most that a server had resident, at many moments, until something has finished. Between them it does
// something else.
func (s *server) mostMemory(finished <-chan struct{}, meanwhile func()) (most memory) {
	s.t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-tick.C:
			most = max(most, s.memory())
			meanwhile()
		case <-finished:
			tick.Stop()
			return most
		}
	}
}

// TestR20_WhatIsTooLargeIsRefused sends what is just beyond each limit, and what unpacks or parses to more than it looks.
func TestR20_WhatIsTooLargeIsRefused(t *testing.T) {
	const limit = 8 << 20
	names := size(300_000, 1_000_000)
	s := startServer(t, modelstest.EmptySQLite(t), "--max-request-size", strconv.Itoa(limit), "--max-artifact-size", strconv.Itoa(limit))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: deadline}
	const create = "/api/2.0/mlflow/experiments/create"
	keys := new(strings.Builder)
	for i := range names {
		keys.WriteString(`"` + shortName(i) + `":1,`)
	}
	var mebibyte bytes.Buffer
	packed := gzip.NewWriter(&mebibyte)
	if _, err := packed.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		method string
		path   string
		header http.Header
		body   []byte
		want   int
	}{
		{"a JSON body 1 byte too long", "POST", create, nil, bytes.Repeat([]byte(" "), limit+1), 413},
		{"a file 1 byte too long", "PUT", artifactPath + "a.bin", nil, make([]byte, limit+1), 413},
		{"a header of 1 MB", "GET", "/version", http.Header{"X-Long": {strings.Repeat("a", 1<<20)}}, nil, 431},
		{"a URL of 64 KiB", "GET", "/version?" + strings.Repeat("a", 64<<10), nil, nil, 431},
		{"a URL of 1 MB", "GET", "/version?" + strings.Repeat("a", 1<<20), nil, nil, 431},
		{"nesting of 100,000 levels", "POST", create, nil, []byte(`{"name":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"), 400},
		{strconv.Itoa(names) + " names", "POST", create, nil, []byte("{" + keys.String() + `"name":5}`), 400},
		{"a gzip bomb", "POST", create, http.Header{"Content-Encoding": {"gzip"}}, bytes.Repeat(mebibyte.Bytes(), 100), 400},
		{"a filter of 1 MB", "POST", "/api/2.0/mlflow/runs/search", nil, []byte(`{"experiment_ids":["0"],"filter":"` + strings.Repeat("a", 1<<20) + `"}`), 400},
	}
	before, rounds := s.memory(), size(3, 20)
	took := make([]durations, len(cases))
	for i := range rounds * len(cases) {
		c := cases[i%len(cases)]
		send := func() (*http.Response, error) {
			request, err := http.NewRequest(c.method, s.url+c.path, bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			maps.Copy(request.Header, c.header)
			return client.Do(request)
		}
		begin := time.Now()
		response, err := send()
		for attempt := 1; err != nil && attempt < 10; attempt++ { // a server that refuses does not wait for ever until its answer has arrived
			response, err = send()
		}
		took[i%len(cases)] = append(took[i%len(cases)], time.Since(begin))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.want || err != nil {
			t.Errorf("%s: %d %.200q %v, want %d", c.name, response.StatusCode, answer, err, c.want)
		}
	}
	growth := s.memory() - before
	most := memory(50 << 20)
	if *full {
		most = 64 << 20 // 1,000,000 names are a body nearly as long as one may be
	}
	if growth > most {
		t.Errorf("the server has grown by %s", growth)
	}
	slowest := 0
	for i := range took {
		if took[i].median() > took[slowest].median() {
			slowest = i
		}
	}
	report(t, "R20", "limits", len(cases), "rounds", rounds, "median", slices.Concat(took...).median(), "slowest", strconv.Quote(cases[slowest].name),
		"slowest_median", took[slowest].median(), "slowest_max", took[slowest].worst(), "memory_growth", growth)
	s.stop()
}

// shortName is another text for each number, of few letters.
func shortName(i int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
	if i < len(letters) {
		return letters[i : i+1]
	}
	return shortName(i/len(letters)-1) + shortName(i%len(letters))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestR19_SlowReadersHoldNoMemory starts downloads that nobody reads on, and asks other things meanwhile.
func TestR19_SlowReadersHoldNoMemory(t *testing.T) {
	s := startServer(t, modelstest.EmptySQLite(t))
	folder := filepath.Join(s.dir, "artifacts", "big")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "2g.bin"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(folder, "2g.bin"), 2<<30); err != nil { // sparse
		t.Fatal(err)
	}
	transport := &http.Transport{ReadBufferSize: 4 << 10}
	defer transport.CloseIdleConnections()
	before, n := s.memory(), size(20, 200)
	for range n {
		response, err := transport.RoundTrip(mustRequest(t, "GET", s.url+artifactPath+"big/2g.bin"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%d %v", response.StatusCode, err)
		}
	}
	growth := s.memory() - before
	took := others(t, s, 200)
	report(t, "R19", "readers", n, "memory_growth", growth, "others_median", took.median(), "others_max", took.worst())
	if growth > 16<<20+memory(n)*64<<10 {
		t.Errorf("%d slow readers hold %s", n, growth)
	}
	s.kill()
}

func mustRequest(t testing.TB, method, url string) *http.Request {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// others makes requests that have to succeed, and gives how long they took.
func others(t testing.TB, s *server, n int) (took durations) {
	t.Helper()
	c := newCaller(s.url)
	defer c.close()
	for range n {
		begin := time.Now()
		c.must(t, "GET", "experiments/get?experiment_id=0", nil, nil)
		took = append(took, time.Since(begin))
	}
	return took
}
