package mlflowapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

const (
	mpu       = "/api/2.0/mlflow-artifacts/mpu"
	presigned = "/api/2.0/mlflow-artifacts/presigned"
	jsonBody  = "Content-Type: application/json"
)

// begun is the answer to mpu/create.
type begun struct {
	UploadID    string `json:"upload_id"`
	Credentials []struct {
		URL        string            `json:"url"`
		PartNumber int               `json:"part_number"`
		Headers    map[string]string `json:"headers"`
	} `json:"credentials"`
}

func (s *artifactServer) begin(folder, file string, parts int, headers ...string) begun {
	s.t.Helper()
	return decode[begun](s, s.do("POST", mpu+"/create/"+folder, fmt.Sprintf(`{"path":%q,"num_parts":%d}`, file, parts), append(headers, jsonBody)...))
}

func decode[T any](s *artifactServer, a answer) (out T) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("answer = %d %s, want 200 with JSON", a.status, a.body)
	}
	return out
}

// path is a URL of this server without its address.
func (s *artifactServer) path(address string) string {
	s.t.Helper()
	path, ok := strings.CutPrefix(address, s.URL)
	if !ok {
		s.t.Fatalf("%s is not on %s", address, s.URL)
	}
	return path
}

// parts is the JSON of what was uploaded.
func parts(etags ...string) string {
	list := make([]map[string]any, len(etags))
	for i, etag := range etags {
		list[i] = map[string]any{"part_number": i + 1, "etag": etag, "url": "http://localhost/x"}
	}
	text, _ := json.Marshal(list)
	return string(text)
}

func (s *artifactServer) complete(folder, file, id, parts string) answer {
	s.t.Helper()
	return s.do("POST", mpu+"/complete/"+folder, fmt.Sprintf(`{"path":%q,"upload_id":%q,"parts":%s}`, file, id, parts), jsonBody)
}

// putParts uploads each content to its URL and gives the ETags.
func (s *artifactServer) putParts(up begun, contents ...string) (etags []string) {
	s.t.Helper()
	for i, content := range contents {
		got := s.do("PUT", s.path(up.Credentials[i].URL), content, "Authorization: Basic d3Jvbmc6d3Jvbmc=")
		s.want(got, 200, "")
		etags = append(etags, got.header.Get("ETag"))
	}
	return etags
}

func TestMultipart_PartsMakeAFile(t *testing.T) {
	for _, file := range []string{"big model.bin", "/home/ada/models/big model.bin", `C:\models\big model.bin`, "../../big model.bin"} {
		s := newArtifactServer(t)
		up := s.begin("1/run/artifacts/d", file, 3)
		for i, credential := range up.Credentials {
			if credential.PartNumber != i+1 || credential.Headers == nil {
				t.Errorf("credential %d = %+v", i, credential)
			}
		}
		etags := s.putParts(up, strings.Repeat("a", 100_000), "b", "")
		s.want(s.do("GET", proxy+"/1/run/artifacts/d/big%20model.bin", ""), 404, "")
		again := s.do("PUT", s.path(up.Credentials[0].URL), strings.Repeat("a", 100_000)) // as after a cut
		if again.header.Get("ETag") != etags[0] {
			t.Errorf("a part that is sent again has the ETag %s, and had %s", again.header.Get("ETag"), etags[0])
		}
		for range 2 {
			s.wantJSON(s.complete("1/run/artifacts/d", file, up.UploadID, parts(etags...)), `{}`)
		}
		s.want(s.do("GET", proxy+"/1/run/artifacts/d/big%20model.bin", ""), 200, strings.Repeat("a", 100_000)+"b")
		s.want(s.do("PUT", s.path(up.Credentials[0].URL), "late"), 404, "No such multipart upload")
		s.wantJSON(s.do("POST", mpu+"/abort/1/run/artifacts/d", fmt.Sprintf(`{"path":%q,"upload_id":%q}`, file, up.UploadID), jsonBody), `{}`)
		s.want(s.do("GET", proxy+"/1/run/artifacts/d/big%20model.bin", ""), 200, "")
	}
}

