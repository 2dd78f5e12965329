// Package mlflowapi serves MLflow's REST API: it routes, decodes, calls the store and encodes. It knows gin and HTTP, and
// nothing of SQL; the rules about runs and models live in package models.
package mlflowapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
)

// MLflowVersion is the MLflow release whose API is served; clients switch features on it.
const MLflowVersion = "3.17.2"

// API holds what the handlers need. Its handlers are func(context.Context, *Request) (*Response, error).
type API struct {
	store   *models.Store
	log     *slog.Logger
	cfg     Config
	metrics *metrics
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
	// Artifacts is the store behind mlflow-artifacts: locations; nil when this server serves none.
	Artifacts artifacts.Store
	// ArtifactFolders are the local folders, by absolute path, that artifact locations may name.
	ArtifactFolders map[string]artifacts.Store
}

// New builds the HTTP handler that serves the store.
func New(store *models.Store, cfg Config) http.Handler {
	a := &API{store: store, log: cfg.Log, cfg: cfg, metrics: newMetrics(cfg.Version)}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	engine.UseRawPath = true
	engine.Use(a.observe, a.recoverPanic, a.secure)
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

// rpc turns a handler into the decode → handle part of a request; serve does the rest.
func rpc[Req, Resp any](handle func(context.Context, *Req) (*Resp, error)) func(*gin.Context) (any, error) {
	d := newDecoder(reflect.TypeFor[Req]())
	return func(c *gin.Context) (any, error) {
		req := new(Req)
		if err := d.decode(c, req); err != nil {
			return nil, err
		}
		return handle(c.Request.Context(), req)
	}
}

// serve runs one RPC and writes its answer.
func (a *API) serve(call func(*gin.Context) (any, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		resp, err := a.limited(c, call)
		if err != nil {
			a.fail(c, err)
			return
		}
		body, err := json.Marshal(resp)
		if err != nil {
			a.fail(c, err)
			return
		}
		writeJSON(c, body)
	}
}

// empty is the request or response of an RPC that carries nothing.
type empty struct{}
