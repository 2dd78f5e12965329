package models

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sync/singleflight"

	"greenroom/panics"
)

const (
	// pgConns bounds the connections of one server, many of which share a database's.
	pgConns = 20
	// connWait is how long a request waits for a connection of its own before it is told to come back.
	connWait = 5 * time.Second
	// pgSilence is how long a connection may be silent before the database is asked over another one whether it works for it.
	pgSilence = 3 * time.Second
	probeTime = 4 * time.Second
	// pingAfter is how long a connection was idle when it is tried out before its next use, for pingTime.
	pingAfter = time.Second
	pingTime  = time.Second
)

// sessionSettings make PostgreSQL give up the session of a server that is gone without a word, and free what it locked.
// Times are in milliseconds, those of keep-alive in seconds.
const sessionSettings = `SELECT pg_backend_pid(),
	set_config('idle_in_transaction_session_timeout', '30000', false),
	set_config('tcp_user_timeout', '20000', false), set_config('tcp_keepalives_idle', '10', false),
	set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)`

// openPostgres gives the pool of connections to a PostgreSQL database. None of them waits for ever for a database that has
// gone without closing it: a statement may take its time as long as PostgreSQL, asked after a time of silence, says that it
// works at it.
func openPostgres(dsn string, silence time.Duration) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connWait
	}
	probe := config.Config.Copy()
	probe.ConnectTimeout = probeTime
	watch := &pgWatch{config: probe, silence: silence}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &pgSocket{Conn: conn, watch: watch}, nil
	}
	pool := stdlib.OpenDB(*config,
		stdlib.OptionAfterConnect(watch.prepareSession),
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }), // tryOut does, with a bound
		stdlib.OptionResetSession(tryOut))
	pool.SetMaxOpenConns(pgConns)
	pool.SetMaxIdleConns(pgConns)
	return pool, nil
}

// prepareSession makes the settings of a new connection and finds out whose answers it will wait for.
func (w *pgWatch) prepareSession(ctx context.Context, conn *pgx.Conn) error {
	results, err := conn.PgConn().Exec(ctx, sessionSettings).ReadAll()
	if err != nil {
		return err
	}
	// Behind a pooler the process is another one with each transaction, and there is nobody to ask for.
	if pid := conn.PgConn().PID(); string(results[0].Rows[0][0]) == strconv.FormatUint(uint64(pid), 10) {
		socketOf(conn).pid.Store(pid)
	}
	return w.endLost(ctx, conn.PgConn())
}

// tryOut refuses a connection that was idle and does not answer any more.
func tryOut(ctx context.Context, conn *pgx.Conn) error {
	if socketOf(conn).idle() < pingAfter {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return driver.ErrBadConn
	}
	return nil
}

func socketOf(conn *pgx.Conn) *pgSocket {
	socket := conn.PgConn().Conn()
	if secured, ok := socket.(*tls.Conn); ok {
		socket = secured.NetConn()
	}
	return socket.(*pgSocket)
}

// pgWatch knows what PostgreSQL works at.
type pgWatch struct {
	config  *pgconn.Config
	silence time.Duration
	asking  singleflight.Group // connections fall silent together

	mu   sync.Mutex
	lost []string  // processes whose connection was given up: what they have locked stays so until they end
	at   time.Time // when the last one was
}

// giveUp has a connection's process ended as soon as PostgreSQL can be reached.
func (w *pgWatch) giveUp(pid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = time.Now()
	if pid != 0 {
		w.lost = append(w.lost, strconv.FormatUint(uint64(pid), 10))
	}
}

// endLost ends the processes of the connections that were given up.
func (w *pgWatch) endLost(ctx context.Context, conn *pgconn.PgConn) error {
	w.mu.Lock()
	lost := w.lost
	w.lost = nil
	w.mu.Unlock()
	if len(lost) == 0 {
		return nil
	}
	_, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid IN ("+strings.Join(lost, ", ")+")").ReadAll()
	if err != nil {
		w.mu.Lock()
		w.lost = append(w.lost, lost...)
		w.mu.Unlock()
	}
	return err
}

// lostSince tells whether a connection was given up when another one had already been silent since then. That one is given up, too,
// although its process seems to work: it may wait for a lock of the lost one's, and get it without anybody hearing of that.
func (w *pgWatch) lostSince(silentSince time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at.Sub(silentSince) >= w.silence
}