func TestMultipart_AbortLeavesNothing(t *testing.T) {
	s := newArtifactServer(t)
	up := s.begin("1/run", "f", 1)
	etags := s.putParts(up, "content")
	for range 2 {
		s.wantJSON(s.do("POST", mpu+"/abort/1/run", fmt.Sprintf(`{"path":"f","upload_id":%q}`, up.UploadID), jsonBody), `{}`)
	}
	if left := files(t, s.dir); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
	s.want(s.complete("1/run", "f", up.UploadID, parts(etags...)), 404, "No such multipart upload")
	s.want(s.do("PUT", s.path(up.Credentials[0].URL), "late"), 404, "No such multipart upload")
}

func TestMultipart_Refusals(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/1/run/file", "x")
	up := s.begin("1/run", "f", 2)
	etags := s.putParts(up, "one", "two")
	good := fmt.Sprintf(`"path":"f","upload_id":%q`, up.UploadID)
	for _, tt := range []struct {
		name, step, folder, body string
		status                   int
		message                  string
	}{
		{"no path", "create", "1/run", `{"num_parts":1}`, 400, "'path'"},
		{"no number of parts", "create", "1/run", `{"path":"f"}`, 400, "num_parts"},
		{"no parts", "create", "1/run", `{"path":"f","num_parts":0}`, 400, "from 1 to 10000 parts"},
		{"negative", "create", "1/run", `{"path":"f","num_parts":-1}`, 400, "from 1 to 10000 parts"},
		{"too many", "create", "1/run", `{"path":"f","num_parts":10001}`, 400, "from 1 to 10000 parts"},
		{"no number", "create", "1/run", `{"path":"f","num_parts":"x"}`, 400, "num_parts"},
		{"a folder's name", "create", "1/run", `{"path":"d/","num_parts":1}`, 400, "filename"},
		{"dots", "create", "1/run", `{"path":"..","num_parts":1}`, 400, "Invalid path"},
		{"encoded", "create", "1/run", `{"path":"%2e%2e","num_parts":1}`, 400, "Invalid path"},
		{"on a folder", "create", "1", `{"path":"run","num_parts":1}`, 400, "refers to a directory"},
		{"below a file", "create", "1/run/file", `{"path":"f","num_parts":1}`, 400, "goes through a file"},
		{"no JSON", "create", "1/run", `{`, 400, "JSON"},
		{"no upload id", "complete", "1/run", `{"path":"f","parts":[]}`, 400, "upload_id"},
		{"no list of parts", "complete", "1/run", `{` + good + `}`, 400, "parts"},
		{"an empty list", "complete", "1/run", `{` + good + `,"parts":[]}`, 400, "parts"},
		{"unknown id", "complete", "1/run", `{"path":"f","upload_id":"nope","parts":` + parts(etags...) + `}`, 404, "No such multipart upload"},
		{"id of another file", "complete", "1/run", `{"path":"g","upload_id":"` + up.UploadID + `","parts":` + parts(etags...) + `}`, 404, "No such multipart upload"},
		{"wrong ETag", "complete", "1/run", `{` + good + `,"parts":` + parts(etags[1], etags[1]) + `}`, 400, "part 1 was uploaded with another ETag"},
		{"part that is missing", "complete", "1/run", `{` + good + `,"parts":` + parts(etags[0], etags[1], etags[1]) + `}`, 400, "part 3 was not uploaded"},
		{"part 0", "complete", "1/run", `{` + good + `,"parts":[{"part_number":0,"etag":"e"}]}`, 400, "from 1 to 10000"},
		{"huge part number", "complete", "1/run", `{` + good + `,"parts":[{"part_number":4294967297,"etag":"e"}]}`, 400, "from 1 to 10000"},
		{"no upload id to abort", "abort", "1/run", `{"path":"f"}`, 400, "upload_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.want(s.do("POST", mpu+"/"+tt.step+"/"+tt.folder, tt.body, jsonBody), tt.status, tt.message)
		})
	}
	s.wantJSON(s.complete("1/run", "f", up.UploadID, parts(etags...)), `{}`)
	s.want(s.do("GET", proxy+"/1/run/f", ""), 200, "onetwo")
}

// slowParts is a store that completes an upload when it is told to.
type slowParts struct {
	*artifacts.Local
	begun, release chan struct{}
}

func (s slowParts) CompleteUpload(ctx context.Context, path, id string, parts []artifacts.Part, ready func() error) (artifacts.Stored, error) {
	s.begun <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return s.Local.CompleteUpload(ctx, path, id, parts, ready)
}

