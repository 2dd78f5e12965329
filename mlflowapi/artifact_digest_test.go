package mlflowapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// record is what the database knows of a file of the served store.
func (s *artifactServer) record(path string) (models.ArtifactRecord, bool) {
	s.t.Helper()
	r, ok, err := s.models.ArtifactRecord(s.t.Context(), "mlflow-artifacts:/"+path)
	if err != nil {
		s.t.Fatal(err)
	}
	return r, ok
}

func hexDigest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestDigest_IsRecordedAndSent(t *testing.T) {
	s := newArtifactServer(t)
	s.want(s.do("PUT", proxy+"/d/a.txt", "old"), 200, "")
	s.want(s.do("PUT", proxy+"/d/a.txt", "hello"), 200, "")
	r, ok := s.record("d/a.txt")
	if !ok || r.SHA256 != hexDigest("hello") || r.Size != 5 || r.StoredAt == 0 {
		t.Fatalf("record = %+v, %v", r, ok)
	}
	sum := sha256.Sum256([]byte("hello"))
	text := base64.StdEncoding.EncodeToString(sum[:])
	for name, got := range map[string]answer{
		"GET": s.do("GET", proxy+"/d/a.txt", ""), "HEAD": s.do("HEAD", proxy+"/d/a.txt", ""), "range": s.do("GET", proxy+"/d/a.txt", "", "Range: bytes=1-2"),
	} {
		if got.header.Get("ETag") != r.ETag || got.header.Get("Digest") != "sha-256="+text || got.header.Get("Repr-Digest") != "sha-256=:"+text+":" {
			t.Errorf("%s: %d %v", name, got.status, got.header)
		}
	}
}

func TestDigest_OfAFileThatOthersWroteIsNotSent(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/d/a.txt", "hello")
	for _, name := range []string{"a.txt", "b.txt"} {
		if err := os.WriteFile(filepath.Join(s.dir, "d", name), []byte("by hand"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.do("GET", proxy+"/d/"+name, ""); got.body != "by hand" || got.header.Get("Digest") != "" || got.header.Get("Repr-Digest") != "" {
			t.Errorf("GET %s = %d %q %v", name, got.status, got.body, got.header)
		}
	}
}

func TestDigest_GoesWithItsFile(t *testing.T) {
	s := newArtifactServer(t)
	for _, name := range []string{"d/e/a.txt", "d/e/f/b.txt", "d/e.txt", "d/e0", "d/e-f", "d/eé", "d/E"} {
		s.want(s.do("PUT", proxy+"/"+name, "x"), 200, "")
	}
	s.want(s.do("DELETE", proxy+"/d/e", ""), 200, "")
	for name, want := range map[string]bool{"d/e/a.txt": false, "d/e/f/b.txt": false, "d/e.txt": true, "d/e0": true, "d/e-f": true, "d/E": true} {
		if _, got := s.record(name); got != want {
			t.Errorf("%s is recorded: %v, want %v", name, got, want)
		}
	}
	s.do("DELETE", proxy+"/d/e0", "")
	if _, ok := s.record("d/e0"); ok {
		t.Error("a deleted file is recorded")
	}
}

// brokenBody breaks off after some bytes.
type brokenBody struct{ sent bool }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("the client has had enough")
	}
	b.sent = true
	return copy(p, "half"), nil
}

func TestDigest_OfAFileThatWasNotReplacedStays(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/d/a.txt", "kept")
	before, _ := s.record("d/a.txt")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+proxy+"/d/a.txt", io.NopCloser(&brokenBody{}))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1000
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
		t.Fatal("the upload did not break off")
	}
	deadline := time.After(5 * time.Minute)
	for tick := time.Tick(5 * time.Millisecond); ; {
		if now, ok := s.record("d/a.txt"); ok && now.SHA256 == before.SHA256 && now.ETag == before.ETag {
			break
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("the record of a file that is still there is gone")
		}
	}
	s.want(s.do("GET", proxy+"/d/a.txt", ""), 200, "kept")
}

