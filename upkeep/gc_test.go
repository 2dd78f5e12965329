package upkeep_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/upkeep"
)

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
