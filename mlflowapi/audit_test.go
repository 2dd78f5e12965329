package mlflowapi_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// auditServer is a server with real log-ins: ada is an administrator, bob an editor, and carl holds nothing.
type auditServer struct {
	*httptest.Server
	t          testing.TB
	store      *models.Store
	log, lines *logLines
	tokens     map[string]string // API tokens, by user
	ids        map[string]string // their public part
}

const (
	adaPassword = "marker-password-of-ada"
	bobPassword = "marker-password-of-bob"
)

func inAuditServers(t *testing.T, test func(*auditServer)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		lines := &logLines{}
		test(newAuditServer(t, uri, lines, lines))
	})
}

func newAuditServer(t testing.TB, uri string, lines *logLines, file io.Writer) *auditServer {
	t.Helper()
	store, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, store)
	s := &auditServer{t: t, store: store, log: &logLines{}, lines: lines, tokens: map[string]string{}, ids: map[string]string{}}
	for _, u := range []struct{ name, password string }{{"ada", adaPassword}, {"bob", bobPassword}, {"carl", bobPassword}} {
		if _, err := store.CreateUser(t.Context(), models.NewUser{Name: u.name, PasswordHash: passwordHash(t, u.password)}); err != nil {
			t.Fatal(err)
		}
		text, made, err := store.CreateAPIToken(t.Context(), models.NewAPIToken{User: u.name, Name: "ci", Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[u.name], s.ids[u.name] = text, made.ID
	}
	if _, err := store.AssignRole(t.Context(), models.Holder{User: "bob"}, 2); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Server = httptest.NewServer(mlflowapi.New(store, mlflowapi.Config{
		Version: "test", Log: log, Artifacts: artifacts.Stores{Served: openFolder(t, t.TempDir())}, AuditLog: file,
		Auth: auth.NewAuthenticator(store, auth.Options{Required: true, Log: log, Now: time.Now}),
	}))
	t.Cleanup(s.Close)
	return s
}

// send makes a request with an Authorization header, or a user's token for a user's name. A path without a slash in front is
// below /api/2.0/mlflow/.
func (s *auditServer) send(who, method, path, body string) (int, string) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/2.0/mlflow/" + path
	}
	if token := s.tokens[who]; token != "" {
		who = "Bearer " + token
	}
	return request(s.t, who, method, s.URL+path, body)
}

func (s *auditServer) want(status int, who, method, path, body string) string {
	s.t.Helper()
	got, text := s.send(who, method, path, body)
	if got != status {
		s.t.Fatalf("%s %s %s: %d %s", method, path, body, got, text)
	}
	return text
}

// entries reads the audit log as an administrator does, the oldest entry first.
func (s *auditServer) entries(query string) []models.AuditEntry {
	s.t.Helper()
	var all []models.AuditEntry
	for token := ""; ; {
		var page struct {
			Entries       []models.AuditEntry
			NextPageToken string `json:"next_page_token"`
		}
		text := s.want(200, "ada", "GET", "/api/3.0/greenroom/audit/search?"+query+"&page_token="+url.QueryEscape(token), "")
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, slices.DeleteFunc(page.Entries, func(e models.AuditEntry) bool { return e.Credential == "database" })...) // newAuditServer's
		if token = page.NextPageToken; token == "" {
			slices.Reverse(all)
			return all
		}
	}
}

// brief is what tests compare of an entry.
func brief(e models.AuditEntry) string {
	return fmt.Sprintf("%s %s | %s | %s | %s", e.UserName, e.Outcome, e.Action, e.Object, e.Detail)
}

