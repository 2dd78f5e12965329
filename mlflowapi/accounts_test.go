package mlflowapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccounts_WhatMLflowsUsersLack(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		made := s.ok("ada", "POST", "users/create", `{"username": "ci"}`)["user"].(map[string]any)
		delete(made, "id")
		delete(made, "created_at")
		want := map[string]any{"username": "ci", "is_admin": false, "disabled": false, "has_password": false, "groups": []any{}, "roles": []any{}}
		if diff := cmp.Diff(want, made); diff != "" {
			t.Error(diff)
		}
		s.ok("ada", "POST", "users/create", `{"username": "eve", "is_admin": true, "issuer": "https://idp.company.com"}`)
		if eve := s.ok("ada", "GET", "users/get?username=eve", "")["user"]; dig(eve, "is_admin") != true || dig(eve, "issuer") != "https://idp.company.com" {
			t.Errorf("got %v", eve)
		}
		s.refused("ada", "POST", "users/create", `{"username": "short", "password": "hush"}`, 400, "The password must be at least 12 characters")
		s.refused("ada", "POST", "users/create", `{"username": "ci"}`, 400, "User (username=ci) already exists.")
		s.refused("bob", "POST", "users/create", `{"username": "mine", "is_admin": true}`, 403, "User 'bob' must be an administrator")
		s.refused("bob", "GET", "users/list", "", 403, "User 'bob' must be an administrator")
		s.refused("bob", "GET", "users/get?username=ada", "", 403, "User 'bob' must be an administrator")
		s.ok("bob", "GET", "users/get?username=bob", "")

		s.ok("ada", "POST", "groups/create", `{"name": "ops"}`)
		s.ok("ada", "POST", "groups/add-member", `{"group_name": "ops", "username": "ci"}`)
		listed := s.ok("ada", "GET", "users/list", "")["users"].([]any)
		groups := map[any]any{}
		for _, u := range listed {
			groups[dig(u, "username")] = dig(u, "groups")
		}
		if diff := cmp.Diff([]any{"ops"}, groups["ci"]); diff != "" || len(groups) < 4 || len(groups["eve"].([]any)) != 0 {
			t.Errorf("got %v", groups)
		}
	})
}

func TestUserPermission_IsPutInPlaceOfTheOneBefore(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		for _, level := range []string{"MANAGE", "READ"} {
			s.ok("ada", "POST", "users/permissions/grant", `{"username": "bob", "resource_type": "registered_model", "resource_id": "churn", "permission": "`+level+`"}`)
			if got := s.ok("ada", "GET", "auth/explain?username=bob&model=churn", "")["permission"]; got != level {
				t.Errorf("got %v, want %s", got, level)
			}
		}
		s.refused("bob", "POST", "users/permissions/grant", `{"username": "bob", "resource_type": "registered_model", "resource_id": "chu*", "permission": "MANAGE"}`, 403, "User 'bob' must be an administrator")
		s.ok("ada", "POST", "users/permissions/revoke", `{"username": "bob", "resource_type": "registered_model", "resource_id": "churn"}`)
		if got := s.ok("ada", "GET", "auth/explain?username=bob&model=churn", "")["permission"]; got != "NO_PERMISSIONS" {
			t.Errorf("got %v", got)
		}
	})
}
