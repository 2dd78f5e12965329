package mlflowapi_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// onBenchServer serves a database with the registered model "churn", whose version 2 is "champion" and in Production, and
// with 100,000 values of the metric "loss" of the run that it gives.
func onBenchServer(b *testing.B, bench func(b *testing.B, h http.Handler, runID string)) {
	for name, database := range map[string]func(testing.TB) string{"sqlite": modelstest.SQLite, "postgresql": modelstest.PostgreSQL} {
		b.Run(name, func(b *testing.B) {
			ctx := modelstest.Anyone(b)
			s, err := models.Open(ctx, database(b), models.Options{ArtifactRoot: "mlflow-artifacts:/"})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			check := func(err error) {
				b.Helper()
				if err != nil {
					b.Fatal(err)
				}
			}
			run, err := s.CreateRun(ctx, models.NewRun{})
			check(err)
			for i := range int64(100) {
				var metrics []models.Metric
				for j := range int64(1000) {
					metrics = append(metrics, models.NewMetric("loss", float64(i)+float64(j)*0.001234567, 1_700_000_000_000+i*1000+j, i*1000+j))
				}
				check(s.LogBatch(ctx, run.ID, models.Batch{Metrics: metrics}))
			}
			_, err = s.CreateRegisteredModel(ctx, "churn", "", nil)
			check(err)
			for i := range 3 {
				_, err = s.CreateModelVersion(ctx, models.NewModelVersion{Name: "churn", Source: fmt.Sprintf("runs:/%s/%d", run.ID, i), RunID: &run.ID, Tags: []models.Tag{{Key: "a", Value: "b"}}})
				check(err)
			}
			check(s.SetAlias(ctx, "churn", "champion", 2))
			_, err = s.TransitionStage(ctx, "churn", 2, "Production", false)
			check(err)
			bench(b, mlflowapi.New(s, mlflowapi.Config{Version: "test", Auth: auth.Off{}, Log: slog.New(slog.DiscardHandler)}), run.ID)
		})
	}
}

// discard is the client of a benchmark.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func benchRequest(b *testing.B, h http.Handler, method, path, body string) {
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(method, path, io.Reader(strings.NewReader(body)))
		if body == "" {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		r.Header.Set("Content-Type", "application/json")
		r.Host = "localhost"
		w := &discard{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkMetricHistory(b *testing.B) {
	onBenchServer(b, func(b *testing.B, h http.Handler, runID string) {
		benchRequest(b, h, http.MethodGet, "/api/2.0/mlflow/metrics/get-history?metric_key=loss&run_id="+runID, "")
	})
}

func BenchmarkMetricHistorySample(b *testing.B) {
	onBenchServer(b, func(b *testing.B, h http.Handler, runID string) {
		benchRequest(b, h, http.MethodGet, "/api/2.0/mlflow/metrics/get-history-bulk-interval?metric_key=loss&max_results=320&run_ids="+runID, "")
	})
}

func BenchmarkResolveAlias(b *testing.B) {
	onBenchServer(b, func(b *testing.B, h http.Handler, _ string) {
		benchRequest(b, h, http.MethodGet, "/api/2.0/mlflow/registered-models/alias?name=churn&alias=champion", "")
	})
}

func BenchmarkResolveStage(b *testing.B) {
	onBenchServer(b, func(b *testing.B, h http.Handler, _ string) {
		benchRequest(b, h, http.MethodPost, "/api/2.0/mlflow/registered-models/get-latest-versions", `{"name":"churn","stages":["Production"]}`)
	})
}

func BenchmarkTransitionStage(b *testing.B) {
	onBenchServer(b, func(b *testing.B, h http.Handler, _ string) {
		benchRequest(b, h, http.MethodPost, "/api/2.0/mlflow/model-versions/transition-stage", `{"name":"churn","version":"2","stage":"Production","archive_existing_versions":true}`)
	})
}
