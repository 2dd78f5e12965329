package reliability_test

import (
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	full = flag.Bool("full", os.Getenv("GREENROOM_FULL") == "1", "run the tests in their full sizes, which GREENROOM_FULL=1 does too")
	part = flag.Float64("part", 1, "how much of the full sizes to run, 0.1 for a tenth; never less than the short ones")
	seed = flag.Uint64("seed", 0, "what decides where the tests break things; 0 takes a new one")
)

// binary is the greenroom under test: that of GREENROOM_TEST_BINARY, else one that is built for this process.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000) + 1
	}
	fmt.Println("seed", *seed)
	if binary = os.Getenv("GREENROOM_TEST_BINARY"); binary == "" {
		dir, err := os.MkdirTemp("", "greenroom-reliability-")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "greenroom")
		build := exec.Command("go", "build", "-trimpath", "-o", binary, "../cmd/greenroom")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			log.Printf("build greenroom: %v\n%s", err, output)
			return 1
		}
	}
	return m.Run()
}

// size is a number of rounds: the second one with -full, or the part of it that -part says.
func size(short, long int) int {
	if *full {
		return max(short, int(float64(long)**part))
	}
	return short
}

// lasting gives the function that tells, after so many rounds, whether there is another one: so many in all, or with -full as
// many as begin within a time from now.
func lasting(short int, long time.Duration) (another func(rounds int) bool) {
	end := time.Now().Add(time.Duration(float64(long) * *part))
	return func(rounds int) bool { return rounds < short || *full && time.Now().Before(end) }
}

// random is the test's own source of decisions, given by the seed and the test's name.
func random(t testing.TB) *rand.Rand {
	name := fnv.New64a()
	fmt.Fprint(name, t.Name())
	return rand.New(rand.NewPCG(*seed, name.Sum64()))
}

// between is a random duration.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// reports keeps lines whole that tests write at once.
var reports sync.Mutex

// report logs one line of figures, pairs of a name and a value, and appends it to the file of GREENROOM_RELIABILITY_REPORT.
// Durations are told in whole milliseconds.
func report(t testing.TB, number string, figures ...any) {
	t.Helper()
	line := fmt.Sprintf("%s seed=%d", number, *seed)
	for pair := range slices.Chunk(figures, 2) {
		if took, ok := pair[1].(time.Duration); ok {
			pair[1] = strconv.FormatInt(took.Milliseconds(), 10) + "ms"
		}
		line += fmt.Sprintf(" %v=%v", pair...)
	}
	t.Log(line)
	name := os.Getenv("GREENROOM_RELIABILITY_REPORT")
	if name == "" {
		return
	}
	reports.Lock()
	defer reports.Unlock()
	file, err := openReport(name)
	if err == nil {
		_, err = fmt.Fprintln(file, line)
		err = firstError(err, file.Close())
	}
	if err != nil {
		t.Errorf("report: %v", err)
	}
}

func openReport(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// durations are figures for a report: how long something took, again and again.
type durations []time.Duration

func (d durations) median() time.Duration { return d.at(len(d) / 2) }
func (d durations) p99() time.Duration    { return d.at(len(d) * 99 / 100) }
func (d durations) worst() time.Duration  { return d.at(len(d) - 1) }

func (d durations) at(i int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(d))[i]
}

// wantWithin wants something to have taken no longer than the limit, with -full: the short sizes run where other tests do, on any
// machine, and time nothing.
func wantWithin(t testing.TB, limit time.Duration, what string, took time.Duration) {
	t.Helper()
	if *full && took > limit {
		t.Errorf("%s took %s, more than %s", what, took, limit)
	}
}

// ports gives numbers below those that systems take for connections, so that nothing else is there when a server that
// was killed starts again.
var ports = struct {
	sync.Mutex
	next int
}{next: 10_000 + rand.IntN(15_000)}

// freePort is a port on 127.0.0.1 that is this process's from now on.
func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 5_000 {
		ports.next++
		if listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.next))); err == nil {
			listener.Close()
			return ports.next
		}
	}
	t.Fatal("no free port")
	return 0
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", deadline, what)
		}
	}
}

// deadline bounds every single wait, generously: a machine may be slow.
const deadline = 5 * time.Minute

// environment is that of a program under test: without the settings of whoever runs the tests.
func environment(t testing.TB, extra ...string) []string {
	clean := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "MLFLOW_") || strings.HasPrefix(entry, "GREENROOM_") || strings.HasPrefix(entry, "HOME=")
	})
	return append(append(clean, "HOME="+t.TempDir()), extra...)
}
