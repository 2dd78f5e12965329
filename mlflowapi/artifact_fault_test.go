package mlflowapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/mlflowapi"
	"greenroom/models/modelstest"
)

// faultyServer serves a bucket through a proxy that can spoil what passes.
type faultyServer struct {
	*artifactServer
	proxy  *artifactstest.FaultProxy
	direct *artifacts.S3 // past the proxy
	store  *artifacts.S3 // the server's
	run    string
	folder string // of the run's artifacts, which hold old.bin
}

const oldContent = "old content"

func newFaultyServer(t testing.TB, bounds artifacts.S3Bounds) *faultyServer {
	t.Helper()
	s3 := artifactstest.SharedS3(t)
	for _, variable := range s3.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.(interface{ Setenv(name, value string) }).Setenv(name, value)
	}
	s := &faultyServer{proxy: artifactstest.NewFaultProxy(t, s3)}
	uri := "s3://" + s3.Bucket(t) + "/team"
	s.direct, s.store = openBucket(t, uri, s3.Endpoint, artifactstest.Patient()), openBucket(t, uri, s.proxy.Endpoint, bounds)
	s.artifactServer = newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		cfg.Artifacts.Served, cfg.PresignedURLs = s.store, mlflowapi.PresignedServer
	})
	run := s.artifactServer.run("")
	s.run, s.folder = run.ID, strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:")
	s.want(s.do("PUT", proxy+s.folder+"/old.bin", oldContent), 200, "")
	return s
}

func openBucket(t testing.TB, uri, endpoint string, bounds artifacts.S3Bounds) *artifacts.S3 {
	t.Helper()
	store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: uri, Endpoint: endpoint, Bounds: bounds})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, store)
	return store
}

// ask is do with a body in JSON.
func (s *faultyServer) ask(method, path, body string) answer {
	s.t.Helper()
	return s.do(method, path, body, "Content-Type: application/json")
}

// artifactCalls are requests that need the store, as method, path and body.
func (s *faultyServer) artifactCalls(t testing.TB) [][3]string {
	t.Helper()
	folder, base := s.folder, "/api/2.0/mlflow-artifacts"
	begun := s.ask("POST", base+"/mpu/create"+folder, `{"path": "parts.bin", "num_parts": 1}`)
	var upload struct {
		ID          string `json:"upload_id"`
		Credentials []struct{ URL string }
	}
	if err := json.Unmarshal([]byte(begun.body), &upload); err != nil || len(upload.Credentials) != 1 {
		t.Fatalf("create = %d %s", begun.status, begun.body)
	}
	part := strings.TrimPrefix(upload.Credentials[0].URL, s.URL)
	return [][3]string{
		{"GET", proxy + "?path=" + strings.TrimPrefix(folder, "/"), ""},
		{"GET", proxy + folder + "/old.bin", ""},
		{"PUT", proxy + folder + "/new.bin", "new"},
		{"DELETE", proxy + folder + "/old.bin", ""},
		{"POST", base + "/mpu/create" + folder, `{"path": "new.bin", "num_parts": 1}`},
		{"PUT", part, "a part"},
		{"POST", base + "/mpu/complete" + folder, `{"path": "parts.bin", "upload_id": "` + upload.ID + `", "parts": [{"part_number": 1, "etag": "d41d8cd98f00b204e9800998ecf8427e"}]}`},
		{"POST", base + "/mpu/abort" + folder, `{"path": "parts.bin", "upload_id": "` + upload.ID + `"}`},
		{"GET", base + "/presigned" + folder + "/old.bin", ""},
		{"GET", "/api/2.0/mlflow/artifacts/list?run_id=" + s.run, ""},
		{"GET", "/get-artifact?run_id=" + s.run + "&path=old.bin", ""},
		{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + s.run + "&path=new.bin", "new"},
	}
}

