package mlflowapi_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

// guardedServer is a server that everyone has to log in to. Its clock is now.
// Write is what the server logs.
// onGuarded runs a test on a guarded server over each kind of database, with the users ada, an administrator, and bob and
// carl, who are none. A user's password is "password of NAME".
// passwordHash is a hash of a password, the same one each time.
// newGuardedServer is a server without users; the options begin with what onGuarded's have.
// users makes users, of whom the first is an administrator.
// call sends a request below /api/3.0/greenroom/ (another path if it begins with a slash) as a user by name, or with a token.
// newToken makes a token of the caller's and gives its text and id.
func TestTokens_FromCreationToRevocation(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		text, id := s.newToken("bob", `{"name": "ci", "role": "viewer", "expires": "90d"}`)
		if who := s.ok(text, "GET", "auth/whoami", ""); who["username"] != "bob" || who["role"] != "viewer" || who["credential"] != "token ci ("+id+")" ||
			who["expires_at"] != float64(s.now.Add(90*24*time.Hour).UnixMilli()) {
			t.Errorf("whoami with the token: %v", who)
		}
		list := s.ok("bob", "GET", "tokens/list", "")["tokens"].([]any)
		if len(list) != 1 || dig(list[0], "id") != id || dig(list[0], "name") != "ci" || dig(list[0], "username") != "bob" || dig(list[0], "role") != "viewer" ||
			dig(list[0], "last_used_at") == nil || dig(list[0], "revoked_at") != nil {
			t.Errorf("got %v", list)
		}
		if shown := fmt.Sprint(list); strings.Contains(shown, "hash") || strings.Contains(shown, text[len("greenroom_")+len(id)+1:]) {
			t.Errorf("the list shows a secret: %s", shown)
		}
		s.ok("bob", "POST", "tokens/revoke", `{"id": "`+id+`"}`)
		s.ok("bob", "POST", "tokens/revoke", `{"id": "`+id+`"}`)
		s.refused(text, "GET", "auth/whoami", "", 401, "The token 'ci' was revoked")
		if list := s.ok("bob", "GET", "tokens/list", "")["tokens"].([]any); dig(list[0], "revoked_at") == nil {
			t.Errorf("got %v", list)
		}
		if _, secret, _ := strings.Cut(text, id); strings.Contains(s.logged(), secret) {
			t.Error("the log shows a token")
		}
	})
}

func TestTokens_End(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		text, _ := s.newToken("bob", `{"name": "ci", "expires": "1h"}`)
		s.ok(text, "GET", "auth/whoami", "")
		s.sleep(time.Hour)
		s.refused(text, "GET", "auth/whoami", "", 401, "The token 'ci' expired")
	})
}

func TestTokens_AreTheirOwnersBusinessAndTheAdministrators(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		_, bobs := s.newToken("bob", `{"name": "b", "expires": "1d"}`)
		_, carls := s.newToken("ada", `{"username": "carl", "name": "c", "expires": "1d"}`)
		s.refused("bob", "POST", "tokens/create", `{"username": "ada", "name": "x", "expires": "1d"}`, 403, "User 'bob' must be an administrator")
		s.refused("bob", "GET", "tokens/list?username=carl", "", 403, "User 'bob' must be an administrator")
		s.refused("bob", "POST", "tokens/revoke", `{"id": "`+carls+`"}`, 404, "API token with id="+carls+" not found")
		s.refused("bob", "POST", "users/revoke-all", `{"username": "carl"}`, 403, "User 'bob' must be an administrator")
		s.refused("bob", "POST", "tokens/revoke-jwt", `{"issuer": "i", "jti": "j", "expires_at": 9}`, 403, "User 'bob' must be an administrator")
		for path, want := range map[string]string{"tokens/list": "[b c]", "tokens/list?username=carl": "[c]", "tokens/list?username=ada": "[]"} {
			names := []any{}
			for _, token := range s.ok("ada", "GET", path, "")["tokens"].([]any) {
				names = append(names, dig(token, "name"))
			}
			if got := fmt.Sprint(names); got != want {
				t.Errorf("%s lists %s to an administrator, want %s", path, got, want)
			}
		}
		if list := s.ok("bob", "GET", "tokens/list", "")["tokens"].([]any); len(list) != 1 || dig(list[0], "id") != bobs {
			t.Errorf("bob sees %v", list)
		}
		s.ok("bob", "GET", "/ajax-api/3.0/greenroom/tokens/list?username=bob", "")
		s.ok("ada", "POST", "tokens/revoke", `{"id": "`+bobs+`"}`)
		s.refused("", "GET", "tokens/list", "", 401, "You are not logged in")
		s.refused("bob", "GET", "/api/2.0/preview/greenroom/tokens/list", "", 404, "There is no")
	})
}

