package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
)

// A group is full when so many writes are in it, or so much time has passed since it began: the first waits for the last.
const (
	groupSize = 64
	groupTime = 5 * time.Millisecond
)

// groups are the writing transactions on SQLite. A commit waits for the disk, so those who wait for the one writing
// connection share the next: each write runs in a savepoint of its own, where its failure stays, and hears of its success
// after the commit of all. Nobody waits for others to come.
type groups struct {
	db   *gorm.DB
	pool *sql.DB // db's, of one connection
	time time.Duration

	mu      sync.Mutex
	waiting []*write
	running bool
}

// write is one member of a group.
type write struct {
	ctx  context.Context
	fn   func(*gorm.DB) error
	done chan struct{}

	// What has come of it, once done.
	err   error
	panic any
}

// transaction runs fn in a transaction and tells the truth about it, also to who no longer waits. If ctx ends before fn
// begins, fn never does; later, its next statement fails. What fn does may be undone, and fn run once more.
func (g *groups) transaction(ctx context.Context, fn func(*gorm.DB) error) error {
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	g.enter(w)
	select {
	case <-w.done:
	case <-ctx.Done():
		if g.leave(w) {
			return ctx.Err()
		}
		<-w.done
	}
	if w.panic != nil {
		panic(w.panic)
	}
	return w.err
}

func (g *groups) enter(w *write) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, w)
	if !g.running {
		g.running = true
		go g.run()
	}
}

// leave tells whether a write could leave before its turn.
func (g *groups) leave(w *write) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.waiting)
	g.waiting = slices.DeleteFunc(g.waiting, func(other *write) bool { return other == w })
	return len(g.waiting) < before
}

// next is the write that has waited longest, nil if none waits.
func (g *groups) next() *write {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		return nil
	}
	w := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	return w
}

// idle tells whether nobody waits; whoever comes next then starts run again.
func (g *groups) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = len(g.waiting) > 0
	return !g.running
}

// run commits groups until nobody waits.
func (g *groups) run() {
	for !g.idle() {
		members, alone := g.commit(g.next)
		for _, w := range alone {
			g.commit(once(w))
		}
		for _, w := range append(members, alone...) {
			close(w.done)
		}
	}
}

func once(w *write) func() *write {
	return func() (next *write) {
		next, w = w, nil
		return next
	}
}

// commit runs one transaction. Its members' ends are settled; alone are those that share it with one whose failure has undone
// all, and have to run each by itself.
func (g *groups) commit(next func() *write) (members, alone []*write) {
	ctx := context.Background() // of no member: that one gives up must not undo what others did
	conn, err := g.begin(ctx)
	if err != nil {
		for w := next(); w != nil; w = next() {
			w.err = err
			members = append(members, w)
		}
		return members, nil
	}
	defer conn.Close()
	for began := time.Now(); len(members) < groupSize && time.Since(began) < g.time; {
		w := next()
		if w == nil {
			break
		}
		if len(members) == 0 {
			if w.run(g.db, conn); w.failed() { // it needs no savepoint: nobody else is in it
				rollback(ctx, conn)
				return []*write{w}, nil
			}
		} else if undone := w.runInSavepoint(ctx, g.db, conn); undone {
			rollback(ctx, conn)
			return []*write{w}, members
		}
		members = append(members, w)
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		rollback(ctx, conn)
		for _, w := range members {
			w.err = err // also of those that failed: it may be for what another did
		}
	}
	return members, nil
}

func (g *groups) begin(ctx context.Context) (*sql.Conn, error) {
	conn, err := g.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// rollback ends a transaction, which SQLite may have ended already: then it fails, and the connection is given up all the
// same, as are those for which it fails for another reason.
func rollback(ctx context.Context, conn *sql.Conn) {
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

func (w *write) failed() bool { return w.err != nil || w.panic != nil }

// run runs fn on the connection and keeps its error or panic.
func (w *write) run(db *gorm.DB, conn *sql.Conn) {
	w.err, w.panic = w.ctx.Err(), nil
	if w.err != nil {
		return
	}
	statements := &memberConn{Conn: conn}
	defer func() {
		if p := recover(); p != nil {
			w.panic = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
	}()
	session := db.Session(&gorm.Session{NewDB: true, Context: w.ctx})
	session.Statement.ConnPool = statements
	if w.err = w.fn(session); w.err == nil {
		w.err = statements.failure
	}
}

// runInSavepoint runs fn so that its failure undoes nothing else. SQLite itself undoes the whole transaction for some
// errors, such as a full disk; undone tells so.
func (w *write) runInSavepoint(ctx context.Context, db *gorm.DB, conn *sql.Conn) (undone bool) {
	_, err := conn.ExecContext(ctx, "SAVEPOINT member")
	if err == nil {
		if w.run(db, conn); w.failed() {
			_, err = conn.ExecContext(ctx, "ROLLBACK TO member")
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "RELEASE member")
		}
	}
	if err != nil && !w.failed() {
		w.err = err
	}
	return err != nil
}

// memberConn runs the statements of one write. As on PostgreSQL, none runs after one has failed. A statement that has begun is
// not broken off: that would undo the whole transaction.
type memberConn struct {
	*sql.Conn
	failure error
}

// ExecContext implements gorm.ConnPool.
func (c *memberConn) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, _ error) {
	if c.mayRun(ctx) {
		result, c.failure = c.Conn.ExecContext(context.WithoutCancel(ctx), query, args...)
	}
	return result, c.failure
}

// QueryContext implements gorm.ConnPool.
func (c *memberConn) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, _ error) {
	if c.mayRun(ctx) {
		rows, c.failure = c.Conn.QueryContext(context.WithoutCancel(ctx), query, args...)
	}
	return rows, c.failure
}

func (c *memberConn) mayRun(ctx context.Context) bool {
	if c.failure == nil {
		c.failure = ctx.Err()
	}
	return c.failure == nil
}
