package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are what Migrate writes and says about the one database at hand.
type Options struct {
	// ArtifactLocation is where experiment 0, which MLflow's clients expect to exist, keeps its artifacts. If it is empty,
	// the experiment is not created.
	ArtifactLocation string
	// URI names the database in the command that a RefusedError tells to run.
	URI string
}

// Migrate makes the database ready to serve: it creates MLflow's tables in an empty one, adds experiment 0 where there
// is none, and applies Greenroom's own pending migrations. Everything happens in one transaction under a lock, so that
// several servers may start together and a failure leaves the database as it was; a ready database is only read.
// A database that is neither empty nor at Revision is left alone: the error is then a *RefusedError.
func Migrate(ctx context.Context, db *sql.DB, d Dialect, o Options) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to database: %w", err)
	}
	defer conn.Close()
	if d == SQLite {
		restore, err := waitForLocks(ctx, conn)
		if err != nil {
			return fmt.Errorf("connect to database: %w", err)
		}
		defer restore()
	}
	s, err := servable(ctx, conn, d, o)
	if err != nil {
		return err
	}
	if s.State == Current && len(s.Pending) == 0 {
		if ready, err := hasDefaultExperiment(ctx, conn, o); err != nil || ready {
			return err
		}
	}
	return locked(ctx, conn, d, func() error { return migrate(ctx, conn, d, o) })
}

// servable inspects the database and refuses one that can not be served.
func servable(ctx context.Context, q querier, d Dialect, o Options) (Status, error) {
	s, err := inspect(ctx, q, d)
	if err != nil {
		return s, fmt.Errorf("inspect database: %w", err)
	}
	return s, s.Refused(o.URI)
}

// migrate does the work of Migrate. It looks again, since another server may have been faster to the lock.
func migrate(ctx context.Context, tx querier, d Dialect, o Options) error {
	s, err := servable(ctx, tx, d, o)
	if err != nil {
		return err
	}
	if s.State == Empty {
		if err := createTables(ctx, tx, d); err != nil {
			return err
		}
	}
	if err := createDefaultExperiment(ctx, tx, o); err != nil {
		return fmt.Errorf("create experiment 0: %w", err)
	}
	return applyOwn(ctx, tx, d, s.Pending)
}

func createTables(ctx context.Context, tx querier, d Dialect) error {
	var ddl strings.Builder
	ddl.WriteString("DROP TABLE IF EXISTS alembic_version;\n") // an upgrade that failed may leave it, without a row
	for _, t := range mlflowTables() {
		ddl.WriteString(t.ddl(d))
	}
	// The description is what MLflow writes.
	ddl.WriteString("INSERT INTO workspaces (name, description) VALUES ('default', 'Default workspace for legacy resources');\n")
	ddl.WriteString("INSERT INTO alembic_version (version_num) VALUES ('" + Revision + "');\n")
	if _, err := tx.ExecContext(ctx, ddl.String()); err != nil {
		return fmt.Errorf("create MLflow's tables: %w", err)
	}
	return nil
}

const (
	defaultExperimentID   = 0
	defaultExperimentName = "Default"
)

// hasDefaultExperiment tells that there is nothing to create: also if another experiment took the name, which leaves no
// place for experiment 0, or none is wanted.
func hasDefaultExperiment(ctx context.Context, q querier, o Options) (bool, error) {
	if o.ArtifactLocation == "" {
		return true, nil
	}
	ids, err := column1[int64](ctx, q, "SELECT experiment_id FROM experiments WHERE experiment_id = $1 OR (workspace = 'default' AND name = $2)",
		defaultExperimentID, defaultExperimentName)
	return len(ids) > 0, err
}

