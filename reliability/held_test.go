package reliability_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"greenroom/models/modelstest"
)

// held is what a server or a database has, in the journal's words.
type held struct {
	facts   map[string]int    // how often each is there
	slots   map[string]string // those with another value than a new one has
	numbers map[string]string // source of each version, by model/number
	latest  map[string]string // by run and metric, the point that is given as the latest
	newest  map[string]metric // the same, found among all points
}

func newHeld() *held {
	return &held{map[string]int{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]metric{}}
}

func (h *held) point(run string, m metric) {
	h.facts[m.fact(run)]++
	key := run + " " + m.Key
	last, found := h.newest[key]
	if !found || m.Step > last.Step || m.Step == last.Step && (m.Timestamp > last.Timestamp || m.Timestamp == last.Timestamp && m.Value > last.Value) {
		h.newest[key] = m
	}
}

func (h *held) tag(run, key, value string) {
	switch {
	case key == "last":
		h.slots["tag "+run+" last"] = value
	case !strings.HasPrefix(key, "mlflow."):
		h.facts["tag "+run+" "+key+"="+value]++
	}
}

func (h *held) status(run, status string) {
	if status != "RUNNING" {
		h.slots["status "+run] = status
	}
}

func (h *held) version(model, number, source, stage string) {
	h.facts["version "+model+" "+source]++
	h.numbers[model+"/"+number] = source
	if stage != "None" {
		h.slots["stage "+source] = stage
	}
}

// newValue is what a slot has that nobody has set.
func newValue(slot string) string {
	switch kind, _, _ := strings.Cut(slot, " "); kind {
	case "status":
		return "RUNNING"
	case "stage":
		return "None"
	default:
		return ""
	}
}

// tally counts what was compared, for the report.
type tally struct{ attempted, acknowledged, lost, duplicated int }

// compare says what is wrong: each acknowledged write has to be there once, each other one once and whole or not at all, and
// nothing else.
func compare(entries []entry, h *held) (sum tally, wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	left := maps.Clone(h.facts)
	slots := map[string][]string{} // the values that a slot may have
	for _, e := range entries {
		sum.attempted++
		if e.acknowledged {
			sum.acknowledged++
		}
		present, twice := 0, false
		for _, fact := range e.Facts {
			if h.facts[fact] > 0 {
				present++
			}
			twice = twice || h.facts[fact] > 1
			delete(left, fact)
		}
		number, source, numbered := strings.Cut(e.number, " ")
		switch {
		case twice:
			sum.duplicated++
			complain("%s is there more than once: %v", e.ID, e.Facts)
		case e.acknowledged && present < len(e.Facts):
			sum.lost++
			complain("of %s, which was acknowledged, %d of %d are there: %v", e.ID, present, len(e.Facts), e.Facts)
		case present > 0 && present < len(e.Facts):
			complain("of %s, which was not acknowledged, %d of %d are there: %v", e.ID, present, len(e.Facts), e.Facts)
		case numbered && h.numbers[number] != source:
			sum.lost++
			complain("version %s has source %q, and was acknowledged with %q", number, h.numbers[number], source)
		}
		if e.Slot != "" {
			if slots[e.Slot] == nil {
				slots[e.Slot] = []string{newValue(e.Slot)}
			}
			if e.acknowledged {
				slots[e.Slot] = nil
			}
			slots[e.Slot] = append(slots[e.Slot], e.Value)
		}
	}
	for slot, possible := range slots {
		value, set := h.slots[slot]
		if !set {
			value = newValue(slot)
		}
		if !slices.Contains(possible, value) {
			sum.lost++
			complain("%s is %q, want one of %q", slot, value, possible)
		}
	}
	for slot, value := range h.slots {
		if slots[slot] == nil {
			complain("%s is %q, and nobody has set it", slot, value)
		}
	}
	for fact, n := range left {
		complain("%q is there %d times, and nobody has written it", fact, n)
	}
	return sum, append(wrong, h.contradictions()...)
}

