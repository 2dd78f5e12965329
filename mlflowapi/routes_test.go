package mlflowapi

import (
	_ "embed"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/endpoints.md anew")

// mlflowEndpoints are the routes of MLflow 3.17.2 that tracking clients need: method, path, and where they are mounted.
//
//go:embed testdata/mlflow_endpoints.tsv
var mlflowEndpoints string

func servedRoutes() []string {
	gin.SetMode(gin.ReleaseMode)
	a := &API{log: slog.New(slog.DiscardHandler), metrics: newMetrics("test")}
	engine := gin.New()
	a.mount(engine)
	var out []string
	for _, r := range engine.Routes() {
		out = append(out, r.Method+" "+r.Path)
	}
	slices.Sort(out)
	return out
}

func TestRoutes_ServeEveryMLflowEndpointOfTrackingClients(t *testing.T) {
	served := map[string]bool{}
	param := regexp.MustCompile(`[:*][a-z_]+`)
	for _, r := range servedRoutes() {
		served[param.ReplaceAllString(r, "{}")] = true
	}
	braces := regexp.MustCompile(`\{[a-z_]+\}`)
	for line := range strings.Lines(mlflowEndpoints) {
		cols := strings.Split(strings.TrimSpace(line), "\t")
		method, path := cols[0], braces.ReplaceAllString(cols[1], "{}")
		want := []string{path}
		if cols[2] == "api+ajax" {
			want = append(want, strings.Replace(path, "/api/", "/ajax-api/", 1))
		}
		if strings.HasPrefix(path, "/api/2.0/mlflow/") {
			want = append(want, strings.Replace(path, "/api/2.0/", "/api/2.0/preview/", 1))
		}
		for _, path := range want {
			if !served[method+" "+path] {
				t.Errorf("%s %s is not served", method, path)
			}
		}
	}
}

// Whatever changes something is in the audit log, unless it is here.
func TestRoutes_OnlyTheseChangesAreNotAudited(t *testing.T) {
	a := &API{}
	var got []string
	for _, r := range slices.Concat(a.routes(), a.pageRoutes()) {
		if r.logging {
			got = append(got, r.method+" "+r.path)
		}
	}
	want := []string{
		"POST runs/create", "POST runs/update", "POST runs/log-metric", "POST runs/log-parameter", "POST runs/set-tag", "POST runs/delete-tag",
		"POST runs/log-batch", "POST runs/log-model", "POST runs/log-inputs", "POST runs/outputs",
		"POST logged-models", "PATCH logged-models/:model_id", "POST logged-models/:model_id/params", "PATCH logged-models/:model_id/tags", "DELETE logged-models/:model_id/tags/:tag_key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logging routes (-want +got):\n%s", diff)
	}
}

// The document lists each route once, without the mounts that repeat it.
func TestEndpointsDocument_EqualsTheRoutes(t *testing.T) {
	const file = "../docs/endpoints.md"
	var b strings.Builder
	b.WriteString("# Endpoints\nEvery route, as the server mounts it; a test keeps this list equal to the code (`go test ./mlflowapi -update`). What stands under\n`/api` also answers under `/ajax-api`, and `/api/2.0/mlflow/…` under `/api/2.0/preview/mlflow/…` for clients 1.x.\n\n| method | path |\n|---|---|\n")
	served := servedRoutes()
	for _, r := range served {
		method, path, _ := strings.Cut(r, " ")
		if strings.HasPrefix(path, "/api/2.0/preview/") || slices.Contains(served, method+" "+strings.Replace(path, "/ajax-api/", "/api/", 1)) && strings.HasPrefix(path, "/ajax-api/") {
			continue
		}
		fmt.Fprintf(&b, "| %s | `%s` |\n", method, path)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if diff := cmp.Diff(b.String(), string(got)); err != nil || diff != "" {
		t.Errorf("docs/endpoints.md is not what the server serves: %v\n%s", err, diff)
	}
}
