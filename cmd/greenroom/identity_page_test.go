package main

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The commands of docs/identity.md are run as they stand there, by a shell in an empty folder with the program that is built.
func TestIdentityPage_TenCommandsDoWhatItSays(t *testing.T) {
	cleanEnvironment(t)
	page, err := os.ReadFile(filepath.Join(source, "../../docs/identity.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	if n := strings.Count("\n"+blocks[0][1], "\ngreenroom ") + strings.Count(blocks[0][1], "| greenroom "); n != 10 {
		t.Errorf("the page promises ten commands and has %d", n)
	}
	program := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(program, "greenroom"), ".")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0", "HOME="+home)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Setenv("PATH", program+":"+os.Getenv("PATH"))
	port := freePort(t)
	t.Setenv("MLFLOW_PORT", port) // in place of 5000
	t.Setenv("GREENROOM_ALLOWED_ARTIFACT_PREFIXES", "s3://bucket")
	s := running{url: "http://127.0.0.1:" + port}

	shell(t, blocks[0][1])
	until(t, func() bool {
		resp, err := http.Get(s.url + "/health")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	out := shell(t, strings.ReplaceAll(blocks[1][1], "5000", port))
	for _, want := range []string{"token promote", "User 'ci' may create the registered model 'churn'"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}

	ci, ida := http.Header{}, http.Header{}
	ci.Set("Authorization", "Bearer "+read(t, "ci.token"))
	login := http.Request{Header: ida}
	login.SetBasicAuth("ida", read(t, "ida.password"))
	const transition = `{"name":"churn","version":"1","stage":"Production","archive_existing_versions":true}`
	for _, step := range []struct {
		as                 http.Header
		method, path, body string
		want               int
		message            string
	}{
		{ci, "POST", "registered-models/create", `{"name":"churn"}`, 200, ""},
		{ci, "POST", "model-versions/create", `{"name":"churn","source":"s3://bucket/1"}`, 200, ""},
		{ci, "POST", "model-versions/transition-stage", transition, 200, ""},
		{ci, "POST", "registered-models/alias", `{"name":"churn","alias":"champion","version":"1"}`, 200, ""},
		{ci, "POST", "registered-models/create", `{"name":"fraud"}`, 403, "User 'ci' needs"},
		{ida, "GET", "registered-models/get?name=churn", "", 200, ""},
		{ida, "GET", "experiments/get?experiment_id=0", "", 200, ""},
		{ida, "POST", "model-versions/transition-stage", transition, 403, "User 'ida' needs EDIT on registered model 'churn' (has READ)."},
		{ida, "POST", "experiments/create", `{"name":"mine"}`, 403, "User 'ida' needs"},
		{nil, "GET", "registered-models/get?name=churn", "", 401, "You are not logged in."},
	} {
		req, err := http.NewRequest(step.method, s.url+"/api/2.0/mlflow/"+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		if step.as != nil {
			req.Header = step.as.Clone()
		}
		if step.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Message string }
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || resp.StatusCode != step.want || !strings.HasPrefix(answer.Message, step.message) {
			t.Errorf("%s %s: %d %q %v, want %d %q", step.path, step.body, resp.StatusCode, answer.Message, err, step.want, step.message)
		}
	}
}

// shell runs commands, and at the end of the test ends what they leave running.
func shell(t testing.TB, commands string) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out") // a pipe would wait for the server to end
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-eu", "-c", commands)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // it fails if nothing is left
	})
	text := read(t, out.Name())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return text
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(text), "\n")
}

// freePort is a port below those that systems take for connections, so that it is still free when the server starts.
func freePort(t testing.TB) string {
	t.Helper()
	for {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			listener.Close()
			return port
		}
	}
}
