package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// call posts a JSON body to the REST API and decodes the answer.
func call(t testing.TB, s running, path, body string) map[string]any {
	t.Helper()
	resp, err := http.Post(s.url+"/api/2.0/mlflow/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %v", path, resp.Status, answer, err)
	}
	return answer
}

func TestModels_TheWeeklyStory(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t, "--allow-artifact-prefix", "s3://b")
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	call(t, s, "registered-models/create", `{"name":"churn","description":"who \u001b[31mleaves"}`)
	for _, source := range []string{"s3://b/1", "s3://b/2", "s3://b/3"} {
		call(t, s, "model-versions/create", `{"name":"churn","source":"`+source+`"}`)
	}
	for _, step := range []struct {
		args string
		code int
		want string // in standard output, or on failure in standard error
	}{
		{"models transition churn 1 Production", 0, "version 1 of churn is in stage Production\n"},
		{"models transition churn 2 Production --archive-existing", 0, "version 2 of churn is in stage Production"},
		{"models versions churn --stage Archived", 0, "1        Archived"},
		{"models resolve models:/churn/Production", 0, "download  s3://b/2"},
		{"models resolve models:/churn/latest", 0, "version   3"},
		{"models resolve models:/churn/1", 0, "source    s3://b/1"},
		{"models alias set churn champion 2", 0, "churn@champion is version 2"},
		{"models resolve models:/churn@champion", 0, "version   2"},
		{"models resolve models:/churn@Champion", 0, "version   2"},
		{"models show churn", 0, "champion=2"},
		{"models show churn", 0, "who ?[31mleaves"},
		{"models list", 0, "1 (Archived), 2 (Production), 3"},
		{"models alias delete churn champion", 0, "churn@champion is gone"},
		{"models resolve models:/churn@champion", 3, "has no alias champion"},
		{"models resolve models:/churn/Staging", 3, "no version in stage Staging"},
		{"models resolve models:/churn/9", 3, "not found"},
		{"models resolve models:/nope/1", 3, "not found"},
		{"models show nope", 3, "not found"},
		{"models versions nope", 3, "not found"},
		{"models transition churn 9 Production", 3, "not found"},
		{"models transition churn 1 Prod", 4, "Invalid Model Version stage"},
		{"models alias set churn latest 1", 4, "reserved"},
		{"models list --filter nonsense", 4, "nonsense"},
		{"models list --tracking-uri http://127.0.0.1:1", 1, "can't reach the server"},
	} {
		code, stdout, stderr := command(t, strings.Fields(step.args)...)
		got := stdout
		if step.code != 0 {
			got = stderr
		}
		if code != step.code || !strings.Contains(got, step.want) {
			t.Errorf("greenroom %s: exit code %d, want %d; got %q, want %q", step.args, code, step.code, got, step.want)
		}
	}
}

func TestModels_JSONHasTheFieldsOfTheRESTAPI(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t, "--allow-artifact-prefix", "s3://b")
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	call(t, s, "registered-models/create", `{"name":"it's churn"}`)
	call(t, s, "model-versions/create", `{"name":"it's churn","source":"s3://b/1"}`)

	var got any
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"models", "list", "--filter", "name = 'x'"}, `[]`},
		{[]string{"models", "versions", "it's churn", "--stage", "Production"}, `[]`},
		{[]string{"models", "resolve", "models:/it's churn/1"}, `{"name":"it's churn","version":"1","current_stage":"None","status":"READY","source":"s3://b/1","artifact_uri":"s3://b/1"}`},
		{[]string{"models", "alias", "set", "it's churn", "a", "1"}, `{"name":"it's churn","alias":"a","version":"1"}`},
	} {
		code, stdout, stderr := command(t, append(test.args, "--json")...)
		if code != 0 || json.Unmarshal([]byte(stdout), &got) != nil {
			t.Fatalf("%q: %d %q %q", test.args, code, stdout, stderr)
		}
		var want any
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", test.args, diff)
		}
	}
	for _, args := range [][]string{{"models", "versions", "it's churn"}, {"models", "list"}} {
		code, stdout, _ := command(t, append(args, "--json")...)
		var list []map[string]any
		if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) != 1 || list[0]["creation_timestamp"] == nil {
			t.Errorf("%q: %d %s %v", args, code, stdout, err)
		}
	}
}

