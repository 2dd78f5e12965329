package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// lockFromOutside runs a statement in a transaction that others wait for until it is freed.
func lockFromOutside(t *testing.T, db *sql.DB, statement string, args ...any) (free func()) {
	t.Helper()
	hold, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hold.Rollback() })
	if _, err := hold.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := hold.Commit(); err != nil {
			t.Error(err)
		}
	}
}

func TestLog_ALockedRunHoldsUpItsOwnLoggersOnly(t *testing.T) {
	const loggers = 3 * (logStatements + 1)
	for what, lock := range map[string]string{
		"run":           "SELECT 1 FROM runs WHERE run_uuid = $1 FOR UPDATE",
		"latest metric": "UPDATE latest_metrics SET step = step WHERE run_uuid = $1",
	} {
		t.Run(what, func(t *testing.T) {
			uri := modelstest.PostgreSQL(t)
			s := open(t, uri)
			s.logWait = time.Hour
			ctx := modelstest.Anyone(t)
			db, _ := modelstest.Open(t, uri)
			defer db.Close()
			locked, free := newTestRun(t, s), newTestRun(t, s)
			for _, run := range []string{locked, free} {
				if err := s.LogMetric(ctx, run, NewMetric("m", 0, 0, 0)); err != nil {
					t.Fatal(err)
				}
			}
			unlock := lockFromOutside(t, db, lock, locked)
			big := make([]Metric, logAlone)
			for i := range big {
				big[i] = NewMetric(fmt.Sprint("big", i), 1, 1, 1)
			}
			var waiting, others sync.WaitGroup
			for i := range loggers {
				waiting.Go(func() {
					if err := s.LogMetric(ctx, locked, NewMetric("m", float64(i), 1, int64(i))); err != nil {
						t.Error(err)
					}
				})
				others.Go(func() {
					for range 5 {
						if err := s.LogMetric(ctx, free, NewMetric("m", float64(i), 1, int64(i))); err != nil {
							t.Error(err)
						}
					}
				})
			}
			others.Wait()
			untilBlocked(t, db)
			waiting.Go(func() {
				if err := s.LogBatch(ctx, locked, Batch{Metrics: big, Params: []Param{{"p", "1"}}}); err != nil {
					t.Error(err)
				}
			})
			unlock()
			waiting.Wait()
			for _, run := range []string{locked, free} {
				var rows int
				if err := db.QueryRow("SELECT count(*) FROM metrics WHERE run_uuid = $1 AND key = 'm'", run).Scan(&rows); err != nil || rows != loggers+1 {
					t.Errorf("%d rows, %v", rows, err)
				}
				for _, m := range must(s.Run(ctx, run))(t).Metrics {
					if m.Key == "m" && m != NewMetric("m", loggers-1, 1, loggers-1) {
						t.Errorf("the latest is %+v", m)
					}
				}
			}
			if run := must(s.Run(ctx, locked))(t); len(run.Metrics) != logAlone+1 || len(run.Params) != 1 {
				t.Errorf("%d metrics, %d params", len(run.Metrics), len(run.Params))
			}
			untilEmpty(t, s)
		})
	}
}

// untilEmpty waits until nobody waits for a run.
func untilEmpty(t *testing.T, s *Store) {
	for t.Context().Err() == nil {
		s.lockedRuns.mu.Lock()
		runs := len(s.lockedRuns.waiting)
		s.lockedRuns.mu.Unlock()
		if runs == 0 && len(s.lockedRuns.slots) == 0 {
			return
		}
		runtime.Gosched()
	}
}

// withLockedRun makes a run that is locked from outside, in a store whose loggers wait so long for one.
func withLockedRun(t *testing.T, wait time.Duration) (s *Store, db *sql.DB, run string, unlock func()) {
	t.Helper()
	uri := modelstest.PostgreSQL(t)
	s = open(t, uri)
	s.logWait = wait
	db, _ = modelstest.Open(t, uri)
	t.Cleanup(func() { db.Close() })
	run = newTestRun(t, s)
	return s, db, run, lockFromOutside(t, db, "SELECT 1 FROM runs WHERE run_uuid = $1 FOR UPDATE", run)
}

func TestLog_WhoWaitsTooLongForALockedRunIsRefused(t *testing.T) {
	ctx := modelstest.Anyone(t)
	s, _, run, unlock := withLockedRun(t, 50*time.Millisecond)
	var refused sync.WaitGroup
	for i := range 16 {
		refused.Go(func() {
			err := s.LogMetric(ctx, run, NewMetric("m", 1, 1, int64(i)))
			if e := (*Error)(nil); !errors.As(err, &e) || e.Code != TemporarilyUnavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	refused.Wait()
	untilEmpty(t, s)
	unlock()
	s.logWait = time.Hour
	if err := s.LogMetric(ctx, run, NewMetric("m", 1, 1, 20)); err != nil {
		t.Error(err)
	}
	wantSteps(t, s, run, 20)
}

func TestLog_WhoHasGoneIsNotLoggedOnceARunIsFree(t *testing.T) {
	ctx := modelstest.Anyone(t)
	s, db, run, unlock := withLockedRun(t, time.Hour)
	stays := make(chan error)
	go func() { stays <- s.LogMetric(ctx, run, NewMetric("m", 1, 1, 1)) }()
	untilBlocked(t, db)
	leaving, leave := context.WithCancel(ctx)
	gone := make(chan error)
	go func() { gone <- s.LogMetric(leaving, run, NewMetric("m", 1, 1, 2)) }()
	for waiting := 0; waiting == 0 && t.Context().Err() == nil; runtime.Gosched() {
		s.lockedRuns.mu.Lock()
		waiting = len(s.lockedRuns.waiting[run])
		s.lockedRuns.mu.Unlock()
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	unlock()
	if err := <-stays; err != nil {
		t.Error(err)
	}
	wantSteps(t, s, run, 1)
}

func wantSteps(t *testing.T, s *Store, run string, want ...int64) {
	t.Helper()
	history, _, err := s.MetricHistory(run, "m", HistoryPage{Limit: 100}).Next(modelstest.Anyone(t))
	var steps []int64
	for _, p := range history {
		steps = append(steps, p.Step)
	}
	if err != nil || !slices.Equal(steps, want) {
		t.Errorf("steps %v, %v; want %v", steps, err, want)
	}
}

func TestLog_ARunThatIsDeletedForGoodMeanwhileIsNotFound(t *testing.T) {
	uri := modelstest.PostgreSQL(t)
	s := open(t, uri)
	ctx := modelstest.Anyone(t)
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	run := newTestRun(t, s)
	if _, err := db.Exec("DELETE FROM tags WHERE run_uuid = $1", run); err != nil {
		t.Fatal(err)
	}
	unlock := lockFromOutside(t, db, "DELETE FROM runs WHERE run_uuid = $1", run)
	ended := make(chan error)
	go func() { ended <- s.LogMetric(ctx, run, NewMetric("m", 1, 1, 1)) }()
	untilBlocked(t, db)
	unlock()
	wantError(t, <-ended, ResourceDoesNotExist, "Run with id="+run+" not found")
}

// untilBlocked waits until a statement waits for a lock.
func untilBlocked(t *testing.T, db *sql.DB) {
	for t.Context().Err() == nil {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
