package reliability_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"greenroom/models/modelstest"
)

// confine builds the program that starts a server whose disk the test controls.
func confine(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "confined")
	build := exec.Command("go", "build", "-o", program, "./confined")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build confined: %v\n%s", err, output)
	}
	return program
}

// startWatched starts a server by the program confined, and gives the disk that all files below the folder are on.
func (s *server) startWatched(program, folder string) *faultyDisk {
	s.t.Helper()
	disk := s.launchWatched(program, folder)
	go disk.serve()
	s.waitReady()
	return disk
}

// launchWatched starts the process, which waits until its disk is served.
func (s *server) launchWatched(program, folder string) *faultyDisk {
	s.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "listener"), os.NewFile(uintptr(pair[1]), "listener")
	defer ours.Close()
	s.under, s.files = []string{program, "-watched"}, []*os.File{theirs}
	s.launch()
	theirs.Close()
	s.under, s.files = nil, nil
	return newFaultyDisk(s.t, folder, ours)
}

// namedFault is a rule for one round, made anew for it.
type namedFault struct {
	name  string
	errno syscall.Errno
	picks func(n int, call change) bool
}

// faults are those of R7: the n-th call fails; the first of each kind fails; from the n-th on, all fail.
func faults() []namedFault {
	var all []namedFault
	add := func(name string, picks func() func(int, change) bool) {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			all = append(all, namedFault{fmt.Sprintf("%s, %v", name, errno), errno, picks()})
		}
	}
	for i := range size(4, 500) {
		n := i + 1
		if !*full {
			n = 1 + 7*i*i
		}
		add(fmt.Sprintf("call %d", n), func() func(int, change) bool {
			return func(seen int, _ change) bool { return seen == n }
		})
	}
	for _, first := range []change{
		{"fsync", "*/greenroom.db-wal"},
		{"pwrite", "*/greenroom.db"},
		{"fsync", "*/greenroom.db"},
		{"renameat", "*/artifacts/*"},
		{"fsync", "*/artifacts/.greenroom-uploads/*"},
		{"fsync", "*/artifacts/*"},
	} {
		add("first "+first.String(), func() func(int, change) bool {
			at := 0
			return func(seen int, call change) bool {
				if fits, err := filepath.Match(first.path, call.path); at == 0 && fits && err == nil && call.name == first.name {
					at = seen // the same call again, if it was interrupted
				}
				return at == seen
			}
		})
	}
	for i := range size(1, 50) {
		add(fmt.Sprintf("all from call %d on", 10*i+1), func() func(int, change) bool {
			return func(seen int, _ change) bool { return seen > 10*i }
		})
	}
	return all
}

// TestR7_DiskErrorsLoseNothing fails one call after the other by which the server changes its files, while it is written to.
// The server goes on by itself, and what it acknowledged is there, also after a kill.
func TestR7_DiskErrorsLoseNothing(t *testing.T) {
	t.Parallel()
	r, j, program := random(t), newJournal(t), confine(t)
	uri := modelstest.EmptySQLite(t)
	s := startServer(t, uri)
	s.kill()
	f := newFiles()
	f.broken = true
	hit := map[string]int{}
	all := faults()
	var refused int64
	for round, fault := range all {
		scope := "r" + strconv.Itoa(round)
		disk := s.startWatched(program, filepath.Dir(s.dir))
		l := startLoad(t, s, j, scope, writers/2, r, true)
		uploads := f.start(t, s.url, scope, r.Uint64())
		disk.fail(fault.errno, fault.picks)
		eventually(t, fault.name+" comes", disk.hasFailed)
		for _, call := range disk.heal() {
			hit[call]++
		}
		l.waitFor(writers)
		uploads.waitFor(4)
		uploads.end()
		l.end()
		refused += l.refused.Load() + uploads.refused.Load()
		checkRound(t, s, uri, j, scope)
		f.check(t, fault.name, s.url, scope)
		s.kill()
		<-disk.closed
		checkFile(t, uri)
		s.start()
		checkRound(t, s, uri, j, scope)
		f.check(t, fault.name+" and a kill", s.url, scope)
		s.kill()
		if t.Failed() {
			t.Fatal(fault.name)
		}
	}
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, "R7", "faults", len(all), "attempted", sum.attempted, "acknowledged", sum.acknowledged, "refused", refused, "lost", sum.lost,
		"files_acknowledged", f.acknowledged, "failed", counted(hit))
}

