package mlflowapi_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// trackingServer is a server over a real database.
type trackingServer struct {
	t   testing.TB
	url string
}

func newTrackingServer(t testing.TB) *trackingServer {
	t.Helper()
	store, err := models.Open(t.Context(), modelstest.SQLite(t), models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(mlflowapi.New(store, mlflowapi.Config{Version: "test", Log: slog.New(slog.DiscardHandler), Auth: auth.Off{}}))
	t.Cleanup(server.Close)
	return &trackingServer{t, server.URL}
}

// call sends a request below /api/2.0/mlflow/ (another path if it begins with a slash) and gives the answer.
func (s *trackingServer) call(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/2.0/mlflow/" + path
	}
	return requestJSON(s.t, "", method, s.url+path, body)
}

// ok is call for a request that must succeed.
func (s *trackingServer) ok(method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.call(method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s %s answers %d %v", method, path, body, status, answer)
	}
	return answer
}

// refused is call for a request that must fail with the status and a message that begins so.
func (s *trackingServer) refused(method, path, body string, want int, prefix string) {
	s.t.Helper()
	status, answer := s.call(method, path, body)
	if message, _ := answer["message"].(string); status != want || !strings.HasPrefix(message, prefix) {
		s.t.Errorf("%s %s %s answers %d %v, want %d %s…", method, path, body, status, answer, want, prefix)
	}
}

// dig follows names into an answer.
func dig(v any, names ...string) any {
	for _, name := range names {
		v, _ = v.(map[string]any)[name]
	}
	return v
}

func (s *trackingServer) newModel(name string) string {
	s.t.Helper()
	return dig(s.ok("POST", "logged-models", `{"experiment_id": "0", "name": "`+name+`"}`), "model", "info", "model_id").(string)
}

