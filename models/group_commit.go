package models

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"gorm.io/gorm"

	"greenroom/panics"
)

// A group is full when so many writes are in it, or so much time has passed since it began: the first waits for the last.
const (
	groupSize = 64
	groupTime = 5 * time.Millisecond
)

// groups are the writing transactions on SQLite. A commit waits for the disk, so those who wait for the one writing
// connection share the next, and hear of their success after the commit of all. Should one fail half-way, all run once more,
// now each in a savepoint of its own, where a failure stays. A group waits a moment for those who were just answered.
type groups struct {
	db   *gorm.DB
	pool *sql.DB // db's, of one connection
	time time.Duration

	queue[*write]
}

// write is one member of a group.
type write struct {
	ctx  context.Context
	fn   func(*gorm.DB) error
	done chan struct{}

	// What has come of it, once done.
	err   error
	panic any
	// untouched says that the transaction is as it was before.
	untouched bool
}

// transaction runs fn in a transaction and tells the truth about it, also to who no longer waits. If ctx ends before fn
// begins, fn never does; later, its next statement fails. What fn does may be undone, and fn run again.
func (g *groups) transaction(ctx context.Context, fn func(*gorm.DB) error) error {
	w := &write{ctx: ctx, fn: fn, done: make(chan struct{})}
	g.enter(w, 1, g.run)
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

// run commits groups until nobody waits. A panic is told to all whom it may concern, and the next group goes on.
func (g *groups) run() {
	for !g.idle() {
		var taken []*write
		take := func() *write {
			w := g.next()
			if w != nil {
				taken = append(taken, w)
			}
			return w
		}
		err := panics.Caught(func() error {
			g.settle(take)
			return nil
		})
		if err != nil && len(taken) == 0 {
			take() // or it would happen for ever
		}
		for _, w := range taken {
			w.err = cmp.Or(err, w.err)
			close(w.done)
		}
	}
}

// settle commits a group and all that is left undone of it.
func (g *groups) settle(next func() *write) {
	undone := g.commit(next, false)
	for len(undone) > 0 {
		alone := g.commit(from(&undone, next), true)
		for len(alone) > 0 {
			g.commit(from(new(alone[:1]), none), true)
			alone = alone[1:]
		}
	}
}

// from gives one write after the other, and then those of next.
func from(writes *[]*write, next func() *write) func() *write {
	return func() *write {
		if len(*writes) == 0 {
			return next()
		}
		w := (*writes)[0]
		*writes = (*writes)[1:]
		return w
	}
}

func none() *write { return nil }

// commit runs one transaction, whose members are apart in savepoints or not. The ends of all that next gave are known, but of the undone:
// those of whom nothing is left as another one failed, and, unless they were apart, that one.
func (g *groups) commit(next func() *write, apart bool) (undone []*write) {
	ctx := context.Background() // of no member: that one gives up must not undo what others did
	conn, err := g.begin(ctx)
	if err != nil {
		for w := next(); w != nil; w = next() {
			w.err = err
		}
		return nil
	}
	committed := false
	defer func() {
		if !committed {
			rollback(ctx, conn)
		}
		conn.Close()
	}()
	var members []*write
	for began := time.Now(); len(members) < groupSize && time.Since(began) < g.time; {
		w := next()
		if w == nil && !apart && g.awaitsMore(len(members)) {
			continue
		}
		if w == nil {
			break
		}
		switch {
		case len(members) == 0: // nobody else is in it yet
			if w.run(g.db, conn); w.failed() {
				return nil
			}
		case apart:
			if w.runInSavepoint(ctx, g.db, conn) {
				return members
			}
		default:
			if w.run(g.db, conn); w.failed() && !w.untouched {
				return append(members, w)
			}
		}
		members = append(members, w)
	}
	complete := time.Now()
	_, err = conn.ExecContext(ctx, "COMMIT")
	if committed = err == nil; !committed {
		for _, w := range members {
			w.err = err // also of those that failed: it may be for what another did
		}
	}
	g.groupEnded(len(members), time.Since(complete))
	return nil
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
	w.err, w.panic, w.untouched = w.ctx.Err(), nil, true
	if w.err != nil {
		return
	}
	w.untouched = false
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
	w.untouched = !statements.wrote && sqliteCode(w.err) == 0
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
	wrote   bool // or may have
}

// ExecContext implements gorm.ConnPool.
func (c *memberConn) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, _ error) {
	if c.mayRun(ctx) {
		if result, c.failure = c.Conn.ExecContext(context.WithoutCancel(ctx), query, args...); c.failure == nil && !c.wrote {
			rows, err := result.RowsAffected()
			c.wrote = rows > 0 || err != nil
		}
	}
	return result, c.failure
}

// QueryContext implements gorm.ConnPool.
func (c *memberConn) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, _ error) {
	if c.mayRun(ctx) {
		rows, c.failure = c.Conn.QueryContext(context.WithoutCancel(ctx), query, args...)
		c.wrote = c.wrote || !strings.HasPrefix(query, "SELECT")
	}
	return rows, c.failure
}

func (c *memberConn) mayRun(ctx context.Context) bool {
	if c.failure == nil {
		c.failure = ctx.Err()
	}
	return c.failure == nil
}
