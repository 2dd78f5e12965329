package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The products, as in -peers.
const (
	ours        = "greenroom"
	fasttrackml = "fasttrackml"
	mlflow      = "mlflow"
)

// product is a server that is measured.
type product struct {
	name    string
	program string
	// arguments start it with its own defaults, but for where it listens and keeps its data.
	arguments func(s storage, port int) []string
	env       []string
	// slow says that starting it takes many seconds: it is started as rarely as possible.
	slow bool
}

func greenroomProduct(binary string) *product {
	return &product{name: ours, program: binary, arguments: func(s storage, port int) []string {
		return []string{"server", "--backend-store-uri", mlflowURI(s), "--artifacts-destination", filepath.Join(s.dir, "artifacts"), "--port", strconv.Itoa(port)}
	}}
}

func mlflowProduct(python string) *product {
	return &product{name: mlflow, program: python, slow: true, arguments: func(s storage, port int) []string {
		return []string{"-m", "mlflow", "server", "--backend-store-uri", mlflowURI(s), "--artifacts-destination", filepath.Join(s.dir, "artifacts"), "--port", strconv.Itoa(port)}
	}, env: []string{"MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true"}}
}

func fasttrackmlProduct(program string) *product {
	return &product{name: fasttrackml, program: program, arguments: func(s storage, port int) []string {
		uri := "sqlite://" + s.file()
		if s.engine == postgres {
			uri = strings.Replace(s.url, "postgresql://", "postgres://", 1)
		}
		return []string{"server", "--database-uri", uri, "--default-artifact-root", filepath.Join(s.dir, "artifacts"), "--listen-address", fmt.Sprintf("127.0.0.1:%d", port)}
	}}
}

func mlflowURI(s storage) string {
	if s.engine == postgres {
		return s.url
	}
	return "sqlite:///" + s.file()
}

// server is a running one on storage of its own.
type server struct {
	*product
	storage storage
	env     *env
	base    string // its URL
	took    time.Duration
	cmd     *exec.Cmd
	ended   chan struct{}
	// What was put into its tables, by what it is.
	seeded    map[string]seededExperiment
	histories map[string][]string
}

// start starts a product on fresh storage and waits until it answers a question about the database.
func (e *env) start(ctx context.Context, p *product, engine string) (*server, error) {
	st, err := e.newStorage(ctx, engine)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(st.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &server{
		product: p, storage: st, env: e, base: fmt.Sprintf("http://127.0.0.1:%d", port), ended: make(chan struct{}), seeded: map[string]seededExperiment{},
		histories: map[string][]string{},
	}
	s.cmd = exec.Command(p.program, p.arguments(st, port)...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = st.dir, log, log
	s.cmd.Env = append(cleanEnvironment(), p.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begun := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // how it ended does not matter: while it is needed, a request fails
		close(s.ended)
	}()
	e.running = append(e.running, s)
	if err := s.awaitAnswer(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("start %s on %s: %w\n%s", p.name, engine, err, text), s.stop())
	}
	s.took = time.Since(begun)
	return s, nil
}

// longestStart is after what time a start is given up: genuine MLflow's takes minutes on a busy machine.
const longestStart = 10 * time.Minute

// awaitAnswer polls closely, since a start may take a few hundredths of a second.
func (s *server) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longestStart)
	defer cancel()
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for {
		c, err := dial(ctx, s.base)
		if err == nil {
			var status int
			status, _, err = c.do("GET", apiPath+"experiments/get?experiment_id=0", nil)
			c.close()
			if err == nil && status == 200 {
				return nil
			}
		}
		select {
		case <-every.C:
		case <-s.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the server and removes its storage.
func (s *server) stop() error {
	s.env.running = slices.DeleteFunc(s.env.running, func(r *server) bool { return r == s })
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL) // workers that are left
	<-s.ended
	return os.RemoveAll(s.storage.dir)
}

// memory is the proportional set size of the server's processes, in bytes; of a lone one its resident set size, which does not
// shrink when another server maps the same program.
func (s *server) memory() (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var processes []string
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (comm) state ppid pgrp session …
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 4 || fields[3] != strconv.Itoa(s.cmd.Process.Pid) {
			continue
		}
		processes = append(processes, filepath.Dir(stat))
	}
	size := "Pss:"
	if len(processes) == 1 {
		size = "Rss:"
	}
	total := 0.0
	for _, process := range processes {
		bytes, err := setSize(process, size)
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
}

func setSize(process, name string) (bytes float64, err error) {
	f, err := os.Open(filepath.Join(process, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == name {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no line %s", f.Name(), name)
}

// cleanEnvironment is this process's environment without what would steer a server.
func cleanEnvironment() []string {
	var kept []string
next:
	for _, v := range os.Environ() {
		for _, dropped := range []string{"MLFLOW_", "GREENROOM_", "FML_", "AWS_", "PG", "PYTHON", "VIRTUAL_ENV", "GOMAXPROCS", "GOGC", "GOMEMLIMIT"} {
			if strings.HasPrefix(v, dropped) {
				continue next
			}
		}
		kept = append(kept, v)
	}
	return kept
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func hostOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}
