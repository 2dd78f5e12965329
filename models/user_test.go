package models

import (
	"context"
	"errors"
	"fmt"
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
		viewer := must(s.RoleByName(ctx, "viewer"))(t)
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

func TestRoles(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		text := "promotes"
		r := must(s.CreateRole(ctx, "deployer", &text))(t)
		_, err := s.CreateRole(ctx, "deployer", nil)
		wantError(t, err, ResourceAlreadyExists, "Role (name=deployer, workspace=default) already exists.")
		_, err = s.CreateRole(ctx, "__user_1__", nil)
		wantError(t, err, InvalidParameterValue, "Role name '__user_1__' begins with '__'")
		_, err = s.CreateRole(ctx, " ", nil)
		wantError(t, err, InvalidParameterValue, "Role name cannot be empty.")

		p := must(s.AddRolePermission(ctx, r.ID, auth.Grant{Kind: auth.RegisteredModel, Pattern: "team-*", Level: auth.Read}))(t)
		_, err = s.AddRolePermission(ctx, r.ID, p.Grant)
		wantError(t, err, ResourceAlreadyExists, fmt.Sprintf("Role permission (role_id=%d, resource_type=registered_model, resource_pattern=team-*) already exists.", r.ID))
		if got := must(s.UpdateRolePermission(ctx, p.ID, auth.Edit))(t); got.Level != auth.Edit || got.RoleID != r.ID {
			t.Errorf("got %+v", got)
		}
		must(s.AssignRole(ctx, Holder{User: "bob"}, r.ID))(t)
		_, err = s.AssignRole(ctx, Holder{User: "bob"}, r.ID)
		wantError(t, err, ResourceAlreadyExists, "Role assignment (user=bob")
		if got := levelOf(t, s, bob, model("team-churn")); got != auth.Edit {
			t.Errorf("the holder has %s", got)
		}
		name := "promoter"
		if got := must(s.UpdateRole(ctx, r.ID, &name, nil))(t); got.Name != name || *got.Description != text || len(got.Permissions) != 1 {
			t.Errorf("got %+v", got)
		}
		taken := "viewer"
		_, err = s.UpdateRole(ctx, r.ID, &taken, nil)
		wantError(t, err, ResourceAlreadyExists, "Role with name=viewer already exists")
		if err := s.RemoveRolePermission(ctx, p.ID); err != nil {
			t.Error(err)
		}
		wantError(t, s.RemoveRolePermission(ctx, p.ID), ResourceDoesNotExist, "Role permission with id=")
		if err := s.UnassignRole(ctx, Holder{User: "bob"}, r.ID); err != nil {
			t.Error(err)
		}
		wantError(t, s.UnassignRole(ctx, Holder{User: "bob"}, r.ID), ResourceDoesNotExist, "Role assignment (user=bob")
		if err := s.DeleteRole(ctx, r.ID); err != nil {
			t.Error(err)
		}
		_, err = s.Role(ctx, r.ID)
		wantError(t, err, ResourceDoesNotExist, fmt.Sprintf("Role with id=%d not found", r.ID))
	})
}

func TestRoles_OfGroups(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		err := s.update(ctx, func(t *tx) error {
			if _, err := t.exec("INSERT INTO greenroom_groups (id, name, created_at) VALUES (9000, 'ops', 1)"); err != nil {
				return err
			}
			_, err := t.exec("INSERT INTO greenroom_group_members (group_id, user_id) VALUES (9000, ?)", bob.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ops := Holder{Group: "ops"}
		must(s.AssignRole(ctx, ops, 1))(t)
		if err := s.Grant(ctx, ops, DirectGrant(auth.Experiment, "7", auth.Manage)); err != nil {
			t.Fatal(err)
		}
		m := must(s.Membership(ctx, bob.ID, nil, nil))(t)
		want := auth.Grants{
			{Kind: auth.Experiment, Pattern: "7", Exact: true, Level: auth.Manage, Via: "group ops"},
			{Kind: auth.Experiment, Pattern: "*", Level: auth.Read, Via: "group ops, role viewer"},
			{Kind: auth.RegisteredModel, Pattern: "*", Level: auth.Read, Via: "group ops, role viewer"},
		}
		if diff := cmp.Diff(want, m.Grants); diff != "" {
			t.Error(diff)
		}
		if roles := must(s.HolderRoles(ctx, ops))(t); len(roles) != 2 {
			t.Errorf("got roles %v", roles)
		}
		if err := s.UnassignRole(ctx, ops, 1); err != nil {
			t.Error(err)
		}
		_, err = s.AssignRole(ctx, Holder{Group: "none"}, 1)
		wantError(t, err, ResourceDoesNotExist, "Group with name=none not found")
	})
}

func TestHiddenRoles_ChangeByGrantsOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		if err := s.Grant(ctx, Holder{User: "ada"}, DirectGrant(auth.Experiment, "1", auth.Read)); err != nil {
			t.Fatal(err)
		}
		hidden := must(s.HolderRoles(ctx, Holder{User: "ada"}))(t)[0]
		const refusal = "Role __user_"
		name := "mine"
		_, err := s.UpdateRole(ctx, hidden.ID, &name, nil)
		wantError(t, err, InvalidParameterValue, refusal)
		wantError(t, s.DeleteRole(ctx, hidden.ID), InvalidParameterValue, refusal)
		_, err = s.AssignRole(ctx, Holder{User: "ada"}, hidden.ID)
		wantError(t, err, InvalidParameterValue, refusal)
		wantError(t, s.UnassignRole(ctx, Holder{User: "ada"}, hidden.ID), InvalidParameterValue, refusal)
		_, err = s.AddRolePermission(ctx, hidden.ID, DirectGrant(auth.Experiment, "2", auth.Read))
		wantError(t, err, InvalidParameterValue, refusal)
	})
}