func TestRuns_ListAndShow(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	t.Setenv("MLFLOW_TRACKING_URI", s.url)
	experiment := call(t, s, "experiments/create", `{"name":"weekly churn"}`)["experiment_id"].(string)
	var ids []string
	for _, auc := range []string{"0.91", "0.95", "0.93"} {
		info := call(t, s, "runs/create", `{"experiment_id":"`+experiment+`","run_name":"run-`+auc+`","start_time":1700000000000}`)["run"].(map[string]any)["info"].(map[string]any)
		id := info["run_id"].(string)
		ids = append(ids, id)
		call(t, s, "runs/log-batch", `{"run_id":"`+id+`","metrics":[{"key":"auc","value":`+auc+`,"timestamp":1,"step":7},{"key":"loss","value":"NaN","timestamp":1}],"params":[{"key":"depth","value":"3"}],"tags":[{"key":"team","value":"growth"}]}`)
		call(t, s, "runs/update", `{"run_id":"`+id+`","status":"FINISHED","end_time":1700000065000}`)
	}

	code, stdout, stderr := command(t, "runs", "list", "--experiment", "weekly churn", "--filter", "metrics.auc > 0.92", "--order-by", "metrics.auc DESC", "--max", "1")
	if code != 0 || !strings.Contains(stdout, ids[1]) || !strings.Contains(stdout, "auc=0.95 loss=NaN") || strings.Contains(stdout, ids[2]) || !strings.Contains(stderr, "--max") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	t.Setenv("MLFLOW_EXPERIMENT_ID", experiment)
	code, stdout, _ = command(t, "runs", "list", "--json")
	var list []runObject
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) != 3 {
		t.Errorf("%d %s %v", code, stdout, err)
	}
	code, stdout, _ = command(t, "runs", "show", ids[0])
	for _, want := range []string{"run-0.91", "FINISHED", "1m5s", "0.91 (step 7)", "param depth", "growth"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%d, no %q in %s", code, want, stdout)
		}
	}
	for args, want := range map[string]int{"runs show nope": 3, "runs list --experiment nope": 3, "runs list --filter x.y=1": 4, "runs list --experiment a --experiment-id 0": 2} {
		if code, _, stderr := command(t, strings.Fields(args)...); code != want {
			t.Errorf("%s: %d, want %d: %s", args, code, want, stderr)
		}
	}
}

