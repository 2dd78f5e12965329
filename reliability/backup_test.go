package reliability_test

import (
	"errors"
	"io"
	"net/http"
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
	backUp(t, "R26-sqlite", modelstest.EmptySQLite(t), size(2, 50), func() string { return modelstest.EmptySQLite(t) }, checkFile)
}

func TestR26_BackupsOfPostgreSQLUnderLoadAreWhole(t *testing.T) {
	t.Parallel()
	c := modelstest.NewCluster(t, freePort(t))
	backUp(t, "R26-postgresql", c.EmptyDatabase(), size(1, 50), c.EmptyDatabase, func(testing.TB, string) {})
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