func TestGrants(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, bob := t.Context(), Holder{User: "bob"}
		makeUser(t, s, "ada", true)
		user := makeUser(t, s, "bob", false)
		read := DirectGrant(auth.RegisteredModel, "churn", auth.Read)
		wantError(t, s.UpdateGrant(ctx, bob, read), ResourceDoesNotExist, "Permission for user=bob on resource_type=registered_model, resource_id=churn not found.")
		wantError(t, s.Revoke(ctx, bob, auth.RegisteredModel, "churn"), ResourceDoesNotExist, "Permission for user=bob")
		if err := s.CreateGrant(ctx, bob, read); err != nil {
			t.Fatal(err)
		}
		wantError(t, s.CreateGrant(ctx, bob, read), ResourceAlreadyExists, "Permission for user=bob on resource_type=registered_model, resource_id=churn already exists.")
		before := revision(t, s)
		if err := s.UpdateGrant(ctx, bob, DirectGrant(auth.RegisteredModel, "churn", auth.Edit)); err != nil {
			t.Fatal(err)
		}
		if revision(t, s) == before {
			t.Error("replicas are not told")
		}
		if g := must(s.HeldGrant(ctx, bob, auth.RegisteredModel, "churn"))(t); g.Level != auth.Edit || !g.Exact {
			t.Errorf("got %+v", g)
		}
		if got := levelOf(t, s, user, model("churn")); got != auth.Edit {
			t.Errorf("bob has %s", got)
		}
		if err := s.Grant(ctx, bob, DirectGrant(auth.RegisteredModel, "chu*", auth.Deny)); err != nil {
			t.Fatal(err)
		}
		if got := levelOf(t, s, user, model("churn")); got != auth.Deny {
			t.Errorf("bob has %s", got)
		}
		if err := s.Revoke(ctx, bob, auth.RegisteredModel, "chu*"); err != nil {
			t.Fatal(err)
		}
		if grants := must(s.HeldGrants(ctx, bob))(t); len(grants) != 1 {
			t.Errorf("bob holds %v", grants)
		}
		wantError(t, s.Grant(ctx, Holder{User: "carl"}, read), ResourceDoesNotExist, "User with username=carl not found")
	})
}

func TestGrants_ThatCouldNotMeanAnythingAreRefused(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	makeUser(t, s, "ada", true)
	for _, c := range []struct {
		kind, pattern string
		level         auth.Level
		why           string
	}{
		{"experiment", "", auth.Read, "The pattern of a permission cannot be empty"},
		{"experiment", "007", auth.Read, "Invalid experiment id '007'."},
		{"experiment", "99999999999999999999", auth.Read, "Invalid experiment id"},
		{"experiment", "1", auth.NoPermissions, "Invalid permission 'NO_PERMISSIONS'"},
		{"registered_model", "a\x00b", auth.Read, "Invalid pattern"},
		{"registered_model", "e\u0301", auth.Read, "Invalid pattern"},
		{"workspace", "team", auth.Use, "Invalid resource_pattern 'team'"},
		{"workspace", "*", auth.Read, "Invalid permission 'READ'"},
		{"workspace", "*", auth.Manage, "MANAGE cannot be granted on the workspace"},
		{"prompt", "p", auth.Read, "resource_type 'prompt' has no permissions of its own: prompts are registered models"},
		{"run", "*", auth.Read, "resource_type 'run' has no permissions of its own: it is in the hands of its experiment's users"},
		{"gateway_secret", "x", auth.Read, "resource_type 'gateway_secret' is not served"},
		{"dataset", "x", auth.Read, "Invalid resource type 'dataset'."},
	} {
		t.Run(c.kind+" "+c.pattern, func(t *testing.T) {
			err := s.Grant(t.Context(), Holder{User: "ada"}, DirectGrant(auth.Kind(c.kind), c.pattern, c.level))
			wantError(t, err, InvalidParameterValue, c.why)
		})
	}
}

