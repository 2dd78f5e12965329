package reliability_test

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"greenroom/models/modelstest"
)

// fleet is servers on one database, of which SQLite has but one.
type fleet []*server

func startFleet(t testing.TB, uri string, n int) fleet {
	t.Helper()
	var all fleet
	for range n {
		all = append(all, startServer(t, uri, "--allow-artifact-prefix", "s3://bucket"))
	}
	return all
}

// callers are n clients, in turns of the servers.
func (all fleet) callers(t testing.TB, n int) []*caller {
	made := make([]*caller, n)
	for i := range made {
		made[i] = newCaller(all[i%len(all)].url)
		t.Cleanup(made[i].close)
	}
	return made
}

// together runs do for each caller at the same moment.
func together(callers []*caller, do func(i int, c *caller)) {
	var done sync.WaitGroup
	start := make(chan struct{})
	for i, c := range callers {
		done.Go(func() {
			<-start
			do(i, c)
		})
	}
	close(start)
	done.Wait()
}

func newRun(t testing.TB, c *caller, name string) (experiment, run string) {
	t.Helper()
	var e struct {
		ExperimentID string `json:"experiment_id"`
	}
	c.must(t, "POST", "experiments/create", map[string]any{"name": name}, &e)
	var made struct {
		Run struct {
			Info struct {
				RunID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	c.must(t, "POST", "runs/create", map[string]any{"experiment_id": e.ExperimentID}, &made)
	return e.ExperimentID, made.Run.Info.RunID
}

// deadlocks are those that PostgreSQL counted in the database; its sessions tell of them within a second.
func deadlocks(t testing.TB, db *sql.DB) (n int64) {
	t.Helper()
	if _, err := db.Exec("SELECT pg_stat_force_next_flush()"); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func match(t testing.TB, pattern *regexp.Regexp, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	found := pattern.FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in the answer", pattern)
	}
	return string(found[1])
}

// errorCode is the error_code of an answer.
func errorCode(text string) string {
	var body struct {
		ErrorCode string `json:"error_code"`
	}
	_ = json.Unmarshal([]byte(text), &body) // "" is no code
	return body.ErrorCode
}

// TestR11_ShuffledBatchesDoNotDeadlock has 16 writers log the same 1,000 keys of one run in ever other orders. Each batch has newer
// points than those before it, so that all of them want to change the same rows.
func TestR11_ShuffledBatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	const clients = 16
	uri := modelstest.PostgreSQL(t)
	db, _ := modelstest.Open(t, uri)
	all := startFleet(t, uri, 2)
	callers := all.callers(t, clients)
	_, run := newRun(t, callers[0], "R11")
	another, seeds := lasting(3, 10*time.Minute), random(t)
	shuffles := make([]func(n int, swap func(i, j int)), clients)
	for i := range shuffles {
		shuffles[i] = random(t).Shuffle
		for range seeds.IntN(1000) + i {
			shuffles[i](2, func(int, int) {})
		}
	}
	var mu sync.Mutex
	var answers durations
	begin := time.Now()
	together(callers, func(i int, c *caller) {
		for batch := 0; another(batch); batch++ {
			begin := time.Now()
			status, text, err := c.call(http.MethodPost, "runs/log-batch", shuffledBatch(run, i, batch, shuffles[i]), nil)
			if err != nil || status != http.StatusOK {
				t.Errorf("log-batch: %d %s %v", status, text, err)
				return
			}
			mu.Lock()
			answers = append(answers, time.Since(begin))
			mu.Unlock()
		}
	})
	var rows, latest, size int64
	if err := db.QueryRow("SELECT count(*), pg_database_size(current_database()) FROM metrics WHERE run_uuid = $1", run).Scan(&rows, &size); err != nil || rows != int64(len(answers)*batchMetrics) {
		t.Errorf("%d metrics, want %d (%v)", rows, len(answers)*batchMetrics, err)
	}
	if err := db.QueryRow(`SELECT count(*) FROM latest_metrics WHERE run_uuid = $1
		AND (step, value) = (SELECT step, value FROM metrics WHERE run_uuid = $1 AND key = 'm0' ORDER BY step DESC, value DESC LIMIT 1)`, run).Scan(&latest); err != nil || latest != batchMetrics {
		t.Errorf("%d of %d metrics have the latest point (%v)", latest, batchMetrics, err)
	}
	found := deadlocks(t, db)
	if found > 0 {
		t.Errorf("%d deadlocks", found)
	}
	report(t, "R11", "writers", clients, "replicas", len(all), "batches", len(answers), "keys", 1000, "deadlocks", found,
		"answer_median", answers.median(), "answer_p99", answers.p99(), "answer_max", answers.worst(), "took", time.Since(begin), "size", size>>20)
}

const batchMetrics = 800

// shuffledBatch has 800 metrics, 100 params and 100 tags, the same keys each time.
func shuffledBatch(run string, client, batch int, shuffle func(n int, swap func(i, j int))) map[string]any {
	var metrics, params, tags []map[string]any
	for i := range batchMetrics {
		metrics = append(metrics, map[string]any{"key": "m" + strconv.Itoa(i), "value": client, "timestamp": batch, "step": batch})
	}
	for i := range 100 {
		params = append(params, map[string]any{"key": "p" + strconv.Itoa(i), "value": "v"})
		tags = append(tags, map[string]any{"key": "t" + strconv.Itoa(i), "value": strconv.Itoa(client)})
	}
	for _, list := range [][]map[string]any{metrics, params, tags} {
		shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return map[string]any{"run_id": run, "metrics": metrics, "params": params, "tags": tags}
}

func TestR12_VersionNumbersAreHandedOutOnce(t *testing.T) {
	t.Parallel()
	t.Run("postgresql", func(t *testing.T) { raceForVersions(t, "R12-postgresql", modelstest.PostgreSQL(t), 3, size(8, 50)) })
	t.Run("sqlite", func(t *testing.T) { raceForVersions(t, "R12-sqlite", modelstest.SQLite(t), 1, size(8, 50)) })
}

// raceForVersions has clients of each replica make versions of one model at the same time.
func raceForVersions(t *testing.T, number, uri string, n, clients int) {
	all := startFleet(t, uri, n)
	callers := all.callers(t, n*clients)
	callers[0].must(t, "POST", "registered-models/create", map[string]any{"name": "raced"}, nil)
	each := size(600, 30_000) / len(callers)
	var mu sync.Mutex
	made := map[int]string{} // sources by number
	var answers durations
	begin := time.Now()
	together(callers, func(i int, c *caller) {
		last := 0
		for k := range each {
			source := fmt.Sprintf("s3://bucket/%d/%d", i, k)
			var answer struct {
				ModelVersion struct{ Version string } `json:"model_version"`
			}
			asked := time.Now()
			status, text, err := c.call(http.MethodPost, "model-versions/create", map[string]any{"name": "raced", "source": source}, &answer)
			if err != nil || status != http.StatusOK {
				t.Errorf("model-versions/create: %d %s %v", status, text, err)
				return
			}
			version, err := strconv.Atoi(answer.ModelVersion.Version)
			if err != nil || version <= last {
				t.Errorf("version %q after %d", answer.ModelVersion.Version, last)
				return
			}
			last = version
			mu.Lock()
			if made[version] != "" {
				t.Errorf("version %d was handed out twice", version)
			}
			made[version], answers = source, append(answers, time.Since(asked))
			mu.Unlock()
		}
	})
	took := time.Since(begin)
	db, _ := modelstest.Open(t, uri)
	rows, err := db.Query("SELECT version, source FROM model_versions WHERE name = 'raced' ORDER BY version")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := 0
	for ; rows.Next(); stored++ {
		var version int
		var source string
		if err := rows.Scan(&version, &source); err != nil {
			t.Fatal(err)
		}
		if version != stored+1 || source != made[version] {
			t.Fatalf("row %d is version %d of %s, the client was told %q", stored+1, version, source, made[version])
		}
	}
	if err := rows.Err(); err != nil || stored != each*len(callers) {
		t.Errorf("%d versions stored, want %d (%v)", stored, each*len(callers), err)
	}
	var early int
	if err := db.QueryRow("SELECT count(*) FROM model_versions v JOIN model_versions w ON v.name = w.name AND v.version = w.version + 1 AND v.creation_time < w.creation_time").Scan(&early); err != nil {
		t.Fatal(err)
	}
	found := int64(0)
	if n > 1 {
		found = deadlocks(t, db)
	}
	report(t, number, "replicas", n, "writers", len(callers), "versions", stored, "failed", each*len(callers)-len(answers), "older_than_the_one_before", early, "deadlocks", found,
		"answer_median", answers.median(), "answer_max", answers.worst(), "took", took)
}

// TestR13_RacesHaveOneWinner lets clients of three replicas want the same thing at the same moment.
func TestR13_RacesHaveOneWinner(t *testing.T) {
	t.Parallel()
	uri := modelstest.PostgreSQL(t)
	db, _ := modelstest.Open(t, uri)
	callers := startFleet(t, uri, 3).callers(t, 6)
	rounds := size(100, 10_000)
	m := &moves{t: t, callers: callers, db: db}
	callers[0].must(t, "POST", "registered-models/create", map[string]any{"name": "moved"}, nil)
	for i := range callers {
		callers[0].must(t, "POST", "model-versions/create", map[string]any{"name": "moved", "source": "s3://bucket/" + strconv.Itoa(i)}, nil)
	}
	for round := range rounds {
		m.sameName("experiments/create", "e"+strconv.Itoa(round))
		m.sameName("registered-models/create", "m"+strconv.Itoa(round))
		m.alias()
		m.production()
		m.createAndDelete("m" + strconv.Itoa(round))
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	report(t, "R13", "replicas", 3, "clients", len(callers), "rounds", rounds, "races", 5*rounds, "deadlocks", deadlocks(t, db))
}

type moves struct {
	t       testing.TB
	callers []*caller
	db      *sql.DB
}

// outcome is an answer; an error and a 5xx fail the test.
type outcome struct {
	status int
	text   string
}

func (m *moves) ask(c *caller, method, path string, fields any) outcome {
	status, text, err := c.call(method, path, fields, nil)
	if err != nil || status >= 500 {
		m.t.Errorf("%s %v: %d %s %v", path, fields, status, text, err)
	}
	return outcome{status, text}
}

func (m *moves) count(query string, args ...any) (n int) {
	if err := m.db.QueryRow(query, args...).Scan(&n); err != nil {
		m.t.Fatal(err)
	}
	return n
}

// sameName has all create what only one may.
func (m *moves) sameName(path, name string) {
	outcomes := make([]outcome, len(m.callers))
	together(m.callers, func(i int, c *caller) { outcomes[i] = m.ask(c, "POST", path, map[string]any{"name": name}) })
	won := 0
	for _, o := range outcomes {
		if o.status == http.StatusOK {
			won++
		} else if o.status != http.StatusBadRequest || errorCode(o.text) != "RESOURCE_ALREADY_EXISTS" {
			m.t.Errorf("%s of a name that is taken: %d %s", path, o.status, o.text)
		}
	}
	if won != 1 {
		m.t.Errorf("%s: %d of %d won", path, won, len(m.callers))
	}
}

// alias has each set the alias to another version: all may, and the last one stays.
func (m *moves) alias() {
	together(m.callers, func(i int, c *caller) {
		if o := m.ask(c, "POST", "registered-models/alias", map[string]any{"name": "moved", "alias": "champion", "version": strconv.Itoa(i + 1)}); o.status != http.StatusOK {
			m.t.Errorf("set alias: %d %s", o.status, o.text)
		}
	})
	seen := map[string]bool{}
	for _, c := range m.callers {
		var answer struct {
			ModelVersion struct{ Version string } `json:"model_version"`
		}
		c.must(m.t, "GET", query("registered-models/alias", url.Values{"name": {"moved"}, "alias": {"champion"}}), nil, &answer)
		seen[answer.ModelVersion.Version] = true
	}
	if n := m.count("SELECT count(*) FROM registered_model_aliases WHERE name = 'moved'"); n != 1 || len(seen) != 1 {
		m.t.Errorf("an alias with %d rows points to %v", n, seen)
	}
}

// production has each move another version to Production and archive the others: one stays.
func (m *moves) production() {
	together(m.callers, func(i int, c *caller) {
		fields := map[string]any{"name": "moved", "version": strconv.Itoa(i + 1), "stage": "Production", "archive_existing_versions": true}
		if o := m.ask(c, "POST", "model-versions/transition-stage", fields); o.status != http.StatusOK {
			m.t.Errorf("transition: %d %s", o.status, o.text)
		}
	})
	if n := m.count("SELECT count(*) FROM model_versions WHERE name = 'moved' AND current_stage = 'Production'"); n != 1 {
		m.t.Errorf("%d versions are in Production", n)
	}
}

// createAndDelete has half create and half delete a model that exists: what succeeded must add up to what is there.
func (m *moves) createAndDelete(name string) {
	outcomes := make([]outcome, len(m.callers))
	together(m.callers, func(i int, c *caller) {
		if i < len(m.callers)/2 {
			outcomes[i] = m.ask(c, "POST", "registered-models/create", map[string]any{"name": name})
		} else {
			outcomes[i] = m.ask(c, "DELETE", "registered-models/delete", map[string]any{"name": name})
		}
	})
	there := 1
	for i, o := range outcomes {
		creates := i < len(m.callers)/2
		switch code := errorCode(o.text); {
		case o.status == http.StatusOK && creates:
			there++
		case o.status == http.StatusOK:
			there--
		case creates && code == "RESOURCE_ALREADY_EXISTS", !creates && code == "RESOURCE_DOES_NOT_EXIST":
		default:
			m.t.Errorf("create and delete of %s: %d %s", name, o.status, o.text)
		}
	}
	if n := m.count("SELECT count(*) FROM registered_models WHERE name = $1", name); n != there {
		m.t.Errorf("%s is there %d times, by the answers %d times", name, n, there)
	}
}

// move is an input of the alias register: what the alias of a key is set to, "" to read it.
type move struct{ key, version string }

// register is an alias as porcupine sees it: what was set last is what is read; before the first time there is "none".
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			byKey[op.Input.(move).key] = append(byKey[op.Input.(move).key], op)
		}
		parts := make([][]porcupine.Operation, 0, len(byKey))
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "none" },
	Step: func(state, input, output any) (bool, any) {
		if version := input.(move).version; version != "" {
			return true, version
		}
		return output == state, state
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v → %v", input, output) },
}

func TestR14_AliasesAreLinearizable(t *testing.T) {
	t.Parallel()
	t.Run("postgresql", func(t *testing.T) { checkRegister(t, "R14-postgresql", modelstest.PostgreSQL(t), 3) })
	t.Run("sqlite", func(t *testing.T) { checkRegister(t, "R14-sqlite", modelstest.SQLite(t), 1) })
}

// checkRegister has clients of all replicas read, set and delete a few aliases, and checks that there is one order of all
// calls that explains every answer and in which no call comes before one that had ended when it began.
func checkRegister(t *testing.T, number, uri string, n int) {
	const keys, versions, clients = 6, 9, 12
	callers := startFleet(t, uri, n).callers(t, clients)
	callers[0].must(t, "POST", "registered-models/create", map[string]any{"name": "register"}, nil)
	for i := range versions {
		callers[0].must(t, "POST", "model-versions/create", map[string]any{"name": "register", "source": "s3://bucket/" + strconv.Itoa(i)}, nil)
	}
	r, each := random(t), size(2_000, 100_000)/clients
	plans := make([][]move, clients)
	for i := range plans {
		for range each {
			m := move{key: "k" + strconv.Itoa(r.IntN(keys))}
			switch choice := r.IntN(20); {
			case choice < 9:
				m.version = strconv.Itoa(r.IntN(versions) + 1)
			case choice == 9:
				m.version = "none"
			}
			plans[i] = append(plans[i], m)
		}
	}
	histories := make([][]porcupine.Operation, clients)
	begin := time.Now()
	together(callers, func(i int, c *caller) {
		for _, m := range plans[i] {
			called := time.Since(begin)
			output, err := m.do(c)
			if err != nil {
				t.Error(err)
				return
			}
			histories[i] = append(histories[i], porcupine.Operation{ClientId: i, Input: m, Call: int64(called), Output: output, Return: int64(time.Since(begin))})
		}
	})
	history := slices.Concat(histories...)
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	result := porcupine.CheckOperationsTimeout(register, history, deadline)
	if result != porcupine.Ok || len(history) != each*clients {
		t.Errorf("porcupine says %s of %d operations", result, len(history))
	}
	report(t, number, "replicas", n, "clients", clients, "aliases", keys, "operations", len(history), "linearizable", result)
}

// do makes the call and gives what was read.
func (m move) do(c *caller) (output string, err error) {
	var answer struct {
		ModelVersion struct{ Version string } `json:"model_version"`
	}
	var status int
	var text string
	switch m.version {
	case "":
		status, text, err = c.call("GET", query("registered-models/alias", url.Values{"name": {"register"}, "alias": {m.key}}), nil, &answer)
		if err == nil && status != http.StatusOK && errorCode(text) == "INVALID_PARAMETER_VALUE" {
			return "none", nil
		}
	case "none":
		status, text, err = c.call("DELETE", "registered-models/alias", map[string]any{"name": "register", "alias": m.key}, nil)
	default:
		status, text, err = c.call("POST", "registered-models/alias", map[string]any{"name": "register", "alias": m.key, "version": m.version}, nil)
	}
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("%v: %d %s %v", m, status, text, err) //nolint:errorlint // there may be none
	}
	return answer.ModelVersion.Version, nil
}
