package models

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
)

func roleByName(t testing.TB, s *Store, name string) *Role {
	t.Helper()
	for _, r := range must(s.Roles(t.Context()))(t) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no role %s", name)
	return nil
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
