package mlflowapi_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// grant gives bob a level.
func (s *guardedServer) grant(kind auth.Kind, pattern string, level auth.Level) {
	s.t.Helper()
	if err := s.store.Grant(s.t.Context(), models.Holder{User: "bob"}, models.DirectGrant(kind, pattern, level)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *guardedServer) assign(user, role string) {
	s.t.Helper()
	roles, err := s.store.Roles(s.t.Context())
	i := slices.IndexFunc(roles, func(r *models.Role) bool { return r.Name == role })
	if err != nil || i < 0 {
		s.t.Fatalf("role %s: %v", role, err)
	}
	if _, err := s.store.AssignRole(s.t.Context(), models.Holder{User: user}, roles[i].ID); err != nil {
		s.t.Fatal(err)
	}
}

// lines is what auth/explain says to a caller.
func (s *guardedServer) lines(as, query string) []string {
	s.t.Helper()
	var lines []string
	for _, line := range s.ok(as, "GET", "auth/explain?"+query, "")["lines"].([]any) {
		lines = append(lines, line.(string))
	}
	return lines
}

func TestExplain_SaysWhy(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "churn-eu"}`)
		s.ok("ada", "POST", "/api/2.0/mlflow/experiments/create", `{"name": "churn"}`)
		s.assign("bob", "viewer")
		s.grant(auth.RegisteredModel, "churn-*", auth.Edit)
		s.grant(auth.Experiment, "churn", auth.Deny)
		_, token := s.newToken("bob", `{"name": "ci", "role": "viewer", "expires": "1d"}`)
		ends := s.now.AddDate(0, 0, 1).UTC().Format("2006-01-02T15:04:05Z")
		const noGrant = "No grant to the user, or to the user's groups and roles, covers it: the server's default permission counts, NO_PERMISSIONS."
		for _, test := range []struct {
			query string
			want  []string
		}{
			{"username=bob&model=churn-eu", []string{
				"User 'bob' has EDIT on registered model 'churn-eu' and may see and change it, but not delete it.",
				"Decided by EDIT by pattern churn-* (the user).", "Also READ by pattern * (role viewer).",
			}},
			{"username=bob&experiment_name=churn", []string{
				"User 'bob' has DENY on experiment 1 and may not even see it.",
				"Decided by DENY by name churn (the user), which overrules every other grant.", "Also READ by pattern * (role viewer).",
			}},
			{"username=bob&model=churn-eu&token=" + token, []string{
				"User 'bob' has READ on registered model 'churn-eu' and may see it, but not change it.",
				"Decided by EDIT by pattern churn-* (the user).", "Also READ by pattern * (role viewer).",
				"The token's role viewer allows READ at most.", "Decided by READ by pattern * (the token's role).", "The token ends at " + ends + ".",
			}},
			{"username=carl&experiment_id=1", []string{"User 'carl' has NO_PERMISSIONS on experiment 1 and may not even see it.", noGrant}},
			{"username=carl&model=new", []string{
				"User 'carl' may not create the registered model 'new', which does not exist: that takes USE on the server, as the role editor has, or EDIT on a pattern that matches the name.", noGrant,
			}},
			{"username=bob&model=churn-us", []string{
				"User 'bob' may create the registered model 'churn-us', which does not exist.",
				"Decided by EDIT by pattern churn-* (the user).", "Also READ by pattern * (role viewer).",
			}},
			{"username=carl", []string{
				"User 'carl' may not create experiments and registered models of any name: that takes USE on the server, as the role editor has, or EDIT on a pattern that matches the name.",
				"No grant to the user, or to the user's groups and roles, is about the server.",
			}},
			{"username=ada&experiment_id=1", []string{
				"User 'ada' has MANAGE on experiment 1 and may see, change and delete it, and grant permissions on it.",
				"The user is an administrator, who may do everything: grants do not matter.",
			}},
		} {
			if diff := cmp.Diff(test.want, s.lines("ada", test.query)); diff != "" {
				t.Errorf("%s: %s", test.query, diff)
			}
		}
		want := map[string]any{
			"username": "bob", "resource_type": "registered_model", "resource_id": "churn-eu", "exists": true, "permission": "EDIT", "is_admin": false, "disabled": false,
			"default_permission": "NO_PERMISSIONS", "groups": []any{}, "grants": []any{
				map[string]any{"permission": "EDIT", "pattern": "churn-*", "exact": false, "via": "the user", "decides": true},
				map[string]any{"permission": "READ", "pattern": "*", "exact": false, "via": "role viewer", "decides": false},
			},
		}
		got := s.ok("ada", "GET", "auth/explain?username=bob&model=churn-eu", "")
		delete(got, "lines")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// The explanation and the server's answers are the same, for every level.
func TestExplain_SaysWhatTheServerDoes(t *testing.T) {
	s := newGuardedServer(t, modelstest.SQLite(t))
	s.users("ada", "bob")
	s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`)
	for _, level := range []auth.Level{auth.NoPermissions, auth.Read, auth.Use, auth.Edit, auth.Manage, auth.Deny} {
		if level != auth.NoPermissions {
			s.grant(auth.RegisteredModel, "m", level)
		}
		if got := s.ok("ada", "GET", "auth/explain?username=bob&model=m", "")["permission"]; got != level.String() {
			t.Errorf("explains %v, want %s", got, level)
		}
		status, _ := s.call("bob", "GET", "/api/2.0/mlflow/registered-models/get?name=m", "")
		if may := level >= auth.Read; (status == 200) != may {
			t.Errorf("with %s get answers %d", level, status)
		}
		status, _ = s.call("bob", "PATCH", "/api/2.0/mlflow/registered-models/update", `{"name": "m", "description": "d"}`)
		if may := level >= auth.Edit; (status == 200) != may {
			t.Errorf("with %s update answers %d", level, status)
		}
	}
}

