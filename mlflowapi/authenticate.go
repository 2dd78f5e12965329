package mlflowapi

import (
	"strings"

	"github.com/gin-gonic/gin"

	"greenroom/auth"
	"greenroom/models"
)

// authenticate finds out who makes the request, and refuses strangers everywhere but where everyone may look.
func (a *API) authenticate(c *gin.Context) {
	if a.isPublic(c.FullPath()) {
		return
	}
	headers := c.Request.Header.Values("Authorization")
	if len(headers) > 1 {
		a.fail(c, &auth.UnauthenticatedError{Message: "The request has several Authorization headers; send one."})
		return
	}
	ctx := models.WithAudit(c.Request.Context(), a.audit(c, loginAction)) // the first log-in of an issuer's user makes the user
	p, err := a.cfg.Auth.Authenticate(ctx, strings.Join(headers, ""), c.ClientIP())
	if err != nil {
		if changesState(c.Request.Method) {
			newUpload(c).drain() // a client that is still sending does not hear the answer
		}
		a.fail(c, err)
		return
	}
	c.Request = c.Request.WithContext(auth.With(c.Request.Context(), p))
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
