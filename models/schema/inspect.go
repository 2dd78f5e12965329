package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

func inspect(ctx context.Context, q querier, d Dialect) (Status, error) {
	tables, err := tables(ctx, q, d)
	if err != nil {
		return Status{}, err
	}
	var s Status
	if slices.Contains(tables, "alembic_version") {
		revisions, err := column1[string](ctx, q, "SELECT version_num FROM alembic_version ORDER BY version_num")
		if err != nil {
			return Status{}, fmt.Errorf("read alembic_version: %w", err)
		}
		s.Revision = strings.Join(revisions, ",")
	}
	var applied []int
	if slices.Contains(tables, "greenroom_migrations") {
		applied, err = column1[int](ctx, q, "SELECT number FROM greenroom_migrations ORDER BY number")
		if err != nil {
			return Status{}, fmt.Errorf("read greenroom_migrations: %w", err)
		}
	}
	known, err := ownMigrations(d)
	if err != nil {
		return Status{}, err
	}
	for _, m := range known {
		if !slices.Contains(applied, m.number) {
			s.Pending = append(s.Pending, m.name)
		}
	}
	if len(applied) > 0 {
		s.Level = slices.Max(applied)
	}
	s.State, s.Missing = state(s.Revision, tables)
	if s.State == Current && s.Level > len(known) {
		s.State = NewerOwn
	}
	return s, nil
}

// tables are the names of all tables of a database.
func tables(ctx context.Context, q querier, d Dialect) ([]string, error) {
	names, err := column1[string](ctx, q, pick(d,
		`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`,
		`SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename`))
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return names, nil
}

// state tells what a database with these tables and MLflow's revision is, and which tables it should also have.
func state(revision string, tables []string) (State, []string) {
	others := slices.DeleteFunc(slices.Clone(tables), func(name string) bool {
		return name == "alembic_version" || strings.HasPrefix(name, ownPrefix)
	})
	mlflows := slices.Contains(tables, "experiments") && slices.Contains(tables, "runs")
	switch {
	case revision == "" && len(others) == 0:
		return Empty, nil
	case revision == Revision:
		var missing []string
		for _, t := range mlflowTables() {
			if !slices.Contains(tables, t.name) {
				missing = append(missing, t.name)
			}
		}
		if missing != nil {
			return Incomplete, missing
		}
		return Current, nil
	case older(revision):
		return Older, nil
	case revision != "" && mlflows:
		return Unknown, nil
	}
	return Foreign, nil // alembic_version alone may be another program's
}

// column1 reads a query's only column.
func column1[T any](ctx context.Context, q querier, query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
