package mlflowapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/mlflowapi"
)

// logLines collects a server's log.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// about gives the entries that carry a request id.
func (l *logLines) about(t testing.TB, id string) (entries []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if entry["request_id"] == id {
			entries = append(entries, entry)
		}
	}
	return entries
}

func newLoggedServer(t testing.TB, change func(*mlflowapi.Config)) (*artifactServer, *logLines) {
	t.Helper()
	lines := &logLines{}
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		cfg.Log = slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
		change(cfg)
	})
	return s, lines
}

func TestObserve_EveryRequestHasAnIDInAnswerAndLog(t *testing.T) {
	s, lines := newLoggedServer(t, func(*mlflowapi.Config) {})
	resp, _ := ask(t, s, http.MethodGet, readPath, "", http.Header{"X-Request-Id": {"ci-42.a_b"}})
	if got := resp.Header.Get("X-Request-Id"); got != "ci-42.a_b" {
		t.Errorf("the caller's id became %q", got)
	}
	s.Close() // the log line follows the answer
	entries := lines.about(t, "ci-42.a_b")
	if len(entries) != 1 || entries[0]["route"] != "/api/2.0/mlflow/experiments/get" || entries[0]["status"] != 200.0 || entries[0]["client"] != "127.0.0.1" {
		t.Errorf("logged %v", entries)
	}
}

func TestObserve_DoesNotBelieveWhatClientsSayOfThemselves(t *testing.T) {
	s, lines := newLoggedServer(t, func(*mlflowapi.Config) {})
	var ids []string
	for _, id := range []string{"a b", strings.Repeat("x", 65), "é", `"}`, ""} {
		resp, _ := ask(t, s, http.MethodGet, readPath, "", http.Header{"X-Request-Id": {id}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Host": {"evil.example"}})
		got := resp.Header.Get("X-Request-Id")
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(got) || resp.StatusCode != http.StatusOK {
			t.Errorf("id %q became %q, %s", id, got, resp.Status)
		}
		ids = append(ids, got)
	}
	s.Close()
	for _, id := range ids {
		if entries := lines.about(t, id); len(entries) != 1 || entries[0]["client"] != "127.0.0.1" {
			t.Errorf("logged %v", entries)
		}
	}
}

// broken panics where a store would work.
type broken struct{ artifacts.Store }

func TestObserve_APanicIs500JSONAndLoggedOnceWithItsStack(t *testing.T) {
	s, lines := newLoggedServer(t, func(cfg *mlflowapi.Config) { cfg.Artifacts.Served = broken{} })
	resp, text := ask(t, s, http.MethodGet, "/api/2.0/mlflow-artifacts/artifacts/a.txt", "", http.Header{"X-Request-Id": {"p1"}})
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(text, `"error_code":"INTERNAL_ERROR"`) || !strings.Contains(text, "request id p1") || strings.Contains(text, "panic") {
		t.Errorf("%s %s", resp.Status, text)
	}
	s.Close()
	stacks, failures := 0, 0
	for _, entry := range lines.about(t, "p1") {
		if entry["level"] != "DEBUG" {
			failures++
		}
		if message, _ := entry["error"].(string); strings.Contains(message, "panic: ") && strings.Contains(message, "goroutine") {
			stacks++
		}
	}
	if stacks != 1 || failures != 1 {
		t.Errorf("%d stacks, %d failures in %v", stacks, failures, lines.about(t, "p1"))
	}
}

func TestMetrics_CountByRouteTemplate(t *testing.T) {
	s := newArtifactServer(t)
	ask(t, s, http.MethodGet, readPath, "", nil)
	ask(t, s, http.MethodGet, "/api/2.0/mlflow/experiments/get?experiment_id=99", "", nil)
	ask(t, s, http.MethodGet, "/api/2.0/mlflow/logged-models/m-1", "", nil)
	ask(t, s, http.MethodGet, "/secret/path", "", nil)
	ask(t, s, "FOO", "/other", "", nil)
	resp, text := ask(t, s, http.MethodGet, "/metrics", "", nil)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for _, want := range []string{
		`greenroom_http_request_duration_seconds_count{method="GET",route="/api/2.0/mlflow/experiments/get",status="200"} 1`,
		`greenroom_http_request_duration_seconds_count{method="GET",route="/api/2.0/mlflow/experiments/get",status="404"} 1`,
		`greenroom_http_request_duration_seconds_count{method="GET",route="/api/2.0/mlflow/logged-models/:model_id",status="404"} 1`,
		`greenroom_http_request_duration_seconds_count{method="GET",route="none",status="404"} 1`,
		`greenroom_http_request_duration_seconds_count{method="other",route="none",status="404"} 1`,
		`greenroom_http_requests_in_flight 1`,
		`greenroom_build_info{mlflow_version="3.17.2",version="test"} 1`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("an unknown path is a label")
	}
}

func TestProbes_UnderThePrefixAndAtTheRoot(t *testing.T) {
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.StaticPrefix = "/ml" })
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for path, want := range map[string]string{"/health": "OK", "/livez": "OK", "/readyz": "OK", "/version": "3.17.2"} {
			for _, prefix := range []string{"", "/ml"} {
				resp, text := ask(t, s, method, prefix+path, "", nil)
				if method == http.MethodHead {
					want = ""
				}
				if resp.StatusCode != http.StatusOK || text != want {
					t.Errorf("%s %s%s: %s %q", method, prefix, path, resp.Status, text)
				}
			}
		}
	}
	if resp, _ := ask(t, s, http.MethodGet, "/ml"+readPath, "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("the API under the prefix: %s", resp.Status)
	}
	if resp, _ := ask(t, s, http.MethodGet, readPath, "", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the API without the prefix: %s", resp.Status)
	}
}