func TestMultipart_CompletionGoesOnWithoutItsClient(t *testing.T) {
	slow := slowParts{begun: make(chan struct{}, 2), release: make(chan struct{})}
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		slow.Local = cfg.Artifacts.Served.(*artifacts.Local)
		cfg.Artifacts.Served = slow
	})
	up := s.begin("1/run", "f", 1)
	etags := s.putParts(up, "content")
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "POST", s.URL+mpu+"/complete/1/run", strings.NewReader(fmt.Sprintf(`{"path":"f","upload_id":%q,"parts":%s}`, up.UploadID, parts(etags...))))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	left := make(chan struct{})
	go func() {
		defer close(left)
		if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
			response.Body.Close()
			t.Errorf("answer = %s, want none", response.Status)
		}
	}()
	<-slow.begun
	leave()
	<-left
	var second answer
	var wg sync.WaitGroup
	wg.Go(func() { second = s.complete("1/run", "f", up.UploadID, parts(etags...)) })
	<-slow.begun
	close(slow.release)
	wg.Wait()
	s.wantJSON(second, `{}`)
	s.want(s.do("GET", proxy+"/1/run/f", ""), 200, "content")
}

func TestMultipart_PartThatBreaksOffIsNotStored(t *testing.T) {
	s := newArtifactServer(t)
	up := s.begin("1/run", "f", 1)
	request, err := http.NewRequestWithContext(t.Context(), "PUT", up.Credentials[0].URL, io.MultiReader(strings.NewReader("some"), cutBody{}))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1 << 20
	if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
		response.Body.Close()
		t.Errorf("answer = %s, want none", response.Status)
	}
	s.want(s.complete("1/run", "f", up.UploadID, parts(`"some"`)), 400, "part 1 was not uploaded")
	etags := s.putParts(up, "whole")
	s.wantJSON(s.complete("1/run", "f", up.UploadID, parts(etags...)), `{}`)
	s.want(s.do("GET", proxy+"/1/run/f", ""), 200, "whole")
}

type cutBody struct{}

func (cutBody) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestMultipart_PartNeedsItsLength(t *testing.T) {
	s := newArtifactServer(t)
	up := s.begin("1/run", "f", 1)
	request, err := http.NewRequestWithContext(t.Context(), "PUT", up.Credentials[0].URL, io.MultiReader(strings.NewReader("chunked")))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusLengthRequired {
		t.Errorf("status = %s, want 411", response.Status)
	}
}

type presignedFile struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Size    int64             `json:"file_size"`
}

func TestPresigned_DownloadsInRanges(t *testing.T) {
	s := newArtifactServer(t)
	content := make([]byte, 300_000)
	rand.Read(content)
	s.do("PUT", proxy+"/1/run/artifacts/%C3%BC%20a.html", string(content))
	file := decode[presignedFile](s, s.do("GET", presigned+"/1/run/artifacts/%C3%BC%20a.html", ""))
	if file.Size != 300_000 || file.Headers == nil {
		t.Errorf("answer = %+v", file)
	}
	var got bytes.Buffer
	for from := 0; from < len(content); from += 100_000 {
		part := s.do("GET", s.path(file.URL), "", fmt.Sprintf("Range: bytes=%d-%d", from, from+99_999), "Authorization: Bearer wrong")
		s.want(part, 206, "")
		got.WriteString(part.body)
		if h := part.header; !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "sandbox" {
			t.Errorf("headers = %v", h)
		}
	}
	if !bytes.Equal(got.Bytes(), content) {
		t.Error("the ranges are not the file")
	}
	if head := s.do("HEAD", s.path(file.URL), ""); head.status != 200 || head.header.Get("Content-Length") != "300000" {
		t.Errorf("HEAD = %d %v", head.status, head.header)
	}
	s.do("PUT", proxy+"/1/run/artifacts/%C3%BC%20a.html", string(content))
	s.want(s.do("GET", s.path(file.URL), "", "Range: bytes=100-199"), 412, "")
	s.do("DELETE", proxy+"/1/run/artifacts/%C3%BC%20a.html", "")
	s.want(s.do("GET", s.path(file.URL), ""), 404, "No such artifact")
	s.want(s.do("GET", presigned+"/1/run/artifacts/nope", ""), 404, "No such artifact: '1/run/artifacts/nope'")
	s.do("PUT", proxy+"/1/run/d/a", "x")
	s.want(s.do("GET", presigned+"/1/run/d", ""), 404, "is a directory")
}