// works tells whether PostgreSQL is at work on the statement of a process; for pid 0, whether it answers at all.
func (w *pgWatch) works(pid uint32) bool {
	busy, err, _ := w.asking.Do("", func() (any, error) { return panics.Result(w.busy) })
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		return true // it answers, and has no connection to spare
	}
	return err == nil && (pid == 0 || busy.(map[string]bool)[strconv.FormatUint(uint64(pid), 10)])
}

// busy are the processes that neither wait for their client nor have answered it.
func (w *pgWatch) busy() (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, w.config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := w.endLost(ctx, conn); err != nil {
		return nil, err
	}
	results, err := conn.Exec(ctx, "SELECT pid FROM pg_stat_activity WHERE state NOT LIKE 'idle%' AND wait_event_type IS DISTINCT FROM 'Client'").ReadAll()
	if err != nil {
		return nil, err
	}
	pids := make(map[string]bool, len(results[0].Rows))
	for _, row := range results[0].Rows {
		pids[string(row[0])] = true
	}
	return pids, nil
}

var errSilent = errors.New("the database does not answer on this connection")

// pgSocket is a connection to PostgreSQL that fails when the other side is gone without a word, as when a network drops all
// packets. The kernel notices late, or never if there is a proxy in between.
type pgSocket struct {
	net.Conn
	watch *pgWatch
	// pid is that of the process at the other end; 0 if it isn't known.
	pid    atomic.Uint32
	usedAt atomic.Int64 // milliseconds since 1970
	silent atomic.Bool  // given up

	mu       sync.Mutex
	deadline time.Time // the driver's; zero for none
}

func (s *pgSocket) Read(p []byte) (int, error) {
	return s.attempt(s.SetReadDeadline, func() (int, error) { return s.Conn.Read(p) })
}

func (s *pgSocket) Write(p []byte) (written int, err error) {
	const part = 256 << 10
	for written < len(p) && err == nil {
		var n int
		n, err = s.attempt(s.SetWriteDeadline, func() (int, error) { return s.Conn.Write(p[written:min(len(p), written+part)]) })
		written += n
	}
	return written, err
}

// attempt does a step until it has moved a byte, failed for another reason than silence, or the database has nothing to do for it.
func (s *pgSocket) attempt(limit func(time.Time) error, step func() (int, error)) (n int, err error) {
	for {
		if s.silent.Load() {
			return 0, &net.OpError{Op: "wait", Net: "tcp", Addr: s.RemoteAddr(), Err: errSilent}
		}
		if n, err = s.within(s.watch.silence, limit, step); n > 0 || !s.isLimit(err) {
			return n, err
		}
		if s.idle() < s.watch.silence || s.watch.works(s.pid.Load()) && !s.watch.lostSince(time.Now().Add(-s.idle())) {
			continue // the other direction moves, or will
		}
		// What it answered meanwhile may be on its way.
		if n, err = s.within(pingTime, limit, step); n > 0 || !s.isLimit(err) {
			return n, err
		}
		if s.idle() >= s.watch.silence && s.silent.CompareAndSwap(false, true) {
			s.watch.giveUp(s.pid.Load())
		}
	}
}

// within does a step that ends after some time, or at the driver's deadline if that is sooner.
func (s *pgSocket) within(d time.Duration, limit func(time.Time) error, step func() (int, error)) (int, error) {
	s.mu.Lock()
	until := time.Now().Add(d)
	if !s.deadline.IsZero() && s.deadline.Before(until) {
		until = s.deadline
	}
	err := limit(until)
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := step()
	if n > 0 {
		s.usedAt.Store(time.Now().UnixMilli())
		if s.isLimit(err) {
			err = nil // a write that has got somewhere
		}
	}
	return n, err
}

// isLimit tells whether an error is the end of the time that within set, and not the driver's deadline.
func (s *pgSocket) isLimit(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline.IsZero() || time.Now().Before(s.deadline)
}

// idle is how long no byte has moved.
func (s *pgSocket) idle() time.Duration { return time.Since(time.UnixMilli(s.usedAt.Load())) }

// SetDeadline is how the driver bounds a call, and breaks it off when its context ends.
func (s *pgSocket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	return s.Conn.SetDeadline(t)
}
