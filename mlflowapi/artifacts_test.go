package mlflowapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// artifactServer is a server over a real database and real folders.
type artifactServer struct {
	*httptest.Server
	t      testing.TB
	models *models.Store
	uri    string // of the database
	dir    string // what the server serves
	local  string // --default-artifact-root, a folder beside it
}

func newArtifactServer(t testing.TB) *artifactServer {
	t.Helper()
	return newArtifactServerWith(t, func(*mlflowapi.Config) {})
}

func newArtifactServerWith(t testing.TB, change func(*mlflowapi.Config)) *artifactServer {
	t.Helper()
	return newArtifactServerAt(t, modelstest.SQLite(t), change)
}

// newArtifactServerAt is newArtifactServerWith on a given database.
func newArtifactServerAt(t testing.TB, database string, change func(*mlflowapi.Config)) *artifactServer {
	t.Helper()
	s := &artifactServer{t: t, uri: database, dir: t.TempDir(), local: t.TempDir()}
	var err error
	if s.models, err = models.Open(t.Context(), s.uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}}); err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s.models)
	cfg := mlflowapi.Config{
		Version: "test", Log: slog.New(slog.DiscardHandler), Auth: auth.Off{},
		Artifacts: artifacts.Stores{Served: openFolder(t, s.dir), Roots: map[string]artifacts.Store{s.local: openFolder(t, s.local)}},
	}
	change(&cfg)
	s.Server = httptest.NewServer(mlflowapi.New(s.models, cfg))
	t.Cleanup(s.Close)
	return s
}

func openFolder(t testing.TB, dir string) *artifacts.Local {
	t.Helper()
	store, err := artifacts.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, store)
	return store
}

func closeAtEnd(t testing.TB, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code() string {
	var body struct {
		ErrorCode string `json:"error_code"`
	}
	if json.Unmarshal([]byte(a.body), &body) != nil {
		return ""
	}
	return body.ErrorCode
}

// do sends a request with the path as it is written, and headers as "Name: value".
func (s *artifactServer) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request) // follows no redirect
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

func (s *artifactServer) want(a answer, status int, contains string) {
	s.t.Helper()
	if a.status != status || !strings.Contains(a.body, contains) {
		s.t.Errorf("answer = %d %s, want %d with %q", a.status, a.body, status, contains)
	}
}