func TestPresigned_EmptyFile(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/1/empty", "")
	if got := s.do("GET", presigned+"/1/empty", ""); !strings.Contains(got.body, `"file_size":0`) {
		t.Errorf("answer = %s, want the size", got.body)
	}
}

func TestTransfer_URLsAreGoodForOneThingOnly(t *testing.T) {
	now := time.Now()
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Now = func() time.Time { return now } })
	other := newArtifactServer(t)
	other.do("PUT", proxy+"/1/a", "x")
	s.do("PUT", proxy+"/1/a", "aaa")
	s.do("PUT", proxy+"/1/b", "bbb")
	get := s.path(decode[presignedFile](s, s.do("GET", presigned+"/1/a", "")).URL)
	up := s.begin("1", "c", 2)
	otherUpload := s.begin("1", "c", 2)
	put := s.path(up.Credentials[0].URL)
	change := func(target, name, value string) string {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		if query.Set(name, value); value == "" {
			query.Del(name)
		}
		u.RawQuery = query.Encode()
		return u.String()
	}
	signature := func(target string) string {
		u, _ := url.Parse(target)
		return u.Query().Get("signature")
	}
	path := strings.NewReplacer("/1/a?", "/1/b?", "/1/c?", "/1/d?").Replace
	for _, tt := range []struct{ name, method, url string }{
		{"unsigned", "GET", get[:strings.Index(get, "?")]},
		{"other method", "PUT", get},
		{"other method of a part", "GET", put},
		{"other path", "GET", path(get)},
		{"other path of a part", "PUT", path(put)},
		{"later", "GET", change(get, "expires", "99999999999")},
		{"never", "GET", change(get, "expires", "")},
		{"other ETag", "GET", change(get, "etag", `"x"`)},
		{"no ETag", "GET", change(get, "etag", "")},
		{"an upload that was not signed", "GET", change(get, "upload", "x")},
		{"other part", "PUT", change(put, "part", "2")},
		{"same part in other words", "PUT", change(put, "part", "01")},
		{"other upload", "PUT", change(put, "upload", otherUpload.UploadID)},
		{"signature of another URL", "PUT", change(put, "signature", signature(up.Credentials[1].URL))},
		{"no signature", "GET", change(get, "signature", "")},
		{"short signature", "GET", change(get, "signature", signature(get)[:32])},
		{"signature that is no hex", "GET", change(get, "signature", "zz")},
		{"signature of another server", "GET", other.path(decode[presignedFile](other, other.do("GET", presigned+"/1/a", "")).URL)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := s.do(tt.method, tt.url, "")
			s.want(got, 403, "signature")
			if strings.Contains(got.body, signature(get)) || strings.Contains(got.body, "expires=") {
				t.Errorf("answer holds the query: %s", got.body)
			}
		})
	}
	s.want(s.do("GET", get, ""), 200, "aaa")
	s.want(s.do("PUT", put, "ccc"), 200, "")
	for _, wrong := range []string{"POST", "DELETE", "PATCH"} {
		s.want(s.do(wrong, get, ""), 405, "")
	}

	now = now.Add(mlflowapi.DefaultDownloadURLTime - time.Second)
	s.want(s.do("GET", get, ""), 200, "aaa")
	now = now.Add(time.Second)
	s.want(s.do("GET", get, ""), 403, "expired")
	s.want(s.do("PUT", put, "ccc"), 200, "")
	now = now.Add(12 * time.Hour)
	s.want(s.do("PUT", put, "ccc"), 403, "expired")
}

