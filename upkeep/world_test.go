package upkeep_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/models/schema"
	"greenroom/upkeep"
)

// world is a database and a store with something to delete.
type world struct {
	t       testing.TB
	ctx     context.Context
	uri     string
	folder  string // of the local store
	store   *models.Store
	stores  artifacts.Stores
	now     atomic.Int64 // milliseconds
	onBegin func()       // at the beginning of every transaction
	ids     []string     // in the order in which they were made up
}

func newWorld(t testing.TB, uri string, served artifacts.Store) *world {
	t.Helper()
	w := &world{t: t, ctx: modelstest.Anyone(t), uri: uri, folder: t.TempDir()}
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	if served == nil {
		local, err := artifacts.OpenLocal(w.folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { local.Close() })
		served = local
	}
	w.stores = artifacts.Stores{Served: served}
	options := models.Options{AllowedSchemes: []string{"s3"}, ArtifactRoot: "mlflow-artifacts:/", ArtifactsDestination: w.folder, Now: func() time.Time {
		if w.onBegin != nil {
			w.onBegin()
		}
		return time.UnixMilli(w.now.Load())
	}}
	store, err := models.Open(w.ctx, uri, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w.store = store
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) experiment(name, location string) int64 {
	w.t.Helper()
	id, err := w.store.CreateExperiment(w.ctx, name, location, []models.Tag{{Key: "team", Value: "growth"}})
	w.check(err)
	return id
}

// put stores a file, as the server would.
func (w *world) put(location, name string, size int) {
	w.t.Helper()
	place, err := w.stores.Locate(location)
	w.check(err)
	place, err = place.In(name)
	w.check(err)
	stored, err := place.Store.Put(w.ctx, place.Path, bytes.NewReader(make([]byte, size)), int64(size))
	w.check(err)
	_, err = w.store.RecordArtifact(w.ctx, place.Location(), stored, models.ArtifactBefore{}, false)
	w.check(err)
}

// run makes a run with one of everything, and 100 bytes of model.
func (w *world) run(experiment int64) *models.Run {
	w.t.Helper()
	run, err := w.store.CreateRun(w.ctx, models.NewRun{ExperimentID: experiment, StartTime: w.now.Load(), Tags: []models.Tag{{Key: "mlflow.runName", Value: "r" + strconv.Itoa(len(w.ids))}}})
	w.check(err)
	w.ids = append(w.ids, run.ID)
	w.check(w.store.LogBatch(w.ctx, run.ID, models.Batch{
		Metrics: []models.Metric{{Key: "auc", Value: 1, Timestamp: 1}, {Key: "auc", Value: 2, Timestamp: 2}}, Params: []models.Param{{Key: "p", Value: "1"}}, Tags: []models.Tag{{Key: "t", Value: "1"}},
	}))
	w.check(w.store.LogInputs(w.ctx, run.ID, []models.DatasetInput{{Dataset: models.Dataset{Name: "d", Digest: "x", SourceType: "local", Source: "s"}, Tags: []models.Tag{{Key: "context", Value: "train"}}}}, nil))
	w.put(*run.ArtifactURI, "model/MLmodel", 100)
	return run
}

// model makes a logged model as an output of a run, with 10 bytes.
func (w *world) model(run *models.Run) *models.LoggedModel {
	w.t.Helper()
	m, err := w.store.CreateLoggedModel(w.ctx, models.NewLoggedModel{
		ExperimentID: run.ExperimentID, SourceRunID: run.ID, Name: "lm" + strconv.Itoa(len(w.ids)), Params: []models.Param{{Key: "p", Value: "1"}}, Tags: []models.Tag{{Key: "t", Value: "1"}},
	})
	w.check(err)
	w.ids = append(w.ids, m.ID)
	w.check(w.store.LogOutputs(w.ctx, run.ID, []models.ModelOutput{{ModelID: m.ID}}))
	w.check(w.store.LogBatch(w.ctx, run.ID, models.Batch{Metrics: []models.Metric{{Key: "auc", Value: 1, Timestamp: 1, ModelID: m.ID}}}))
	w.put(m.ArtifactLocation, "MLmodel", 10)
	return m
}

func (w *world) version(name, source, run, model string) {
	w.t.Helper()
	_, err := w.store.CreateRegisteredModel(w.ctx, name, "", nil)
	w.check(err)
	w.check(w.register(name, source, run, model))
}

func (w *world) register(name, source, run, model string) error {
	n := models.NewModelVersion{Name: name, Source: source}
	if run != "" {
		n.RunID = &run
	}
	if model != "" {
		n.ModelID = &model
	}
	_, err := w.store.CreateModelVersion(w.ctx, n)
	return err
}

func (w *world) days(n int) { w.now.Add(int64(n) * 24 * time.Hour.Milliseconds()) }

// exec changes the database behind the store's back.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	db, dialect := w.raw()
	defer db.Close()
	if dialect == schema.PostgreSQL {
		for i := 1; strings.Contains(query, "?"); i++ {
			query = strings.Replace(query, "?", "$"+strconv.Itoa(i), 1)
		}
	}
	_, err := db.ExecContext(w.ctx, query, args...)
	w.check(err)
}

