package models

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func newTestModel(t *testing.T, s *Store, name string) string {
	t.Helper()
	return must(s.CreateLoggedModel(modelstest.Anyone(t), NewLoggedModel{Name: name}))(t).ID
}

func input(name, digest string, tags ...Tag) DatasetInput {
	schema := "{}"
	return DatasetInput{Dataset{Name: name, Digest: digest, SourceType: "local", Source: "s", Schema: &schema}, tags}
}

func TestLogInputs_LinksOnceAndFirstTagsWin(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, run, model := modelstest.Anyone(t), newTestRun(t, s), newTestModel(t, s, "m")
		training, testing := Tag{"mlflow.data.context", "training"}, Tag{"mlflow.data.context", "testing"}
		changed := input("b", "1", testing)
		changed.Dataset.Source = "elsewhere"
		for _, inputs := range [][]DatasetInput{
			{input("b", "1", training), input("a", "2"), input("b", "1", testing)},
			{changed, input("a", "1", testing)},
		} {
			if err := s.LogInputs(ctx, run, inputs, []ModelInput{{model}, {model}}); err != nil {
				t.Fatal(err)
			}
		}
		want := Run{DatasetInputs: []DatasetInput{input("a", "1", testing), input("a", "2"), input("b", "1", training)}, ModelInputs: []ModelInput{{model}}}
		r := must(s.Run(ctx, run))(t)
		if diff := cmp.Diff(want, Run{DatasetInputs: r.DatasetInputs, ModelInputs: r.ModelInputs}); diff != "" {
			t.Error(diff)
		}
		found := must(s.SearchRuns(ctx, []int64{0}, ActiveOnly, Page{Filter: "dataset.name = 'b' AND dataset.context = 'training'", Limit: 5}))(t)
		if len(found) != 1 || len(found[0].DatasetInputs) != 3 {
			t.Errorf("the search found %d runs, want one with three datasets", len(found))
		}
		context := func(v string) *string { return &v }
		summaries := []DatasetSummary{{Name: "a", Digest: "1", Context: context("testing")}, {Name: "a", Digest: "2"}, {Name: "b", Digest: "1", Context: context("training")}}
		if diff := cmp.Diff(summaries, must(s.DatasetSummaries(ctx, []int64{0}))(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogInputs_ManyRunsWithTheSameDatasets(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const runs = 8
		var ids [runs]string
		for i := range ids {
			ids[i] = newTestRun(t, s)
		}
		inputs := make([]DatasetInput, 20)
		for i := range inputs {
			inputs[i] = input(fmt.Sprint("d", i), "1", Tag{"n", fmt.Sprint(i)})
		}
		var group sync.WaitGroup
		for i, id := range ids {
			group.Go(func() {
				own := append(inputs[i:len(inputs):len(inputs)], inputs[:i]...) // each in another order
				if err := s.LogInputs(modelstest.Anyone(t), id, own, nil); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for _, id := range ids {
			r := must(s.Run(modelstest.Anyone(t), id))(t)
			if len(r.DatasetInputs) != len(inputs) || len(r.DatasetInputs[0].Tags) != 1 {
				t.Errorf("run %s has %d datasets, want %d with a tag each", id, len(r.DatasetInputs), len(inputs))
			}
		}
		if n := len(must(s.DatasetSummaries(modelstest.Anyone(t), []int64{0}))(t)); n != len(inputs) {
			t.Errorf("the experiment has %d datasets, want %d", n, len(inputs))
		}
	})
}

func TestLogInputs_Refusals(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		long := func(n int) string { return strings.Repeat("é", n) }
		text := func(v string) *string { return &v }
		with := func(change func(*DatasetInput)) DatasetInput {
			in := input("d", "1")
			change(&in)
			return in
		}
		run := newTestRun(t, s)
		fits := with(func(in *DatasetInput) {
			in.Dataset = Dataset{long(500), long(36), long(36), long(65535), text(long(1048575)), nil}
			in.Tags = []Tag{{long(255), long(500)}}
		})
		if err := s.LogInputs(modelstest.Anyone(t), run, []DatasetInput{fits}, nil); err != nil {
			t.Error(err)
		}
		for field, in := range map[string]DatasetInput{
			"dataset.name":        with(func(in *DatasetInput) { in.Dataset.Name = long(501) }),
			"dataset.digest":      with(func(in *DatasetInput) { in.Dataset.Digest = long(37) }),
			"dataset.source_type": with(func(in *DatasetInput) { in.Dataset.SourceType = long(37) }),
			"dataset.source":      with(func(in *DatasetInput) { in.Dataset.Source = long(65536) }),
			"dataset.schema":      with(func(in *DatasetInput) { in.Dataset.Schema = text(long(1048576)) }),
			"dataset.profile":     with(func(in *DatasetInput) { in.Dataset.Profile = text(strings.Repeat("x", 16777216)) }),
			"tags[0].key":         with(func(in *DatasetInput) { in.Tags = []Tag{{long(256), ""}} }),
			"tags[0].value":       with(func(in *DatasetInput) { in.Tags = []Tag{{"k", long(501)}} }),
			"tags[1].key":         with(func(in *DatasetInput) { in.Tags = []Tag{{"k", "1"}, {"k", "2"}} }),
		} {
			wantError(t, s.LogInputs(modelstest.Anyone(t), run, []DatasetInput{input("ok", "1"), in}, nil), InvalidParameterValue, "'datasets[1]."+field+"' ")
		}
		wantError(t, s.LogInputs(modelstest.Anyone(t), run, []DatasetInput{input("ok", "1")}, []ModelInput{{"m-none"}}), ResourceDoesNotExist, "Logged model with ID 'm-none' not found.")
		wantError(t, s.LogInputs(modelstest.Anyone(t), "$$", nil, nil), InvalidParameterValue, `Invalid value "$$" for parameter 'run_id' supplied.`)
		wantError(t, s.LogInputs(modelstest.Anyone(t), "nope", nil, nil), ResourceDoesNotExist, "Run with id=nope not found")
		if n := len(must(s.Run(modelstest.Anyone(t), run))(t).DatasetInputs); n != 1 {
			t.Errorf("the refused requests left %d datasets, want 1", n)
		}
	})
}

func TestLogOutputs_RepeatChangesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, run, a, b := modelstest.Anyone(t), newTestRun(t, s), newTestModel(t, s, "a"), newTestModel(t, s, "b")
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := s.LogOutputs(ctx, run, []ModelOutput{{b, 1}, {a, 2}}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		wantError(t, s.LogOutputs(ctx, run, []ModelOutput{{newTestModel(t, s, "c"), 0}, {a, 3}}), InvalidParameterValue, "Model '"+a+"' is already an output of run '"+run+"' at step 2")
		wantError(t, s.LogOutputs(ctx, run, []ModelOutput{{"m-none", 0}}), ResourceDoesNotExist, "Logged model with ID 'm-none' not found.")
		if diff := cmp.Diff([]ModelOutput{{b, 1}, {a, 2}}, must(s.Run(ctx, run))(t).ModelOutputs); diff != "" {
			t.Error(diff)
		}
		if err := s.DeleteRun(ctx, run); err != nil {
			t.Fatal(err)
		}
		wantError(t, s.LogOutputs(ctx, run, nil), InvalidParameterValue, "The run "+run+" must be in the 'active' state.")
	})
}