// A URL works for who may do nothing, and leaves no trace of itself.
func TestTransfer_NeedsNoLogInAndIsNotLogged(t *testing.T) {
	var log lockedBuffer
	u := users{}
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		cfg.Auth = u
		cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg.AuditLog = &log
	})
	u.add("ed", auth.Edit, on("mine"))
	if _, err := s.models.CreateExperiment(modelstest.Anyone(t), "mine", "", nil); err != nil {
		t.Fatal(err)
	}
	up := s.begin("1/r", "f", 1, "Authorization: ed")
	put := s.path(up.Credentials[0].URL)
	got := s.do("PUT", put, "content")
	s.want(got, 200, "")
	s.want(s.do("POST", mpu+"/complete/1/r", fmt.Sprintf(`{"path":"f","upload_id":%q,"parts":%s}`, up.UploadID, parts(got.header.Get("ETag"))), jsonBody, "Authorization: ed"), 200, "")
	get := s.path(decode[presignedFile](s, s.do("GET", presigned+"/1/r/f", "", "Authorization: ed")).URL)
	s.want(s.do("GET", get, ""), 200, "content")
	s.want(s.do("GET", get+"0", "", "Authorization: ed"), 403, "signature")
	s.want(s.do("PUT", put, "late"), 404, "")
	s.want(s.do("PUT", proxy+"/1/r/f", "late"), 401, "")
	if err := os.Remove(filepath.Join(s.dir, "1", "r", "f")); err != nil {
		t.Fatal(err)
	}
	s.want(s.do("GET", get, ""), 404, "")
	s.want(s.do("GET", "/metrics", "", "Authorization: ed"), 200, `route="/api/2.0/mlflow-artifacts/transfer/*path"`)
	metrics := s.do("GET", "/metrics", "", "Authorization: ed").body
	for _, address := range []string{put, get} {
		parsed, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{parsed.Query().Get("signature"), parsed.RawQuery} {
			if strings.Contains(log.String(), secret) || strings.Contains(metrics, secret) {
				t.Errorf("the log or the metrics hold the secret of a URL:\n%s", log.String())
			}
		}
	}
	if strings.Contains(log.String(), `"action":"PUT mlflow-artifacts/transfer`) || strings.Contains(log.String(), `"action":"mlflow-artifacts/transfer`) {
		t.Errorf("a transfer is audited:\n%s", log.String())
	}
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func TestTransfer_AddressIsTheClients(t *testing.T) {
	trusted := func(cfg *mlflowapi.Config) {
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	prefixed := func(cfg *mlflowapi.Config) { cfg.StaticPrefix = "/mlflow" }
	trustedTLS := func(cfg *mlflowapi.Config) { trusted(cfg); cfg.PresignedURLs = mlflowapi.PresignedServer }
	both := func(cfg *mlflowapi.Config) { trustedTLS(cfg); prefixed(cfg) }
	public := func(cfg *mlflowapi.Config) { cfg.PublicURL = "https://public.example/x" }
	https := []string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https"}
	for _, tt := range []struct {
		name    string
		change  func(*mlflowapi.Config)
		headers []string
		want    string // "" for none
	}{
		{"direct", func(*mlflowapi.Config) {}, nil, "$URL"},
		{"under the name in the request", func(*mlflowapi.Config) {}, []string{"Host: localhost:7777"}, "http://localhost:7777"},
		{"static prefix", prefixed, nil, "$URL/mlflow"},
		{"a stranger's X-Forwarded-For", func(*mlflowapi.Config) {}, []string{"X-Forwarded-For: 10.0.0.1"}, ""},
		{"a stranger's X-Forwarded-Host", func(*mlflowapi.Config) {}, []string{"X-Forwarded-Host: evil.example"}, ""},
		{"a stranger's Forwarded", func(*mlflowapi.Config) {}, []string{"Forwarded: host=evil.example"}, ""},
		{"a stranger's Via", func(*mlflowapi.Config) {}, []string{"Via: 1.1 cache"}, ""},
		{"a port that something has changed", func(*mlflowapi.Config) {}, []string{"Host: localhost"}, ""},
		{"proxy without TLS", trusted, []string{"X-Forwarded-Proto: http", "X-Forwarded-Host: mlflow.example"}, "http://mlflow.example"},
		{"proxy with a certificate that clients may not know", trusted, https, ""},
		{"proxy", trustedTLS, https, "https://$HOST"},
		{"proxy that tells the host", trustedTLS, append(https, "X-Forwarded-Host: mlflow.example"), "https://mlflow.example"},
		{"chain of proxies", trustedTLS, []string{"X-Forwarded-Proto: https, http", "X-Forwarded-Host: mlflow.example:8443, inner"}, "https://mlflow.example:8443"},
		{"proxy that cuts a prefix off", trustedTLS, append(https, "X-Forwarded-Prefix: /team"), "https://$HOST/team"},
		{"proxy that names the static prefix", both, append(https, "X-Forwarded-Prefix: /mlflow"), "https://$HOST/mlflow"},
		{"proxy before the static prefix", both, https, "https://$HOST/mlflow"},
		{"proxy that hides the scheme", trusted, []string{"X-Forwarded-For: 10.0.0.1"}, ""},
		{"proxy that lets nonsense through", trustedTLS, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: user@evil.example/?"}, ""},
		{"proxy that lets another scheme through", trusted, []string{"X-Forwarded-Proto: javascript"}, ""},
		{"public URL", public, []string{"X-Forwarded-Host: evil.example"}, "https://public.example/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prefix := ""
			s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { tt.change(cfg); prefix = cfg.StaticPrefix })
			s.do("PUT", prefix+proxy+"/1/a", "x")
			info := s.do("GET", prefix+"/api/3.0/mlflow/server-info", "", tt.headers...)
			answers := []answer{
				s.do("GET", prefix+presigned+"/1/a", "", tt.headers...),
				s.do("POST", prefix+mpu+"/create/1", `{"path":"f","num_parts":1}`, append([]string{jsonBody}, tt.headers...)...),
			}
			says := fmt.Sprintf(`"multipart_uploads_enabled":%v,"multipart_downloads_enabled":%[1]v`, tt.want != "")
			s.want(info, 200, says)
			want := strings.NewReplacer("$URL", s.URL, "$HOST", strings.TrimPrefix(s.URL, "http://")).Replace(tt.want) + "/api/2.0/mlflow-artifacts/transfer/1/"
			for _, got := range answers {
				if tt.want == "" {
					s.want(got, 501, "is not supported for the current artifact repository")
				} else {
					s.want(got, 200, `"url":"`+want)
				}
			}
		})
	}
}

