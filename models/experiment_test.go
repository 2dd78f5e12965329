package models

import (
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func TestExperiment_Life(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		id := must(s.CreateExperiment(ctx, "churn", "", []Tag{{"team", "a"}, {"team", "b"}}))(t)
		e := must(s.Experiment(ctx, id))(t)
		if e.ArtifactLocation != "mlflow-artifacts:/1" || e.LifecycleStage != Active || !cmp.Equal(e.Tags, []Tag{{"team", "b"}}) {
			t.Errorf("got %+v", e)
		}
		_, err := s.CreateExperiment(ctx, "churn", "", nil)
		wantError(t, err, ResourceAlreadyExists, "Experiment(name=churn) already exists.")

		run := must(s.CreateRun(ctx, NewRun{ExperimentID: id}))(t)
		if err := s.DeleteExperiment(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got := must(s.Run(ctx, run.ID))(t); got.LifecycleStage != Deleted {
			t.Errorf("run of a deleted experiment is %s", got.LifecycleStage)
		}
		wantError(t, s.DeleteExperiment(ctx, id), ResourceDoesNotExist, "No Experiment with id=1 exists")
		wantError(t, s.RenameExperiment(ctx, id, "x"), InvalidParameterValue, "Cannot rename a non-active experiment.")
		wantError(t, s.SetExperimentTag(ctx, id, Tag{"k", "v"}), InvalidParameterValue, "The experiment 1 must be in the 'active' state.")
		_, err = s.CreateRun(ctx, NewRun{ExperimentID: id})
		wantError(t, err, InvalidParameterValue, "The experiment 1 must be in the 'active' state.")

		if err := s.RestoreExperiment(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got := must(s.Run(ctx, run.ID))(t); got.LifecycleStage != Active {
			t.Errorf("run of a restored experiment is %s", got.LifecycleStage)
		}
		if err := s.RenameExperiment(ctx, id, "churn2"); err != nil {
			t.Fatal(err)
		}
		wantError(t, s.RenameExperiment(ctx, id, "Default"), ResourceAlreadyExists, "Experiment(name=Default) already exists.")
		if got := must(s.ExperimentByName(ctx, "churn2"))(t); got.ID != id {
			t.Errorf("got id %d, want %d", got.ID, id)
		}
	})
}

func TestCreateExperiment_RefusesWhatOneDatabaseCouldNotHold(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for name, c := range map[string]struct {
			name, location string
			tag            Tag
			message        string
		}{
			"long name":     {strings.Repeat("ü", 257), "", Tag{"k", "v"}, "'name' exceeds the maximum length of 256 characters"},
			"long location": {"a", "s3://" + strings.Repeat("x", 252), Tag{"k", "v"}, "'artifact_location' exceeds the maximum length of 256"},
			"fragment":      {"a", "s3://b/#x", Tag{"k", "v"}, "'artifact_location' URL can't include fragments or params."},
			"folder above":  {"a", "mlflow-artifacts:/a/%2e%2e/x", Tag{"k", "v"}, "'artifact_location' must be a folder of the artifact store"},
			"encoded slash": {"a", "mlflow-artifacts:/a%2f..%2fx", Tag{"k", "v"}, "'artifact_location' must be a folder of the artifact store"},
			"server":        {"a", "http://h/x", Tag{"k", "v"}, "'artifact_location' cannot use the 'http' scheme:"},
			"other proxy":   {"a", "mlflow-artifacts://h:1/x", Tag{"k", "v"}, "'artifact_location' cannot use the 'mlflow-artifacts' scheme:"},
			"climbing":      {"a", "s3://b/x?a=%2e%2e/", Tag{"k", "v"}, "Invalid query string"},
			"run":           {"a", "runs:/x", Tag{"k", "v"}, "Artifact location cannot be a runs:/ URI."},
			"tag name":      {"a", "", Tag{"a$b", "v"}, `Invalid value "a$b" for parameter 'key' supplied: Names may only contain`},
			"tag path":      {"a", "", Tag{"a//b", "v"}, `Invalid value "a//b" for parameter 'key' supplied: Names may be treated as files`},
			"tag value":     {"a", "", Tag{"k", strings.Repeat("v", 20001)}, "'value' exceeds the maximum length of 20000"},
		} {
			_, err := s.CreateExperiment(modelstest.Anyone(t), c.name, c.location, []Tag{c.tag})
			t.Run(name, func(t *testing.T) { wantError(t, err, InvalidParameterValue, c.message) })
		}
		if _, err := s.CreateExperiment(modelstest.Anyone(t), strings.Repeat("ü", 256), "", nil); err != nil {
			t.Errorf("a name of 256 characters: %v", err)
		}
	})
}

func TestCreateExperiment_OneWinnerPerName(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.CreateExperiment(modelstest.Anyone(t), "same", "", nil) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			wantError(t, err, ResourceAlreadyExists, "Experiment(name=same) already exists.")
		}
		if won != 1 {
			t.Errorf("%d winners, want 1", won)
		}
	})
}

func TestSearchExperiments_PagesAndFilters(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		for _, name := range []string{"a1", "a2", "b1"} {
			must(s.CreateExperiment(ctx, name, "", []Tag{{"first", name[:1]}}))(t)
		}
		names := func(view ViewType, p Page) (out []string) {
			t.Helper()
			for _, e := range must(s.SearchExperiments(ctx, view, p))(t) {
				out = append(out, e.Name)
			}
			return out
		}
		if got, want := names(ActiveOnly, Page{Filter: "name LIKE 'a%'", OrderBy: []string{"name DESC"}, Limit: 10}), []string{"a2", "a1"}; !cmp.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := names(ViewAll, Page{Filter: "tags.first = 'b'", Limit: 10}), []string{"b1"}; !cmp.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := names(ActiveOnly, Page{OrderBy: []string{"name ASC"}, Offset: 2, Limit: 2}), []string{"a2", "b1"}; !cmp.Equal(got, want) {
			t.Errorf("second page: got %v, want %v", got, want)
		}
	})
}

func TestDeleteExperiment_NoRunStaysActive(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for range 20 {
			id := must(s.CreateExperiment(modelstest.Anyone(t), "e"+newID(), "", nil))(t)
			var group sync.WaitGroup
			group.Go(func() {
				if err := s.DeleteExperiment(modelstest.Anyone(t), id); err != nil {
					t.Error(err)
				}
			})
			for range 4 {
				group.Go(func() {
					if _, err := s.CreateRun(modelstest.Anyone(t), NewRun{ExperimentID: id}); err != nil {
						wantError(t, err, InvalidParameterValue, "The experiment ")
					}
				})
			}
			group.Wait()
			if active := must(s.SearchRuns(modelstest.Anyone(t), []int64{id}, ActiveOnly, Page{Limit: 9}))(t); len(active) > 0 {
				t.Fatalf("%d runs are active in a deleted experiment", len(active))
			}
		}
	})
}

func TestExperimentObject_OfAnIDThatNoDatabaseGivesIsNotFound(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for _, id := range []int64{7, -1, math.MaxInt32 + 1, math.MinInt64, math.MaxInt64} {
			if _, err := s.ExperimentObject(t.Context(), id); !isNotFound(err) {
				t.Errorf("%d: %v", id, err)
			}
		}
	})
}
