// Package models keeps experiments, runs and registered models in MLflow's own database schema, on SQLite or PostgreSQL.
// It holds the rules about data and the transactions, and knows nothing of HTTP.
package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"greenroom/auth"
	"greenroom/models/schema"
	"greenroom/search"
)

// workspace is the only workspace that is read and written; MLflow keeps it in a column of several tables.
const workspace = "default"

// Options are what an operator chooses about the store.
type Options struct {
	// ArtifactRoot is where experiments without a location of their own keep artifacts, such as "mlflow-artifacts:/" or "s3://bucket/prefix".
	// Without one, a new database gets no experiment 0.
	ArtifactRoot string
	// NoDefaultExperiment leaves experiment 0 missing, if it is: for maintenance, which is no start of a server.
	NoDefaultExperiment bool
	// ArtifactsDestination is what is behind mlflow-artifacts: locations: a local folder or s3://bucket/prefix; empty if there is nothing.
	ArtifactsDestination string
	// RefuseLongValues makes a param or tag value over its limit an error; otherwise it is cut, as MLflow does by default.
	RefuseLongValues bool
	// SourcePattern, when set, must match somewhere in the source of every new model version.
	SourcePattern *regexp.Regexp
	// AllowedSchemes are schemes of locations elsewhere, such as "hdfs", that experiments and versions may name all the same.
	AllowedSchemes []string
	// AllowedPrefixes are locations elsewhere, such as "s3://team/models", at and below which they may be; each passes CheckPrefix.
	AllowedPrefixes []string
	// AllowLiveChanges lets clients overwrite and delete what model versions in Staging and Production consist of.
	AllowLiveChanges bool
	// Now is the clock; nil for the system's.
	Now func() time.Time
}

// Store is the database. An exported method is one transaction: all of it happens or nothing.
type Store struct {
	opts Options
	// On SQLite, write is a single connection, so that writers queue in the process instead of failing on the file's lock. On PostgreSQL both are one pool.
	read, write *gorm.DB
	groups      *groups // of writes; nil on PostgreSQL
	// On PostgreSQL, what is to be logged, and the statements that log.
	loggings      queue[*logging]
	lockedRuns    lockedRuns
	logWait       time.Duration // connWait, but in tests
	logStatements [logShapes]string
	dialect       search.Dialect
	identity      identityState
	// Work for the background.
	filesDue, versionsDue due
}

// Open opens the database at uri, creates or upgrades Greenroom's part of it, and refuses one whose MLflow schema is of another revision (*schema.RefusedError).
func Open(ctx context.Context, uri string, opts Options) (*Store, error) {
	target, err := ParseURI(uri)
	if err != nil {
		return nil, err
	}
	if err := target.makeFile(); err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{opts: opts, filesDue: make(due, 1), versionsDue: make(due, 1)}
	if err := s.connect(target); err != nil {
		return nil, fmt.Errorf("open database %s: %w", target, err)
	}
	location := ""
	if opts.ArtifactRoot != "" && !opts.NoDefaultExperiment {
		location = appendToURI(opts.ArtifactRoot, "0")
	}
	db, err := s.write.DB()
	if err == nil {
		err = schema.Migrate(ctx, db, target.Dialect, schema.Options{ArtifactLocation: location, URI: target.String()})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", target, err), s.Close())
	}
	return s, nil
}

// readCache is for how much of a SQLite file the connections that read it have room, in KiB; each has 2,000 at the least, which is
// SQLite's own size. A page that a connection has no room for is copied from the kernel anew.
const readCache = 64 << 10

func (s *Store) connect(target Target) (err error) {
	// No PrepareStmt: pgx keeps a bounded set of prepared statements by itself, and on SQLite gorm's cache, which filters
	// of every shape would grow without end, costs more than it saves.
	config := &gorm.Config{
		SkipDefaultTransaction: true,
		Logger:                 logger.Discard,
		DisableAutomaticPing:   true,
	}
	if target.Dialect == schema.PostgreSQL {
		s.dialect = search.PostgreSQL
		s.lockedRuns, s.logWait = newLockedRuns(), connWait
		s.loggings = newQueue[*logging]()
		for shape := range s.logStatements {
			s.logStatements[shape] = logStatement(logShape(shape))
		}
		pool, err := openPostgres(target.DSN, pgSilence)
		if err != nil {
			return err
		}
		if s.write, err = gorm.Open(postgres.New(postgres.Config{Conn: pool}), config); err != nil {
			return err
		}
		s.read = s.write
		return nil
	}
	s.dialect = search.SQLite
	writer, err := openSQLite(target.DSN + writerPragmas)
	if err != nil {
		return err
	}
	if s.write, err = gorm.Open(&sqlite.Dialector{Conn: writer}, config); err != nil {
		return errors.Join(err, writer.Close())
	}
	s.groups = &groups{db: s.write, pool: writer, time: groupTime, queue: newQueue[*write]()}
	readers := max(4, 2*runtime.NumCPU())
	reader, err := openSQLite(fmt.Sprintf("%s&_pragma=cache_size(-%d)", target.DSN, max(readCache/readers, 2000)))
	if err != nil {
		return err
	}
	if s.read, err = gorm.Open(&sqlite.Dialector{Conn: reader}, config); err != nil {
		return errors.Join(err, reader.Close())
	}
	return errors.Join(limitConns(s.write, 1), limitConns(s.read, readers))
}