func (s *artifactServer) wantJSON(a answer, want string) {
	s.t.Helper()
	var got, wanted any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
		s.t.Errorf("answer = %d %s, want 200 with JSON", a.status, a.body)
		return
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		s.t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// run makes a run whose artifacts lie at location, or in the server's store when that is "".
func (s *artifactServer) run(location string) *models.Run {
	s.t.Helper()
	experiment, err := s.models.CreateExperiment(modelstest.Anyone(s.t), s.t.Name()+location, location, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	run, err := s.models.CreateRun(modelstest.Anyone(s.t), models.NewRun{ExperimentID: experiment})
	if err != nil {
		s.t.Fatal(err)
	}
	return run
}

// move makes a run one of a database that MLflow filled, where artifacts can be anywhere.
func (s *artifactServer) move(run *models.Run, location string) {
	s.t.Helper()
	db, _ := modelstest.Open(s.t, s.uri)
	if _, err := db.ExecContext(s.t.Context(), "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", location, run.ID); err != nil {
		s.t.Fatal(err)
	}
}

// files lists everything below dir, with content.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		relative, _ := filepath.Rel(dir, path)
		found[relative] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const proxy = "/api/2.0/mlflow-artifacts/artifacts"

// bothAPIs runs a test under /api and under /ajax-api.
func bothAPIs(t *testing.T, test func(t *testing.T, s *artifactServer, base string)) {
	for _, api := range []string{"/api", "/ajax-api"} {
		t.Run(api[1:], func(t *testing.T) { test(t, newArtifactServer(t), api+"/2.0/mlflow-artifacts") })
	}
}

func TestProxy_RoundTrip(t *testing.T) {
	bothAPIs(t, func(t *testing.T, s *artifactServer, base string) {
		put := s.do("PUT", base+"/artifacts/1/run/artifacts/d/a.txt", "hello", "Content-Type: text/plain")
		if put.status != http.StatusOK || put.body != "" {
			t.Errorf("PUT = %d %q, want 200 and an empty body", put.status, put.body)
		}
		got := s.do("GET", base+"/artifacts/1/run/artifacts/d/a.txt", "")
		s.want(got, 200, "hello")
		head := s.do("HEAD", base+"/artifacts/1/run/artifacts/d/a.txt", "")
		if head.status != 200 || head.header.Get("Content-Length") != "5" || head.header.Get("ETag") != got.header.Get("ETag") {
			t.Errorf("HEAD = %d %v", head.status, head.header)
		}
		s.do("PUT", base+"/artifacts/1/run/artifacts/d/empty", "")
		s.wantJSON(s.do("GET", base+"/artifacts?path=1%2Frun%2Fartifacts/d", ""),
			`{"files": [{"path": "a.txt", "is_dir": false, "file_size": 5}, {"path": "empty", "is_dir": false}]}`)
		s.wantJSON(s.do("GET", base+"/artifacts?path=1/run/artifacts", ""), `{"files": [{"path": "d", "is_dir": true}]}`)
		s.wantJSON(s.do("GET", base+"/artifacts", ""), `{"files": [{"path": "1", "is_dir": true}]}`)
		s.wantJSON(s.do("GET", base+"/artifacts?path=nope", ""), `{}`)
		s.wantJSON(s.do("GET", base+"/artifacts?path=1/run/artifacts/d/a.txt", ""), `{}`)
		s.wantJSON(s.do("DELETE", base+"/artifacts/1/run/artifacts/d/a.txt", ""), `{}`)
		s.want(s.do("GET", base+"/artifacts/1/run/artifacts/d/a.txt", ""), 404, "No such artifact: '1/run/artifacts/d/a.txt'")
		s.wantJSON(s.do("DELETE", base+"/artifacts/1/run", ""), `{}`)
		s.wantJSON(s.do("DELETE", base+"/artifacts/1/run", ""), `{}`)
		if got := files(t, s.dir); len(got) > 0 {
			t.Errorf("left on disk: %v", got)
		}
	})
}

func TestProxy_NamesAsClientsSendThem(t *testing.T) {
	s := newArtifactServer(t)
	for wire, name := range map[string]string{
		"100%25.txt": "100%.txt", "a%25b.txt": "a%b.txt", "sp%20ace": "sp ace", "a+b.txt": "a+b.txt", "a+b%20c": "a+b c",
		"%C3%BCn%C3%AF": "ünï", "a;b": "a;b", "q'%22%3C%3E%7C%5E%60%7B%7D%5B%5D~!$&*(),=@:": "q'\"<>|^`{}[]~!$&*(),=@:",
		"a%26b%3Dc%2Bd": "a&b=c+d", "%2Fslash/../slash": "",
	} {
		put := s.do("PUT", proxy+"/d/"+wire, wire)
		if name == "" {
			s.want(put, 400, "Invalid path")
			continue
		}
		s.want(put, 200, "")
		s.want(s.do("GET", proxy+"/d/"+wire, ""), 200, wire)
		if got, err := os.ReadFile(filepath.Join(s.dir, "d", name)); string(got) != wire || err != nil {
			t.Errorf("file %q = %q, %v", name, got, err)
		}
	}
}

func TestProxy_DownloadHeaders(t *testing.T) {
	s := newArtifactServer(t)
	tests := []struct{ wire, contentType, disposition string }{
		{"a.txt", "text/plain", "attachment; filename=a.txt"},
		{"model/MLmodel", "text/plain", "attachment; filename=MLmodel"},
		{"conda.yaml", "text/plain", "attachment; filename=conda.yaml"},
		{"a.json", "text/plain", "attachment; filename=a.json"},
		{"a.js", "text/plain", "attachment; filename=a.js"},
		{"a.xml", "text/plain", "attachment; filename=a.xml"},
		{"plot.png", "image/png", "attachment; filename=plot.png"},
		{"model.pkl", "application/octet-stream", "attachment; filename=model.pkl"},
		{"png", "application/octet-stream", "attachment; filename=png"},
		{"with%20space.txt", "text/plain", `attachment; filename="with space.txt"`},
		{"q%22u%3Bo.txt", "text/plain", `attachment; filename="q\"u;o.txt"`},
		{"%C3%BCn.txt", "text/plain", "attachment; filename=_n.txt; filename*=UTF-8''%C3%BCn.txt"},
		{"%E6%97%A5%20%E6%9C%AC", "application/octet-stream", "attachment; filename=\"_ _\"; filename*=UTF-8''%E6%97%A5%20%E6%9C%AC"},
	}
	for _, tt := range tests {
		t.Run(tt.wire, func(t *testing.T) {
			s.do("PUT", proxy+"/"+tt.wire, "x")
			got := s.do("GET", proxy+"/"+tt.wire, "")
			for name, want := range map[string]string{
				"Content-Type": tt.contentType, "Content-Disposition": tt.disposition, "X-Content-Type-Options": "nosniff",
				"Content-Security-Policy": "sandbox", "Accept-Ranges": "bytes", "Cache-Control": "no-cache",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s = %q, want %q", name, got.header.Get(name), want)
				}
			}
		})
	}
}

func TestProxy_RangesAndConditions(t *testing.T) {
	s := newArtifactServer(t)
	path := proxy + "/d/numbers.bin"
	s.do("PUT", path, "0123456789")
	etag := s.do("GET", path, "").header.Get("ETag")
	tests := []struct {
		name    string
		headers []string
		status  int
		body    string
	}{
		{"first bytes", []string{"Range: bytes=0-2"}, 206, "012"},
		{"from the middle", []string{"Range: bytes=7-"}, 206, "789"},
		{"last bytes", []string{"Range: bytes=-2"}, 206, "89"},
		{"beyond the end", []string{"Range: bytes=10-"}, 416, ""},
		{"same content", []string{"If-None-Match: " + etag}, 304, ""},
		{"other content", []string{`If-None-Match: "other"`}, 200, "0123456789"},
		{"range of the same content", []string{"Range: bytes=0-2", "If-Range: " + etag}, 206, "012"},
		{"range of other content", []string{"Range: bytes=0-2", `If-Range: "other"`}, 200, "0123456789"},
		{"wanted content is gone", []string{`If-Match: "other"`}, 412, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.do("GET", path, "", tt.headers...)
			if got.status != tt.status || tt.body != "" && got.body != tt.body {
				t.Errorf("answer = %d %q, want %d %q", got.status, got.body, tt.status, tt.body)
			}
		})
	}
	s.do("PUT", path, "abcdefghij")
	if got := s.do("GET", path, "", "If-None-Match: "+etag); got.body != "abcdefghij" {
		t.Errorf("new content under an old tag = %d %q", got.status, got.body)
	}
}

