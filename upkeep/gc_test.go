package upkeep_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestGC_RemovesRunsLoggedModelsAndExperimentsWithAllTheirRowsAndFiles(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		used, gone := w.experiment("used", ""), w.experiment("gone", "")
		live, old := w.run(used), w.run(used)
		liveModel, oldModel := w.model(live), w.model(live)
		ofOld := w.model(old)
		r1, r2 := w.run(gone), w.run(gone)
		m1 := w.model(r1)
		before := w.dump()
		_ = before
		w.exec("INSERT INTO sql_trace_metric_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set, sample_count) VALUES (?, '2026-01-01', 'm', 'g', 1)", gone)
		w.exec("INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) VALUES ('tr-1', ?, 1, 'OK')", gone)
		w.exec("INSERT INTO trace_tags (key, value, request_id) VALUES ('k', 'v', 'tr-1')")
		w.exec("INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id) VALUES ('a-1', 'trace', 'tr-1', 'run', ?)", r1.ID)
		w.put(fmt.Sprintf("mlflow-artifacts:/%d", gone), "notes.txt", 7)
		w.check(w.store.DeleteRun(w.ctx, old.ID))
		w.check(w.store.DeleteLoggedModel(w.ctx, oldModel.ID))
		w.check(w.store.DeleteExperiment(w.ctx, gone))

		plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{}, nil)
		w.check(err)
		if plan.Files != 6 || plan.Bytes != 100+10+100+100+10+7 {
			t.Errorf("the plan counts %d files with %d bytes", plan.Files, plan.Bytes)
		}
		deleted, kept, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
		w.check(err)
		want := []string{fmt.Sprintf("experiment %d", gone), "logged model " + oldModel.ID, "run " + old.ID}
		if !slices.Equal(deleted, want) || len(kept) > 0 {
			t.Errorf("deleted %q and kept %v, want %q", deleted, kept, want)
		}
		w.wantNoTrace(old.ID, oldModel.ID, r1.ID, r2.ID, m1.ID)
		for _, line := range w.dump() {
			if strings.Contains(line, "tr-1") || strings.HasPrefix(line, fmt.Sprintf("file: %d/", gone)) || strings.HasPrefix(line, "sql_") || strings.HasPrefix(line, "greenroom_gc") {
				t.Errorf("left: %s", line)
			}
		}
		for _, id := range []string{liveModel.ID, ofOld.ID} {
			if _, err := w.store.LoggedModel(w.ctx, id, false); err != nil {
				t.Errorf("logged model %s: %v", id, err)
			}
		}
		run, err := w.store.Run(w.ctx, live.ID)
		w.check(err)
		if len(run.Metrics) != 1 || len(run.DatasetInputs) != 1 || len(run.ModelOutputs) != 1 {
			t.Errorf("the run that was not deleted is now %+v", run)
		}
		entries, err := w.store.SearchAudit(w.ctx, models.AuditFilter{Action: "gc", Limit: 100})
		w.check(err)
		if len(entries) != 6 {
			t.Errorf("%d entries in the audit log, want one for each of 2+1 runs, 2 logged models and the experiment", len(entries))
		}
		if _, err := w.store.ExperimentObject(w.ctx, gone); err == nil {
			t.Error("the experiment is still there")
		}
	})
}

