package models

import (
	"context"
	"database/sql"
	"database/sql/driver"

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
}

// pgTransaction runs fn in a transaction.
func (s *Store) pgTransaction(ctx context.Context, fn func(*gorm.DB) error) error {
	return s.connected(ctx, s.write, func(db *gorm.DB) error {
		p := &pgTx{Conn: db.Statement.ConnPool.(*sql.Conn), queued: &pgx.Batch{}}
		p.queued.Queue("BEGIN")
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
			p.queued.Queue(q.query, q.args...).Query(func(rows pgx.Rows) error {
				for rows.Next() {
					if err := q.each(rows); err != nil {
						return err
					}
				}
				return rows.Err()
			})
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
