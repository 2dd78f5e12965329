package mlflowapi

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"greenroom/models"
)

// Security says which browsers may use the server. The zero value is MLflow's default, and fits clients on this machine and
// in private networks.
type Security struct {
	// Disabled turns all checks off.
	Disabled bool
	// AllowedHosts are the Host headers that are served, "*" being a wildcard; one without a port stands for all ports.
	// Nil allows localhost, private addresses and ListenHost.
	AllowedHosts []string
	// AllowedOrigins are the web sites, besides those on localhost and the server's own, whose pages may call the server.
	AllowedOrigins []string
	// ListenHost is the name or address that the operator told the server to listen on.
	ListenHost string
	// FrameOptions is the X-Frame-Options header; "" for SAMEORIGIN, "NONE" for no header.
	FrameOptions string
}

// secure refuses what a foreign web page could make a user's browser send: requests under a name that the page's owner has
// pointed at this server (DNS rebinding), and changes from another origin.
func (a *API) secure(c *gin.Context) {
	s := &a.cfg.Security
	if s.Disabled {
		return
	}
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	switch s.FrameOptions {
	case "NONE":
	case "":
		h.Set("X-Frame-Options", "SAMEORIGIN")
	default:
		h.Set("X-Frame-Options", s.FrameOptions)
	}
	if !a.isProbe(c.Request.URL.Path) && !s.allowsHost(c.Request.Host) {
		a.refuse(c, "Invalid Host header - possible DNS rebinding attack detected. "+
			"If clients use the name %q, start the server with --allowed-hosts naming it (or set MLFLOW_SERVER_ALLOWED_HOSTS).", c.Request.Host)
		return
	}
	origin := c.GetHeader("Origin")
	if origin == "" {
		return
	}
	preflight := c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != ""
	if !s.allowsOrigin(origin, c.Request.Host) {
		if preflight || changesState(c.Request.Method) {
			a.refuse(c, "Cross-origin request blocked. "+
				"If pages of %q may use this server, start it with --cors-allowed-origins naming that origin (or set MLFLOW_SERVER_CORS_ALLOWED_ORIGINS).", origin)
		}
		return
	}
	if slices.Contains(s.AllowedOrigins, "*") {
		h.Set("Access-Control-Allow-Origin", "*") // and no credentials: any page may come
	} else {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Expose-Headers", "*")
	if preflight {
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS, PATCH")
		h.Set("Access-Control-Max-Age", "600")
		if headers := c.GetHeader("Access-Control-Request-Headers"); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		c.AbortWithStatus(http.StatusNoContent)
	}
}

// refuse answers 403; value is the client's, and is cut when it is long.
func (a *API) refuse(c *gin.Context, format, value string) {
	const longest = 300
	if len(value) > longest {
		value = value[:longest] + "…"
	}
	a.fail(c, &models.Error{Code: models.PermissionDenied, Message: fmt.Sprintf(format, value)})
}

// isProbe tells whether a path is answered under any name: load balancers ask by address, and the answers are no secret.
func (a *API) isProbe(path string) bool {
	switch strings.TrimPrefix(path, a.cfg.StaticPrefix) {
	case "/health", "/version", "/livez", "/readyz":
		return true
	}
	return false
}

func changesState(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

func (s *Security) allowsHost(host string) bool {
	host = strings.ToLower(host)
	name := strings.TrimSuffix(hostName(host), ".")
	if s.AllowedHosts == nil {
		return isPrivate(name) || name != "" && name == hostName(strings.ToLower(s.ListenHost))
	}
	return slices.ContainsFunc(s.AllowedHosts, func(allowed string) bool {
		allowed = strings.ToLower(allowed)
		return name != "" && (matches(allowed, host) || matches(hostName(allowed), name) && hostName(allowed) == strings.Trim(allowed, "[]"))
	})
}

// hostName is host without port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// isPrivate tells whether name is this machine or an address that no public DNS name stands for. It reads addresses as
// addresses: MLflow's pattern 10.* also lets 10.evil.example in.
func isPrivate(name string) bool {
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified() || addr.IsLinkLocalUnicast())
}

func (s *Security) allowsOrigin(origin, host string) bool {
	u, err := url.Parse(strings.ToLower(origin))
	if err != nil {
		return false
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	// The server's own pages; the host has passed its check.
	if u.Host != "" && u.Host == strings.ToLower(host) {
		return true
	}
	return slices.ContainsFunc(s.AllowedOrigins, func(allowed string) bool {
		return matches(strings.TrimSuffix(strings.ToLower(allowed), "/"), strings.ToLower(origin))
	})
}

// matches compares text with a pattern in which "*" stands for anything.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return strings.HasSuffix(text, last)
}