func TestProxy_UserMistakesAre400AndChangeNothing(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/d/a.txt", "kept")
	before := files(t, s.dir)
	tests := []struct{ method, path, message string }{
		{"GET", "/d", "Artifact path refers to a directory, not a file: 'd'"},
		{"GET", "/", "Artifact path refers to a directory"},
		{"PUT", "/", "must include a filename"},
		{"PUT", "/d", "refers to a directory"},
		{"PUT", "/e/", "Artifact path must include a filename (cannot end with '/')"},
		{"PUT", "/d/a.txt/b", "through a file"},
		{"PUT", "/" + strings.Repeat("n", 256), "at most 255 bytes"},
		{"PUT", "/.greenroom-uploads/x", "reserved"},
		{"DELETE", "/", "root can't be deleted"},
		{"DELETE", "/.", "root can't be deleted"},
		{"DELETE", "/%2e", "root can't be deleted"},
		{"DELETE", "/./.", "root can't be deleted"},
		{"DELETE", "/.//", "root can't be deleted"},
		{"DELETE", "/.greenroom-uploads", "reserved"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			got := s.do(tt.method, proxy+tt.path, "new")
			if got.status != 400 || got.code() != "INVALID_PARAMETER_VALUE" || !strings.Contains(got.body, tt.message) {
				t.Errorf("answer = %d %s, want 400 INVALID_PARAMETER_VALUE with %q", got.status, got.body, tt.message)
			}
		})
	}
	if diff := cmp.Diff(before, files(t, s.dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

// badPaths can't name an artifact, as they stand in a URL.
var badPaths = []string{
	"../x", "../../../../etc/passwd", "%2e%2e/x", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%252e%252e%252fetc%252fpasswd",
	"%25252e%25252e/x", "/etc/passwd", "%2fetc%2fpasswd", "..%5c..%5cx", "C:%5cwindows", "C:/windows", "a%23b", "a%3fb", "a%00b", "a%0ab",
	"file:///etc/passwd", "a/../../x", "a/..", "%2531/x", "%ff",
}

func TestProxy_RefusesPathsOutside(t *testing.T) {
	bothAPIs(t, func(t *testing.T, s *artifactServer, base string) {
		s.do("PUT", base+"/artifacts/d/a.txt", "kept")
		before := files(t, filepath.Dir(s.dir))
		for _, path := range badPaths {
			for _, request := range []struct{ method, path, body string }{
				{"GET", "/artifacts/" + path, ""},
				{"HEAD", "/artifacts/" + path, ""},
				{"PUT", "/artifacts/" + path, "evil"},
				{"DELETE", "/artifacts/" + path, ""},
				{"GET", "/artifacts?path=" + path, ""},
				{"POST", "/mpu/create/" + path, `{"path":"../../x","num_parts":1}`},
				{"POST", "/mpu/complete/" + path, `{"path":"x","upload_id":"u","parts":[{"part_number":1,"etag":"e"}]}`},
				{"POST", "/mpu/abort/" + path, `{"path":"x","upload_id":"u"}`},
				{"GET", "/presigned/" + path, ""},
			} {
				if got := s.do(request.method, base+request.path, request.body, "Content-Type: application/json"); got.status != 400 || strings.Contains(got.body, "required parameter") {
					t.Errorf("%s %s = %d %s, want 400", request.method, request.path, got.status, got.body)
				}
			}
		}
		if diff := cmp.Diff(before, files(t, filepath.Dir(s.dir))); diff != "" {
			t.Errorf("files changed (-before +after):\n%s", diff)
		}
	})
}

func TestProxy_RefusesSymlinksThatLeaveTheFolder(t *testing.T) {
	bothAPIs(t, func(t *testing.T, s *artifactServer, base string) {
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(s.dir, "out")); err != nil {
			t.Fatal(err)
		}
		for _, request := range [][2]string{
			{"GET", "/artifacts/out/secret"},
			{"PUT", "/artifacts/out/secret"},
			{"PUT", "/artifacts/out/new"},
			{"DELETE", "/artifacts/out/secret"},
			{"DELETE", "/artifacts/out"},
			{"GET", "/artifacts?path=out"},
			{"GET", "/artifacts/out"},
		} {
			if got := s.do(request[0], base+request[1], "evil"); got.status != 400 || strings.Contains(got.body, outside) {
				t.Errorf("%s %s = %d %s, want 400", request[0], request[1], got.status, got.body)
			}
		}
		if diff := cmp.Diff(map[string]string{"secret": "secret"}, files(t, outside)); diff != "" {
			t.Errorf("files outside changed (-before +after):\n%s", diff)
		}
	})
}

func TestProxy_ActiveContentIsASandboxedDownload(t *testing.T) {
	bothAPIs(t, func(t *testing.T, s *artifactServer, base string) {
		run := s.run("")
		root := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
		for _, name := range []string{"x.html", "x.svg", "x.xml", "x.htm"} {
			s.do("PUT", base+"/artifacts/"+root+"/"+name, "<script>alert(1)</script>")
			for _, path := range []string{base + "/artifacts/" + root + "/" + name, "/get-artifact?run_uuid=" + run.ID + "&path=" + name} {
				got := s.do("GET", path, "")
				if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment;") ||
					got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Security-Policy") != "sandbox" {
					t.Errorf("GET %s = %d %v", path, got.status, got.header)
				}
			}
		}
	})
}

