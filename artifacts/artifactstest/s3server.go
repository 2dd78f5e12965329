package artifactstest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"greenroom/artifacts"
)

// S3Server is a real S3 server on a loopback port: versitygw, which keeps buckets as folders and objects as files.
type S3Server struct {
	Endpoint  string // http://127.0.0.1:<port>
	AccessKey string
	SecretKey string
	Region    string

	dir       string
	temporary bool // the folder goes with the server
	sidecar   bool // the file system can't keep what S3 knows of an object
	stop      func()
}

// StartS3 starts a server of the test's own, which ends with it.
func StartS3(t testing.TB) *S3Server {
	t.Helper()
	s, err := newS3Server(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// SharedS3 is the one server of this process, for tests that need no more than a bucket. It ends with the process.
func SharedS3(t testing.TB) *S3Server {
	t.Helper()
	s, err := sharedS3()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sharedS3 = sync.OnceValues(func() (*S3Server, error) {
	dir, err := os.MkdirTemp("", "greenroom-s3-")
	if err != nil {
		return nil, err
	}
	return newS3Server(dir, true)
})

func newS3Server(dir string, temporary bool) (*S3Server, error) {
	s := &S3Server{AccessKey: "test", SecretKey: "testsecret", Region: "us-east-1", dir: dir, temporary: temporary}
	for attempt := 1; ; attempt++ {
		listener, err := listen()
		if err != nil {
			return nil, err
		}
		s.Endpoint = "http://" + listener.Addr().String()
		if err := listener.Close(); err != nil {
			return nil, err
		}
		err = s.start()
		switch {
		case err == nil:
			return s, nil
		case strings.Contains(err.Error(), "xattrs are not supported") && !s.sidecar:
			s.sidecar = true
		case strings.Contains(err.Error(), "address already in use") && attempt < 5: // taken meanwhile
		default:
			return nil, fmt.Errorf("start an S3 server for the tests: %w", err)
		}
	}
}

// listen takes a port below those that systems take for connections, so that it can be listened on again.
func listen() (listener net.Listener, err error) {
	for range 100 {
		if listener, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(10_000+mathrand.IntN(20_000))); err == nil {
			return listener, nil
		}
	}
	return nil, err
}

// s3KeeperScript runs a server until its standard input ends, which is when the test process does, however it ends.
const s3KeeperScript = `
folder=$1
shift
exec 3<&0
"$@" 3<&- &
server=$!
{ read -r _; kill -9 "$server"; } <&3 >/dev/null 2>&1 &
exec 3<&-
wait "$server" 2>/dev/null
test -z "$folder" || rm -rf "$folder"
`

func (s *S3Server) start() error {
	binary, err := s3Binary()
	if err != nil {
		return err
	}
	buckets, sidecar, doomed := filepath.Join(s.dir, "buckets"), filepath.Join(s.dir, "sidecar"), ""
	if err := errors.Join(os.MkdirAll(buckets, 0o700), os.MkdirAll(sidecar, 0o700)); err != nil {
		return err
	}
	if s.temporary {
		doomed = s.dir
	}
	health := "/" + rand.Text() // nobody else's server answers there
	args := []string{
		"--quiet", "--keep-alive", "--health", health, "--port", strings.TrimPrefix(s.Endpoint, "http://"), "posix",
		"--disableotmp", // else a put may hang for ever when its folder is deleted meanwhile
	}
	if s.sidecar {
		args = append(args, "--sidecar", sidecar)
	}
	output := &strings.Builder{}
	cmd := exec.Command("/bin/sh", slices.Concat([]string{"-c", s3KeeperScript, "keeper", doomed, binary}, args, []string{buckets})...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the keyboard is for the test alone
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed
	}()
	s.stop = func() {
		stdin.Close()
		<-ended
	}
	if err := await(s.Endpoint+health, ended); err != nil {
		s.stop()
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// await waits until a URL answers 200.
func await(url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return errors.New("the server ended")
		case <-ctx.Done():
			return errors.New("the server does not answer")
		case <-tick.C:
		}
	}
}

// s3Binary is that of GREENROOM_TEST_S3_SERVER, else the one in the module's .tools.
func s3Binary() (string, error) {
	if path := os.Getenv("GREENROOM_TEST_S3_SERVER"); path != "" {
		return path, nil
	}
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", errors.New("the tests run outside of the module: set GREENROOM_TEST_S3_SERVER to a versitygw binary")
		}
		root = filepath.Dir(root)
	}
	found, err := filepath.Glob(filepath.Join(root, ".tools", "versitygw-*"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w: build it with `make -C %s s3-server`, or set GREENROOM_TEST_S3_SERVER to a versitygw binary", fs.ErrNotExist, root)
	}
	return found[len(found)-1], nil
}

// Patient are the bounds of a store that takes no slow machine for an S3 that hangs, and does not wait for what will not come.
func Patient() artifacts.S3Bounds {
	return artifacts.S3Bounds{Call: 3 * time.Minute, Stall: 3 * time.Minute, Settle: time.Second}
}

// Stop kills the server, as an outage does: connections break, and its port refuses new ones.
func (s *S3Server) Stop() { s.stop() }

// Start ends the outage: the server is back at its endpoint, with its buckets.
func (s *S3Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("start the S3 server again: %v", err)
	}
}

// Bucket makes an empty bucket, which goes with the test.
func (s *S3Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "bucket-" + strings.ToLower(rand.Text())
	dir := filepath.Join(s.dir, "buckets", name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(filepath.Join(s.dir, "sidecar", name))); err != nil {
			t.Errorf("remove the test's bucket: %v", err)
		}
	})
	return name
}

// File is the file that holds an object's content. Who changes it does so behind the server's back.
func (s *S3Server) File(bucket, key string) string {
	return filepath.Join(s.dir, "buckets", bucket, filepath.FromSlash(key))
}

// Env is what a process needs in its environment to use the server, as name=value.
func (s *S3Server) Env() []string { return s3Env(s, s.Endpoint) }

func s3Env(s *S3Server, endpoint string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + s.SecretKey,
		"AWS_REGION=" + s.Region,
		"AWS_EC2_METADATA_DISABLED=true",
		"MLFLOW_S3_ENDPOINT_URL=" + endpoint,
	}
}
