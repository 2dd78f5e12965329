package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends a request to a running server and reads the answer into out.
func (s running) ask(t *testing.T, method, path string, body, out any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/api/2.0/"+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s", path, resp.Status)
	}
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
}

// deletedRun makes a run of experiment 0 with a file, and deletes it.
func (s running) deletedRun(t *testing.T) string {
	t.Helper()
	var created struct {
		Run struct {
			Info struct {
				RunID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	s.ask(t, "POST", "mlflow/runs/create", map[string]any{"experiment_id": "0"}, &created)
	id := created.Run.Info.RunID
	s.ask(t, "PUT", "mlflow-artifacts/artifacts/0/"+id+"/artifacts/model.pkl", "weights", nil)
	s.ask(t, "POST", "mlflow/runs/delete", map[string]any{"run_id": id}, nil)
	return id
}

func TestGC_DeletesWhileTheServerRuns(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	id := s.deletedRun(t)

	code, stdout, stderr := command(t, "gc", "--dry-run")
	for _, want := range []string{id, "would delete: 1 with 1 files, 9 bytes in total"} {
		if !strings.Contains(stdout, want) || code != exitOK {
			t.Errorf("a dry run ends with %d and lacks %q: %s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, _ = command(t, "gc", "--dry-run", "--older-than", "1.5d2h")
	if code != exitOK || !strings.Contains(stdout, "nothing to delete") {
		t.Errorf("of the old: %d: %s", code, stdout)
	}
	code, stdout, stderr = command(t, "gc", "--json", "--tracking-uri", s.url)
	var report struct {
		DryRun  bool `json:"dry_run"`
		Bytes   int64
		Deleted []struct{ Kind, ID string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitOK || report.DryRun || report.Bytes != 9 || len(report.Deleted) != 1 || report.Deleted[0].ID != id {
		t.Errorf("%d: %s%v", code, stdout, err)
	}
	if !strings.Contains(stderr, "--tracking-uri has no effect") {
		t.Errorf("no note on --tracking-uri: %s", stderr)
	}
	var left []string
	err := filepath.WalkDir("mlartifacts", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left are %q, %v", left, err)
	}
	code, stdout, stderr = command(t, "gc")
	if code != exitOK || !strings.Contains(stdout, "nothing to delete") {
		t.Errorf("the second time: %d: %s%s", code, stdout, stderr)
	}
}

func TestGC_ExitCodes(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	var created struct {
		ID string `json:"experiment_id"`
	}
	s.ask(t, "POST", "mlflow/experiments/create", map[string]any{"name": "active"}, &created)
	deleted := s.deletedRun(t)
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"--run-ids", "nobody"}, exitNotFound, "run nobody: there is none"},
		{[]string{"--run-ids", deleted + ",nobody"}, exitNotFound, "run nobody: there is none"},
		{[]string{"--experiment-ids", created.ID}, exitRefused, "experiment " + created.ID + ": it is not in the deleted stage"},
		{[]string{"--run-ids", deleted, "--older-than", "30d"}, exitRefused, "was deleted less than"},
		{[]string{"--job-ids", "nobody"}, exitRefused, "nobody"},
		{[]string{"--older-than", "monday"}, exitUsage, "write days, hours, minutes and seconds"},
		{[]string{"--older-than", "1..5d"}, exitUsage, "write days, hours, minutes and seconds"},
		{[]string{"--workspace", "team"}, exitUsage, "there are no workspaces"},
		{[]string{"--workspace", "default", "--all-workspaces"}, exitUsage, "not both"},
		{[]string{"--backend-store-uri", "sqlite:///other.db"}, exitFailed, "check its name"},
		{[]string{"--artifacts-destination", "./other"}, exitFailed, "there is no such folder"},
		{[]string{"--default-artifact-root", "./other"}, exitFailed, "there is no such folder"},
	} {
		code, stdout, stderr := command(t, append([]string{"gc"}, c.args...)...)
		if code != c.want || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: %d: %s%s", c.args, code, stdout, stderr)
		}
	}
	if _, err := os.Stat("other.db"); err == nil {
		t.Error("a mistyped name makes a database")
	}
	if code, stdout, _ := command(t, "gc", "--dry-run"); code != exitOK || !strings.Contains(stdout, deleted) {
		t.Errorf("after all the refusals: %d: %s", code, stdout)
	}
}

func TestAge_ReadsWhatMLflowReads(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "30d": 720 * time.Hour, "1d2h3m4s": 26*time.Hour + 3*time.Minute + 4*time.Second, "1.5d": 36 * time.Hour, "0.5h.5m": 30*time.Minute + 30*time.Second, "90s": 90 * time.Second,
	} {
		if got, err := age("older-than", text); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "30", "4s1d", "1e3d", "-1d", "999999999999d"} {
		if got, err := age("older-than", text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