func TestLoggedModel_OnTheWire(t *testing.T) {
	s := newTrackingServer(t)
	run := dig(s.ok("POST", "runs/create", `{"experiment_id": "0", "run_name": "r", "start_time": 1}`), "run", "info", "run_id").(string)
	created := s.ok("POST", "logged-models", `{"experiment_id": "0", "name": "lm", "model_type": "agent", "source_run_id": "`+run+`", "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "x"}]}`)
	id := dig(created, "model", "info", "model_id").(string)
	at := dig(created, "model", "info", "creation_timestamp_ms")
	want := map[string]any{"model": map[string]any{
		"info": map[string]any{
			"model_id": id, "experiment_id": "0", "name": "lm", "creation_timestamp_ms": at, "last_updated_timestamp_ms": at, "artifact_uri": "mlflow-artifacts:/0/models/" + id + "/artifacts",
			"status": "LOGGED_MODEL_PENDING", "model_type": "agent", "source_run_id": run, "tags": []any{map[string]any{"key": "t", "value": "x"}},
		},
		"data": map[string]any{"params": []any{map[string]any{"key": "p", "value": "1"}}},
	}}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Error(diff)
	}
	path := "logged-models/" + id
	for _, status := range []string{`"LOGGED_MODEL_READY"`, `2`, `"2"`} {
		if got := dig(s.ok("PATCH", path, `{"model_id": "`+id+`", "status": `+status+`}`), "model", "info", "status"); got != "LOGGED_MODEL_READY" {
			t.Errorf("finalized with %s the status is %v", status, got)
		}
	}
	s.ok("POST", path+"/params", `{"model_id": "`+id+`", "params": [{"key": "q", "value": "2"}]}`)
	s.ok("PATCH", path+"/tags", `{"tags": [{"key": "a/b", "value": "1"}]}`)
	s.ok("DELETE", path+"/tags/a%2Fb", "")
	s.ok("POST", "runs/log-metric", `{"run_id": "`+run+`", "key": "acc", "value": 1, "timestamp": 5, "step": 2, "model_id": "`+id+`", "dataset_name": "ds", "dataset_digest": "dg"}`)
	s.ok("POST", "runs/log-inputs", `{"run_id": "`+run+`", "datasets": [{"tags": [{"key": "mlflow.data.context", "value": "training"}], "dataset": {"name": "ds", "digest": "dg", "source_type": "local", "source": "{}", "schema": "{}"}}], "models": [{"model_id": "`+id+`"}]}`)
	s.ok("POST", "runs/outputs", `{"run_id": "`+run+`", "models": [{"model_id": "`+id+`", "step": 2}]}`)

	metric := map[string]any{"key": "acc", "value": 1.0, "timestamp": 5.0, "step": 2.0, "dataset_name": "ds", "dataset_digest": "dg", "model_id": id, "run_id": run}
	if diff := cmp.Diff([]any{metric}, dig(s.ok("GET", path, ""), "model", "data", "metrics")); diff != "" {
		t.Error(diff)
	}
	datasets := []any{map[string]any{
		"tags":    []any{map[string]any{"key": "mlflow.data.context", "value": "training"}},
		"dataset": map[string]any{"name": "ds", "digest": "dg", "source_type": "local", "source": "{}", "schema": "{}"},
	}}
	got := s.ok("GET", "runs/get?run_id="+run, "")
	if diff := cmp.Diff(any(map[string]any{"dataset_inputs": datasets, "model_inputs": []any{map[string]any{"model_id": id}}}), dig(got, "run", "inputs")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(any(map[string]any{"model_outputs": []any{map[string]any{"model_id": id, "step": 2.0}}}), dig(got, "run", "outputs")); diff != "" {
		t.Error(diff)
	}
	found := dig(s.ok("POST", "runs/search", `{"experiment_ids": ["0"]}`), "runs").([]any)
	if diff := cmp.Diff(any(map[string]any{"dataset_inputs": datasets}), dig(found[0], "inputs")); diff != "" {
		t.Errorf("a search gives no model inputs: %s", diff)
	}
	summaries := s.ok("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", `{"experiment_ids": ["0"]}`)
	if diff := cmp.Diff(map[string]any{"dataset_summaries": []any{map[string]any{"experiment_id": "0", "name": "ds", "digest": "dg", "context": "training"}}}, summaries); diff != "" {
		t.Error(diff)
	}

	s.ok("DELETE", path, "{}")
	s.refused("GET", path, "", 404, "Logged model with ID '"+id+"' not found.")
	if dig(s.ok("GET", path+"?allow_deleted=true", ""), "model", "info", "model_id") != id {
		t.Error("allow_deleted=true does not give the deleted model")
	}
}

