package auth_test

import (
	"math/rand/v2"
	"testing"

	"greenroom/auth"
)

func TestMatchName_StarStandsForAnyText(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"churn", "churn", true},
		{"churn", "churn2", false},
		{"churn", "Churn", false},
		{"*", "", true},
		{"*", "anything at all", true},
		{"churn-*", "churn-", true},
		{"churn-*", "churn-eu", true},
		{"churn-*", "my churn-eu", false},
		{"*-prod", "churn-prod", true},
		{"*-prod", "churn-prod-2", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a--b--b--c", true},
		{"a*b*c", "acb", false},
		{"a**c", "abc", true},
		{"a?c", "abc", false},
		{"a[b]c", "abc", false},
		{"a.c", "abc", false},
		{"a%c", "abc", false},
		{`a\*c`, `a\bc`, true},
	} {
		if got := auth.MatchName(test.pattern, test.name); got != test.want {
			t.Errorf("MatchName(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}

func TestGrants_DenyWinsThenTheHighest(t *testing.T) {
	churn := auth.Object{Kind: auth.RegisteredModel, Name: "churn"}
	grant := func(pattern string, level auth.Level) auth.Grant {
		return auth.Grant{Kind: auth.RegisteredModel, Pattern: pattern, Level: level}
	}
	for _, test := range []struct {
		name   string
		grants auth.Grants
		want   auth.Level
	}{
		{"nothing is granted", nil, auth.NoPermissions},
		{"another model's", auth.Grants{grant("fraud", auth.Manage)}, auth.NoPermissions},
		{"an experiment's of the same name", auth.Grants{{Kind: auth.Experiment, Pattern: "churn", Level: auth.Manage}}, auth.NoPermissions},
		{"the highest", auth.Grants{grant("*", auth.Read), grant("churn", auth.Edit), grant("ch*", auth.Use)}, auth.Edit},
		{"a deny before", auth.Grants{grant("churn", auth.Deny), grant("*", auth.Manage)}, auth.Deny},
		{"a deny after", auth.Grants{grant("*", auth.Manage), grant("ch*", auth.Deny)}, auth.Deny},
		{"another model's deny", auth.Grants{grant("*", auth.Manage), grant("fraud", auth.Deny)}, auth.Manage},
	} {
		if got, _ := test.grants.Level(churn); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestGrant_AnExactOneIsNoPattern(t *testing.T) {
	star := auth.Grant{Kind: auth.RegisteredModel, Pattern: "*", Exact: true, Level: auth.Manage}
	if star.Covers(auth.Object{Kind: auth.RegisteredModel, Name: "churn"}) || !star.Covers(auth.Object{Kind: auth.RegisteredModel, Name: "*"}) {
		t.Error("the creator of a model named * gets more than that model")
	}
	byID := auth.Grant{Kind: auth.Experiment, Pattern: "12", Level: auth.Read}
	if !byID.Covers(auth.Object{Kind: auth.Experiment, ID: "12", Name: "x"}) || byID.Covers(auth.Object{Kind: auth.Experiment, ID: "3", Name: "12"}) {
		t.Error("digits are an experiment's id, not its name")
	}
}

func TestPrincipal_AScopeOnlyNarrows(t *testing.T) {
	o := auth.Object{Kind: auth.Experiment, ID: "1", Name: "x"}
	all := func(level auth.Level) auth.Grants {
		return auth.Grants{{Kind: auth.Experiment, Pattern: "*", Level: level}, {Kind: auth.Workspace, Pattern: "*", Level: auth.Use}}
	}
	for _, test := range []struct {
		name    string
		p       auth.Principal
		want    auth.Level
		creates bool
	}{
		{"no grants", auth.Principal{}, auth.NoPermissions, false},
		{"an editor", auth.Principal{Grants: all(auth.Edit)}, auth.Edit, true},
		{"an editor's token for reading", auth.Principal{Grants: all(auth.Edit), Scope: auth.Grants{{Kind: auth.Experiment, Pattern: "*", Level: auth.Read}}}, auth.Read, false},
		{"a reader's token for editing", auth.Principal{Grants: auth.Grants{{Kind: auth.Experiment, Pattern: "*", Level: auth.Read}}, Scope: all(auth.Edit)}, auth.Read, false},
		{"an admin", auth.Principal{Admin: true}, auth.Manage, true},
		{"an admin's token for editing", auth.Principal{Admin: true, Scope: all(auth.Edit)}, auth.Edit, true},
		{"an admin's token for nothing", auth.Principal{Admin: true, Scope: auth.Grants{}}, auth.NoPermissions, false},
	} {
		if got := test.p.Level(o); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if got := test.p.MayCreate(o); got != test.creates {
			t.Errorf("%s: may create: %v", test.name, got)
		}
		if test.p.Unlimited() != (test.p.Admin && test.p.Scope == nil) {
			t.Errorf("%s: unlimited: %v", test.name, test.p.Unlimited())
		}
	}
}

// LevelOnAll spares a look at the object, and must never promise more than the look would find.
func TestPrincipal_LevelOnAllIsNeverAboveTheLevelOnOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	patterns := []string{"*", "**", "a*", "a", "", "12", "*1"}
	grants := func() auth.Grants {
		gs := auth.Grants{}
		for range random.IntN(5) {
			gs = append(gs, auth.Grant{
				Kind:    []auth.Kind{auth.Experiment, auth.RegisteredModel}[random.IntN(2)],
				Pattern: patterns[random.IntN(len(patterns))], Exact: random.IntN(3) == 0, Level: auth.Level(random.IntN(6)) + auth.Deny,
			})
		}
		return gs
	}
	for range 20_000 {
		p := auth.Principal{Grants: grants(), Admin: random.IntN(8) == 0}
		if random.IntN(3) == 0 {
			p.Scope = grants()
		}
		for _, o := range []auth.Object{
			{Kind: auth.Experiment, ID: "12", Name: "a"},
			{Kind: auth.Experiment, ID: "7", Name: "b1"},
			{Kind: auth.RegisteredModel, Name: "a"},
			{Kind: auth.RegisteredModel, Name: "*"},
			{Kind: auth.RegisteredModel, Name: ""},
		} {
			if all, one := p.LevelOnAll(o.Kind), p.Level(o); all > max(one, auth.NoPermissions) {
				t.Fatalf("%+v: %s on all, %s on %+v", p, all, one, o)
			}
		}
	}
}
