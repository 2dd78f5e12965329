// Package schema creates and checks the database: MLflow's tables as MLflow itself would create them, and Greenroom's own
// beside them. It knows database/sql only; what the tables mean is the business of package models.
package schema

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
)

// Dialect names the database's flavour of SQL.
type Dialect string

// The dialects in which the schema is rendered.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgresql"
)

// State tells what a database is to this Greenroom. Only Empty and Current databases are served.
type State string

// The states a database can be in.
const (
	Empty      State = "empty"      // no tables: Migrate creates them
	Current    State = "current"    // MLflow's tables at Revision
	Older      State = "older"      // an MLflow database that `mlflow db upgrade` brings to Revision
	Unknown    State = "unknown"    // an MLflow database of a revision made after this Greenroom
	Incomplete State = "incomplete" // says Revision, yet lacks some of its tables
	Foreign    State = "foreign"    // tables that are not MLflow's
	NewerOwn   State = "newer"      // Greenroom's own tables come from a later Greenroom
)

// Status is what Inspect finds in a database.
type Status struct {
	State    State
	Revision string   // MLflow's revision; empty if the database has none
	Missing  []string // tables of MLflow's that an Incomplete database lacks
	Level    int      // number of the last of Greenroom's own migrations that was applied, 0 for none
	Pending  []string // file names of Greenroom's own migrations still to apply, in order
}

// Refused is a *RefusedError if the database, which uri names, can not be served, and nil otherwise.
func (s Status) Refused(uri string) error {
	if s.State == Empty || s.State == Current {
		return nil
	}
	return &RefusedError{Status: s, URI: uri}
}

// RefusedError says why a database can not be served and what helps.
type RefusedError struct {
	Status Status
	URI    string // the database, for the command in the message; optional
}

// Error gives the reason and the command to run. A password in URI is not shown.
func (e *RefusedError) Error() string {
	uri := "<database uri>"
	if e.URI != "" {
		uri = e.URI
		if u, err := url.Parse(e.URI); err == nil && u.User != nil {
			uri = u.Redacted()
		}
	}
	s := e.Status
	switch s.State {
	case Older:
		return fmt.Sprintf("the database has MLflow's schema revision %s; this Greenroom serves %s (MLflow %s). "+
			"Stop every server that uses it, take a backup, then run with MLflow %[3]s: mlflow db upgrade %s", s.Revision, Revision, release, uri)
	case Unknown:
		return fmt.Sprintf("the database has schema revision %s, which this Greenroom does not know: it serves %s (MLflow %s), so an MLflow "+
			"newer than that has upgraded it. Run a Greenroom release that serves %[1]s, or restore a backup made before the upgrade; "+
			"`greenroom db status --backend-store-uri %[4]s` tells the revision", s.Revision, Revision, release, uri)
	case Incomplete:
		return fmt.Sprintf("the database says schema revision %s but lacks the tables %s: it was not created by `mlflow db upgrade` or Greenroom, "+
			"or tables were dropped. Restore a backup, or give an empty database", s.Revision, strings.Join(s.Missing, ", "))
	case Foreign:
		return "the database has tables that are not MLflow's, or no revision in alembic_version: give an empty database, " +
			"on PostgreSQL for example: createdb greenroom"
	case NewerOwn:
		return fmt.Sprintf("the database was prepared by a newer Greenroom: this one does not know migration %d. Run that release or a later one", s.Level)
	}
	return fmt.Sprintf("the database is %s and can not be served", s.State)
}

// Inspect reads what the database holds. It changes nothing.
func Inspect(ctx context.Context, db *sql.DB, d Dialect) (Status, error) {
	s, err := inspect(ctx, db, d)
	if err != nil {
		return Status{}, fmt.Errorf("inspect database: %w", err)
	}
	return s, nil
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}
