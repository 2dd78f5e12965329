package mlflowapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

// BenchmarkSearch measures searches of runs and model versions, from the request's body to the answer's.
func BenchmarkSearch(b *testing.B) {
	for _, database := range []struct {
		name string
		uri  func(testing.TB) string
	}{{"sqlite", modelstest.SQLite}, {"postgresql", modelstest.PostgreSQL}} {
		b.Run(database.name, func(b *testing.B) {
			b.Run("runs=5000", func(b *testing.B) {
				handler := seeded(b, database.uri(b), seedRuns(5000, 5))
				const filter = `"filter": "metrics.m0 > 0.5 AND params.p1 = '3'", "order_by": ["metrics.m1 DESC"]`
				benchSearch(b, handler, "filter", "runs/search", `{"experiment_ids": ["0"], "max_results": 100, `+filter+`}`)
				benchSearch(b, handler, "page", "runs/search", `{"experiment_ids": ["0"], "max_results": 1000}`)
				benchPages(b, handler, 5000)
			})
			b.Run("runs=500000", func(b *testing.B) {
				benchPages(b, seeded(b, database.uri(b), seedRuns(500_000, 1)), 500_000)
			})
			for _, models := range []int{100, 1000} {
				b.Run(fmt.Sprintf("versions=%d", 100*models), func(b *testing.B) {
					handler := seeded(b, database.uri(b), seedVersions(models, 100))
					benchSearch(b, handler, "of a model", "model-versions/search?filter=name%3D%27model-50%27", "")
				})
			}
		})
	}
}

// seeded is a server on a database that the statements have filled.
func seeded(b *testing.B, uri string, statements []string) http.Handler {
	b.Helper()
	db, dialect := modelstest.Open(b, uri)
	for _, statement := range statements {
		if dialect == schema.SQLite {
			statement = strings.ReplaceAll(statement, "CAST(0 AS BOOLEAN)", "0")
		}
		if _, err := db.Exec(statement); err != nil {
			b.Fatalf("%s: %v", statement, err)
		}
	}
	store, err := models.Open(b.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return mlflowapi.New(store, mlflowapi.Config{Version: "bench", Log: slog.New(slog.DiscardHandler), Auth: auth.Off{}, Artifacts: artifacts.Stores{}})
}

// numbers is a table of the numbers n from 0 below a limit.
func numbers(limit int) string {
	return fmt.Sprintf("WITH RECURSIVE numbers (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < %d) ", limit)
}

// benchRunID makes an id of 32 characters from n, in no order of n.
const benchRunID = "(substr(CAST(1000000 + (n * 7919) % 1000003 AS TEXT), 1, 7) || 'abcdefghijklmnopqrstuvwxy')"

func seedRuns(runs, keys int) []string {
	statements := []string{numbers(runs) + `INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
		SELECT ` + benchRunID + `, 'run-' || n, 'UNKNOWN', '', '', 'somebody', 'FINISHED', 1700000000000 + 1000 * (n / 2), 1700000600000 + n, '', 'active', 'mlflow-artifacts:/0/' || ` + benchRunID + ` || '/artifacts', 0 FROM numbers`}
	for _, insert := range []string{
		"INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) SELECT 'm' || k, ((n * 7919 + 31 * k) %% 10007) / 10007.0, 1700000000000 + n, 100, CAST(0 AS BOOLEAN), %s FROM data",
		"INSERT INTO params (key, value, run_uuid) SELECT 'p' || k, CAST((n * 31 + k) %% 10 AS TEXT), %s FROM data",
		"INSERT INTO tags (key, value, run_uuid) SELECT 't' || k, 'value ' || (n %% 10), %s FROM data",
	} {
		// One run after the other, as clients log them.
		statements = append(statements, numbers(runs*keys)+fmt.Sprintf(", data AS (SELECT n / %[1]d AS n, n %% %[1]d AS k FROM numbers) ", keys)+fmt.Sprintf(insert, benchRunID))
	}
	return statements
}

func seedVersions(models, versions int) []string {
	return []string{
		numbers(models) + "INSERT INTO registered_models (workspace, name, creation_time, last_updated_time) SELECT 'default', 'model-' || n, 1700000000000 + n, 1700000000000 + n FROM numbers",
		numbers(models*versions) + fmt.Sprintf(`INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, current_stage, source, run_id, status)
			SELECT 'default', 'model-' || (n %% %d), 1 + n / %d, 1700000000000 + n, 1700000000000 + n, 'None', 'models:/m-1', '', 'READY' FROM numbers`, models, models),
		numbers(models*versions) + fmt.Sprintf("INSERT INTO model_version_tags (workspace, name, version, key, value) SELECT 'default', 'model-' || (n %% %d), 1 + n / %d, 'checked', 'yes' FROM numbers", models, models),
	}
}

func benchSearch(b *testing.B, handler http.Handler, name, path, body string) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			searchOnce(b, handler, path, body)
		}
	})
}

// benchPages measures the first and the last page of runs in the default order.
func benchPages(b *testing.B, handler http.Handler, runs int) {
	const size = 100
	request := func(token string) string {
		return fmt.Sprintf(`{"experiment_ids": ["0"], "max_results": %d, "page_token": %q}`, size, token)
	}
	benchSearch(b, handler, "first", "runs/search", request(""))
	last, token := "", ""
	for range runs / 5000 {
		var page struct {
			Next string `json:"next_page_token"`
		}
		body := fmt.Sprintf(`{"experiment_ids": ["0"], "max_results": 5000, "page_token": %q}`, token)
		if err := json.Unmarshal(searchOnce(b, handler, "runs/search", body), &page); err != nil {
			b.Fatal(err)
		}
		if page.Next == "" {
			break
		}
		token = page.Next
	}
	last = token
	benchSearch(b, handler, "last", "runs/search", request(last))
}

func searchOnce(b *testing.B, handler http.Handler, path, body string) []byte {
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequestWithContext(b.Context(), method, "http://localhost/api/2.0/mlflow/"+path, bytes.NewReader([]byte(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Body.Len() < 100 {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}