func TestProxy_UploadThatBreaksOffLeavesNothing(t *testing.T) {
	s := newArtifactServer(t)
	for _, head := range []string{
		"Content-Length: 1000000\r\n\r\nonly this",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT %s/d/half.bin HTTP/1.1\r\nHost: localhost\r\n%s", proxy, head)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		reply, _ := io.ReadAll(conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if !bytes.HasPrefix(reply, []byte("HTTP/1.1 400")) || !bytes.Contains(reply, []byte("nothing was stored")) {
			t.Errorf("answer = %s, want 400", reply)
		}
		if got := files(t, s.dir); len(got) > 0 {
			t.Errorf("left on disk: %v", got)
		}
	}
	s.want(s.do("GET", proxy+"/d/half.bin", ""), 404, "No such artifact")
}

func TestProxy_RefusalReachesAClientThatIsStillSending(t *testing.T) {
	s := newArtifactServer(t)
	got := s.do("PUT", proxy+"/a/", strings.Repeat("x", 20<<20))
	s.want(got, 400, "must include a filename")
}

func TestProxy_WithoutServedArtifacts(t *testing.T) {
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Artifacts.Served = nil })
	for _, request := range [][2]string{
		{"GET", "/artifacts"}, {"GET", "/artifacts/a"}, {"PUT", "/artifacts/a"}, {"DELETE", "/artifacts/a"}, {"GET", "/presigned/a"}, {"PUT", "/transfer/a"},
	} {
		got := s.do(request[0], "/api/2.0/mlflow-artifacts"+request[1], "{}", "Content-Type: application/json")
		s.want(got, 403, "--serve-artifacts")
	}
	run := s.run("")
	s.want(s.do("GET", "/api/2.0/mlflow/artifacts/list?run_id="+run.ID, ""), 403, "--serve-artifacts")
}

