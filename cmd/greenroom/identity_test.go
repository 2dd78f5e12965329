package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

const password = "correct horse battery"

// as makes the commands that follow log in as a user.
func as(t testing.TB, user, password string) {
	t.Setenv("MLFLOW_TRACKING_USERNAME", user)
	t.Setenv("MLFLOW_TRACKING_PASSWORD", password)
	t.Setenv("MLFLOW_TRACKING_TOKEN", "")
}

// withToken makes the commands that follow log in with a token.
func withToken(t testing.TB, token string) {
	as(t, "", "")
	t.Setenv("MLFLOW_TRACKING_TOKEN", token)
}

// do runs greenroom with args that must succeed, and gives what it printed.
func do(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	code, stdout, stderr := commandWithInput(t, stdin, args...)
	if code != 0 {
		t.Fatalf("greenroom %s: %d %s %s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// step is one command of a story.
type step struct {
	args string
	code int
	want string // in standard output, or on failure in standard error
}

func follow(t *testing.T, steps []step, more ...string) {
	t.Helper()
	for _, step := range steps {
		code, stdout, stderr := commandWithInput(t, password+"\n", append(strings.Fields(step.args), more...)...)
		got := stdout
		if step.code != 0 {
			got = stderr
		}
		if code != step.code || !strings.Contains(got, step.want) {
			t.Errorf("greenroom %s: exit code %d, want %d; got %q (%q), want %q", step.args, code, step.code, stdout, stderr, step.want)
		}
		if strings.Contains(stdout+stderr, password) {
			t.Errorf("greenroom %s shows the password", step.args)
		}
	}
}

func administration() []step {
	return []step{
		{"user create ann --password-stdin", 0, "user ann is made, an administrator"},
		{"user create ann --password-stdin", 4, "already exists"},
		{"user create bob --password-stdin", 0, "user bob is made\n"},
		{"user create ci --no-password", 0, "user ci is made\n"},
		{"user create eve --issuer https://idp.company.com", 0, "user eve is made\n"},
		{"user create x:y --no-password", 4, "':'"},
		{"user list", 0, "JWTs of https://idp.company.com"},
		{"user show nope", 3, "not found"},
		{"user set-password bob --password-stdin", 0, "user bob has a new password"},
		{"user set-admin bob", 0, "user bob is an administrator"},
		{"user set-admin bob --revoke", 0, "user bob is no administrator"},
		{"user disable bob", 0, "user bob is disabled"},
		{"user show bob", 0, "disabled"},
		{"user enable bob", 0, "user bob is enabled"},

		{"group create interns", 0, "group interns is made"},
		{"group create interns", 4, "already exists"},
		{"group add interns bob eve", 0, "user eve is in group interns"},
		{"group add interns nope", 3, "not found"},
		{"group remove interns eve", 0, "user eve is no longer in group interns"},
		{"group list", 0, "interns  1 "},
		{"group show nope", 3, "not found"},

		{"role assign viewer --group interns", 0, "group interns has role viewer"},
		{"role assign viewer --user ci", 0, "user ci has role viewer"},
		{"role unassign viewer --user ci", 0, "user ci no longer has role viewer"},
		{"role assign nope --user ci", 3, "there is no role nope"},
		{"role assign viewer", 2, "--user NAME or --group NAME"},
		{"group show interns", 0, "READ  model *       role viewer"},
		{"user show bob", 0, "READ  experiment *  role viewer"},
		{"role create deployer --description ships", 0, "role deployer is made"},
		{"role grant deployer EDIT --model churn*", 0, "role deployer has EDIT on model churn*"},
		{"role grant deployer manage --model churn*", 0, "role deployer has MANAGE on model churn*"},
		{"role grant deployer USE --workspace", 0, "role deployer has USE on the server"},
		{"role grant deployer FLY --model churn*", 4, "MANAGE"},
		{"role grant deployer EDIT", 2, "--experiment, --model"},
		{"role show deployer", 0, "MANAGE  model churn*"},
		{"role revoke deployer --model churn*", 0, "role deployer no longer has MANAGE on model churn*"},
		{"role revoke deployer --model churn*", 3, "no permission on model churn*"},
		{"role list", 0, "USE on the server"},

		{"auth grant EDIT --user ci --model churn", 0, "user ci has EDIT on model churn"},
		{"auth grant READ --user ci --model churn", 0, "user ci has READ on model churn"},
		{"auth grant READ --user ci --experiment weekly", 0, "user ci has READ on experiment weekly"},
		{"auth grant EDIT --group interns --experiment 0", 0, "group interns has EDIT on experiment 0"},
		{"auth grant EDIT --user ci", 2, "on what?"},
		{"auth grant EDIT --model churn", 2, "for whom?"},
		{"auth grant OWN --user ci --model churn", 4, "MANAGE"},
		{"auth grant EDIT --user nope --model churn", 3, "not found"},
		{"auth explain --user ci --model churn", 0, "READ"},
		{"auth explain --user bob --experiment 0", 0, "EDIT"},
		{"auth explain --user bob --model churn", 0, "group interns, role viewer"},
		{"auth explain --user bob", 0, "may not create"},
		{"auth explain --user nope --model churn", 3, "not found"},
		{"auth revoke --user ci --model churn", 0, "user ci no longer holds"},
		{"auth revoke --user ci --model churn", 3, "not found"},
		{"auth revoke --group interns --experiment 0", 0, "group interns no longer holds"},

		{"token create --user ci --name deploy --role editor --expires 90d", 0, "greenroom_"},
		{"token create --user ci --name deploy --expires forever", 2, "such as 90d"},
		{"token create --user ci --name deploy --expires 900d", 4, "366 days"},
		{"token create --user ci --expires 90d", 2, "--name is missing"},
		{"token create --user ci --name x --role nope --expires 90d", 3, "nope"},
		{"token list", 0, "deploy  editor  valid"},
		{"token revoke nope", 3, "not found"},
		{"token revoke", 2, "--all"},
		{"token revoke x --all", 2, "--all"},
		{"token revoke --all --user ci", 0, "1 API tokens and all JWTs"},
		{"token list --user ci", 0, "revoked"},

		{"auth audit --user nope", 0, "TIME"},
		{"auth audit --object role* --max 2", 0, "roles/permissions/remove"},
		{"role delete deployer", 0, "role deployer is gone"},
		{"group delete interns", 0, "group interns is gone"},
		{"user delete bob", 0, "user bob is gone"},
		{"user delete ann", 4, ""},
	}
}

func TestAdministration_OverHTTP(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	steps := administration()
	follow(t, steps[:1])
	follow(t, []step{
		{"user list", 4, "You are not logged in"},
		{"models list", 4, "You are not logged in"},
	})
	as(t, "ann", password)
	follow(t, steps[1:])
	follow(t, []step{
		{"auth whoami", 0, "administrator"},
		{"auth setup --user bob --password-stdin", 4, "set-up token"},
		{"token create --name laptop --expires 1h", 0, "greenroom_"},
	})
}

func TestAdministration_OnTheDatabase(t *testing.T) {
	cleanEnvironment(t)
	uri := "sqlite:///greenroom.db"
	follow(t, []step{
		{"user list", 1, "greenroom db upgrade --backend-store-uri sqlite:///greenroom.db"},
		{"db upgrade", 0, "state"},
	}, "--backend-store-uri", uri)
	if code, stdout, _ := command(t, "user", "list", "--backend-store-uri", "sqlite:///typo.db"); code != 1 || stdout != "" {
		t.Errorf("a mistyped name: %d %s", code, stdout)
	}
	if _, err := os.Stat("typo.db"); err == nil {
		t.Error("a mistyped name made a database")
	}
	steps := administration()
	steps = slices.DeleteFunc(steps, func(s step) bool { return strings.Contains(s.args, "experiment 0") }) // there is none before the first start of a server
	follow(t, steps, "--backend-store-uri", uri)
	follow(t, []step{
		{"auth whoami --tracking-uri http://127.0.0.1:1", 2, "not both"},
		{"auth whoami", 0, "logged in with  database"},
		{"auth audit --user operator* --max 1", 0, "TIME"},
		{"token create --name x --expires 1d", 4, "username"},
	}, "--backend-store-uri", uri)

	t.Setenv("MLFLOW_BACKEND_STORE_URI", uri)
	follow(t, []step{{"user list", 0, "ann"}})
	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
	follow(t, []step{{"user set-admin ann", 1, "can't reach the server"}})
}

func TestToken_ShownOnceAndAloneOnStandardOutput(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	do(t, password, "user", "create", "ann", "--password-stdin")
	as(t, "ann", password)
	token := strings.TrimSuffix(do(t, "", "token", "create", "--name", "laptop", "--expires", "2d"), "\n")
	if !regexp.MustCompile(`^greenroom_[a-z2-7]{12}_[\w-]+$`).MatchString(token) {
		t.Fatalf("printed %q", token)
	}
	id := strings.Split(token, "_")[1]
	var list []map[string]any
	if err := json.Unmarshal([]byte(do(t, "", "token", "list", "--json")), &list); err != nil || len(list) != 1 || list[0]["id"] != id {
		t.Errorf("%v %v", list, err)
	}
	withToken(t, token)
	if got := do(t, "", "auth", "whoami"); !strings.Contains(got, "token laptop") {
		t.Error(got)
	}
	do(t, "", "token", "revoke", id)
	if code, _, stderr := command(t, "auth", "whoami"); code != 4 || !strings.Contains(stderr, "'laptop' was revoked") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestKeys_SignTokensThatTheServerTakes(t *testing.T) {
	cleanEnvironment(t)
	first := strings.TrimSpace(do(t, "", "key", "create", "keys.json"))
	if info, err := os.Stat("keys.json"); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if code, _, stderr := command(t, "key", "create", "keys.json"); code != 1 || !strings.Contains(stderr, "exists") {
		t.Errorf("a second one: %d %s", code, stderr)
	}
	do(t, "", "db", "upgrade")
	do(t, password, "user", "create", "ann", "--password-stdin", "--backend-store-uri", "sqlite:///greenroom.db")
	s := startServer(t, "--key-file", "keys.json")
	if !strings.Contains(s.banner, "JWTs of the keys in keys.json") {
		t.Error(s.banner)
	}
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	mint := func() string {
		return strings.TrimSpace(do(t, "", "token", "mint", "--key-file", "keys.json", "--user", "ann"))
	}
	old := mint()
	second := strings.TrimSpace(do(t, "", "key", "rotate", "keys.json"))
	shown := do(t, "", "key", "show", "keys.json")
	if !strings.Contains(shown, first+"  EdDSA      verifies\n") || !strings.Contains(shown, second+"  EdDSA      signs and verifies\n") {
		t.Error(shown)
	}
	for _, token := range []string{old, mint()} {
		withToken(t, token)
		until(t, func() bool { // the server reads a changed file within a second
			code, stdout, _ := command(t, "auth", "whoami")
			return code == 0 && strings.Contains(stdout, "jwt greenroom")
		})
	}
	withToken(t, strings.TrimSpace(do(t, "", "token", "mint", "--key-file", "keys.json", "--user", "ann", "--audience", "other")))
	if code, _, stderr := command(t, "auth", "whoami"); code != 4 || !strings.Contains(stderr, "not valid") {
		t.Errorf("for another audience: %d %s", code, stderr)
	}
	for args, want := range map[string]int{
		"token mint --key-file keys.json": 2, "token mint --user ann": 2, "token mint --key-file nope --user ann": 1,
		"token mint --key-file keys.json --user ann --ttl 25h": 1, "key create x --alg RS256": 1, "key show nope": 1, "key rotate keys.json --keep 0": 1,
	} {
		if code, _, stderr := command(t, strings.Fields(args)...); code != want {
			t.Errorf("greenroom %s: %d, want %d: %s", args, code, want, stderr)
		}
	}
}

func TestPassword_IsAskedForOnATerminalOnly(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
	for args, want := range map[string]string{
		"user create ann":                                "--password-stdin",
		"user create ann --password-stdin":               "standard input is empty",
		"user create ann --password-stdin --no-password": "goes neither with",
		"auth setup --user ann":                          "--password-stdin",
		"auth setup --password-stdin":                    "--user is missing",
	} {
		if code, _, stderr := command(t, strings.Fields(args)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("greenroom %s: %d %s", args, code, stderr)
		}
	}
}

func status(t testing.TB, s running, header http.Header) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url+"/api/2.0/mlflow/experiments/get?experiment_id=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestServer_WhoHasToLogIn(t *testing.T) {
	const (
		open     = http.StatusOK
		loggedIn = http.StatusUnauthorized
	)
	for name, test := range map[string]struct {
		args   string
		env    string
		user   bool // there is one from an earlier start
		want   int
		banner string
	}{
		"loopback":                {want: open, banner: "not checked until the first one exists"},
		"loopback with a user":    {user: true, want: loggedIn, banner: "checked, 1 user\n"},
		"auth":                    {args: "--auth", want: loggedIn, banner: "checked; there are none yet\n"},
		"auth, from env":          {env: "GREENROOM_AUTH=true", want: loggedIn, banner: "--setup-token greenroom_setup_"},
		"basic-auth":              {args: "--app-name basic-auth", want: loggedIn, banner: "--setup-token greenroom_setup_"},
		"no auth":                 {args: "--no-auth", want: open, banner: "(--no-auth)"},
		"no auth with a user":     {args: "--no-auth", user: true, want: open, banner: "(--no-auth)"},
		"other machines":          {args: "--host 0.0.0.0", want: loggedIn, banner: "--setup-token greenroom_setup_"},
		"other machines, a user":  {args: "--host 0.0.0.0", user: true, want: loggedIn, banner: "checked, 1 user\n"},
		"other machines, no auth": {args: "--host 0.0.0.0 --no-auth", want: open, banner: "everyone who can connect"},
		"proxy":                   {args: "--trusted-proxies 127.0.0.1", want: loggedIn, banner: "--setup-token greenroom_setup_"},
		"issuer's administrators": {args: "--oidc-issuer http://127.0.0.1:1 --oidc-audience x --oidc-admin-group a", want: loggedIn, banner: "JWTs of http://127.0.0.1:1\n"},
		"issuer":                  {args: "--oidc-issuer http://127.0.0.1:1 --oidc-audience x", want: loggedIn, banner: "JWTs of http://127.0.0.1:1\n"},
		"admin of the variables":  {env: "MLFLOW_AUTH_ADMIN_PASSWORD=" + password, want: loggedIn, banner: "checked, 1 user\n"},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnvironment(t)
			if test.user {
				do(t, "", "db", "upgrade")
				do(t, password, "user", "create", "ann", "--password-stdin", "--backend-store-uri", "sqlite:///greenroom.db")
			}
			if variable, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(variable, value)
			}
			s := startServer(t, strings.Fields(test.args)...)
			if got := status(t, s, nil); got != test.want {
				t.Errorf("without a log-in: %d, want %d", got, test.want)
			}
			if !strings.Contains(s.banner, test.banner) {
				t.Errorf("no %q in\n%s", test.banner, s.banner)
			}
			if wants := strings.Contains(s.banner, "export MLFLOW_TRACKING_TOKEN"); wants != (test.want == loggedIn) {
				t.Errorf("the client is told to log in: %v", wants)
			}
			if strings.Contains(s.banner, "setup-token") != (strings.Contains(s.banner, "none yet") && !strings.Contains(test.args, "admin-group")) {
				t.Error(s.banner)
			}
		})
	}
}