func TestTransfer_Off(t *testing.T) {
	for name, change := range map[string]func(*mlflowapi.Config){
		"switched off":                 func(cfg *mlflowapi.Config) { cfg.PresignedURLs = mlflowapi.PresignedOff },
		"a store that takes no parts":  func(cfg *mlflowapi.Config) { cfg.Artifacts.Served = struct{ artifacts.Store }{cfg.Artifacts.Served} },
		"a server that serves no file": func(cfg *mlflowapi.Config) { cfg.Artifacts.Served = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := newArtifactServerWith(t, change)
			s.want(s.do("GET", "/api/3.0/mlflow/server-info", ""), 200, `"multipart_uploads_enabled":false`)
			got := s.do("POST", mpu+"/create/1", `{"path":"f","num_parts":1}`, jsonBody)
			if strings.Contains(name, "no file") {
				s.want(got, 403, "--serve-artifacts")
				return
			}
			s.want(got, 501, "Multipart upload is not supported for the current artifact repository")
			if got.code() != "NOT_IMPLEMENTED" {
				t.Errorf("error_code = %q", got.code())
			}
		})
	}
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.PresignedURLs = mlflowapi.PresignedOff })
	s.do("PUT", proxy+"/1/a", "x")
	s.want(s.do("GET", presigned+"/1/a", ""), 501, "Multipart download is not supported for the current artifact repository")
}

func TestTransfer_ReplicasTakeEachOthersURLs(t *testing.T) {
	s := newArtifactServer(t)
	replica := mlflowapi.Config{Version: "test", Log: slog.New(slog.DiscardHandler), Auth: auth.Off{}, Artifacts: artifacts.Stores{Served: openFolder(t, s.dir)}}
	second := &artifactServer{Server: httptest.NewServer(mlflowapi.New(s.models, replica)), t: t, models: s.models, dir: s.dir}
	t.Cleanup(second.Close)
	up := s.begin("1", "f", 2)
	first := s.do("PUT", s.path(up.Credentials[0].URL), "one")
	other := second.do("PUT", s.path(up.Credentials[1].URL), "two")
	second.wantJSON(second.complete("1", "f", up.UploadID, parts(first.header.Get("ETag"), other.header.Get("ETag"))), `{}`)
	s.wantJSON(s.complete("1", "f", up.UploadID, parts(first.header.Get("ETag"), other.header.Get("ETag"))), `{}`)
	get := s.path(decode[presignedFile](s, s.do("GET", presigned+"/1/f", "")).URL)
	second.want(second.do("GET", get, ""), 200, "onetwo")
	left := files(t, s.dir)
	for name := range left {
		if strings.Contains(name, ".greenroom-upload") {
			delete(left, name)
		}
	}
	if diff := cmp.Diff(map[string]string{"1/f": "onetwo"}, left); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// newBucketServer serves a bucket, and has another as a direct root.
func newBucketServer(t *testing.T, change func(*mlflowapi.Config)) (s *artifactServer, direct string) {
	t.Helper()
	server := artifactstest.SharedS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	t.Setenv("AWS_REGION", server.Region)
	open := func() *artifacts.S3 {
		store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: "s3://" + server.Bucket(t) + "/team", Endpoint: server.Endpoint, Bounds: artifactstest.Patient()})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, store)
		return store
	}
	root := open()
	return newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		cfg.Artifacts = artifacts.Stores{Served: open(), Roots: map[string]artifacts.Store{root.URI(): root}}
		change(cfg)
	}), root.URI()
}

