package models

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"greenroom/models/modelstest"
)

func TestSQLiteDriver_AStatementWhoseRowsAreBeingReadRunsOnceMore(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	conn := must(must(s.read.DB())(t).Conn(t.Context()))(t)
	defer conn.Close()
	const query = "SELECT value FROM json_each('[1, 2, 3]')"
	pairs := 0
	outer := must(conn.QueryContext(t.Context(), query))(t)
	defer outer.Close()
	for outer.Next() {
		inner := must(conn.QueryContext(t.Context(), query))(t)
		for inner.Next() {
			pairs++
		}
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := outer.Err(); err != nil || pairs != 9 {
		t.Errorf("got %d pairs, %v", pairs, err)
	}
}

func TestSQLiteDriver_ConnectsTogetherToANewFile(t *testing.T) {
	for range 100 {
		path := filepath.Join(t.TempDir(), "new.db")
		var together errgroup.Group
		for range 4 {
			db := must(openSQLite("file:" + path + sqlitePragmas))(t)
			defer db.Close()
			together.Go(db.Ping)
		}
		if err := together.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSQLiteDriver_KeepsABoundedNumberOfStatements(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	conn := must(must(s.read.DB())(t).Conn(t.Context()))(t)
	defer conn.Close()
	for i := range 3 * maxPrepared {
		var got int
		if err := conn.QueryRowContext(t.Context(), fmt.Sprint("SELECT ", i)).Scan(&got); err != nil || got != i {
			t.Errorf("got %d, %v, want %d", got, err, i)
		}
	}
	if err := conn.Raw(func(c any) error {
		if got := len(c.(*sqliteConn).prepared); got != maxPrepared {
			t.Errorf("got %d prepared statements, want %d", got, maxPrepared)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestSQLiteDriver_APreparedStatementSeesANewSchema(t *testing.T) {
	s := groupStore(t)
	const query = "SELECT * FROM lines"
	for _, want := range []int{1, 2} {
		rows := must(s.write.Raw(query).Rows())(t)
		columns := must(rows.Columns())(t)
		if err := rows.Close(); err != nil || len(columns) != want {
			t.Errorf("got %v, %v, want %d columns", columns, err, want)
		}
		if err := s.write.Exec("ALTER TABLE lines ADD COLUMN more TEXT").Error; err != nil && want == 1 {
			t.Error(err)
		}
	}
}
