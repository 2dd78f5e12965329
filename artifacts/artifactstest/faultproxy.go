package artifactstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"
)

// Operation is what a request asks of an S3 server.
type Operation string

// The operations that a FaultProxy tells apart.
const (
	AnyOperation    Operation = ""
	GetObject       Operation = "GetObject"
	HeadObject      Operation = "HeadObject"
	PutObject       Operation = "PutObject"
	DeleteObjects   Operation = "DeleteObjects" // one or many
	ListObjects     Operation = "ListObjects"
	CreateMultipart Operation = "CreateMultipartUpload"
	UploadPart      Operation = "UploadPart"
	CompleteUpload  Operation = "CompleteMultipartUpload"
	AbortUpload     Operation = "AbortMultipartUpload"
	ListUploads     Operation = "ListMultipartUploads"
)

func operationOf(r *http.Request) Operation {
	query := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method {
	case http.MethodHead:
		return HeadObject
	case http.MethodPut:
		if query.Has("uploadId") {
			return UploadPart
		}
		return PutObject
	case http.MethodPost:
		switch {
		case query.Has("uploads"):
			return CreateMultipart
		case query.Has("uploadId"):
			return CompleteUpload
		}
		return DeleteObjects
	case http.MethodDelete:
		if query.Has("uploadId") {
			return AbortUpload
		}
		return DeleteObjects
	}
	switch {
	case query.Has("uploads"):
		return ListUploads
	case key == "":
		return ListObjects
	}
	return GetObject
}

// Fault is a way in which a request goes wrong.
type Fault struct {
	name     string
	status   int           // answered in place of the server's, with code
	code     string        // of S3
	upload   *int64        // after so many bytes of the request's body …
	download *int64        // after so many bytes of the answer's body …
	hang     bool          // … nothing more comes, instead of a broken connection
	pace     time.Duration // between two bytes of the answer's body
	change   func(*http.Response)
	lose     bool // the server does the work, and the connection breaks before its answer
}

func (f Fault) String() string { return f.name }

// The faults of a storage that answers, but not as it should.
var (
	InternalFailure = Fault{name: "500", status: http.StatusInternalServerError, code: "InternalError"}
	SlowDown        = Fault{name: "503", status: http.StatusServiceUnavailable, code: "SlowDown"}
	AccessDenied    = Fault{name: "403", status: http.StatusForbidden, code: "AccessDenied"}
	ForeignKey      = Fault{name: "403 unknown key", status: http.StatusForbidden, code: "InvalidAccessKeyId"}
	NoBucket        = Fault{name: "404 no bucket", status: http.StatusNotFound, code: "NoSuchBucket"}
	WrongETag       = Fault{name: "wrong ETag", change: func(r *http.Response) {
		if r.Header.Get("ETag") != "" {
			r.Header.Set("ETag", `"00000000000000000000000000000000"`)
		}
	}}
	// Hang takes the request and never answers.
	Hang = Fault{name: "hang", lose: true, hang: true}
	// LostAnswer does what was asked, and breaks the connection instead of saying so.
	LostAnswer = Fault{name: "lost answer", lose: true}
	// Trickle answers with one byte per second.
	Trickle = Fault{name: "1 byte/s", pace: time.Second}
)

// CutDownload breaks the connection after n bytes of the answer's body.
func CutDownload(n int64) Fault {
	return Fault{name: fmt.Sprintf("download cut after %d bytes", n), download: &n}
}

// HangDownload stops sending after n bytes of the answer's body.
func HangDownload(n int64) Fault {
	return Fault{name: fmt.Sprintf("download hangs after %d bytes", n), download: &n, hang: true}
}

// CutUpload resets the connection after n bytes of the request's body.
func CutUpload(n int64) Fault {
	return Fault{name: fmt.Sprintf("upload cut after %d bytes", n), upload: &n}
}

// HangUpload stops receiving after n bytes of the request's body.
func HangUpload(n int64) Fault {
	return Fault{name: fmt.Sprintf("upload hangs after %d bytes", n), upload: &n, hang: true}
}

// FaultProxy stands before an S3 server and spoils what it is told to. It keeps the Host header, so signatures hold.
type FaultProxy struct {
	Endpoint string // http://127.0.0.1:<port>

	server    *S3Server
	transport *http.Transport

	mu       sync.Mutex
	front    *http.Server
	listener net.Listener
	rules    []*rule
	seen     map[Operation]int
	healed   chan struct{} // closed when what hangs shall end
}