func TestGC_SelectsByAgeAndIDs(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		e, old, young := w.experiment("e", ""), w.experiment("old", ""), w.experiment("young", "")
		active, oldRun, youngRun := w.run(e), w.run(e), w.run(e)
		oldModel, youngModel := w.model(active), w.model(active)
		w.run(old)
		w.run(young)
		w.check(w.store.DeleteRun(w.ctx, oldRun.ID))
		w.check(w.store.DeleteLoggedModel(w.ctx, oldModel.ID))
		w.check(w.store.DeleteExperiment(w.ctx, old))
		w.days(10)
		w.check(w.store.DeleteRun(w.ctx, youngRun.ID))
		w.check(w.store.DeleteLoggedModel(w.ctx, youngModel.ID))
		w.check(w.store.DeleteExperiment(w.ctx, young))
		w.days(1)
		const week = 7 * 24 * time.Hour
		id := func(n int64) string { return strconv.FormatInt(n, 10) }
		for _, c := range []struct {
			name   string
			filter models.GarbageFilter
			want   []string // kinds and ids, or what the refusal says
			refuse models.Code
		}{
			{"everything", models.GarbageFilter{}, []string{"experiment " + id(old), "experiment " + id(young), "run " + oldRun.ID, "run " + youngRun.ID, "logged model " + oldModel.ID, "logged model " + youngModel.ID}, ""},
			{"the old", models.GarbageFilter{OlderThan: week}, []string{"experiment " + id(old), "run " + oldRun.ID, "logged model " + oldModel.ID}, ""},
			{"nothing", models.GarbageFilter{OlderThan: 100 * week}, nil, ""},
			{"a run", models.GarbageFilter{RunIDs: []string{youngRun.ID}}, []string{"run " + youngRun.ID}, ""},
			{"twice", models.GarbageFilter{RunIDs: []string{youngRun.ID, youngRun.ID}}, []string{"run " + youngRun.ID}, ""},
			{"a logged model", models.GarbageFilter{LoggedModelIDs: []string{youngModel.ID}}, []string{"logged model " + youngModel.ID}, ""},
			{"an experiment", models.GarbageFilter{ExperimentIDs: []string{id(young)}}, []string{"experiment " + id(young)}, ""},
			{"several", models.GarbageFilter{RunIDs: []string{oldRun.ID}, ExperimentIDs: []string{id(old)}}, []string{"experiment " + id(old), "run " + oldRun.ID}, ""},
			{"active run", models.GarbageFilter{RunIDs: []string{oldRun.ID, active.ID}}, []string{"run " + active.ID + ": it is not in the deleted stage"}, models.ResourceConflict},
			{"active experiment", models.GarbageFilter{ExperimentIDs: []string{id(e)}}, []string{"experiment " + id(e) + ": it is not in the deleted stage"}, models.ResourceConflict},
			{"young run", models.GarbageFilter{OlderThan: week, RunIDs: []string{youngRun.ID}}, []string{"run " + youngRun.ID + ": it was deleted less than 168h0m0s ago"}, models.ResourceConflict},
			{"young model", models.GarbageFilter{OlderThan: week, LoggedModelIDs: []string{youngModel.ID}}, []string{youngModel.ID + ": it was deleted less than"}, models.ResourceConflict},
			{"young experiment", models.GarbageFilter{OlderThan: week, ExperimentIDs: []string{id(young)}}, []string{"it was deleted less than"}, models.ResourceConflict},
			{"unknown", models.GarbageFilter{RunIDs: []string{"nobody"}, LoggedModelIDs: []string{"m-nobody"}, ExperimentIDs: []string{"77", "x"}}, []string{"run nobody", "logged model m-nobody", "experiment 77", "experiment x"}, models.ResourceDoesNotExist},
			{"unknown and active", models.GarbageFilter{RunIDs: []string{"nobody", active.ID}}, []string{"run nobody", active.ID}, models.ResourceConflict},
		} {
			t.Run(c.name, func(t *testing.T) {
				before := w.dump()
				plan, err := w.gc().Plan(w.ctx, c.filter, nil)
				if diff := cmp.Diff(before, w.dump()); diff != "" {
					t.Errorf("a plan changes something:\n%s", diff)
				}
				if c.refuse != "" {
					refusal := (*models.Error)(nil)
					if !errors.As(err, &refusal) || refusal.Code != c.refuse {
						t.Fatalf("error %v, want %s", err, c.refuse)
					}
					for _, part := range c.want {
						if !strings.Contains(refusal.Message, part) {
							t.Errorf("%q does not say %q", refusal.Message, part)
						}
					}
					return
				}
				w.check(err)
				var got []string
				for _, item := range plan.Remove {
					got = append(got, item.String())
				}
				slices.Sort(got)
				slices.Sort(c.want)
				if !slices.Equal(got, c.want) || len(plan.Kept) > 0 {
					t.Errorf("selected %q, kept %v, want %q", got, plan.Kept, c.want)
				}
			})
		}
	})
}

