package artifacts_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
)

func TestLocal_TakesFilesInParts(t *testing.T) {
	artifactstest.RunMultiparter(t, func(t *testing.T) artifacts.Store { return openLocal(t, t.TempDir()) })
}

// twoParts begins an upload of a.bin and stores its parts.
func twoParts(t *testing.T, l *artifacts.Local) (id string, parts []artifacts.Part) {
	t.Helper()
	id, err := l.CreateUpload(t.Context(), "a.bin")
	if err != nil {
		t.Fatal(err)
	}
	for i, content := range []string{strings.Repeat("a", 1<<20), "end"} {
		etag, err := l.PutPart(t.Context(), "a.bin", id, i+1, strings.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, artifacts.Part{Number: i + 1, ETag: etag})
	}
	return id, parts
}

func TestLocal_AnUploadSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	id, parts := twoParts(t, openLocal(t, dir))
	restarted := openLocal(t, dir)
	first, err := restarted.CompleteUpload(t.Context(), "a.bin", id, parts, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openLocal(t, dir).CompleteUpload(t.Context(), "a.bin", id, parts, nil)
	if err != nil || again != first {
		t.Errorf("completed again = %+v, %v, want %+v", again, err, first)
	}
}

func TestLocal_ReplicasCompleteAnUploadOnce(t *testing.T) {
	dir := t.TempDir()
	id, parts := twoParts(t, openLocal(t, dir))
	stored := make([]artifacts.Stored, 6)
	var wg sync.WaitGroup
	for i := range stored {
		replica := openLocal(t, dir)
		wg.Go(func() {
			var err error
			if stored[i], err = replica.CompleteUpload(context.Background(), "a.bin", id, parts, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range stored {
		if s != stored[0] {
			t.Errorf("stored = %+v and %+v", stored[0], s)
		}
	}
}

func TestLocal_CompletionKeepsNoParts(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir)
	id, parts := twoParts(t, l)
	killed := filepath.Join(dir, ".greenroom-upload-parts", id, "file-OF-A-KILLED-PROCESS")
	if err := os.WriteFile(killed, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutPart(t.Context(), "a.bin", id, 3, strings.NewReader(strings.Repeat("not named", 1000)), 9000); err != nil {
		t.Fatal(err)
	}
	if _, err := l.CompleteUpload(t.Context(), "a.bin", id, parts, nil); err != nil {
		t.Fatal(err)
	}
	var kept int64
	if err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && filepath.Base(p) != "a.bin" {
			kept += info.Size()
		}
		return err
	}); err != nil || kept > 4096 {
		t.Errorf("besides the file there are %d bytes, %v", kept, err)
	}
}

// An upload that is aborted while it is completed leaves the file or nothing, and no folder.
func TestLocal_AbortDuringCompletion(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		l := openLocal(t, dir)
		id, parts := twoParts(t, l)
		var wg sync.WaitGroup
		var completed error
		wg.Go(func() { _, completed = l.CompleteUpload(context.Background(), "a.bin", id, parts, nil) })
		if err := l.AbortUpload(t.Context(), "a.bin", id); err != nil {
			t.Error(err)
		}
		wg.Wait()
		object, err := l.Open(t.Context(), "a.bin")
		switch {
		case completed == nil && err == nil:
			content, err := io.ReadAll(object)
			if len(content) != 1<<20+3 || err != nil {
				t.Errorf("the file has %d bytes, %v", len(content), err)
			}
			object.Close()
		case errors.Is(completed, artifacts.ErrNoUpload) && errors.Is(err, os.ErrNotExist):
		default:
			t.Errorf("completion = %v, then Open = %v", completed, err)
		}
	}
}

func TestLocal_ADamagedPartIsFound(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir)
	id, parts := twoParts(t, l)
	if err := os.Truncate(filepath.Join(dir, ".greenroom-upload-parts", id, "1"), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := l.CompleteUpload(t.Context(), "a.bin", id, parts, nil); !errors.Is(err, artifacts.ErrPart) {
		t.Errorf("CompleteUpload with a truncated part = %v, want ErrPart", err)
	}
}