func TestServer_AdministratorOfTheVariables(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("MLFLOW_AUTH_ADMIN_USERNAME", "ann")
	t.Setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "hush-hush")
	if code, _, stderr := command(t, "server", "--port", "0"); code != 1 || !strings.Contains(stderr, "at least 12 characters") || strings.Contains(stderr, "hush") {
		t.Errorf("a short password: %d %s", code, stderr)
	}
	t.Setenv("MLFLOW_AUTH_ADMIN_PASSWORD", password)
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	as(t, "ann", password)
	follow(t, []step{{"auth whoami", 0, "administrator"}, {"auth audit --action server*", 0, "environment     allowed  server start  user 'ann'"}})
	if code, stderr := s.stop(); code != 0 || strings.Contains(stderr, password) {
		t.Errorf("%d %s", code, stderr)
	}
	t.Setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "short") // and no longer needed
	s = startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	follow(t, []step{{"auth whoami", 0, "administrator"}})
	if code, stderr := s.stop(); code != 0 || !strings.Contains(stderr, "have no effect: there is an administrator already") {
		t.Errorf("%d %s", code, stderr)
	}
}

var setupCommand = regexp.MustCompile(`greenroom (auth setup --tracking-uri \S+ --setup-token (\S+)) --user NAME`)

func TestServer_SetupTokenMakesOneAdministrator(t *testing.T) {
	cleanEnvironment(t)
	earlier := setupCommand.FindStringSubmatch(startServer(t, "--auth").banner)
	s := startServer(t, "--auth") // a restart, or another replica
	newest := setupCommand.FindStringSubmatch(s.banner)
	if earlier == nil || newest == nil {
		t.Fatal(s.banner)
	}
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	withToken(t, newest[2])
	follow(t, []step{{"models list", 4, "may only make the first administrator"}})
	as(t, "", "")
	follow(t, []step{
		{earlier[1] + " --user eve --password-stdin", 4, "not the newest"},
		{newest[1] + " --user ann --password-stdin", 0, "user ann is made, an administrator"},
		{newest[1] + " --user eve --password-stdin", 4, "is set up"},
	})
	as(t, "ann", password)
	follow(t, []step{{"auth whoami", 0, "administrator"}})
	if code, stderr := s.stop(); code != 0 || strings.Contains(stderr, newest[2]) {
		t.Errorf("%d %s", code, stderr)
	}
	if strings.Contains(startServer(t, "--auth").banner, "setup-token") {
		t.Error("a server with users prints a set-up token")
	}
	database, err := fs.ReadFile(os.DirFS("."), "greenroom.db")
	if err != nil || strings.Contains(string(database), newest[2]) {
		t.Errorf("the database has the set-up token: %v", err)
	}
}

