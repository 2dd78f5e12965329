package models

import (
	"context"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"greenroom/models/modelstest"
	"greenroom/panics"
)

func wantPanic(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), "panic: ") || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("got %v, want a panic with its stack", err)
	}
}

func TestGroupCommit_APanicOfTheGroupIsToldToItsMembersAndTheNextGoesOn(t *testing.T) {
	s := groupStore(t)
	pool := s.groups.pool
	s.groups.pool = nil
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { wantPanic(t, s.update(t.Context(), addLine("lost"))) })
	}
	all.Wait()
	s.groups.pool = pool
	if err := s.update(t.Context(), addLine("kept")); err != nil {
		t.Error(err)
	}
	wantLines(t, s, "kept")
}

func TestGroupCommit_APanicLeavesNoTransactionOpen(t *testing.T) {
	s := groupStore(t)
	members := 0
	wantPanic(t, panics.Caught(func() error {
		s.groups.commit(func() *write {
			if members++; members > 1 {
				panic("broken")
			}
			return &write{ctx: t.Context(), fn: func(db *gorm.DB) error { return db.Exec("INSERT INTO lines VALUES ('lost')").Error }}
		}, false)
		return nil
	}))
	if err := s.update(t.Context(), addLine("kept")); err != nil {
		t.Error(err)
	}
	wantLines(t, s, "kept")
}

// brokenContext panics as soon as somebody looks at its end.
type brokenContext struct{ context.Context }

func (brokenContext) Done() <-chan struct{} { panic("broken") }

func TestLog_APanicIsToldToWhomItConcernsAndTheNextGoOn(t *testing.T) {
	s := open(t, modelstest.PostgreSQL(t))
	ctx := modelstest.Anyone(t)
	run := newTestRun(t, s)
	for range 2 * logStatements {
		l := &logging{ctx: brokenContext{ctx}, runID: run, Batch: Batch{Tags: []Tag{{"t", "lost"}}}, done: make(chan struct{})}
		s.loggings.enter(l, logStatements, s.logWaiting)
		<-l.done
		wantPanic(t, l.err)
		l = &logging{ctx: brokenContext{ctx}, runID: run, Batch: l.Batch, done: make(chan struct{})}
		s.lockedRuns.enter(l, s.logLocked)
		<-l.done
		wantPanic(t, l.err)
	}
	if err := s.LogMetric(ctx, run, NewMetric("m", 1, 1, 1)); err != nil {
		t.Error(err)
	}
	wantSteps(t, s, run, 1)
}

func TestIdentityState_APanicIsAnError(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	read := s.read
	s.read = nil
	_, err := s.IdentityState(t.Context())
	s.read = read
	wantPanic(t, err)
	if _, err := s.IdentityState(t.Context()); err != nil {
		t.Error(err)
	}
}
