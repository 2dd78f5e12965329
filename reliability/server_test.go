package reliability_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is one greenroom server, of the real binary, on a port and a folder that stay the same when it starts again.
type server struct {
	t    testing.TB
	port int
	url  string
	args []string
	env  []string
	dir  string

	under []string   // a program that starts it, with its arguments
	files []*os.File // which that gets, from file descriptor 3 on

	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	output  *output       // of all its processes
}

// newServer prepares a server on the database at uri; flags are more of its own. It is killed after the test.
func newServer(t testing.TB, uri string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, port: freePort(t), dir: t.TempDir(), output: new(output), env: environment(t)}
	s.url = "http://127.0.0.1:" + strconv.Itoa(s.port)
	s.args = append([]string{
		"server", "--backend-store-uri", uri, "--port", strconv.Itoa(s.port),
		"--artifacts-destination", filepath.Join(s.dir, "artifacts"), "--drain-time", "0s",
	}, flags...)
	t.Cleanup(func() {
		if s.running() {
			s.kill()
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", s.url, s.output)
		}
	})
	return s
}

// startServer starts a server and waits until it is ready.
func startServer(t testing.TB, uri string, flags ...string) *server {
	t.Helper()
	s := newServer(t, uri, flags...)
	s.start()
	return s
}

// on gives the server, while it does not run, another database and an empty output.
func (s *server) on(uri string) { s.args[2], s.output = uri, new(output) }

// launch starts the process and does not wait.
func (s *server) launch() {
	s.t.Helper()
	command := slices.Concat(s.under, []string{binary}, s.args)
	s.process = exec.Command(command[0], command[1:]...)
	s.process.ExtraFiles = s.files
	s.process.Dir, s.process.Env = s.dir, s.env
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.SysProcAttr = mortal()
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended, process := make(chan struct{}), s.process
	s.ended = ended
	go func() {
		_ = process.Wait() // ProcessState has all of it
		close(ended)
	}()
}

// start starts the process and gives the time it took until it was ready.
func (s *server) start() time.Duration {
	s.t.Helper()
	begin := time.Now()
	s.launch()
	s.waitReady()
	return time.Since(begin)
}

func (s *server) waitReady() {
	s.t.Helper()
	eventually(s.t, s.url+" is ready", func() bool {
		if !s.running() {
			s.t.Fatalf("the server ended: %s", s.process.ProcessState)
		}
		return s.ready()
	})
}

// probes are asked for readiness; a connection that is kept would outlive the server.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// ready tells what /readyz answers now.
func (s *server) ready() bool {
	answer, err := probes.Get(s.url + "/readyz")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func (s *server) running() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal, which the process may have been too fast for.
func (s *server) signal(signal syscall.Signal) { _ = s.process.Process.Signal(signal) }

// kill ends the process as kill -9 does, and waits for its end.
func (s *server) kill() {
	s.signal(syscall.SIGKILL)
	<-s.ended
}

// stop ends the process as SIGTERM does, which has to succeed.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(deadline):
		s.kill()
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %s", s.process.ProcessState)
	}
}

// output collects what processes print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String gives the end of what was printed.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text.String()
	return text[max(0, len(text)-10_000):]
}

// caller sends one request at a time over its own connection, without retries.
type caller struct {
	url    string
	client *http.Client
}

func newCaller(url string) *caller {
	return &caller{url, &http.Client{Transport: &http.Transport{}, Timeout: deadline}}
}

func (c *caller) close() { c.client.CloseIdleConnections() }

// call sends fields as JSON (GET: as a query, by hand in path) to MLflow's API and decodes a 200's answer. The error is the
// connection's; the text is that of another answer.
func (c *caller) call(method, path string, fields, answer any) (status int, text string, err error) {
	var body io.Reader
	if fields != nil {
		encoded, err := json.Marshal(fields)
		if err != nil {
			return 0, "", err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, c.url+"/api/2.0/mlflow/"+path, body)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	received, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	if response.StatusCode == http.StatusOK && answer != nil {
		if err := json.Unmarshal(received, answer); err != nil {
			return 0, "", fmt.Errorf("%s answered %q: %w", path, received, err)
		}
	}
	return response.StatusCode, strings.TrimSpace(string(received)), nil
}

// must is call for what has to succeed. A 503 is asked again, as clients do: the server may still hold connections to a
// database that was away.
func (c *caller) must(t testing.TB, method, path string, fields, answer any) {
	t.Helper()
	status, text, err := c.call(method, path, fields, answer)
	for attempt := 1; status == http.StatusServiceUnavailable && attempt < 50; attempt++ {
		time.Sleep(pace)
		status, text, err = c.call(method, path, fields, answer)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s %v: %d %s %v", method, path, fields, status, text, err)
	}
}
