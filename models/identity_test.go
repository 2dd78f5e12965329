package models

import (
	"errors"
	"testing"
)

func TestIdentity_WithoutItsRowNobodyIsLetIn(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, _ *clock) {
		if err := s.write.Exec("DELETE FROM greenroom_identity").Error; err != nil {
			t.Fatal(err)
		}
		if state, err := s.IdentityState(t.Context()); !errors.Is(err, errNoIdentity) {
			t.Errorf("got %+v, %v", state, err)
		}
		if _, err := s.CreateGroup(t.Context(), "ops"); !errors.Is(err, errNoIdentity) {
			t.Errorf("a group is made: %v", err)
		}
	})
}