// createDefaultExperiment gives the id itself, so that PostgreSQL's sequence starts at 1 as it does for MLflow.
func createDefaultExperiment(ctx context.Context, tx querier, o Options) error {
	if found, err := hasDefaultExperiment(ctx, tx, o); err != nil || found {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO experiments
		(experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)
		VALUES ($1, $2, $3, 'active', $4, $4, 'default')`,
		defaultExperimentID, defaultExperimentName, o.ArtifactLocation, time.Now().UnixMilli())
	return err
}

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of Greenroom's own tables. Its name is that of its file, without a dialect.
type migration struct {
	number     int
	name, file string
}

// ownMigrations are all steps, in order. A file is named by its number and subject, as 0001_version_creations.sql; a step that
// the dialects write differently has one file for each: 0003_….sqlite.sql and 0003_….postgresql.sql.
func ownMigrations(d Dialect) ([]migration, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	own, other := pick(d, ".sqlite.sql", ".postgresql.sql"), pick(d, ".postgresql.sql", ".sqlite.sql")
	var all []migration
	for _, f := range files {
		file := f.Name()
		if strings.HasSuffix(file, other) {
			continue
		}
		digits, _, _ := strings.Cut(file, "_")
		number, err := strconv.Atoi(digits)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", file, err)
		}
		name := file
		if subject, ok := strings.CutSuffix(file, own); ok {
			name = subject + ".sql"
		}
		all = append(all, migration{number, name, file})
	}
	return all, nil
}

// applyOwn applies the pending ones of Greenroom's own migrations and records them.
func applyOwn(ctx context.Context, tx querier, d Dialect, pending []string) error {
	if len(pending) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS greenroom_migrations (
		number INTEGER NOT NULL, file VARCHAR(200) NOT NULL, applied_at BIGINT NOT NULL,
		CONSTRAINT greenroom_migrations_pk PRIMARY KEY (number))`); err != nil {
		return fmt.Errorf("create greenroom_migrations: %w", err)
	}
	all, err := ownMigrations(d)
	if err != nil {
		return err
	}
	for _, m := range all {
		if !slices.Contains(pending, m.name) {
			continue
		}
		ddl, err := migrationFiles.ReadFile(path.Join("migrations", m.file))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(ddl)); err != nil {
			return fmt.Errorf("apply %s: %w", m.name, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO greenroom_migrations (number, file, applied_at) VALUES ($1, $2, $3)",
			m.number, m.name, time.Now().UnixMilli()); err != nil {
			return fmt.Errorf("record %s: %w", m.name, err)
		}
	}
	return nil
}

// advisoryLock is the PostgreSQL lock that a migrating Greenroom holds: "greenroo" in ASCII.
const advisoryLock = 0x677265656e726f6f

// busyTimeout is how long, in milliseconds, a migrating Greenroom waits for SQLite's write lock.
const busyTimeout = 60_000

// locked runs f in a transaction on conn that no other migrating Greenroom has at the same time.
func locked(ctx context.Context, conn *sql.Conn, d Dialect, f func() error) error {
	// SQLite takes the write lock at once: a transaction that reads first could not be sure to get it later.
	begin := pick(d, "BEGIN IMMEDIATE", "BEGIN")
	end := func(statement string) error { // also after cancellation: the connection goes back to the pool
		_, err := conn.ExecContext(context.WithoutCancel(ctx), statement)
		return err
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return fmt.Errorf("lock database: %w", err)
	}
	if d == PostgreSQL {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", advisoryLock)); err != nil {
			return errors.Join(fmt.Errorf("lock database: %w", err), end("ROLLBACK"))
		}
	}
	if err := f(); err != nil {
		return errors.Join(err, end("ROLLBACK"))
	}
	if err := end("COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("commit migration: %w", err), end("ROLLBACK"))
	}
	return nil
}

// waitForLocks makes an SQLite connection wait for others' locks, until restore is called.
func waitForLocks(ctx context.Context, conn *sql.Conn) (restore func(), err error) {
	var before int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&before); err != nil {
		return nil, err
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", max(before, busyTimeout)))
	return func() {
		// A connection that fails here is broken, and the next use of it will say so.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", before))
	}, err
}
