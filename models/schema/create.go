package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Create makes the tables of an empty database as they are after Greenroom's own migration of a number, and lets fill put rows into them, on the
// same connection: all in one transaction. The rows that new tables begin with are left out. Another database than an empty one is refused.
func Create(ctx context.Context, conn *sql.Conn, d Dialect, level int, fill func() error) error {
	return locked(ctx, conn, d, func() error {
		s, err := inspect(ctx, conn, d)
		if err != nil {
			return err
		}
		if s.State != Empty {
			return ErrNotEmpty
		}
		if err := createTables(ctx, conn, d); err != nil {
			return err
		}
		all, err := ownMigrations(d)
		if err != nil {
			return err
		}
		var wanted []string
		for _, m := range all {
			if m.number <= level {
				wanted = append(wanted, m.name)
			}
		}
		if err := applyOwn(ctx, conn, d, wanted); err != nil {
			return err
		}
		if err := clearTables(ctx, conn, d); err != nil {
			return err
		}
		return fill()
	})
}

// ErrNotEmpty reports a database that has tables where an empty one is needed.
var ErrNotEmpty = errors.New("the database is not empty")

// clearTables deletes the rows that new tables begin with. A table without rows is left alone: the audit log lets nobody delete.
func clearTables(ctx context.Context, q querier, d Dialect) error {
	tables, err := Tables(ctx, q, d)
	if err != nil {
		return err
	}
	for _, name := range tables {
		var filled bool
		if err := q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+name+")").Scan(&filled); err != nil {
			return err
		}
		if !filled {
			continue
		}
		if _, err := q.ExecContext(ctx, "DELETE FROM "+name); err != nil {
			return fmt.Errorf("clear %s: %w", name, err)
		}
	}
	return nil
}

// Tables are the names of MLflow's and Greenroom's tables that a database has; others are none of ours.
func Tables(ctx context.Context, q querier, d Dialect) ([]string, error) {
	present, err := tables(ctx, q, d)
	if err != nil {
		return nil, err
	}
	mlflows := map[string]bool{}
	for _, t := range mlflowTables() {
		mlflows[t.name] = true
	}
	var ours []string
	for _, name := range present {
		if mlflows[name] || strings.HasPrefix(name, ownPrefix) {
			ours = append(ours, name)
		}
	}
	return ours, nil
}

// ownPrefix begins the names of the tables that are Greenroom's alone.
const ownPrefix = "greenroom_"

// Level is the number of the last of Greenroom's own migrations.
func Level(d Dialect) (int, error) {
	all, err := ownMigrations(d)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].number, nil
}
