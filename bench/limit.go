package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"greenroom/models/schema"
)

// bare is a database with MLflow's tables and no server in front of it: what is written and read here straight through
// the driver is the limit of what a server can do.
type bare struct {
	env         *env
	engine      string
	storage     storage
	db          *sql.DB       // SQLite: one connection, synchronous=FULL
	pool        *pgxpool.Pool // PostgreSQL
	runs        atomic.Int64
	helloServer *server
}

func (e *env) openBare(ctx context.Context, engine string) (*bare, error) {
	st, err := e.newStorage(ctx, engine)
	if err != nil {
		return nil, err
	}
	db, err := st.open("&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	dialect := schema.SQLite
	if engine == postgres {
		dialect = schema.PostgreSQL
	}
	if err := schema.Migrate(ctx, db, dialect, schema.Options{ArtifactLocation: "mlflow-artifacts:/0", URI: st.url}); err != nil {
		return nil, err
	}
	b := &bare{env: e, engine: engine, storage: st, db: db}
	if engine == postgres {
		b.pool, err = pgxpool.New(ctx, st.url+"&pool_max_conns=20")
	}
	return b, err
}

func (b *bare) close() {
	b.db.Close()
	if b.pool != nil {
		b.pool.Close()
	}
}

// newRun inserts a run and returns its id.
func (b *bare) newRun(ctx context.Context) (string, error) {
	id := fmt.Sprintf("%032x", b.runs.Add(1))
	statement := "INSERT INTO runs (run_uuid, name, source_type, status, start_time, lifecycle_stage, experiment_id) VALUES ('" + id +
		"', 'bare', 'UNKNOWN', 'RUNNING', 1700000000000, 'active', 0)"
	var err error
	if b.pool != nil {
		_, err = b.pool.Exec(ctx, statement)
	} else {
		_, err = b.db.ExecContext(ctx, statement)
	}
	return id, err
}

func (b *bare) newRuns(ctx context.Context, n int) ([]string, error) {
	ids := make([]string, n)
	for i := range ids {
		var err error
		if ids[i], err = b.newRun(ctx); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
