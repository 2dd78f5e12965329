package mlflowapi_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroups_OnTheWire(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "churn-eu"}`)
		const get = "/api/2.0/mlflow/registered-models/get?name=churn-eu"
		s.ok("ada", "POST", "groups/create", `{"name": "ops"}`)
		s.ok("ada", "POST", "groups/add-member", `{"group_name": "ops", "username": "bob"}`)
		s.refused("bob", "GET", get, "", 403, "User 'bob' needs READ")
		s.ok("ada", "POST", "groups/roles/assign", `{"group_name": "ops", "role_id": 1}`)
		s.ok("bob", "GET", get, "")
		s.ok("ada", "POST", "groups/permissions/grant", `{"group_name": "ops", "resource_type": "registered_model", "resource_id": "churn-*", "permission": "EDIT"}`)
		s.ok("bob", "PATCH", "/api/2.0/mlflow/registered-models/update", `{"name": "churn-eu", "description": "d"}`)
		if groups := fmt.Sprint(s.ok("bob", "GET", "auth/whoami", "")["groups"]); groups != "[ops]" {
			t.Errorf("whoami names the groups %s", groups)
		}
		want := []string{
			"User 'bob' has EDIT on registered model 'churn-eu' and may see and change it, but not delete it.",
			"Decided by EDIT by pattern churn-* (group ops).", "Also READ by pattern * (group ops, role viewer).", "The user's groups: ops.",
		}
		if diff := cmp.Diff(want, s.lines("bob", "model=churn-eu")); diff != "" {
			t.Error(diff)
		}
		got := s.ok("ada", "GET", "groups/get?name=ops", "")["group"]
		if members := fmt.Sprint(dig(got, "members")); members != "[bob]" || dig(got, "name") != "ops" || len(dig(got, "roles").([]any)) != 2 || dig(got, "created_at") == nil {
			t.Errorf("got %v", got)
		}
		if listed := s.ok("ada", "GET", "groups/list", "")["groups"].([]any); len(listed) != 1 || !cmp.Equal(listed[0], got) {
			t.Errorf("got %v", listed)
		}
		wantPermissions := []any{map[string]any{"resource_type": "registered_model", "resource_id": "churn-*", "permission": "EDIT"}}
		if diff := cmp.Diff(wantPermissions, s.ok("ada", "GET", "groups/permissions/list?group_name=ops", "")["permissions"]); diff != "" {
			t.Error(diff)
		}
		s.ok("ada", "POST", "groups/permissions/grant", `{"group_name": "ops", "resource_type": "registered_model", "resource_id": "churn-*", "permission": "DENY"}`)
		s.refused("bob", "GET", get, "", 403, "User 'bob' needs READ")
		s.ok("ada", "POST", "groups/permissions/revoke", `{"group_name": "ops", "resource_type": "registered_model", "resource_id": "churn-*"}`)
		s.ok("bob", "GET", get, "")
		s.ok("ada", "POST", "groups/roles/unassign", `{"group_name": "ops", "role_id": 1}`)
		s.refused("bob", "GET", get, "", 403, "User 'bob' needs READ")
		s.ok("ada", "POST", "groups/roles/assign", `{"group_name": "ops", "role_id": 1}`)
		s.ok("ada", "POST", "groups/remove-member", `{"group_name": "ops", "username": "bob"}`)
		s.refused("bob", "GET", get, "", 403, "User 'bob' needs READ")
		s.ok("ada", "DELETE", "groups/delete", `{"name": "ops"}`)
		s.refused("ada", "GET", "groups/get?name=ops", "", 404, "Group with name=ops not found")
	})
}

func TestGroups_AreForAdministrators_ButManagersGrantOnWhatTheyManage(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		s.assign("bob", "editor")
		s.ok("bob", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "mine"}`)
		s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "other"}`)
		s.ok("ada", "POST", "groups/create", `{"name": "ops"}`)
		s.ok("ada", "POST", "groups/add-member", `{"group_name": "ops", "username": "carl"}`)
		for _, request := range [][3]string{
			{"POST", "groups/create", `{"name": "x"}`},
			{"GET", "groups/get?name=ops", ""},
			{"GET", "groups/list", ""},
			{"DELETE", "groups/delete", `{"name": "ops"}`},
			{"POST", "groups/add-member", `{"group_name": "ops", "username": "bob"}`},
			{"POST", "groups/remove-member", `{"group_name": "ops", "username": "bob"}`},
			{"POST", "groups/roles/assign", `{"group_name": "ops", "role_id": 3}`},
			{"POST", "groups/roles/unassign", `{"group_name": "ops", "role_id": 3}`},
			{"GET", "groups/permissions/list?group_name=ops", ""},
			{"POST", "groups/permissions/grant", `{"group_name": "ops", "resource_type": "registered_model", "resource_id": "mi*", "permission": "READ"}`},
			{"PATCH", "users/update-disabled", `{"username": "carl", "disabled": true}`},
		} {
			s.refused("bob", request[0], request[1], request[2], 403, "User 'bob' must be an administrator")
		}
		permission := func(model, level string) string {
			return `{"group_name": "ops", "resource_type": "registered_model", "resource_id": "` + model + `", "permission": "` + level + `"}`
		}
		s.refused("bob", "POST", "groups/permissions/grant", permission("other", "READ"), 403, "User 'bob' needs MANAGE on registered model 'other' (has EDIT)")
		s.refused("bob", "POST", "groups/permissions/revoke", permission("other", "READ"), 403, "User 'bob' needs MANAGE on registered model 'other' (has EDIT)")
		s.ok("bob", "POST", "groups/permissions/grant", permission("mine", "READ"))
		s.ok("carl", "GET", "/api/2.0/mlflow/registered-models/get?name=mine", "")
		s.ok("bob", "POST", "groups/permissions/revoke", permission("mine", ""))
		s.refused("carl", "GET", "/api/2.0/mlflow/registered-models/get?name=mine", "", 403, "User 'carl' needs READ")
		s.refused("bob", "POST", "groups/permissions/grant", permission("mine", "ALL"), 400, "Invalid permission")
		s.refused("ada", "POST", "groups/permissions/grant", `{"group_name": "ops", "resource_type": "run", "resource_id": "x", "permission": "READ"}`, 400, "resource_type 'run' has no permissions of its own")
		s.refused("ada", "POST", "groups/permissions/grant", `{"group_name": "dev", "resource_type": "experiment", "resource_id": "*", "permission": "READ"}`, 404, "Group with name=dev not found")
	})
}

func TestUpdateDisabled_EndsLogInsAtOnce(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		token, _ := s.newToken("bob", `{"name": "ci", "expires": "1d"}`)
		s.ok(token, "GET", "auth/whoami", "")
		s.ok("ada", "PATCH", "users/update-disabled", `{"username": "bob", "disabled": true}`)
		s.refused(token, "GET", "auth/whoami", "", 401, "User 'bob' is disabled")
		s.refused("ada", "PATCH", "users/update-disabled", `{"username": "ada", "disabled": true}`, 400, "User 'ada' is the last administrator")
		s.refused("ada", "PATCH", "users/update-disabled", `{"username": "bob"}`, 400, "Missing value for required parameter 'disabled'")
		s.ok("ada", "PATCH", "users/update-disabled", `{"username": "bob", "disabled": false}`)
		s.ok(token, "GET", "auth/whoami", "")
	})
}
