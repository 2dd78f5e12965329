package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// pgTx is a transaction on PostgreSQL whose statements travel together: BEGIN goes with the first one, and what is queued goes
// with the next one that is waited for, or with COMMIT. Each still sees what was committed before it began.
type pgTx struct {
	*sql.Conn
	queued *pgx.Batch
	began  bool
	// planned tells that statements are planned for the values at hand.
	planned bool
}

// pgSnapshot begins a transaction that only reads, and sees what was committed before its first statement.
const pgSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

// pgTransaction runs fn in a transaction.
func (s *Store) pgTransaction(ctx context.Context, begin string, fn func(*gorm.DB) error) error {
	return s.connected(ctx, s.write, func(db *gorm.DB) error {
		p := &pgTx{Conn: db.Statement.ConnPool.(*sql.Conn), queued: &pgx.Batch{}}
		p.queued.Queue(begin)
		db.Statement.ConnPool = p
		ended := false
		defer func() {
			if !ended && p.began { // also by a panic
				p.rollback(ctx)
			}
		}()
		if err := fn(db); err != nil {
			return err
		}
		committed := false
		p.queued.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
			if tag.String() == "ROLLBACK" {
				return pgx.ErrTxCommitRollback
			}
			committed = true
			return nil
		})
		err := p.flush(ctx)
		ended = err == nil
		if committed { // what came after is about the connection: PostgreSQL may end it in between
			return nil
		}
		return err
	})
}

// flush sends what is queued, and waits for the answers.
func (p *pgTx) flush(ctx context.Context) error {
	if p.queued.Len() == 0 {
		return nil
	}
	batch := p.queued
	p.queued, p.began = &pgx.Batch{}, true
	return p.Raw(func(conn any) error { return conn.(*stdlib.Conn).Conn().SendBatch(ctx, batch).Close() })
}

// rollback gives the connection up if it can't end the transaction on it.
func (p *pgTx) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTime)
	defer cancel()
	_ = p.Raw(func(conn any) error {
		c := conn.(*stdlib.Conn).Conn()
		if _, err := c.Exec(ctx, "ROLLBACK"); err != nil || c.PgConn().TxStatus() != 'I' {
			return driver.ErrBadConn
		}
		return nil
	})
}

// ExecContext implements gorm.ConnPool.
func (p *pgTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.flush(ctx); err != nil {
		return nil, err
	}
	return p.Conn.ExecContext(ctx, query, args...)
}

// QueryContext implements gorm.ConnPool.
func (p *pgTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := p.flush(ctx); err != nil {
		return nil, err
	}
	return p.Conn.QueryContext(ctx, query, args...)
}

// scanner is one row of an answer.
type scanner interface{ Scan(into ...any) error }

// question is a query without gorm, whose parameters are $1, $2, …; each is called with each row of its answer.
type question struct {
	query string
	args  []any
	each  func(scanner) error
}

// ask asks questions one after the other, on PostgreSQL in one round trip.
func (t *tx) ask(questions ...question) error {
	p, together := t.Statement.ConnPool.(*pgTx)
	for _, q := range questions {
		if together {
			p.queue(q)
			continue
		}
		if err := t.askNow(q); err != nil {
			return err
		}
	}
	if together {
		return p.flush(t.Statement.Context)
	}
	return nil
}

// queue asks a question with what is sent next.
func (p *pgTx) queue(q question) {
	p.queued.Queue(q.query, q.args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := q.each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// plan makes PostgreSQL plan what follows for the values at hand, or as ever.
func (p *pgTx) plan(forValues bool) {
	if p.planned == forValues {
		return
	}
	p.planned = forValues
	mode := "DEFAULT"
	if forValues {
		mode = "force_custom_plan"
	}
	p.queued.Queue("SET LOCAL plan_cache_mode TO " + mode)
}

func (t *tx) askNow(q question) error {
	rows, err := t.Statement.ConnPool.QueryContext(t.Statement.Context, q.query, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := q.each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// queue is execPlain for a statement of which nobody needs to know how many rows it changed: it may fail as late as with the commit.
func (t *tx) queue(query string, args ...any) error {
	if p, together := t.Statement.ConnPool.(*pgTx); together {
		p.queued.Queue(query, args...)
		return nil
	}
	_, err := t.execPlain(query, args...)
	return err
}

// rowQuestion is a query for many rows, whose parameters are $1, $2, …: row is called after each of them is scanned, as by rowReader.each.
type rowQuestion struct {
	query string
	args  []any
	into  []any
	row   func() error
}

// askLast asks what nobody waits for before the transaction ends: on PostgreSQL the answers come with that of COMMIT. It is for transactions
// that read, and does not watch ctx in the middle of a question.
func (t *tx) askLast(questions ...rowQuestion) error {
	ctx := t.Statement.Context
	p, together := t.Statement.ConnPool.(*pgTx)
	if together {
		p.plan(false)
	}
	for _, q := range questions {
		if together {
			p.queued.Queue(q.query, q.args...).Query(func(rows pgx.Rows) error { return eachPostgresRow(rows, q.into, q.row) })
			continue
		}
		r := rowReader{t.s, t.Statement.ConnPool.(*sql.Conn)}
		if err := errors.Join(ctx.Err(), r.each(context.WithoutCancel(ctx), q.query, q.args, q.into, q.row)); err != nil {
			return err
		}
	}
	return nil
}
