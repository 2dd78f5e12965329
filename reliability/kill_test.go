package reliability_test

import (
	"database/sql"
	"strconv"
	"syscall"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// writers is how many write at the same time.
const writers = 8

func TestR1_KillsOfTheServerOnSQLiteLoseNothing(t *testing.T) {
	t.Parallel()
	uri := modelstest.EmptySQLite(t)
	killServer(t, "R1", uri, size(10, 500), func() {}, func() { checkFile(t, uri) })
}

func TestR2_KillsOfTheServerOnPostgreSQLLoseNothing(t *testing.T) {
	t.Parallel()
	uri := modelstest.NewCluster(t, freePort(t)).EmptyDatabase()
	killServer(t, "R2-server", uri, size(5, 200), func() { waitUnused(t, uri) }, func() {})
}

// killServer kills the server again and again at random moments while it is written to. The functions look at the database
// while the server is dead, and once it has started again.
func killServer(t *testing.T, number, uri string, rounds int, dead, restarted func()) {
	r, j := random(t), newJournal(t)
	s := startServer(t, uri)
	var restarts durations
	for round := range rounds {
		scope := "r" + strconv.Itoa(round)
		l := startLoad(t, s, j, scope, writers, r, false)
		time.Sleep(between(r, 10*time.Millisecond, 800*time.Millisecond))
		l.kill(s)
		dead()
		restarts = append(restarts, s.start())
		restarted()
		checkRound(t, s, uri, j, scope)
		if t.Failed() {
			t.FailNow()
		}
	}
	s.stop()
	wantWithin(t, 2*time.Second, "a restart", restarts.worst())
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, number, "kills", rounds, "writers", writers, "attempted", sum.attempted, "acknowledged", sum.acknowledged, "lost", sum.lost, "duplicated", sum.duplicated,
		"restart_median", restarts.median(), "restart_max", restarts.worst())
}

// checkRound compares a round's journal with what the database holds and with what the server answers.
func checkRound(t testing.TB, s *server, uri string, j *journal, scope string) {
	t.Helper()
	entries := j.read(scope)
	mustHold(t, "database, "+scope, entries, inDatabase(t, uri, scope))
	mustHold(t, "server, "+scope, entries, inServer(t, s.url, scope))
}

// checkFile wants an SQLite file to be sound.
func checkFile(t testing.TB, uri string) {
	t.Helper()
	db, err := sql.Open("sqlite", sourceOf(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var sound string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity_check: %s %v", sound, err)
	}
	var dangling int
	if err := db.QueryRow("SELECT count(*) FROM pragma_foreign_key_check").Scan(&dangling); err != nil || dangling > 0 {
		t.Errorf("foreign_key_check: %d rows, %v", dangling, err)
	}
}

func sourceOf(uri string) string {
	_, source, _ := modelstest.Source(uri)
	return source
}

// waitUnused waits until PostgreSQL has noticed that the killed server's connections are gone: what they were at is then
// committed or not.
func waitUnused(t testing.TB, uri string) {
	t.Helper()
	db, _ := modelstest.Open(t, uri)
	db.SetMaxOpenConns(1)
	defer db.Close()
	eventually(t, "the killed server's connections are gone", func() bool {
		var others int
		err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'").Scan(&others)
		if err != nil {
			t.Fatal(err)
		}
		return others == 0
	})
}

func TestR2_KillsOfPostgreSQLBackendsLoseNothing(t *testing.T) {
	t.Parallel()
	c := modelstest.NewCluster(t, freePort(t))
	uri := c.EmptyDatabase()
	breakDatabase(t, "R2-backend", uri, size(5, 100), func() {
		db, _ := modelstest.Open(t, uri)
		defer db.Close()
		witness, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer witness.Close()
		eventually(t, "a backend is killed", func() bool {
			var pid int
			if err := witness.QueryRowContext(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
				AND backend_type = 'client backend' ORDER BY state = 'active' DESC, random() LIMIT 1`).Scan(&pid); err != nil {
				t.Fatal(err)
			}
			return syscall.Kill(pid, syscall.SIGKILL) == nil
		})
		eventually(t, "PostgreSQL has ended the other backends", func() bool { return witness.PingContext(t.Context()) != nil })
	})
}

func TestR2_ImmediateStopsOfPostgreSQLLoseNothing(t *testing.T) {
	t.Parallel()
	c := modelstest.NewCluster(t, freePort(t))
	breakDatabase(t, "R2-immediate", c.EmptyDatabase(), size(2, 50), func() {
		c.Stop("immediate")
		c.Start()
	})
}

// breakDatabase crashes PostgreSQL again and again at random moments while a server goes on writing, which may refuse
// requests meanwhile and has to come back by itself.
func breakDatabase(t *testing.T, number, uri string, rounds int, crash func()) {
	r, j := random(t), newJournal(t)
	s := startServer(t, uri)
	var outages durations
	var refused int64
	for round := range rounds {
		scope := "r" + strconv.Itoa(round)
		l := startLoad(t, s, j, scope, writers, r, true)
		time.Sleep(between(r, 10*time.Millisecond, 800*time.Millisecond))
		crash()
		l.waitFor(2 * writers)
		l.end()
		outages = append(outages, l.longest())
		refused += l.refused.Load()
		checkRound(t, s, uri, j, scope)
		if t.Failed() {
			t.FailNow()
		}
	}
	s.stop()
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, number, "crashes", rounds, "writers", writers, "attempted", sum.attempted, "acknowledged", sum.acknowledged, "refused", refused, "lost", sum.lost, "duplicated", sum.duplicated,
		"outage_median", outages.median(), "outage_max", outages.worst())
}
