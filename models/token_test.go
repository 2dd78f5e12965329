package models

import (
	"strings"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

const day = 24 * time.Hour

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// onBothWithClock is onBoth for a store whose time the test moves.
func onBothWithClock(t *testing.T, test func(t *testing.T, s *Store, c *clock)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		c := &clock{time.UnixMilli(1700000000000)}
		test(t, openWith(t, uri, Options{Now: c.now}), c)
	})
}

func TestCreateAPIToken_LogsInAsLongAsItLives(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		makeUser(t, s, "ada", true)
		before := revision(t, s)
		text, made, err := s.CreateAPIToken(t.Context(), NewAPIToken{User: "ada", Name: "ci", Role: "editor", Lifetime: 90 * day})
		if err != nil {
			t.Fatal(err)
		}
		if revision(t, s) == before {
			t.Error("the revision stays")
		}
		id, hash, ok := auth.ParseToken(text)
		if !ok || id != made.ID {
			t.Errorf("token %s has id %s, want %s", text, id, made.ID)
		}
		found, ok, err := s.APIToken(t.Context(), id)
		if err != nil || !ok || !auth.SameHash(found.SecretHash, hash) || found.Revoked || !found.ExpiresAt.Equal(c.at.Add(90*day)) || found.Account.Name != "ada" || found.RoleID == nil {
			t.Errorf("got %+v, %v, %v", found, ok, err)
		}
		list := must(s.APITokens(t.Context(), "ada"))(t)
		if len(list) != 1 || list[0].Role != "editor" || list[0].ExpiresAt != c.at.Add(90*day).UnixMilli() || list[0].RevokedAt != nil || list[0].LastUsedAt != nil {
			t.Errorf("got %+v", list)
		}
	})
}

func TestCreateAPIToken_Refuses(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	makeUser(t, s, "ada", true)
	makeUser(t, s, "bob", false)
	if err := s.Grant(t.Context(), Holder{User: "bob"}, auth.Grant{Kind: auth.Experiment, Pattern: "*", Level: auth.Manage}); err != nil {
		t.Fatal(err)
	}
	hidden := must(s.HolderRoles(t.Context(), Holder{User: "bob"}))(t)[0].Name
	if err := s.SetDisabled(t.Context(), "bob", true); err != nil {
		t.Fatal(err)
	}
	valid := NewAPIToken{User: "ada", Name: "ci", Lifetime: day}
	for name, test := range map[string]struct {
		change func(*NewAPIToken)
		code   Code
		prefix string
	}{
		"no name":            {func(n *NewAPIToken) { n.Name = "" }, InvalidParameterValue, "Invalid token name"},
		"a blank name":       {func(n *NewAPIToken) { n.Name = " " }, InvalidParameterValue, "Invalid token name"},
		"a control char":     {func(n *NewAPIToken) { n.Name = "a\nb" }, InvalidParameterValue, "Invalid token name"},
		"a long name":        {func(n *NewAPIToken) { n.Name = strings.Repeat("é", 256) }, InvalidParameterValue, "'name' exceeds"},
		"no end":             {func(n *NewAPIToken) { n.Lifetime = 0 }, InvalidParameterValue, "A token must expire"},
		"367 days":           {func(n *NewAPIToken) { n.Lifetime = 367 * day }, InvalidParameterValue, "A token must expire within 366 days"},
		"an unknown role":    {func(n *NewAPIToken) { n.Role = "boss" }, ResourceDoesNotExist, "Role with name=boss not found"},
		"a hidden role":      {func(n *NewAPIToken) { n.Role = hidden }, InvalidParameterValue, "Role "},
		"an unknown user":    {func(n *NewAPIToken) { n.User = "carl" }, ResourceDoesNotExist, "User with username=carl not found"},
		"a disabled user":    {func(n *NewAPIToken) { n.User = "bob" }, InvalidParameterValue, "User 'bob' is disabled"},
		"a user in capitals": {func(n *NewAPIToken) { n.User = "ADA" }, ResourceDoesNotExist, "User with username=ADA not found"},
	} {
		t.Run(name, func(t *testing.T) {
			n := valid
			test.change(&n)
			text, _, err := s.CreateAPIToken(t.Context(), n)
			wantError(t, err, test.code, test.prefix)
			if text != "" {
				t.Error("a refusal comes with a token")
			}
		})
	}
	longest := NewAPIToken{User: "ada", Name: strings.Repeat("é", 255), Lifetime: 366 * day}
	if _, _, err := s.CreateAPIToken(t.Context(), longest); err != nil {
		t.Error(err)
	}
}