func TestGC_KeepsWhatAVersionPointsTo(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		w.version("churn", "s3://elsewhere/x", "", "")
		_, err := w.store.CreateRegisteredModel(w.ctx, "gone", "", nil)
		w.check(err)
		e := w.experiment("e", "")
		for _, c := range []struct {
			name    string
			set     func(run *models.Run, model *models.LoggedModel) (source, storage, runID string)
			run, lm bool // kept
		}{
			{"by run_id", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return "s3://elsewhere/x", "", r.ID
			}, true, false},
			{"the run's folder", func(r *models.Run, _ *models.LoggedModel) (string, string, string) { return *r.ArtifactURI, "", "" }, true, false},
			{"in the run's folder", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return *r.ArtifactURI + "/model", "", ""
			}, true, false},
			{"around the run's folder", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return strings.TrimSuffix(*r.ArtifactURI, "/artifacts"), "", ""
			}, true, false},
			{"storage_location", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return "x", *r.ArtifactURI + "/model", ""
			}, true, false},
			{"three slashes", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return strings.Replace(*r.ArtifactURI, ":/", ":///", 1) + "//model/", "", ""
			}, true, false},
			{"escapes", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return strings.Replace(*r.ArtifactURI, "artifacts", "%61rtifacts", 2)[:0] + "mlflow-artifacts:/1/" + r.ID[:1] + escaped(r.ID[1:]) + "/artifacts/model", "", ""
			}, true, false},
			{"over HTTP", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return "http://server:5000/api/2.0/mlflow-artifacts/artifacts/" + strings.TrimPrefix(*r.ArtifactURI, "mlflow-artifacts:/") + "/model", "", ""
			}, true, false},
			{"the folder behind the store", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return w.folder + "/" + strings.TrimPrefix(*r.ArtifactURI, "mlflow-artifacts:/"), "", ""
			}, true, false},
			{"the folder as a URI", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return "file://" + w.folder + "/" + strings.TrimPrefix(*r.ArtifactURI, "mlflow-artifacts:/") + "/model", "", ""
			}, true, false},
			{"through a link", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				link := filepath.Join(t.TempDir(), "link")
				w.check(os.Symlink(w.folder, link))
				return link + "/" + strings.TrimPrefix(*r.ArtifactURI, "mlflow-artifacts:/") + "/model", "", ""
			}, true, false},
			{"runs:/", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return "runs:/" + r.ID + "/model", "", ""
			}, true, true},
			{"models:/m-", func(_ *models.Run, m *models.LoggedModel) (string, string, string) { return "models:/" + m.ID, "", "" }, false, true},
			{"the model's folder", func(_ *models.Run, m *models.LoggedModel) (string, string, string) {
				return m.ArtifactLocation + "/", "", ""
			}, false, true},
			{"a deleted version of the run", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				w.exec("DELETE FROM model_versions WHERE name = 'gone'")
				w.exec("INSERT INTO model_versions (name, version, source, storage_location, current_stage, workspace) VALUES ('gone', 1, 'REDACTED', ?, 'Deleted_Internal', 'default')", *r.ArtifactURI)
				return "models:/gone/1", "", ""
			}, true, false},
			{"nothing", func(*models.Run, *models.LoggedModel) (string, string, string) { return "s3://elsewhere/x", "", "" }, false, false},
			{"another run", func(r *models.Run, _ *models.LoggedModel) (string, string, string) {
				return *r.ArtifactURI + "2/model", "", r.ID[1:]
			}, false, false},
			{"a prompt", func(*models.Run, *models.LoggedModel) (string, string, string) {
				return "dummy-source", "dummy-source", ""
			}, false, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				run := w.run(e)
				model := w.model(run)
				w.check(w.store.DeleteRun(w.ctx, run.ID))
				w.check(w.store.DeleteLoggedModel(w.ctx, model.ID))
				source, storage, runID := c.set(run, model)
				w.exec("UPDATE model_versions SET source = ?, storage_location = ?, run_id = ? WHERE name = 'churn'", source, storage, runID)
				for _, check := range []struct {
					kept   bool
					what   string
					filter models.GarbageFilter
				}{
					{c.run, "run " + run.ID, models.GarbageFilter{RunIDs: []string{run.ID}}},
					{c.lm, "logged model " + model.ID, models.GarbageFilter{LoggedModelIDs: []string{model.ID}}},
				} {
					_, err := w.gc().Plan(w.ctx, check.filter, nil)
					if refusal := (*models.Error)(nil); check.kept != (errors.As(err, &refusal) && strings.Contains(refusal.Message, check.what+": version churn/1 points to it")) || !check.kept && err != nil {
						t.Errorf("%s, kept %v: %v", check.what, check.kept, err)
					}
				}
				plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{}, nil)
				w.check(err)
				named := 0
				for _, k := range plan.Kept {
					if k.Version == "churn/1" {
						named++
					}
				}
				if want := bit(c.run) + bit(c.lm); named != want {
					t.Errorf("%d are named as kept, want %d: %v", named, want, plan.Kept)
				}
				w.exec("UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = 'churn'")
				if _, err := w.gc().Plan(w.ctx, models.GarbageFilter{RunIDs: []string{run.ID}, LoggedModelIDs: []string{model.ID}}, nil); err != nil {
					t.Errorf("after the version is deleted: %v", err)
				}
				w.exec("UPDATE model_versions SET current_stage = 'None', source = 'x', storage_location = 'x', run_id = '' WHERE name = 'churn'")
				if _, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{}); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func escaped(text string) string {
	out := ""
	for _, c := range []byte(text) {
		out += fmt.Sprintf("%%%02x", c)
	}
	return out
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestGC_KeepsAnExperimentWhole(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		byRun, byModel, byFolder, byActive := w.experiment("run", ""), w.experiment("model", ""), w.experiment("folder", ""), w.experiment("active", "")
		r1 := w.run(byRun)
		w.run(byRun)
		w.version("a", *r1.ArtifactURI+"/model", r1.ID, "")
		m := w.model(w.run(byModel))
		w.version("b", "models:/"+m.ID, "", m.ID)
		w.exec("UPDATE model_versions SET run_id = '' WHERE name = 'b'")
		w.run(byFolder)
		w.put(fmt.Sprintf("mlflow-artifacts:/%d", byFolder), "exported/MLmodel", 1)
		w.version("c", "s3://x/y", "", "")
		w.exec("UPDATE model_versions SET source = ?, storage_location = '' WHERE name = 'c'", fmt.Sprintf("mlflow-artifacts:/%d/exported", byFolder))
		restored := w.run(byActive)
		for _, id := range []int64{byRun, byModel, byFolder, byActive} {
			w.check(w.store.DeleteExperiment(w.ctx, id))
		}
		w.check(w.store.RestoreRun(w.ctx, restored.ID))
		before := w.dump()
		deleted, kept, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
		w.check(err)
		if diff := cmp.Diff(before, w.dump()); diff != "" || deleted != nil {
			t.Errorf("deleted %v:\n%s", deleted, diff)
		}
		var got []string
		for _, k := range kept {
			got = append(got, k.String()+": "+k.Reason)
		}
		want := []string{
			fmt.Sprintf("experiment %d: version a/1 points to its run %s", byRun, r1.ID),
			fmt.Sprintf("experiment %d: version b/1 points to its logged model %s", byModel, m.ID),
			fmt.Sprintf("experiment %d: version c/1 points to it", byFolder),
			fmt.Sprintf("experiment %d: its run %s is active: delete it too", byActive, restored.ID),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGC_LeavesOthersFiles(t *testing.T) {
	w := newWorld(t, modelstest.SQLite(t), nil)
	shared := w.experiment("shared", "mlflow-artifacts:/team")
	own := w.experiment("own", "")
	in := w.experiment("in", fmt.Sprintf("mlflow-artifacts:/%d/inner", own))
	w.run(shared)
	stays := w.run(in)
	w.run(own)
	w.put("mlflow-artifacts:/team", "handbook.pdf", 5)
	w.put(fmt.Sprintf("mlflow-artifacts:/%d", own), "notes.txt", 5)
	elsewhere := w.run(own)
	moved := w.run(in) // an operator has moved it from one experiment to another in the database
	w.exec("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", fmt.Sprintf("mlflow-artifacts:/%d/%s/artifacts", own, moved.ID), moved.ID)
	w.check(w.store.DeleteExperiment(w.ctx, shared))
	w.check(w.store.DeleteExperiment(w.ctx, own))
	w.exec("UPDATE runs SET artifact_uri = 's3://bucket/x/artifacts' WHERE run_uuid = ?", elsewhere.ID)

	deleted, kept, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
	w.check(err)
	if want := []string{fmt.Sprintf("experiment %d", shared)}; !slices.Contains(deleted, want[0]) {
		t.Errorf("deleted %q, want %q", deleted, want)
	}
	if len(kept) != 2 || !strings.Contains(kept[0].Reason, "s3://bucket/x/artifacts, which is in none of the given stores") {
		t.Errorf("kept %v", kept)
	}
	g := w.gc()
	g.KeepForeign = true
	deleted, kept, err = w.collect(w.ctx, g, models.GarbageFilter{})
	w.check(err)
	if !slices.Contains(deleted, fmt.Sprintf("experiment %d", own)) || len(kept) > 0 {
		t.Errorf("deleted %q, kept %v", deleted, kept)
	}
	var files []string
	for _, line := range w.dump() {
		if strings.HasPrefix(line, "file: ") {
			files = append(files, line)
		}
	}
	number := slices.Index(w.ids, stays.ID)
	for _, want := range []string{"file: team/handbook.pdf 5", fmt.Sprintf("file: %d/notes.txt 5", own), fmt.Sprintf("file: %d/inner/<%d>/artifacts/model/MLmodel 100", own, number)} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is gone: %v", want, files)
		}
	}
	if _, err := os.Stat(filepath.Join(w.folder, "team", elsewhere.ID)); err == nil {
		t.Error("the folder of a run is left")
	}
}

func TestGC_TakesMissingFilesForDeleted(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		e := w.experiment("e", "")
		run := w.run(e)
		model := w.model(w.run(e))
		w.check(w.store.DeleteRun(w.ctx, run.ID))
		w.check(w.store.DeleteLoggedModel(w.ctx, model.ID))
		w.check(w.stores.Served.Delete(w.ctx, fmt.Sprintf("%d/%s", e, run.ID)))
		w.check(w.stores.Served.Delete(w.ctx, fmt.Sprintf("%d/models", e)))
		deleted, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
		if err != nil || len(deleted) != 2 {
			t.Errorf("deleted %q: %v", deleted, err)
		}
	})
}

