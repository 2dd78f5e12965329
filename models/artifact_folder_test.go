package models

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

func TestPlace_IsWhereTheServerWouldLook(t *testing.T) {
	o := Options{ArtifactRoot: "file:///data/runs", ArtifactsDestination: "/data/served"}
	for location, want := range map[string]string{
		"mlflow-artifacts:/":                                      "served:",
		"mlflow-artifacts:":                                       "served:",
		"mlflow-artifacts:///a//b":                                "served:a/b",
		"mlflow-artifacts://h/a/":                                 "served:a",
		"MLFLOW-ARTIFACTS:/a":                                     "served:a",
		"mlflow-artifacts:/a%20b":                                 "served:a b",
		"http://h/api/2.0/mlflow-artifacts/artifacts/a/b":         "served:a/b",
		"https://h:1/prefix/api/2.0/mlflow-artifacts/artifacts/a": "served:a",
		"/data/served/a/b":                                        "served:a/b",
		"file:///data/served":                                     "served:",
		"/data/runs/3":                                            "local:3",
		"file:///data/runs/x/../":                                 "local:",
		"mlflow-artifacts:/a/../b":                                "", "mlflow-artifacts:/%252e": "", "http://h/a": "", "/data": "", "/data/runs2": "", "file://h/data/runs": "", "s3://b/x": "", "": "",
	} {
		p, ok := o.place(location)
		got := ""
		switch {
		case ok && p.direct:
			got = "local:" + p.folder
		case ok:
			got = "served:" + p.folder
		}
		if got != want {
			t.Errorf("place(%q) = %q, want %q", location, got, want)
		}
	}
}

func TestRequireArtifact_KnowsTheFilesOfEveryArtifactRoot(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		served := t.TempDir()
		for _, c := range []struct{ root, folder string }{
			{"mlflow-artifacts:/", ""},
			{"mlflow-artifacts:/some/root", "some/root/"},
			{"http://h/api/2.0/mlflow-artifacts/artifacts/some/root/", "some/root/"},
			{filepath.Join(served, "runs"), "runs/"},
		} {
			s := openWith(t, uri, Options{ArtifactRoot: c.root, ArtifactsDestination: served})
			id := must(s.CreateExperiment(modelstest.Anyone(t), "mine "+c.root, "", nil))(t)
			ctx := reader(t, auth.Experiment, "mine "+c.root)
			path := fmt.Sprintf("%s%d/r/artifacts/f", c.folder, id)
			if err := s.RequireArtifact(ctx, auth.Read, "mlflow-artifacts:/"+path); err != nil {
				t.Errorf("root %s, %s: %v", c.root, path, err)
			}
			for _, path := range []string{"", "x/" + path, fmt.Sprintf("%s%d/r", c.folder, id-1), fmt.Sprintf("%s0%d/r", c.folder, id)} {
				wantForbidden(t, s.RequireArtifact(ctx, auth.Read, "mlflow-artifacts:/"+path))
			}
		}
	})
}

func wantForbidden(t *testing.T, err error) {
	t.Helper()
	var forbidden *auth.ForbiddenError
	if !errors.As(err, &forbidden) {
		t.Errorf("error %v, want a refusal", err)
	}
}

// MLflow has taken any location as a version's source; an old database can hold some.
func TestRequireArtifact_AVersionOpensLessThanARun(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		all := modelstest.Anyone(t)
		id := must(s.CreateExperiment(all, "e", "", nil))(t)
		newRegisteredModel(t, s, "m")
		ctx := reader(t, auth.RegisteredModel, "m")
		must(s.CreateModelVersion(all, NewModelVersion{Name: "m", Source: "s3://b/x"}))(t)
		run, model := fmt.Sprintf("%d/r", id), fmt.Sprintf("%d/models/m-1", id)
		for _, c := range []struct {
			location, path string
			opens          bool
		}{
			{"mlflow-artifacts:/" + run + "/artifacts", run + "/artifacts/f", false},
			{"mlflow-artifacts:/" + run + "/artifacts/a/", run + "/artifacts/a", true},
			{"mlflow-artifacts:/" + run + "/artifacts/a/b", run + "/artifacts/a/b/c", true},
			{"mlflow-artifacts:///" + run + "/artifacts/a", run + "/artifacts/a", true},
			{"mlflow-artifacts:/" + model + "/artifacts", model + "/artifacts/f", true},
			{"mlflow-artifacts:/" + run + "/artifacts/a/b", run + "/artifacts/a", false},
			{"mlflow-artifacts:/" + run + "/artifacts/a", run + "/artifacts/ab", false},
			{"mlflow-artifacts:/" + run, run + "/artifacts/f", false},
			{fmt.Sprintf("mlflow-artifacts:/%d", id), run + "/artifacts/f", false},
			{"mlflow-artifacts:/", run + "/artifacts/f", false},
			{"mlflow-artifacts:/" + model, model + "/artifacts/f", false},
			{fmt.Sprintf("mlflow-artifacts:/%d/models", id), model + "/artifacts/f", false},
			{"mlflow-artifacts:/" + run + "/other", run + "/other/f", false},
			{"mlflow-artifacts:/nobody/r/artifacts", "nobody/r/artifacts/f", false},
			{"", run + "/artifacts/f", false},
		} {
			if err := s.write.Exec("UPDATE model_versions SET storage_location = ?", c.location).Error; err != nil {
				t.Fatal(err)
			}
			err := s.RequireArtifact(ctx, auth.Read, "mlflow-artifacts:/"+c.path)
			switch {
			case c.opens && err != nil:
				t.Errorf("a version at %s does not open %s: %v", c.location, c.path, err)
			case !c.opens:
				wantForbidden(t, err)
			}
			wantForbidden(t, s.RequireArtifact(ctx, auth.Edit, "mlflow-artifacts:/"+c.path))
			wantForbidden(t, s.RequireArtifact(reader(t, auth.RegisteredModel, "other"), auth.Read, "mlflow-artifacts:/"+c.path))
			denied := auth.With(t.Context(), &auth.Principal{Name: "bob", Grants: auth.Grants{
				{Kind: auth.RegisteredModel, Pattern: "m", Level: auth.Read}, {Kind: auth.Experiment, Pattern: "e", Level: auth.Deny},
			}})
			wantForbidden(t, s.RequireArtifact(denied, auth.Read, "mlflow-artifacts:/"+c.path))
		}
	})
}

func TestCreateExperiment_OneFolderGoesToOneOfManyAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const rounds, n = 20, 6
		ctx := reader(t, auth.Experiment)
		for round := range rounds {
			var made atomic.Int64
			var wg sync.WaitGroup
			start := make(chan struct{})
			for i := range n {
				wg.Go(func() {
					location := fmt.Sprintf("mlflow-artifacts:/same%d", round)
					if i%2 == 1 {
						location += "/below"
					}
					<-start
					_, err := s.CreateExperiment(ctx, fmt.Sprint("e", round, "-", i), location, nil)
					if err == nil {
						made.Add(1)
					} else {
						wantError(t, err, InvalidParameterValue, "'artifact_location'")
					}
				})
			}
			close(start)
			wg.Wait()
			if made.Load() != 1 {
				t.Fatalf("%d experiments share a folder", made.Load())
			}
		}
	})
}