func TestAudit_ChangesAreRecordedAndLoggingIsNot(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		const own = "/api/3.0/mlflow/"
		run := func() string {
			var made struct {
				Run struct {
					Info struct {
						RunID string `json:"run_id"`
					}
				}
			}
			if err := json.Unmarshal([]byte(s.want(200, "ada", "POST", "runs/create", `{"experiment_id":"1"}`)), &made); err != nil {
				t := s.t
				t.Fatal(err)
			}
			return made.Run.Info.RunID
		}
		type change struct{ method, path, body, want string }
		do := func(changes ...change) (want []string) {
			for _, c := range changes {
				s.want(200, "ada", c.method, c.path, c.body)
				if c.want != "" {
					want = append(want, "ada allowed | "+c.want)
				}
			}
			return want
		}
		want := do(
			change{"POST", "experiments/create", `{"name":"trials"}`, `experiments/create | experiment 1 | {"name":"trials"}`},
			change{"POST", "experiments/update", `{"experiment_id":"1","new_name":"tests"}`, `experiments/update | experiment 1 | {"name":{"from":"trials","to":"tests"}}`},
			change{"POST", "experiments/set-experiment-tag", `{"experiment_id":"1","key":"a","value":"b"}`, `experiments/set-experiment-tag | experiment 1 | {"tag":"a","value":"b"}`},
			change{"POST", "experiments/delete-experiment-tag", `{"experiment_id":"1","key":"a"}`, `experiments/delete-experiment-tag | experiment 1 | {"tag":"a"}`},
			change{"POST", "experiments/search", `{"max_results":5}`, ``},
			change{"POST", "experiments/delete", `{"experiment_id":"1"}`, `experiments/delete | experiment 1 | {}`},
			change{"POST", "experiments/restore", `{"experiment_id":"1"}`, `experiments/restore | experiment 1 | {}`},
		)
		id := run()
		want = append(want, do(
			change{"POST", "runs/log-metric", `{"run_id":"` + id + `","key":"k","value":1,"timestamp":1}`, ``},
			change{"POST", "runs/log-parameter", `{"run_id":"` + id + `","key":"k","value":"v"}`, ``},
			change{"POST", "runs/log-batch", `{"run_id":"` + id + `"}`, ``},
			change{"POST", "runs/set-tag", `{"run_id":"` + id + `","key":"k","value":"v"}`, ``},
			change{"POST", "runs/delete-tag", `{"run_id":"` + id + `","key":"k"}`, ``},
			change{"POST", "runs/update", `{"run_id":"` + id + `","status":"FINISHED"}`, ``},
			change{"POST", "logged-models", `{"experiment_id":"1","name":"m"}`, ``},
			change{"POST", "runs/delete", `{"run_id":"` + id + `"}`, `runs/delete | run ` + id + ` | {"experiment_id":1}`},
			change{"POST", "runs/restore", `{"run_id":"` + id + `"}`, `runs/restore | run ` + id + ` | {"experiment_id":1}`},

			change{"PUT", "/api/2.0/mlflow-artifacts/artifacts/1/m/MLmodel", `new`, ``},
			change{"PUT", "/api/2.0/mlflow-artifacts/artifacts/1/m/MLmodel", `other`, `PUT mlflow-artifacts/artifacts | artifact '1/m/MLmodel' | {}`},
			change{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + id + "&path=a.txt", `new`, ``},
			change{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + id + "&path=a.txt", `other`, `upload-artifact | run ` + id + ` | {}`},
			change{"DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/m", ``, `DELETE mlflow-artifacts/artifacts | artifact '1/m' | {}`},

			change{"POST", "registered-models/create", `{"name":"churn"}`, `registered-models/create | registered model 'churn' | {}`},
			change{"PATCH", "registered-models/update", `{"name":"churn","description":"d"}`, `registered-models/update | registered model 'churn' | {"description":"replaced"}`},
			change{"POST", "registered-models/set-tag", `{"name":"churn","key":"k","value":"v"}`, `registered-models/set-tag | registered model 'churn' | {"tag":"k","value":"v"}`},
			change{"DELETE", "registered-models/delete-tag", `{"name":"churn","key":"k"}`, `registered-models/delete-tag | registered model 'churn' | {"tag":"k"}`},
			change{"POST", "model-versions/create", `{"name":"churn","source":"s3://b/1"}`, `model-versions/create | registered model 'churn' version 1 | {"source":"s3://b/1"}`},
			change{"POST", "/api/2.0/preview/mlflow/model-versions/create", `{"name":"churn","source":"s3://b/2"}`, `model-versions/create | registered model 'churn' version 2 | {"source":"s3://b/2"}`},
			change{"PATCH", "model-versions/update", `{"name":"churn","version":"1","description":"d"}`, `model-versions/update | registered model 'churn' version 1 | {"description":"replaced"}`},
			change{"POST", "model-versions/transition-stage", `{"name":"churn","version":"1","stage":"production"}`, `model-versions/transition-stage | registered model 'churn' version 1 | {"stage":{"from":"None","to":"Production"}}`},
			change{"POST", "model-versions/transition-stage", `{"name":"churn","version":"2","stage":"Production","archive_existing_versions":true}`, `model-versions/transition-stage | registered model 'churn' version 2 | {"archived":[1],"stage":{"from":"None","to":"Production"}}`},
			change{"POST", "model-versions/set-tag", `{"name":"churn","version":"1","key":"k","value":"v"}`, `model-versions/set-tag | registered model 'churn' version 1 | {"tag":"k","value":"v"}`},
			change{"DELETE", "model-versions/delete-tag", `{"name":"churn","version":"1","key":"k"}`, `model-versions/delete-tag | registered model 'churn' version 1 | {"tag":"k"}`},
			change{"POST", "registered-models/alias", `{"name":"churn","alias":"champion","version":"1"}`, `registered-models/alias | registered model 'churn' version 1 | {"alias":"champion"}`},
			change{"POST", "registered-models/alias", `{"name":"churn","alias":"champion","version":"2"}`, `registered-models/alias | registered model 'churn' version 2 | {"alias":"champion","version":{"from":1,"to":2}}`},
			change{"DELETE", "registered-models/alias", `{"name":"churn","alias":"champion"}`, `DELETE registered-models/alias | registered model 'churn' | {"alias":"champion"}`},
			change{"DELETE", "model-versions/delete", `{"name":"churn","version":"1"}`, `model-versions/delete | registered model 'churn' version 1 | {}`},
			change{"POST", "registered-models/rename", `{"name":"churn","new_name":"leave"}`, `registered-models/rename | registered model 'churn' | {"name":{"from":"churn","to":"leave"}}`},
			change{"DELETE", "registered-models/delete", `{"name":"leave"}`, `registered-models/delete | registered model 'leave' | {}`},

			change{"POST", "users/create", `{"username":"dora","password":"` + bobPassword + `"}`, `users/create | user 'dora' | {"admin":false}`},
			change{"PATCH", "users/update-admin", `{"username":"dora","is_admin":true}`, `users/update-admin | user 'dora' | {"admin":true}`},
			change{"PATCH", "users/update-password", `{"username":"dora","password":"` + adaPassword + `"}`, `users/update-password | user 'dora' | {"password":"replaced"}`},
			change{"DELETE", "users/delete", `{"username":"dora"}`, `users/delete | user 'dora' | {}`},
			change{"POST", own + "roles/assign", `{"username":"carl","role_id":1}`, `roles/assign | role 'viewer' | {"to":"user 'carl'"}`},
			change{"DELETE", own + "roles/unassign", `{"username":"carl","role_id":1}`, `roles/unassign | role 'viewer' | {"from":"user 'carl'"}`},
			change{
				"POST", own + "users/permissions/grant", `{"username":"carl","resource_type":"experiment","resource_id":"1","permission":"READ"}`,
				`users/permissions/grant | user 'carl' | {"resource_type":"experiment","resource_pattern":"1","permission":"READ"}`,
			},
			change{
				"POST", own + "users/permissions/revoke", `{"username":"carl","resource_type":"experiment","resource_id":"1"}`,
				`users/permissions/revoke | user 'carl' | {"resource_type":"experiment","resource_pattern":"1"}`,
			},
		)...)
		var got []string
		entries := s.entries("max_results=7")
		for _, e := range entries {
			got = append(got, brief(e))
			if e.Credential != "token ci ("+s.ids["ada"]+")" || e.RequestID != "of-the-test" || e.Address != "127.0.0.1" || e.UserID == nil {
				s.t.Errorf("%+v", e)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("the log (-want +got):\n%s", diff)
		}
		s.wantLines(entries)
	})
}

