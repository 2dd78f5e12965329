package reliability_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is where a server has its database and files, with a limit that is the kernel's own.
type smallDisk struct {
	name string
	// under is the program that gives the server its file system, with arguments; a folder is added.
	under []string
	// full uses up what is left at a server's place, empty gives it back.
	full, empty func(t testing.TB, s *server, place string)
	// refusesData says that the database needs what is used up; files do in any case.
	refusesData bool
}

// smallDisks are a file system of few bytes, one of few files, and a limit on the size of files. Where mounting is not allowed
// there is only the last one.
func smallDisks(t testing.TB, program string) []smallDisk {
	t.Helper()
	limited := smallDisk{"file size", nil, limitFiles(64 << 10), limitFiles(math.MaxUint64), true}
	if err := exec.Command(program, "-tmpfs", t.TempDir(), "-size", "1", "/bin/true").Run(); err != nil {
		t.Logf("no file system can be mounted here: %v", err)
		return []smallDisk{limited}
	}
	return []smallDisk{
		limited,
		{"bytes", []string{program, "-size", strconv.Itoa(32 << 20), "-tmpfs"}, fillBytes, removeBallast, true},
		{"inodes", []string{program, "-size", strconv.Itoa(128 << 20), "-inodes", "200", "-tmpfs"}, fillInodes, removeBallast, false},
	}
}

// limitFiles sets how many bytes a file of the server may have.
func limitFiles(bytes uint64) func(testing.TB, *server, string) {
	return func(t testing.TB, s *server, _ string) {
		t.Helper()
		var limit unix.Rlimit
		if err := unix.Prlimit(s.process.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
			t.Fatal(err)
		}
		limit.Cur = min(bytes, limit.Max)
		if err := unix.Prlimit(s.process.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	}
}

const ballast = "ballast"

func fillBytes(t testing.TB, _ *server, place string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(place, ballast), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		return
	}
	defer file.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func fillInodes(t testing.TB, _ *server, place string) {
	t.Helper()
	folder := filepath.Join(place, ballast)
	err := os.Mkdir(folder, 0o700)
	for err == nil || errors.Is(err, fs.ErrExist) {
		var file *os.File
		if file, err = os.CreateTemp(folder, ""); err == nil {
			file.Close()
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func removeBallast(t testing.TB, _ *server, place string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(place, ballast)); err != nil {
		t.Fatal(err)
	}
}

// TestR6_ASmallDiskRefusesAndRecovers uses up a file system under a server that is written to, gives the room back, uses it up
// again, and kills the server. It refuses meanwhile what needs room, and what it acknowledged is there at any time.
func TestR6_ASmallDiskRefusesAndRecovers(t *testing.T) {
	t.Parallel()
	for _, disk := range smallDisks(t, confine(t)) {
		t.Run(disk.name, func(t *testing.T) {
			var sum tally
			var refused int64
			var recovered durations
			rounds := size(1, 20)
			for range rounds {
				disk.round(t, &sum, &refused, &recovered)
				if t.Failed() {
					t.FailNow()
				}
			}
			wantWithin(t, 5*time.Second, "a recovery", recovered.worst())
			report(t, "R6-real", "limit", strconv.Quote(disk.name), "full", 2*rounds, "kills", rounds, "acknowledged", sum.acknowledged, "refused", refused, "lost", sum.lost,
				"recovery_median", recovered.median(), "recovery_max", recovered.worst())
		})
	}
}

func (d smallDisk) round(t *testing.T, sum *tally, refused *int64, recovered *durations) {
	r, j, f := random(t), newJournal(t), newFiles()
	mounted := t.TempDir()
	s := newServer(t, "sqlite:///"+filepath.Join(mounted, "greenroom.db"), "--artifacts-destination", filepath.Join(mounted, "artifacts"))
	place := mounted
	if d.under != nil {
		s.under = append(d.under, mounted)
	}
	s.start()
	s.under = nil
	if d.under != nil { // which only the server has; it stays as long as the folder is open
		root, err := os.Open(fmt.Sprintf("/proc/%d/root%s", s.process.Process.Pid, mounted))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		place = fmt.Sprintf("/proc/self/fd/%d", root.Fd())
	}
	l := startLoad(t, s, j, "r", writers/2, r, true)
	u := f.start(t, s.url, "r", r.Uint64())
	l.waitFor(writers)
	u.waitFor(4)

	d.use(t, s, place, l, u)
	c := newCaller(s.url)
	defer c.close()
	c.must(t, "GET", "experiments/get-by-name?experiment_name=r", nil, nil)
	begin := time.Now()
	d.empty(t, s, place)
	l.waitFor(1)
	u.waitFor(1)
	*recovered = append(*recovered, time.Since(begin))
	l.waitFor(writers)
	u.waitFor(4)

	d.use(t, s, place, l, u)
	u.end()
	l.kill(s)
	*refused += l.refused.Load() + u.refused.Load()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(place)); err != nil {
		t.Fatal(err)
	}
	s.args[2] = "sqlite:///" + filepath.Join(copied, "greenroom.db")
	s.args[len(s.args)-1] = filepath.Join(copied, "artifacts")
	s.start()
	checkRound(t, s, s.args[2], j, "r")
	f.check(t, "after a kill", s.url, "r")
	checkFile(t, s.args[2])
	got := mustHold(t, "in the end", j.read(""), inDatabase(t, s.args[2], ""))
	sum.acknowledged += got.acknowledged
	sum.lost += got.lost
	s.stop()
}

// use uses up the disk until the writers are refused.
func (d smallDisk) use(t *testing.T, s *server, place string, l *load, u *uploads) {
	t.Helper()
	data, files := l.refused.Load(), u.refused.Load()
	eventually(t, "writers and uploads are refused", func() bool {
		d.full(t, s, place)
		return u.refused.Load() >= files+4 && (!d.refusesData || l.refused.Load() >= data+writers)
	})
	if !d.refusesData {
		l.waitFor(writers)
	}
}
