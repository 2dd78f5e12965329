package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"greenroom/models/modelstest"
)

// newTestVersion makes a version of the model m.
func newTestVersion(t *testing.T, s *Store, source string) int64 {
	t.Helper()
	return must(s.CreateModelVersion(modelstest.Anyone(t), NewModelVersion{Name: "m", Source: source}))(t).Version
}

func TestModelVersion_NumbersAreNeverUsedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		for want := int64(1); want <= 4; want++ {
			if got := newTestVersion(t, s, "s3://b/same"); got != want {
				t.Fatalf("version %d, want %d", got, want)
			}
			if err := s.DeleteModelVersion(ctx, "m", want); err != nil {
				t.Fatal(err)
			}
			_, err := s.ModelVersion(ctx, "m", want)
			wantError(t, err, ResourceDoesNotExist, fmt.Sprintf("Model Version (name=m, version=%d) not found", want))
		}
	})
}

func TestDeleteModelVersion_DropsItsAliases(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		newTestVersion(t, s, "s3://b/1")
		newTestVersion(t, s, "s3://b/2")
		for alias, version := range map[string]int64{"champion": 1, "challenger": 2} {
			if err := s.SetAlias(ctx, "m", alias, version); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.DeleteModelVersion(ctx, "m", 1); err != nil {
			t.Fatal(err)
		}
		_, err := s.ModelVersionByAlias(ctx, "m", "champion")
		wantError(t, err, InvalidParameterValue, "Registered model alias champion not found.")
		v := must(s.ModelVersionByAlias(ctx, "m", "challenger"))(t)
		if diff := cmp.Diff([]string{"challenger"}, v.Aliases); v.Version != 2 || diff != "" {
			t.Errorf("version %d, aliases %s", v.Version, diff)
		}
	})
}

func TestCreateModelVersion_BlindRetryGetsTheSameVersion(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		ctx := modelstest.Anyone(t)
		now := time.Now()
		s := openWith(t, uri, Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: elsewhere, Now: func() time.Time { return now }})
		newRegisteredModel(t, s, "m")
		newRegisteredModel(t, s, "n")
		run := ""
		first := NewModelVersion{Name: "m", Source: "s3://b/1", Tags: []Tag{{"a", "1"}, {"b", "2"}}}
		change := func(fn func(*NewModelVersion)) NewModelVersion {
			n := first
			fn(&n)
			return n
		}
		for _, c := range []struct {
			what    string
			request NewModelVersion
			want    int64
		}{
			{"the first", first, 1},
			{"the same", first, 1},
			{"tags in another order", change(func(n *NewModelVersion) { n.Tags = []Tag{{"b", "2"}, {"a", "1"}} }), 1},
			{"another source", change(func(n *NewModelVersion) { n.Source = "s3://b/2" }), 2},
			{"another tag", change(func(n *NewModelVersion) { n.Tags = []Tag{{"a", "1"}} }), 3},
			{"a run", change(func(n *NewModelVersion) { n.RunID = &run }), 4},
			{"another description", change(func(n *NewModelVersion) { n.Description = "d" }), 5},
			{"another name", change(func(n *NewModelVersion) { n.Name = "n" }), 1},
			{"the same, later", first, 1},
		} {
			if v := must(s.CreateModelVersion(ctx, c.request))(t); v.Version != c.want || v.Name != c.request.Name {
				t.Errorf("%s: %s version %d, want %d", c.what, v.Name, v.Version, c.want)
			}
		}
		must(s.TransitionStage(ctx, "m", 1, "Production", false))(t)
		if v := must(s.CreateModelVersion(ctx, first))(t); v.CurrentStage != StageProduction || len(v.Tags) != 2 {
			t.Errorf("the version is not answered as it is now: %+v", v)
		}
		now = now.Add(creationWindow)
		if v := must(s.CreateModelVersion(ctx, first))(t); v.Version != 6 {
			t.Errorf("after the window: version %d, want 6", v.Version)
		}
		if err := s.DeleteModelVersion(ctx, "m", 6); err != nil {
			t.Fatal(err)
		}
		if v := must(s.CreateModelVersion(ctx, first))(t); v.Version != 7 {
			t.Errorf("after the version was deleted: version %d, want 7", v.Version)
		}
		if err := s.DeleteRegisteredModel(ctx, "m"); err != nil {
			t.Fatal(err)
		}
		newRegisteredModel(t, s, "m")
		if v := must(s.CreateModelVersion(ctx, first))(t); v.Version != 1 || v.CurrentStage != StageNone {
			t.Errorf("after the model was made anew: %+v", v)
		}
	})
}

