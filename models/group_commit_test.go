package models

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

// outcome is how one member of a group ended.
type outcome struct {
	err   error
	panic any
}

// inOneGroup runs writes in one transaction, in their order: they come while another write, which then fails, has the connection.
func inOneGroup(t *testing.T, s *Store, writes ...func(*tx) error) []outcome {
	t.Helper()
	contexts := make([]context.Context, len(writes))
	for i := range contexts {
		contexts[i] = t.Context()
	}
	return inOneGroupUnder(t, s, contexts, writes...)
}

func inOneGroupUnder(t *testing.T, s *Store, contexts []context.Context, writes ...func(*tx) error) []outcome {
	t.Helper()
	s.groups.time = time.Hour
	var all sync.WaitGroup
	outcomes := make([]outcome, len(writes))
	begun, release := make(chan struct{}), make(chan struct{})
	all.Go(func() {
		err := s.update(t.Context(), func(*tx) error {
			close(begun)
			<-release
			return errRefused
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("the write before the group: %v", err)
		}
	})
	<-begun
	for i, fn := range writes {
		all.Go(func() {
			defer func() { outcomes[i].panic = recover() }()
			outcomes[i].err = s.update(contexts[i], fn)
		})
		untilWaiting(s, i+1)
	}
	close(release)
	all.Wait()
	return outcomes
}

// untilWaiting waits until n writes have queued up.
func untilWaiting(s *Store, n int) {
	for {
		s.groups.mu.Lock()
		waiting := len(s.groups.waiting)
		s.groups.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}

var errRefused = errors.New("refused")

func groupStore(t *testing.T) *Store {
	s := open(t, modelstest.SQLite(t))
	if err := s.write.Exec("CREATE TABLE lines (line TEXT PRIMARY KEY)").Error; err != nil {
		t.Fatal(err)
	}
	return s
}

func addLine(line string) func(*tx) error {
	return func(t *tx) error {
		_, err := t.exec("INSERT INTO lines VALUES (?)", line)
		return err
	}
}

func wantLines(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var got []string
	if err := s.read.Raw("SELECT line FROM lines ORDER BY line").Scan(&got).Error; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func wantDone(t *testing.T, outcomes ...outcome) {
	t.Helper()
	for i, o := range outcomes {
		if o.err != nil || o.panic != nil {
			t.Errorf("write %d: error %v, panic %v", i, o.err, o.panic)
		}
	}
}

func TestGroupCommit_AFailureUndoesItsOwnWriteOnly(t *testing.T) {
	s := groupStore(t)
	refused := func(t *tx) error {
		if err := addLine("lost")(t); err != nil {
			return err
		}
		return errRefused
	}
	got := inOneGroup(t, s, addLine("a"), refused, addLine("a"), func(t *tx) error {
		_ = addLine("a")(t) // no error that may be overlooked
		return addLine("b")(t)
	}, addLine("c"))
	wantDone(t, got[0], got[4])
	if !errors.Is(got[1].err, errRefused) || !isUniqueViolation(got[2].err) || !isUniqueViolation(got[3].err) {
		t.Errorf("got %v", got)
	}
	wantLines(t, s, "a", "c")
}

func TestGroupCommit_MembersSeeEachOther(t *testing.T) {
	s := groupStore(t)
	var seen []string
	wantDone(t, inOneGroup(t, s, addLine("a"), func(t *tx) (err error) {
		seen, err = pick[string](t, "SELECT line FROM lines")
		return err
	})...)
	if !cmp.Equal(seen, []string{"a"}) {
		t.Errorf("got %v", seen)
	}
}

func TestGroupCommit_WaitsForThoseWhoWereJustAnswered(t *testing.T) {
	s := groupStore(t)
	s.groups.time, s.groups.patience = time.Hour, time.Hour
	s.groups.last = lastGroup{size: 2, took: time.Hour, ended: time.Now()}
	written := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := s.update(t.Context(), func(t *tx) error {
			defer close(written)
			return addLine("a")(t)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-written
	err := s.update(t.Context(), func(tx *tx) error {
		wantLines(t, s) // nothing is committed yet
		return addLine("b")(tx)
	})
	if err != nil {
		t.Error(err)
	}
	all.Wait()
	wantLines(t, s, "a", "b")
}

func TestGroupCommit_APanicIsItsOwn(t *testing.T) {
	s := groupStore(t)
	for _, lines := range [][]string{{"a", "b"}, {"c"}} { // in the middle, and first of a group
		writes := []func(*tx) error{func(t *tx) error {
			if err := addLine("lost")(t); err != nil {
				return err
			}
			panic("out of order")
		}}
		if len(lines) == 2 {
			writes = append([]func(*tx) error{addLine(lines[0])}, writes...)
		}
		at := len(writes) - 1
		got := inOneGroup(t, s, append(writes, addLine(lines[len(lines)-1]))...)
		if text := fmt.Sprint(got[at].panic); !strings.HasPrefix(text, "out of order\n") || !strings.Contains(text, "group_commit_test.go") {
			t.Errorf("got %s", text)
		}
		got[at].panic = nil
		wantDone(t, got...)
	}
	wantLines(t, s, "a", "b", "c")
}

func TestGroupCommit_WhoGivesUpWhileWaitingHasNotWritten(t *testing.T) {
	s := groupStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun, release, gone := make(chan struct{}), make(chan struct{}), make(chan error)
	first := make(chan error)
	go func() {
		first <- s.update(t.Context(), func(t *tx) error {
			close(begun)
			<-release
			return addLine("a")(t)
		})
	}()
	<-begun
	go func() { gone <- s.update(ctx, addLine("lost")) }()
	untilWaiting(s, 1)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) { // though the connection is not free yet
		t.Errorf("got %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := s.update(ctx, addLine("lost")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantLines(t, s, "a")
}

func TestGroupCommit_WhoGivesUpWhileWritingHearsTheTruth(t *testing.T) {
	s := groupStore(t)
	early, cancelEarly := context.WithCancel(t.Context())
	late, cancelLate := context.WithCancel(t.Context())
	contexts := []context.Context{t.Context(), early, late, t.Context()}
	got := inOneGroupUnder(t, s, contexts, addLine("a"), func(t *tx) error {
		if err := addLine("lost")(t); err != nil {
			return err
		}
		cancelEarly()
		return addLine("lost too")(t)
	}, func(t *tx) error {
		defer cancelLate() // after the last statement
		return addLine("b")(t)
	}, addLine("c"))
	if !errors.Is(got[1].err, context.Canceled) {
		t.Errorf("got %v", got[1].err)
	}
	wantDone(t, got[0], got[2], got[3])
	wantLines(t, s, "a", "b", "c")
}

// SQLite undoes the whole transaction when it finds no room for a page.
func TestGroupCommit_AFullDiskFailsWhoMeetsIt(t *testing.T) {
	for _, overlooked := range []bool{false, true} {
		t.Run(fmt.Sprintf("overlooked=%v", overlooked), func(t *testing.T) {
			s := groupStore(t)
			got := inOneGroup(t, s, addLine("a"), addLine("a"), func(t *tx) error {
				if err := addLine("lost")(t); err != nil {
					return err
				}
				if _, err := pick[int](t, "PRAGMA max_page_count = 1"); err != nil { // which makes it the present size
					return err
				}
				_, err := t.exec("INSERT INTO lines VALUES (zeroblob(1000000))")
				if sqliteCode(err) != sqliteFull || t.Raw("SELECT 1").Scan(new(int)).Error == nil {
					return fmt.Errorf("the database is not full: %w", err)
				}
				if overlooked {
					return nil
				}
				return err
			}, addLine("b"))
			wantError(t, got[2].err, TemporarilyUnavailable, "The database cannot take the request now; try again.")
			if !isUniqueViolation(got[1].err) {
				t.Errorf("got %v", got[1].err)
			}
			wantDone(t, got[0], got[3])
			wantLines(t, s, "a", "b")
		})
	}
}

func TestGroupCommit_AFailedCommitFailsAll(t *testing.T) {
	s := groupStore(t)
	got := inOneGroup(t, s, addLine("a"), func(t *tx) error {
		_, err := t.exec("PRAGMA defer_foreign_keys = ON")
		if err == nil {
			_, err = t.exec("INSERT INTO params (key, value, run_uuid) VALUES ('k', 'v', 'no such run')")
		}
		return err
	}, addLine("a"), addLine("b"))
	for i, o := range got {
		if o.err == nil || o.err.Error() != got[0].err.Error() || !strings.Contains(o.err.Error(), "FOREIGN KEY") {
			t.Errorf("write %d: got %v", i, o.err)
		}
	}
	wantLines(t, s)
	wantDone(t, inOneGroup(t, s, addLine("a"), addLine("b"))...)
	wantLines(t, s, "a", "b")
}

func TestGroupCommit_AllLoggedMetricsAreThere(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	const writers, each = 16, 50
	ctx, run := modelstest.Anyone(t), newTestRun(t, s)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if err := s.LogMetric(ctx, run, NewMetric(fmt.Sprint("m", w), float64(i), int64(i), int64(i))); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					wantError(t, s.LogMetric(ctx, "none", NewMetric("m", 1, 1, 1)), ResourceDoesNotExist, "Run with id=none not found")
				}
			}
		})
	}
	all.Wait()
	for w := range writers {
		if got := len(must(wholeHistory(ctx, s, run, fmt.Sprint("m", w)))(t)); got != each {
			t.Errorf("writer %d: got %d values", w, got)
		}
	}
}