func TestRevokeAPIToken_OnceAndForAll(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		makeUser(t, s, "ada", true)
		makeUser(t, s, "bob", false)
		_, made, err := s.CreateAPIToken(t.Context(), NewAPIToken{User: "ada", Name: "ci", Lifetime: day})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.RevokeAPIToken(t.Context(), made.ID, "bob")
		wantError(t, err, ResourceDoesNotExist, "API token with id="+made.ID+" not found")
		_, err = s.RevokeAPIToken(t.Context(), "none", "")
		wantError(t, err, ResourceDoesNotExist, "API token with id=none not found")
		first := must(s.RevokeAPIToken(t.Context(), made.ID, "ada"))(t)
		after := revision(t, s)
		c.at = c.at.Add(time.Minute)
		again := must(s.RevokeAPIToken(t.Context(), made.ID, ""))(t)
		if *again.RevokedAt != *first.RevokedAt || revision(t, s) != after {
			t.Error("the second revocation changes something")
		}
		if found, ok, err := s.APIToken(t.Context(), made.ID); err != nil || !ok || !found.Revoked {
			t.Errorf("got %+v, %v, %v", found, ok, err)
		}
	})
}

func TestAPITokens_AreForgottenLongAfterTheirEnd(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		makeUser(t, s, "ada", true)
		makeUser(t, s, "bob", false)
		make := func(user, name string) {
			t.Helper()
			if _, _, err := s.CreateAPIToken(t.Context(), NewAPIToken{User: user, Name: name, Lifetime: day}); err != nil {
				t.Fatal(err)
			}
		}
		names := func() string {
			t.Helper()
			var names []string
			for _, found := range must(s.APITokens(t.Context(), ""))(t) {
				names = append(names, found.User+" "+found.Name)
			}
			return strings.Join(names, ", ")
		}
		make("bob", "one")
		c.at = c.at.Add(2 * day)
		make("ada", "two")
		if got := names(); got != "ada two, bob one" {
			t.Errorf("got %s, want those that ended too", got)
		}
		c.at = c.at.Add(30 * day)
		make("ada", "three")
		if got := names(); got != "ada two, ada three" {
			t.Errorf("got %s", got)
		}
	})
}

func TestRevokeJWT_HoldsAsLongAsTheJWTWould(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		revoked := func(id string) bool {
			t.Helper()
			return must(s.JWTRevoked(t.Context(), "https://issuer", id))(t)
		}
		revoke := func(id string, lifetime time.Duration) {
			t.Helper()
			if err := s.RevokeJWT(t.Context(), "https://issuer", id, c.at.Add(lifetime)); err != nil {
				t.Fatal(err)
			}
		}
		revoke("a", day)
		revoke("a", time.Hour) // does not shorten
		c.at = c.at.Add(2 * time.Hour)
		revoke("b", day)
		if !revoked("a") || !revoked("b") || revoked("c") {
			t.Errorf("revoked: a %v, b %v, c %v", revoked("a"), revoked("b"), revoked("c"))
		}
		c.at = c.at.Add(day)
		revoke("c", day)
		if revoked("a") || !revoked("b") {
			t.Errorf("a day later revoked: a %v, b %v; want b, for the leeway of clocks, and no longer a", revoked("a"), revoked("b"))
		}
		wantError(t, s.RevokeJWT(t.Context(), "https://issuer", "d", time.UnixMilli(1700000000)), InvalidParameterValue, "The JWT has expired by itself")
		wantError(t, s.RevokeJWT(t.Context(), strings.Repeat("i", 501), "d", c.at.Add(day)), InvalidParameterValue, "'issuer' exceeds")
		wantError(t, s.RevokeJWT(t.Context(), "i", strings.Repeat("d", 256), c.at.Add(day)), InvalidParameterValue, "'jti' exceeds")
	})
}

func TestRevokeAll_EndsTokensAndJWTsOfOneUser(t *testing.T) {
	onBothWithClock(t, func(t *testing.T, s *Store, c *clock) {
		for _, name := range []string{"ada", "bob"} {
			makeUser(t, s, name, true)
			for _, token := range []string{"one", "two"} {
				if _, _, err := s.CreateAPIToken(t.Context(), NewAPIToken{User: name, Name: token, Lifetime: day}); err != nil {
					t.Fatal(err)
				}
			}
		}
		before, made := revision(t, s), c.at.UnixMilli()
		c.at = c.at.Add(time.Hour)
		if n := must(s.RevokeAll(t.Context(), "ada"))(t); n != 2 {
			t.Errorf("%d tokens were revoked, want 2", n)
		}
		if revision(t, s) == before {
			t.Error("the revision stays")
		}
		for _, found := range must(s.APITokens(t.Context(), ""))(t) {
			if revoked := found.RevokedAt != nil; revoked != (found.User == "ada") {
				t.Errorf("token %+v", found)
			}
		}
		if a, b := account(t, s, "ada").ValidAfter, account(t, s, "bob").ValidAfter; a != c.at.UnixMilli() || b != made {
			t.Errorf("JWTs count from %d and %d on", a, b)
		}
		_, err := s.RevokeAll(t.Context(), "carl")
		wantError(t, err, ResourceDoesNotExist, "User with username=carl not found")
	})
}