func TestCreateModelVersion_RepeatAfterAnAliasMovedIsAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		newRegisteredModel(t, s, "prod")
		newTestVersion(t, s, "s3://b/1")
		newTestVersion(t, s, "s3://b/2")
		for version := int64(1); version <= 2; version++ {
			if err := s.SetAlias(ctx, "m", "champion", version); err != nil {
				t.Fatal(err)
			}
			v := must(s.CreateModelVersion(ctx, NewModelVersion{Name: "prod", Source: "models:/m@champion"}))(t)
			if want := fmt.Sprintf("s3://b/%d", version); v.Version != version || v.location() != want || *v.Source != fmt.Sprintf("models:/m/%d", version) {
				t.Errorf("version %d from %s at %s", v.Version, *v.Source, v.location())
			}
		}
	})
}

func TestCreateModelVersion_Sources(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		run := must(s.CreateRun(ctx, NewRun{}))(t)
		other := must(s.CreateRun(ctx, NewRun{}))(t)
		model := must(s.CreateLoggedModel(ctx, NewLoggedModel{Name: "lm", SourceRunID: run.ID}))(t)
		gone := must(s.CreateLoggedModel(ctx, NewLoggedModel{Name: "gone"}))(t)
		if err := s.DeleteLoggedModel(ctx, gone.ID); err != nil {
			t.Fatal(err)
		}
		newRegisteredModel(t, s, "m")
		newRegisteredModel(t, s, "empty")
		must(s.CreateRegisteredModel(ctx, "p", "", []Tag{{"mlflow.prompt.is_prompt", "true"}}))(t)
		must(s.CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: *run.ArtifactURI + "/model", RunID: &run.ID}))(t)
		prompt := []Tag{{"mlflow.prompt.is_prompt", "True"}}

		const (
			needsRun   = "The run_id request parameter must identify"
			needsModel = "The model_id request parameter must identify"
			relative   = "If supplying a source as an http, https"
			local      = "To use a local path as a model version source, the run_id request parameter"
			scheme     = "'source' cannot use the '"
		)
		art := *run.ArtifactURI
		for _, c := range []struct {
			source, run, model string
			tags               []Tag
			want               string // part of the error, "" for none
		}{
			{source: "file:///etc", want: local},
			{source: "file:///etc", run: run.ID, want: local},
			{source: "/etc", run: run.ID, want: local},
			{source: "file:/etc", run: run.ID, want: local},
			{source: "file://localhost/etc", run: run.ID, want: local},
			{source: "file://remote/etc", run: run.ID, want: local},
			{source: "//etc/passwd", run: run.ID, want: local},
			{source: "../../etc", run: run.ID, want: local},
			{source: `file:///..\..\etc`, run: run.ID, want: local},
			{source: "/etc", run: "none", want: needsRun},
			{source: "/etc", model: model.ID, want: "To use a local path as a model version source, the model_id request parameter"},
			{source: "C:\\windows", want: relative},
			{source: "http:///?/../../../../etc/", want: scheme + "http'"},
			{source: "http://host#/../../../etc/", want: scheme + "http'"},
			{source: "http://host/;/../../../etc", want: scheme + "http'"},
			{source: "http://attacker/api/2.0/mlflow-artifacts/artifacts/", want: scheme + "http'"},
			{source: "HTTPS://169.254.169.254/", want: scheme + "https'"},
			{source: "ftp://127.0.0.1", want: scheme + "ftp'"},
			{source: "hdfs://host/x", want: scheme + "hdfs'"},
			{source: "mlflow-artifacts://evil:80/x", run: run.ID, want: scheme + "mlflow-artifacts'"},
			{source: "http://x/", tags: prompt, want: "Invalid prompt source"},
			{source: "/etc", tags: prompt, want: "Invalid prompt source: '/etc'. Prompt sources must use an MLflow placeholder."},
			{source: "dummy-source", tags: prompt},
			{source: "dummy-source", want: local},

			{source: art + "/model", run: run.ID},
			{source: art, run: run.ID},
			{source: art + "/model", want: needsRun},
			{source: art + "/model", run: other.ID, want: needsRun},
			{source: art + "/model", run: "none", want: needsRun},
			{source: art + "2/model", run: run.ID, want: needsRun},
			{source: "mlflow-artifacts:/", run: run.ID, want: relative},
			{source: art + "/../../x", run: run.ID, want: relative},
			{source: art + "/%2e%2e/x", run: run.ID, want: relative},
			{source: art + "/%252e%252e/x", run: run.ID, want: relative},
			{source: art + `/..\..\x`, run: run.ID, want: relative},
			{source: art + "#/../x", run: run.ID, want: relative},
			{source: art + "?x=1", run: run.ID, want: relative},
			{source: art + "/a%00", run: run.ID, want: relative},
			{source: model.ArtifactLocation, model: model.ID},
			{source: art + "/model", model: model.ID, want: needsModel},
			{source: model.ArtifactLocation, model: "m-none", want: needsModel},

			{source: "runs:/" + run.ID + "/model", run: run.ID},
			{source: "runs:/" + run.ID + "/model", run: other.ID, want: needsRun},
			{source: "runs:/" + run.ID + "/model", want: needsRun},
			{source: "runs:/" + run.ID + "/model", model: model.ID, want: needsModel},
			{source: "runs://h/" + run.ID + "/model", run: run.ID, want: needsRun},

			{source: "models:/" + model.ID, model: model.ID},
			{source: "models:/" + model.ID, want: needsModel},
			{source: "models:/" + model.ID, run: run.ID, want: needsModel},
			{source: "models:/" + model.ID, model: gone.ID, want: needsModel},
			{source: "models:/" + gone.ID, model: gone.ID, want: "Logged model with ID '" + gone.ID + "' not found."},
			{source: "models:/m/1"},
			{source: "models:/m/1", run: run.ID},
			{source: "models:/m/1", run: other.ID, want: "must match the referenced model version."},
			{source: "models:/m/1", model: model.ID, want: "must match the referenced model version."},
			{source: "models:/m/latest"},
			{source: "models:/m/None"},
			{source: "models:/m/Production", want: "No versions of model with name 'm' and stage 'Production' found"},
			{source: "models:/empty/latest", want: "No versions of model with name 'empty' found"},
			{source: "models:/m/prod", want: "Invalid Model Version stage: prod."},
			{source: "models:/m@none", want: "Registered model alias none not found."},
			{source: "models:/m/99", want: "Model Version (name=m, version=99) not found"},
			{source: "models:/m/99999999999999999999", want: "Model Version (name=m, version="},
			{source: "models:/none/1", want: "Registered Model with name=none not found"},
			{source: "models:/p/1", want: "Prompt versions cannot be used as model version sources."},
			{source: "models://host/m/1", want: "Registered model sources must use the active model registry."},
			{source: "models:/m/1/2", want: needsModel},
			{source: "models:/", want: needsModel},

			{source: "s3://b/x"},
			{source: "s3://b//x/"},
			{source: "s3://b/x", run: "of-another-server"},
			{source: "s3://b/x", model: model.ID},
			{source: "s3://b/x", model: "m-none", want: "Logged model with ID 'm-none' not found."},
			{source: "s3://b/../x", want: relative},
			{source: "s3://b/./x", want: relative},
			{source: "s3:b", want: relative},
			{source: "s3://b", want: relative},
			{source: "gs://b/x"},
			{source: "dbfs:/x"},
			{source: "wasbs://c@a.blob.core.windows.net/x"},
		} {
			n := NewModelVersion{Name: "m", Source: c.source, Tags: c.tags}
			if c.run != "" {
				n.RunID = &c.run
			}
			if c.model != "" {
				n.ModelID = &c.model
			}
			_, err := s.CreateModelVersion(ctx, n)
			var refused *Error
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s (run %q, model %q): %v", c.source, c.run, c.model, err)
			case c.want != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Message, c.want)):
				t.Errorf("%s (run %q, model %q): error %v, want %q", c.source, c.run, c.model, err, c.want)
			}
		}
	})
}