func TestDigest_OfTwoUploadsAtOnceNeverContradictsTheFile(t *testing.T) {
	s := newArtifactServer(t)
	for round := range 20 {
		path := fmt.Sprintf("d/%d.txt", round)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				if i == 3 && round%2 == 1 {
					s.do("DELETE", proxy+"/"+path, "")
				}
				s.want(s.do("PUT", proxy+"/"+path, strings.Repeat(fmt.Sprint(i), 1000*(i+1))), 200, "")
			})
		}
		wg.Wait()
		got := s.do("GET", proxy+"/"+path, "")
		r, ok := s.record(path)
		if ok && (r.SHA256 != hexDigest(got.body) || r.ETag != got.header.Get("ETag")) {
			t.Errorf("round %d: record %+v of another content than %q", round, r, got.body[:1])
		}
	}
}

// meddled is a store in which something else happens after a Put, before its caller hears of its end.
type meddled struct {
	*artifacts.Local
	afterPut func(artifacts.Stored) (artifacts.Stored, error)
}

func (m *meddled) Put(ctx context.Context, path string, body io.Reader, size int64) (artifacts.Stored, error) {
	stored, err := m.Local.Put(ctx, path, body, size)
	if meddle := m.afterPut; meddle != nil && err == nil {
		m.afterPut = nil
		return meddle(stored)
	}
	return stored, err
}

func TestDigest_OfAFileThatOthersStoreOrDeleteMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile func(s *artifactServer)
		status    int
	}{
		{"it is deleted", func(s *artifactServer) { s.want(s.do("DELETE", proxy+"/d/a.txt", ""), 200, "") }, 404},
		{"its folder is deleted", func(s *artifactServer) { s.want(s.do("DELETE", proxy+"/d", ""), 200, "") }, 404},
		{"it is replaced", func(s *artifactServer) { s.want(s.do("PUT", proxy+"/d/a.txt", "third"), 200, "") }, 200},
		{"it is replaced and deleted", func(s *artifactServer) {
			s.want(s.do("PUT", proxy+"/d/a.txt", "third"), 200, "")
			s.want(s.do("DELETE", proxy+"/d/a.txt", ""), 200, "")
		}, 404},
	} {
		for _, first := range []string{"", "first"} {
			t.Run(tt.name+" "+first, func(t *testing.T) {
				store := &meddled{}
				s := newArtifactServerWith(t, func(c *mlflowapi.Config) {
					store.Local = c.Artifacts.Served.(*artifacts.Local)
					c.Artifacts.Served = store
				})
				if first != "" {
					s.want(s.do("PUT", proxy+"/d/a.txt", first), 200, "")
				}
				store.afterPut = func(stored artifacts.Stored) (artifacts.Stored, error) {
					tt.meanwhile(s)
					return stored, nil
				}
				s.want(s.do("PUT", proxy+"/d/a.txt", "second"), 200, "")
				got := s.do("GET", proxy+"/d/a.txt", "")
				r, ok := s.record("d/a.txt")
				if got.status != tt.status || ok && (got.status != 200 || r.SHA256 != hexDigest(got.body)) {
					t.Errorf("GET = %d %q, and the record is %+v, %v", got.status, got.body, r, ok)
				}
			})
		}
	}
}

// late is a store that does not answer, and stores what it was given afterwards.
type late struct {
	*artifacts.Local
	waits []byte
}

func (l *late) Put(_ context.Context, _ string, body io.Reader, _ int64) (_ artifacts.Stored, err error) {
	if l.waits, err = io.ReadAll(body); err == nil {
		err = &artifacts.UnavailableError{Err: errors.New("injected")}
	}
	return artifacts.Stored{}, err
}

func TestDigest_OfAFileThatTheStoreMayReplaceLateIsForgotten(t *testing.T) {
	store := &late{}
	s := newArtifactServerWith(t, func(c *mlflowapi.Config) {
		store.Local = c.Artifacts.Served.(*artifacts.Local)
		c.Artifacts.Served = store
	})
	if _, err := store.Local.Put(t.Context(), "d/a.txt", strings.NewReader("first"), 5); err != nil {
		t.Fatal(err)
	}
	object, err := store.Open(t.Context(), "d/a.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if err := s.models.NoteArtifact(modelstest.Anyone(t), "mlflow-artifacts:/d/a.txt", object.Size, object.ETag); err != nil {
		t.Fatal(err)
	}
	s.want(s.do("PUT", proxy+"/d/a.txt", "second"), 503, "TEMPORARILY_UNAVAILABLE")
	if _, err := store.Local.Put(t.Context(), "d/a.txt", bytes.NewReader(store.waits), 6); err != nil {
		t.Fatal(err)
	}
	if r, ok := s.record("d/a.txt"); ok {
		t.Errorf("the record is still %+v", r)
	}
}