// contradictions says what is wrong whatever was written: versions of a model that are not numbered 1, 2, 3 and so on, and
// metrics whose latest point is another than the latest.
func (h *held) contradictions() (wrong []string) {
	count, highest := map[string]int{}, map[string]int{}
	for key := range h.numbers {
		model, number, _ := strings.Cut(key, "/")
		n, err := strconv.Atoi(number)
		if err != nil {
			wrong = append(wrong, "version "+key)
		}
		count[model]++
		highest[model] = max(highest[model], n)
	}
	for model, n := range count {
		if highest[model] != n {
			wrong = append(wrong, fmt.Sprintf("%d versions of %s up to number %d", n, model, highest[model]))
		}
	}
	for key, m := range h.newest {
		if want := m.fact(strings.Fields(key)[0]); h.latest[key] != want {
			wrong = append(wrong, fmt.Sprintf("the latest is %q, want %q", h.latest[key], want))
		}
	}
	return wrong
}

// mustHold fails the test if anything is wrong.
func mustHold(t testing.TB, what string, entries []entry, h *held) tally {
	t.Helper()
	sum, wrong := compare(entries, h)
	for _, w := range wrong {
		t.Errorf("%s: %s", what, w)
	}
	return sum
}

// inDatabase reads what a database holds of a scope, or all of it if that is empty, on one snapshot.
func inDatabase(t testing.TB, uri, scope string) *held {
	t.Helper()
	driver, source, _ := modelstest.Source(uri)
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: isolation(driver), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it was only read
	h := newHeld()
	read := func(query string, row func(v []string)) { each(t, tx, query, row, scope) }
	const ofRun = " JOIN runs r ON r.run_uuid = x.run_uuid JOIN experiments e ON e.experiment_id = r.experiment_id WHERE ($1 = '' OR e.name = $1)"
	read("SELECT name FROM experiments WHERE experiment_id <> 0 AND ($1 = '' OR name = $1)", func(v []string) {
		h.facts["experiment "+v[0]]++
	})
	read("SELECT r.name, e.name, r.status FROM runs x"+ofRun, func(v []string) {
		h.facts["run "+v[0]+" in "+v[1]]++
		h.status(v[0], v[2])
	})
	read("SELECT r.name, x.key, x.value FROM tags x"+ofRun, func(v []string) { h.tag(v[0], v[1], v[2]) })
	read("SELECT r.name, x.key, x.value FROM params x"+ofRun, func(v []string) {
		h.facts["param "+v[0]+" "+v[1]+"="+v[2]]++
	})
	const point = "SELECT r.name, x.key, x.value, x.timestamp, x.step FROM "
	read(point+"metrics x"+ofRun, func(v []string) { h.point(v[0], scanMetric(t, v[1:])) })
	read(point+"latest_metrics x"+ofRun, func(v []string) {
		h.latest[v[0]+" "+v[1]] = scanMetric(t, v[1:]).fact(v[0])
	})
	read("SELECT name FROM registered_models WHERE ($1 = '' OR name = $1)", func(v []string) {
		h.facts["model "+v[0]]++
	})
	read("SELECT name, version, source, current_stage FROM model_versions WHERE ($1 = '' OR name = $1)", func(v []string) {
		h.version(v[0], v[1], v[2], v[3])
	})
	read(`SELECT v.source, x.key, x.value FROM model_version_tags x JOIN model_versions v ON v.name = x.name AND v.version = x.version
		WHERE x.key NOT LIKE 'greenroom.%' AND ($1 = '' OR x.name = $1)`, func(v []string) {
		h.facts["version-tag "+v[0]+" "+v[1]+"="+v[2]]++
	})
	read("SELECT name, alias, version FROM registered_model_aliases WHERE ($1 = '' OR name = $1)", func(v []string) {
		h.slots["alias "+v[0]+" "+v[1]] = v[2]
	})
	return h
}

func isolation(driver string) sql.IsolationLevel {
	if driver == "sqlite" {
		return sql.LevelDefault // a transaction is a snapshot
	}
	return sql.LevelRepeatableRead
}