// wantLines compares the lines of --audit-log with the database.
func (s *auditServer) wantLines(entries []models.AuditEntry) {
	s.t.Helper()
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	var lines []models.AuditEntry
	for line := range strings.Lines(s.lines.text.String()) {
		var e models.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, e)
	}
	slices.SortFunc(lines, func(a, b models.AuditEntry) int { return strings.Compare(a.ID, b.ID) })
	if diff := cmp.Diff(entries, lines); diff != "" {
		s.t.Errorf("the lines (-database +file):\n%s", diff)
	}
}

func TestAudit_RefusalsOfKnownUsers(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		s.want(200, "bob", "POST", "registered-models/create", `{"name":"churn"}`)
		s.want(200, "bob", "POST", "model-versions/create", `{"name":"churn","source":"s3://b/1"}`)
		for _, c := range []struct{ who, method, path, body string }{
			{"carl", "GET", "registered-models/get?name=churn", ``},
			{"carl", "POST", "model-versions/transition-stage", `{"name":"churn","version":"1","stage":"Production"}`},
			{"carl", "POST", "runs/create", `{"experiment_id":"0"}`},
			{"carl", "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/f", `content`},
			{"carl", "POST", "registered-models/create", `{"name":"mine"}`},
			{"bob", "GET", "users/list", ``},
			{"bob", "PATCH", "users/update-password", `{"username":"ada","password":"` + bobPassword + `"}`},
			{"bob", "PATCH", "users/update-admin", `{"username":"bob","is_admin":true}`},
			{"bob", "POST", "/api/3.0/mlflow/roles/assign", `{"username":"bob","role_id":3}`},
			{"bob", "GET", "/api/3.0/greenroom/audit/search", ``},
		} {
			s.want(403, c.who, c.method, c.path, c.body)
		}
		var got []string
		for _, e := range s.entries("outcome=refused") {
			_, reason, _ := strings.Cut(string(e.Detail), `{"reason":"User '`+e.UserName+`' `)
			got = append(got, fmt.Sprintf("%s | %s | %s | %.18s", e.UserName, e.Action, e.Object, reason))
			if e.Credential != "token ci ("+s.ids[e.UserName]+")" || e.Address != "127.0.0.1" {
				s.t.Errorf("%+v", e)
			}
		}
		want := []string{
			"carl | registered-models/get | registered model 'churn' | needs READ on regi",
			"carl | model-versions/transition-stage | registered model 'churn' version 1 | needs EDIT on regi",
			"carl | runs/create | experiment 0 | needs EDIT on expe",
			"carl | PUT mlflow-artifacts/artifacts | artifact '0/x/artifacts/f' | needs EDIT on expe",
			"carl | registered-models/create | registered model 'mine' | needs USE on the s",
			"bob | users/list |  | must be an adminis",
			"bob | users/update-password | user 'ada' | must be an adminis",
			"bob | users/update-admin | user 'bob' | must be an adminis",
			"bob | roles/assign | role 3 | must be an adminis",
			"bob | audit/search |  | must be an adminis",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("refusals (-want +got):\n%s", diff)
		}
		s.wantLines(s.entries(""))
	})
}

