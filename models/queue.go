package models

import (
	"slices"
	"sync"
	"time"
)

// queue is of those who wait for a few workers. A worker runs as long as somebody waits: it takes as many at a time as it likes.
type queue[T comparable] struct {
	mu      sync.Mutex
	waiting []T
	workers int
	patient bool // one of them awaits company, so that no other is needed
	last    lastGroup
	// arrived has a value when somebody has come since a worker saw that nobody waits.
	arrived chan struct{}
	// patience is how long a worker awaits company at most.
	patience time.Duration
}

// lastGroup is what a group knows of the one before.
type lastGroup struct {
	size  int // how many were in it, and waited when it ended
	took  time.Duration
	ended time.Time
}

func newQueue[T comparable]() queue[T] {
	return queue[T]{arrived: make(chan struct{}, 1), patience: groupTime}
}

// enter adds a value, and starts a worker unless so many are at work.
func (q *queue[T]) enter(v T, most int, worker func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, v)
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	if q.workers < most && !q.patient {
		q.workers++
		go worker()
	}
}

// leave tells whether a value could leave before its turn.
func (q *queue[T]) leave(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.waiting, v)
	if at < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	return true
}

// next is what has waited longest, zero if nothing waits.
func (q *queue[T]) next() (v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		v = q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
	return v
}

// idle tells a worker whether to end, as nothing waits.
func (q *queue[T]) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		return false
	}
	q.workers--
	return true
}

// groupEnded tells how many were answered together, and how long they waited for the database.
func (q *queue[T]) groupEnded(size int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = lastGroup{size + len(q.waiting), took, time.Now()}
}

// awaitsMore waits for company of a group, and tells whether some waits. Those who were just answered may come back: without
// them the first would be a group of its own, and the others would wait for that one and then for theirs. It has no patience
// when as many are there as a moment ago, and else so much that who waits in vain waits half as long as for the database.
func (q *queue[T]) awaitsMore(size int) bool {
	q.mu.Lock()
	last := q.last
	q.patient = len(q.waiting) == 0 && size < last.size && time.Since(last.ended) < 2*last.took
	if !q.patient {
		defer q.mu.Unlock()
		return len(q.waiting) > 0
	}
	select {
	case <-q.arrived: // for one who is gone
	default:
	}
	q.mu.Unlock()
	timer := time.NewTimer(min(last.took/2, q.patience))
	defer timer.Stop()
	select {
	case <-q.arrived:
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.patient = false
	return len(q.waiting) > 0
}