func TestTokens_WithARoleMakeNoOthers(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		scoped, id := s.newToken("ada", `{"name": "ci", "role": "manager", "expires": "1d"}`)
		for _, body := range []string{
			`{"name": "x", "expires": "1d"}`, `{"name": "x", "role": "manager", "expires": "1d"}`, `{"username": "ada", "name": "x", "expires": "1d"}`,
		} {
			s.refused(scoped, "POST", "tokens/create", body, 403, "User 'ada' logged in with a token that a role narrows")
		}
		s.refused(scoped, "POST", "tokens/create", `{"username": "bob", "name": "x", "expires": "1d"}`, 403, "User 'ada' must be an administrator, with a token that no role narrows")
		s.refused(scoped, "POST", "tokens/revoke", `{"id": "`+id+`"}`, 403, "User 'ada' logged in with a token that a role narrows")
		s.refused(scoped, "POST", "tokens/revoke-jwt", `{"issuer": "i", "jti": "j", "expires_at": 9}`, 403, "User 'ada' must be an administrator, with a token")
		if who := s.ok(scoped, "GET", "auth/whoami", ""); who["is_admin"] != false {
			t.Errorf("got %v", who)
		}
		whole, _ := s.newToken("bob", `{"name": "all", "expires": "1d"}`)
		s.newToken(whole, `{"name": "next", "expires": "1d"}`)
	})
}

func TestCreateToken_Refuses(t *testing.T) {
	s := newGuardedServer(t, modelstest.SQLite(t))
	s.users("ada")
	for _, test := range []struct {
		body   string
		status int
		prefix string
	}{
		{`{"expires": "1d"}`, 400, "Missing value for required parameter 'name'"},
		{`{"name": "x"}`, 400, "Missing value for required parameter 'expires'"},
		{`{"name": "x", "expires": "never"}`, 400, `"never" is not a lifetime: write`},
		{`{"name": "x", "expires": "367d"}`, 400, "A token must expire within 366 days"},
		{`{"name": "x", "expires": "99999999999d"}`, 400, `"99999999999d" is not a lifetime`},
		{`{"name": "x", "expires": "1d", "role": "boss"}`, 404, "Role with name=boss not found"},
		{`{"name": "x", "expires": "1d", "role": "__user_1__"}`, 400, "Role \"__user_1__\" holds what is granted"},
		{`{"name": "x", "expires": "1d", "username": "dora"}`, 404, "User with username=dora not found"},
		{`{"name": "` + strings.Repeat("x", 256) + `", "expires": "1d"}`, 400, "'name' exceeds the maximum length of 255 characters"},
	} {
		s.refused("ada", "POST", "tokens/create", test.body, test.status, test.prefix)
	}
	s.refused("ada", "POST", "tokens/revoke-jwt", `{"issuer": "i", "jti": "j", "expires_at": 1700000000}`, 400, "The JWT has expired by itself: expires_at must be in the future, in milliseconds")
}

func TestRevokeAll_LeavesThePassword(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		one, _ := s.newToken("bob", `{"name": "one", "expires": "1d"}`)
		two, _ := s.newToken("bob", `{"name": "two", "role": "viewer", "expires": "1d"}`)
		carls, _ := s.newToken("carl", `{"name": "three", "expires": "1d"}`)
		s.refused(two, "POST", "users/revoke-all", `{}`, 403, "User 'bob' logged in with a token that a role narrows")
		if answer := s.ok(one, "POST", "users/revoke-all", `{}`); answer["revoked_tokens"] != 2.0 {
			t.Errorf("got %v", answer)
		}
		s.refused(one, "GET", "auth/whoami", "", 401, "The token 'one' was revoked")
		s.refused(two, "GET", "auth/whoami", "", 401, "The token 'two' was revoked")
		s.ok(carls, "GET", "auth/whoami", "")
		s.ok("bob", "GET", "auth/whoami", "")
		s.ok("ada", "POST", "users/revoke-all", `{"username": "carl"}`)
		s.refused(carls, "GET", "auth/whoami", "", 401, "The token 'three' was revoked")
	})
}

