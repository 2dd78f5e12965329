package artifacts

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// minRate is what a transfer must reach to count as progress, in bytes per second.
const minRate = 2 << 10

// newHTTPClient gives up requests that make no progress for a time.
func newHTTPClient(base http.RoundTripper, patience time.Duration) *http.Client {
	return &http.Client{
		Transport: progressTransport{base, patience},
		// S3 redirects to another region, for which the request is not signed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// progressTransport breaks off what hangs. Only time in which S3 is waited for counts: a slow source or reader at our end
// may take as long as it likes.
type progressTransport struct {
	base     http.RoundTripper
	patience time.Duration
}

// RoundTrip implements http.RoundTripper.
func (t progressTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	w := &watch{patience: t.patience, cancel: cancel}
	w.timer = time.AfterFunc(t.patience, func() { cancel(errStalled) })
	request = request.WithContext(ctx)
	if request.Body != nil && request.Body != http.NoBody {
		request.Body = sentBody{request.Body, w}
	}
	response, err := t.base.RoundTrip(request)
	w.answered()
	if err != nil {
		err = stallOr(ctx, err)
		cancel(nil)
		return nil, err
	}
	response.Body = &receivedBody{ReadCloser: response.Body, ctx: ctx, watch: w}
	return response, nil
}

// stallOr is errStalled, if that is why ctx ended.
func stallOr(ctx context.Context, err error) error {
	if context.Cause(ctx) == errStalled { //nolint:errorlint // the very cause
		return errStalled
	}
	return err
}

// watch cancels a request when its timer runs out.
type watch struct {
	patience time.Duration
	cancel   context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	done  bool // the answer has begun
}

// pause stops the clock while more of the request is awaited from our end.
func (w *watch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.timer.Stop()
	}
}

// resume gives S3 the full time again to take what was read, or to answer.
func (w *watch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.timer.Reset(w.patience)
	}
}

func (w *watch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.done = true
}

// sentBody is read in pieces of a few KiB, the next when the last is on its way.
type sentBody struct {
	io.ReadCloser
	watch *watch
}

func (b sentBody) Read(p []byte) (int, error) {
	b.watch.pause()
	defer b.watch.resume()
	return b.ReadCloser.Read(p)
}

// receivedBody counts how long it is waited for. One that trickles is given up like one that stops.
type receivedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // the request's, which ends with the body
	watch  *watch
	waited time.Duration
	got    int64 // bytes, in that time
}

func (b *receivedBody) Read(p []byte) (int, error) {
	start := time.Now()
	b.watch.timer.Reset(b.watch.patience)
	n, err := b.ReadCloser.Read(p)
	b.watch.timer.Stop()
	b.waited += time.Since(start)
	b.got += int64(n)
	if err != nil && err != io.EOF {
		return n, stallOr(b.ctx, err)
	}
	if b.waited >= b.watch.patience {
		if err == nil && b.got < int64(b.waited.Seconds()*minRate) {
			b.watch.cancel(errStalled)
			return n, errStalled
		}
		b.waited, b.got = 0, 0
	}
	return n, err
}

func (b *receivedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.cancel(nil)
	return err
}