func TestFault_ArtifactCallsTellThatItIsTheStore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(*artifactstest.FaultProxy)
		status int
		code   string
	}{
		{"fails", func(p *artifactstest.FaultProxy) { p.Break(artifactstest.AnyOperation, artifactstest.InternalFailure) }, 503, "TEMPORARILY_UNAVAILABLE"},
		{"is overloaded", func(p *artifactstest.FaultProxy) { p.Break(artifactstest.AnyOperation, artifactstest.SlowDown) }, 503, "TEMPORARILY_UNAVAILABLE"},
		{"hangs", func(p *artifactstest.FaultProxy) { p.Break(artifactstest.AnyOperation, artifactstest.Hang) }, 503, "TEMPORARILY_UNAVAILABLE"},
		{"is away", func(p *artifactstest.FaultProxy) { p.Down() }, 503, "TEMPORARILY_UNAVAILABLE"},
		{"refuses", func(p *artifactstest.FaultProxy) { p.Break(artifactstest.AnyOperation, artifactstest.AccessDenied) }, 424, "INTERNAL_ERROR"},
		{"knows no such key", func(p *artifactstest.FaultProxy) { p.Break(artifactstest.AnyOperation, artifactstest.ForeignKey) }, 424, "INTERNAL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bounds := artifactstest.Patient()
			if tt.name == "hangs" {
				bounds = artifacts.S3Bounds{} // a server's
			}
			s := newFaultyServer(t, bounds)
			calls := s.artifactCalls(t)
			tt.spoil(s.proxy)
			var wg sync.WaitGroup
			for _, call := range calls {
				if tt.name == "hangs" && strings.Contains(call[1], "/mpu/complete") {
					continue // which S3 may take a minute for
				}
				wg.Go(func() {
					got := s.ask(call[0], call[1], call[2])
					if got.status != tt.status || got.code() != tt.code || !strings.Contains(got.body, "artifact store") {
						t.Errorf("%s %s = %d %s, want %d %s", call[0], call[1], got.status, got.body, tt.status, tt.code)
					}
					if retry := got.header.Get("Retry-After"); (retry != "") != (tt.status == 503) {
						t.Errorf("%s %s: Retry-After %q", call[0], call[1], retry)
					}
				})
			}
			wg.Wait()
			entries, err := s.direct.List(t.Context(), s.folder[1:])
			if err != nil || len(entries) != 1 || entries[0].Name != "old.bin" {
				t.Errorf("the store shows %v, %v", entries, err)
			}
		})
	}
}