// flaky is a store that calls back before and after every operation of a gc.
type flaky struct {
	artifacts.Store
	step func(op, path string) error
}

func (f flaky) List(ctx context.Context, path string) ([]artifacts.Entry, error) {
	if err := f.step("list", path); err != nil {
		return nil, err
	}
	return f.Store.List(ctx, path)
}

func (f flaky) Delete(ctx context.Context, path string) error {
	if err := f.step("delete", path); err != nil {
		return err
	}
	if err := f.Store.Delete(ctx, path); err != nil {
		return err
	}
	return f.step("deleted", path)
}

func TestGC_GoesOnAfterItWasKilledAtAnyStep(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		stride := 1
		if !strings.HasPrefix(uri, "sqlite") { // where a database for each step takes its time
			stride = 5
		}
		another := func() string {
			if strings.HasPrefix(uri, "sqlite") {
				return modelstest.SQLite(t)
			}
			return modelstest.PostgreSQL(t)
		}
		build := func() *world {
			w := newWorld(t, another(), nil)
			e, gone := w.experiment("e", ""), w.experiment("gone", "")
			kept := w.run(e)
			run := w.run(e)
			model := w.model(run)
			w.model(w.run(gone))
			w.check(w.store.DeleteRun(w.ctx, run.ID))
			w.check(w.store.DeleteLoggedModel(w.ctx, model.ID))
			w.check(w.store.DeleteExperiment(w.ctx, gone))
			w.version("churn", *kept.ArtifactURI+"/model", kept.ID, "")
			return w
		}
		undisturbed := build()
		_, _, err := undisturbed.collect(undisturbed.ctx, undisturbed.gc(), models.GarbageFilter{})
		undisturbed.check(err)
		want := undisturbed.dump()

		kinds := map[string]func(cancel func()) error{
			"killed":           func(cancel func()) error { cancel(); return context.Canceled },
			"the store failed": func(func()) error { return &artifacts.UnavailableError{Err: errors.New("injected")} },
		}
		for name, fault := range kinds {
			steps := 0
			for at := 1; ; at += stride {
				w := build()
				ctx, cancel := context.WithCancel(w.ctx)
				n := 0
				step := func(string, string) error {
					if n++; n == at {
						return fault(cancel)
					}
					return nil
				}
				g := w.gc()
				g.Stores.Served = flaky{w.stores.Served, step}
				if name == "killed" {
					w.onBegin = func() { _ = step("", "") }
				}
				_, _, err := w.collect(ctx, g, models.GarbageFilter{})
				w.onBegin = nil
				cancel()
				if n < at {
					if err != nil {
						t.Errorf("%s at no step: %v", name, err)
					}
					steps = n
					break
				}
				if _, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{OlderThan: 1000 * time.Hour}); err != nil {
					t.Fatalf("%s at step %d, the second run: %v", name, at, err)
				}
				if _, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{}); err != nil {
					t.Fatalf("%s at step %d, the third run: %v", name, at, err)
				}
				if diff := cmp.Diff(want, w.dump()); diff != "" {
					t.Fatalf("%s at step %d:\n%s", name, at, diff)
				}
				w.store.Close()
			}
			if steps < 10 {
				t.Errorf("%s at %d steps only", name, steps)
			}
		}
	})
}

