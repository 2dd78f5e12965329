package models

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func TestCreateLoggedModel(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		m := must(s.CreateLoggedModel(ctx, NewLoggedModel{
			Name: strings.Repeat("n", 500), ModelType: "agent", SourceRunID: "none", Params: []Param{{"q", ""}, {"p", "1"}}, Tags: []Tag{{"t", "x"}},
		}))(t)
		if want := "mlflow-artifacts:/0/models/" + m.ID + "/artifacts"; m.ArtifactLocation != want || len(m.ID) != 34 || !strings.HasPrefix(m.ID, "m-") {
			t.Errorf("got id %s at %s, want m- and 32 digits at %s", m.ID, m.ArtifactLocation, want)
		}
		if m.Status != LoggedModelPending || m.CreationTime == 0 || m.CreationTime != m.LastUpdateTime {
			t.Errorf("a new model has status %d, created %d, updated %d", m.Status, m.CreationTime, m.LastUpdateTime)
		}
		if diff := cmp.Diff(m, must(s.LoggedModel(ctx, m.ID, false))(t)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Param{{"p", "1"}, {"q", ""}}, m.Params); diff != "" {
			t.Error(diff)
		}
		if m := must(s.CreateLoggedModel(ctx, NewLoggedModel{}))(t); m.Name == "" {
			t.Error("a model without a name is not given one")
		}

		for message, n := range map[string]NewLoggedModel{
			`Invalid model name ('a"b') provided.`:                       {Name: `a"b`},
			"'name' exceeds the maximum length of 500 characters":        {Name: strings.Repeat("n", 501)},
			"'model_type' exceeds the maximum length of 500 characters":  {ModelType: strings.Repeat("n", 501)},
			"'source_run_id' exceeds the maximum length of 32":           {SourceRunID: strings.Repeat("n", 33)},
			"'params[1].key' repeats the key 'p'":                        {Params: []Param{{"p", "1"}, {"p", "1"}}},
			"'tags[1].key' repeats the key 't'":                          {Tags: []Tag{{"t", "1"}, {"t", "1"}}},
			"'tags[0].key' exceeds the maximum length of 255 characters": {Tags: []Tag{{strings.Repeat("k", 256), "1"}}},
		} {
			_, err := s.CreateLoggedModel(ctx, n)
			wantError(t, err, InvalidParameterValue, message)
		}
		for _, c := range "/:.%'" {
			_, err := s.CreateLoggedModel(ctx, NewLoggedModel{Name: "a" + string(c)})
			wantError(t, err, InvalidParameterValue, "Invalid model name (")
		}
		_, err := s.CreateLoggedModel(ctx, NewLoggedModel{ExperimentID: 77})
		wantError(t, err, ResourceDoesNotExist, "No Experiment with id=77 exists")
		if err := s.DeleteExperiment(ctx, 0); err != nil {
			t.Fatal(err)
		}
		_, err = s.CreateLoggedModel(ctx, NewLoggedModel{})
		wantError(t, err, InvalidParameterValue, "The experiment 0 must be in the 'active' state.")
	})
}

func TestLoggedModel_TagsParamsAndStatus(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestModel(t, s, "m")
		for _, err := range []error{
			s.SetLoggedModelTags(ctx, id, []Tag{{"a", "1"}, {"b", "1"}, {"b", "2"}}),
			s.SetLoggedModelTags(ctx, id, []Tag{{"a", "3"}, {"c", ""}}),
			s.DeleteLoggedModelTag(ctx, id, "c"),
			s.LogLoggedModelParams(ctx, id, []Param{{"p", "1"}}),
			s.LogLoggedModelParams(ctx, id, []Param{{"q", "2"}, {"p", "1"}}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		wantError(t, s.DeleteLoggedModelTag(ctx, id, "c"), ResourceDoesNotExist, "No tag with key 'c' found for model with ID '"+id+"'.")
		wantError(t, s.LogLoggedModelParams(ctx, id, []Param{{"r", "1"}, {"p", "2"}}), InvalidParameterValue, "Changing param values is not allowed. Param with key='p' was already logged with value='1'")
		m := must(s.FinalizeLoggedModel(ctx, id, LoggedModelReady))(t)
		if diff := cmp.Diff(LoggedModel{Status: LoggedModelReady, Tags: []Tag{{"a", "3"}, {"b", "2"}}, Params: []Param{{"p", "1"}, {"q", "2"}}}, LoggedModel{Status: m.Status, Tags: m.Tags, Params: m.Params}); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(m, must(s.LoggedModel(ctx, id, false))(t)); diff != "" {
			t.Error(diff)
		}
		const missing = "Logged model with ID 'm-none' not found."
		_, err := s.FinalizeLoggedModel(ctx, "m-none", LoggedModelReady)
		for _, err := range []error{
			err, s.SetLoggedModelTags(ctx, "m-none", nil), s.DeleteLoggedModelTag(ctx, "m-none", "t"), s.LogLoggedModelParams(ctx, "m-none", nil), s.DeleteLoggedModel(ctx, "m-none"),
		} {
			wantError(t, err, ResourceDoesNotExist, missing)
		}
	})
}