func fetch(t *testing.T, method, address, body string, header map[string]string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

func TestTransfer_OfABucket(t *testing.T) {
	for _, mode := range []string{mlflowapi.PresignedAuto, mlflowapi.PresignedServer} {
		t.Run(mode, func(t *testing.T) {
			s, _ := newBucketServer(t, func(cfg *mlflowapi.Config) { cfg.PresignedURLs = mode })
			s.want(s.do("GET", "/api/3.0/mlflow/server-info", ""), 200, `"multipart_uploads_enabled":true,"multipart_downloads_enabled":true`)
			up := s.begin("1/run", "ü big.bin", 2)
			var etags []string
			content := strings.Repeat("a", 5<<20) + "end"
			for i, part := range []string{content[:5<<20], "end"} {
				address := up.Credentials[i].URL
				if own := strings.HasPrefix(address, s.URL); own != (mode == mlflowapi.PresignedServer) {
					t.Errorf("the URL is this server's: %v", own)
				}
				got := fetch(t, "PUT", address, part, up.Credentials[i].Headers)
				s.want(got, 200, "")
				etags = append(etags, got.header.Get("ETag"))
			}
			for range 2 {
				s.wantJSON(s.complete("1/run", "ü big.bin", up.UploadID, parts(etags...)), `{}`)
			}
			file := decode[presignedFile](s, s.do("GET", presigned+"/1/run/%C3%BC%20big.bin", ""))
			if file.Size != int64(len(content)) {
				t.Errorf("file_size = %d, want %d", file.Size, len(content))
			}
			file.Headers["Range"] = fmt.Sprintf("bytes=%d-%d", 5<<20-2, 5<<20+1)
			got := fetch(t, "GET", file.URL, "", file.Headers)
			s.want(got, 206, "aaen")
			if !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
				t.Errorf("headers = %v", got.header)
			}
			s.do("PUT", proxy+"/1/run/%C3%BC%20big.bin", "other")
			file.Headers["Range"] = "bytes=0-3"
			s.want(fetch(t, "GET", file.URL, "", file.Headers), 412, "")
			s.want(s.do("GET", presigned+"/1/run/nope", ""), 404, "")
			s.want(s.do("GET", presigned+"/1/run", ""), 404, "")

			up = s.begin("1/run", "small", 1)
			s.want(s.complete("1/run", "small", up.UploadID, parts(`"e"`)), 400, "parts")
			s.want(s.complete("1/run", "small", "nope", parts(etags[0])), 404, "No such multipart upload")
			for range 2 {
				s.wantJSON(s.do("POST", mpu+"/abort/1/run", fmt.Sprintf(`{"path":"small","upload_id":%q}`, up.UploadID), jsonBody), `{}`)
			}
			if got := fetch(t, "PUT", up.Credentials[0].URL, "late", up.Credentials[0].Headers); got.status != 404 {
				t.Errorf("a part after the abort = %d %s, want 404", got.status, got.body)
			}
		})
	}
}