func TestProbes_ReadyOnlyWithTheDatabase(t *testing.T) {
	s := newArtifactServer(t)
	if err := s.models.Close(); err != nil {
		t.Fatal(err)
	}
	if resp, text := ask(t, s, http.MethodGet, "/readyz", "", nil); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "TEMPORARILY_UNAVAILABLE") {
		t.Errorf("readyz: %s %s", resp.Status, text)
	}
	if resp, _ := ask(t, s, http.MethodGet, "/livez", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("livez: %s", resp.Status)
	}
}

func TestLimits_ALargeRequestIsRefusedAndItsSenderHearsIt(t *testing.T) {
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.MaxRequestBytes = 1 << 20 })
	for name, body := range map[string]io.Reader{
		"with its length":    strings.NewReader(`{"experiment_id":"` + strings.Repeat("x", 8<<20) + `"}`),
		"without its length": io.MultiReader(strings.NewReader(`{"experiment_id":"` + strings.Repeat("x", 8<<20) + `"}`)),
	} {
		resp, err := http.Post(s.URL+writePath, "application/json", body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "1048576 bytes") {
			t.Errorf("%s: %s %s %v", name, resp.Status, text, err)
		}
	}
}

func TestLimits_ArtifactsMayBeLarger(t *testing.T) {
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.MaxRequestBytes = 1 << 20 })
	req, err := http.NewRequest(http.MethodPut, s.URL+"/api/2.0/mlflow-artifacts/artifacts/big", io.LimitReader(zeros{}, 8<<20))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestLimits_DeepJSONIsAClientsMistake(t *testing.T) {
	s := newArtifactServer(t)
	body := `{"tags":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`
	resp, err := http.Post(s.URL+writePath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "nests deeper than 64") {
		t.Errorf("%s %s %v", resp.Status, text, err)
	}
}

// A request whose body arrives in pieces leaves no deadline behind that would end the connection's next request.
func TestLimits_ADeadlineEndsWithItsBody(t *testing.T) {
	deadlines := make(chan time.Time, 64)
	s := newArtifactServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.Config.Handler}
	go server.Serve(watchedListener{listener, deadlines}) //nolint:errcheck // ends with Close
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"experiment_id":"0","key":"k","value":"v"}`
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", writePath, len(body), body[:10])
	var first time.Time
	for first.IsZero() {
		first = <-deadlines
	}
	if left := time.Until(first); left <= 0 || left > 2*time.Minute {
		t.Errorf("a body may take %s", left)
	}
	io.WriteString(conn, body[10:]) //nolint:errcheck // the answer tells
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	for lifted := first; !lifted.IsZero(); {
		lifted = <-deadlines
	}
}

// watchedListener tells which read deadlines a server sets on its connections.
type watchedListener struct {
	net.Listener
	deadlines chan time.Time
}

func (l watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return watchedConn{conn, l.deadlines}, err
}

type watchedConn struct {
	net.Conn
	deadlines chan time.Time
}

func (c watchedConn) SetReadDeadline(t time.Time) error {
	select {
	case c.deadlines <- t:
	default:
	}
	return c.Conn.SetReadDeadline(t)
}
