package models

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func newTestRun(t *testing.T, s *Store) string {
	t.Helper()
	return must(s.CreateRun(modelstest.Anyone(t), NewRun{Name: "r"}))(t).ID
}

func TestLogBatch_WhatIsStoredAlreadyKeepsNothingElseOut(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := open(t, uri)
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		first, second, nan := NewMetric("m", 1, 1, 1), NewMetric("m", 2, 2, 2), NewMetric("n", math.NaN(), 1, 1)
		for _, metrics := range [][]Metric{{first, nan, first}, {nan, second, first, second}, {second, first}} {
			if err := s.LogBatch(ctx, id, Batch{Metrics: metrics}); err != nil {
				t.Fatal(err)
			}
		}
		db, _ := modelstest.Open(t, uri)
		defer db.Close()
		var rows int
		if err := db.QueryRow("SELECT count(*) FROM metrics").Scan(&rows); err != nil || rows != 3 {
			t.Errorf("%d rows, %v", rows, err)
		}
		if diff := cmp.Diff([]Metric{second, nan}, must(s.Run(ctx, id))(t).Metrics); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogBatch_AllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		if err := s.LogBatch(ctx, id, Batch{Metrics: []Metric{NewMetric("m", 1, 5, 0)}, Params: []Param{{"p", "1"}}, Tags: []Tag{{"t", "1"}}}); err != nil {
			t.Fatal(err)
		}
		err := s.LogBatch(ctx, id, Batch{Metrics: []Metric{NewMetric("m2", 1, 5, 0)}, Params: []Param{{"q", "1"}, {"p", "2"}}, Tags: []Tag{{"t", "2"}}})
		wantError(t, err, InvalidParameterValue, "Changing param values is not allowed. Params were already logged='[{'key': 'p', 'old_value': '1', 'new_value': '2'}]' for run ID='"+id+"'.")
		r := must(s.Run(ctx, id))(t)
		want := Run{Params: []Param{{"p", "1"}}, Metrics: []Metric{NewMetric("m", 1, 5, 0)}, Tags: []Tag{{"mlflow.runName", "r"}, {"t", "1"}}}
		if diff := cmp.Diff(want, Run{Params: r.Params, Metrics: r.Metrics, Tags: r.Tags}); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogBatch_Limits(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := newTestRun(t, s)
		metrics := make([]Metric, 1001)
		params, tags := make([]Param, 101), make([]Tag, 101)
		for i := range metrics {
			metrics[i] = NewMetric("m", 1, int64(i), 0)
		}
		for i := range params {
			params[i], tags[i] = Param{fmt.Sprint(i), "1"}, Tag{fmt.Sprint(i), "1"}
		}
		for message, b := range map[string]Batch{
			"A batch logging request can contain at most 1000 metrics. Got 1001 metrics.":                       {Metrics: metrics},
			"A batch logging request can contain at most 100 params. Got 101 params.":                           {Params: params},
			"A batch logging request can contain at most 100 tags. Got 101 tags.":                               {Tags: tags},
			"A batch logging request can contain at most 1000 metrics, params, and tags.":                       {Metrics: metrics[:1000], Tags: tags[:1]},
			"Duplicate parameter keys have been submitted: ['a'].":                                              {Params: []Param{{"a", "1"}, {"a", "1"}}},
			`Invalid value "a$b" for parameter 'metrics[1].name' supplied:`:                                     {Metrics: []Metric{metrics[0], {Key: "a$b"}}},
			"Invalid value -1 for parameter 'metrics[0].timestamp' supplied: metric 'm' (value=1.0). Timestamp": {Metrics: []Metric{NewMetric("m", 1, -1, 0)}},
			"'Param key' exceeds the maximum length of 250 characters":                                          {Params: []Param{{strings.Repeat("k", 251), "1"}}},
		} {
			t.Run(message, func(t *testing.T) {
				wantError(t, s.LogBatch(modelstest.Anyone(t), id, b), InvalidParameterValue, message)
			})
		}
		if err := s.LogBatch(modelstest.Anyone(t), id, Batch{Metrics: metrics[:800], Params: params[:100], Tags: tags[:100]}); err != nil {
			t.Error(err)
		}
	})
}