func TestServer_SetupWithoutAPasswordGivesAToken(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t, "--auth")
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	t.Setenv("MLFLOW_TRACKING_TOKEN", setupCommand.FindStringSubmatch(s.banner)[2])
	withToken(t, strings.TrimSpace(do(t, "", "auth", "setup", "--user", "ann", "--no-password")))
	follow(t, []step{{"auth whoami", 0, "administrator"}})
}

func TestServer_DefaultPermission(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("MLFLOW_AUTH_ADMIN_PASSWORD", password)
	s := startServer(t, "--default-permission", auth.Read.String())
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	as(t, "admin", password)
	call := []step{
		{"user create bob --password-stdin", 0, ""},
		{"auth explain --user bob --experiment 0", 0, "READ"},
	}
	follow(t, call)
	as(t, "bob", password)
	follow(t, []step{{"runs list --experiment Default", 0, "RUN ID"}})
}

// Log-in limits count by the client's address, which only a trusted proxy may tell.
func TestServer_TrustedProxiesTellTheClientsAddress(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("MLFLOW_AUTH_ADMIN_PASSWORD", password)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no proxy": {nil, "127.0.0.1"},
		"proxy":    {[]string{"--trusted-proxies", "127.0.0.0/8, ::1"}, "203.0.113.7"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, append(test.args, "--log-level", "debug")...)
			status(t, s, http.Header{"X-Forwarded-For": {"198.51.100.1, 203.0.113.7"}, "X-Real-Ip": {"198.51.100.2"}})
			if _, stderr := s.stop(); !strings.Contains(stderr, "client="+test.want) {
				t.Errorf("no %s in %s", test.want, stderr)
			}
		})
	}
}

