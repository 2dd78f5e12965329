package models

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	"greenroom/search"
)

var errOtherGC = &Error{TemporarilyUnavailable, "Another greenroom gc is at work on this database; wait for its end."}

// gcLock is the number of the advisory lock that a gc has on PostgreSQL.
const gcLock = 0x67726767

// LockGC keeps other processes from deleting for good until release is called or this process ends, and fails at once if
// another one is at it (TemporarilyUnavailable). Two of them could meet in a folder: SQLite gives the id of an experiment
// again as soon as the first has removed its row.
func (s *Store) LockGC(ctx context.Context) (release func(), err error) {
	if s.dialect == search.PostgreSQL {
		return s.lockGCPostgres(ctx)
	}
	return s.lockGCSQLite(ctx)
}

func (s *Store) lockGCPostgres(ctx context.Context) (release func(), err error) {
	pool, err := s.write.DB()
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, explain(err)
	}
	var locked bool
	err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", gcLock).Scan(&locked)
	if err == nil && !locked {
		err = errOtherGC
	}
	if err != nil {
		conn.Close()
		return nil, explain(err)
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", gcLock) // or else the end of the process does it
		conn.Close()
	}, nil
}

// lockGCSQLite takes the lock of an empty database beside the database, which is of no use for anything else.
func (s *Store) lockGCSQLite(ctx context.Context) (release func(), err error) {
	var file string
	if err := s.read.WithContext(ctx).Raw("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file).Error; err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file + "-gc"}).EscapedPath())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err = db.ExecContext(ctx, "BEGIN EXCLUSIVE"); err == nil { // the one connection keeps it until it is closed
		return func() { db.Close() }, nil
	}
	db.Close()
	if sqliteCode(err)&0xff == sqliteBusy {
		return nil, errOtherGC
	}
	return nil, fmt.Errorf("lock %s-gc: %w", file, err)
}