func TestGC_ForgetsWhatIsStoredWhileItDeletes(t *testing.T) {
	w := newWorld(t, modelstest.SQLite(t), nil)
	run := w.run(w.experiment("e", ""))
	w.check(w.store.DeleteRun(w.ctx, run.ID))
	g := w.gc()
	g.Stores.Served = flaky{w.stores.Served, func(op, _ string) error {
		if op == "delete" {
			w.put(*run.ArtifactURI, "late.txt", 10)
		}
		return nil
	}}
	if deleted, _, err := w.collect(w.ctx, g, models.GarbageFilter{}); len(deleted) != 1 || err != nil {
		t.Fatalf("deleted %q: %v", deleted, err)
	}
	if left, err := w.store.ArtifactRecords(w.ctx, "", 10); len(left) > 0 || err != nil {
		t.Errorf("records of files that are gone: %+v, %v", left, err)
	}
}

func TestGC_RefusesAnEmptyStoreWhereFilesAreKnown(t *testing.T) {
	w := newWorld(t, modelstest.SQLite(t), nil)
	run := w.run(w.experiment("e", ""))
	w.put(*run.ArtifactURI, "a.txt", 10)
	w.check(w.store.DeleteRun(w.ctx, run.ID))
	mistyped, err := artifacts.OpenLocal(t.TempDir())
	w.check(err)
	t.Cleanup(func() { mistyped.Close() })
	g := w.gc()
	g.Stores.Served = mistyped
	if _, err := g.Plan(w.ctx, models.GarbageFilter{}, nil); err == nil || !strings.Contains(err.Error(), "--artifacts-destination") {
		t.Errorf("Plan = %v, want a refusal that names the flag", err)
	}
	g.KeepForeign = true
	if _, err := g.Plan(w.ctx, models.GarbageFilter{}, nil); err != nil {
		t.Errorf("Plan with KeepForeign = %v", err)
	}
}

