package models

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"greenroom/artifacts"
	"greenroom/models/modelstest"
	"greenroom/search"
)

func stored(content string) artifacts.Stored {
	return artifacts.Stored{Size: int64(len(content)), ETag: `"` + content + `"`, SHA256: strings.Repeat("0", 64)}
}

func recordAll(t testing.TB, s *Store, locations ...string) {
	t.Helper()
	for _, location := range locations {
		if _, err := s.RecordArtifact(t.Context(), location, stored("x"), ArtifactBefore{}, false); err != nil {
			t.Fatal(err)
		}
	}
}

func isRecorded(t testing.TB, s *Store, location string) bool {
	t.Helper()
	_, ok, err := s.ArtifactRecord(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestRecordArtifact_TheLatestCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const at = "mlflow-artifacts:/1/run/artifacts/ü.txt"
		for _, f := range []artifacts.Stored{stored("first"), {Size: 7, ETag: `"direct"`}, stored("last")} {
			if _, err := s.RecordArtifact(t.Context(), at, f, ArtifactBefore{}, false); err != nil {
				t.Fatal(err)
			}
			r, ok, err := s.ArtifactRecord(t.Context(), at)
			if err != nil || !ok || r.Location != at || r.Size != f.Size || r.ETag != f.ETag || r.SHA256 != f.SHA256 || r.StoredAt == 0 {
				t.Errorf("record = %+v, %v, %v, want %+v", r, ok, err, f)
			}
		}
		if err := s.ForgetArtifact(t.Context(), at, `"other"`); err != nil || !isRecorded(t, s, at) {
			t.Errorf("a record of another content is gone: %v", err)
		}
		if err := s.ForgetArtifact(t.Context(), at, `"last"`); err != nil || isRecorded(t, s, at) {
			t.Errorf("the record stays: %v", err)
		}
	})
}

func TestRecordArtifact_TellsOfOthersSinceTheFirstLook(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const at = "mlflow-artifacts:/1/d/a.txt"
		for _, tt := range []struct {
			name  string
			since func() error
			want  bool
		}{
			{"nobody", func() error { return nil }, false},
			{"a record of another file", func() error {
				_, err := s.RecordArtifact(t.Context(), at+"2", stored("y"), ArtifactBefore{}, false)
				return err
			}, false},
			{"a record of this file", func() error {
				_, err := s.RecordArtifact(t.Context(), at, stored("y"), ArtifactBefore{}, false)
				return err
			}, true},
			{"a deletion of the folder", func() error { return s.RecordDeletion(t.Context(), "mlflow-artifacts:/1/d") }, true},
			{"another who found what was recorded not to be there", func() error { return s.ForgetArtifact(t.Context(), at, `"y"`) }, true},
		} {
			recordAll(t, s, at)
			before, err := s.PrepareArtifact(t.Context(), at)
			if err == nil {
				err = tt.since()
			}
			if err != nil {
				t.Fatal(err)
			}
			contested, err := s.RecordArtifact(t.Context(), at, stored("x"), before, false)
			if r, _, _ := s.ArtifactRecord(t.Context(), at); contested != tt.want || before.Record == nil || err != nil || r.ETag != `"x"` {
				t.Errorf("%s: contested = %v, %v, with the record %+v", tt.name, contested, err, r)
			}
		}
	})
}

func TestRecordArtifact_OnlyAReplacedFileIsAudited(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		const at = "mlflow-artifacts:/1/a.txt"
		record := func(replaces bool) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := s.RecordArtifact(ctx, at, stored("x"), ArtifactBefore{}, replaces)
				return err
			}
		}
		for _, c := range []struct {
			change func(ctx context.Context) error
			want   int
		}{
			{record(false), 0},
			{record(true), 1},
			{func(ctx context.Context) error { return s.ForgetArtifact(ctx, at, `"x"`) }, 1},
			{func(ctx context.Context) error { return s.ForgetArtifacts(ctx, at) }, 1},
			{func(ctx context.Context) error { return s.RecordDeletion(ctx, at) }, 2},
		} {
			var heard []AuditEntry
			if err := c.change(audited(modelstest.Anyone(t), "artifacts", &heard)); err != nil {
				t.Fatal(err)
			}
			if got := auditLog(t, s, AuditFilter{Limit: 10}); len(got) != c.want {
				t.Errorf("audit log = %v, want %d entries", got, c.want)
			}
		}
	})
}

func TestForgetArtifacts_TakesAFolderAndNothingBeside(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		inside := []string{"s3://b/d", "s3://b/d/a", "s3://b/d/e/f", "s3://b/d/Ä", "s3://b/d/~"}
		beside := []string{"s3://b/d0", "s3://b/d.txt", "s3://b/d-e", "s3://b/D/a", "s3://b/dä", "s3://b/c/d/a", "s3://b"}
		recordAll(t, s, append(inside, beside...)...)
		if err := s.ForgetArtifacts(t.Context(), "s3://b/d"); err != nil {
			t.Fatal(err)
		}
		for _, location := range inside {
			if isRecorded(t, s, location) {
				t.Errorf("%s stays", location)
			}
		}
		for _, location := range beside {
			if !isRecorded(t, s, location) {
				t.Errorf("%s is gone", location)
			}
		}
	})
}

func TestForgetArtifacts_FindsAFolderByTheIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		explain := "EXPLAIN QUERY PLAN "
		if s.dialect == search.PostgreSQL {
			explain = "EXPLAIN "
		}
		var plan string
		err := s.update(t.Context(), func(tx *tx) error {
			if s.dialect == search.PostgreSQL { // which reads a table of no rows as a whole
				if _, err := tx.exec("SET LOCAL enable_seqscan = off"); err != nil {
					return err
				}
			}
			rows, err := pick[map[string]any](tx, explain+"DELETE FROM greenroom_artifacts WHERE location = 'a/b' OR location >= 'a/b/' AND location < 'a/b0'")
			plan = fmt.Sprint(rows)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(plan, "SCAN greenroom_artifacts") || strings.Contains(plan, "Seq Scan") ||
			strings.Count(plan, "location >") == 0 && strings.Count(plan, "location>") == 0 {
			t.Errorf("plan = %s", plan)
		}
	})
}