func TestCreateModelVersion_LocalSourceStaysInItsRun(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		ctx := modelstest.Anyone(t)
		root := t.TempDir()
		s := openWith(t, uri, Options{ArtifactRoot: root})
		experiment := must(s.CreateExperiment(ctx, "local", "", nil))(t)
		run := must(s.CreateRun(ctx, NewRun{ExperimentID: experiment}))(t)
		dir := *run.ArtifactURI
		if err := os.MkdirAll(filepath.Join(dir, "model"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		newRegisteredModel(t, s, "m")
		for source, fine := range map[string]bool{
			dir:                             true,
			dir + "/model":                  true,
			"file://" + dir + "/model":      true,
			dir + "/not-there":              true,
			dir + "x":                       false,
			dir + "/..":                     false,
			dir + "/link":                   false,
			"file://" + dir + "/%2e%2e":     false,
			"file://" + dir + "/%252e%252e": false,
			dir + `\..`:                     false,
		} {
			_, err := s.CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: source, RunID: &run.ID})
			if fine && err != nil {
				t.Errorf("%s: %v", source, err)
			}
			if !fine {
				wantError(t, err, InvalidParameterValue, "Invalid model version source: '"+source+"'.")
			}
		}
	})
}

func TestCreateModelVersion_OfALoggedModelIsNotedThere(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		run := must(s.CreateRun(ctx, NewRun{}))(t)
		model := must(s.CreateLoggedModel(ctx, NewLoggedModel{Name: "lm", SourceRunID: run.ID}))(t)
		for _, name := range []string{"a", "b"} {
			newRegisteredModel(t, s, name)
			v := must(s.CreateModelVersion(ctx, NewModelVersion{Name: name, Source: "models:/" + model.ID, ModelID: &model.ID}))(t)
			if *v.RunID != run.ID || v.location() != model.ArtifactLocation {
				t.Errorf("run %s at %s, want the logged model's %s at %s", *v.RunID, v.location(), run.ID, model.ArtifactLocation)
			}
		}
		// A repeated creation is not noted twice.
		must(s.CreateModelVersion(ctx, NewModelVersion{Name: "b", Source: "models:/" + model.ID, ModelID: &model.ID}))(t)
		got := must(s.LoggedModel(ctx, model.ID, false))(t)
		i := slices.IndexFunc(got.Tags, func(t Tag) bool { return t.Key == TagModelVersions })
		if i < 0 {
			t.Fatal("no tag " + TagModelVersions)
		}
		var noted []map[string]any
		if err := json.Unmarshal([]byte(got.Tags[i].Value), &noted); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]map[string]any{{"name": "a", "version": 1.0}, {"name": "b", "version": 1.0}}, noted); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTransitionStage(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		for _, source := range []string{"s3://b/1", "s3://b/2", "s3://b/3"} {
			newTestVersion(t, s, source)
		}
		for _, c := range []struct {
			version int64
			stage   string
			archive bool
			want    string // stages of versions 1, 2, 3
		}{
			{1, "production", false, "Production None None"},
			{2, "PRODUCTION", false, "Production Production None"},
			{3, "Production", true, "Archived Archived Production"},
			{1, "Staging", true, "Staging Archived Production"},
			{1, "Production", true, "Production Archived Archived"},
			{1, "None", false, "None Archived Archived"},
		} {
			v := must(s.TransitionStage(ctx, "m", c.version, c.stage, c.archive))(t)
			var got []string
			for _, v := range must(s.SearchModelVersions(ctx, Page{OrderBy: []string{"version_number ASC"}, Limit: 10}))(t) {
				got = append(got, string(v.CurrentStage))
			}
			if strings.Join(got, " ") != c.want || v.Version != c.version || !strings.EqualFold(string(v.CurrentStage), c.stage) {
				t.Errorf("%+v: got %s, answered %d %s", c, got, v.Version, v.CurrentStage)
			}
		}
		_, err := s.TransitionStage(ctx, "m", 1, "PROD", true)
		wantError(t, err, InvalidParameterValue, "Invalid Model Version stage: PROD. Value must be one of None, Staging, Production, Archived.")
		_, err = s.TransitionStage(ctx, "m", 1, "archived", true)
		wantError(t, err, InvalidParameterValue, "Model version transition cannot archive existing model versions because 'archived' is not an Active stage. Valid stages are ['Staging', 'Production']")
		_, err = s.TransitionStage(ctx, "m", 9, "Production", true)
		wantError(t, err, ResourceDoesNotExist, "Model Version (name=m, version=9) not found")
		latest := must(s.LatestVersions(ctx, "m", []string{"none", "Archived"}))(t)
		if len(latest) != 2 || latest[0].Version != 1 || latest[1].Version != 3 {
			t.Errorf("latest versions %+v", latest)
		}
	})
}

