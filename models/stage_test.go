package models

import (
	"fmt"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/search"
)

// TestLatestVersions_FindsAStageByTheIndex reads the plan of the newest version of a stage of which there are few.
func TestLatestVersions_FindsAStageByTheIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		explain := "EXPLAIN QUERY PLAN "
		if s.dialect == search.PostgreSQL {
			explain = "EXPLAIN "
			for _, statement := range []string{
				"INSERT INTO registered_models (name) VALUES ('m')",
				`INSERT INTO model_versions (name, version, current_stage)
					SELECT 'm', n, CASE WHEN n % 2000 = 7 THEN 'Staging' ELSE 'Archived' END FROM generate_series(1, 10000) n`,
				"ANALYZE model_versions",
			} {
				if err := s.write.Exec(statement).Error; err != nil {
					t.Fatal(err)
				}
			}
		}
		err := s.view(auth.With(t.Context(), auth.Anyone()), func(tx *tx) error {
			plan, err := pick[map[string]any](tx, explain+newestOfStage(s.dialect), "m", "Staging")
			if text := fmt.Sprint(plan); !strings.Contains(text, "greenroom_model_versions_by_stage") || strings.Contains(text, "Sort") {
				t.Errorf("plan = %s", text)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
