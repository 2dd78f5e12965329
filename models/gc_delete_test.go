package models

import (
	"fmt"
	"strings"
	"testing"

	"greenroom/search"
)

func TestDropManifests_ReadsTheTagsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if s.dialect == search.PostgreSQL {
			return // which makes a hash of them either way
		}
		err := s.update(t.Context(), func(tx *tx) error {
			plan, err := pick[map[string]any](tx, "EXPLAIN QUERY PLAN "+dropManifests, 8, TagDigest, digestPrefix+"%", stageDeleted)
			if text := fmt.Sprint(plan); strings.Contains(text, "CORRELATED") || !strings.Contains(text, " g ") {
				t.Errorf("plan = %s", text)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