func TestListArtifacts(t *testing.T) {
	for _, api := range []string{"/api", "/ajax-api"} {
		t.Run(api[1:], func(t *testing.T) {
			s := newArtifactServer(t)
			run := s.run("")
			list := api + "/2.0/mlflow/artifacts/list?run_id=" + run.ID
			root, _ := json.Marshal(*run.ArtifactURI)
			s.wantJSON(s.do("GET", list, ""), fmt.Sprintf(`{"root_uri": %s}`, root))
			base := proxy + strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:")
			s.do("PUT", base+"/d/a.txt", "hello")
			s.do("PUT", base+"/b.txt", "hi")
			s.wantJSON(s.do("GET", list, ""), fmt.Sprintf(
				`{"root_uri": %s, "files": [{"path": "b.txt", "is_dir": false, "file_size": 2}, {"path": "d", "is_dir": true}]}`, root))
			s.wantJSON(s.do("GET", list+"&path=d", ""), fmt.Sprintf(
				`{"root_uri": %s, "files": [{"path": "d/a.txt", "is_dir": false, "file_size": 5}]}`, root))
			s.wantJSON(s.do("GET", strings.Replace(list, "run_id", "run_uuid", 1)+"&path=nope", ""), fmt.Sprintf(`{"root_uri": %s}`, root))
			for _, path := range badPaths {
				s.want(s.do("GET", list+"&path="+path, ""), 400, "")
			}
			s.want(s.do("GET", api+"/2.0/mlflow/artifacts/list?run_id=nope", ""), 404, "nope")
			s.want(s.do("GET", api+"/2.0/mlflow/artifacts/list?path=d", ""), 400, "run_id")
		})
	}
}

func TestListArtifacts_OfLocations(t *testing.T) {
	s := newArtifactServer(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, location string
		dir            string // where the files lie, when the location is served
	}{
		{"proxied", "mlflow-artifacts:/custom", s.dir + "/custom"},
		{"proxied with an encoded space", "mlflow-artifacts:/my%20models", s.dir + "/my models"},
		{"configured folder", s.local + "/exp", s.local + "/exp"},
		{"configured folder as URI", "file://" + s.local + "/uri", s.local + "/uri"},
		{"folder of the machine", outside, ""},
		{"folder of the machine as URI", "file://" + outside, ""},
		{"neighbour of the configured folder", s.local + "2", ""},
		{"S3", "s3://bucket/prefix", ""},
	}
	run := s.run("")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.move(run, tt.location)
			list := "/api/2.0/mlflow/artifacts/list?run_id=" + run.ID
			get := "/get-artifact?run_id=" + run.ID + "&path=a.txt"
			if tt.dir == "" {
				s.want(s.do("GET", list, ""), 400, "not stored by this server")
				s.want(s.do("GET", get, ""), 400, "not stored by this server")
				return
			}
			folder := tt.dir
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.want(s.do("GET", list, ""), 200, `"a.txt"`)
			s.want(s.do("GET", get, ""), 200, "hello")
		})
	}
}

func TestListArtifacts_OfALocationThatClimbsOut(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	s.move(run, s.local+"/a/../../"+filepath.Base(s.dir))
	for _, path := range []string{"/api/2.0/mlflow/artifacts/list?run_id=" + run.ID, "/get-artifact?path=x&run_id=" + run.ID} {
		if got := s.do("GET", path, ""); got.status != 400 {
			t.Errorf("GET %s = %d %s, want 400", path, got.status, got.body)
		}
	}
}

