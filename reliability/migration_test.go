package reliability_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// A start on these databases migrates them. Each is made by a function of one that a start has just migrated.
var origins = []struct {
	name string
	make func(t testing.TB, uri string)
}{
	{"empty", nil},
	{"of MLflow", removeOwn},
	{"of an older Greenroom", func(t testing.TB, uri string) {
		removeOwn(t, uri)
		migrateUpTo(t, uri, 3)
	}},
}

// removeOwn leaves MLflow's own tables, as its client makes them.
func removeOwn(t testing.TB, uri string) {
	t.Helper()
	db, dialect := modelstest.Open(t, uri)
	defer db.Close()
	own := "SELECT 'DROP ' || type || ' ' || name FROM sqlite_master WHERE type IN ('table', 'index') AND name LIKE 'greenroom@_%' ESCAPE '@' ORDER BY type"
	if dialect == "postgresql" {
		own = `SELECT 'DROP TABLE ' || tablename || ' CASCADE' FROM pg_tables WHERE tablename LIKE 'greenroom@_%' ESCAPE '@'
			UNION ALL SELECT 'DROP INDEX ' || indexname FROM pg_indexes WHERE indexname LIKE 'greenroom@_%' ESCAPE '@' AND tablename NOT LIKE 'greenroom@_%' ESCAPE '@'
			UNION ALL SELECT 'DROP FUNCTION ' || proname FROM pg_proc WHERE proname LIKE 'greenroom@_%' ESCAPE '@'`
	}
	for _, statement := range append(column(t, db, own), "DELETE FROM experiments") {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// migrateUpTo applies Greenroom's own migrations up to a number, as the release did that knew no others.
func migrateUpTo(t testing.TB, uri string, last int) {
	t.Helper()
	db, dialect := modelstest.Open(t, uri)
	defer db.Close()
	exec := func(query string) {
		t.Helper()
		if _, err := db.Exec(query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	exec(`CREATE TABLE greenroom_migrations (number INTEGER NOT NULL, file VARCHAR(200) NOT NULL, applied_at BIGINT NOT NULL,
		CONSTRAINT greenroom_migrations_pk PRIMARY KEY (number))`)
	for number := 1; number <= last; number++ {
		files, err := filepath.Glob(fmt.Sprintf("../models/schema/migrations/%04d_*.sql", number))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, own := strings.CutSuffix(filepath.Base(file), "."+string(dialect)+".sql")
			if !own && strings.Count(filepath.Base(file), ".") > 1 {
				continue // the other dialect's
			}
			ddl, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			exec(string(ddl))
			exec(fmt.Sprintf("INSERT INTO greenroom_migrations VALUES (%d, '%s.sql', 1)", number, strings.TrimSuffix(name, ".sql")))
		}
	}
}

// contents is how many rows each table has.
func contents(t testing.TB, db *sql.DB, tables string) string {
	t.Helper()
	text := ""
	for _, table := range column(t, db, tables) {
		text += table + ": " + column(t, db, `SELECT count(*) FROM "`+table+`"`)[0] + " rows\n"
	}
	return text
}

// column reads a query's only column as text.
func column(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it was only read
	var values []string
	each(t, tx, query, func(v []string) { values = append(values, v[0]) })
	return values
}

// sqliteState is the schema of an SQLite file and how many rows each table has.
func sqliteState(t testing.TB, uri string) string {
	t.Helper()
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	return strings.Join(column(t, db, "SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY type, name"), "\n") +
		"\n" + contents(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
}

// postgresState is the schema of a PostgreSQL database and how many rows each table has.
func postgresState(t testing.TB, c *modelstest.Cluster, uri string) string {
	t.Helper()
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	return c.Schema(uri) + "\n" + contents(t, db, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
}

// copySQLite copies a file with its journals, as they are, to a new place.
func copySQLite(t testing.TB, uri string) string {
	t.Helper()
	to := modelstest.EmptySQLite(t)
	for _, suffix := range []string{"", "-wal", "-journal"} {
		content, err := os.ReadFile(sourceOf(uri) + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(sourceOf(to)+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// copyPostgreSQL copies a database once nobody uses it any more.
func copyPostgreSQL(t testing.TB, c *modelstest.Cluster, uri string) string {
	t.Helper()
	waitUnused(t, uri)
	return c.Copy(uri)
}

// migrated starts the server on a database, undisturbed, and stops it; it gives the time until it was ready.
func migrated(s *server, uri string) time.Duration {
	s.t.Helper()
	s.on(uri)
	took := s.start()
	s.stop()
	return took
}

// wantState compares two states by their lines.
func wantState(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	missing := subtract(want, got)
	more := subtract(got, want)
	t.Errorf("%s: the database is another one; missing:\n%s\nmore:\n%s", what, missing, more)
}

// subtract gives the lines that are in one text and not in the other.
func subtract(text, other string) string {
	lines := map[string]bool{}
	for line := range strings.Lines(other) {
		lines[line] = true
	}
	left := ""
	for line := range strings.Lines(text) {
		if !lines[line] {
			left += line
		}
	}
	return left
}

func TestR25_KilledMigrationsOnSQLiteEndMigrated(t *testing.T) {
	for _, origin := range origins {
		t.Run(origin.name, func(t *testing.T) {
			t.Parallel()
			r, s := random(t), newServer(t, "")
			before := modelstest.EmptySQLite(t)
			if origin.make != nil {
				migrated(s, before)
				origin.make(t, before)
			}
			reference := copySQLite(t, before)
			window := migrated(s, reference)
			untouched, want := sqliteState(t, copySQLite(t, before)), sqliteState(t, reference)
			rounds, left, done := size(6, 100), 0, 0
			for round := range rounds {
				uri := copySQLite(t, before)
				s.on(uri)
				s.launch()
				if round%2 == 0 {
					time.Sleep(between(r, 0, window))
				} else {
					waitForBytes(t, s, uri, r)
				}
				s.kill()
				copied := copySQLite(t, uri) // to look at, so that the next start finds what the kill has left
				switch sqliteState(t, copied) {
				case untouched:
					left++
				case want:
					done++
				default:
					t.Errorf("round %d: the kill has left neither an untouched nor a migrated database", round)
				}
				checkFile(t, copied)
				migrated(s, uri)
				wantState(t, fmt.Sprintf("round %d", round), sqliteState(t, uri), want)
				if t.Failed() {
					t.FailNow()
				}
			}
			report(t, "R25-sqlite", "database", strconv.Quote(origin.name), "kills", rounds, "left_untouched", left, "left_migrated", done, "ended_migrated", rounds)
		})
	}
}

// waitForBytes waits until the files of the database have grown to a random size, or the server is ready: the commit writes
// them in one go, which a random moment seldom meets.
func waitForBytes(t testing.TB, s *server, uri string, r *rand.Rand) {
	t.Helper()
	size := func() (sum int64) {
		for _, suffix := range []string{"", "-wal", "-journal"} {
			if info, err := os.Stat(sourceOf(uri) + suffix); err == nil {
				sum += info.Size()
			}
		}
		return sum
	}
	enough := size() + 1 + r.Int64N(1<<20)
	for ready := time.Now(); size() < enough && s.running(); {
		if time.Since(ready) > 5*time.Millisecond {
			if s.ready() {
				return
			}
			ready = time.Now()
		}
	}
}

// settings let PostgreSQL make and remove databases fast; it is not PostgreSQL that is killed here.
var settings = []string{"fsync = off", "full_page_writes = off", "autovacuum = off"}

func TestR25_MigrationsOnPostgreSQLBrokenAtEachStepEndMigrated(t *testing.T) {
	t.Parallel()
	cluster := modelstest.NewCluster(t, freePort(t), settings...)
	r, s := random(t), newServer(t, "")
	for _, origin := range origins {
		before := cluster.EmptyDatabase()
		if origin.make != nil {
			migrated(s, before)
			origin.make(t, before)
		}
		untouched := postgresState(t, cluster, before)
		reference := copyPostgreSQL(t, cluster, before)
		count := breakAt(t, reference, 0, "")
		window := migrated(s, reference)
		steps := count()
		want := postgresState(t, cluster, reference)
		// mend looks at what a broken start has left, and starts undisturbed.
		mend := func(uri, how string, left ...string) {
			t.Helper()
			if state := postgresState(t, cluster, uri); !slices.Contains(left, state) {
				wantState(t, "database "+origin.name+", left by a start "+how, state, left[0])
			}
			migrated(s, uri)
			wantState(t, "database "+origin.name+", after a start "+how, postgresState(t, cluster, uri), want)
			if t.Failed() {
				t.FailNow()
			}
			drop(t, uri)
		}
		kills, failures, moments := min(size(2, steps), steps), min(size(1, 20), steps), size(1, 50)
		for _, n := range r.Perm(steps)[:kills] {
			uri := copyPostgreSQL(t, cluster, before)
			killAtStep(t, s, uri, n+1)
			mend(uri, fmt.Sprintf("killed at step %d of %d", n+1, steps), untouched)
		}
		for _, n := range r.Perm(steps)[:failures] {
			uri := copyPostgreSQL(t, cluster, before)
			failAtStep(t, s, uri, n+1)
			mend(uri, fmt.Sprintf("whose step %d of %d failed", n+1, steps), untouched)
		}
		for range moments {
			uri := copyPostgreSQL(t, cluster, before)
			s.on(uri)
			s.launch()
			time.Sleep(between(r, 0, window))
			s.kill()
			waitUnused(t, uri)
			mend(uri, "killed at a random moment", untouched, want)
		}
		report(t, "R25-postgresql", "database", strconv.Quote(origin.name), "steps", steps, "killed_at_a_step", kills, "failed_at_a_step", failures,
			"killed_at_random", moments, "ended_migrated", kills+failures+moments)
	}
}

// stepLock is the advisory lock at which a broken step waits.
const stepLock = 25

// breakAt makes the n-th DDL statement of a database wait for stepLock ("block") or fail ("fail"); none for 0. The
// function ends that, and tells how many there were, were they rolled back or not.
func breakAt(t testing.TB, uri string, n int, how string) (count func() int) {
	t.Helper()
	db, _ := modelstest.Open(t, uri)
	if _, err := db.Exec(fmt.Sprintf(`CREATE SCHEMA broken;
		CREATE SEQUENCE broken.step;
		CREATE FUNCTION broken.step() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF nextval('broken.step') = %d THEN
				IF '%s' = 'block' THEN PERFORM pg_advisory_lock(%d); END IF;
				RAISE EXCEPTION 'this step is broken';
			END IF;
		END $$;
		CREATE EVENT TRIGGER broken ON ddl_command_start EXECUTE FUNCTION broken.step()`, n, how, stepLock)); err != nil {
		t.Fatal(err)
	}
	return func() int {
		t.Helper()
		defer db.Close()
		var steps int
		if err := db.QueryRow("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM broken.step").Scan(&steps); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("DROP EVENT TRIGGER broken; DROP SCHEMA broken CASCADE"); err != nil {
			t.Fatal(err)
		}
		return steps
	}
}

// killAtStep kills a starting server in the middle of its n-th DDL statement.
func killAtStep(t testing.TB, s *server, uri string, n int) {
	t.Helper()
	mend := breakAt(t, uri, n, "block")
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "SELECT pg_advisory_lock($1)", stepLock); err != nil {
		t.Fatal(err)
	}
	s.on(uri)
	s.launch()
	eventually(t, fmt.Sprintf("the server is at step %d", n), func() bool {
		if !s.running() {
			t.Fatalf("the server ended: %s", s.process.ProcessState)
		}
		var waiting int
		if err := conn.QueryRowContext(context.Background(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, stepLock).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		return waiting == 1
	})
	s.kill()
	if _, err := conn.ExecContext(context.Background(), "SELECT pg_advisory_unlock($1)", stepLock); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	db.Close()
	mend()
	waitUnused(t, uri)
}

// failAtStep starts a server whose n-th DDL statement is refused: it has to end and say so.
func failAtStep(t testing.TB, s *server, uri string, n int) {
	t.Helper()
	mend := breakAt(t, uri, n, "fail")
	s.on(uri)
	s.launch()
	<-s.ended
	if code := s.process.ProcessState.ExitCode(); code != 1 || !strings.Contains(s.output.String(), "this step is broken") {
		t.Errorf("step %d failed, and the server ended with %d and printed:\n%s", n, code, s.output)
	}
	mend()
	waitUnused(t, uri)
}

// drop removes a database that a round no longer needs.
func drop(t testing.TB, uri string) {
	t.Helper()
	at := strings.LastIndex(uri, "/")
	name, _, _ := strings.Cut(uri[at+1:], "?")
	db, _ := modelstest.Open(t, uri[:at]+"/postgres?sslmode=disable")
	defer db.Close()
	if _, err := db.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
		t.Fatal(err)
	}
}

// replicas is how many servers start together.
const replicas = 3

func TestR25_ReplicasThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	cluster := modelstest.NewCluster(t, freePort(t), settings...)
	r, servers := random(t), newServers(t)
	reference := cluster.EmptyDatabase()
	count := breakAt(t, reference, 0, "")
	window := migrated(servers[0], reference)
	steps := count()
	want := postgresState(t, cluster, reference)
	rounds := size(3, 40)
	for round := range rounds {
		uri := cluster.EmptyDatabase()
		count := breakAt(t, uri, 0, "")
		for _, s := range servers {
			s.on(uri)
			s.launch()
		}
		if round%2 == 1 { // one of them is killed, and comes back
			time.Sleep(between(r, 0, window))
			victim := servers[r.IntN(replicas)]
			victim.kill()
			victim.launch()
		}
		for _, s := range servers {
			s.waitReady()
		}
		if got := count(); got < steps || round%2 == 0 && got != steps {
			t.Errorf("round %d: %d steps were made, want %d: those of one migration", round, got, steps)
		}
		wantState(t, fmt.Sprintf("round %d", round), postgresState(t, cluster, uri), want)
		useTogether(t, servers)
		for _, s := range servers {
			s.stop()
		}
		if t.Failed() {
			t.FailNow()
		}
		drop(t, uri)
	}
	report(t, "R25-replicas", "database", "postgresql", "starts_together", rounds, "replicas", replicas, "with_one_killed", rounds/2, "migrations_each", 1, "all_served", rounds)
}

func TestR25_ProcessesThatStartTogetherOnOneSQLiteFileAllServe(t *testing.T) {
	t.Parallel()
	servers := newServers(t)
	reference := modelstest.EmptySQLite(t)
	migrated(servers[0], reference)
	want := sqliteState(t, reference)
	rounds := size(3, 40)
	for round := range rounds {
		uri := modelstest.EmptySQLite(t)
		for _, s := range servers {
			s.on(uri)
			s.launch()
		}
		for _, s := range servers {
			s.waitReady()
		}
		wantState(t, fmt.Sprintf("round %d", round), sqliteState(t, uri), want)
		useTogether(t, servers)
		for _, s := range servers {
			s.stop()
		}
		checkFile(t, uri)
		if t.Failed() {
			t.FailNow()
		}
	}
	report(t, "R25-replicas", "database", "sqlite", "starts_together", rounds, "processes", replicas, "all_served", rounds)
}

func newServers(t testing.TB) []*server {
	t.Helper()
	var servers []*server
	for range replicas {
		servers = append(servers, newServer(t, ""))
	}
	return servers
}

// useTogether writes a run through each server and reads it through the next.
func useTogether(t testing.TB, servers []*server) {
	t.Helper()
	for i, s := range servers {
		c, next := newCaller(s.url), newCaller(servers[(i+1)%len(servers)].url)
		var made struct {
			Run struct {
				Info struct {
					RunID string `json:"run_id"`
				}
			}
		}
		c.must(t, "POST", "runs/create", map[string]any{"experiment_id": "0"}, &made)
		next.must(t, "GET", "runs/get?run_id="+made.Run.Info.RunID, nil, nil)
		c.close()
		next.close()
	}
}
