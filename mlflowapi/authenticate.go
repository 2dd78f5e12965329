package mlflowapi

import (
	"errors"
	"strings"

	"github.com/gin-gonic/gin"

	"greenroom/auth"
	"greenroom/models"
)

// authenticate finds out who makes the request, and refuses strangers everywhere but where everyone may look, and where the URL itself is
// the permission.
func (a *API) authenticate(c *gin.Context) {
	if route := c.FullPath(); a.isPublic(route) || a.isTransfer(route) {
		return
	}
	if err := a.logIn(c); err != nil {
		if changesState(c.Request.Method) {
			newUpload(c).drain() // a client that is still sending does not hear the answer
		}
		a.fail(c, err)
	}
}

// logIn puts who makes the request into its context.
func (a *API) logIn(c *gin.Context) error {
	headers := c.Request.Header.Values("Authorization")
	if len(headers) > 1 {
		return &auth.UnauthenticatedError{Message: "The request has several Authorization headers; send one."}
	}
	entry := a.audit(c, loginAction)
	ctx := models.WithAudit(c.Request.Context(), entry) // the first log-in of an issuer's user makes the user
	p, err := a.cfg.Auth.Authenticate(ctx, strings.Join(headers, ""), entry.Address)
	if err == nil {
		c.Request = c.Request.WithContext(auth.With(c.Request.Context(), p))
	}
	return err
}

// admit authorizes the request, and looks once more before it refuses: what the caller made through another replica a
// moment ago is the caller's, though this one remembers older permissions.
func (a *API) admit(c *gin.Context, level auth.Level, targets []target) error {
	err := a.authorize(c.Request.Context(), level, targets)
	if forbidden := (*auth.ForbiddenError)(nil); !errors.As(err, &forbidden) {
		return err
	}
	before := auth.Of(c.Request.Context())
	a.store.RereadIdentity()
	if err := a.logIn(c); err != nil {
		return err
	}
	if auth.Of(c.Request.Context()) == before {
		return err // remembered still: nothing has changed
	}
	return a.authorize(c.Request.Context(), level, targets)
}

// isPublic tells whether a route is answered without a log-in: probes, and what clients ask before they have one.
func (a *API) isPublic(route string) bool {
	path := strings.TrimPrefix(route, a.cfg.StaticPrefix)
	return a.isProbe(route) || path == "/api"+serverInfoPath || path == "/ajax-api"+serverInfoPath
}

// unauthorized is the answer to a request whose sender is not known. The challenges make browsers ask, and tell clients
// what they may send.
func (a *API) unauthorized(c *gin.Context, err *auth.UnauthenticatedError) (int, errorBody) {
	bearer := `Bearer realm="greenroom"`
	if err.InvalidToken {
		bearer += `, error="invalid_token"` // RFC 6750
	}
	c.Writer.Header()["Www-Authenticate"] = []string{bearer, `Basic realm="mlflow", charset="UTF-8"`}
	return answer(models.CustomerUnauthorized, err.Message)
}
