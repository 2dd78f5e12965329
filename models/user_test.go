package models

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

func makeUser(t testing.TB, s *Store, name string, admin bool) *User {
	t.Helper()
	return must(s.CreateUser(t.Context(), NewUser{Name: name, PasswordHash: "hash of " + name, Admin: admin}))(t)
}

// as is a context in which a user acts.
func as(t testing.TB, u *User) context.Context {
	return auth.With(t.Context(), &auth.Principal{UserID: u.ID, Name: u.Name})
}

func account(t testing.TB, s *Store, name string) auth.Account {
	t.Helper()
	a, ok, err := s.Account(t.Context(), name)
	if err != nil || !ok {
		t.Fatalf("Account(%q): %v, %v", name, ok, err)
	}
	return a
}

// levelOf is what a user may do with an object.
func levelOf(t testing.TB, s *Store, u *User, o auth.Object) auth.Level {
	t.Helper()
	m := must(s.Membership(t.Context(), u.ID, nil, nil))(t)
	level, _ := m.Grants.Level(o)
	return level
}

func model(name string) auth.Object { return auth.Object{Kind: auth.RegisteredModel, Name: name} }

func revision(t testing.TB, s *Store) int64 {
	t.Helper()
	return must(s.IdentityState(t.Context()))(t).Revision
}

func TestCreateUser_TheFirstIsAnAdministrator(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		before := must(s.IdentityState(t.Context()))(t)
		if before.HasUsers {
			t.Error("a new database has users")
		}
		first := makeUser(t, s, "ada", false)
		second := makeUser(t, s, "bob", false)
		if !first.Admin || second.Admin || !first.HasPassword || first.ID == second.ID {
			t.Errorf("got %+v and %+v", first, second)
		}
		if after := must(s.IdentityState(t.Context()))(t); !after.HasUsers || after.Revision <= before.Revision {
			t.Errorf("the state stays %+v", after)
		}
		_, err := s.CreateUser(t.Context(), NewUser{Name: "bob"})
		wantError(t, err, ResourceAlreadyExists, "User (username=bob) already exists.")
		_, err = s.CreateUser(t.Context(), NewUser{Name: " bob"})
		wantError(t, err, InvalidParameterValue, "The user's name")
		_, err = s.User(t.Context(), "carl")
		wantError(t, err, ResourceDoesNotExist, "User with username=carl not found")
		if users := must(s.Users(t.Context()))(t); len(users) != 2 || users[1].Name != "bob" {
			t.Errorf("got users %+v", users)
		}
	})
}

func TestSetPassword_EndsJWTsAndForgetsTheOldOne(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	s := openWith(t, modelstest.SQLite(t), Options{Now: func() time.Time { return now }})
	makeUser(t, s, "ada", true)
	before := revision(t, s)
	if err := s.SetPassword(t.Context(), "ada", "other"); err != nil {
		t.Fatal(err)
	}
	if a := account(t, s, "ada"); *a.PasswordHash != "other" || a.ValidAfter != now.UnixMilli() {
		t.Errorf("got %+v", a)
	}
	if revision(t, s) == before {
		t.Error("replicas are not told")
	}
	if err := s.SetPassword(t.Context(), "ada", ""); err != nil {
		t.Fatal(err)
	}
	if a := account(t, s, "ada"); a.PasswordHash != nil {
		t.Errorf("got %+v", a)
	}
}

func TestCreateUser_JWTsOfAnEarlierUserOfTheNameCountNoMore(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		c.at = time.UnixMilli(1_700_000_000_750)
		makeUser(t, s, "ann", true)
		makeUser(t, s, "bob", false)
		c.at = c.at.Add(time.Hour)
		must(s.DeleteUser(t.Context(), "bob"))(t)
		makeUser(t, s, "bob", false)
		// A JWT's time of issue is in whole seconds, and one that is issued right away counts.
		if got, want := account(t, s, "bob").ValidAfter, int64(1_700_003_600_000); got != want {
			t.Errorf("JWTs count from %d on, want %d", got, want)
		}
		must(s.CreateUser(t.Context(), NewUser{Name: "cat", Issuer: "https://issuer"}))(t)
		if got := account(t, s, "cat").ValidAfter; got != 0 {
			t.Errorf("JWTs of an issuer, which knows its users by more than a name, count from %d on", got)
		}
	})
}

func TestLastAdministrator_Stays(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		makeUser(t, s, "bob", true)
		if err := s.SetDisabled(ctx, "bob", true); err != nil {
			t.Fatal(err)
		}
		const refusal = "User 'ada' is the last administrator: make another user an administrator first."
		wantError(t, s.SetAdmin(ctx, "ada", false), InvalidParameterValue, refusal)
		wantError(t, s.SetDisabled(ctx, "ada", true), InvalidParameterValue, refusal)
		_, err := s.DeleteUser(ctx, "ada")
		wantError(t, err, InvalidParameterValue, refusal)
		if err := s.SetAdmin(ctx, "bob", false); err != nil { // disabled, so not the last
			t.Error(err)
		}
		if err := s.SetDisabled(ctx, "bob", false); err != nil {
			t.Fatal(err)
		}
		if err := s.SetAdmin(ctx, "bob", true); err != nil {
			t.Fatal(err)
		}
		if err := s.SetAdmin(ctx, "ada", false); err != nil {
			t.Error(err)
		}
	})
}

