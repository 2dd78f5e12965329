package mlflowapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// named lets in whoever the Authorization header names, with what the database says of them; "scoped NAME" is a user with a
// token that the role viewer narrows.
type named struct{ store *models.Store }

func (n named) Authenticate(ctx context.Context, header, _ string) (*auth.Principal, error) {
	name, scoped := strings.CutPrefix(header, "scoped ")
	a, ok, err := n.store.Account(ctx, name)
	if err != nil || !ok {
		return nil, &auth.UnauthenticatedError{Message: "nobody"}
	}
	p, err := n.PrincipalOf(ctx, a, nil)
	if scoped && err == nil {
		p.Scope, err = n.store.RoleGrants(ctx, 1)
	}
	return p, err
}

func (n named) PrincipalOf(ctx context.Context, a auth.Account, _ *auth.APIToken) (*auth.Principal, error) {
	m, err := n.store.Membership(ctx, a.ID, nil, nil)
	return &auth.Principal{UserID: a.ID, Name: a.Name, Admin: a.Admin, Grants: m.Grants, Groups: m.Groups, Credential: "password"}, err
}

// team is a server with an administrator (ada), the owner of experiment 1 and the model churn (bob), and two others.
type team struct {
	t     testing.TB
	store *models.Store
	url   string
	ids   map[string]int64
}

const teamPassword = "correct horse battery"