func TestLogMetric_LatestIsByStepTimestampValue(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		for _, m := range []Metric{
			NewMetric("m", 7, 99, 4), NewMetric("m", 9, 5, 5), NewMetric("m", 2, 10, 5), NewMetric("m", 1, 10, 5), NewMetric("m", 1, 10, 5),
			NewMetric("nan", math.NaN(), 1, 0), NewMetric("inf", math.Inf(1), 1, 0), NewMetric("minus", math.Inf(-1), 1, -3),
		} {
			if err := s.LogMetric(ctx, id, m); err != nil {
				t.Fatal(err)
			}
		}
		r := must(s.Run(ctx, id))(t)
		want := []Metric{NewMetric("inf", math.MaxFloat64, 1, 0), NewMetric("m", 2, 10, 5), NewMetric("minus", -math.MaxFloat64, 1, -3), {Key: "nan", Timestamp: 1, IsNaN: true}}
		if diff := cmp.Diff(want, r.Metrics); diff != "" {
			t.Error(diff)
		}
		history := must(wholeHistory(ctx, s, id, "m"))(t)
		if diff := cmp.Diff([]Point{{9, 5, 5, false}, {1, 10, 5, false}, {2, 10, 5, false}, {7, 99, 4, false}}, history); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogParam_KeepsTheFirstValue(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		long := strings.Repeat("ü", 6001)
		for _, p := range []Param{{"lr", "0.1"}, {"lr", "0.1"}, {"empty", ""}, {"long", long}, {"long", long + "x"}} {
			if err := s.LogParam(ctx, id, p); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, s.LogParam(ctx, id, Param{"lr", "0.2"}), InvalidParameterValue, "Changing param values is not allowed. Param with key='lr' was already logged with value='0.1' for run ID='"+id+"'. Attempted logging new value '0.2'.")
		r := must(s.Run(ctx, id))(t)
		if diff := cmp.Diff([]Param{{"empty", ""}, {"long", strings.Repeat("ü", 6000)}, {"lr", "0.1"}}, r.Params); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCreateRun_TagsStayInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const many = 50000
		tags := make([]Tag, many)
		for i := range tags {
			tags[i] = Tag{fmt.Sprint("t", i), "1"}
		}
		tags[1] = Tag{"mlflow.runName", ""}
		run := must(s.CreateRun(modelstest.Anyone(t), NewRun{Name: "r", Tags: slices.Clone(tags)}))(t)
		want := append(slices.Delete(tags, 1, 2), Tag{"mlflow.runName", "r"})
		if diff := cmp.Diff(want, run.Tags); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRun_Life(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		r := must(s.CreateRun(ctx, NewRun{UserID: "bob", StartTime: 5, Tags: []Tag{{"mlflow.runName", "tagged"}}}))(t)
		if *r.Name != "tagged" || *r.ArtifactURI != "mlflow-artifacts:/0/"+r.ID+"/artifacts" || r.Status != Running {
			t.Errorf("got %+v", r)
		}
		end := int64(9)
		if u := must(s.UpdateRun(ctx, r.ID, RunUpdate{Status: "FINISHED", EndTime: &end, Name: "renamed"}))(t); *u.Name != "renamed" || u.Status != "FINISHED" || *u.EndTime != 9 {
			t.Errorf("got %+v", u)
		}
		if err := s.SetTag(ctx, r.ID, Tag{"mlflow.runName", "again"}); err != nil {
			t.Fatal(err)
		}
		got := must(s.Run(ctx, r.ID))(t)
		if *got.Name != "again" || !cmp.Equal(got.Tags, []Tag{{"mlflow.runName", "again"}}) {
			t.Errorf("got name %s, tags %v", *got.Name, got.Tags)
		}
		for range 2 {
			if err := s.DeleteRun(ctx, r.ID); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, s.SetTag(ctx, r.ID, Tag{"k", "v"}), InvalidParameterValue, "The run "+r.ID+" must be in the 'active' state. Current state is deleted.")
		if err := s.RestoreRun(ctx, r.ID); err != nil {
			t.Fatal(err)
		}
		wantError(t, s.DeleteTag(ctx, r.ID, "k"), ResourceDoesNotExist, "No tag with name: k in run with id "+r.ID)
		_, err := s.Run(ctx, "deadbeef")
		wantError(t, err, ResourceDoesNotExist, "Run with id=deadbeef not found")
		_, err = s.CreateRun(ctx, NewRun{Name: "a", Tags: []Tag{{"mlflow.runName", "b"}}})
		wantError(t, err, InvalidParameterValue, "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='a', mlflow.runName='b').")
		_, err = s.CreateRun(ctx, NewRun{Name: strings.Repeat("n", 251)})
		wantError(t, err, InvalidParameterValue, "'run_name' exceeds the maximum length of 250 characters")
	})
}

func TestDeleteRun_RemovesItsAssessments(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, gone, kept := modelstest.Anyone(t), newTestRun(t, s), newTestRun(t, s)
		for _, sql := range []string{
			`INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) VALUES ('tr', 0, 1, 'OK')`,
			`INSERT INTO assessments (assessment_id, trace_id, name, assessment_type, value, created_timestamp, last_updated_timestamp, source_type, valid, is_numeric_value, assessment_metadata)
				VALUES ('a1', 'tr', 'n', 'feedback', '1', 1, 1, 'HUMAN', true, false, '{"mlflow.assessment.sourceRunId": "` + gone + `"}')`,
			`INSERT INTO assessments (assessment_id, trace_id, name, assessment_type, value, created_timestamp, last_updated_timestamp, source_type, valid, is_numeric_value, assessment_metadata)
				VALUES ('a2', 'tr', 'n', 'feedback', '1', 1, 1, 'HUMAN', true, false, '{"mlflow.assessment.sourceRunId": "` + kept + `"}')`,
		} {
			if err := s.write.Exec(sql).Error; err != nil {
				t.Fatal(err)
			}
		}
		if err := s.DeleteRun(ctx, gone); err != nil {
			t.Fatal(err)
		}
		var left []string
		if err := s.read.Raw("SELECT assessment_id FROM assessments").Scan(&left).Error; err != nil || !cmp.Equal(left, []string{"a2"}) {
			t.Errorf("left %v, %v; want a2", left, err)
		}
	})
}