func TestOpenServer_KnowsNoCaller(t *testing.T) {
	s := newTrackingServer(t)
	const base = "/api/3.0/greenroom/"
	if who := s.ok("GET", base+"auth/whoami", ""); who["username"] != "" || who["is_admin"] != true || who["credential"] != "none" {
		t.Errorf("got %v", who)
	}
	s.refused("POST", base+"tokens/create", `{"name": "x", "expires": "1d"}`, 400, "Name the user in parameter 'username'")
	s.refused("POST", base+"users/revoke-all", `{}`, 400, "Name the user in parameter 'username'")
	s.refused("POST", base+"setup", `{"username": "ada"}`, 403, "Set MLFLOW_TRACKING_TOKEN to the set-up token")
}

func TestRevokeJWT_EndsOne_RevokeAllTheOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	if _, err := auth.CreateKeyFile(file, "EdDSA"); err != nil {
		t.Fatal(err)
	}
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newGuardedServer(t, uri, func(o *auth.Options) {
			var err error
			if o.JWT, err = auth.NewJWTVerifier(auth.JWTOptions{KeyFile: file, Audiences: []string{"test"}, Now: o.Now}); err != nil {
				t.Fatal(err)
			}
		})
		s.users("ada", "bob")
		s.ok("ada", "POST", "groups/create", `{"name": "ops"}`)
		s.sleep(time.Second) // JWTs tell their time in seconds
		mint := func() string {
			t.Helper()
			token, err := auth.Mint(file, auth.MintRequest{Subject: "bob", Groups: []string{"ops"}, Roles: []string{"viewer"}, Audience: "test", Now: s.clock})
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		one, two := mint(), mint()
		who := s.ok(one, "GET", "auth/whoami", "")
		if fmt.Sprint(who["groups"]) != "[ops]" || who["expires_at"] == nil || who["username"] != "bob" {
			t.Errorf("got %v", who)
		}
		want := []string{
			"User 'bob' may not create the registered model 'm', which does not exist: that takes USE on the server, as the role editor has, or EDIT on a pattern that matches the name.",
			"Decided by READ by pattern * (role viewer).", "The user's groups: ops.",
		}
		if diff := cmp.Diff(want, s.lines(one, "model=m")); diff != "" {
			t.Errorf("the explanation leaves out what the JWT names: %s", diff)
		}
		id := strings.TrimPrefix(who["credential"].(string), "jwt greenroom ")
		s.ok("ada", "POST", "tokens/revoke-jwt", fmt.Sprintf(`{"issuer": "greenroom", "jti": %q, "expires_at": %.0f}`, id, who["expires_at"]))
		s.refused(one, "GET", "auth/whoami", "", 401, "The token was revoked")
		s.ok(two, "GET", "auth/whoami", "")
		s.sleep(time.Second)
		s.ok("ada", "POST", "users/revoke-all", `{"username": "bob"}`)
		s.refused(two, "GET", "auth/whoami", "", 401, "The token was revoked with all of its user")
	})
}

func TestAudit_TellsOfTokensWithoutTheirSecret(t *testing.T) {
	onGuarded(t, func(t *testing.T, s *guardedServer) {
		text, id := s.newToken("bob", `{"name": "ci", "role": "viewer", "expires": "90d"}`)
		s.refused(text, "POST", "tokens/create", `{"name": "x", "expires": "1d"}`, 403, "User 'bob' logged in with a token")
		s.ok("ada", "POST", "tokens/revoke", `{"id": "`+id+`"}`)
		log := fmt.Sprint(s.ok("ada", "GET", "audit/search", ""))
		for _, want := range []string{"tokens/create", "tokens/revoke", "user 'bob'", id, "refused"} {
			if !strings.Contains(log, want) {
				t.Errorf("the audit log tells nothing of %s: %s", want, log)
			}
		}
		if secret := text[len("greenroom_")+len(id)+1:]; strings.Contains(log, secret) {
			t.Error("the audit log has the token")
		}
	})
}