func TestCreator_GetsManageOnExactlyWhatWasMade(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		id := must(s.CreateExperiment(as(t, bob), "trials", "", nil))(t)
		must(s.CreateRegisteredModel(as(t, bob), "*", "", nil))(t)
		must(s.CreateRegisteredModel(t.Context(), "other", "", nil))(t)
		for o, want := range map[auth.Object]auth.Level{
			{Kind: auth.Experiment, ID: fmt.Sprint(id), Name: "trials"}: auth.Manage,
			{Kind: auth.Experiment, ID: "0", Name: "Default"}:           auth.NoPermissions,
			{Kind: auth.Experiment, ID: "999", Name: fmt.Sprint(id)}:    auth.NoPermissions,
			model("*"): auth.Manage, model("other"): auth.NoPermissions, auth.Server: auth.NoPermissions,
		} {
			if got := levelOf(t, s, bob, o); got != want {
				t.Errorf("bob has %s on %s, want %s", got, o, want)
			}
		}
	})
}

func TestRenameRegisteredModel_GrantsFollow(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		makeUser(t, s, "ada", true)
		bob, carl := makeUser(t, s, "bob", false), makeUser(t, s, "carl", false)
		must(s.CreateRegisteredModel(as(t, bob), "churn", "", nil))(t)
		for name, g := range map[string]auth.Grant{
			"bob":  DirectGrant(auth.RegisteredModel, "leave", auth.Read),
			"carl": DirectGrant(auth.RegisteredModel, "leave", auth.Deny),
		} {
			if err := s.Grant(ctx, Holder{User: name}, g); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Grant(ctx, Holder{User: "carl"}, DirectGrant(auth.RegisteredModel, "churn", auth.Edit)); err != nil {
			t.Fatal(err)
		}
		role := must(s.CreateRole(ctx, "policy", nil))(t)
		must(s.AddRolePermission(ctx, role.ID, auth.Grant{Kind: auth.RegisteredModel, Pattern: "churn", Level: auth.Read}))(t)

		must(s.RenameRegisteredModel(ctx, "churn", "leave"))(t)
		if got := levelOf(t, s, bob, model("leave")); got != auth.Manage {
			t.Errorf("the creator has %s on the renamed model", got)
		}
		if got := levelOf(t, s, carl, model("leave")); got != auth.Deny {
			t.Errorf("a DENY on the new name becomes %s", got)
		}
		for _, u := range []*User{bob, carl} {
			if got := levelOf(t, s, u, model("churn")); got != auth.NoPermissions {
				t.Errorf("%s has %s on the old name", u.Name, got)
			}
		}
		if p := must(s.Role(ctx, role.ID))(t).Permissions; p[0].Pattern != "churn" {
			t.Errorf("a role's pattern becomes %s", p[0].Pattern)
		}
	})
}

func TestDeleteRegisteredModel_GrantsOnItGo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		must(s.CreateRegisteredModel(as(t, bob), "churn", "", nil))(t)
		before := revision(t, s)
		if err := s.DeleteRegisteredModel(t.Context(), "churn"); err != nil {
			t.Fatal(err)
		}
		must(s.CreateRegisteredModel(t.Context(), "churn", "", nil))(t)
		if got := levelOf(t, s, bob, model("churn")); got != auth.NoPermissions {
			t.Errorf("the creator of a deleted model has %s on a new one of its name", got)
		}
		if revision(t, s) == before {
			t.Error("replicas are not told")
		}
	})
}

// mlflow gc removes experiments, and SQLite gives the last one's id again.
func TestCreateExperiment_IsNotOpenToWhoMightUseAnEarlierOneOfItsID(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		if err := s.Grant(t.Context(), Holder{User: "bob"}, DirectGrant(auth.Experiment, "1", auth.Manage)); err != nil {
			t.Fatal(err)
		}
		id := must(s.CreateExperiment(t.Context(), "trials", "", nil))(t)
		if got := levelOf(t, s, bob, auth.Object{Kind: auth.Experiment, ID: fmt.Sprint(id), Name: "trials"}); id != 1 || got != auth.NoPermissions {
			t.Errorf("bob has %s on the new experiment %d", got, id)
		}
	})
}
