package models

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"greenroom/models/schema"
	"greenroom/search"
)

// Snapshot tells what a copy of a database is of.
type Snapshot struct {
	Dialect   schema.Dialect   `json:"database"`
	Revision  string           `json:"mlflow_revision"`
	Migration int              `json:"greenroom_migration"`
	Rows      map[string]int64 `json:"rows"` // of each table
}

// The files of a copy: one database on SQLite; on PostgreSQL one file of COPY's text format for each table, and what numbers the rows.
const (
	copiedFile      = "database.sqlite"
	copiedSequences = "sequences.json"
	copiedSuffix    = ".copy"
)

// BackUp copies the database into files of a folder, as it is at one moment, while it is written to. Writers do not wait.
func (s *Store) BackUp(ctx context.Context, dir string) (snapshot Snapshot, err error) {
	db, err := s.read.DB()
	if err != nil {
		return Snapshot{}, err
	}
	if s.dialect == search.SQLite {
		snapshot, err = copySQLite(ctx, db, filepath.Join(dir, copiedFile))
	} else {
		snapshot, err = copyPostgreSQL(ctx, db, dir)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("copy the database: %w", err)
	}
	return snapshot, nil
}

func copySQLite(ctx context.Context, db *sql.DB, file string) (Snapshot, error) {
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return Snapshot{}, err
	}
	var snapshot Snapshot
	err := withDatabase(sqliteCopy(file), func(made *sql.DB) (err error) {
		if err = checkSQLite(ctx, made); err == nil {
			snapshot, err = describeCopy(ctx, made)
		}
		return err
	})
	return snapshot, err
}

// sqliteCopy is a file that is only read.
func sqliteCopy(file string) Target {
	return Target{Dialect: schema.SQLite, DSN: "file:" + (&url.URL{Path: file}).EscapedPath() + "?mode=ro", Path: file, shown: file}
}

// checkSQLite reads the whole database and refuses a damaged one.
func checkSQLite(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("the database is damaged: %s", found)
	}
	return nil
}

// describeCopy tells what a copy on SQLite holds.
func describeCopy(ctx context.Context, db *sql.DB) (Snapshot, error) {
	status, err := schema.Inspect(ctx, db, schema.SQLite)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{schema.SQLite, status.Revision, status.Level, map[string]int64{}}
	tables, err := schema.Tables(ctx, db, schema.SQLite)
	if err != nil {
		return Snapshot{}, err
	}
	for _, table := range tables {
		var rows int64
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
			return Snapshot{}, err
		}
		snapshot.Rows[table] = rows
	}
	return snapshot, nil
}

// sequence is what numbers the rows of a table on PostgreSQL.
type sequence struct {
	Last   int64 `json:"last"`
	Called bool  `json:"called"`
}

func copyPostgreSQL(ctx context.Context, db *sql.DB, dir string) (snapshot Snapshot, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return Snapshot{}, err
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }() // it has changed nothing
	status, err := schema.Inspect(ctx, db, schema.PostgreSQL)
	if err != nil {
		return Snapshot{}, err
	}
	tables, err := schema.Tables(ctx, tx, schema.PostgreSQL)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot = Snapshot{schema.PostgreSQL, status.Revision, status.Level, map[string]int64{}}
	for _, table := range tables {
		columns, err := copiedColumns(ctx, tx, table)
		if err != nil {
			return Snapshot{}, err
		}
		if snapshot.Rows[table], err = copyTo(ctx, conn, filepath.Join(dir, table+copiedSuffix), table, columns); err != nil {
			return Snapshot{}, fmt.Errorf("%s: %w", table, err)
		}
	}
	return snapshot, copySequences(ctx, tx, filepath.Join(dir, copiedSequences))
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// copiedColumns are the names, quoted, of a table's columns that are not computed from others.
func copiedColumns(ctx context.Context, tx *sql.Tx, table string) (string, error) {
	var columns string
	err := tx.QueryRowContext(ctx, `SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER'`, table).Scan(&columns)
	return columns, err
}

// copyTo writes the rows of a table to a file whose first line names the columns.
func copyTo(ctx context.Context, conn *sql.Conn, name, table, columns string) (rows int64, err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := fmt.Fprintln(file, columns); err != nil {
		return 0, err
	}
	err = onPostgreSQL(conn, func(pg *pgx.Conn) error {
		tag, err := pg.PgConn().CopyTo(ctx, file, "COPY "+table+" ("+columns+") TO STDOUT")
		rows = tag.RowsAffected()
		return err
	})
	return rows, err
}

