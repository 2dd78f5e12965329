package reliability_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"greenroom/models/modelstest"
)

// TestR17_InterruptedUploadsLeaveNothing cuts an upload off after every twentieth of it, beside a file that is replaced and one
// that is new: nothing of it is seen, nothing stays on disk, and the last attempt stores all of it.
func TestR17_InterruptedUploadsLeaveNothing(t *testing.T) {
	t.Parallel()
	const parts = 20
	s := startServer(t, modelstest.EmptySQLite(t))
	bytes := int64(size(20<<20, 1<<30))
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * deadline}
	defer client.CloseIdleConnections()
	old := []byte("what was there before")
	if status, answer, err := exchange(client, http.MethodPut, s.url+artifactPath+"d/old.bin", old); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	for part := range parts {
		for _, name := range []string{"old.bin", "new.bin"} {
			ctx, cancel := context.WithCancel(t.Context())
			body := io.MultiReader(io.LimitReader(zeros{}, bytes*int64(part)/parts), cutOff{ctx, cancel})
			request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url+artifactPath+"d/"+name, body)
			if err != nil {
				t.Fatal(err)
			}
			if request.ContentLength = bytes; part%2 > 0 {
				request.ContentLength = -1 // chunked
			}
			if response, err := client.Do(request); err == nil {
				response.Body.Close()
				t.Errorf("%s, cut off after part %d: %s", name, part, response.Status)
			}
		}
		eventually(t, "what came is taken away", func() bool { return len(stored(t, s)) == 1 })
		if status, content, err := exchange(client, http.MethodGet, s.url+artifactPath+"d/old.bin", nil); err != nil || status != http.StatusOK || string(content) != string(old) {
			t.Fatalf("after part %d: %d, %d bytes, %v", part, status, len(content), err)
		}
		if status, _, err := exchange(client, http.MethodGet, s.url+artifactPath+"d/new.bin", nil); err != nil || status != http.StatusNotFound {
			t.Fatalf("after part %d: %d %v", part, status, err)
		}
	}
	putZeros(t, client, s, "d/new.bin", bytes)
	sum := sha256.New()
	response, err := client.Do(mustRequest(t, http.MethodGet, s.url+artifactPath+"d/new.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(sum, response.Body); err != nil || n != bytes {
		t.Fatalf("%d bytes, %v", n, err)
	}
	want := sha256.New()
	if _, err := io.CopyN(want, zeros{}, bytes); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != fmt.Sprintf("%x", want.Sum(nil)) {
		t.Errorf("the file is another one: %s", got)
	}
	report(t, "R17", "bytes", bytes, "interrupted", 2*parts, "partial_files_seen", 0, "left_on_disk", 0)
	s.stop()
}

// TestR17_ParallelUploadsHoldNoMemory uploads 8 large files of zeros at once. In the full size what has come is made a hole of the
// file, which is the same content: the disk need not hold 40 GB.
func TestR17_ParallelUploadsHoldNoMemory(t *testing.T) {
	const clients = 8
	s := startServer(t, modelstest.EmptySQLite(t))
	bytes := int64(size(32_000_000, 5_000_000_000))
	before := s.memory()
	var done sync.WaitGroup
	for i := range clients {
		done.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * deadline}
			defer client.CloseIdleConnections()
			putZeros(t, client, s, strconv.Itoa(i)+".bin", bytes)
		})
	}
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()
	most := s.mostMemory(finished, func() {
		if *full {
			punch(t, s)
		}
	})
	if most > 100_000_000 {
		t.Errorf("the server has taken %s", most)
	}
	report(t, "R17-memory", "uploads", clients, "bytes_each", bytes, "memory_growth", most-before, "memory_max", most)
	s.stop()
}

// punch gives the disk back what the files of a server hold, which are of zeros with or without it.
func punch(t testing.TB, s *server) {
	t.Helper()
	for _, path := range stored(t, s) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) { // it was renamed meanwhile
			continue
		}
		var info os.FileInfo
		if err == nil {
			info, err = file.Stat()
		}
		if err == nil && info.Size() > 0 {
			err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, info.Size())
		}
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatalf("make a hole of %s: %v", path, err)
		}
	}
}

// cutOff ends a request when its body has come so far.
type cutOff struct {
	ctx    context.Context
	cancel func()
}

func (c cutOff) Read([]byte) (int, error) {
	c.cancel()
	return 0, c.ctx.Err()
}

func putZeros(t testing.TB, client *http.Client, s *server, path string, bytes int64) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPut, s.url+artifactPath+path, io.LimitReader(zeros{}, bytes))
	if err != nil {
		t.Error(err)
		return
	}
	request.ContentLength = bytes
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("PUT %s: %s", path, response.Status)
	}
}

// stored are all files that the server has in its artifact folder.
func stored(t testing.TB, s *server) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(s.dir, "artifacts"), func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // it was removed meanwhile
			return nil
		}
		if err == nil && !entry.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