// scripted is a server that gives the same answer to everything.
func scripted(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func TestClient_SendsCredentialsAsMLflowsClientDoes(t *testing.T) {
	var got string
	url := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		io.WriteString(w, "{}") //nolint:errcheck // the test looks at the request
	})
	const (
		basicUP = "Basic dTpw" // u:p
		basicFP = "Basic Zjpw" // f:p
		basicFQ = "Basic Zjpx" // f:q
	)
	const file = "# ours\n[mlflow]\nmlflow_tracking_username = f\nMLFLOW_TRACKING_PASSWORD=q\n[other]\nmlflow_tracking_username = x\n"
	for name, test := range map[string]struct {
		env      map[string]string
		file     string
		userinfo string
		want     string
	}{
		"nothing":                         {want: ""},
		"token":                           {env: map[string]string{"MLFLOW_TRACKING_TOKEN": "t"}, want: "Bearer t"},
		"basic wins over token":           {env: map[string]string{"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}, want: basicUP},
		"a user alone leaves the token":   {env: map[string]string{"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "u"}, want: "Bearer t"},
		"file":                            {file: file, want: basicFQ},
		"a variable wins over its field":  {env: map[string]string{"MLFLOW_TRACKING_PASSWORD": "p"}, file: file, want: basicFP},
		"the URI wins over the variables": {env: map[string]string{"MLFLOW_TRACKING_TOKEN": "t"}, userinfo: "u:p@", want: basicUP},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnvironment(t)
			for variable, value := range test.env {
				t.Setenv(variable, value)
			}
			if test.file != "" {
				folder := filepath.Join(os.Getenv("HOME"), ".mlflow")
				if err := os.Mkdir(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, "credentials"), []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("MLFLOW_TRACKING_URI", strings.Replace(url, "://", "://"+test.userinfo, 1))
			if code, _, stderr := command(t, "models", "list"); code != 0 || got != test.want {
				t.Errorf("sent %q, want %q (%d %s)", got, test.want, code, stderr)
			}
		})
	}
}

func TestClient_ExitCodeTellsWhatWentWrong(t *testing.T) {
	cleanEnvironment(t)
	for name, test := range map[string]struct {
		status   int
		body     string
		location string
		code     int
		want     string
	}{
		"not found":          {404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no such model"}`, "", 3, "Error: no such model\n"},
		"no MLflow server":   {404, "<html>404\x1b[0m</html>", "", 1, "the server answers 404 Not Found: <html>404?[0m</html>"},
		"no such endpoint":   {404, `{"error_code":"ENDPOINT_NOT_FOUND","message":"m"}`, "", 1, "m"},
		"not logged in":      {401, "who are you?", "", 4, "MLFLOW_TRACKING_TOKEN"},
		"not allowed":        {403, `{"error_code":"PERMISSION_DENIED","message":"m"}`, "", 4, "m"},
		"conflict":           {409, `{"error_code":"RESOURCE_CONFLICT","message":"m"}`, "", 4, "m"},
		"bad value":          {400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"m"}`, "", 4, "m"},
		"server broken":      {500, `{"error_code":"INTERNAL_ERROR","message":"m"}`, "", 1, "m"},
		"another page":       {200, "<html>welcome</html>", "", 1, "check MLFLOW_TRACKING_URI"},
		"redirected for all": {301, "", "https://elsewhere/api", 1, "set MLFLOW_TRACKING_URI to the server's final address"},
	} {
		t.Run(name, func(t *testing.T) {
			url := scripted(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.location != "" {
					w.Header().Set("Location", test.location)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body) //nolint:errcheck // the test looks at the other side
			})
			code, stdout, stderr := command(t, "models", "transition", "churn", "1", "Production", "--tracking-uri", url)
			if code != test.code || stdout != "" || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d %q, want %d %q", code, stderr, test.code, test.want)
			}
		})
	}
}

func TestClient_RepeatsOnlyGETs(t *testing.T) {
	cleanEnvironment(t)
	var calls atomic.Int32
	url := scripted(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, `{"registered_model":{"name":"churn"}}`) //nolint:errcheck // the test looks at the other side
	})
	c, err := newClient(url, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = 0
	if model, err := getModel(t.Context(), c, "churn"); err != nil || model.value.Name != "churn" || calls.Load() != 3 {
		t.Errorf("%+v, %v after %d calls", model.value, err, calls.Load())
	}
	calls.Store(0)
	if code, _, _ := command(t, "models", "alias", "set", "churn", "a", "1", "--tracking-uri", url); code != 1 || calls.Load() != 1 {
		t.Errorf("exit code %d after %d calls of a POST", code, calls.Load())
	}
}

func TestClient_TLS(t *testing.T) {
	cleanEnvironment(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "{}") //nolint:errcheck // the test looks at the other side
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	t.Setenv("MLFLOW_TRACKING_URI", s.URL)
	if code, _, stderr := command(t, "models", "list"); code != 1 || !strings.Contains(stderr, "certificate") {
		t.Errorf("an unknown certificate: %d %s", code, stderr)
	}
	t.Setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
	if code, _, stderr := command(t, "models", "list"); code != 0 {
		t.Errorf("insecure: %d %s", code, stderr)
	}
	t.Setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "nope.pem")
	if code, _, stderr := command(t, "models", "list"); code != 2 || !strings.Contains(stderr, "unset one") {
		t.Errorf("both: %d %s", code, stderr)
	}
	t.Setenv("MLFLOW_TRACKING_INSECURE_TLS", "")
	if code, _, stderr := command(t, "models", "list"); code != 1 || !strings.Contains(stderr, "nope.pem") {
		t.Errorf("no such file: %d %s", code, stderr)
	}
}
