package models

import (
	"errors"
	"sync"
	"testing"
	"time"

	"greenroom/auth"
)

func TestChangeLoginFailures_OneAfterTheOther(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		at := time.UnixMilli(1_700_000_000_123)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := s.ChangeLoginFailures(t.Context(), "account", "bob", func(f auth.Failures) (auth.Failures, error) {
					return auth.Failures{Count: f.Count + 1, First: at, Last: at.Add(time.Minute)}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want := auth.Failures{Count: 50, First: at, Last: at.Add(time.Minute)}
		if got := must(s.LoginFailures(t.Context(), "account", "bob"))(t); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := must(s.LoginFailures(t.Context(), "address", "bob"))(t); got != (auth.Failures{}) {
			t.Errorf("got %+v of another kind, want none", got)
		}
	})
}

func TestChangeLoginFailures_AnErrorChangesNothingAndZeroForgets(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		change := func(to auth.Failures, err error) error {
			return s.ChangeLoginFailures(t.Context(), "account", "bob", func(auth.Failures) (auth.Failures, error) { return to, err })
		}
		rows := func(want int) {
			t.Helper()
			var got int
			if err := s.read.Raw("SELECT count(*) FROM greenroom_login_failures").Scan(&got).Error; err != nil || got != want {
				t.Errorf("%d rows (%v), want %d", got, err, want)
			}
		}
		no := errors.New("no")
		if err := change(auth.Failures{Count: 1}, no); !errors.Is(err, no) {
			t.Errorf("got %v, want change's error", err)
		}
		rows(0)
		now := time.UnixMilli(1_700_000_000_123)
		before := must(s.IdentityState(t.Context()))(t)
		for _, to := range []auth.Failures{{}, {Count: 7, First: now, Last: now}} {
			if err := change(to, nil); err != nil {
				t.Fatal(err)
			}
		}
		rows(1)
		if err := s.ForgetLoginFailures(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		rows(1)
		if err := s.ForgetLoginFailures(t.Context(), now.Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		rows(0)
		s.identity.forget()
		if after := must(s.IdentityState(t.Context()))(t); after != before {
			t.Errorf("the state of identities went from %+v to %+v: a wrong password empties the caches", before, after)
		}
	})
}
