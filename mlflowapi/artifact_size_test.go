package mlflowapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/mlflowapi"
)

func TestMaxArtifactSize(t *testing.T) {
	const limit = 10
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.MaxArtifactBytes = limit })
	fits, big := strings.Repeat("x", limit), strings.Repeat("x", limit+1)
	s.want(s.do("PUT", proxy+"/1/r/artifacts/fits", fits), 200, "")
	tooLarge := func(a answer) {
		t.Helper()
		s.want(a, 413, "--max-artifact-size")
		if a.code() != "INVALID_PARAMETER_VALUE" {
			t.Errorf("code %s", a.code())
		}
	}
	tooLarge(s.do("PUT", proxy+"/1/r/artifacts/fits", big))
	run := s.run("")
	tooLarge(s.do("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid="+run.ID+"&path=big", big))

	// Without a Content-Length the limit is met on the way.
	for body, status := range map[string]int{fits: 200, big: 413} {
		request, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+proxy+"/1/r/artifacts/chunked", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%d bytes without a length = %d, want %d", len(body), response.StatusCode, status)
		}
	}

	const folder = "1/r/artifacts"
	up := s.begin(folder, "parts", 2)
	tooLarge(s.do("PUT", s.path(up.Credentials[0].URL), big))
	etags := s.putParts(up, "123456", "78901")
	tooLarge(s.complete(folder, "parts", up.UploadID, parts(etags...)))
	s.want(s.complete(folder, "parts", up.UploadID, parts(etags...)), 404, "No such multipart upload") // it was aborted
	up = s.begin(folder, "parts", 2)
	etags = s.putParts(up, "12345", "67890")
	for range 2 {
		s.want(s.complete(folder, "parts", up.UploadID, parts(etags...)), 200, "")
	}
	want := map[string]string{folder + "/fits": fits, folder + "/chunked": fits, folder + "/parts": "1234567890"}
	got := files(t, s.dir)
	for name := range got {
		if strings.HasPrefix(name, ".greenroom-upload") {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
