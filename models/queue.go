package models

import (
	"slices"
	"sync"
)

// queue is of those who wait for a few workers. A worker runs as long as somebody waits: it takes as many at a time as it likes.
type queue[T comparable] struct {
	mu      sync.Mutex
	waiting []T
	workers int
}

// enter adds a value, and starts a worker unless so many are at work.
func (q *queue[T]) enter(v T, most int, worker func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, v)
	if q.workers < most {
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

func (q *queue[T]) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
