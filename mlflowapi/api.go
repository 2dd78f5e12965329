// Package mlflowapi serves MLflow's REST API: it routes, decodes, calls the store and encodes. It knows gin and HTTP, and
// nothing of SQL; the rules about runs and models live in package models.
package mlflowapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/semaphore"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/models"
)

// MLflowVersion is the MLflow release whose API is served; clients switch features on it.
const MLflowVersion = "3.17.2"

// API holds what the handlers need. Its handlers are func(context.Context, *Request) (*Response, error).
type API struct {
	store     *models.Store
	log       *slog.Logger
	cfg       Config
	metrics   *metrics
	auditor   *auditor
	limiter   *auth.Limiter // of guesses at the password that someone wants to change
	passwords *auth.Passwords
	signer    *urlSigner
	large     *semaphore.Weighted // bytes of large bodies
	compared  *comparisons
	// versionHeader is the value of Greenroom-Version.
	versionHeader []string
}

// Config is what an operator chooses about the HTTP side.
type Config struct {
	// Version of Greenroom, sent in the Greenroom-Version header.
	Version string
	// StaticPrefix goes before every path, such as "/mlflow"; empty for none.
	StaticPrefix string
	Log          *slog.Logger
	// MaxRequestBytes bounds a JSON request; 0 for DefaultMaxRequestBytes.
	MaxRequestBytes int64
	Security        Security
	// Auth tells who makes a request; auth.Off lets everyone do everything.
	Auth Authenticator
	// AuditLog gets a line of JSON for every entry of the audit log; nil for none.
	AuditLog io.Writer
	// TrustedProxies are the networks of proxies whose X-Forwarded-For tells the client's address.
	TrustedProxies []netip.Prefix
	// MaxArtifactBytes bounds a file; 0 for no limit.
	MaxArtifactBytes int64
	// Artifacts are the stores that the server keeps files in.
	Artifacts artifacts.Stores
	// PresignedURLs is PresignedAuto, which is what "" means, PresignedServer or PresignedOff.
	PresignedURLs string
	// PublicURL is the address, with the static prefix, that clients have as MLFLOW_TRACKING_URI; "" to find it out from each request.
	PublicURL string
	// DownloadURLTime is how long a URL for a download is good; 0 for DefaultDownloadURLTime.
	DownloadURLTime time.Duration
	// Stopping is asked by each /readyz, which answers 503 from the time on that it says true; nil for never.
	Stopping func() bool
	// Now is the clock by which URLs expire; nil for the system's.
	Now func() time.Time
}

// Authenticator tells who makes a request, from its Authorization header and the address it comes from. It refuses with
// *auth.UnauthenticatedError or *auth.ThrottledError.
type Authenticator interface {
	Authenticate(ctx context.Context, header, address string) (*auth.Principal, error)
	// PrincipalOf is who logs in as an account with one of its API tokens, or with its password for nil.
	PrincipalOf(ctx context.Context, account auth.Account, token *auth.APIToken) (*auth.Principal, error)
}

// New builds the HTTP handler that serves the store.
func New(store *models.Store, cfg Config) http.Handler {
	a := &API{store: store, log: cfg.Log, cfg: cfg, metrics: newMetrics(cfg.Version), limiter: auth.NewLimiter(store, time.Now), passwords: auth.NewPasswords()}
	a.versionHeader = []string{cfg.Version}
	a.large = semaphore.NewWeighted(largeBodies)
	now := time.Now
	if cfg.Now != nil {
		now = cfg.Now
	}
	a.signer = &urlSigner{store: store, now: now}
	a.compared = newComparisons(now)
	a.auditor = newAuditor(&auditLines{w: cfg.AuditLog, log: cfg.Log, failed: a.metrics.auditFailures.WithLabelValues("file").Inc})
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	engine.UseRawPath = true
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"}
	trustProxies(engine, cfg.TrustedProxies)
	engine.Use(a.observe, a.recoverPanic, a.secure, a.authenticate)
	engine.NoRoute(func(c *gin.Context) {
		a.fail(c, &models.Error{Code: models.EndpointNotFound, Message: "There is no " + c.Request.URL.Path + " on this server."})
	})
	engine.NoMethod(func(c *gin.Context) {
		if c.Request.Method == http.MethodOptions {
			c.Header("Allow", c.Writer.Header().Get("Allow")+", OPTIONS")
			c.Status(http.StatusNoContent)
			return
		}
		_, body := answer(models.EndpointNotFound, c.Request.Method+" is not a method of "+c.Request.URL.Path+"; it answers "+c.Writer.Header().Get("Allow")+".")
		c.AbortWithStatusJSON(http.StatusMethodNotAllowed, body)
	})
	a.mount(engine)
	return engine
}

// trustProxies makes ClientIP of a request that one of the proxies passed on the address that it got the request from, and of
// any other the sender's own.
func trustProxies(engine *gin.Engine, networks []netip.Prefix) {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	_ = engine.SetTrustedProxies(texts) // fails only on texts that are no networks
}

// call decodes a request, and gives what it is about and what answers it.
type call func(*gin.Context) (decoded, error)

type decoded struct {
	targets []target
	answer  func(context.Context) (any, error)
}

// request is a pointer to a request type that says what it is about.
type request[Req any] interface {
	*Req
	targeted
}

// rpc turns a handler into the decode and answer parts of a request; serve does the rest.
func rpc[Req, Resp any, P request[Req]](handle func(context.Context, P) (*Resp, error)) call {
	d := newRequestDecoder(reflect.TypeFor[Req]())
	return func(c *gin.Context) (decoded, error) {
		req := P(new(Req))
		if err := d.decode(c, req); err != nil {
			return decoded{}, err
		}
		return decoded{req.targets(), func(ctx context.Context) (any, error) { return handle(ctx, req) }}, nil
	}
}

// serve runs one RPC, whose caller needs its level on all its targets, and writes its answer.
func (a *API) serve(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		resp, err := a.limited(c, func(c *gin.Context) (any, error) {
			req, err := r.call(c)
			if err != nil {
				return nil, err
			}
			noteObject(c, req.targets)
			if err := a.admit(c, r.level, req.targets); err != nil {
				return nil, err
			}
			ctx := c.Request.Context()
			if !r.logging && changesState(c.Request.Method) {
				ctx = a.audited(c)
			}
			return req.answer(ctx)
		})
		if err != nil {
			a.fail(c, err)
			return
		}
		if parts, ok := resp.(*inParts); ok {
			a.writeParts(c, parts)
			return
		}
		body, err := encode(resp)
		if err != nil {
			a.fail(c, err)
			return
		}
		writeJSON(c, body)
	}
}

// stream serves a file's transfer, whose caller needs the level on what the request is about.
func (a *API) stream(level auth.Level, about func(*gin.Context) ([]target, error), transfer gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		targets, err := about(c)
		if err == nil {
			noteObject(c, targets)
			err = a.admit(c, level, targets)
		}
		if err != nil {
			if changesState(c.Request.Method) {
				newUpload(c).drain()
			}
			a.fail(c, err)
			return
		}
		if changesState(c.Request.Method) {
			c.Request = c.Request.WithContext(a.audited(c))
		}
		transfer(c)
	}
}

// empty is the request or response of an RPC that carries nothing.
type empty struct{}

func (*empty) appendJSON(b []byte) []byte { return append(b, "{}"...) }