func TestPresigned_OfADirectBucket(t *testing.T) {
	s, root := newBucketServer(t, func(*mlflowapi.Config) {})
	run := s.run(root + "/exp")
	ask := func(what, fields string) answer {
		return s.do("POST", "/api/2.0/mlflow/artifacts/presigned-"+what+"-url", `{"run_id":"`+run.ID+`",`+fields+`}`, jsonBody)
	}
	type presignedURL struct {
		URL     string            `json:"presigned_url"`
		Headers map[string]string `json:"headers"`
		Size    int64             `json:"file_size"`
	}
	s.want(ask("download", `"path":"d/a.txt"`), 404, "")
	up := decode[presignedURL](s, ask("upload", `"path":"d/a.txt"`))
	s.want(fetch(t, "PUT", up.URL, "hello", up.Headers), 200, "")
	down := decode[presignedURL](s, ask("download", `"path":"d/a.txt","expiration":604800`))
	if down.Size != 5 {
		t.Errorf("file_size = %d, want 5", down.Size)
	}
	s.want(fetch(t, "GET", down.URL, "", down.Headers), 200, "hello")
	s.want(fetch(t, "GET", down.URL, "", nil), 200, "hello") // as a browser does
	s.want(ask("download", `"path":"d"`), 404, "is a directory")
	s.want(ask("download", `"path":"../a"`), 400, "Invalid path")
	s.want(ask("upload", `"path":"../a"`), 400, "Invalid path")
	s.want(ask("upload", `"path":"d/"`), 400, "filename")
	for fields, what := range map[string]string{`"expiration":0`: "upload", `"expiration":3601`: "upload", `"expiration":-1`: "upload", `"expiration":604801`: "download", `"expiration":"0"`: "download"} {
		s.want(ask(what, `"path":"d/a.txt",`+fields), 400, "expiration must be between 1 and")
	}
	off, root := newBucketServer(t, func(cfg *mlflowapi.Config) { cfg.PresignedURLs = mlflowapi.PresignedOff })
	run = off.run(root + "/exp")
	s = off
	s.want(ask("upload", `"path":"a"`), 501, "Presigned upload is not supported for the current artifact repository")
	s.want(ask("download", `"path":"a"`), 501, "Presigned download is not supported for the current artifact repository")
}

func TestMultipart_IsRecordedOnceAndAuditedWhenItReplaces(t *testing.T) {
	s := newArtifactServer(t)
	changes := func() int {
		t.Helper()
		entries, err := s.models.SearchAudit(modelstest.Anyone(t), models.AuditFilter{Action: "mlflow-artifacts/mpu/complete", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for i, content := range []string{"first", "second"} {
		up := s.begin("1/run", "f", 1)
		etags := s.putParts(up, content)
		for range 2 {
			s.wantJSON(s.complete("1/run", "f", up.UploadID, parts(etags...)), `{}`)
		}
		record, ok, err := s.models.ArtifactRecord(t.Context(), "mlflow-artifacts:/1/run/f")
		if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content))); err != nil || !ok || record.SHA256 != sum {
			t.Errorf("record = %+v, %v, %v, want SHA-256 %s", record, ok, err, sum)
		}
		if got := changes(); got != i {
			t.Errorf("%d entries in the audit log, want %d", got, i)
		}
	}
}

func TestMultipart_LeavesLiveVersionsAsTheyAre(t *testing.T) {
	var slow slowParts
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		slow = slowParts{cfg.Artifacts.Served.(*artifacts.Local), make(chan struct{}, 1), make(chan struct{})}
		cfg.Artifacts.Served = slow
	})
	run := s.run("")
	folder := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/") + "/model"
	s.do("PUT", proxy+"/"+folder+"/MLmodel", "approved")
	up := s.begin(folder, "MLmodel", 1)
	etags := s.putParts(up, "changed")
	var got answer
	var wg sync.WaitGroup
	wg.Go(func() { got = s.complete(folder, "MLmodel", up.UploadID, parts(etags...)) })
	<-slow.begun
	s.version(run, "/model", "Production")
	close(slow.release)
	wg.Wait()
	s.want(got, 409, "in stage Production")
	s.want(s.complete(folder, "MLmodel", up.UploadID, parts(etags...)), 409, "in stage Production")
	s.want(s.do("POST", mpu+"/create/"+folder, `{"path":"MLmodel","num_parts":1}`, jsonBody), 409, "in stage Production")
	s.want(s.do("GET", proxy+"/"+folder+"/MLmodel", ""), 200, "approved")
	if record, ok, err := s.models.ArtifactRecord(t.Context(), "mlflow-artifacts:/"+folder+"/MLmodel"); !ok || err != nil || record.Size != int64(len("approved")) {
		t.Errorf("record = %+v, %v, %v, want that of the approved file", record, ok, err)
	}
}
