package upkeep_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/models/modelstest"
)

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
