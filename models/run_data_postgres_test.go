package models

import (
	"testing"

	"greenroom/models/modelstest"
)

// PostgreSQL sends a statement's rows before it commits, and what fails then has written nothing.
func TestLogMetric_HearsOfAFailedCommit(t *testing.T) {
	uri := modelstest.PostgreSQL(t)
	s := open(t, uri)
	ctx := modelstest.Anyone(t)
	run, err := s.CreateRun(ctx, NewRun{})
	if err != nil {
		t.Fatal(err)
	}
	db, _ := modelstest.Open(t, uri)
	defer db.Close()
	for _, statement := range []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no commit'; END $$",
		"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON metrics DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	metric := NewMetric("m", 1, 1, 1)
	if err := s.LogMetric(ctx, run.ID, metric); err == nil {
		t.Error("LogMetric: no error")
	}
	if err := s.LogBatch(ctx, run.ID, Batch{Metrics: []Metric{metric}}); err == nil {
		t.Error("LogBatch: no error")
	}
	var rows int
	if err := db.QueryRow("SELECT count(*) FROM metrics").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
}