func TestLastAdministrator_StaysWhenTwoGoAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		makeUser(t, s, "bob", true)
		errs := make([]error, 2)
		var group sync.WaitGroup
		for i, name := range []string{"ada", "bob"} {
			group.Go(func() { errs[i] = s.SetAdmin(t.Context(), name, false) })
		}
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("got %v and %v, want one refusal", errs[0], errs[1])
		}
	})
}

func TestDeleteUser_TakesEverythingAlong(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		if err := s.Grant(ctx, Holder{User: "bob"}, DirectGrant(auth.RegisteredModel, "churn", auth.Read)); err != nil {
			t.Fatal(err)
		}
		viewer := roleByName(t, s, "viewer")
		must(s.AssignRole(ctx, Holder{User: "bob"}, viewer.ID))(t)
		err := s.update(ctx, func(t *tx) error {
			_, err := t.exec("INSERT INTO greenroom_tokens (id, secret_hash, user_id, name, created_at, expires_at) VALUES ('t', 'h', ?, 'ci', 1, 2)", bob.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := s.DeleteUser(ctx, "bob"); kept || err != nil {
			t.Fatal(kept, err)
		}
		if left := must(s.RoleUsers(ctx, viewer.ID))(t); len(left) != 0 {
			t.Errorf("the assignment stays: %v", left)
		}
		if _, ok, err := s.APIToken(ctx, "t"); ok || err != nil {
			t.Errorf("the token stays: %v, %v", ok, err)
		}
		for _, r := range must(s.Roles(ctx))(t) {
			if r.Hidden() {
				t.Errorf("the hidden role %s stays", r.Name)
			}
		}
		again := makeUser(t, s, "bob", false)
		if again.ID == bob.ID || levelOf(t, s, again, model("churn")) != auth.NoPermissions {
			t.Errorf("a later user of the name is %+v", again)
		}
	})
}

const issuer = "https://login.example.com"

func TestExternalAccount_IsMadeOnceWithoutRights(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		got := make([]auth.Account, 4)
		var group sync.WaitGroup
		for i := range got {
			group.Go(func() {
				var err error
				if got[i], _, err = s.ExternalAccount(ctx, issuer, "subject-1", "eve"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		first := got[0]
		if first.Name != "eve" || first.Admin || first.Disabled || first.PasswordHash != nil || *first.Subject != "subject-1" {
			t.Errorf("got %+v", first)
		}
		for _, other := range got[1:] {
			if diff := cmp.Diff(first, other); diff != "" {
				t.Error(diff)
			}
		}
		before := revision(t, s)
		renamed, ok, err := s.ExternalAccount(ctx, issuer, "subject-1", "eva")
		if !ok || err != nil || renamed.Name != "eve" || revision(t, s) != before {
			t.Errorf("got %+v, %v, %v", renamed, ok, err)
		}
	})
}

func TestExternalAccount_NeverTakesAnotherUsersName(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		must(s.CreateUser(ctx, NewUser{Name: "bob", Issuer: issuer}))(t)
		for _, c := range []struct {
			what, issuer, subject, name string
			ok                          bool
		}{
			{"a user of this server", issuer, "1", "ada", false},
			{"a user made for another issuer", "https://other.example.com", "1", "bob", false},
			{"a name that can be none", issuer, "2", "a:b", false},
			{"an empty subject", issuer, "", "carl", false},
			{"a user made for this issuer", issuer, "7", "bob", true},
			{"the same user again", issuer, "7", "bob", true},
			{"another subject of that name", issuer, "8", "bob", false},
		} {
			t.Run(c.what, func(t *testing.T) {
				before := revision(t, s)
				a, ok, err := s.ExternalAccount(ctx, c.issuer, c.subject, c.name)
				if err != nil || ok != c.ok || ok && a.Name != c.name {
					t.Errorf("got %+v, %v, %v", a, ok, err)
				}
				if !ok && revision(t, s) != before {
					t.Error("a refusal empties the caches")
				}
			})
		}
	})
}

func TestDeleteUser_OfAnIssuerStaysRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		if _, _, err := s.ExternalAccount(ctx, issuer, "1", "eve"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetAdmin(ctx, "eve", true); err != nil {
			t.Fatal(err)
		}
		must(s.AssignRole(ctx, Holder{User: "eve"}, 2))(t)
		if kept, err := s.DeleteUser(ctx, "eve"); !kept || err != nil {
			t.Fatal(kept, err)
		}
		a, ok, err := s.ExternalAccount(ctx, issuer, "1", "eve")
		if !ok || err != nil || !a.Disabled || a.Admin {
			t.Errorf("got %+v, %v, %v", a, ok, err)
		}
		if roles := must(s.HolderRoles(ctx, Holder{User: "eve"}))(t); len(roles) != 0 {
			t.Errorf("roles stay: %v", roles)
		}
		_, err = s.CreateUser(ctx, NewUser{Name: "eve"})
		wantError(t, err, ResourceAlreadyExists, "User (username=eve) already exists, and is disabled.")
	})
}

// mlflow gc removes experiments, and SQLite gives the last one's id again.