// onPostgreSQL runs fn with the driver's connection.
func onPostgreSQL(conn *sql.Conn, fn func(*pgx.Conn) error) error {
	return conn.Raw(func(driver any) error {
		pg, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the driver is %T", driver)
		}
		return fn(pg.Conn())
	})
}

// copySequences comes last: a sequence is of no snapshot, and is never behind the rows.
func copySequences(ctx context.Context, tx *sql.Tx, name string) error {
	rows, err := tx.QueryContext(ctx, "SELECT sequencename FROM pg_catalog.pg_sequences WHERE schemaname = current_schema()")
	if err != nil {
		return err
	}
	defer rows.Close()
	sequences := map[string]sequence{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		sequences[name] = sequence{}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for name := range sequences {
		var s sequence
		if err := tx.QueryRowContext(ctx, "SELECT last_value, is_called FROM "+pgx.Identifier{name}.Sanitize()).Scan(&s.Last, &s.Called); err != nil {
			return err
		}
		sequences[name] = s
	}
	text, err := json.Marshal(sequences)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o600)
}

// CanRestore tells why a copy can't be restored at a URI: another kind of database, one that is not empty, or a copy by a later Greenroom.
func CanRestore(ctx context.Context, uri string, snapshot Snapshot) error {
	target, err := ParseURI(uri)
	if err != nil {
		return err
	}
	level, err := schema.Level(target.Dialect)
	if err != nil {
		return err
	}
	switch {
	case target.Dialect != snapshot.Dialect:
		return fmt.Errorf("the backup is of a database on %s and %s is one on %s: restore it on the same kind", snapshot.Dialect, target, target.Dialect)
	case snapshot.Revision != schema.Revision:
		return fmt.Errorf("the backup has MLflow's schema revision %s; this Greenroom serves %s: restore it with the release of Greenroom that made it", snapshot.Revision, schema.Revision)
	case snapshot.Migration > level:
		return fmt.Errorf("the backup was made by a newer Greenroom: this one does not know migration %d; restore it with that release or a later one", snapshot.Migration)
	}
	if target.Dialect == schema.SQLite {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			if _, err := os.Lstat(target.Path + suffix); err == nil {
				return fmt.Errorf("%s is there already: restore into a new file, or move that one away", target.Path+suffix)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	status, err := Inspect(ctx, uri)
	if err == nil && status.State != schema.Empty {
		err = notEmpty(target)
	}
	return err
}

func notEmpty(target Target) error {
	return fmt.Errorf("database %s is not empty: restore into a new one, on PostgreSQL for example: createdb greenroom", target)
}

// Restore makes the database at uri of the files of a copy, in one step: broken off, it leaves none. The records of files stay
// for which keep, with their digests in hex, is true. Reasons not to are CanRestore's. On SQLite, the folder has to be on the file system of the database.
func Restore(ctx context.Context, uri, dir string, snapshot Snapshot, keep func(location, sha256 string) bool) error {
	if err := CanRestore(ctx, uri, snapshot); err != nil {
		return err
	}
	target, err := ParseURI(uri)
	if err != nil {
		return err
	}
	if target.Dialect == schema.SQLite {
		err = restoreSQLite(ctx, target, filepath.Join(dir, copiedFile), snapshot, keep)
	} else {
		err = restorePostgreSQL(ctx, target, dir, snapshot, keep)
	}
	if err != nil {
		return fmt.Errorf("restore the database: %w", err)
	}
	return Upgrade(ctx, uri)
}

func restoreSQLite(ctx context.Context, target Target, file string, snapshot Snapshot, keep func(location, sha256 string) bool) error {
	made := sqliteCopy(file)
	made.DSN = strings.TrimSuffix(made.DSN, "mode=ro") + "mode=rw&_pragma=synchronous(FULL)"
	err := withDatabase(made, func(db *sql.DB) error {
		if err := checkSQLite(ctx, db); err != nil {
			return err
		}
		found, err := describeCopy(ctx, db)
		if err != nil {
			return err
		}
		if err := compareRows(snapshot, found.Rows); err != nil {
			return err
		}
		return keepRecords(ctx, db, keep)
	})
	if err != nil {
		return err
	}
	if err := syncFile(file); err != nil {
		return err
	}
	if err := os.Rename(file, target.Path); err != nil {
		return err
	}
	return syncFile(filepath.Dir(target.Path))
}

func syncFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func compareRows(snapshot Snapshot, rows map[string]int64) error {
	for table, want := range snapshot.Rows {
		if rows[table] != want {
			return fmt.Errorf("table %s has %d rows where the backup had %d", table, rows[table], want)
		}
	}
	return nil
}

// database is a pool or a connection.
type database interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// keepRecords deletes the records of other files.
func keepRecords(ctx context.Context, db database, keep func(location, sha256 string) bool) error {
	rows, err := db.QueryContext(ctx, "SELECT location, COALESCE(sha256, '') FROM greenroom_artifacts")
	if err != nil {
		return err
	}
	defer rows.Close()
	var others []string
	for rows.Next() {
		var location, sum string
		if err := rows.Scan(&location, &sum); err != nil {
			return err
		}
		if !keep(location, sum) {
			others = append(others, location)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, location := range others {
		if _, err := db.ExecContext(ctx, "DELETE FROM greenroom_artifacts WHERE location = $1", location); err != nil {
			return err
		}
	}
	return nil
}

func restorePostgreSQL(ctx context.Context, target Target, dir string, snapshot Snapshot, keep func(location, sha256 string) bool) error {
	return withDatabase(target, func(db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		err = schema.Create(ctx, conn, schema.PostgreSQL, snapshot.Migration, func() error {
			tables, err := schema.Tables(ctx, conn, schema.PostgreSQL)
			if err != nil {
				return err
			}
			if tables, err = inOrder(ctx, conn, tables); err != nil {
				return err
			}
			rows := map[string]int64{}
			for _, table := range tables {
				if rows[table], err = copyFrom(ctx, conn, filepath.Join(dir, table+copiedSuffix), table); err != nil {
					return fmt.Errorf("%s: %w", table, err)
				}
			}
			if err := compareRows(snapshot, rows); err != nil {
				return err
			}
			if err := restoreSequences(ctx, conn, filepath.Join(dir, copiedSequences)); err != nil {
				return err
			}
			return keepRecords(ctx, conn, keep)
		})
		if errors.Is(err, schema.ErrNotEmpty) {
			return notEmpty(target)
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "ANALYZE")
		}
		return err
	})
}

// inOrder puts each table after those that its rows refer to.
func inOrder(ctx context.Context, conn *sql.Conn, tables []string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, `SELECT r.relname, f.relname FROM pg_catalog.pg_constraint c
		JOIN pg_catalog.pg_class r ON r.oid = c.conrelid JOIN pg_catalog.pg_class f ON f.oid = c.confrelid
		WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace AND c.conrelid <> c.confrelid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	needs := map[string][]string{}
	for rows.Next() {
		var table, needed string
		if err := rows.Scan(&table, &needed); err != nil {
			return nil, err
		}
		needs[table] = append(needs[table], needed)
	}
	var ordered []string
	seen := map[string]bool{}
	var add func(string)
	add = func(table string) {
		if seen[table] {
			return
		}
		seen[table] = true
		for _, needed := range needs[table] {
			add(needed)
		}
		ordered = append(ordered, table)
	}
	for _, table := range tables {
		add(table)
	}
	return ordered, rows.Err()
}

// copyFrom reads what copyTo has written.
func copyFrom(ctx context.Context, conn *sql.Conn, name, table string) (rows int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	columns, err := reader.ReadString('\n')
	if err != nil {
		return 0, err
	}
	err = onPostgreSQL(conn, func(pg *pgx.Conn) error {
		tag, err := pg.PgConn().CopyFrom(ctx, reader, "COPY "+table+" ("+strings.TrimSuffix(columns, "\n")+") FROM STDIN")
		rows = tag.RowsAffected()
		return err
	})
	return rows, err
}

func restoreSequences(ctx context.Context, conn *sql.Conn, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var sequences map[string]sequence
	if err := json.Unmarshal(text, &sequences); err != nil {
		return err
	}
	for name, s := range sequences {
		if _, err := conn.ExecContext(ctx, "SELECT setval($1::regclass, $2, $3)", pgx.Identifier{name}.Sanitize(), s.Last, s.Called); err != nil {
			return err
		}
	}
	return nil
}