type rule struct {
	operation Operation
	fault     Fault
	left      int // requests; below 0 for all
}

// NewFaultProxy starts a proxy without faults, which ends with the test.
func NewFaultProxy(t testing.TB, server *S3Server) *FaultProxy {
	t.Helper()
	p := &FaultProxy{
		server:    server,
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100},
		seen:      map[Operation]int{},
		healed:    make(chan struct{}),
	}
	listener, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	p.serve(listener)
	t.Cleanup(func() {
		p.Heal()
		p.Down()
		p.transport.CloseIdleConnections()
	})
	return p
}

func (p *FaultProxy) serve(listener net.Listener) {
	front := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	p.mu.Lock()
	p.front, p.listener, p.Endpoint = front, listener, "http://"+listener.Addr().String()
	p.mu.Unlock()
	go front.Serve(listener) //nolint:errcheck // ends with ErrServerClosed
}

// Env is what a process needs in its environment to use the server through the proxy, as name=value.
func (p *FaultProxy) Env() []string { return s3Env(p.server, p.Endpoint) }

// Break spoils all requests for an operation until Heal.
func (p *FaultProxy) Break(operation Operation, fault Fault) { p.BreakNext(-1, operation, fault) }

// BreakNext spoils the next n requests for an operation. What is told first comes first.
func (p *FaultProxy) BreakNext(n int, operation Operation, fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &rule{operation, fault, n})
}

// Heal ends all faults, and the requests that hang with broken connections.
func (p *FaultProxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
	close(p.healed)
	p.healed = make(chan struct{})
}

// Down breaks all connections and refuses new ones.
func (p *FaultProxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener.Close() // which a server that has not begun to serve does not know
	_ = p.front.Close()
}

// Up ends Down.
func (p *FaultProxy) Up(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", strings.TrimPrefix(p.Endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	p.serve(listener)
}

// Requests is how many requests for an operation have come.
func (p *FaultProxy) Requests(operation Operation) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[operation]
}

// meet counts a request and tells what happens to it.
func (p *FaultProxy) meet(operation Operation) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[operation]++
	p.seen[AnyOperation]++
	for _, r := range p.rules {
		if r.left != 0 && (r.operation == operation || r.operation == AnyOperation) {
			r.left--
			return r.fault, p.healed
		}
	}
	return Fault{}, p.healed
}

var errFault = errors.New("an injected fault")

// ServeHTTP implements http.Handler.
func (p *FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, healed := p.meet(operationOf(r))
	over := func() {
		select {
		case <-healed:
		case <-r.Context().Done(): // comes only when the whole body has been read
		}
	}
	switch {
	case fault.status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(fault.status)
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>an injected fault</Message></Error>`, fault.code)
		return
	case fault.lose && fault.hang:
		_, _ = io.Copy(io.Discard, r.Body)
		over()
		reset(w)
		return
	case fault.upload != nil:
		r.Body = &spoiltBody{ReadCloser: r.Body, left: *fault.upload, hang: fault.hang, over: over}
	}
	forward := httputil.ReverseProxy{
		Transport:     p.transport,
		FlushInterval: -1, // what comes before a fault has to arrive
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(p.server.Endpoint, "http://")
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { reset(w) },
		ModifyResponse: func(answer *http.Response) error {
			switch {
			case fault.lose:
				return errFault
			case fault.change != nil:
				fault.change(answer)
			case fault.download != nil:
				answer.Body = &spoiltBody{ReadCloser: answer.Body, left: *fault.download, hang: fault.hang, over: over}
			case fault.pace != 0:
				answer.Body = &pacedBody{ReadCloser: answer.Body, ctx: r.Context(), pace: fault.pace, healed: healed}
			}
			return nil
		},
	}
	forward.ServeHTTP(w, r)
}

// reset breaks a request's connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // too late for a reset; the connection is closed
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// spoiltBody breaks off, or waits until the fault is over and breaks off.
type spoiltBody struct {
	io.ReadCloser
	left int64 // bytes
	hang bool
	over func()
}

func (b *spoiltBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		if b.hang {
			b.over()
		}
		return 0, errFault
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

type pacedBody struct {
	io.ReadCloser
	ctx    context.Context
	pace   time.Duration
	healed <-chan struct{}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(b.pace):
	case <-b.healed:
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	return b.ReadCloser.Read(p[:min(len(p), 1)])
}