func TestAudit_FailedLogins(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		forged := strings.Replace(s.tokens["bob"], s.ids["bob"], s.ids["ada"], 1)
		for _, header := range []string{
			"", // nobody tries anything
			basicAuth("bob", "wrong"), basicAuth(bobPassword, "in the wrong field"), "Bearer " + forged, "Bearer eyJhbGciOiJub25lIn0.e30.", "Digest x",
		} {
			s.want(401, header, "GET", "experiments/get?experiment_id=0", "")
		}
		if _, err := s.store.RevokeAPIToken(s.t.Context(), s.ids["bob"], ""); err != nil {
			s.t.Fatal(err)
		}
		s.want(401, "bob", "POST", "runs/create", "{}")
		for range 5 {
			s.send(basicAuth("carl", "wrong"), "GET", "experiments/get?experiment_id=0", "")
		}
		s.want(429, basicAuth("carl", "wrong"), "GET", "experiments/get?experiment_id=0", "")
		var got []string
		for _, e := range s.entries("") {
			if e.Outcome != models.AuditRefused || e.Action != "log-in" || e.UserID != nil || e.RequestID != "of-the-test" {
				s.t.Errorf("%+v", e)
			}
			got = append(got, fmt.Sprintf("%s | %s | %.50s", e.UserName, e.Credential, e.Detail))
		}
		const wrong = `{"reason":"User name or password is wrong. Set MLF`
		want := []string{
			"bob | password | " + wrong, " | password | " + wrong,
			` | token | {"reason":"The token is not valid. Set MLFLOW_TRAC`,
			` | jwt | {"reason":"The token is not valid. Set MLFLOW_TRAC`,
			` | unknown | {"reason":"The Authorization header is neither Bas`,
			` | token ` + s.ids["bob"] + ` | {"reason":"The token 'ci' was revoked. Get a new o`,
			"carl | password | " + wrong, "carl | password | " + wrong, "carl | password | " + wrong, "carl | password | " + wrong, "carl | password | " + wrong,
			`carl | password | {"reason":"too many failed log-ins: try again in 1`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("failed log-ins (-want +got):\n%s", diff)
		}
	})
}

