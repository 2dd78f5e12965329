package models

import (
	"fmt"
	"strings"
	"testing"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/models/modelstest"
)

func TestRequireOverwritable_KeepsLiveVersionsAsTheyAre(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := openWith(t, uri, Options{ArtifactRoot: "s3://direct/runs", ArtifactsDestination: "/data/served"})
		all := modelstest.Anyone(t)
		insertVersion(t, s, "m")
		const run = "0123456789abcdef0123456789abcdef"
		if err := s.write.Exec("INSERT INTO runs (run_uuid, experiment_id, artifact_uri, lifecycle_stage) VALUES (?, 0, ?, 'active')", run, "mlflow-artifacts:/0/"+run+"/artifacts").Error; err != nil {
			t.Fatal(err)
		}
		const served, direct = "mlflow-artifacts:/", "s3://direct/runs/"
		for _, c := range []struct {
			version, changed string
			put, remove      bool // refused
		}{
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r/artifacts/model", true, true},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r/artifacts/model2/MLmodel", false, false},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r/artifacts/metrics.json", false, false},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r/artifacts", false, true},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1/r", false, true},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "1", false, true},
			{"mlflow-artifacts:/1/r/artifacts/model", served + "10", false, false},
			{"mlflow-artifacts:/1/r/artifacts", served + "1/r/artifacts/anything", true, true},
			{"mlflow-artifacts:///1/r/artifacts/model/", served + "1/r/artifacts/model/MLmodel", true, true},
			{"MLFLOW-ARTIFACTS:/1//r/./artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"mlflow-artifacts:/1/%72/artifacts/my%20model", served + "1/r/artifacts/my model/MLmodel", true, true},
			{"mlflow-artifacts:/1/a_c/artifacts", served + "1/abc/artifacts/f", false, false},
			{"mlflow-artifacts:/1/a_%/artifacts", served + "1/a_%/artifacts/f", true, true},
			{"mlflow-artifacts://host/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"http://host:5000/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"/data/served/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"file:///data/served/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"file:///data/served/1/%72/artifacts/model", served + "1/r/artifacts/model/MLmodel", true, true},
			{"runs:/" + run + "/model", served + "0/" + run + "/artifacts/model/MLmodel", true, true},
			{"runs:///" + run + "/my%20model", served + "0/" + run + "/artifacts/my model/MLmodel", true, true},
			{"runs:/" + run + "/model", served + "0/" + run + "/artifacts/plot.png", false, false},
			{"runs:/nobody/model", served + "0/" + run + "/artifacts/model/MLmodel", false, false},
			{"mlflow-artifacts:/1/models/m-1/artifacts", served + "1/models/m-1/artifacts/MLmodel", true, true},
			{"mlflow-artifacts:/1/models/m-1/artifacts", served + "1/models/m-2/artifacts/MLmodel", false, false},
			{"mlflow-artifacts:/my/own/folder/r/artifacts/model", served + "my/own/folder/r/artifacts/model/MLmodel", true, true},
			{"s3://direct/runs/1/r/artifacts/model", direct + "1/r/artifacts/model/MLmodel", true, true},
			{"s3://direct/runs/1/r/artifacts/model", served + "1/r/artifacts/model/MLmodel", false, false},
			{"s3://Direct/runs/1/r/artifacts/model", direct + "1/r/artifacts/model/MLmodel", false, false},
			{"s3://direct/runs2/1/r/artifacts/model", direct + "1/r/artifacts/model/MLmodel", false, false},
			// More than a run: whoever makes such a version must not close the store for all others.
			{"mlflow-artifacts:/", served + "1/r/artifacts/model/MLmodel", false, false},
			{"mlflow-artifacts:/1", served + "1/r/artifacts/model/MLmodel", false, false},
			{"mlflow-artifacts:/1/r", served + "1/r/artifacts/model/MLmodel", false, false},
			{"dummy-source", served + "1/r/artifacts/model/MLmodel", false, false},
			{"models:/m-1", served + "1/models/m-1/artifacts/MLmodel", false, false},
			{"mlflow-artifacts:/1/../1/r/artifacts", served + "1/r/artifacts/f", false, false},
		} {
			for stage, live := range map[Stage]bool{StageStaging: true, StageProduction: true, StageNone: false, StageArchived: false, stageDeleted: false} {
				if err := s.write.Exec("UPDATE model_versions SET storage_location = ?, source = 'x', current_stage = ?", c.version, stage).Error; err != nil {
					t.Fatal(err)
				}
				wantFrozen(t, s.RequireOverwritable(all, c.changed), c.put && live, fmt.Sprintf("put %s with a version at %s in %s", c.changed, c.version, stage))
				wantFrozen(t, s.RequireDeletable(all, c.changed), c.remove && live, fmt.Sprintf("delete %s with a version at %s in %s", c.changed, c.version, stage))
			}
		}
	})
}