func newTeam(t testing.TB) *team {
	t.Helper()
	store, err := models.Open(t.Context(), modelstest.SQLite(t), models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := &team{t: t, store: store, ids: map[string]int64{}}
	for _, name := range []string{"ada", "bob", "carl", "dora"} {
		u, err := store.CreateUser(t.Context(), models.NewUser{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		s.ids[name] = u.ID
	}
	if _, err := store.AssignRole(t.Context(), models.Holder{User: "bob"}, 2); err != nil { // editor
		t.Fatal(err)
	}
	s.serve(named{store})
	s.ok("bob", "POST", "experiments/create", `{"name":"trials"}`)
	s.ok("bob", "POST", "registered-models/create", `{"name":"churn"}`)
	s.ok("ada", "POST", "registered-models/create", `{"name":"other"}`)
	return s
}

func (s *team) serve(by mlflowapi.Authenticator) {
	server := httptest.NewServer(mlflowapi.New(s.store, mlflowapi.Config{Version: "test", Log: slog.New(slog.DiscardHandler), Auth: by}))
	s.t.Cleanup(server.Close)
	s.url = server.URL
}

// call makes a request below /api/2.0/mlflow/, or below /api/3.0/mlflow/ for a path that begins with "3:". The body of a GET
// is a JSON object of its parameters.
func (s *team) call(who, method, path, body string) (int, map[string]any) {
	s.t.Helper()
	version := "2.0"
	if rest, ok := strings.CutPrefix(path, "3:"); ok {
		version, path = "3.0", rest
	}
	address := s.url + "/api/" + version + "/mlflow/" + path
	if method == http.MethodGet {
		var params map[string]any
		if err := json.Unmarshal([]byte(body), &params); err != nil {
			s.t.Fatalf("%s: %v", body, err)
		}
		query := url.Values{}
		for k, v := range params {
			query.Set(k, fmt.Sprint(v))
		}
		address, body = address+"?"+query.Encode(), ""
	}
	return requestJSON(s.t, who, method, address, body)
}

// ok makes a request that succeeds.
func (s *team) ok(who, method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.call(who, method, path, body)
	if status != http.StatusOK {
		s.t.Errorf("%s %s %s as %s: %d %v", method, path, body, who, status, answer)
	}
	return answer
}

// refused makes a request that is refused with a status and the start of a message.
func (s *team) refused(who, method, path, body string, status int, message string) {
	s.t.Helper()
	got, answer := s.call(who, method, path, body)
	if text, _ := answer["message"].(string); got != status || !strings.HasPrefix(text, message) {
		s.t.Errorf("%s %s %s as %s: %d %v, want %d %s…", method, path, body, who, got, answer, status, message)
	}
}

// forms are the requests of the auth API, each with who may make it besides administrators.
func (s *team) forms() []form {
	roleID := fmt.Sprint(s.ok("ada", "POST", "3:roles/create", `{"name":"deployer","workspace":"default"}`)["role"].(map[string]any)["id"])
	permission := s.ok("ada", "POST", "3:roles/permissions/add", `{"role_id":`+roleID+`,"resource_type":"registered_model","resource_pattern":"x","permission":"READ"}`)
	permissionID := fmt.Sprint(permission["role_permission"].(map[string]any)["id"])
	s.ok("ada", "POST", "3:roles/assign", `{"role_id":`+roleID+`,"username":"carl"}`)
	const (
		experiment = `"username":"carl","resource_type":"experiment","resource_id":"1"`
		model      = `"username":"carl","resource_type":"registered_model","resource_id":"churn"`
		wildcard   = `"username":"carl","resource_type":"registered_model","resource_id":"*"`
		byName     = `"username":"carl","resource_type":"experiment","resource_id":"trials"`
		server     = `"username":"carl","resource_type":"workspace","resource_id":"*"`
	)
	return []form{
		{"POST", "users/create", `{"username":"new","password":"` + teamPassword + `"}`, ""},
		{"GET", "users/get", `{"username":"carl"}`, "carl"},
		{"GET", "users/list", `{}`, ""},
		{"GET", "users/current", `{}`, everybody},
		{"PATCH", "users/update-password", `{"username":"carl","password":"` + teamPassword + `"}`, "carl"},
		{"PATCH", "users/update-admin", `{"username":"carl","is_admin":false}`, ""},
		{"DELETE", "users/delete", `{"username":"new"}`, ""},
		{"GET", "3:users/current/permissions", `{}`, everybody},
		{"GET", "3:users/permissions/list", `{"username":"carl"}`, "carl"},
		{"POST", "3:users/permissions/grant", `{` + experiment + `,"permission":"READ"}`, "bob"},
		{"GET", "3:users/permissions/get", `{` + experiment + `}`, "bob carl"},
		{"POST", "3:users/permissions/revoke", `{` + experiment + `}`, "bob"},
		{"POST", "3:users/permissions/grant", `{` + model + `,"permission":"DENY"}`, "bob"},
		{"GET", "3:users/permissions/get", `{` + model + `}`, "bob carl"},
		{"POST", "3:users/permissions/revoke", `{` + model + `}`, "bob"},
		{"POST", "3:users/permissions/grant", `{` + wildcard + `,"permission":"READ"}`, ""},
		{"GET", "3:users/permissions/get", `{` + wildcard + `}`, "carl"},
		{"POST", "3:users/permissions/revoke", `{` + wildcard + `}`, ""},
		{"POST", "3:users/permissions/grant", `{` + byName + `,"permission":"READ"}`, ""},
		{"POST", "3:users/permissions/revoke", `{` + byName + `}`, ""},
		{"POST", "3:users/permissions/grant", `{` + server + `,"permission":"USE"}`, ""},
		{"POST", "3:users/permissions/revoke", `{` + server + `}`, ""},
		{"GET", "3:users/roles/list", `{"username":"carl"}`, "carl"},
		{"POST", "3:roles/create", `{"name":"another","workspace":"default"}`, ""},
		{"GET", "3:roles/get", `{"role_id":` + roleID + `}`, "carl"},
		{"GET", "3:roles/list", `{}`, everybody},
		{"PATCH", "3:roles/update", `{"role_id":` + roleID + `,"description":"d"}`, ""},
		{"POST", "3:roles/assign", `{"role_id":` + roleID + `,"username":"dora"}`, ""},
		{"DELETE", "3:roles/unassign", `{"role_id":` + roleID + `,"username":"dora"}`, ""},
		{"GET", "3:roles/users/list", `{"role_id":` + roleID + `}`, ""},
		{"POST", "3:roles/permissions/add", `{"role_id":` + roleID + `,"resource_type":"experiment","resource_pattern":"*","permission":"READ"}`, ""},
		{"GET", "3:roles/permissions/list", `{"role_id":` + roleID + `}`, "carl"},
		{"PATCH", "3:roles/permissions/update", `{"role_permission_id":` + permissionID + `,"permission":"EDIT"}`, ""},
		{"DELETE", "3:roles/permissions/remove", `{"role_permission_id":` + permissionID + `}`, ""},
		{"DELETE", "3:roles/delete", `{"role_id":` + roleID + `}`, ""},
		{"POST", "experiments/permissions/create", `{"experiment_id":"1","username":"carl","permission":"READ"}`, "bob"},
		{"GET", "experiments/permissions/get", `{"experiment_id":"1","username":"carl"}`, "bob"},
		{"PATCH", "experiments/permissions/update", `{"experiment_id":"1","username":"carl","permission":"EDIT"}`, "bob"},
		{"DELETE", "experiments/permissions/delete", `{"experiment_id":"1","username":"carl"}`, "bob"},
		{"POST", "registered-models/permissions/create", `{"name":"churn","username":"carl","permission":"READ"}`, "bob"},
		{"GET", "registered-models/permissions/get", `{"name":"churn","username":"carl"}`, "bob"},
		{"PATCH", "registered-models/permissions/update", `{"name":"churn","username":"carl","permission":"EDIT"}`, "bob"},
		{"DELETE", "registered-models/permissions/delete", `{"name":"churn","username":"carl"}`, "bob"},
	}
}

type form struct{ method, path, body, who string }

const everybody = "everybody"

func TestAuthAPI_WhoMayDoWhat(t *testing.T) {
	s := newTeam(t)
	for _, f := range s.forms() {
		t.Run(f.method+" "+f.path+" "+f.body, func(t *testing.T) {
			for _, who := range []string{"dora", "scoped dora", "carl", "bob", "scoped bob", "scoped ada", "ada"} {
				status, answer := s.call(who, f.method, f.path, f.body)
				name, narrowed := strings.CutPrefix(who, "scoped ")
				// A viewer's token gives neither MANAGE nor an administrator's rights.
				may := who == "ada" || strings.Contains(f.who, name) && !narrowed || f.who == everybody
				// What is not refused for who asks may be so for what is asked: it exists already, or the password is missing.
				if refused := status == http.StatusForbidden; refused == may {
					t.Errorf("as %s: %d %v", who, status, answer)
				}
				if status >= http.StatusInternalServerError || who == "ada" && status == http.StatusForbidden {
					t.Errorf("as %s: %d %v", who, status, answer)
				}
			}
		})
	}
	s.refused("stranger", "GET", "users/current", `{}`, http.StatusUnauthorized, "nobody")
}

func TestAuthAPI_WithoutAuthentication(t *testing.T) {
	s := newTeam(t)
	s.serve(auth.Off{})
	want := map[string]any{"user": map[string]any{"id": 0.0, "username": "", "is_admin": true}, "is_basic_auth": false}
	if diff := cmp.Diff(want, s.ok("", "GET", "users/current", `{}`)); diff != "" {
		t.Error(diff)
	}
	for _, f := range s.forms() {
		if status, answer := s.call("", f.method, f.path, f.body); status >= http.StatusInternalServerError || status == http.StatusForbidden {
			t.Errorf("%s %s %s: %d %v", f.method, f.path, f.body, status, answer)
		}
	}
}

func TestUsers_OnTheWire(t *testing.T) {
	s := newTeam(t)
	s.ok("bob", "POST", "3:users/permissions/grant", `{"username":"carl","resource_type":"registered_model","resource_id":"churn","permission":"USE"}`)
	s.ok("bob", "POST", "experiments/permissions/create", `{"username":"carl","experiment_id":"1","permission":"NO_PERMISSIONS"}`)
	id := float64(s.ids["carl"])
	want := map[string]any{"user": map[string]any{
		"id": id, "username": "carl", "is_admin": false,
		"experiment_permissions":       []any{map[string]any{"experiment_id": "1", "user_id": id, "permission": "NO_PERMISSIONS"}},
		"registered_model_permissions": []any{map[string]any{"name": "churn", "user_id": id, "permission": "USE"}},
	}}
	if diff := cmp.Diff(want, s.ok("carl", "GET", "users/get", `{"username":"carl"}`)); diff != "" {
		t.Error(diff)
	}
	created := s.ok("ada", "POST", "users/create", `{"username":"eve","password":"`+teamPassword+`"}`)["user"].(map[string]any)
	delete(created, "id")
	if diff := cmp.Diff(map[string]any{"username": "eve", "is_admin": false, "experiment_permissions": []any{}, "registered_model_permissions": []any{}}, created); diff != "" {
		t.Error(diff)
	}
	held := s.ok("carl", "GET", "3:users/current/permissions", `{}`)["permissions"].([]any)
	if len(held) != 2 || held[1].(map[string]any)["permission"] != "DENY" || held[1].(map[string]any)["role_name"] != fmt.Sprintf("__user_%d__", s.ids["carl"]) {
		t.Errorf("carl holds %v", held)
	}
	all := s.ok("ada", "GET", "users/list", `{}`)["users"].([]any)
	if len(all) != 5 || len(all[1].(map[string]any)["roles"].([]any)) != 2 {
		t.Errorf("got users %v", all)
	}
}

func TestUsers_MistakesAreToldWithWhatToDo(t *testing.T) {
	s := newTeam(t)
	const password = `"password":"` + teamPassword + `"`
	grant := func(kind, id, permission string) string {
		return fmt.Sprintf(`{"username":"carl","resource_type":%q,"resource_id":%q,"permission":%q}`, kind, id, permission)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "users/create", `{"username":"bob",` + password + `}`, 400, "User (username=bob) already exists."},
		{"POST", "users/create", `{"username":"",` + password + `}`, 400, "Missing value for required parameter 'username'."},
		{"POST", "users/create", `{"username":"a:b",` + password + `}`, 400, "The user's name \"a:b\" must not have a ':'"},
		{"POST", "users/create", `{"username":"x","password":"short"}`, 400, "The password must be at least 12 characters"},
		{"POST", "users/create", `{"username":"x","password":"            "}`, 400, "The password must not be blank"},
		{"GET", "users/get", `{"username":"nobody"}`, 404, "User with username=nobody not found"},
		{"PATCH", "users/update-admin", `{"username":"bob"}`, 400, "Missing value for required parameter 'is_admin'."},
		{"PATCH", "users/update-admin", `{"username":"bob","is_admin":"yes"}`, 400, "Invalid value"},
		{"PATCH", "users/update-admin", `{"username":"ada","is_admin":false}`, 400, "User 'ada' is the last administrator"},
		{"PATCH", "users/update-password", `{"username":"nobody",` + password + `}`, 404, "User with username=nobody not found"},
		{"DELETE", "users/delete", `{"username":"ada"}`, 400, "Users cannot delete themselves."},
		{"DELETE", "users/delete", `{"username":"nobody"}`, 404, "User with username=nobody not found"},
		{"POST", "3:roles/create", `{"name":"x","workspace":"prod"}`, 400, "There is no workspace 'prod'"},
		{"POST", "3:roles/create", `{"name":"viewer","workspace":"default"}`, 400, "Role (name=viewer, workspace=default) already exists."},
		{"GET", "3:roles/get", `{"role_id":"x"}`, 400, "Invalid value"},
		{"GET", "3:roles/get", `{"role_id":99999}`, 404, "Role with id=99999 not found"},
		{"PATCH", "3:roles/update", `{"role_id":1}`, 400, "At least one of 'name' or 'description'"},
		{"PATCH", "3:roles/update", `{"role_id":1,"name":""}`, 400, "Role name cannot be empty."},
		{"POST", "3:roles/permissions/add", `{"role_id":1,"resource_type":"experiment","resource_pattern":"*","permission":"X"}`, 400, "Invalid permission \"X\": it must be one of"},
		{"POST", "3:users/permissions/grant", grant("prompt", "p", "READ"), 400, "resource_type 'prompt' has no permissions of its own"},
		{"GET", "3:users/permissions/get", grant("run", "p", "READ"), 400, "resource_type 'run' has no permissions of its own"},
		{"POST", "3:users/permissions/revoke", grant("zzz", "p", "READ"), 400, "Invalid resource type 'zzz'."},
		{"POST", "3:users/permissions/grant", grant("experiment", "1", "NO_PERMISSIONS"), 400, "Invalid permission 'NO_PERMISSIONS'"},
		{"POST", "3:users/permissions/revoke", grant("experiment", "1", "READ"), 404, "Permission for user=carl on resource_type=experiment, resource_id=1 not found."},
		{"GET", "experiments/permissions/get", `{"experiment_id":"1","username":"carl"}`, 404, "Experiment permission with experiment_id=1 and username=carl not found"},
		{"PATCH", "registered-models/permissions/update", `{"name":"churn","username":"carl","permission":"READ"}`, 404, "Registered model permission with name=churn and username=carl not found"},
		{"POST", "registered-models/permissions/create", `{"name":"churn","username":"bob","permission":"READ"}`, 400, "Registered model permission (name=churn, username=bob) already exists."},
		{"POST", "experiments/permissions/create", `{"experiment_id":"1","username":"nobody","permission":"READ"}`, 404, "User with username=nobody not found"},
	} {
		t.Run(c.method+" "+c.path+" "+c.body, func(t *testing.T) {
			s.refused("ada", c.method, c.path, c.body, c.status, c.message)
		})
	}
}

func TestUserPermission_IsWhatTheUserMayDo(t *testing.T) {
	s := newTeam(t)
	s.ok("ada", "POST", "3:roles/assign", `{"role_id":1,"username":"carl"}`)
	for _, c := range []struct {
		user, kind, id string
		allowed        bool
		permission     string
	}{
		{"carl", "experiment", "1", false, "READ"},
		{"carl", "experiment", "trials", false, "READ"},
		{"bob", "experiment", "1", true, "MANAGE"},
		{"bob", "registered_model", "other", true, "EDIT"},
		{"bob", "workspace", "*", true, "USE"},
		{"ada", "registered_model", "churn", true, "MANAGE"},
		{"dora", "experiment", "1", false, "NO_PERMISSIONS"},
		{"dora", "experiment", "999", false, "NO_PERMISSIONS"},
		{"dora", "registered_model", "none", false, "NO_PERMISSIONS"},
	} {
		for _, who := range []string{"ada", c.user} {
			got := s.ok(who, "GET", "3:users/permissions/get", fmt.Sprintf(`{"username":%q,"resource_type":%q,"resource_id":%q}`, c.user, c.kind, c.id))
			if diff := cmp.Diff(map[string]any{"allowed": c.allowed, "permission": c.permission}, got); diff != "" {
				t.Errorf("%s on %s %s: %s", c.user, c.kind, c.id, diff)
			}
		}
	}
}

func TestUpdatePassword_OfOneselfNeedsTheCurrentOne(t *testing.T) {
	s := newTeam(t)
	s.ok("ada", "PATCH", "users/update-password", `{"username":"bob","password":"`+teamPassword+`"}`)
	const changed = "another horse battery"
	s.refused("carl", "PATCH", "users/update-password", `{"username":"carl","password":"`+changed+`","current_password":"x"}`, 400, "User 'carl' has no password to change")
	s.refused("bob", "PATCH", "users/update-password", `{"username":"bob","password":"`+changed+`"}`, 400, "Current password is required")
	s.refused("bob", "PATCH", "users/update-password", `{"username":"bob","password":"`+teamPassword+`","current_password":"`+teamPassword+`"}`, 400, "New password must differ")
	s.ok("bob", "PATCH", "users/update-password", `{"username":"bob","password":"`+changed+`","current_password":"`+teamPassword+`"}`)
	for range 5 {
		s.refused("bob", "PATCH", "users/update-password", `{"username":"bob","password":"`+teamPassword+`","current_password":"guess"}`, 400, "Current password does not match.")
	}
	status, answer := s.call("bob", "PATCH", "users/update-password", `{"username":"bob","password":"`+teamPassword+`","current_password":"guess"}`)
	if status != http.StatusTooManyRequests {
		t.Errorf("the guesses go on: %d %v", status, answer)
	}
}

func TestUsers_ChangesWorkAtOnce(t *testing.T) {
	s := newTeam(t)
	const changed = "another horse battery"
	s.ok("ada", "PATCH", "users/update-password", `{"username":"bob","password":"`+teamPassword+`"}`)
	s.ok("carl", "GET", "users/current", `{}`)
	for _, name := range []string{"carl", "dora"} {
		s.ok("ada", "DELETE", "users/delete", `{"username":"`+name+`"}`)
	}
	if err := s.store.SetPassword(t.Context(), "ada", passwordHash(t, teamPassword)); err != nil {
		t.Fatal(err)
	}
	s.serve(auth.NewAuthenticator(s.store, auth.Options{Required: true, Log: slog.New(slog.DiscardHandler), Now: time.Now}))
	ada, bob := basicAuth("ada", teamPassword), basicAuth("bob", teamPassword)
	s.ok(bob, "GET", "users/current", `{}`)
	s.refused(bob, "GET", "users/list", `{}`, 403, "User 'bob' must be an administrator")
	s.ok(ada, "PATCH", "users/update-admin", `{"username":"bob","is_admin":true}`)
	s.ok(bob, "GET", "users/list", `{}`)
	s.ok(ada, "PATCH", "users/update-password", `{"username":"bob","password":"`+changed+`"}`)
	s.refused(bob, "GET", "users/current", `{}`, 401, "User name or password is wrong.")
	bob = basicAuth("bob", changed)
	s.ok(bob, "GET", "users/current", `{}`)
	s.ok(ada, "DELETE", "users/delete", `{"username":"bob"}`)
	s.refused(bob, "GET", "users/current", `{}`, 401, "User name or password is wrong.")
}

func TestUsers_WhatMLflowsLack(t *testing.T) {
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