func TestAudit_FloodsDoNotFillTheDisk(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		for range 40 {
			s.want(401, "", "GET", "experiments/get?experiment_id=0", "")
			s.send("Digest x", "GET", "experiments/get?experiment_id=0", "")
		}
		for range 120 {
			s.want(403, "carl", "GET", "experiments/get?experiment_id=0", "")
		}
		strangers, carls := s.entries("action=log-in"), s.entries("user=carl")
		if len(strangers) != 20 || len(carls) != 100 {
			s.t.Fatalf("%d and %d entries", len(strangers), len(carls))
		}
		for _, last := range []models.AuditEntry{strangers[19], carls[99]} {
			if !strings.Contains(string(last.Detail), "Further refusals in this minute") {
				s.t.Errorf("the last entry does not say so: %s", last.Detail)
			}
		}
		if text := s.want(200, "ada", "GET", "/metrics", ""); !strings.Contains(text, "greenroom_audit_skipped_total 40") {
			s.t.Errorf("the rest is not counted")
		}
	})
}

// What is secret goes through the server in every place where a client can put it, and may come out nowhere.
func TestAudit_SecretsComeOutNowhere(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		var answers strings.Builder
		send := func(who, method, path, body string) {
			_, text := s.send(who, method, path, body)
			answers.WriteString(text)
		}
		const secret = "marker-secret"
		var newTokens []string
		setup, _ := auth.NewSetupToken()
		jwt := "eyJhbGciOiJIUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ada","note":"`+secret+`"}`)) + ".bWFya2VyLXNpZ25hdHVyZQ"
		for _, header := range []string{
			basicAuth("ada", adaPassword), basicAuth("ada", secret), basicAuth(secret, "x"), basicAuth("ada", s.tokens["ada"]), basicAuth(s.tokens["ada"], ""),
			"Bearer " + s.tokens["ada"], "Bearer " + s.tokens["ada"] + "x", "Bearer " + secret, "Bearer " + setup, "Bearer " + jwt, basicAuth("ada", jwt), secret, secret + " " + secret,
			"Basic " + base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			send(header, "GET", "users/current", "")
			send(header, "POST", "experiments/create", `{"name":"e","note":"`+secret+`"}`)
			send(header, "GET", "/api/3.0/greenroom/audit/search", "")
		}
		for _, who := range []string{"ada", "bob", "carl"} {
			send(who, "POST", "users/create", `{"username":"erin","password":"`+secret+`-erin"}`)
			send(who, "POST", "users/create", `{"username":"erin","password":"`+secret+`-erin"}`)
			send(who, "POST", "users/create", `{"username":"frank","password":["`+secret+`"]}`)
			send(who, "POST", "users/create", `{"username":"frank","password":"`+secret)
			send(who, "PATCH", "users/update-password", `{"username":"erin","password":"`+secret+`-erin-2"}`)
			send(who, "PATCH", "users/update-password", `{"username":"`+who+`","password":"`+secret+`-new","current_password":"`+secret+`-wrong"}`)
			send(who, "PATCH", "users/update-password", `{"username":"`+who+`","password":"short","current_password":"`+bobPassword+`"}`)
			send(who, "POST", "/api/3.0/greenroom/setup", `{"user":"gina","password":"`+secret+`-gina"}`)
			send("Bearer "+setup, "POST", "/api/3.0/greenroom/setup", `{"user":"gina","password":"`+secret+`-gina"}`)
			if status, text := s.send(who, "POST", "/api/3.0/greenroom/tokens/create", `{"name":"new","expires":"1d"}`); status == http.StatusOK {
				var made struct{ Token string } // the one answer that tells a secret
				if err := json.Unmarshal([]byte(text), &made); err != nil || made.Token == "" {
					s.t.Fatal(err, text)
				}
				newTokens = append(newTokens, made.Token[len(made.Token)-40:])
				send("Bearer "+made.Token, "POST", "experiments/create", `{"name":"of `+who+`"}`)
			}
			send(who, "POST", "runs/create", `{"experiment_id":"0","note":"`+secret+`"}`)
			send(who, "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/file", secret)
			send(who, "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/file", secret)
			send(who, "POST", "model-versions/create", `{"name":"m","source":"s3://key:`+secret+`@bucket/m"}`)
		}
		send("ada", "GET", "/metrics", "")
		secrets := []string{
			secret, adaPassword, bobPassword, "marker-signature", setup, jwt, base64.StdEncoding.EncodeToString([]byte("ada:" + adaPassword)),
		}
		if len(newTokens) != 3 {
			s.t.Errorf("%d tokens were made", len(newTokens))
		}
		secrets = append(secrets, newTokens...)
		for _, token := range s.tokens {
			secrets = append(secrets, token, token[len(token)-40:])
		}
		entries, err := json.Marshal(s.entries(""))
		if err != nil {
			s.t.Fatal(err)
		}
		s.Close() // the last lines of the log
		places := map[string]string{"answers": answers.String(), "audit log": string(entries), "lines": s.lines.text.String(), "log": s.log.text.String()}
		for place, text := range places {
			if len(text) < 1000 {
				s.t.Errorf("%s: only %q", place, text)
			}
			for _, secret := range secrets {
				if i := strings.Index(text, secret); i >= 0 {
					s.t.Errorf("%s tell %q: …%s…", place, secret, text[max(0, i-200):min(len(text), i+100)])
				}
			}
		}
	})
}