// flip changes one byte of a file as a dying disk does: neither size nor time of change tell of it.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[at] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content[at:at+1], at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// wantDamaged wants a download that no client takes for whole: an error, or a broken connection if it was too long to be held back.
func wantDamaged(t testing.TB, s *artifactServer, path string, size int) {
	t.Helper()
	response, err := http.Get(s.URL + proxy + "/" + path)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
	}
	switch {
	case err == nil && response.StatusCode == http.StatusFailedDependency && strings.Contains(string(body), "damaged") && response.Header.Get("Repr-Digest")+response.Header.Get("ETag") == "":
	case err != nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) && len(body) < size:
	default:
		t.Errorf("download of %s = %d bytes, %v, want an error", path, len(body), err)
	}
}

func TestDownload_OfADamagedFileIsBrokenOff(t *testing.T) {
	for _, size := range []int{1, 1000, 32 << 10, 1<<20 + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var log bytes.Buffer
			s := newArtifactServerWith(t, func(c *mlflowapi.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			s.do("PUT", proxy+"/d/a.bin", strings.Repeat("x", size))
			flip(t, filepath.Join(s.dir, "d", "a.bin"), int64(size/2))
			wantDamaged(t, s, "d/a.bin", size)
			s.Close() // waits for the handler
			if !strings.Contains(log.String(), "mlflow-artifacts:/d/a.bin") {
				t.Errorf("log = %q", log.String())
			}
		})
	}
}

func TestDownload_RangesOfADamagedFileAreSent(t *testing.T) {
	s := newArtifactServer(t)
	s.do("PUT", proxy+"/d/a.bin", "0123456789")
	flip(t, filepath.Join(s.dir, "d", "a.bin"), 9)
	if got := s.do("GET", proxy+"/d/a.bin", "", "Range: bytes=0-3"); got.status != 206 || got.body != "0123" {
		t.Errorf("range = %d %q", got.status, got.body)
	}
}

func BenchmarkArtifact(b *testing.B) {
	s := newArtifactServer(b)
	for _, size := range []int{1 << 10, 64 << 20} {
		body := strings.Repeat("x", size)
		b.Run(fmt.Sprintf("put%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			i := 0
			for b.Loop() {
				i++
				name := i
				if size > 1<<20 {
					name = 0
				}
				s.do("PUT", fmt.Sprintf("%s/%d/%d", proxy, size, name), body)
			}
		})
		b.Run(fmt.Sprintf("get%d", size), func(b *testing.B) {
			s.do("PUT", fmt.Sprintf("%s/get%d", proxy, size), body)
			b.SetBytes(int64(size))
			for b.Loop() {
				response, err := http.Get(fmt.Sprintf("%s%s/get%d", s.URL, proxy, size))
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, response.Body); n != int64(size) || err != nil {
					b.Fatal(n, err)
				}
				response.Body.Close()
			}
		})
	}
}

func TestDownload_FromS3OfADamagedObjectIsBrokenOff(t *testing.T) {
	server := artifactstest.SharedS3(t)
	for _, variable := range server.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	bucket := server.Bucket(t)
	store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: "s3://" + bucket, Endpoint: server.Endpoint, Bounds: artifactstest.Patient()})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, store)
	s := newArtifactServerWith(t, func(c *mlflowapi.Config) { c.Artifacts.Served = store })
	for _, size := range []int{10, 1<<20 + 7, 12 << 20} { // the last one comes in parts, of which S3 knows no sum of the whole
		path := fmt.Sprintf("d/%d.bin", size)
		s.want(s.do("PUT", proxy+"/"+path, strings.Repeat("x", size)), 200, "")
		if got := s.do("GET", proxy+"/"+path, ""); len(got.body) != size || got.header.Get("Repr-Digest") == "" {
			t.Fatalf("%s: %d bytes, %v", path, len(got.body), got.header)
		}
		flip(t, server.File(bucket, path), int64(size-2))
		wantDamaged(t, s, path, size)
	}
}
