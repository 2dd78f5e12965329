package reliability_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

func TestR26_BackupsOfSQLiteUnderLoadAreWhole(t *testing.T) {
	t.Parallel()
	backUp(t, "R26-sqlite", modelstest.EmptySQLite(t), size(2, 100), func() string { return modelstest.EmptySQLite(t) }, checkFile)
}

func TestR26_BackupsOfPostgreSQLUnderLoadAreWhole(t *testing.T) {
	t.Parallel()
	c := modelstest.NewCluster(t, freePort(t))
	backUp(t, "R26-postgresql", c.EmptyDatabase(), size(1, 100), c.EmptyDatabase, func(testing.TB, string) {})
}

// backUp makes backups while writers write, and restores each into an empty place: what was acknowledged before the backup
// began is in it, and of everything else all or nothing.
func backUp(t *testing.T, number, uri string, cycles int, empty func() string, check func(testing.TB, string)) {
	r, j := random(t), newJournal(t)
	s := startServer(t, uri)
	var backups, recoveries durations
	var sum tally
	var during int64
	for cycle := range cycles {
		scope := "r" + strconv.Itoa(cycle)
		putFile(t, s, scope)
		l := startLoad(t, s, j, scope, writers, r, false)
		l.waitFor(5 * writers)
		before, count := acknowledgedNow(t, j, scope), l.acknowledged.Load()
		begin := time.Now()
		archive := filepath.Join(t.TempDir(), "backup.tar.gz")
		greenroom(t, s, "backup", archive, "--artifacts", "--backend-store-uri", uri, "--artifacts-destination", filepath.Join(s.dir, "artifacts"))
		backups = append(backups, time.Since(begin))
		during += l.acknowledged.Load() - count
		l.waitFor(1) // writers go on
		l.end()

		restored, begin := newServer(t, empty()), time.Now()
		place := []string{"--backend-store-uri", restored.args[2], "--artifacts-destination", filepath.Join(restored.dir, "artifacts")}
		greenroom(t, s, append([]string{"restore", archive}, place...)...)
		check(t, restored.args[2])
		restored.start()
		recoveries = append(recoveries, time.Since(begin))
		entries := j.read(scope)
		for i := range entries {
			if !before[entries[i].ID] {
				entries[i].acknowledged, entries[i].number = false, ""
			}
		}
		got := mustHold(t, "restored, "+scope, entries, inDatabase(t, restored.args[2], scope))
		mustHold(t, "server of what was restored, "+scope, entries, inServer(t, restored.url, scope))
		sum.acknowledged += got.acknowledged
		sum.lost += got.lost
		sum.duplicated += got.duplicated
		greenroom(t, s, append([]string{"verify"}, place...)...)
		restored.stop()
		if t.Failed() {
			t.FailNow()
		}
	}
	s.stop()
	report(t, number, "cycles", cycles, "writers", writers, "acknowledged_before", sum.acknowledged, "lost", sum.lost, "duplicated", sum.duplicated,
		"acknowledged_during", during, "backup_median", backups.median(), "backup_max", backups.worst(), "restored_and_ready_median", recoveries.median(), "restored_and_ready_max", recoveries.worst())
}

// acknowledgedNow are the writes that a journal, which is being written, has as acknowledged.
func acknowledgedNow(t testing.TB, j *journal, scope string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(j.dir, scope+"-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	for _, file := range files {
		entries, err := readPage(file)
		for errors.Is(err, io.ErrUnexpectedEOF) { // in the middle of a line
			entries, err = readPage(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.acknowledged {
				acknowledged[e.ID] = true
			}
		}
	}
	return acknowledged
}

// greenroom runs a command that has to succeed.
func greenroom(t testing.TB, s *server, args ...string) {
	t.Helper()
	command := exec.Command(binary, args...)
	command.Dir, command.Env, command.SysProcAttr = t.TempDir(), s.env, mortal()
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("greenroom %v: %v\n%s", args, err, output)
	}
}

// putFile stores an artifact.
func putFile(t testing.TB, s *server, name string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPut, s.url+"/api/2.0/mlflow-artifacts/artifacts/"+name+"/model.bin", strings.NewReader(strings.Repeat(name, 1<<16)))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := probes.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("PUT of an artifact: %s", answer.Status)
	}
}

func TestR26_KilledRestoresOfSQLiteLeaveAllOrNothing(t *testing.T) {
	t.Parallel()
	killRestores(t, "R26-restore-sqlite", modelstest.EmptySQLite(t), size(8, 200), func() string { return modelstest.EmptySQLite(t) }, func(uri string) bool {
		_, err := os.Stat(sourceOf(uri))
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestR26_KilledRestoresOfPostgreSQLLeaveAllOrNothing(t *testing.T) {
	t.Parallel()
	c := modelstest.NewCluster(t, freePort(t))
	killRestores(t, "R26-restore-postgresql", c.EmptyDatabase(), size(3, 50), c.EmptyDatabase, func(uri string) bool {
		waitUnused(t, uri) // a killed client's transaction ends when PostgreSQL notices
		db, _ := modelstest.Open(t, uri)
		defer db.Close()
		var relations int
		if err := db.QueryRow("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").Scan(&relations); err != nil {
			t.Fatal(err)
		}
		return relations == 0
	})
}

// killRestores kills restores into empty places at random moments. Each leaves the database as it was, which untouched tells, and
// then the same command succeeds, or it leaves all of it.
func killRestores(t *testing.T, number, uri string, kills int, empty func() string, untouched func(uri string) bool) {
	t.Helper()
	r, j := random(t), newJournal(t)
	s := startServer(t, uri)
	for i := range 5 {
		putFile(t, s, "r-"+strconv.Itoa(i))
	}
	l := startLoad(t, s, j, "r", writers, r, false)
	l.waitFor(20 * writers)
	l.end()
	s.stop()
	entries := j.read("")
	archive := filepath.Join(t.TempDir(), "backup.tar.gz")
	greenroom(t, s, "backup", archive, "--artifacts", "--backend-store-uri", uri, "--artifacts-destination", filepath.Join(s.dir, "artifacts"))
	place := func(uri, dir string) []string {
		return []string{"--backend-store-uri", uri, "--artifacts-destination", filepath.Join(dir, "artifacts")}
	}
	begin := time.Now()
	greenroom(t, s, append([]string{"restore", archive}, place(empty(), t.TempDir())...)...)
	took := time.Since(begin)

	left := map[bool]int{}
	for range kills {
		target, dir := empty(), t.TempDir()
		args := append([]string{"restore", archive}, place(target, dir)...)
		killed := exec.Command(binary, args...)
		killed.Dir, killed.Env, killed.SysProcAttr = dir, s.env, mortal()
		if err := killed.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(between(r, 0, took))
		_ = killed.Process.Kill() // it may have ended
		_ = killed.Wait()
		none := untouched(target)
		if left[none]++; none {
			greenroom(t, s, args...)
		}
		mustHold(t, "restored", entries, inDatabase(t, target, ""))
		greenroom(t, s, append([]string{"verify"}, place(target, dir)...)...)
		if t.Failed() {
			t.FailNow()
		}
	}
	report(t, number, "kills", kills, "left_untouched", left[true], "left_whole", left[false], "ended_whole", kills, "restore", took)
}
