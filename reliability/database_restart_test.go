package reliability_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// newestClient is the MLflow whose client the tests run; compat_tests/venvs.py makes its environment.
const newestClient = "3.17.2"

// python is the interpreter of an environment with the newest MLflow client.
var python = sync.OnceValues(func() (string, error) {
	find := exec.Command("python3", "../compat_tests/venvs.py", newestClient)
	find.Stderr = os.Stderr
	path, err := find.Output()
	return strings.TrimSpace(string(path)), err
})

// client is the unmodified MLflow client with its default settings, writing all the time.
type client struct {
	t            testing.TB
	command      *exec.Cmd
	stdin        io.Closer
	errors       *output
	acknowledged atomic.Int64
	ended        chan struct{}
}

// startClient starts one with several threads; it needs an experiment and a registered model that are named as the scope.
func startClient(t testing.TB, s *server, j *journal, scope, threads string) *client {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, errors: new(output), ended: make(chan struct{})}
	c.command = exec.Command(interpreter, "testdata/client.py", s.url, scope, j.dir, threads)
	c.command.Env, c.command.Stderr, c.command.SysProcAttr = environment(t), c.errors, mortal()
	stdout, err := c.command.StdoutPipe()
	if err == nil {
		c.stdin, err = c.command.StdinPipe()
	}
	if err == nil {
		err = c.command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			c.acknowledged.Add(1)
		}
	}()
	return c
}

// waitFor waits for that many more acknowledgements.
func (c *client) waitFor(more int64) {
	c.t.Helper()
	enough := c.acknowledged.Load() + more
	eventually(c.t, "the client is answered", func() bool {
		select {
		case <-c.ended:
			c.t.Fatalf("the client ended:\n%s", c.errors)
		default:
		}
		return c.acknowledged.Load() >= enough
	})
}

// end lets the client finish, which has to succeed.
func (c *client) end() {
	c.t.Helper()
	c.stdin.Close()
	<-c.ended
	if err := c.command.Wait(); err != nil {
		c.t.Errorf("the client: %v\n%s", err, c.errors)
	}
}

func TestR8_RestartsOfPostgreSQLAreNoErrorToADefaultClient(t *testing.T) {
	t.Parallel()
	const scope = "r8"
	rounds := size(2, 20)
	var every time.Duration // in the full size 20 restarts take 10 minutes
	if *full {
		every = 30 * time.Second
	}
	cluster := modelstest.NewCluster(t, freePort(t))
	uri := cluster.EmptyDatabase()
	s, j := startServer(t, uri), newJournal(t)
	startLoad(t, s, j, scope, 0, nil, false) // the experiment and the model
	c := startClient(t, s, j, scope, "4")
	c.waitFor(20)
	var noticed, back, outages durations
	for range rounds {
		begin := time.Now()
		cluster.Stop("fast")
		stopped := time.Now()
		eventually(t, "/readyz says that the database is away", func() bool { return !s.ready() })
		noticed = append(noticed, time.Since(stopped))
		cluster.Start()
		started := time.Now()
		eventually(t, "/readyz says that the database is back", s.ready)
		back = append(back, time.Since(started))
		c.waitFor(20)
		outages = append(outages, time.Since(begin))
		time.Sleep(time.Until(begin.Add(every)))
	}
	wantWithin(t, 2*time.Second, "/readyz, to say that the database is away,", noticed.worst())
	wantWithin(t, 2*time.Second, "/readyz, to say that the database is back,", back.worst())
	c.end()
	s.stop()
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, "R8", "restarts", rounds, "attempted", sum.attempted, "acknowledged", sum.acknowledged, "client_errors", sum.attempted-sum.acknowledged,
		"lost", sum.lost, "duplicated", sum.duplicated, "not_ready_after_max", noticed.worst(), "ready_after_max", back.worst(), "until_20_writes_median", outages.median())
}