func TestAudit_AsManyEntriesAsChangesOfManyWriters(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		s.want(200, "bob", "POST", "registered-models/create", `{"name":"churn"}`)
		for i := range 4 {
			s.want(200, "bob", "POST", "model-versions/create", fmt.Sprintf(`{"name":"churn","source":"s3://b/%d"}`, i))
		}
		before := len(s.entries(""))
		var changes atomic.Int64
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for i := range 10 {
					requests := []string{
						"model-versions/transition-stage", fmt.Sprintf(`{"name":"churn","version":"%d","stage":"Production","archive_existing_versions":true}`, 1+(w+i)%4),
						"registered-models/alias", fmt.Sprintf(`{"name":"churn","alias":"champion","version":"%d"}`, 1+i%6), // two of six are not there
						"experiments/create", fmt.Sprintf(`{"name":"e%d"}`, i), // one writer wins
					}
					for r := 0; r < len(requests); r += 2 {
						if status, _ := s.send("bob", "POST", requests[r], requests[r+1]); status == 200 {
							changes.Add(1)
						}
					}
				}
			})
		}
		writers.Wait()
		entries := s.entries("")
		if got := int64(len(entries) - before); got != changes.Load() || got < 100 {
			s.t.Errorf("%d changes and %d entries", changes.Load(), got)
		}
		s.wantLines(entries)
	})
}

