package artifactstest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const proxied = "0123456789"

// behindProxy is a proxy before a server that takes a body and answers ten bytes.
func behindProxy(t *testing.T) (p *FaultProxy, hosts *atomic.Value, taken *atomic.Int64) {
	t.Helper()
	hosts, taken = &atomic.Value{}, &atomic.Int64{}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts.Store(r.Host + " " + r.RequestURI)
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			taken.Add(1)
		}
		w.Header().Set("ETag", `"right"`)
		_, _ = io.WriteString(w, proxied)
	}))
	t.Cleanup(back.Close)
	return NewFaultProxy(t, &S3Server{Endpoint: back.URL}), hosts, taken
}

// hangs is how long a request is waited for that hangs, and far above what one takes that does not.
const hangs, patience = 3 * time.Second, 3 * time.Minute

func send(t *testing.T, p *FaultProxy, wait time.Duration, method, path, body string) (status int, etag, content string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, p.Endpoint+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, "", "", err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header.Get("ETag"), string(got), err
}

func TestFaultProxyPassesRequestsUnchanged(t *testing.T) {
	p, hosts, _ := behindProxy(t)
	const path = "/bucket/a%20b+c%2Fd?x-id=GetObject&semi;colon"
	status, etag, content, err := send(t, p, patience, http.MethodGet, path, "")
	if err != nil || status != http.StatusOK || etag != `"right"` || content != proxied {
		t.Errorf("answer = %d %s %s, %v", status, etag, content, err)
	}
	if want := strings.TrimPrefix(p.Endpoint, "http://") + " " + path; hosts.Load() != want {
		t.Errorf("the server saw %v, want %s", hosts.Load(), want)
	}
}

func TestFaultsOfTheProxy(t *testing.T) {
	upload := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		fault   Fault
		method  string
		status  int
		etag    string
		content string
		want    error
		broken  bool // by any error
		taken   int64
	}{
		{fault: InternalFailure, status: 500},
		{fault: SlowDown, status: 503},
		{fault: AccessDenied, status: 403},
		{fault: NoBucket, status: 404},
		{fault: WrongETag, status: 200, etag: `"00000000000000000000000000000000"`, content: proxied, taken: 1},
		{fault: Hang, want: context.DeadlineExceeded},
		{fault: LostAnswer, broken: true, taken: 1},
		{fault: Trickle, status: 200, etag: `"right"`, want: context.DeadlineExceeded, taken: 1},
		{fault: CutDownload(4), status: 200, etag: `"right"`, content: "0123", want: io.ErrUnexpectedEOF, taken: 1},
		{fault: HangDownload(4), status: 200, etag: `"right"`, content: "0123", want: context.DeadlineExceeded, taken: 1},
		{fault: CutUpload(100_000), method: http.MethodPut, broken: true},
		{fault: HangUpload(100_000), method: http.MethodPut, want: context.DeadlineExceeded},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			p, _, taken := behindProxy(t)
			method, operation := http.MethodGet, GetObject
			if tt.method == http.MethodPut {
				method, operation = http.MethodPut, PutObject
			}
			p.BreakNext(1, operation, tt.fault)
			wait := patience
			if errors.Is(tt.want, context.DeadlineExceeded) {
				wait = hangs
			}
			status, etag, content, err := send(t, p, wait, method, "/bucket/key", upload)
			if tt.status == 200 || tt.want != nil || tt.broken {
				if tt.fault.pace != 0 && len(content) < len(proxied) && strings.HasPrefix(proxied, content) {
					content = "" // it depends on how long it was waited for
				}
				if status != tt.status || etag != tt.etag || content != tt.content {
					t.Errorf("answer = %d %s %q, want %d %s %q", status, etag, content, tt.status, tt.etag, tt.content)
				}
			} else if status != tt.status || !strings.Contains(content, "<Code>"+tt.fault.code+"</Code>") {
				t.Errorf("answer = %d %s, want %d with the code", status, content, tt.status)
			}
			if broken := err != nil && tt.broken; !broken && !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if taken.Load() != tt.taken {
				t.Errorf("the server took %d requests, want %d", taken.Load(), tt.taken)
			}
			if status, _, content, err := send(t, p, patience, method, "/bucket/key", upload); status != http.StatusOK || content != proxied || err != nil {
				t.Errorf("the next request = %d %q, %v", status, content, err)
			}
			if p.Requests(operation) != 2 {
				t.Errorf("%d requests were counted", p.Requests(operation))
			}
		})
	}
}

func TestFaultProxyTellsOperationsApart(t *testing.T) {
	for request, want := range map[string]Operation{
		"GET /bucket/d/key?x-id=GetObject":                      GetObject,
		"HEAD /bucket/d/key":                                    HeadObject,
		"HEAD /bucket":                                          HeadObject,
		"PUT /bucket/d/key?x-id=PutObject":                      PutObject,
		"DELETE /bucket/d/key":                                  DeleteObjects,
		"POST /bucket?delete=":                                  DeleteObjects,
		"GET /bucket?list-type=2&prefix=d%2F":                   ListObjects,
		"GET /bucket/?list-type=2":                              ListObjects,
		"POST /bucket/d/key?uploads=":                           CreateMultipart,
		"PUT /bucket/d/key?partNumber=1&uploadId=1&x-id=Upload": UploadPart,
		"POST /bucket/d/key?uploadId=1":                         CompleteUpload,
		"DELETE /bucket/d/key?uploadId=1":                       AbortUpload,
		"GET /bucket?uploads":                                   ListUploads,
	} {
		method, target, _ := strings.Cut(request, " ")
		if got := operationOf(httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("%s is %s, want %s", request, got, want)
		}
	}
}

func TestFaultProxyIsDownUntilUp(t *testing.T) {
	p, _, _ := behindProxy(t)
	p.Down()
	if _, _, _, err := send(t, p, patience, http.MethodGet, "/", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error while down = %v, want a refused connection", err)
	}
	p.Up(t)
	if _, _, content, err := send(t, p, patience, http.MethodGet, "/", ""); content != proxied || err != nil {
		t.Errorf("answer when up again = %q, %v", content, err)
	}
}
