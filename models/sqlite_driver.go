package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"modernc.org/sqlite"
)

// maxPrepared is how many statements a connection to SQLite keeps; a statement of an INSERT takes some 10 kB.
const maxPrepared = 64

// openSQLite opens a pool of connections that keep their statements prepared: to prepare one costs more than to run it.
func openSQLite(dsn string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(sqliteConnector{connector}), nil
}

// A connection that finds the file locked is tried again after connectPause, for connectTime.
const (
	connectTime  = 20 * time.Second
	connectPause = 5 * time.Millisecond
)

type sqliteConnector struct{ driver.Connector }

// Connect implements driver.Connector. A new file becomes one with a WAL by its first connection; those of other processes that
// come at the same moment are refused then, as SQLite does not wait for that lock by its busy_timeout.
func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	for end := time.Now().Add(connectTime); sqliteCode(err)&0xff == sqliteBusy && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(connectPause)
		conn, err = c.Connector.Connect(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &sqliteConn{plainConn: conn.(plainConn), prepared: map[string]*sqliteStmt{}}, nil
}

// plainConn is the driver's own connection.
type plainConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	NewBackup(uri string) (*sqlite.Backup, error)
}

type sqliteConn struct {
	plainConn
	prepared map[string]*sqliteStmt // by text
}

type sqliteStmt struct {
	plainStmt
	inUse bool // as its rows are being read
}

type plainStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// ExecContext implements driver.ExecerContext.
func (c *sqliteConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	stmt, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.plainConn.ExecContext(ctx, query, args)
	}
	return stmt.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *sqliteConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stmt, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.plainConn.QueryContext(ctx, query, args)
	}
	rows, err := stmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	stmt.inUse = true
	return &sqliteRows{rows.(plainRows), stmt}, nil
}

// Close implements driver.Conn.
func (c *sqliteConn) Close() error {
	for _, stmt := range c.prepared {
		_ = stmt.Close() // or else the connection's end does it
	}
	return c.plainConn.Close()
}

// stmt gives the prepared statement of a text, nil if it is in use.
func (c *sqliteConn) stmt(ctx context.Context, query string) (*sqliteStmt, error) {
	if stmt, ok := c.prepared[query]; ok {
		if stmt.inUse {
			return nil, nil
		}
		return stmt, nil
	}
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(c.prepared) == maxPrepared {
		c.dropOne()
	}
	stmt := &sqliteStmt{plainStmt: made.(plainStmt)}
	c.prepared[query] = stmt
	return stmt, nil
}

// dropOne makes room. Any statement will do: what is asked often comes back at once, and stays for long.
func (c *sqliteConn) dropOne() {
	for query, stmt := range c.prepared {
		if !stmt.inUse {
			_ = stmt.Close() // tells how its last run ended, which its caller knows
			delete(c.prepared, query)
			return
		}
	}
}

type plainRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

type sqliteRows struct {
	plainRows
	stmt *sqliteStmt
}

// Close implements driver.Rows.
func (r *sqliteRows) Close() error {
	err := r.plainRows.Close()
	r.stmt.inUse = false
	return err
}
