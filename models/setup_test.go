package models

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

var setupAPIToken = NewAPIToken{Name: "set-up", Lifetime: day}

func wantUnauthenticated(t testing.TB, err error, prefix string) {
	t.Helper()
	var refused *auth.UnauthenticatedError
	if !errors.As(err, &refused) || !strings.HasPrefix(refused.Message, prefix) {
		t.Errorf("got %v, want %s…", err, prefix)
	}
}

func TestUseSetupToken_MakesOneAdministrator(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		if _, ok, err := s.ExternalAccount(t.Context(), "https://issuer", "17", "zoe"); !ok || err != nil { // a user, and no administrator
			t.Fatal(ok, err)
		}
		_, old := auth.NewSetupToken()
		_, hash := auth.NewSetupToken()
		for _, h := range []string{old, hash} {
			if !must(s.SetSetupToken(t.Context(), h, c.at.Add(time.Hour)))(t) {
				t.Fatal("the set-up token is not set")
			}
		}
		use := func(hash, name, password string) (*User, string, error) {
			return s.UseSetupToken(t.Context(), hash, NewUser{Name: name, PasswordHash: password}, setupAPIToken)
		}
		for _, wrong := range []string{old, "", hash[:10]} {
			_, _, err := use(wrong, "eve", "h")
			wantUnauthenticated(t, err, "The set-up token is not the newest one")
		}
		_, _, err := use(hash, "a:b", "h")
		wantError(t, err, InvalidParameterValue, "The user's name")
		c.at = c.at.Add(time.Hour)
		_, _, err = use(hash, "ada", "h")
		wantUnauthenticated(t, err, "The set-up token is not the newest one, or has expired")
		c.at = c.at.Add(-time.Minute)
		u, text, err := use(hash, "ada", "")
		if err != nil || !u.Admin || u.Name != "ada" {
			t.Fatalf("got %+v, %v", u, err)
		}
		if id, _, ok := auth.ParseToken(text); !ok || must(s.APITokens(t.Context(), "ada"))(t)[0].ID != id {
			t.Errorf("an administrator without a password gets the token %q", text)
		}
		_, _, err = use(hash, "eve", "h")
		wantUnauthenticated(t, err, "The server is set up")
		if must(s.SetSetupToken(t.Context(), hash, c.at.Add(time.Hour)))(t) {
			t.Error("a set-up token is set where there is an administrator")
		}
	})
}

func TestUseSetupToken_GivesNoTokenBesideAPassword(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	_, hash := auth.NewSetupToken()
	must(s.SetSetupToken(t.Context(), hash, time.Now().Add(time.Hour)))(t)
	u, text, err := s.UseSetupToken(t.Context(), hash, NewUser{Name: "ada", PasswordHash: "h"}, setupAPIToken)
	if err != nil || !u.HasPassword || text != "" {
		t.Errorf("got %+v, %q, %v", u, text, err)
	}
}

// race runs fn on two replicas of one database, many times at once, and tells how often it was true.
func race(t *testing.T, uri string, fn func(ctx context.Context, s *Store, i int) bool) (won int64) {
	t.Helper()
	replicas := []*Store{open(t, uri), open(t, uri)}
	var wins atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if fn(t.Context(), replicas[i%2], i) {
				wins.Add(1)
			}
		})
	}
	all.Wait()
	if users := must(replicas[0].Users(t.Context()))(t); len(users) != 1 || !users[0].Admin {
		t.Errorf("got users %+v", users)
	}
	return wins.Load()
}

func TestUseSetupToken_HasOneWinner(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		_, hash := auth.NewSetupToken()
		must(open(t, uri).SetSetupToken(t.Context(), hash, time.Now().Add(time.Hour)))(t)
		won := race(t, uri, func(ctx context.Context, s *Store, i int) bool {
			_, _, err := s.UseSetupToken(ctx, hash, NewUser{Name: fmt.Sprint("admin", i), PasswordHash: "h"}, setupAPIToken)
			if err != nil {
				wantUnauthenticated(t, err, "The server is set up")
			}
			return err == nil
		})
		if won != 1 {
			t.Errorf("%d requests made the first administrator", won)
		}
	})
}

func TestBootstrapAdmin_HasOneWinner(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		won := race(t, uri, func(ctx context.Context, s *Store, _ int) bool {
			made, err := s.BootstrapAdmin(ctx, "admin", "h")
			if err != nil {
				t.Error(err)
			}
			return made
		})
		if won != 1 {
			t.Errorf("%d replicas made the first administrator", won)
		}
		s := open(t, uri)
		before := revision(t, s)
		if must(s.BootstrapAdmin(t.Context(), "other", "h"))(t) || revision(t, s) != before {
			t.Error("a later start changes something")
		}
		_, err := s.BootstrapAdmin(t.Context(), "a:b", "h")
		wantError(t, err, InvalidParameterValue, "The user's name")
	})
}