func TestDeleteLoggedModel_Hides(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, gone, kept := modelstest.Anyone(t), newTestModel(t, s, "gone"), newTestModel(t, s, "kept")
		for range 2 {
			if err := s.DeleteLoggedModel(ctx, gone); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.LoggedModel(ctx, gone, false)
		wantError(t, err, ResourceDoesNotExist, "Logged model with ID '"+gone+"' not found.")
		if m := must(s.LoggedModel(ctx, gone, true))(t); m.LifecycleStage != Deleted {
			t.Errorf("the deleted model is %s", m.LifecycleStage)
		}
		if diff := cmp.Diff([]string{kept}, searchModels(t, s, LoggedModelSearch{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogBatch_MetricsOfLoggedModels(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, run, model := modelstest.Anyone(t), newTestRun(t, s), newTestModel(t, s, "m")
		on := func(model, dataset, digest string, m Metric) Metric {
			m.ModelID, m.DatasetName, m.DatasetDigest = model, dataset, digest
			return m
		}
		acc := on(model, "iris", "d1", NewMetric("acc", 0.5, 5, 1))
		batch := Batch{Metrics: []Metric{acc, acc, on(model, "", "", NewMetric("nan", math.NaN(), 5, 1)), NewMetric("run only", 1, 5, 1)}}
		for range 2 { // a client's retry
			if err := s.LogBatch(ctx, run, batch); err != nil {
				t.Fatal(err)
			}
		}
		name, digest := "iris", "d1"
		want := []LoggedModelMetric{{model, "acc", 0.5, 5, 1, run, &name, &digest}, {model, "nan", 0, 5, 1, run, nil, nil}}
		if diff := cmp.Diff(want, must(s.LoggedModel(ctx, model, false))(t).Metrics); diff != "" {
			t.Error(diff)
		}

		other := on(model, "", "", NewMetric("other", 1, 1, 1))
		for message, metrics := range map[string][]Metric{
			"Logged model with ID 'm-none' not found.":                                  {other, on("m-none", "", "", NewMetric("x", 1, 1, 1))},
			"Both dataset_name and dataset_digest must be provided if one is provided":  {other, on(model, "iris", "", NewMetric("x", 1, 1, 1))},
			"'metrics[1].dataset_name' exceeds":                                         {other, on(model, strings.Repeat("n", 501), "1", NewMetric("x", 1, 1, 1))},
			"'metrics[1].dataset_digest' exceeds":                                       {other, on(model, "iris", strings.Repeat("1", 37), NewMetric("x", 1, 1, 1))},
			"Metric 'acc' of logged model '" + model + "' already has another value":    {other, on(model, "iris", "d1", NewMetric("acc", 0.6, 5, 1))},
			"Metric 'acc' of logged model '" + model + "' already has another value or": {other, on(model, "iris", "d2", NewMetric("acc", 0.5, 5, 1))},
			"Metric 'twice' of logged model '" + model + "' already has another value":  {on(model, "", "", NewMetric("twice", 1, 1, 1)), on(model, "", "", NewMetric("twice", 2, 1, 1))},
		} {
			err := s.LogBatch(ctx, run, Batch{Metrics: metrics, Params: []Param{{"p", "1"}}, Tags: []Tag{{"t", "1"}}})
			wantError(t, err, InvalidParameterValue, message)
		}
		wantError(t, s.LogMetric(ctx, run, on("m-none", "", "", NewMetric("x", 1, 1, 1))), InvalidParameterValue, "Logged model with ID 'm-none' not found.")
		if diff := cmp.Diff(want, must(s.LoggedModel(ctx, model, false))(t).Metrics); diff != "" {
			t.Errorf("after refused batches: %s", diff)
		}
		r := must(s.Run(ctx, run))(t)
		if len(r.Metrics) != 3 || len(r.Params) != 0 || len(r.Tags) != 1 {
			t.Errorf("refused batches left metrics %v, params %v, tags %v", r.Metrics, r.Params, r.Tags)
		}
	})
}

func searchModels(t *testing.T, s *Store, search LoggedModelSearch) []string {
	t.Helper()
	if search.ExperimentIDs == nil {
		search.ExperimentIDs = []int64{0}
	}
	if search.Limit == 0 {
		search.Limit = 100
	}
	ids := []string{}
	for _, m := range must(s.SearchLoggedModels(modelstest.Anyone(t), search))(t) {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestSearchLoggedModels_DatasetsOrderAndPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, run := modelstest.Anyone(t), newTestRun(t, s)
		var ids []string
		for i, name := range []string{"a", "b", "c", "d"} {
			id := newTestModel(t, s, name)
			ids = append(ids, id)
			if name == "d" {
				continue
			}
			m := NewMetric("acc", float64(i)/10, 1, 0) // on "train": 0, 0.1, 0.2; later on "test": 0.9, 0.8, 0.7
			m.ModelID, m.DatasetName, m.DatasetDigest = id, "train", "1"
			n := NewMetric("acc", float64(9-i)/10, 2, 0)
			n.ModelID, n.DatasetName, n.DatasetDigest = id, "test", "1"
			if err := s.LogBatch(ctx, run, Batch{Metrics: []Metric{m, n}}); err != nil {
				t.Fatal(err)
			}
		}
		a, b, c, d := ids[0], ids[1], ids[2], ids[3]
		byName := []LoggedModelOrder{{FieldName: "name"}}
		for name, test := range map[string]struct {
			search LoggedModelSearch
			want   []string
		}{
			"all":                              {LoggedModelSearch{OrderBy: byName}, []string{a, b, c, d}},
			"any value of the metric":          {LoggedModelSearch{OrderBy: byName, Filter: "metrics.acc > 0.75"}, []string{a, b}},
			"the metric on one dataset":        {LoggedModelSearch{OrderBy: byName, Filter: "metrics.acc < 0.15", Datasets: []DatasetFilter{{"train", "1"}}}, []string{a, b}},
			"nothing on that dataset":          {LoggedModelSearch{Filter: "metrics.acc < 0.15", Datasets: []DatasetFilter{{"test", "1"}}}, []string{}},
			"any metric on the dataset":        {LoggedModelSearch{OrderBy: byName, Datasets: []DatasetFilter{{"test", "1"}, {"x", "1"}}}, []string{a, b, c}},
			"a dataset without digest":         {LoggedModelSearch{Datasets: []DatasetFilter{{Name: "test"}}}, []string{}},
			"by the latest value, nulls last":  {LoggedModelSearch{OrderBy: []LoggedModelOrder{{FieldName: "metrics.acc"}}}, []string{c, b, a, d}},
			"by the value on a dataset, down":  {LoggedModelSearch{OrderBy: []LoggedModelOrder{{FieldName: "metrics.acc", Descending: true, DatasetName: "train"}}}, []string{c, b, a, d}},
			"by the value on a dataset and up": {LoggedModelSearch{OrderBy: []LoggedModelOrder{{FieldName: "metrics.acc", DatasetName: "train", DatasetDigest: "1"}}}, []string{a, b, c, d}},
			"the second page":                  {LoggedModelSearch{OrderBy: byName, Offset: 2, Limit: 2}, []string{c, d}},
			"another experiment":               {LoggedModelSearch{ExperimentIDs: []int64{5}}, []string{}},
			"no experiment":                    {LoggedModelSearch{ExperimentIDs: []int64{}}, []string{}},
		} {
			if diff := cmp.Diff(test.want, searchModels(t, s, test.search)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		found := must(s.SearchLoggedModels(ctx, LoggedModelSearch{ExperimentIDs: []int64{0}, OrderBy: byName, Limit: 1}))(t)
		if len(found[0].Metrics) != 2 {
			t.Errorf("the search gives metrics %v, want two", found[0].Metrics)
		}
	})
}