// TestR7_AFileWhoseNameIsNotOnDiskIsRefused fails the sync of the folder, by when the file is there under its name. The client hears
// that the disk failed, and the same request then succeeds.
func TestR7_AFileWhoseNameIsNotOnDiskIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, modelstest.EmptySQLite(t))
	s.kill()
	disk := s.startWatched(confine(t), filepath.Dir(s.dir))
	client := &http.Client{Transport: &http.Transport{}, Timeout: deadline}
	defer client.CloseIdleConnections()
	sends := map[string]func(*http.Client, string, string, []byte) (int, []byte, error){"whole": exchange, "parts": exchangeParts}
	for errno, refusal := range map[syscall.Errno]int{syscall.EIO: http.StatusInternalServerError, syscall.ENOSPC: http.StatusInsufficientStorage} {
		for name, send := range sends {
			put := func() (int, []byte) {
				status, answer, err := send(client, http.MethodPut, s.url+artifactPath+"named/"+name+".bin", []byte("content"))
				if err != nil {
					t.Fatal(err)
				}
				return status, answer
			}
			disk.fail(errno, func(_ int, call change) bool {
				ours, err := filepath.Match("*/artifacts/named", call.path)
				return ours && err == nil && call.name == "fsync"
			})
			if status, answer := put(); status != refusal || !isEnvelope(answer) {
				t.Errorf("%s, %v: %d %s, want %d", name, errno, status, answer, refusal)
			}
			if len(disk.heal()) == 0 {
				t.Errorf("%s, %v: no sync failed", name, errno)
			}
			if status, answer := put(); status != http.StatusOK {
				t.Errorf("%s, after %v: %d %s", name, errno, status, answer)
			}
		}
	}
	s.kill()
	<-disk.closed
}

// TestR7_DiskErrorsAtTheStartAreTold fails one call after the other by which a server changes its files while it starts, on an empty
// place and on one with data. It ends and says why, or goes on; the next start succeeds either way, and what was there is there.
func TestR7_DiskErrorsAtTheStartAreTold(t *testing.T) {
	t.Parallel()
	program := confine(t)
	t.Run("empty", func(t *testing.T) {
		failStarts(t, program, "empty", size(8, 300), func(uri string) {})
	})
	t.Run("with data", func(t *testing.T) {
		failStarts(t, program, "with data", size(4, 50), func(uri string) {
			s := startServer(t, uri)
			c := newCaller(s.url)
			defer c.close()
			c.must(t, "POST", "experiments/create", map[string]any{"name": "kept"}, nil)
			s.kill() // the WAL is to be read at the next start
		})
	})
}

func failStarts(t *testing.T, program, name string, starts int, prepare func(uri string)) {
	t.Helper()
	r := random(t)
	hit := map[string]int{}
	var told, survived int
	for i := range starts {
		n := i + 1
		if !*full {
			n = 1 + i*i + r.IntN(2*i+1)
		}
		errno := []syscall.Errno{syscall.EIO, syscall.ENOSPC}[i%2]
		uri := modelstest.EmptySQLite(t)
		prepare(uri)
		s := newServer(t, uri)
		disk := s.launchWatched(program, filepath.Dir(s.dir))
		disk.fail(errno, func(seen int, _ change) bool { return seen == n })
		go disk.serve()
		eventually(t, "the server is ready or has ended", func() bool { return !s.running() || s.ready() })
		for _, call := range disk.heal() {
			hit[call]++
		}
		what := fmt.Sprintf("call %d, %v", n, errno)
		if s.running() {
			survived++
			s.kill()
		} else {
			told++
			if code := s.process.ProcessState.ExitCode(); code != 1 || !saysDisk(s.output.String()) {
				t.Errorf("%s: the server ended with %s and printed %q", what, s.process.ProcessState, s.output)
			}
		}
		<-disk.closed
		s.start()
		if name != "empty" {
			c := newCaller(s.url)
			c.must(t, "GET", "experiments/get-by-name?experiment_name=kept", nil, nil)
			c.close()
		}
		s.kill()
		checkFile(t, uri)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	report(t, "R7-start", "place", strconv.Quote(name), "faults", starts, "ended_and_told", told, "went_on", survived, "failed", counted(hit))
}

// saysDisk tells whether a message names an error of the disk.
func saysDisk(text string) bool {
	for _, words := range []string{syscall.EIO.Error(), syscall.ENOSPC.Error(), "disk I/O error", "disk is full"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// counted shows how often each was seen.
func counted(seen map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		all = append(all, name+":"+strconv.Itoa(seen[name]))
	}
	return strings.Join(all, ",")
}
