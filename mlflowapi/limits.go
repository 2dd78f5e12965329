package mlflowapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/models"
)

// DefaultMaxRequestBytes holds a log-batch of 1000 metrics, params and tags with long values, many times over.
const DefaultMaxRequestBytes = 32 << 20

const (
	// requestTime is how long a client may take to send a JSON request. Artifacts have transferIdle instead.
	requestTime = time.Minute
	// smallAnswer fits into the connection's buffers: writing it never waits for the client.
	smallAnswer = 32 << 10
	// largeBody is the size in bytes from which bodies take turns: a body that says little in many values takes fifty times its
	// size while it is decoded.
	largeBody = 1 << 20
	// largeBodies is how many bytes of large bodies are worked on at once, or one that is larger.
	largeBodies = 8 << 20
	// turnTime is how long a large body waits for its turn.
	turnTime = 20 * time.Second
)

// limited runs an RPC whose body, in the configured size, must arrive in requestTime.
func (a *API) limited(c *gin.Context, call func(*gin.Context) (any, error)) (any, error) {
	if c.Request.ContentLength == 0 {
		return call(c)
	}
	if c.Request.ContentLength > a.maxRequestBytes() {
		newUpload(c).drain()
		return nil, &requestTooLarge{limit: a.maxRequestBytes()}
	}
	body := c.Request.Body
	control := http.NewResponseController(c.Writer)
	setDeadline(control.SetReadDeadline, time.Now().Add(requestTime))
	c.Request.Body = &jsonBody{http.MaxBytesReader(nil, body, a.maxRequestBytes()), control}
	resp, err := a.inTurn(c, call)
	c.Request.Body = body
	if tooLarge := new(requestTooLarge); errors.As(err, &tooLarge) {
		newUpload(c).drain()
	}
	return resp, err
}

// inTurn runs an RPC when its turn has come, if its body is large. The body is read before, as a slow client would hold up the others.
func (a *API) inTurn(c *gin.Context, call func(*gin.Context) (any, error)) (any, error) {
	r := c.Request
	if 0 <= r.ContentLength && r.ContentLength < largeBody {
		return call(c)
	}
	text, err := io.ReadAll(r.Body)
	r.Body = &wholeBody{io.MultiReader(bytes.NewReader(text), failing{err}), text, err}
	size := int64(min(len(text), largeBodies))
	if size < largeBody {
		return call(c)
	}
	ctx, cancel := context.WithTimeout(r.Context(), turnTime)
	defer cancel()
	if err := a.large.Acquire(ctx, size); err != nil {
		return nil, &models.Error{Code: models.TemporarilyUnavailable, Message: "The server is busy with other large requests; try again, or send smaller ones."}
	}
	defer a.large.Release(size)
	return call(c)
}

// wholeBody is a body that was read already, to its end or until an error.
type wholeBody struct {
	io.Reader
	text []byte
	err  error
}

// Close implements io.Closer.
func (*wholeBody) Close() error { return nil }

// failing is a reader of nothing that ends with err, or as usual for nil.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// jsonBody lifts the deadline when the body has ended: the server goes on to watch the connection during the call.
type jsonBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *jsonBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		setDeadline(b.control.SetReadDeadline, time.Time{})
	}
	return n, err
}

func (a *API) maxRequestBytes() int64 {
	if a.cfg.MaxRequestBytes == 0 {
		return DefaultMaxRequestBytes
	}
	return a.cfg.MaxRequestBytes
}

// writeJSON sends an answer to a client that may stop reading for transferIdle at most.
func writeJSON(c *gin.Context, body []byte) {
	if len(body) <= smallAnswer {
		c.Data(http.StatusOK, "application/json", body)
		return
	}
	answer := newAnswer(c)
	defer answer.done()
	answer.write(body)
}

// longAnswer is one whose client may stop reading for transferIdle at most.
type longAnswer struct{ *patient }

func newAnswer(c *gin.Context) longAnswer {
	c.Header("Content-Type", "application/json")
	c.Status(http.StatusOK)
	return longAnswer{newPatient(c)}
}

// write tells whether the client is still there.
func (l longAnswer) write(body []byte) bool {
	for len(body) > 0 {
		n := min(len(body), smallAnswer)
		if _, err := l.Write(body[:n]); err != nil {
			return false
		}
		body = body[n:]
	}
	return true
}