func TestGC_AStoreThatFailsHoldsUpOnlyItsOwn(t *testing.T) {
	w := newWorld(t, modelstest.SQLite(t), nil)
	e := w.experiment("e", "")
	bad, good := w.run(e), w.run(e)
	w.check(w.store.DeleteRun(w.ctx, bad.ID))
	w.check(w.store.DeleteRun(w.ctx, good.ID))
	g := w.gc()
	g.Stores.Served = flaky{w.stores.Served, func(op, path string) error {
		if op == "delete" && strings.Contains(path, bad.ID) {
			return &artifacts.UnavailableError{Err: errors.New("injected")}
		}
		return nil
	}}
	deleted, _, err := w.collect(w.ctx, g, models.GarbageFilter{})
	if !slices.Equal(deleted, []string{"run " + good.ID}) || err == nil || !strings.Contains(err.Error(), bad.ID) {
		t.Fatalf("deleted %q: %v", deleted, err)
	}
	for what, err := range map[string]error{
		"restore the run":        w.store.RestoreRun(w.ctx, bad.ID),
		"register the run":       w.register("churn", *bad.ArtifactURI+"/model", bad.ID, ""),
		"register its folder":    w.register("churn", "runs:/"+bad.ID+"/model", bad.ID, ""),
		"restore the other run":  w.store.RestoreRun(w.ctx, good.ID),
		"register the other run": w.register("churn", "runs:/"+good.ID+"/model", good.ID, ""),
	} {
		refusal := (*models.Error)(nil)
		if !errors.As(err, &refusal) {
			t.Errorf("%s: %v", what, err)
		} else if !strings.Contains(what, "other") && !strings.Contains(refusal.Message, "is being deleted for good by greenroom gc") {
			t.Errorf("%s: %s", what, refusal.Message)
		}
	}
	plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{OlderThan: time.Hour}, nil)
	w.check(err)
	if len(plan.Unfinished) != 1 || plan.Unfinished[0].ID != bad.ID || plan.Unfinished[0].Files != 1 || len(plan.Remove) > 0 {
		t.Errorf("the next plan is %+v", plan)
	}
}

func TestMarkGarbage_BlocksRestoresAndRegistrations(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		e, gone := w.experiment("e", ""), w.experiment("gone", "")
		_, err := w.store.CreateRegisteredModel(w.ctx, "churn", "", nil)
		w.check(err)
		run, other := w.run(e), w.run(e)
		model := w.model(other)
		inner := w.run(gone)
		w.check(w.store.DeleteRun(w.ctx, run.ID))
		w.check(w.store.DeleteExperiment(w.ctx, gone))
		w.version("first", "models:/"+model.ID, "", model.ID)
		w.check(w.store.DeleteModelVersion(w.ctx, "first", 1))
		w.check(w.store.DeleteLoggedModel(w.ctx, model.ID))
		plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{}, nil)
		w.check(err)
		var items []models.Garbage
		for _, item := range plan.Remove {
			items = append(items, item.Garbage)
		}
		if _, err := w.store.MarkGarbage(w.ctx, models.GarbageFilter{}, items); err != nil || len(items) != 3 {
			t.Fatalf("%v are marked: %v", items, err)
		}
		for what, err := range map[string]error{
			"restore run":           w.store.RestoreRun(w.ctx, run.ID),
			"restore experiment":    w.store.RestoreExperiment(w.ctx, gone),
			"restore its run":       w.store.RestoreRun(w.ctx, inner.ID),
			"register by run":       w.register("churn", "s3://b/x", run.ID, ""),
			"register its run":      w.register("churn", *inner.ArtifactURI, inner.ID, ""),
			"register by runs:":     w.register("churn", "runs:/"+run.ID+"/model", run.ID, ""),
			"register a folder":     w.register("churn", *run.ArtifactURI+"/model", run.ID, ""),
			"register another name": w.register("churn", strings.Replace(*run.ArtifactURI, ":/", ":///", 1)+"/model", run.ID, ""),
		} {
			refusal := (*models.Error)(nil)
			if !errors.As(err, &refusal) || refusal.Code != models.InvalidParameterValue || !strings.Contains(refusal.Message, "is being deleted for good by greenroom gc") {
				t.Errorf("%s: %v", what, err)
			}
		}
		w.check(w.store.DeleteExperiment(w.ctx, e))
		w.check(w.store.RestoreExperiment(w.ctx, e))
		if r, err := w.store.RunInfo(w.ctx, run.ID); err != nil || r.LifecycleStage != models.Deleted {
			t.Errorf("the experiment's restore brings back the marked run: %+v, %v", r, err)
		}
		if r, err := w.store.RunInfo(w.ctx, other.ID); err != nil || r.LifecycleStage != models.Active {
			t.Errorf("the experiment's restore leaves the other run deleted: %+v, %v", r, err)
		}
		w.check(w.register("churn", *other.ArtifactURI+"/model", other.ID, ""))
	})
}