func TestFault_MetadataCallsDoNotWaitForAStoreThatHangs(t *testing.T) {
	s := newFaultyServer(t, artifacts.S3Bounds{Call: time.Hour, Stall: time.Hour})
	s.want(s.ask("POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`), 200, "")
	calls := s.artifactCalls(t)
	before := s.proxy.Requests(artifactstest.AnyOperation)
	s.proxy.Break(artifactstest.AnyOperation, artifactstest.Hang)
	ended := make(chan string, 10*len(calls))
	var hanging sync.WaitGroup
	defer hanging.Wait()
	for range 5 {
		for _, call := range calls {
			hanging.Go(func() {
				got := s.ask(call[0], call[1], call[2])
				ended <- fmt.Sprintf("%s %s = %d %s", call[0], call[1], got.status, got.body)
			})
		}
	}
	defer s.proxy.Heal()
	for tick := time.NewTicker(10 * time.Millisecond); s.proxy.Requests(artifactstest.AnyOperation) < before+5*len(calls); <-tick.C {
		if len(ended) > 0 {
			t.Fatalf("ended: %s", <-ended)
		}
	}

	source := `"mlflow-artifacts:` + s.folder + `/model"`
	for _, call := range [][2]string{
		{"runs/log-batch", `{"run_id": "` + s.run + `", "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 0}], "params": [{"key": "p", "value": "v"}]}`},
		{"runs/log-parameter", `{"run_id": "` + s.run + `", "key": "k", "value": "v"}`},
		{"runs/create", `{"experiment_id": "0"}`},
		{"runs/search", `{"experiment_ids": ["0"]}`},
		{"experiments/create", `{"name": "while the store hangs"}`},
		{"registered-models/create", `{"name": "n"}`},
		{"model-versions/create", `{"name": "m", "source": ` + source + `, "run_id": "` + s.run + `"}`},
		{"model-versions/transition-stage", `{"name": "m", "version": "1", "stage": "Production", "archive_existing_versions": true}`},
		{"registered-models/alias", `{"name": "m", "alias": "champion", "version": "1"}`},
		{"model-versions/set-tag", `{"name": "m", "version": "1", "key": "k", "value": "v"}`},
		{"runs/update", `{"run_id": "` + s.run + `", "status": "FINISHED"}`},
	} {
		s.want(s.ask("POST", "/api/2.0/mlflow/"+call[0], call[1]), 200, "")
	}
	for _, call := range []string{
		"registered-models/get?name=m", "model-versions/get?name=m&version=1", "model-versions/get-download-uri?name=m&version=1", "runs/get?run_id=" + s.run,
		"registered-models/alias?name=m&alias=champion",
	} {
		s.want(s.do("GET", "/api/2.0/mlflow/"+call, ""), 200, "")
	}
	s.want(s.do("GET", "/health", ""), 200, "OK")
	if len(ended) > 0 {
		t.Errorf("an artifact call ended before the metadata calls: %s", <-ended)
	}
}

func TestPut_AsksTheStoreForNothingAfterwards(t *testing.T) {
	s := newFaultyServer(t, artifactstest.Patient())
	for _, tt := range []struct {
		name  string
		looks int // for what is replaced, which the record tells of a file that has one
	}{{"new.bin", 1}, {"old.bin", 0}} {
		heads, before := s.proxy.Requests(artifactstest.HeadObject), s.proxy.Requests(artifactstest.PutObject)
		s.want(s.do("PUT", proxy+s.folder+"/"+tt.name, "content of "+tt.name), 200, "")
		looks, puts := s.proxy.Requests(artifactstest.HeadObject)-heads, s.proxy.Requests(artifactstest.PutObject)-before
		if looks != tt.looks || puts != 1 {
			t.Errorf("PUT of %s: HeadObject %d times and PutObject %d, want %d and 1", tt.name, looks, puts, tt.looks)
		}
	}
}

// download reads an answer as far as it comes.
func (s *faultyServer) download(path string, headers ...string) (status int, header http.Header, body []byte, err error) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, response.Header, body, err
}

func TestFault_ADownloadThatBreaksOffIsNeverComplete(t *testing.T) {
	s := newFaultyServer(t, artifactstest.Patient())
	content := make([]byte, 5<<20)
	_, _ = rand.Read(content)
	path := s.folder[1:] + "/big.bin"
	if _, err := s.direct.Put(t.Context(), path, bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{1, 1000, 1 << 20, 5<<20 - 20} {
		for _, headers := range [][]string{nil, {"Range: bytes=10-"}} {
			s.proxy.BreakNext(1, artifactstest.GetObject, artifactstest.CutDownload(n))
			s.proxy.Break(artifactstest.GetObject, artifactstest.AccessDenied) // instead of what is resumed
			status, _, got, err := s.download(proxy+"/"+path, headers...)
			if err == nil && status < 300 {
				t.Errorf("download cut after %d bytes = %d with %d bytes, want a broken connection", n, status, len(got))
			}
			if err != nil && !bytes.HasPrefix(content, got) && !bytes.HasPrefix(content[10:], got) {
				t.Errorf("download cut after %d bytes has %d wrong ones", n, len(got))
			}
			s.proxy.Heal()
		}
	}
}

// A client of HTTP/1.0's time, as urllib3 before 2.0 is in old MLflow clients, takes for whole what ends without an error of the connection.
func TestFault_ADownloadThatBreaksOffResetsTheConnection(t *testing.T) {
	s := newFaultyServer(t, artifactstest.Patient())
	content := make([]byte, 5<<20)
	path := s.folder[1:] + "/big.bin"
	if _, err := s.direct.Put(t.Context(), path, bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	s.proxy.BreakNext(1, artifactstest.GetObject, artifactstest.CutDownload(1<<20))
	s.proxy.Break(artifactstest.GetObject, artifactstest.AccessDenied)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", proxy, path)
	got, err := io.ReadAll(conn)
	if err == nil || len(got) > len(content) {
		t.Errorf("read %d bytes, %v, want a reset", len(got), err)
	}
}

func TestFault_ADownloadThatNeverBeginsIsAnAnswer(t *testing.T) {
	s := newFaultyServer(t, artifactstest.Patient())
	path := proxy + s.folder + "/old.bin"
	for fault, want := range map[*artifactstest.Fault]int{&artifactstest.InternalFailure: 503, &artifactstest.AccessDenied: 424, &artifactstest.WrongETag: 503} {
		s.proxy.Break(artifactstest.GetObject, *fault) // HeadObject goes on
		status, header, body, err := s.download(path)
		if err != nil || status != want || !strings.Contains(string(body), "artifact store") {
			t.Errorf("%s: answer = %d %s, %v, want %d", fault, status, body, err, want)
		}
		for _, name := range []string{"ETag", "Content-Disposition", "Repr-Digest", "Last-Modified", "Content-Range", "Accept-Ranges"} {
			if header.Get(name) != "" {
				t.Errorf("%s: the answer has the file's %s", fault, name)
			}
		}
		s.proxy.Heal()
	}
	s.want(s.do("GET", path, ""), 200, oldContent)
}

// leave sends a part of a request, waits until the server has begun to read the body, and resets the connection.
func leave(t *testing.T, address, head string, body []byte) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s\r\nHost: %s\r\nExpect: 100-continue\r\n\r\n", head, address)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("answer = %s, %v, want 100 Continue", line, err)
	}
	if _, err := conn.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestFault_AClientThatLeavesDuringAnUploadToS3LeavesNothing(t *testing.T) {
	s := newFaultyServer(t, artifactstest.Patient())
	calls := s.artifactCalls(t) // and with it an upload
	part := calls[5][1]
	for _, sent := range []int{0, 1, 100_000, 20 << 20} {
		for _, size := range []string{"Content-Length: 40000000", "Transfer-Encoding: chunked"} {
			body := make([]byte, sent)
			if sent > 0 && strings.HasPrefix(size, "Transfer") {
				body = fmt.Appendf(nil, "%x\r\n%s\r\n", sent, body)
			}
			leave(t, s.Listener.Addr().String(), "PUT "+proxy+s.folder+"/new.bin HTTP/1.1\r\n"+size, body)
			leave(t, s.Listener.Addr().String(), "PUT "+proxy+s.folder+"/old.bin HTTP/1.1\r\n"+size, body)
		}
		leave(t, s.Listener.Addr().String(), "PUT "+part+" HTTP/1.1\r\nContent-Length: 40000000", make([]byte, sent))
	}
	s.Close() // waits for the requests
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.direct.Open(t.Context(), s.folder[1:]+"/new.bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of what was not sent to its end = %v", err)
	}
	object, err := s.direct.Open(t.Context(), s.folder[1:]+"/old.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if got, err := io.ReadAll(object); string(got) != oldContent || err != nil {
		t.Errorf("the old content is %d bytes, %v", len(got), err)
	}
	if dropped, err := s.direct.SweepUploads(context.Background(), time.Now().Add(time.Hour)); dropped != 1 || err != nil {
		t.Errorf("%d uploads are open (%v), want the client's own", dropped, err)
	}
}

func TestFault_AClientThatLeavesDuringALocalUploadLeavesNothing(t *testing.T) {
	s := newArtifactServer(t)
	s.want(s.do("PUT", proxy+"/d/old.bin", oldContent), 200, "")
	for _, sent := range []int{0, 1, 100_000, 20 << 20} {
		for _, name := range []string{"old.bin", "new.bin"} {
			leave(t, s.Listener.Addr().String(), "PUT "+proxy+"/d/"+name+" HTTP/1.1\r\nContent-Length: 40000000", make([]byte, sent))
		}
	}
	s.Close() // waits for the requests
	if got := files(t, s.dir); len(got) != 1 || got["d/old.bin"] != oldContent {
		t.Errorf("%d files are left", len(got))
	}
}

// A client that goes away while the database works is neither a failure of the server nor of the database.
func TestArtifacts_AClientThatIsGoneIsNoFailure(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newArtifactServerAt(t, uri, func(*mlflowapi.Config) {})
		run := s.run("")
		for range 100 {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /api/2.0/mlflow/artifacts/list?run_id=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", run.ID)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode > 499 {
				t.Fatalf("status = %d", resp.StatusCode)
			}
			conn.Close()
		}
	})
}