func TestGrant_NotesANameThatNothingHas(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	call(t, s, "registered-models/create", `{"name":"churn"}`)
	do(t, password, "user", "create", "ann", "--password-stdin")
	as(t, "ann", password)
	for on, missing := range map[string]bool{
		"--model churn": false, "--model chrun": true, "--model chr*": false, "--experiment 0": false, "--experiment 77": true,
		"--experiment Default": false, "--experiment default": true,
	} {
		args := strings.Fields("auth grant READ --user ann " + on)
		if code, _, stderr := command(t, args...); code != 0 || strings.Contains(stderr, "note: there is no ") != missing {
			t.Errorf("%s: %d %s", on, code, stderr)
		}
	}
}

func TestUserImport_BringsTheUsersOfBasicAuth(t *testing.T) {
	cleanEnvironment(t)
	dump, err := os.ReadFile(filepath.Join(source, "../../models/testdata/basic_auth/3.17.2.sql"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("basic_auth.db")
	if err != nil {
		t.Fatal(err)
	}
	db, _ := modelstest.Open(t, "sqlite:///"+file)
	if _, err := db.ExecContext(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	follow(t, []step{{"user import basic_auth.db", 2, "--backend-store-uri"}})
	do(t, "", "db", "upgrade")
	t.Setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:///greenroom.db")
	follow(t, []step{
		{"user import nope.db", 1, "nope.db"},
		{"user import basic_auth.db", 0, "4 users"},
		{"user import basic_auth.db", 0, "0 users, 0 roles, 0 role assignments and 0 grants are imported; 4 users were here already"},
		{"user list", 0, "dora"},
		{"auth audit --action user*", 0, "user import"},
	})
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	as(t, "dora", "longpassword1234")
	follow(t, []step{{"auth whoami", 0, "administrator"}})
}
