package mlflowapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// guardedServer is a server that everyone has to log in to. Its clock is now.
type guardedServer struct {
	t     testing.TB
	url   string
	store *models.Store

	mu  sync.Mutex
	now time.Time
	log bytes.Buffer
}

// Write is what the server logs.
func (s *guardedServer) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(text)
}

func (s *guardedServer) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// onGuarded runs a test on a guarded server over each kind of database, with the users ada, an administrator, and bob and
// carl, who are none. A user's password is "password of NAME".
func onGuarded(t *testing.T, test func(t *testing.T, s *guardedServer)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newGuardedServer(t, uri)
		s.users("ada", "bob", "carl")
		test(t, s)
	})
}

var hashes sync.Map // a hash takes long

// passwordHash is a hash of a password, the same one each time.
func passwordHash(t testing.TB, password string) string {
	t.Helper()
	if hash, ok := hashes.Load(password); ok {
		return hash.(string)
	}
	hash, err := auth.NewPasswords().Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	hashes.Store(password, hash)
	return hash
}

// newGuardedServer is a server without users; the options begin with what onGuarded's have.
func newGuardedServer(t testing.TB, uri string, options ...func(*auth.Options)) *guardedServer {
	t.Helper()
	s := &guardedServer{t: t, now: time.Now()}
	log := slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", Now: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	opts := auth.Options{Required: true, Log: log, Now: s.clock}
	for _, set := range options {
		set(&opts)
	}
	server := httptest.NewServer(mlflowapi.New(store, mlflowapi.Config{Version: "test", Log: log, Auth: auth.NewAuthenticator(store, opts)}))
	t.Cleanup(server.Close)
	s.store, s.url = store, server.URL
	return s
}

// users makes users, of whom the first is an administrator.
func (s *guardedServer) users(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := s.store.CreateUser(s.t.Context(), models.NewUser{Name: name, PasswordHash: passwordHash(s.t, "password of "+name)}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *guardedServer) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *guardedServer) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// call sends a request below /api/3.0/greenroom/ (another path if it begins with a slash) as a user by name, or with a token.
func (s *guardedServer) call(as, method, path, body string) (int, map[string]any) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/3.0/greenroom/" + path
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	switch {
	case strings.HasPrefix(as, "greenroom_"), strings.HasPrefix(as, "eyJ"):
		req.Header.Set("Authorization", "Bearer "+as)
	case as != "":
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(as+":password of "+as)))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		s.t.Fatalf("%s %s answers %q: %v", method, path, text, err)
	}
	return resp.StatusCode, answer
}

func (s *guardedServer) ok(as, method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.call(as, method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s: %s %s %s answers %d %v", as, method, path, body, status, answer)
	}
	return answer
}

func (s *guardedServer) refused(as, method, path, body string, want int, prefix string) {
	s.t.Helper()
	status, answer := s.call(as, method, path, body)
	if message, _ := answer["message"].(string); status != want || !strings.HasPrefix(message, prefix) {
		s.t.Errorf("%s: %s %s %s answers %d %v, want %d %s…", as, method, path, body, status, answer, want, prefix)
	}
}

// newToken makes a token of the caller's and gives its text and id.
func (s *guardedServer) newToken(as, body string) (text, id string) {
	s.t.Helper()
	made := s.ok(as, "POST", "tokens/create", body)
	return made["token"].(string), dig(made, "info", "id").(string)
}

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

func TestSetup_MakesTheFirstAdministrator(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newGuardedServer(t, uri)
		token, hash := auth.NewSetupToken()
		if set, err := s.store.SetSetupToken(t.Context(), hash, s.now.Add(time.Hour)); err != nil || !set {
			t.Fatal(set, err)
		}
		other, _ := auth.NewSetupToken()
		s.refused("", "POST", "setup", `{"username": "ada"}`, 401, "You are not logged in")
		s.refused(other, "POST", "setup", `{"username": "eve", "password": "short"}`, 401, "The set-up token is not the newest one") // and no password is hashed
		s.refused(token, "POST", "setup", `{"username": "ada", "password": "short"}`, 400, "The password must be at least 12 characters")
		s.refused(token, "POST", "setup", `{"username": "a:b", "password": "password of a:b"}`, 400, "The user's name")
		for _, path := range []string{"auth/whoami", "tokens/list", "/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow/experiments/get?experiment_id=0"} {
			s.refused(token, "GET", path, "", 403, "User 'setup' may only make the first administrator: POST a user and a password to /api/3.0/greenroom/setup")
		}
		var winners atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if status, _ := s.call(token, "POST", "setup", `{"username": "ada", "password": "password of ada"}`); status == http.StatusOK {
					winners.Add(1)
				}
			})
		}
		all.Wait()
		if winners.Load() != 1 {
			t.Errorf("%d requests made the first administrator", winners.Load())
		}
		if who := s.ok("ada", "GET", "auth/whoami", ""); who["is_admin"] != true {
			t.Errorf("got %v", who)
		}
		s.refused(token, "POST", "setup", `{"username": "eve", "password": "password of eve"}`, 401, "The server is set up")
		s.refused("ada", "POST", "setup", `{"username": "eve", "password": "password of eve"}`, 403, "Set MLFLOW_TRACKING_TOKEN to the set-up token")
	})
}

func TestSetup_WithoutAPasswordGivesAToken(t *testing.T) {
	s := newGuardedServer(t, modelstest.SQLite(t))
	setupToken, hash := auth.NewSetupToken()
	if set, err := s.store.SetSetupToken(t.Context(), hash, s.now.Add(time.Hour)); err != nil || !set {
		t.Fatal(set, err)
	}
	token := s.ok(setupToken, "POST", "setup", `{"username": "ada"}`)["token"].(string)
	if who := s.ok(token, "GET", "auth/whoami", ""); who["username"] != "ada" || who["is_admin"] != true {
		t.Errorf("got %v", who)
	}
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
	mint := func() string {
		t.Helper()
		token, err := auth.Mint(file, auth.MintRequest{Subject: "bob", Groups: []string{"ops"}, Roles: []string{"viewer"}, Audience: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return token
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