func TestLoggedModels_BadRequests(t *testing.T) {
	s := newTrackingServer(t)
	id := s.newModel("m")
	path := "logged-models/" + id
	const missing = "Missing value for required parameter "
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "logged-models", `{}`, 400, missing + "'experiment_id'."},
		{"POST", "logged-models", `{"experiment_id": "x"}`, 400, "Invalid experiment ID 'x'."},
		{"POST", "logged-models", `{"experiment_id": "0", "params": [{"value": "1"}]}`, 400, missing + "'params[0].key'."},
		{"PATCH", path, `{}`, 400, missing + "'status'."},
		{"PATCH", path, `{"status": "READY"}`, 400, `Invalid value "READY" for parameter 'status' supplied: must be one of LOGGED_MODEL_PENDING, LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED.`},
		{"PATCH", path, `{"status": 0}`, 400, "Invalid value 0 for parameter 'status' supplied:"},
		{"PATCH", path, `{"model_id": "m-other", "status": 2}`, 400, "The request names 'model_id' twice"},
		{"GET", "logged-models/m%00", "", 400, "Text in parameter 'model_id' must be valid UTF-8 without NUL characters."},
		{"GET", path + "?allow_deleted=perhaps", "", 400, "Invalid boolean value: perhaps"},
		{"DELETE", "logged-models/m-none", "", 404, "Logged model with ID 'm-none' not found."},
		{"DELETE", path + "/tags/t", "", 404, "No tag with key 't' found for model with ID '" + id + "'."},
		{"POST", "logged-models/search", `{}`, 400, missing + "'experiment_ids'."},
		{"POST", "logged-models/search", `{"experiment_ids": ["x"]}`, 400, "Invalid experiment ID 'x'."},
		{"POST", "logged-models/search", `{"experiment_ids": ["0"], "max_results": -1}`, 400, "Invalid value -1 for parameter 'max_results' supplied."},
		{"POST", "logged-models/search", `{"experiment_ids": ["0"], "filter": "name ="}`, 400, "Invalid filter string: "},
		{"POST", "logged-models/search", `{"experiment_ids": ["0"], "order_by": [{"field_name": "params.x"}]}`, 400, "Invalid order by field name: params.x."},
		{"POST", "logged-models/search", `{"experiment_ids": ["0"], "datasets": [{}]}`, 400, "`dataset_name` in the `datasets` clause must be specified."},
		{"POST", "runs/outputs", `{"run_id": "x"}`, 400, missing + "'models'."},
		{"POST", "runs/log-inputs", `{"run_id": "x", "datasets": [{}]}`, 400, missing + "'datasets[0].dataset'."},
		{"POST", "runs/log-inputs", `{"run_id": "x", "datasets": [{"dataset": {"name": "d"}}]}`, 400, missing + "'datasets[0].dataset.digest'."},
		{"POST", "experiments/search-datasets", `{"experiment_ids": ["0"]}`, 404, "There is no "},
		{"POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", `{}`, 400, "SearchDatasets request must specify at least one experiment_id."},
		{"GET", "metrics/get-history-bulk?run_id=x&metric_key=m", "", 404, "There is no "},
		{"GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id=x", "", 400, "GetMetricHistoryBulk request must specify a metric_key."},
		{"GET", "metrics/get-history-bulk-interval?run_ids=x&metric_key=m&start_step=1", "", 400, "If either start step or end step are specified, both must be specified."},
		{"GET", "metrics/get-history-bulk-interval?run_ids=x&metric_key=m&max_results=2501", "", 400, "max_results must be between 1 and 2500."},
	} {
		s.refused(c.method, c.path, c.body, c.status, c.message)
	}
}

func TestSearchLoggedModels_PageTokenBelongsToItsSearch(t *testing.T) {
	s := newTrackingServer(t)
	var want, got []string
	for i := range 5 {
		want = append(want, s.newModel(fmt.Sprint("m", i)))
	}
	search := func(token, rest string) string {
		return `{"experiment_ids": ["0"], "max_results": 2, "page_token": "` + token + `", ` + rest + `}`
	}
	const same = `"filter": "name LIKE 'm%'", "order_by": [{"field_name": "name"}]`
	token := ""
	for range 3 {
		answer := s.ok("POST", "logged-models/search", search(token, same))
		for _, m := range dig(answer, "models").([]any) {
			got = append(got, dig(m, "info", "model_id").(string))
		}
		next, more := answer["next_page_token"].(string)
		if !more {
			break
		}
		token = next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	s.refused("POST", "logged-models/search", search(token, `"order_by": [{"field_name": "name"}]`), 400, "Filter string in the page token does not match the requested filter string.")
	s.refused("POST", "logged-models/search", search(token, `"filter": "name LIKE 'm%'", "order_by": [{"field_name": "name", "ascending": false}]`), 400, "Order by in the page token does not match the requested order by.")
	other := strings.Replace(search(token, same), `["0"]`, `["0", "1"]`, 1)
	s.refused("POST", "logged-models/search", other, 400, "Experiment IDs in the page token do not match the requested experiment IDs.")
	for _, text := range []string{"[]", "{", `{"offset": -1}`, `{"offset": "x"}`, `"\xff"`} {
		s.refused("POST", "logged-models/search", search(base64.StdEncoding.EncodeToString([]byte(text)), same), 400, "Invalid page token, parsed value=")
	}
	s.refused("POST", "logged-models/search", search("!!", same), 400, "Invalid page token, could not base64-decode")
}