func TestGetArtifact(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	base := proxy + strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:")
	s.do("PUT", base+"/d/a.txt", "hello")
	for _, id := range []string{"run_id", "run_uuid"} {
		s.want(s.do("GET", "/get-artifact?"+id+"="+run.ID+"&path=d/a.txt", ""), 200, "hello")
	}
	s.want(s.do("GET", "/get-artifact?run_id="+run.ID+"&path=d", ""), 400, "refers to a directory")
	s.want(s.do("GET", "/get-artifact?run_id="+run.ID+"&path=nope", ""), 404, "No such artifact")
	s.want(s.do("GET", "/get-artifact?run_id="+run.ID, ""), 400, "'path'")
	s.want(s.do("GET", "/get-artifact?path=a", ""), 400, "'run_id'")
	s.want(s.do("GET", "/get-artifact?path=a&run_id=nope", ""), 404, "nope")
	s.want(s.do("GET", "/get-artifact?path=d/a.txt&run_uuid="+run.ID+"&run_id="+run.ID, ""), 200, "hello")
	s.want(s.do("GET", "/get-artifact?path=d/a.txt&run_uuid="+run.ID+"&run_id=nope", ""), 400, "Parameter 'run_id' or 'run_uuid' is given several times")
	s.want(s.do("GET", "/get-artifact?path=d/a.txt&path=b&run_id="+run.ID, ""), 400, "Parameter 'path' is given several times")
	s.want(s.do("GET", "/get-artifact?path=a&run_id=%00", ""), 400, "valid UTF-8")
	for _, path := range badPaths {
		s.want(s.do("GET", "/get-artifact?run_uuid="+run.ID+"&path="+path, ""), 400, "")
		s.want(s.do("GET", "/get-artifact?run_uuid=nope&path="+path, ""), 400, "")
	}
}