func TestLogBatch_ManyWritersOfOneRun(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		const writers, batches, keys = 8, 10, 30
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for b := range batches {
					var batch Batch
					for k := range keys {
						k = (k*7 + w) % keys // every writer in another order
						batch.Metrics = append(batch.Metrics, NewMetric(fmt.Sprint("m", k), float64(w), int64(b), int64(b*writers+w)))
						batch.Params = append(batch.Params, Param{fmt.Sprint("p", k), "same"})
						batch.Tags = append(batch.Tags, Tag{fmt.Sprint("t", k), fmt.Sprint(w)})
					}
					if err := s.LogBatch(ctx, id, batch); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		r := must(s.Run(ctx, id))(t)
		if len(r.Metrics) != keys || len(r.Params) != keys || len(r.Tags) != keys+1 {
			t.Errorf("got %d metrics, %d params, %d tags", len(r.Metrics), len(r.Params), len(r.Tags))
		}
		for _, m := range r.Metrics {
			if m.Step != batches*writers-1 {
				t.Errorf("latest %s is of step %d, want %d", m.Key, m.Step, batches*writers-1)
			}
		}
	})
}

func TestRecordLoggedModel_Appends(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, id := modelstest.Anyone(t), newTestRun(t, s)
		for _, m := range []string{`{"artifact_path":"a"}`, `{"artifact_path":"b"}`} {
			if err := s.RecordLoggedModel(ctx, id, []byte(m)); err != nil {
				t.Fatal(err)
			}
		}
		r := must(s.Run(ctx, id))(t)
		if got, want := r.Tags[0], (Tag{"mlflow.log-model.history", `[{"artifact_path":"a"},{"artifact_path":"b"}]`}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestSearchRuns_OrdersAndPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		for i, v := range []float64{0.5, math.NaN(), 0.9} {
			r := must(s.CreateRun(ctx, NewRun{Name: fmt.Sprint("r", i), StartTime: int64(i)}))(t)
			if err := s.LogBatch(ctx, r.ID, Batch{Metrics: []Metric{NewMetric("acc", v, 1, 0)}, Params: []Param{{"lr", fmt.Sprint(i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		must(s.CreateRun(ctx, NewRun{Name: "none"}))(t)
		names := func(p Page) string {
			t.Helper()
			var out []string
			for _, r := range must(s.SearchRuns(ctx, []int64{0}, ActiveOnly, p))(t) {
				out = append(out, *r.Name)
			}
			return strings.Join(out, " ")
		}
		for _, c := range []struct {
			p    Page
			want string
		}{
			{Page{OrderBy: []string{"metrics.acc DESC"}, Limit: 10}, "r2 r0 r1 none"},
			{Page{OrderBy: []string{"metrics.acc ASC"}, Limit: 10}, "r0 r2 r1 none"},
			{Page{OrderBy: []string{"metrics.acc ASC"}, Limit: 2, Offset: 1}, "r2 r1"},
			{Page{Filter: "metrics.acc > 0.1 and params.lr = '2'", Limit: 10}, "r2"},
			{Page{Filter: "attributes.run_name ILIKE 'R%'", OrderBy: []string{"params.lr DESC"}, Limit: 10}, "r2 r1 r0"},
		} {
			if got := names(c.p); got != c.want {
				t.Errorf("%+v: got %s, want %s", c.p, got, c.want)
			}
		}
	})
}

func TestUpdateRun_ConcurrentUpdatesOfDifferentFieldsAllStay(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, end := modelstest.Anyone(t), int64(9)
		for range 20 {
			id := newTestRun(t, s)
			var wg sync.WaitGroup
			for _, u := range []RunUpdate{{Status: "FINISHED"}, {EndTime: &end}, {Name: "renamed"}} {
				wg.Go(func() {
					if _, err := s.UpdateRun(ctx, id, u); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if r := must(s.Run(ctx, id))(t); r.Status != "FINISHED" || r.EndTime == nil || *r.EndTime != end || *r.Name != "renamed" {
				t.Fatalf("an update was lost: status %s, end time %v, name %s", r.Status, r.EndTime, *r.Name)
			}
		}
	})
}

func TestRecordLoggedModel_ConcurrentRecordsAllStay(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		const records = 8
		for range 10 {
			id := newTestRun(t, s)
			var wg sync.WaitGroup
			for range records {
				wg.Go(func() {
					if err := s.RecordLoggedModel(ctx, id, []byte(`{}`)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			r := must(s.Run(ctx, id))(t)
			if got, want := r.Tags[0].Value, "["+strings.Repeat("{},", records-1)+"{}]"; got != want {
				t.Fatalf("history is %s, want %d records", got, records)
			}
		}
	})
}