// insertVersion makes version 1 of a model, of which a test then says where it is.
func insertVersion(t *testing.T, s *Store, name string) {
	t.Helper()
	newRegisteredModel(t, s, name)
	if err := s.write.Exec("INSERT INTO model_versions (name, version, workspace) VALUES (?, 1, ?)", name, workspace).Error; err != nil {
		t.Fatal(err)
	}
}

func wantFrozen(t *testing.T, err error, frozen bool, what string) {
	t.Helper()
	if frozen {
		wantError(t, err, ResourceConflict, "")
		if err != nil && !strings.Contains(err.Error(), "version 1 of registered model 'm'") {
			t.Errorf("%s: %v does not name the version", what, err)
		}
	}
	if frozen != (err != nil) {
		t.Errorf("%s: %v", what, err)
	}
}

// Versions of MLflow before 2.3 have a source alone.
func TestRequireOverwritable_GoesBySourceWithoutAStorageLocation(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		insertVersion(t, s, "m")
		for _, storage := range []any{nil, ""} {
			if err := s.write.Exec("UPDATE model_versions SET storage_location = ?, source = 'mlflow-artifacts:/1/r/artifacts/model', current_stage = 'Production'", storage).Error; err != nil {
				t.Fatal(err)
			}
			wantFrozen(t, s.RequireOverwritable(modelstest.Anyone(t), "mlflow-artifacts:/1/r/artifacts/model/f"), true, "put")
		}
	})
}

func TestRequireOverwritable_NamesOnlyModelsThatTheCallerMayRead(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for _, name := range []string{"a-secret", "m", "z-secret"} {
			insertVersion(t, s, name)
		}
		if err := s.write.Exec("UPDATE model_versions SET storage_location = 'mlflow-artifacts:/1/r/artifacts/model', current_stage = 'Staging'").Error; err != nil {
			t.Fatal(err)
		}
		const file = "mlflow-artifacts:/1/r/artifacts/model/f"
		wantFrozen(t, s.RequireOverwritable(reader(t, auth.RegisteredModel, "m"), file), true, "put")
		err := s.RequireDeletable(reader(t, auth.RegisteredModel, "other"), file)
		wantError(t, err, ResourceConflict, "")
		if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "in stage Staging")) {
			t.Errorf("the refusal tells the name of a model that the caller may not read: %v", err)
		}
	})
}

func TestRequireOverwritable_CanBeLifted(t *testing.T) {
	s := openWith(t, modelstest.SQLite(t), Options{ArtifactRoot: "mlflow-artifacts:/", AllowLiveChanges: true})
	insertVersion(t, s, "m")
	if err := s.write.Exec("UPDATE model_versions SET storage_location = 'mlflow-artifacts:/1/r/artifacts', current_stage = 'Staging'").Error; err != nil {
		t.Fatal(err)
	}
	at := artifacts.Place{Root: artifacts.ServedRoot, Path: "1/r/artifacts/f"}
	wantFrozen(t, s.RequireOverwritable(t.Context(), at.Location()), false, "put")
	wantFrozen(t, s.RequireDeletable(t.Context(), at.Location()), false, "delete")
}

func BenchmarkRequireOverwritable(b *testing.B) {
	s := openWith(b, modelstest.SQLite(b), Options{ArtifactRoot: "mlflow-artifacts:/"})
	for _, q := range []string{
		"INSERT INTO registered_models (name, workspace) VALUES ('m', 'default')",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) " +
			"INSERT INTO model_versions (name, version, current_stage, source, storage_location, workspace) SELECT 'm', i, CASE i % 10 WHEN 0 THEN 'Production' ELSE 'None' END, " +
			"'models:/m-' || i, 'mlflow-artifacts:/1/models/m-' || printf('%032d', i) || '/artifacts', 'default' FROM n",
	} {
		if err := s.write.Exec(q).Error; err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.RequireOverwritable(b.Context(), "mlflow-artifacts:/1/models/m-new/artifacts/MLmodel"); err != nil {
			b.Fatal(err)
		}
	}
}
