package mlflowapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const requestIDHeader = "X-Request-Id"

func requestID(c *gin.Context) string { return c.Writer.Header().Get(requestIDHeader) }

// observe gives every request an id, the headers every answer has, and one line in the log.
func (a *API) observe(c *gin.Context) {
	start := time.Now()
	id := c.GetHeader(requestIDHeader)
	if !plainID(id) {
		var random [8]byte
		rand.Read(random[:])
		id = hex.EncodeToString(random[:])
	}
	h := c.Writer.Header()
	h.Set(requestIDHeader, id)
	h.Set("Greenroom-Version", a.cfg.Version)
	h.Set("X-Content-Type-Options", "nosniff")
	c.Next()
	level := slog.LevelDebug
	if c.Writer.Status() >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	a.log.LogAttrs(c.Request.Context(), level, "request",
		slog.String("method", c.Request.Method), slog.String("route", c.FullPath()), slog.String("path", c.Request.URL.Path),
		slog.Int("status", c.Writer.Status()), slog.Int("bytes", c.Writer.Size()),
		slog.Duration("duration", time.Since(start)), slog.String("request_id", id), slog.String("client", c.ClientIP()))
}

// plainID accepts a caller's request id that is safe to log and to send back.
func plainID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return strings.IndexFunc(id, func(r rune) bool { return !strings.ContainsRune(plain, r) }) < 0
}

// recoverPanic answers a panic with MLflow's envelope; fail logs it once, with the stack.
func (a *API) recoverPanic(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			a.fail(c, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	c.Next()
}