// Whoever comes first wins, and nobody gets half: after the race a run is in use with its file, or gone with it.
func TestGC_RacesWithRestoresAndRegistrations(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		const n = 12
		var runs []*models.Run
		var experiments []int64
		for i := range n {
			e := w.experiment("e"+strconv.Itoa(i), "")
			run := w.run(e)
			runs, experiments = append(runs, run), append(experiments, e)
			if i%3 == 2 {
				w.check(w.store.DeleteExperiment(w.ctx, e))
			} else {
				w.check(w.store.DeleteRun(w.ctx, run.ID))
			}
			_, err := w.store.CreateRegisteredModel(w.ctx, "m"+strconv.Itoa(i), "", nil)
			w.check(err)
		}
		won := make([]error, n)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i, run := range runs {
			wg.Go(func() {
				<-start
				switch i % 3 {
				case 0:
					won[i] = w.store.RestoreRun(w.ctx, run.ID)
				case 1:
					won[i] = w.register("m"+strconv.Itoa(i), *run.ArtifactURI+"/model", run.ID, "")
				case 2:
					won[i] = w.store.RestoreExperiment(w.ctx, experiments[i])
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				<-start
				_, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
				if other := (*models.Error)(nil); err != nil && (!errors.As(err, &other) || !strings.Contains(other.Message, "Another greenroom gc")) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		for i, run := range runs {
			_, err := w.store.RunInfo(w.ctx, run.ID)
			_, openErr := w.stores.Served.Open(w.ctx, strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")+"/model/MLmodel")
			if won[i] == nil && (err != nil || openErr != nil) {
				t.Errorf("%d was brought back or registered, and is deleted: %v, %v", i, err, openErr)
			}
			if won[i] != nil && (err == nil || openErr == nil) {
				t.Errorf("%d was refused (%v), and is still there", i, won[i])
			}
			if won[i] != nil {
				w.wantNoTrace(run.ID)
			}
		}
	})
}

func TestGC_DeletesALargeRunInParts(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		run := w.run(w.experiment("e", ""))
		w.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
			INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) SELECT 'loss', i, i, '` + run.ID + `', i, ` + map[bool]string{true: "0", false: "false"}[strings.HasPrefix(uri, "sqlite")] + ` FROM n`)
		w.check(w.store.DeleteRun(w.ctx, run.ID))
		begun := 0
		w.onBegin = func() { begun++ }
		_, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
		w.check(err)
		if begun < 8 {
			t.Errorf("%d transactions: the rows went all at once", begun)
		}
		w.wantNoTrace(run.ID)
	})
}

func TestGC_AnExperimentsIDIsNewAfterwards(t *testing.T) {
	w := newWorld(t, modelstest.SQLite(t), nil)
	e := w.experiment("e", "")
	w.run(e)
	w.check(w.store.DeleteExperiment(w.ctx, e))
	_, _, err := w.collect(w.ctx, w.gc(), models.GarbageFilter{})
	w.check(err)
	again := w.experiment("e", "")
	if again != e {
		t.Fatalf("the new experiment has id %d, not %d", again, e)
	}
	run := w.run(again)
	w.check(w.store.DeleteRun(w.ctx, run.ID))
	w.check(w.store.RestoreRun(w.ctx, run.ID))
}

func TestLockGC_LetsOneInAtATime(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		release, err := w.store.LockGC(w.ctx)
		w.check(err)
		another := newWorld(t, uri, nil)
		if _, _, err := another.collect(w.ctx, another.gc(), models.GarbageFilter{}); err == nil || !strings.Contains(err.Error(), "Another greenroom gc is at work") {
			t.Errorf("a second gc: %v", err)
		}
		release()
		_, _, err = another.collect(w.ctx, another.gc(), models.GarbageFilter{})
		w.check(err)
	})
}

func TestSweeper_DropsWhatUploadsLeaveBehind(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) artifacts.Store{
		"local": func(*testing.T) artifacts.Store { return nil },
		"s3":    func(t *testing.T) artifacts.Store { return openS3(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, modelstest.SQLite(t), open(t))
			store := w.stores.Served.(artifacts.Multiparter)
			id, err := store.CreateUpload(w.ctx, "1/r/artifacts/f")
			w.check(err)
			_, err = store.PutPart(w.ctx, "1/r/artifacts/f", id, 1, strings.NewReader("part"), 4)
			w.check(err)
			killed := filepath.Join(w.folder, ".greenroom-uploads", "KILLED")
			if name == "local" {
				w.check(os.MkdirAll(filepath.Dir(killed), 0o700))
				w.check(os.WriteFile(killed, []byte("half"), 0o600))
			}
			w.exec("INSERT INTO greenroom_manifests (digest, content) VALUES ('d1', 'x'), ('d2', 'y')")
			w.version("churn", "s3://b/x", "", "")
			w.exec("INSERT INTO model_version_tags (workspace, name, version, key, value) VALUES ('default', 'churn', 1, 'greenroom.digest', 'sha256:d1')")

			s := upkeep.Sweeper{Store: w.store, Stores: w.stores, UploadLifetime: time.Hour, Now: time.Now}
			swept, err := s.Sweep(w.ctx)
			w.check(err)
			if swept != (upkeep.Swept{Manifests: 1}) {
				t.Errorf("at once %+v are swept", swept)
			}
			if _, err := os.Stat(killed); err == nil {
				t.Error("the temporary file of a killed upload is left")
			}
			s.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
			w.check(w.store.DeleteModelVersion(w.ctx, "churn", 1))
			swept, err = s.Sweep(w.ctx)
			w.check(err)
			if swept != (upkeep.Swept{Uploads: 1, Manifests: 1}) {
				t.Errorf("two hours later %+v are swept", swept)
			}
			if _, err := store.PutPart(w.ctx, "1/r/artifacts/f", id, 1, strings.NewReader("part"), 4); !errors.Is(err, artifacts.ErrNoUpload) {
				t.Errorf("the upload goes on: %v", err)
			}
		})
	}
}

func TestGC_DeletesFinishedJobs(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		w := newWorld(t, uri, nil)
		for id, status := range map[string]int{"pending": 0, "running": 1, "succeeded": 2, "failed": 3, "timeout": 4, "canceled": 5, "recovering": 6} {
			w.exec("INSERT INTO jobs (id, creation_time, job_name, params, status, retry_count, last_update_time) VALUES (?, ?, 'j', '{}', ?, 0, 0)", id, w.now.Load(), status)
		}
		w.days(2)
		for _, c := range []struct {
			filter models.JobFilter
			want   []string
			refuse bool
		}{
			{models.JobFilter{}, []string{"canceled", "failed", "succeeded", "timeout"}, false},
			{models.JobFilter{OlderThan: 72 * time.Hour}, []string{}, false},
			{models.JobFilter{IDs: []string{"failed"}}, []string{"failed"}, false},
			{models.JobFilter{IDs: []string{"failed", "running"}}, nil, true},
			{models.JobFilter{IDs: []string{"failed"}, OlderThan: 72 * time.Hour}, nil, true},
		} {
			plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{}, &c.filter)
			if c.refuse != (err != nil) {
				t.Errorf("%+v: %v", c.filter, err)
			}
			if err == nil && !slices.Equal(plan.Jobs, c.want) {
				t.Errorf("%+v selects %q", c.filter, plan.Jobs)
			}
		}
		plan, err := w.gc().Plan(w.ctx, models.GarbageFilter{}, &models.JobFilter{})
		w.check(err)
		_, err = w.gc().Run(w.ctx, plan, func(upkeep.Result) {})
		w.check(err)
		db, _ := w.raw()
		defer db.Close()
		if left := w.rows(db, "SELECT id FROM jobs ORDER BY id"); !slices.Equal(left, []string{"pending", "recovering", "running"}) {
			t.Errorf("left are %q", left)
		}
	})
}