// each reads all rows of a query as text.
func each(t testing.TB, tx *sql.Tx, query string, row func([]string), args ...any) {
	t.Helper()
	rows, err := tx.Query(query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values, to := make([]string, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		row(values)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// scanMetric takes key, value, timestamp and step.
func scanMetric(t testing.TB, v []string) metric {
	t.Helper()
	m := metric{Key: v[0]}
	var errs [3]error
	m.Value, errs[0] = strconv.ParseFloat(v[1], 64)
	m.Timestamp, errs[1] = strconv.ParseInt(v[2], 10, 64)
	m.Step, errs[2] = strconv.ParseInt(v[3], 10, 64)
	if err := firstError(errs[:]...); err != nil {
		t.Fatalf("metric %q: %v", v, err)
	}
	return m
}

// inServer reads what a server answers about a scope.
func inServer(t testing.TB, address, scope string) *held {
	t.Helper()
	c := newCaller(address)
	defer c.close()
	h := newHeld()
	var found struct {
		Experiment struct {
			ExperimentID string `json:"experiment_id"`
			Name         string
		}
	}
	c.must(t, "GET", query("experiments/get-by-name", url.Values{"experiment_name": {scope}}), nil, &found)
	h.facts["experiment "+found.Experiment.Name]++
	for token := ""; ; {
		var page struct {
			Runs []struct {
				Info struct {
					RunID   string `json:"run_id"`
					RunName string `json:"run_name"`
					Status  string
				}
				Data struct {
					Metrics      []metric
					Params, Tags []pair
				}
			}
			NextPageToken string `json:"next_page_token"`
		}
		c.must(t, "POST", "runs/search", map[string]any{
			"experiment_ids": []string{found.Experiment.ExperimentID}, "max_results": 100, "page_token": token,
		}, &page)
		for _, run := range page.Runs {
			name := run.Info.RunName
			h.facts["run "+name+" in "+scope]++
			h.status(name, run.Info.Status)
			for _, tag := range run.Data.Tags {
				h.tag(name, tag.Key, tag.Value)
			}
			for _, param := range run.Data.Params {
				h.facts["param "+name+" "+param.Key+"="+param.Value]++
			}
			for _, latest := range run.Data.Metrics {
				h.latest[name+" "+latest.Key] = latest.fact(name)
				if strings.HasPrefix(latest.Key, "only-") {
					h.point(name, latest)
					continue
				}
				for _, m := range history(t, c, run.Info.RunID, latest.Key) {
					h.point(name, m)
				}
			}
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	h.readModel(t, c, scope)
	return h
}

func history(t testing.TB, c *caller, run, key string) []metric {
	t.Helper()
	var answer struct{ Metrics []metric }
	c.must(t, "GET", query("metrics/get-history", url.Values{"run_id": {run}, "metric_key": {key}}), nil, &answer)
	return answer.Metrics
}

func (h *held) readModel(t testing.TB, c *caller, name string) {
	t.Helper()
	var model struct {
		RegisteredModel struct {
			Name    string
			Aliases []struct{ Alias, Version string }
		} `json:"registered_model"`
	}
	c.must(t, "GET", query("registered-models/get", url.Values{"name": {name}}), nil, &model)
	h.facts["model "+model.RegisteredModel.Name]++
	for _, a := range model.RegisteredModel.Aliases {
		h.slots["alias "+name+" "+a.Alias] = a.Version
	}
	for token := ""; ; {
		var page struct {
			ModelVersions []struct {
				Version, Source string
				CurrentStage    string `json:"current_stage"`
				Tags            []pair
			} `json:"model_versions"`
			NextPageToken string `json:"next_page_token"`
		}
		c.must(t, "GET", query("model-versions/search", url.Values{
			"filter": {fmt.Sprintf("name = '%s'", name)}, "max_results": {"100"}, "page_token": {token},
		}), nil, &page)
		for _, v := range page.ModelVersions {
			h.version(name, v.Version, v.Source, v.CurrentStage)
			for _, tag := range v.Tags {
				if !strings.HasPrefix(tag.Key, "greenroom.") {
					h.facts["version-tag "+v.Source+" "+tag.Key+"="+tag.Value]++
				}
			}
		}
		if token = page.NextPageToken; token == "" {
			return
		}
	}
}
