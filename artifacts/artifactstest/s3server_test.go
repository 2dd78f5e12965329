package artifactstest

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

func status(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func TestS3ServerStopsAndStartsAtOneEndpoint(t *testing.T) {
	s := StartS3(t)
	bucket := s.Bucket(t)
	url := s.Endpoint + "/" + bucket + "/nope"
	if got := status(t, url); got != http.StatusForbidden {
		t.Errorf("request without a signature = %d, want 403", got)
	}
	s.Stop()
	if got := status(t, url); got != 0 {
		t.Errorf("a stopped server answered %d", got)
	}
	s.Start(t)
	if got := status(t, url); got != http.StatusForbidden {
		t.Errorf("request after a restart = %d, want 403", got)
	}
	if _, err := os.Stat(s.File(bucket, "")); err != nil {
		t.Errorf("bucket after a restart: %v", err)
	}
}

func TestSharedS3IsOneServer(t *testing.T) {
	first, second := SharedS3(t), SharedS3(t)
	if first != second {
		t.Error("two servers were started")
	}
	if a, b := first.Bucket(t), first.Bucket(t); a == b {
		t.Errorf("two buckets are named %s", a)
	}
}

func TestMissingS3ServerNamesTheCommandThatBuildsIt(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("go.mod", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GREENROOM_TEST_S3_SERVER", "")
	if _, err := s3Binary(); err == nil || !strings.Contains(err.Error(), "make -C") {
		t.Errorf("error = %v, want the command", err)
	}
}
