package models

import (
	"cmp"
	"sync"
)

// lockedStatements is how many statements wait at a time for runs that somebody else has locked; the other connections are for other requests.
const lockedStatements = pgConns / 2

// lockedRuns are the requests to log to runs that somebody else has locked. A run has one statement at a time, however many wait for it.
type lockedRuns struct {
	mu      sync.Mutex
	waiting map[string][]*logging // by run; an entry has a worker
	slots   chan struct{}         // one for each statement
}

func newLockedRuns() lockedRuns {
	return lockedRuns{waiting: make(map[string][]*logging), slots: make(chan struct{}, lockedStatements)}
}

// join lets a request wait for its run if others do; where nobody does, the run is taken for free.
func (r *lockedRuns) join(l *logging) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting, locked := r.waiting[l.runID]
	if locked {
		r.waiting[l.runID] = append(waiting, l)
	}
	return locked
}

// enter adds a request whose run is locked, and starts a worker for the run if it has none.
func (r *lockedRuns) enter(l *logging, worker func(runID string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.late {
		l.end(l.waitedInVain())
		return
	}
	waiting, locked := r.waiting[l.runID]
	r.waiting[l.runID] = append(waiting, l)
	if !locked {
		go worker(l.runID)
	}
}

// leave ends the wait of a request; if it is on its way here, it is refused when it comes.
func (r *lockedRuns) leave(l *logging) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.late = true
	for i, other := range r.waiting[l.runID] {
		if other == l {
			r.waiting[l.runID] = append(r.waiting[l.runID][:i:i], r.waiting[l.runID][i+1:]...)
			l.end(l.waitedInVain())
			return
		}
	}
}

// next takes those for one statement; when there are none, the run's worker ends.
func (r *lockedRuns) next(runID string) []*logging {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting[runID]
	if len(waiting) == 0 {
		delete(r.waiting, runID)
		return nil
	}
	n := 1
	for n < min(len(waiting), logGroup) && waiting[n-1].rows() < logAlone {
		n++
	}
	r.waiting[runID] = waiting[n:]
	return waiting[:n:n]
}

func (l *logging) waitedInVain() error { return cmp.Or[error](l.ctx.Err(), lockedByOthers()) }
