package models

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// PostgreSQL sends a statement's rows before it commits, and what fails then has written nothing.
func TestLogMetric_HearsOfAFailedCommit(t *testing.T) {
	uri := modelstest.PostgreSQL(t)
	s := open(t, uri)
	ctx := modelstest.Anyone(t)
	run, err := s.CreateRun(ctx, NewRun{})
	if err != nil {
		t.Fatal(err)
	}
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	for _, statement := range []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no commit'; END $$",
		"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON metrics DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	metric := NewMetric("m", 1, 1, 1)
	if err := s.LogMetric(ctx, run.ID, metric); err == nil {
		t.Error("LogMetric: no error")
	}
	if err := s.LogBatch(ctx, run.ID, Batch{Metrics: []Metric{metric}}); err == nil {
		t.Error("LogBatch: no error")
	}
	var rows int
	if err := db.QueryRow("SELECT count(*) FROM metrics").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

func TestLogMetric_WaitsForThoseWhoWereJustAnswered(t *testing.T) {
	uri := modelstest.PostgreSQL(t)
	s := open(t, uri)
	ctx := modelstest.Anyone(t)
	run := newTestRun(t, s)
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	s.loggings.patience = time.Hour
	s.loggings.last = lastGroup{size: 2, took: time.Hour, ended: time.Now()}
	var all sync.WaitGroup
	for i := range int64(2) {
		all.Go(func() {
			if err := s.LogMetric(ctx, run, NewMetric("m", 1, 1, i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var statements int
	if err := db.QueryRow("SELECT count(DISTINCT xmin::text) FROM metrics").Scan(&statements); err != nil || statements != 1 {
		t.Errorf("%d statements, %v", statements, err)
	}
}

func TestLogTogether_EachHearsOfItsOwn(t *testing.T) {
	s := open(t, modelstest.PostgreSQL(t))
	ctx := modelstest.Anyone(t)
	a, b, deleted := newTestRun(t, s), newTestRun(t, s), newTestRun(t, s)
	if err := s.DeleteRun(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	group := func(batches ...logging) (ends []error) {
		var all []*logging
		for _, l := range batches {
			l.ctx, l.done = ctx, make(chan struct{})
			all = append(all, &l)
		}
		s.log(ctx, logTurn{skipLocked: true, lockWait: lockWait}, all...)
		for _, l := range all {
			<-l.done
			ends = append(ends, l.err)
		}
		return ends
	}
	written := Batch{
		Metrics: []Metric{NewMetric("m", 2, 2, 2), NewMetric("m", 3, 1, 1)}, Params: []Param{{"p", "1"}}, Tags: []Tag{{"t", "old"}, {"t", "new"}},
	}
	lost := Batch{Params: []Param{{"q", "1"}}, Metrics: []Metric{NewMetric("lost", 1, 1, 1)}, Tags: []Tag{{"lost", "1"}}}

	ends := group(logging{runID: a, Batch: written}, logging{runID: deleted, Batch: lost}, logging{runID: "none", Batch: lost}, logging{runID: b, Batch: written})
	if ends[0] != nil || ends[3] != nil {
		t.Errorf("got %v", ends)
	}
	wantError(t, ends[1], InvalidParameterValue, "The run "+deleted+" must be in the 'active' state. Current state is deleted.")
	wantError(t, ends[2], ResourceDoesNotExist, "Run with id=none not found")

	for _, other := range []string{"p", "q"} { // another value is stored, or comes along
		refused := Batch{Params: []Param{{other, "2"}}, Metrics: lost.Metrics, Tags: lost.Tags}
		ends = group(logging{runID: a, Batch: Batch{Params: []Param{{"q", "1"}}}}, logging{runID: b, Batch: Batch{Params: []Param{{"q", "1"}}}}, logging{runID: a, Batch: refused})
		if ends[0] != nil || ends[1] != nil || !errors.Is(ends[2], errParamsDiffer) {
			t.Errorf("%s: got %v", other, ends)
		}
	}
	if ends = group(logging{runID: a, Batch: Batch{Params: []Param{{"p", "1"}}}}); ends[0] != nil {
		t.Errorf("the same value again: %v", ends[0])
	}
	for _, id := range []string{a, b} {
		run := must(s.Run(ctx, id))(t)
		tags := make(map[string]string)
		for _, tag := range run.Tags {
			tags[tag.Key] = tag.Value
		}
		delete(tags, tagRunName)
		got := fmt.Sprint(run.Metrics, run.Params, tags)
		if want := fmt.Sprint([]Metric{NewMetric("m", 2, 2, 2)}, []Param{{"p", "1"}, {"q", "1"}}, map[string]string{"t": "new"}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if run := must(s.Run(ctx, deleted))(t); len(run.Metrics)+len(run.Params) > 0 {
		t.Errorf("got %+v", run)
	}
}

func TestLogParam_OfManyValuesAtOnceOneIsKept(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := open(t, uri)
		ctx, run := modelstest.Anyone(t), newTestRun(t, s)
		var all sync.WaitGroup
		var kept atomic.Int64
		for i := range 16 {
			all.Go(func() {
				value := fmt.Sprint(i)
				err := s.LogParam(ctx, run, Param{"p", value})
				if err == nil {
					kept.Add(1)
				} else if e := (*Error)(nil); !errors.As(err, &e) || e.Code != InvalidParameterValue || !strings.HasSuffix(e.Message, "Attempted logging new value '"+value+"'.") {
					t.Error(err)
				}
				if err := s.LogParam(ctx, run, Param{"q" + value, value}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(must(s.Run(ctx, run))(t).Params); kept.Load() != 1 || n != 17 {
			t.Errorf("%d were kept; %d params", kept.Load(), n)
		}
	})
}
