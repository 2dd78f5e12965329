package mlflowapi_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/mlflowapi"
)

// aged is a folder whose files were all last changed earlier than in truth. meddle has a file that was just opened.
type aged struct {
	*artifacts.Local
	age    time.Duration
	meddle func(*artifacts.Object)
}

func (a *aged) Open(ctx context.Context, path string) (*artifacts.Object, error) {
	object, err := a.Local.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	stamp := object.Stamp
	object.Stamp = func() (artifacts.Stamp, bool) {
		s, ok := stamp()
		s.Changed -= int64(a.age)
		return s, ok
	}
	if a.meddle != nil {
		a.meddle(object)
	}
	return object, nil
}

// damage puts another file in the place of one that is opened, in the same state as far as anybody can see.
func damage(t *testing.T) func(*artifacts.Object) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(path, bytes.Repeat([]byte("y"), bigSize), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(object *artifacts.Object) {
		closeAtEnd(t, object.ReadSeekCloser)
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
		}
		object.ReadSeekCloser = f
	}
}

const bigSize = 3<<20 + 7

// newAgedServer has a big file of the letter x at d/a.bin.
func newAgedServer(t *testing.T, change func(*mlflowapi.Config)) (*artifactServer, *aged) {
	t.Helper()
	store := &aged{age: time.Hour}
	s := newArtifactServerWith(t, func(c *mlflowapi.Config) {
		store.Local = c.Artifacts.Served.(*artifacts.Local)
		c.Artifacts.Served = store
		change(c)
	})
	s.want(s.do("PUT", proxy+"/d/a.bin", strings.Repeat("x", bigSize)), 200, "")
	return s, store
}

func (s *artifactServer) wantBig(letter string) {
	s.t.Helper()
	if got := s.do("GET", proxy+"/d/a.bin", ""); got.status != 200 || got.body != strings.Repeat(letter, bigSize) || got.header.Get("Repr-Digest") == "" {
		s.t.Errorf("download = %d with %d bytes, %v", got.status, len(got.body), got.header)
	}
}

func TestDownload_OfAFileComparedAShortWhileAgoIsNotComparedAgain(t *testing.T) {
	var later atomic.Int64
	s, store := newAgedServer(t, func(c *mlflowapi.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	s.wantBig("x")
	store.meddle = damage(t) // which only a comparison finds
	s.wantBig("y")
	later.Store(int64(10 * time.Minute))
	wantDamaged(t, s, "d/a.bin", bigSize)
	wantDamaged(t, s, "d/a.bin", bigSize)
}

func TestDownload_OfAFileChangedSinceItWasComparedIsComparedAgain(t *testing.T) {
	s, _ := newAgedServer(t, func(*mlflowapi.Config) {})
	s.wantBig("x")
	s.wantBig("x")
	flip(t, filepath.Join(s.dir, "d", "a.bin"), bigSize/2)
	wantDamaged(t, s, "d/a.bin", bigSize)
}

func TestDownload_OfAFileReplacedSinceItWasComparedIsComparedAgain(t *testing.T) {
	s, store := newAgedServer(t, func(*mlflowapi.Config) {})
	s.wantBig("x")
	s.want(s.do("PUT", proxy+"/d/a.bin", strings.Repeat("z", bigSize)), 200, "")
	store.meddle = damage(t)
	wantDamaged(t, s, "d/a.bin", bigSize)
}

func TestDownload_OfARangeIsNoComparison(t *testing.T) {
	s, store := newAgedServer(t, func(*mlflowapi.Config) {})
	if got := s.do("GET", proxy+"/d/a.bin", "", "Range: bytes=1-"); got.status != 206 || got.body != strings.Repeat("x", bigSize-1) {
		t.Fatalf("range = %d with %d bytes", got.status, len(got.body))
	}
	s.do("HEAD", proxy+"/d/a.bin", "")
	store.meddle = damage(t)
	wantDamaged(t, s, "d/a.bin", bigSize)
}

func TestDownload_OfAFileThatWasJustChangedIsComparedEachTime(t *testing.T) {
	s, store := newAgedServer(t, func(*mlflowapi.Config) {})
	store.age = -time.Hour
	s.wantBig("x")
	store.meddle = damage(t)
	wantDamaged(t, s, "d/a.bin", bigSize)
}

func TestDownload_OfAFileChangedWhileItIsSentIsBrokenOff(t *testing.T) {
	for name, change := range map[string]func(*artifactServer, *artifacts.Stamp) error{
		"state": func(_ *artifactServer, stamp *artifacts.Stamp) error {
			stamp.Changed++
			return nil
		},
		"size, at the last moment": func(s *artifactServer, _ *artifacts.Stamp) error {
			return os.Truncate(filepath.Join(s.dir, "d", "a.bin"), bigSize-1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := newAgedServer(t, func(*mlflowapi.Config) {})
			s.wantBig("x")
			store.meddle = func(object *artifacts.Object) {
				stamp, asked := object.Stamp, 0
				object.Stamp = func() (found artifacts.Stamp, ok bool) {
					found, ok = stamp()
					if asked++; asked > 1 {
						if err := change(s, &found); err != nil {
							t.Error(err)
						}
					}
					return found, ok
				}
			}
			wantDamaged(t, s, "d/a.bin", bigSize)
		})
	}
}

// kernelListener counts what the kernel is asked to send by itself from a file.
type kernelListener struct {
	net.Listener
	bytes *atomic.Int64
}

func (l kernelListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return kernelConn{conn.(*net.TCPConn), l.bytes}, nil
}

type kernelConn struct {
	*net.TCPConn
	bytes *atomic.Int64
}

func (c kernelConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			c.bytes.Add(n)
		}
	}
	return n, err
}

func TestDownload_OfWhatNeedNotBeComparedIsLeftToTheKernel(t *testing.T) {
	s, _ := newAgedServer(t, func(*mlflowapi.Config) {})
	var sent atomic.Int64
	other := httptest.NewUnstartedServer(s.Config.Handler)
	other.Listener = kernelListener{other.Listener, &sent}
	other.Start()
	defer other.Close()
	for _, tt := range []struct {
		name, byteRange string
		kernel          bool
	}{
		{"range", "bytes=7-2097159", true},
		{"small range", "bytes=7-99", false},
		{"two ranges", "bytes=7-1048576,2000000-3000000", false},
		{"first", "", false},
		{"second", "", true},
	} {
		sent.Store(0)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, other.URL+proxy+"/d/a.bin", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.byteRange != "" {
			request.Header.Set("Range", tt.byteRange)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || int64(len(content)) != response.ContentLength || tt.name != "two ranges" && len(bytes.Trim(content, "x")) > 0 {
			t.Errorf("%s: %d bytes of %d, %v", tt.name, len(content), response.ContentLength, err)
		}
		if by := sent.Load(); (by > response.ContentLength/2) != tt.kernel {
			t.Errorf("%s: %d of %d bytes were sent by the kernel", tt.name, by, response.ContentLength)
		}
	}
}
