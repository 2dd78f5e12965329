package mlflowapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const requestIDHeader = "X-Request-Id"

// noSniff is the value of X-Content-Type-Options. Whoever wants another sets a new one.
var noSniff = []string{"nosniff"}

func requestID(c *gin.Context) string { return c.Writer.Header().Get(requestIDHeader) }

// metrics are what /metrics tells Prometheus.
type metrics struct {
	registry *prometheus.Registry
	duration *prometheus.HistogramVec // by method, route and status
	// durations are duration's histograms by series: to find one there by its labels takes longer.
	durations sync.Map
	inFlight  prometheus.Gauge
	// auditFailures counts entries that the audit log lacks, by where: database (refusals only) or file.
	auditFailures *prometheus.CounterVec
	auditSkipped  prometheus.Counter
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "greenroom_http_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "greenroom_http_requests_in_flight",
			Help: "Requests being answered.",
		}),
		auditFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "greenroom_audit_failures_total",
			Help: "Entries that could not be written to the audit log, by where: refusals to the database, and any to the file.",
		}, []string{"where"}),
		auditSkipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "greenroom_audit_skipped_total",
			Help: "Refusals and failed log-ins that are not in the audit log, as too many came in one minute.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "greenroom_build_info",
		Help:        "Always 1; the labels tell the version and the MLflow release whose API it serves.",
		ConstLabels: prometheus.Labels{"version": version, "mlflow_version": MLflowVersion},
	})
	build.Set(1)
	m.auditFailures.WithLabelValues("database")
	m.auditFailures.WithLabelValues("file")
	m.registry.MustRegister(m.duration, m.inFlight, m.auditFailures, m.auditSkipped, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// series names one of duration's histograms.
type series struct {
	method, route string
	status        int
}

func (m *metrics) observe(method, route string, status int, duration time.Duration) {
	key := series{method, route, status}
	found, ok := m.durations.Load(key)
	if !ok {
		found, _ = m.durations.LoadOrStore(key, m.duration.WithLabelValues(method, route, strconv.Itoa(status)))
	}
	found.(prometheus.Observer).Observe(duration.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.InstrumentMetricHandler(m.registry, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
}

// observe gives every request an id, the headers every answer has, a place in the metrics and one line in the log.
func (a *API) observe(c *gin.Context) {
	start := time.Now()
	id := c.GetHeader(requestIDHeader)
	if !plainID(id) {
		var random [8]byte
		rand.Read(random[:])
		id = hex.EncodeToString(random[:])
	}
	h := c.Writer.Header()
	h[requestIDHeader] = []string{id}
	h["Greenroom-Version"] = a.versionHeader
	h["X-Content-Type-Options"] = noSniff
	a.metrics.inFlight.Inc()
	defer func() { // also when recoverPanic gives up on a broken answer
		a.metrics.inFlight.Dec()
		duration, status := time.Since(start), c.Writer.Status()
		method, route := plainMethod(c.Request.Method), c.FullPath()
		if route == "" {
			route = "none" // every unknown path alike: labels must not grow with what strangers send
		}
		a.metrics.observe(method, route, status, duration)
		ctx := c.Request.Context()
		if !a.log.Enabled(ctx, slog.LevelDebug) { // failures are logged by fail
			return
		}
		a.log.LogAttrs(ctx, slog.LevelDebug, "request",
			slog.String("method", c.Request.Method), slog.String("route", route), slog.String("path", c.Request.URL.Path),
			slog.Int("status", status), slog.Int64("bytes", int64(c.Writer.Size())+c.GetInt64(bytesByKernel)),
			slog.Duration("duration", duration), slog.String("request_id", id), slog.String("client", c.ClientIP()))
	}()
	c.Next()
}

// plainMethod is a method that is fit for a label.
func plainMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// plainID accepts a caller's request id that is safe to log and to send back.
func plainID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return strings.IndexFunc(id, func(r rune) bool { return !strings.ContainsRune(plain, r) }) < 0
}

// recoverPanic answers a panic with MLflow's envelope; fail logs it once, with the stack. An answer that has begun is broken
// off, so that the client does not take it for whole.
func (a *API) recoverPanic(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // the server compares it so, too
			panic(p)
		}
		err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if c.Writer.Written() {
			a.logFailure(c, err)
			panic(http.ErrAbortHandler)
		}
		a.fail(c, err)
	}()
	c.Next()
}