func TestUploadArtifact(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	upload := "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + run.ID
	s.want(s.do("POST", upload+"&path=notes/n.md", "# note"), 200, "")
	s.want(s.do("GET", "/get-artifact?run_id="+run.ID+"&path=notes/n.md", ""), 200, "# note")
	s.want(s.do("POST", upload+"&path=n", ""), 400, "Request must specify data.")
	s.want(s.do("POST", upload, "x"), 400, "Request must specify path.")
	s.want(s.do("POST", "/ajax-api/2.0/mlflow/upload-artifact?path=n", "x"), 400, "Request must specify run_uuid.")
	s.want(s.do("POST", upload+"&path=big", strings.Repeat("x", 10<<20+1)), 413, "limit")
	s.want(s.do("POST", upload+"&path=a?/a", "x"), 400, "Invalid path")
	s.want(s.do("POST", upload+"&path=n&run_uuid=nope", "x"), 400, "Parameter 'run_uuid' is given several times")
	for _, path := range badPaths {
		s.want(s.do("POST", upload+"&path="+path, "x"), 400, "")
	}
	s.want(s.do("POST", "/api/2.0/mlflow/upload-artifact?run_uuid="+run.ID+"&path=n", "x"), 404, "")
	root := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
	if diff := cmp.Diff(map[string]string{root + "/notes/n.md": "# note"}, files(t, s.dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestGetModelVersionArtifact(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	s.do("PUT", proxy+strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:")+"/model/MLmodel", "flavors")
	if _, err := s.models.CreateRegisteredModel(modelstest.Anyone(t), "churn", "", nil); err != nil {
		t.Fatal(err)
	}
	source := *run.ArtifactURI + "/model"
	if _, err := s.models.CreateModelVersion(modelstest.Anyone(t), models.NewModelVersion{Name: "churn", Source: source, RunID: &run.ID}); err != nil {
		t.Fatal(err)
	}
	get := "/model-versions/get-artifact?name=churn&version=1"
	s.want(s.do("GET", get+"&path=MLmodel", ""), 200, "flavors")
	s.want(s.do("GET", get+"&path=nope", ""), 404, "No such artifact")
	s.want(s.do("GET", get, ""), 400, "'path'")
	s.want(s.do("GET", "/model-versions/get-artifact?name=churn&version=2&path=MLmodel", ""), 404, "")
	s.want(s.do("GET", "/model-versions/get-artifact?name=churn&version=x&path=MLmodel", ""), 400, "")
	s.want(s.do("GET", "/model-versions/get-artifact?name=nope&version=1&path=MLmodel", ""), 404, "")
	s.want(s.do("GET", "/model-versions/get-artifact?path=MLmodel", ""), 400, "")
	s.want(s.do("GET", get+"&name=other&path=MLmodel", ""), 400, "Parameter 'name' is given several times")
	s.want(s.do("GET", get+"&version=2&path=MLmodel", ""), 400, "Parameter 'version' is given several times")
	for _, path := range badPaths {
		s.want(s.do("GET", get+"&path="+path, ""), 400, "")
	}
}

func TestLoggedModelArtifacts(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	model, err := s.models.CreateLoggedModel(modelstest.Anyone(t), models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	s.do("PUT", proxy+strings.TrimPrefix(model.ArtifactLocation, "mlflow-artifacts:")+"/d/MLmodel", "flavors")
	for _, api := range []string{"/api", "/ajax-api"} {
		list := api + "/2.0/mlflow/logged-models/" + model.ID + "/artifacts/directories"
		s.wantJSON(s.do("GET", list, ""), fmt.Sprintf(`{"root_uri": %q, "files": [{"path": "d", "is_dir": true}]}`, model.ArtifactLocation))
		s.wantJSON(s.do("GET", list+"?artifact_directory_path=d", ""),
			fmt.Sprintf(`{"root_uri": %q, "files": [{"path": "d/MLmodel", "is_dir": false, "file_size": 7}]}`, model.ArtifactLocation))
		for _, path := range badPaths {
			s.want(s.do("GET", list+"?artifact_directory_path="+path, ""), 400, "")
		}
	}
	file := "/ajax-api/2.0/mlflow/logged-models/" + model.ID + "/artifacts/files"
	s.want(s.do("GET", file+"?artifact_file_path=d/MLmodel", ""), 200, "flavors")
	s.want(s.do("GET", file, ""), 400, "'artifact_file_path'")
	s.want(s.do("GET", strings.Replace(file, model.ID, "m-nope", 1)+"?artifact_file_path=x", ""), 404, "m-nope")
	s.want(s.do("GET", "/api"+strings.TrimPrefix(file, "/ajax-api")+"?artifact_file_path=d/MLmodel", ""), 404, "")
	presigned := func(body string) answer {
		return s.do("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", body, "Content-Type: application/json")
	}
	s.want(presigned(`{"model_id": "`+model.ID+`", "path": "a"}`), 400, "proxied artifact storage")
	s.want(presigned(`{"run_id": "`+run.ID+`", "path": "a"}`), 400, "proxied artifact storage")
	s.want(presigned(`{"run_id": "`+s.run("s3://bucket").ID+`", "path": "a"}`), 501, "Presigned upload is not supported")
	s.want(presigned(`{"model_id": "m", "run_id": "r", "path": "a"}`), 400, "Exactly one of run_id and model_id")
	s.want(presigned(`{"path": "a"}`), 400, "Exactly one of run_id and model_id")
	s.want(presigned(`{"run_id": "`+run.ID+`", "path": "%2e%2e/a"}`), 400, "Invalid path")
}

func TestPresignedDownload(t *testing.T) {
	s := newArtifactServer(t)
	proxied, direct := s.run(""), s.run("s3://bucket/prefix")
	post := func(body string) answer {
		return s.do("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", body, "Content-Type: application/json")
	}
	s.want(post(`{"run_id": "`+proxied.ID+`", "path": "a"}`), 400, "proxied artifact storage")
	s.want(post(`{"run_id": "`+direct.ID+`", "path": "a"}`), 501, "Presigned download is not supported for the current artifact repository")
	s.want(post(`{"run_id": "`+direct.ID+`", "path": "a", "expiration": 604801}`), 400, "between 1 and 604800")
	s.want(post(`{"run_id": "`+direct.ID+`", "path": "../a"}`), 400, "Invalid path")
	s.want(post(`{"path": "a"}`), 400, "'run_id'")
}

// fullStore stands for a disk without room.
type fullStore struct{ artifacts.Store }

func (fullStore) Put(context.Context, string, io.Reader, int64) (artifacts.Stored, error) {
	return artifacts.Stored{}, fmt.Errorf("put artifact: %w", artifacts.ErrNoSpace)
}

func TestProxy_FullDiskIs507(t *testing.T) {
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Artifacts.Served = fullStore{cfg.Artifacts.Served} })
	s.want(s.do("PUT", proxy+"/a.txt", "x"), 507, "The artifact store is full")
}
