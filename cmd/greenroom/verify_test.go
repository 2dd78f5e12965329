package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verifyServer is a server in an empty folder that has logged and registered a model; it gives the folder of the model's files.
func verifyServer(t *testing.T) (s running, folder string) {
	t.Helper()
	s = startServer(t)
	var experiment struct {
		Run struct {
			Info struct {
				ID  string `json:"run_id"`
				URI string `json:"artifact_uri"`
			} `json:"info"`
		} `json:"run"`
	}
	send(t, s, "POST", "/api/2.0/mlflow/runs/create", `{"experiment_id": "0"}`, &experiment)
	run := experiment.Run.Info
	path := strings.TrimPrefix(run.URI, "mlflow-artifacts:/")
	for name, content := range map[string]string{"MLmodel": "flavors", "data/weights.bin": strings.Repeat("weights", 1000)} {
		send(t, s, "PUT", "/api/2.0/mlflow-artifacts/artifacts/"+path+"/model/"+name, content, nil)
	}
	send(t, s, "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "churn"}`, nil)
	send(t, s, "POST", "/api/2.0/mlflow/model-versions/create", fmt.Sprintf(`{"name": "churn", "source": "%s/model", "run_id": "%s"}`, run.URI, run.ID), nil)
	send(t, s, "POST", "/api/2.0/mlflow/registered-models/alias", `{"name": "churn", "alias": "champion", "version": "1"}`, nil)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var answer struct {
			Version struct {
				Tags []tag `json:"tags"`
			} `json:"model_version"`
		}
		send(t, s, "GET", "/api/2.0/mlflow/model-versions/get?name=churn&version=1", "", &answer)
		if tags := answer.Version.Tags; len(tags) == 1 && tags[0].Key == "greenroom.digest" && strings.HasPrefix(tags[0].Value, "sha256:") {
			return s, filepath.Join("mlartifacts", path, "model")
		}
		if time.Now().After(deadline) {
			t.Fatalf("the version has no digest: %+v", answer)
		}
	}
}

func send(t *testing.T, s running, method, path, body string, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s = %d %s, %v", method, path, resp.StatusCode, text, err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"verify"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestVerify_ExitCodesAndLines(t *testing.T) {
	cleanEnvironment(t)
	s, folder := verifyServer(t)
	for _, args := range [][]string{{}, {"--all"}, {"models:/churn/1"}, {"models:/churn@champion"}, {"models:/churn/latest"}, {"models:/churn/None"}} {
		if code, stdout, stderr := verify(t, args...); code != exitOK || !strings.Contains(stdout, "files compared: 2") || !strings.Contains(stdout, "all is well") {
			t.Errorf("verify %v = %d\n%s%s", args, code, stdout, stderr)
		}
	}
	for _, wrong := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"models:/churn/2"}, exitNotFound, "not found"},
		{[]string{"models:/nope/1"}, exitNotFound, "not found"},
		{[]string{"models:/churn@nobody"}, exitNotFound, "not found"},
		{[]string{"models:/churn/Production"}, exitNotFound, "No versions"},
		{[]string{"churn"}, exitUsage, "not a model URI"},
		{[]string{"models:/churn/1", "--all"}, exitUsage, "not both"},
		{[]string{"--readers", "0"}, exitUsage, "at least 1"},
		{[]string{"--backend-store-uri", "sqlite:///nope.db"}, exitFailed, "not set up"},
		{[]string{"--artifacts-destination", "nope"}, exitFailed, "no such folder"},
	} {
		if code, stdout, stderr := verify(t, wrong.args...); code != wrong.code || !strings.Contains(stderr, wrong.says) || stdout != "" {
			t.Errorf("verify %v = %d\n%s%s, want %d with %q", wrong.args, code, stdout, stderr, wrong.code, wrong.says)
		}
	}

	weights := filepath.Join(folder, "data", "weights.bin")
	content, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	content[3500] ^= 4
	if err := os.WriteFile(weights, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "added.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	location := "mlflow-artifacts:/" + strings.TrimPrefix(filepath.ToSlash(folder), "mlartifacts/")
	code, stdout, stderr := verify(t, "models:/churn@champion")
	for _, want := range []string{"altered     " + location + "/data/weights.bin  of models:/churn/1  expected 7000 bytes, sha256 ", "found 7000 bytes, sha256 ", "added       " + location + "/added.txt"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("verify lacks %q:\n%s", want, stdout)
		}
	}
	if code != exitFailed || !strings.Contains(stderr, "files that are not as they should be: 2") || strings.Count(stdout, "\n") != 3 {
		t.Errorf("verify = %d\n%s%s", code, stdout, stderr)
	}

	if err := os.Remove(weights); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ = verify(t, "--json", "--verbose")
	var report struct {
		OK       bool
		Findings []struct{ Status, Location string }
		Bad      int
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitFailed || report.OK || report.Bad != 2 || len(report.Findings) != 3 ||
		report.Findings[0].Status != "missing" || report.Findings[0].Location != location+"/data/weights.bin" {
		t.Errorf("verify --json = %d, %+v, %v\n%s", code, report, err, stdout)
	}
	if code, stderr := s.stop(); code != exitOK {
		t.Errorf("the server ended with %d: %s", code, stderr)
	}
}