// brokenFile fails after some bytes, then takes everything.
type brokenFile struct {
	lines    *logLines
	failures []int // how many bytes it still takes
}

func (f *brokenFile) Write(p []byte) (int, error) {
	if len(f.failures) == 0 {
		return f.lines.Write(p)
	}
	n, err := f.lines.Write(p[:min(f.failures[0], len(p))])
	f.failures = f.failures[1:]
	return n, errors.Join(err, errors.New("no space left"))
}

func TestAudit_AFailingFileBreaksNoRequest(t *testing.T) {
	lines := &logLines{}
	s := newAuditServer(t, modelstest.SQLite(t), lines, &brokenFile{lines, []int{0, 30}})
	for i := range 4 {
		s.want(200, "ada", "POST", "experiments/create", fmt.Sprintf(`{"name":"e%d"}`, i))
	}
	got := strings.Split(strings.TrimSuffix(lines.text.String(), "\n"), "\n")
	if len(got) != 3 || json.Valid([]byte(got[0])) || !json.Valid([]byte(got[1])) || !json.Valid([]byte(got[2])) {
		t.Errorf("lines %q", got)
	}
	if text := s.want(200, "ada", "GET", "/metrics", ""); !strings.Contains(text, `greenroom_audit_failures_total{where="file"} 2`) {
		t.Error("the failures are not counted")
	}
	if len(s.entries("")) != 4 || strings.Count(s.log.text.String(), "no space left") != 2 {
		t.Errorf("logged %s", s.log.text.String())
	}
}

func TestAudit_WithoutItsTableNothingChangesAndRefusalsAreAnswered(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		lines := &logLines{}
		s := newAuditServer(t, uri, lines, lines)
		db, _ := modelstest.Open(t, uri)
		if _, err := db.Exec("ALTER TABLE greenroom_audit RENAME TO greenroom_audit_away"); err != nil {
			t.Fatal(err)
		}
		s.want(500, "ada", "POST", "registered-models/create", `{"name":"churn"}`)
		s.want(404, "ada", "GET", "registered-models/get?name=churn", "")
		s.want(200, "ada", "POST", "runs/create", `{"experiment_id":"0"}`)
		s.want(403, "carl", "GET", "experiments/get?experiment_id=0", "")
		if text := s.want(200, "ada", "GET", "/metrics", ""); !strings.Contains(text, `greenroom_audit_failures_total{where="database"} 1`) {
			t.Error("the failure is not counted")
		}
		if lines.text.Len() > 0 || strings.Count(s.log.text.String(), "a refusal is not in the audit log") != 1 {
			t.Errorf("lines %s, log %s", lines.text.String(), s.log.text.String())
		}
	})
}

func TestAudit_SearchSaysWhatIsWrong(t *testing.T) {
	lines := &logLines{}
	s := newAuditServer(t, modelstest.SQLite(t), lines, lines)
	for query, says := range map[string]string{
		"max_results=0": "positive integer", "max_results=1001": "at most 1000", "outcome=maybe": "outcome", "since=yesterday": "since",
		"page_token=x": "page token", "page_token=" + base64.StdEncoding.EncodeToString([]byte("{}")): "page token",
		"object=" + strings.Repeat("*a", 30_000): "'object' exceeds", "action=" + strings.Repeat("a", 256): "'action' exceeds",
	} {
		if text := s.want(400, "ada", "GET", "/api/3.0/greenroom/audit/search?"+query, ""); !strings.Contains(text, says) {
			t.Errorf("%s: %s", query, text)
		}
	}
	if text := s.want(200, "ada", "GET", "/api/3.0/greenroom/audit/search?user=nobody", ""); text != `{"entries":[]}` {
		t.Errorf("no entries are %s", text)
	}
}
