package mlflowapi

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/models"
	"greenroom/search"
)

// requestTooLarge is a body over the limit, in bytes.
type requestTooLarge struct {
	limit    int64
	artifact bool // the limit is the operator's, for a whole file
}

func (e *requestTooLarge) Error() string {
	if e.artifact {
		return fmt.Sprintf("The file is larger than the %d bytes that this server's operator allows with --max-artifact-size; nothing was stored.", e.limit)
	}
	return fmt.Sprintf("The request body is larger than the limit of %d bytes; send it in smaller parts.", e.limit)
}

// errorBody is MLflow's error envelope. Clients before 3.0 crash on an error_code they do not know, so only the codes of models.Code leave here.
type errorBody struct {
	ErrorCode  models.Code `json:"error_code"`
	Message    string      `json:"message"`
	SQLState   string      `json:"sqlstate,omitempty"`
	ErrorClass string      `json:"error_class,omitempty"`
}

// fail answers with the error: the one place where errors become a status and a body.
func (a *API) fail(c *gin.Context, err error) {
	status, body := a.errorAnswer(c, err)
	a.auditRefusal(c, err, body)
	c.AbortWithStatusJSON(status, body)
}

func (a *API) errorAnswer(c *gin.Context, err error) (int, errorBody) {
	var (
		known    *models.Error
		filter   *search.Error
		tooLarge *requestTooLarge
		path     *artifacts.PathError
		stranger *auth.UnauthenticatedError
		lacking  *auth.ForbiddenError
		throttle *auth.ThrottledError
		away     *artifacts.UnavailableError
		noLength lengthRequired
	)
	switch {
	case c.Request.Context().Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrTxDone)):
		// The client has gone: nobody reads the answer, and nothing was committed. A database puts that in several ways.
		return answer(models.BadRequest, "The request was cancelled.")
	case errors.As(err, &known):
		if known.Code == models.TemporarilyUnavailable {
			a.logFailure(c, err)
			c.Header("Retry-After", "1")
		}
		return answer(known.Code, known.Message)
	case errors.As(err, &stranger):
		return a.unauthorized(c, stranger)
	case errors.As(err, &lacking):
		return answer(models.PermissionDenied, lacking.Error())
	case errors.As(err, &throttle):
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(throttle.RetryAfter.Seconds()))))
		return answer(models.RequestLimitExceeded, throttle.Error())
	case errors.Is(err, auth.ErrIssuerUnavailable):
		c.Header("Retry-After", "5")
		return answer(models.TemporarilyUnavailable, "The token cannot be verified now: "+err.Error()+". Try again.")
	case errors.As(err, &filter):
		return answer(models.InvalidParameterValue, filter.Error())
	case errors.As(err, &tooLarge):
		_, body := answer(models.InvalidParameterValue, tooLarge.Error())
		return http.StatusRequestEntityTooLarge, body
	case errors.As(err, &noLength):
		_, body := answer(models.BadRequest, noLength.Error())
		return http.StatusLengthRequired, body
	case errors.As(err, &path):
		return answer(models.InvalidParameterValue, path.Error())
	case errors.Is(err, artifacts.ErrNoSpace):
		a.logFailure(c, err)
		// Not 503: clients would send the whole file seven times more.
		_, body := answer(models.TemporarilyUnavailable, "The artifact store is full; nothing was stored. Its operator must make room.")
		return http.StatusInsufficientStorage, body
	case errors.Is(err, artifacts.ErrCorrupt):
		a.logFailure(c, err)
		// Not a 5xx: it is as damaged the next time.
		_, body := answer(models.InternalError, "The artifact is damaged in the store: it is not what was stored, and is not sent. Its operator can tell with greenroom verify what else is.")
		return http.StatusFailedDependency, body
	case errors.As(err, &away) && away.Refused:
		a.logFailure(c, err)
		// Not a 5xx, which clients would retry until the message is lost.
		_, body := answer(models.InternalError, "The artifact store does not let this server in, or its bucket does not exist; nothing was changed. The server's log has the cause under request id "+requestID(c)+".")
		return http.StatusFailedDependency, body
	case errors.As(err, &away) && c.Request.Context().Err() == nil:
		a.logFailure(c, err)
		c.Header("Retry-After", "1")
		return answer(models.TemporarilyUnavailable, "The artifact store does not answer as it should; try again. The server's log has the cause under request id "+requestID(c)+".")
	}
	a.logFailure(c, err)
	return answer(models.InternalError, "Internal error; the server's log has the cause under request id "+requestID(c)+".")
}

// logFailure tells the operator of an error that is no client's.
func (a *API) logFailure(c *gin.Context, err error) {
	a.log.LogAttrs(c.Request.Context(), slog.LevelError, "request failed",
		slog.String("method", c.Request.Method), slog.String("path", c.Request.URL.Path),
		slog.String("request_id", requestID(c)), slog.Any("error", err))
}

func answer(code models.Code, message string) (int, errorBody) {
	body := errorBody{ErrorCode: code, Message: message}
	switch code {
	case models.InvalidParameterValue, models.BadRequest, models.ResourceAlreadyExists:
		body.SQLState, body.ErrorClass = "KAM00", string(code)
		return http.StatusBadRequest, body
	case models.ResourceDoesNotExist:
		body.SQLState, body.ErrorClass = "KAM00", "RESOURCE_NOT_FOUND"
		return http.StatusNotFound, body
	case models.EndpointNotFound:
		return http.StatusNotFound, body
	case models.CustomerUnauthorized:
		return http.StatusUnauthorized, body
	case models.RequestLimitExceeded:
		return http.StatusTooManyRequests, body
	case models.ResourceConflict:
		return http.StatusConflict, body
	case models.PermissionDenied, models.FeatureDisabled:
		return http.StatusForbidden, body
	case models.TemporarilyUnavailable:
		return http.StatusServiceUnavailable, body
	case models.NotImplemented:
		return http.StatusNotImplemented, body
	default:
		return http.StatusInternalServerError, body
	}
}