func TestCreateModelVersion_TwoReplicasNeverGiveANumberTwice(t *testing.T) {
	replicas := twoReplicas(t)
	newRegisteredModel(t, replicas[0], "m")
	const writers, each = 8, 50
	numbers := make([][]int64, writers)
	group, ctx := errgroup.WithContext(modelstest.Anyone(t))
	for w := range writers {
		group.Go(func() error {
			for i := range each {
				v, err := replicas[w%2].CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: fmt.Sprintf("s3://b/%d/%d", w, i), Tags: []Tag{{"w", "x"}}})
				if err != nil {
					return err
				}
				numbers[w] = append(numbers[w], v.Version)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(numbers...)
	slices.Sort(all)
	for i, n := range all {
		if n != int64(i+1) {
			t.Fatalf("number %d of %d is %d", i+1, len(all), n)
		}
	}
	if len(all) != writers*each {
		t.Errorf("%d versions, want %d", len(all), writers*each)
	}
}

func TestCreateModelVersion_RetriesOnTwoReplicasMakeOneVersion(t *testing.T) {
	replicas := twoReplicas(t)
	newRegisteredModel(t, replicas[0], "m")
	group, ctx := errgroup.WithContext(modelstest.Anyone(t))
	for i := range 16 {
		group.Go(func() error {
			v, err := replicas[i%2].CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: "s3://b/1"})
			if err == nil && v.Version != 1 {
				err = fmt.Errorf("version %d", v.Version)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// whileChanging runs the checks again and again until change, called many times, has ended; any error fails the test.
func whileChanging(t *testing.T, times int, change func(ctx context.Context, i int) error, checks ...func(context.Context) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(modelstest.Anyone(t))
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		for i := range times {
			if err := change(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
	for _, check := range checks {
		group.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				default:
				}
				if err := check(ctx); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestTransitionStage_ReadersSeeExactlyOneInProduction(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		newRegisteredModel(t, s, "m")
		newTestVersion(t, s, "s3://b/1")
		newTestVersion(t, s, "s3://b/2")
		must(s.TransitionStage(modelstest.Anyone(t), "m", 1, "Production", false))(t)
		whileChanging(t, 200, func(ctx context.Context, i int) error {
			v, err := s.TransitionStage(ctx, "m", int64(2-i%2), "Production", true)
			if err == nil && v.CurrentStage != StageProduction {
				err = fmt.Errorf("answered %s", v.CurrentStage)
			}
			return err
		}, func(ctx context.Context) error {
			found, err := s.SearchModelVersions(ctx, Page{Filter: "name = 'm'", Limit: 10})
			live := 0
			for _, v := range found {
				if v.CurrentStage == StageProduction {
					live++
				}
			}
			if err == nil && live != 1 {
				err = fmt.Errorf("%d versions in Production", live)
			}
			return err
		}, func(ctx context.Context) error {
			latest, err := s.LatestVersions(ctx, "m", []string{"Production"})
			if err == nil && len(latest) != 1 {
				err = fmt.Errorf("%d latest versions in Production", len(latest))
			}
			return err
		})
	})
}

func TestTransitionStage_RacingReplicasLeaveOneInProduction(t *testing.T) {
	replicas := twoReplicas(t)
	newRegisteredModel(t, replicas[0], "m")
	for i := range 4 {
		newTestVersion(t, replicas[0], fmt.Sprintf("s3://b/%d", i))
	}
	for range 20 {
		group, ctx := errgroup.WithContext(modelstest.Anyone(t))
		for i := range 4 {
			group.Go(func() error {
				_, err := replicas[i%2].TransitionStage(ctx, "m", int64(i+1), "Production", true)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		live := 0
		for _, v := range must(replicas[0].SearchModelVersions(modelstest.Anyone(t), Page{Limit: 10}))(t) {
			if v.CurrentStage == StageProduction {
				live++
			}
		}
		if live != 1 {
			t.Fatalf("%d versions in Production", live)
		}
	}
}

func TestSetAlias_AlwaysResolvesWhileItMoves(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		newRegisteredModel(t, s, "m")
		newTestVersion(t, s, "s3://b/1")
		newTestVersion(t, s, "s3://b/2")
		if err := s.SetAlias(modelstest.Anyone(t), "m", "champion", 1); err != nil {
			t.Fatal(err)
		}
		whileChanging(t, 200, func(ctx context.Context, i int) error {
			return s.SetAlias(ctx, "m", "champion", int64(2-i%2))
		}, func(ctx context.Context) error {
			v, err := s.ModelVersionByAlias(ctx, "m", "champion")
			if err == nil && !slices.Contains(v.Aliases, "champion") {
				err = fmt.Errorf("version %d does not know its alias: %v", v.Version, v.Aliases)
			}
			return err
		})
	})
}

// A write that waits for a model which is then deleted must be told that it is gone, not fail on a foreign key.
func TestRegistry_WritesRacingADeleteAreRefusedCleanly(t *testing.T) {
	replicas := twoReplicas(t)
	for round := range 10 {
		newRegisteredModel(t, replicas[0], "m")
		newTestVersion(t, replicas[0], fmt.Sprintf("s3://b/%d", round))
		group, ctx := errgroup.WithContext(modelstest.Anyone(t))
		ok := func(err error) error {
			if err == nil || isNotFound(err) {
				return nil
			}
			return err
		}
		group.Go(func() error { return ok(replicas[0].DeleteRegisteredModel(ctx, "m")) })
		group.Go(func() error { return ok(replicas[1].SetModelVersionTag(ctx, "m", 1, Tag{"k", "v"})) })
		group.Go(func() error { return ok(replicas[1].SetRegisteredModelTag(ctx, "m", Tag{"k", "v"})) })
		group.Go(func() error { return ok(replicas[0].SetAlias(ctx, "m", "champion", 1)) })
		group.Go(func() error {
			_, err := replicas[1].CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: "s3://b/x"})
			return ok(err)
		})
		group.Go(func() error {
			_, err := replicas[1].TransitionStage(ctx, "m", 1, "Production", true)
			return ok(err)
		})
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreateModelVersion_SourceRulesOfTheOperator(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	s.opts.SourcePattern = regexp.MustCompile(`^(s3://models|hdfs://)`)
	s.opts.AllowedSchemes = []string{"hdfs", "s3"}
	newRegisteredModel(t, s, "m")
	for source, message := range map[string]string{
		"s3://models/a":  "",
		"hdfs://h/a":     "",
		"s3://other/a":   "Invalid model version source: 's3://other/a'.",
		"http://h/hdfs:": "Invalid model version source: 'http://h/hdfs:'.",
	} {
		_, err := s.CreateModelVersion(modelstest.Anyone(t), NewModelVersion{Name: "m", Source: source})
		if message == "" && err != nil {
			t.Errorf("%s: %v", source, err)
		}
		if message != "" {
			wantError(t, err, InvalidParameterValue, message)
		}
	}
}