func (w *world) raw() (*sql.DB, schema.Dialect) {
	w.t.Helper()
	driver, source, dialect := modelstest.Source(w.uri)
	if dialect == schema.SQLite {
		source = "file:" + source + "?_pragma=busy_timeout(20000)"
	}
	db, err := sql.Open(driver, source)
	w.check(err)
	return db, dialect
}

var madeUp = regexp.MustCompile(`\b[0-9a-f]{32}\b|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// dump is every row of every table in which something can be left, and every file. Ids that are made up look the same in every world.
func (w *world) dump() []string {
	w.t.Helper()
	db, dialect := w.raw()
	defer db.Close()
	tables := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if dialect == schema.PostgreSQL {
		tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
	}
	var out []string
	for _, table := range w.rows(db, tables) {
		if table == "greenroom_audit" || table == "greenroom_artifact_deletions" || table == "greenroom_version_creations" || table == "sqlite_sequence" {
			continue
		}
		for _, row := range w.rows(db, "SELECT * FROM "+table) {
			for i, id := range w.ids {
				row = strings.ReplaceAll(row, id, fmt.Sprintf("<%d>", i))
			}
			if table == "model_versions" || table == "model_version_tags" || table == "greenroom_artifacts" {
				row = regexp.MustCompile(`"[0-9a-f]+-[0-9a-f]+-[0-9a-f]+"`).ReplaceAllString(row, "<etag>")
			}
			out = append(out, table+": "+madeUp.ReplaceAllString(row, "<made up>"))
		}
	}
	w.check(artifacts.Walk(w.ctx, w.stores.Served, "", func(path string, size int64) error {
		for i, id := range w.ids {
			path = strings.ReplaceAll(path, id, fmt.Sprintf("<%d>", i))
		}
		out = append(out, fmt.Sprintf("file: %s %d", path, size))
		return nil
	}))
	slices.Sort(out)
	return out
}

func (w *world) rows(db *sql.DB, query string) (out []string) {
	w.t.Helper()
	rows, err := db.QueryContext(w.ctx, query)
	w.check(err)
	defer rows.Close()
	columns, err := rows.Columns()
	w.check(err)
	for rows.Next() {
		values, scans := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			scans[i] = &values[i]
		}
		w.check(rows.Scan(scans...))
		cells := make([]string, len(values))
		for i, v := range values {
			if text, ok := v.([]byte); ok {
				v = string(text)
			}
			cells[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(cells, "|"))
	}
	w.check(rows.Err())
	return out
}

func (w *world) gc() upkeep.GC { return upkeep.GC{Store: w.store, Stores: w.stores} }

// collect runs a gc and gives what it deleted and what it kept, each as "kind id", without made-up ids.
func (w *world) collect(ctx context.Context, g upkeep.GC, f models.GarbageFilter) (deleted []string, kept []models.Kept, err error) {
	plan, err := g.Plan(ctx, f, nil)
	if err != nil {
		return nil, nil, err
	}
	late, err := g.Run(ctx, plan, func(r upkeep.Result) {
		if r.Err == nil {
			deleted = append(deleted, r.String())
		}
	})
	slices.Sort(deleted)
	return deleted, append(plan.Kept, late...), err
}

// wantNoTrace fails if anything but the audit log knows an id.
func (w *world) wantNoTrace(ids ...string) {
	w.t.Helper()
	numbers := map[string]bool{}
	for _, id := range ids {
		numbers[fmt.Sprintf("<%d>", slices.Index(w.ids, id))] = true
	}
	for _, line := range w.dump() {
		for number := range numbers {
			if strings.Contains(line, number) && !strings.HasPrefix(line, "logged_models: ") { // which keep the id of their run
				w.t.Errorf("left of %s: %s", number, line)
			}
		}
	}
}

// onBothStores runs a test on both databases, on a local store and on S3.
func onBothStores(t *testing.T, test func(t *testing.T, w *world)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		t.Run("local", func(t *testing.T) { test(t, newWorld(t, uri, nil)) })
	})
	t.Run("sqlite/s3", func(t *testing.T) { test(t, newWorld(t, modelstest.SQLite(t), openS3(t))) })
}

func openS3(t *testing.T) *artifacts.S3 {
	t.Helper()
	server := artifactstest.SharedS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	t.Setenv("AWS_REGION", server.Region)
	store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: "s3://" + server.Bucket(t) + "/team", Endpoint: server.Endpoint, Bounds: artifactstest.Patient()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}
