package models_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

// fill writes something of every kind that has numbers of its own, a rule or a trigger.
func fill(t *testing.T, s *models.Store) {
	t.Helper()
	ctx := modelstest.Anyone(t)
	experiment, err := s.CreateExperiment(ctx, "churn", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.CreateRun(ctx, models.NewRun{ExperimentID: experiment, Name: "r\tä\n\\N"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LogBatch(ctx, run.ID, models.Batch{
		Metrics: []models.Metric{{Key: "loss", Value: 0.1, Timestamp: 1, Step: 2}}, Params: []models.Param{{Key: "p", Value: "a\\b\tc"}}, Tags: []models.Tag{{Key: "t", Value: ""}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateRegisteredModel(ctx, "churn", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateModelVersion(ctx, models.NewModelVersion{Name: "churn", Source: *run.ArtifactURI + "/model", RunID: &run.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TransitionStage(ctx, "churn", 1, "Production", false); err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T, uri string) *models.Store {
	t.Helper()
	s, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// content is every row of every table, as text.
func content(t *testing.T, uri string) map[string][]string {
	t.Helper()
	db, dialect := modelstest.Open(t, uri)
	names, err := schema.Tables(context.Background(), db, dialect)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, name := range names {
		rows, err := db.Query("SELECT * FROM " + name + " ORDER BY 1, 2")
		if name == "alembic_version" || name == "greenroom_artifact_deletions" {
			rows, err = db.Query("SELECT * FROM " + name)
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = scanAll(t, rows)
	}
	return all
}

func scanAll(t *testing.T, rows *sql.Rows) (lines []string) {
	t.Helper()
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%q", values))
	}
	return lines
}

func empty(t *testing.T, dialect schema.Dialect) string {
	if dialect == schema.SQLite {
		return modelstest.EmptySQLite(t)
	}
	return modelstest.EmptyPostgreSQL(t)
}

func TestBackUp_AndRestoreGiveEveryRowBack(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := openStore(t, uri)
		fill(t, s)
		dir := t.TempDir()
		snapshot, err := s.BackUp(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		restored := empty(t, snapshot.Dialect)
		if snapshot.Dialect == schema.SQLite {
			dir = sameDisk(t, dir, restored)
		}
		if err := models.Restore(t.Context(), restored, dir, snapshot, keepAll); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(content(t, uri), content(t, restored)); diff != "" {
			t.Errorf("rows (-backed up +restored):\n%s", diff)
		}
		if snapshot.Rows["metrics"] != 1 || snapshot.Revision != schema.Revision {
			t.Errorf("snapshot = %+v", snapshot)
		}
		// Numbers go on where they were.
		ctx := modelstest.Anyone(t)
		var made [2]int64
		for i, store := range []*models.Store{s, openStore(t, restored)} {
			if made[i], err = store.CreateExperiment(ctx, "next", "", nil); err != nil {
				t.Fatal(err)
			}
		}
		if made[0] != made[1] {
			t.Errorf("the next experiment has number %d, and after the restore %d", made[0], made[1])
		}
		if err := models.Restore(t.Context(), restored, dir, snapshot, keepAll); err == nil {
			t.Error("a database with rows was restored over")
		}
	})
}

// sameDisk moves a copy beside the database that is restored of it.
func sameDisk(t *testing.T, dir, uri string) string {
	t.Helper()
	_, file, _ := modelstest.Source(uri)
	beside := filepath.Join(filepath.Dir(file), "copy")
	if err := os.CopyFS(beside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return beside
}

func TestBackUp_IsOfOneMomentWhileOthersWrite(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := openStore(t, uri)
		ctx := modelstest.Anyone(t)
		run, err := s.CreateRun(ctx, models.NewRun{ExperimentID: 0})
		if err != nil {
			t.Fatal(err)
		}
		writing, stop := context.WithCancel(ctx)
		started := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				n := fmt.Sprint(i)
				if err := s.LogBatch(ctx, run.ID, models.Batch{
					Metrics: []models.Metric{{Key: "m" + n, Value: 1}}, Params: []models.Param{{Key: "p" + n, Value: n}}, Tags: []models.Tag{{Key: "t" + n, Value: n}},
				}); err != nil {
					t.Error(err)
					return
				}
				if i == 0 {
					close(started)
				}
			}
		})
		<-started
		for range 5 {
			snapshot, err := s.BackUp(ctx, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			rows := snapshot.Rows
			if rows["metrics"] == 0 || rows["metrics"] != rows["params"] || rows["metrics"] != rows["latest_metrics"] {
				t.Errorf("half a batch: %d metrics, %d params, %d latest metrics", rows["metrics"], rows["params"], rows["latest_metrics"])
			}
		}
		stop()
		wg.Wait()
	})
}

func TestRestore_RefusesWhatItCannotServe(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		_, _, dialect := modelstest.Source(uri)
		other := schema.SQLite
		if dialect == other {
			other = schema.PostgreSQL
		}
		for want, snapshot := range map[string]models.Snapshot{
			"restore it on the same kind":  {Dialect: other, Revision: schema.Revision},
			"has MLflow's schema revision": {Dialect: dialect, Revision: "b7e2c1a4d9f3"},
			"made by a newer Greenroom":    {Dialect: dialect, Revision: schema.Revision, Migration: 9999},
		} {
			if err := models.Restore(t.Context(), uri, t.TempDir(), snapshot, keepAll); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Restore = %v, want %q", err, want)
			}
		}
		wantState(t, uri, schema.Empty)
	})
}

func TestRestore_LeavesNothingOfACopyThatIsNotWhole(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := openStore(t, uri)
		fill(t, s)
		dir := t.TempDir()
		snapshot, err := s.BackUp(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		snapshot.Rows["metrics"]++
		restored := empty(t, snapshot.Dialect)
		if err := models.Restore(t.Context(), restored, dir, snapshot, keepAll); err == nil || !strings.Contains(err.Error(), "table metrics has 1 rows where the backup had 2") {
			t.Errorf("Restore = %v", err)
		}
		wantState(t, restored, schema.Empty)
	})
}

func keepAll(string, string) bool { return true }
