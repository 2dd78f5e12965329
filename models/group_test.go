package models

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
)

func TestGroup_MembersShareItsGrantsAndRoles(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		bob, carl := makeUser(t, s, "bob", false), makeUser(t, s, "carl", false)
		must(s.CreateGroup(t.Context(), "ops"))(t)
		ops := Holder{Group: "ops"}
		viewer := roleByName(t, s, "viewer")
		must(s.AssignRole(t.Context(), ops, viewer.ID))(t)
		if err := s.Grant(t.Context(), ops, DirectGrant(auth.RegisteredModel, "churn-*", auth.Edit)); err != nil {
			t.Fatal(err)
		}
		levels := func(u *User) string {
			return levelOf(t, s, u, model("churn-eu")).String() + " " + levelOf(t, s, u, model("other")).String()
		}
		change := func(change func() error, bobs string) {
			t.Helper()
			before := revision(t, s)
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if got := levels(bob); got != bobs || levels(carl) != "NO_PERMISSIONS NO_PERMISSIONS" || revision(t, s) == before {
				t.Errorf("bob has %s, want %s; carl has %s", got, bobs, levels(carl))
			}
		}
		change(func() error { return s.AddMember(t.Context(), "ops", "bob") }, "EDIT READ")
		change(func() error { return s.AddMember(t.Context(), "ops", "bob") }, "EDIT READ")
		g := must(s.Group(t.Context(), "ops"))(t)
		if diff := cmp.Diff([]string{"bob"}, g.Members); diff != "" || len(g.Roles) != 2 || !g.Roles[0].Hidden() || g.Roles[0].Permissions[0].Pattern != "churn-*" || g.Roles[1].Name != "viewer" {
			t.Errorf("got %+v", g)
		}
		m := must(s.Membership(t.Context(), bob.ID, nil, nil))(t)
		if _, by := m.Grants.Level(model("churn-eu")); by.Via != "group ops" {
			t.Errorf("via %s", by.Via)
		}
		change(func() error { return s.Revoke(t.Context(), ops, auth.RegisteredModel, "churn-*") }, "READ READ")
		change(func() error { return s.UnassignRole(t.Context(), ops, viewer.ID) }, "NO_PERMISSIONS NO_PERMISSIONS")
		change(func() error { return s.Grant(t.Context(), ops, DirectGrant(auth.RegisteredModel, "*", auth.Use)) }, "USE USE")
		change(func() error { return s.RemoveMember(t.Context(), "ops", "bob") }, "NO_PERMISSIONS NO_PERMISSIONS")
		change(func() error { return s.RemoveMember(t.Context(), "ops", "bob") }, "NO_PERMISSIONS NO_PERMISSIONS")
	})
}

func TestDeleteGroup_TakesItsGrantsAlong(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		bob := makeUser(t, s, "bob", false)
		for range 2 {
			must(s.CreateGroup(t.Context(), "ops"))(t)
			if err := s.AddMember(t.Context(), "ops", "bob"); err != nil {
				t.Fatal(err)
			}
			if got := levelOf(t, s, bob, model("m")); got != auth.NoPermissions {
				t.Errorf("a new group gives %s", got)
			}
			if err := s.Grant(t.Context(), Holder{Group: "ops"}, DirectGrant(auth.RegisteredModel, "*", auth.Manage)); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteGroup(t.Context(), "ops"); err != nil {
				t.Fatal(err)
			}
			if got := levelOf(t, s, bob, model("m")); got != auth.NoPermissions {
				t.Errorf("a deleted group gives %s", got)
			}
		}
		for _, r := range must(s.Roles(t.Context()))(t) {
			if r.Hidden() {
				t.Errorf("role %s stays", r.Name)
			}
		}
		if groups := must(s.Groups(t.Context()))(t); len(groups) != 0 {
			t.Errorf("got %+v", groups)
		}
	})
}

func TestGroups_AreListedByName(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for _, name := range []string{"carl", "ada", "bob"} {
			makeUser(t, s, name, false)
		}
		viewer := roleByName(t, s, "viewer")
		for _, group := range []string{"ops", "devs", "/idp/CN=admins"} {
			must(s.CreateGroup(t.Context(), group))(t)
			must(s.AssignRole(t.Context(), Holder{Group: group}, viewer.ID))(t)
		}
		for _, user := range []string{"carl", "bob"} {
			if err := s.AddMember(t.Context(), "devs", user); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, g := range must(s.Groups(t.Context()))(t) {
			got = append(got, g.Name+": "+strings.Join(g.Members, " ")+": "+g.Roles[0].Name)
			if len(g.Roles[0].Permissions) != len(viewer.Permissions) {
				t.Errorf("group %s: role %+v", g.Name, g.Roles[0])
			}
		}
		if diff := cmp.Diff([]string{"/idp/CN=admins: : viewer", "devs: bob carl: viewer", "ops: : viewer"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGroups_Refuse(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		makeUser(t, s, "ada", true)
		must(s.CreateGroup(t.Context(), strings.Repeat("é", 255)))(t)
		must(s.CreateGroup(t.Context(), "ops"))(t)
		_, err := s.CreateGroup(t.Context(), "ops")
		wantError(t, err, ResourceAlreadyExists, "Group (name=ops) already exists.")
		for name, want := range map[string]string{
			"": "Group name cannot be empty", "  ": "Group name cannot be empty", " ops": "Group name", "o\x00ps": "Group name", "e\u0301": "Group name",
			strings.Repeat("é", 256): "'name' exceeds the maximum length of 255 characters",
		} {
			_, err := s.CreateGroup(t.Context(), name)
			wantError(t, err, InvalidParameterValue, want)
		}
		_, err = s.Group(t.Context(), "dev")
		wantError(t, err, ResourceDoesNotExist, "Group with name=dev not found")
		wantError(t, s.DeleteGroup(t.Context(), "dev"), ResourceDoesNotExist, "Group with name=dev not found")
		wantError(t, s.AddMember(t.Context(), "dev", "ada"), ResourceDoesNotExist, "Group with name=dev not found")
		wantError(t, s.RemoveMember(t.Context(), "ops", "eve"), ResourceDoesNotExist, "User with username=eve not found")
	})
}