func TestExplain_AnswersAdministratorsManagersAndTheUser(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`)
		s.ok("ada", "POST", "/api/2.0/mlflow/experiments/create", `{"name": "secret plans"}`)
		s.refused("bob", "GET", "auth/explain?username=carl&model=m", "", 403, "User 'bob' needs MANAGE on registered model 'm' (has NO_PERMISSIONS)")
		s.refused("bob", "GET", "auth/explain?username=carl", "", 403, "User 'bob' must be an administrator")
		s.refused("", "GET", "auth/explain?username=carl&model=m", "", 401, "You are not logged in")
		if got := s.ok("bob", "GET", "auth/explain?username=bob&experiment_id=1", ""); got["experiment_name"] != nil {
			t.Errorf("bob, who may not read it, is told the experiment's name: %v", got)
		}
		s.grant(auth.RegisteredModel, "m", auth.Manage)
		if got := s.lines("bob", "username=carl&model=m")[0]; got != "User 'carl' has NO_PERMISSIONS on registered model 'm' and may not even see it." {
			t.Error(got)
		}
		scoped, _ := s.newToken("bob", `{"name": "ci", "role": "viewer", "expires": "1d"}`)
		s.refused(scoped, "GET", "auth/explain?username=carl&model=m", "", 403, "User 'bob' needs MANAGE on registered model 'm' (has READ: the token's role allows no more)")
		want := []string{
			"User 'bob' has READ on registered model 'm' and may see it, but not change it.",
			"Decided by MANAGE on exactly this one (the user).", "The token's role viewer allows READ at most.", "Decided by READ by pattern * (the token's role).",
		}
		if diff := cmp.Diff(want, s.lines(scoped, "model=m")); diff != "" {
			t.Errorf("a token's own explanation: %s", diff)
		}
		if err := s.store.SetDisabled(t.Context(), "carl", true); err != nil {
			t.Fatal(err)
		}
		if got := s.lines("ada", "username=carl&model=m")[1]; got != "The user is disabled and cannot log in, until an administrator enables the user." {
			t.Error(got)
		}
	})
}

func TestExplain_Refuses(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		_, token := s.newToken("bob", `{"name": "ci", "expires": "1d"}`)
		for query, want := range map[string]struct {
			status int
			prefix string
		}{
			"username=dora&model=m":                {404, "User with username=dora not found"},
			"username=bob&experiment_id=99":        {404, "No Experiment with id=99 exists"},
			"username=bob&experiment_id=x":         {400, "Invalid experiment ID 'x'"},
			"username=bob&model=m&token=none":      {404, "User 'bob' has no API token with id=none"},
			"username=carl&model=m&token=" + token: {404, "User 'carl' has no API token with id=" + token},
			"username=bob&model=m&experiment_id=0": {400, "Give one of 'experiment_id', 'experiment_name' and 'model'"},
		} {
			s.refused("ada", "GET", "auth/explain?"+query, "", want.status, want.prefix)
		}
	})
}

func TestExplain_OnAnOpenServer(t *testing.T) {
	s := newTrackingServer(t)
	s.ok("POST", "users/create", `{"username": "ada", "password": "password of ada"}`)
	got := s.ok("GET", "/api/3.0/greenroom/auth/explain?username=ada&model=m", "")
	if lines := fmt.Sprint(got["lines"]); lines != "[User 'ada' may create the registered model 'm', which does not exist. This server asks nobody to log in: everyone may do everything.]" {
		t.Error(lines)
	}
}

func TestExplain_KnowsTheDefaultPermission(t *testing.T) {
	s := newGuardedServer(t, modelstest.SQLite(t), func(o *auth.Options) { o.Default = auth.Read })
	s.users("ada", "bob")
	s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`)
	const has = "User 'bob' has READ on registered model 'm' and may see it, but not change it."
	for _, test := range []struct {
		granted auth.Level
		want    []string
	}{
		{auth.NoPermissions, []string{has, "No grant to the user, or to the user's groups and roles, covers it: the server's default permission counts, READ."}},
		{auth.Read, []string{has, "Decided by READ on exactly this one (the user)."}},
		{auth.Edit, []string{"User 'bob' has EDIT on registered model 'm' and may see and change it, but not delete it.", "Decided by EDIT on exactly this one (the user)."}},
		{auth.Deny, []string{"User 'bob' has DENY on registered model 'm' and may not even see it.", "Decided by DENY on exactly this one (the user), which overrules every other grant."}},
	} {
		if test.granted != auth.NoPermissions {
			s.grant(auth.RegisteredModel, "m", test.granted)
		}
		if diff := cmp.Diff(test.want, s.lines("ada", "username=bob&model=m")); diff != "" {
			t.Errorf("with %s: %s", test.granted, diff)
		}
	}
	s = newGuardedServer(t, modelstest.SQLite(t), func(o *auth.Options) { o.Default = auth.Edit })
	s.users("ada", "bob")
	s.ok("ada", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`)
	s.grant(auth.RegisteredModel, "m", auth.Read)
	want := []string{
		"User 'bob' has EDIT on registered model 'm' and may see and change it, but not delete it.",
		"Decided by the server's default permission, EDIT, which everyone has at least.", "Also READ on exactly this one (the user).",
	}
	if diff := cmp.Diff(want, s.lines("bob", "model=m")); diff != "" {
		t.Error(diff)
	}
}
