package models

import (
	"fmt"
	"testing"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

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
