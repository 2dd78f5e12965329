package artifacts_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
)

// useS3 lets the AWS SDK find the credentials of a server.
func useS3(t testing.TB, server *artifactstest.S3Server) {
	t.Helper()
	setenv := t.(interface{ Setenv(name, value string) }).Setenv
	setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	setenv("AWS_REGION", server.Region)
}

var patient = artifactstest.Patient()

func openS3(t testing.TB, server *artifactstest.S3Server, o artifacts.S3Options) *artifacts.S3 {
	t.Helper()
	useS3(t, server)
	if o.URI == "" {
		o.URI = "s3://" + server.Bucket(t) + "/team/artifacts"
	}
	if o.Endpoint == "" {
		o.Endpoint = server.Endpoint
	}
	store, err := artifacts.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestS3(t *testing.T) {
	server := artifactstest.SharedS3(t)
	artifactstest.Run(t, func(t *testing.T) artifacts.Store { return openS3(t, server, artifacts.S3Options{Bounds: patient}) })
}

func TestS3_TakesFilesInParts(t *testing.T) {
	server := artifactstest.SharedS3(t)
	artifactstest.RunMultiparter(t, func(t *testing.T) artifacts.Store { return openS3(t, server, artifacts.S3Options{Bounds: patient}) })
}

func TestS3_TwoServersCompleteOneUpload(t *testing.T) {
	bounds := patient
	bounds.Settle = 3 * time.Minute
	first := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{Bounds: bounds})
	second := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{URI: first.URI(), Bounds: bounds})
	for round, old := range []string{"", "old"} {
		file := fmt.Sprintf("d/%d.bin", round)
		if old != "" {
			if _, err := first.Put(t.Context(), file, strings.NewReader(old), int64(len(old))); err != nil {
				t.Fatal(err)
			}
		}
		id, err := first.CreateUpload(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		var parts []artifacts.Part
		for number, content := range []string{strings.Repeat("a", 5<<20), strings.Repeat("b", 5<<20), "end"} {
			tag, err := second.PutPart(t.Context(), file, id, number+1, strings.NewReader(content), int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, artifacts.Part{Number: number + 1, ETag: tag})
		}
		var wg sync.WaitGroup
		for _, store := range []*artifacts.S3{first, second} {
			wg.Go(func() {
				if stored, err := store.CompleteUpload(t.Context(), file, id, parts, nil); err != nil || stored.Size != 10<<20+3 {
					t.Errorf("CompleteUpload over %q = %+v, %v", old, stored, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestOpenS3_RefusesWhatItCannotUse(t *testing.T) {
	for name, test := range map[string]struct {
		options artifacts.S3Options
		want    string
	}{
		"no bucket":         {artifacts.S3Options{URI: "s3:///x"}, "write s3://bucket"},
		"other scheme":      {artifacts.S3Options{URI: "gs://bucket/x"}, "write s3://bucket"},
		"climbing prefix":   {artifacts.S3Options{URI: "s3://bucket/a/../b"}, "plain prefix"},
		"query":             {artifacts.S3Options{URI: "s3://bucket/a?endpoint=x"}, "plain prefix"},
		"endpoint":          {artifacts.S3Options{URI: "s3://bucket", Endpoint: "minio:9000"}, "https://minio.company.com:9000"},
		"endpoint with key": {artifacts.S3Options{URI: "s3://bucket", Endpoint: "https://key:hush@minio"}, "without credentials"},
		"public endpoint":   {artifacts.S3Options{URI: "s3://bucket", PublicEndpoint: "/s3"}, "without credentials"},
		"addressing style":  {artifacts.S3Options{URI: "s3://bucket", AddressingStyle: "dns"}, "path, virtual or auto"},
		"unknown argument":  {artifacts.S3Options{URI: "s3://bucket", UploadArgs: `{"Encrypt": true}`}, "ServerSideEncryption"},
		"arguments no JSON": {artifacts.S3Options{URI: "s3://bucket", UploadArgs: `ACL=private`}, "write a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := artifacts.OpenS3(t.Context(), test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("OpenS3 = %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestS3_URI(t *testing.T) {
	for given, want := range map[string]string{"s3://b": "s3://b", "s3://b/": "s3://b", "s3://b/team/x/": "s3://b/team/x"} {
		store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: given})
		if err != nil {
			t.Fatal(err)
		}
		if got := store.URI(); got != want {
			t.Errorf("URI of %q = %q, want %q", given, got, want)
		}
	}
}

// send sends a request to a presigned URL.
func send(t *testing.T, method string, signed artifacts.Presigned, body string) (status int, header http.Header, content string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, signed.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range signed.Header {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(read)
}

func TestS3_PresignedURLsNeedNoOtherCredentials(t *testing.T) {
	store := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{Bounds: patient, UploadArgs: `{"CacheControl": "no-store"}`})
	signed, err := store.PresignPut(t.Context(), "d/ünï.txt", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := send(t, http.MethodPut, signed, "content"); status != http.StatusOK {
		t.Fatalf("PUT = %d %s", status, text)
	}
	if status, _, _ := send(t, http.MethodGet, signed, ""); status != http.StatusForbidden {
		t.Errorf("GET of a URL for PUT = %d, want 403", status)
	}
	if signed, err = store.PresignGet(t.Context(), "d/ünï.txt", time.Hour); err != nil {
		t.Fatal(err)
	}
	status, header, content := send(t, http.MethodGet, signed, "")
	if content != "content" || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") || header.Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(header.Get("Content-Disposition"), "attachment; filename*=utf-8''%C3%BCn%C3%AF.txt") {
		t.Errorf("GET = %d %q with header %v", status, content, header)
	}

	id, err := store.CreateUpload(t.Context(), "big.bin")
	if err != nil {
		t.Fatal(err)
	}
	if signed, err = store.PresignPart(t.Context(), "big.bin", id, 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	_, header, _ = send(t, http.MethodPut, signed, "one part")
	stored, err := store.CompleteUpload(t.Context(), "big.bin", id, []artifacts.Part{{Number: 1, ETag: header.Get("ETag")}}, nil)
	if err != nil || stored.Size != 8 {
		t.Errorf("CompleteUpload = %+v, %v", stored, err)
	}
}

func TestS3_PresignedURLsNameThePublicEndpoint(t *testing.T) {
	store := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{URI: "s3://models/team", PublicEndpoint: "https://s3.company.com"})
	signed, err := store.PresignGet(t.Context(), "a.txt", time.Minute)
	if err != nil || !strings.HasPrefix(signed.URL, "https://s3.company.com/models/team/a.txt?") {
		t.Errorf("PresignGet = %+v, %v", signed, err)
	}
}

func TestS3_KeysHaveABound(t *testing.T) {
	store := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{Bounds: patient})
	long := strings.Repeat(strings.Repeat("n", 200)+"/", 5) + "end-of-a-long-path"
	var pathErr *artifacts.PathError
	if _, err := store.Put(t.Context(), long, strings.NewReader("x"), 1); !errors.As(err, &pathErr) {
		t.Errorf("Put of a path of %d bytes = %v, want a *PathError", len(long), err)
	}
}

// Uploads beyond the buffers stream their parts; all come out as they went in.
func TestS3_ManyUploadsAtOnce(t *testing.T) {
	store := openS3(t, artifactstest.SharedS3(t), artifacts.S3Options{Bounds: patient})
	const size = 18<<20 + 1
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name, body := fmt.Sprintf("%d.bin", i), io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)
			stored, err := store.Put(t.Context(), name, body, size)
			if err != nil || stored.Size != size {
				t.Errorf("Put = %+v, %v", stored, err)
				return
			}
			object, err := store.Open(t.Context(), name)
			if err != nil {
				t.Error(err)
				return
			}
			defer object.Close()
			sum := sha256.New()
			if _, err := io.Copy(sum, object); err != nil || hex.EncodeToString(sum.Sum(nil)) != stored.SHA256 || object.ETag != stored.ETag {
				t.Errorf("%s came back changed: %v", name, err)
			}
		})
	}
	wg.Wait()
}