func limitConns(db *gorm.DB, n int) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(n)
	pool.SetMaxIdleConns(n)
	return nil
}

// Close ends all connections.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*gorm.DB{s.read, s.write} {
		if db == nil {
			continue
		}
		pool, err := db.DB()
		if err == nil {
			err = pool.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Ping asks the database for an answer.
func (s *Store) Ping(ctx context.Context) error {
	return s.connected(ctx, s.read, func(db *gorm.DB) error { return db.Exec("SELECT 1").Error })
}

// connected runs fn on one connection. On PostgreSQL it waits for that at most connWait: a client that is told to come back is better off than one that hangs.
func (s *Store) connected(ctx context.Context, db *gorm.DB, fn func(*gorm.DB) error) error {
	db = db.WithContext(ctx)
	if s.dialect == search.SQLite {
		return fn(db)
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	conn, err := s.conn(ctx, pool)
	if err != nil {
		return err
	}
	defer conn.Close()
	db.Statement.ConnPool = conn
	return fn(db)
}

func noConnection() error {
	return &Error{TemporarilyUnavailable, "The server has no connection to the database to spare; try again."}
}

func lockedByOthers() error {
	return &Error{TemporarilyUnavailable, "Another transaction of the database has locked what the request writes to; try again."}
}

// conn takes a connection out of a pool.
func (s *Store) conn(ctx context.Context, pool *sql.DB) (*sql.Conn, error) {
	if s.dialect == search.SQLite {
		return pool.Conn(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, connWait)
	defer cancel()
	conn, err := pool.Conn(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		err = errors.Join(noConnection(), err)
	}
	return conn, err
}

// tx is one transaction; now is its one time, in milliseconds.
type tx struct {
	*gorm.DB
	s   *Store
	now int64
	by  *auth.Principal // who acts
	// changed is what the audit log will say.
	changed changed
	// identityChanged makes this replica look at the identity tables anew after the commit.
	identityChanged bool
}

// update runs fn in a read-write transaction. PostgreSQL's serialization failures and deadlocks are retried: fn must have no other effect.
// The entry of the context's Audit is part of it.
func (s *Store) update(ctx context.Context, fn func(*tx) error) error {
	return retried(ctx, func() error {
		var t *tx
		var audit *Audit
		var entry AuditEntry
		err := s.transaction(ctx, func(db *gorm.DB) error {
			t = &tx{DB: db, s: s, now: s.opts.Now().UnixMilli(), by: auth.Of(ctx)}
			if err := fn(t); err != nil {
				return err
			}
			if audit = t.auditDue(ctx); audit == nil {
				return nil
			}
			var err error
			entry, err = t.record(*audit, AuditAllowed)
			return err
		})
		if err == nil && audit != nil {
			audit.committed(entry)
		}
		if err == nil && t.identityChanged {
			s.identity.forget()
		}
		return err
	})
}

// retried runs a transaction again while PostgreSQL asks for that, and explains its error.
func retried(ctx context.Context, transaction func() error) error {
	const attempts = 10
	for i := 1; ; i++ {
		err := transaction()
		if err == nil || i == attempts || !isRetryable(err) {
			return explain(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(i)*5*time.Millisecond + rand.N(10*time.Millisecond)):
		}
	}
}

func (s *Store) transaction(ctx context.Context, fn func(*gorm.DB) error) error {
	if s.groups != nil {
		return s.groups.transaction(ctx, fn)
	}
	return s.pgTransaction(ctx, "BEGIN", fn)
}

// view runs fn on one snapshot of the database.
func (s *Store) view(ctx context.Context, fn func(*tx) error) error {
	read := func(db *gorm.DB) error {
		return fn(&tx{DB: db, s: s, now: s.opts.Now().UnixMilli(), by: auth.Of(ctx)})
	}
	if s.dialect == search.PostgreSQL {
		return explain(s.pgTransaction(ctx, pgSnapshot, read))
	}
	return s.readSnapshot(ctx, func(r rowReader) error {
		db := s.read.WithContext(ctx)
		db.Statement.ConnPool = r.conn
		return read(db)
	})
}

// look runs fn, which makes one query at the most, without a transaction around it: this is for what every request asks.
func (s *Store) look(ctx context.Context, fn func(*tx) error) error {
	return explain(s.connected(ctx, s.read, func(db *gorm.DB) error {
		return fn(&tx{DB: db, s: s, now: s.opts.Now().UnixMilli(), by: auth.Of(ctx)})
	}))
}

// queryer runs queries: a pool, a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// glance is look without gorm, for what is asked most often. SQLite does not break the query off when ctx ends: to watch for
// that costs as much as to find a row.
func (s *Store) glance(ctx context.Context, fn func(context.Context, queryer) error) error {
	pool, err := s.read.DB()
	if err != nil {
		return err
	}
	conn, err := s.conn(ctx, pool)
	if err != nil {
		return explain(err)
	}
	defer conn.Close()
	if s.dialect == search.SQLite {
		ctx = context.WithoutCancel(ctx)
	}
	return explain(fn(ctx, conn))
}

// forUpdate is the SQL that locks the selected rows until the transaction ends; SQLite has one writer anyway.
func (t *tx) forUpdate() string {
	if t.s.dialect == search.PostgreSQL {
		return " FOR UPDATE"
	}
	return ""
}

// forShare is the SQL that keeps the selected rows as they are until the transaction ends.
func (t *tx) forShare() string {
	if t.s.dialect == search.PostgreSQL {
		return " FOR SHARE"
	}
	return ""
}

// exec runs one statement and tells how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	result := t.Exec(query, args...)
	return result.RowsAffected, result.Error
}

// execPlain is exec without gorm, for what is written often: the parameters are those of the driver, $1 or ? on SQLite and $1 on PostgreSQL.
func (t *tx) execPlain(query string, args ...any) (int64, error) {
	result, err := t.Statement.ConnPool.ExecContext(t.Statement.Context, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// scanPlain reads the first row of a query without gorm; ok is false when there is none. It waits for the end of the statement:
// PostgreSQL sends the rows of one that is a transaction of its own before it commits.
func (t *tx) scanPlain(query string, args []any, into ...any) (ok bool, err error) {
	rows, err := t.Statement.ConnPool.QueryContext(t.Statement.Context, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if ok = rows.Next(); ok {
		if err := rows.Scan(into...); err != nil {
			return false, err
		}
	}
	for rows.Next() {
	}
	return ok, errors.Join(rows.Err(), rows.Close())
}

// deleteOne removes a row that need not exist.
func (t *tx) deleteOne(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if n == 0 {
		t.changesNothing()
	}
	return err
}

// pick reads all rows of a query into T, a struct or a single value.
func pick[T any](t *tx, query string, args ...any) ([]T, error) {
	var rows []T
	err := t.Raw(query, args...).Scan(&rows).Error
	return rows, err
}

// pickOne reads the first row; ok is false when there is none.
func pickOne[T any](t *tx, query string, args ...any) (row T, ok bool, err error) {
	rows, err := pick[T](t, query, args...)
	if err != nil || len(rows) == 0 {
		return row, false, err
	}
	return rows[0], true, nil
}

// SQLite's result codes that mean something to a caller; the first two are extended ones.
const (
	sqliteConstraintPrimaryKey = 1555
	sqliteConstraintUnique     = 2067
	sqliteBusy                 = 5
	sqliteIOErr                = 10
	sqliteFull                 = 13
)

func isUniqueViolation(err error) bool {
	switch sqliteCode(err) {
	case sqliteConstraintPrimaryKey, sqliteConstraintUnique:
		return true
	}
	return sqlState(err) == "23505"
}

func isRetryable(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01"
}

// sqliteCode is SQLite's code of an error, 0 for another error.
func sqliteCode(err error) int {
	var lite interface{ Code() int }
	if errors.As(err, &lite) {
		return lite.Code()
	}
	return 0
}

// sqlState is PostgreSQL's code of an error, "" for another error.
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// isDisconnect tells whether the database could not be reached, or went away in the middle.
func isDisconnect(err error) bool {
	connect, network := new(pgconn.ConnectError), new(net.OpError)
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) ||
		pgconn.SafeToRetry(err) // a connection that was closed already
}

// explain turns a database's failure into the Error that helps a client: one that says to come back when the database is
// away, full or busy, and a refusal when a value did not fit a column.
func explain(err error) error {
	if err == nil {
		return nil
	}
	state, code := sqlState(err), sqliteCode(err)
	switch {
	case state == lockNotAvailable:
		return errors.Join(lockedByOthers(), err)
	case isDisconnect(err), strings.HasPrefix(state, "08"), strings.HasPrefix(state, "57P"), strings.HasPrefix(state, "53"),
		code&0xff == sqliteBusy, code&0xff == sqliteIOErr, code&0xff == sqliteFull:
		return errors.Join(&Error{TemporarilyUnavailable, "The database cannot take the request now; try again. The server's log has the cause."}, err)
	case strings.HasPrefix(state, "22"):
		return errors.Join(&Error{BadRequest, "The database refused a value of the request: " + refusal(err)}, err)
	}
	return err
}

// refusal is PostgreSQL's message alone, without what the driver adds.
func refusal(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return err.Error()
}
