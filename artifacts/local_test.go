//go:build unix

package artifacts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
)

const staging = ".greenroom-uploads"

func openLocal(t testing.TB, dir string) *artifacts.Local {
	t.Helper()
	store, err := artifacts.OpenLocal(dir)
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

func TestLocal(t *testing.T) {
	artifactstest.Run(t, func(t *testing.T) artifacts.Store { return openLocal(t, t.TempDir()) })
}

func put(t testing.TB, store artifacts.Store, path, content string) {
	t.Helper()
	if _, err := store.Put(context.Background(), path, strings.NewReader(content), artifacts.UnknownSize); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, content string, elem ...string) {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, elem ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestOpenLocal_CreatesAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "mlartifacts")
	store := openLocal(t, dir)
	put(t, store, "1/run/a.txt", "x")
	for path, want := range map[string]fs.FileMode{"": 0o700, "1": 0o700, "1/run": 0o700, "1/run/a.txt": 0o600, staging: 0o700} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %q = %o, want %o", path, got, want)
		}
	}
}

func TestOpenLocal_WritesNothingBeforeTheFirstPut(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	if _, err := store.List(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) > 0 {
		t.Errorf("folder = %v, want nothing", got)
	}
}

func TestOpenLocal_OnAFileFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, "", file)
	if _, err := artifacts.OpenLocal(file); err == nil {
		t.Error("OpenLocal of a file succeeds")
	}
}

func TestOpenLocal_SweepsWhatAnInterruptionLeft(t *testing.T) {
	dir := t.TempDir()
	write(t, "half", dir, staging, "upload")
	write(t, "doomed", dir, staging, "tree", "sub", "a.txt")
	write(t, "kept", dir, "1", "a.txt")
	openLocal(t, dir)
	if got := names(t, dir, staging); len(got) > 0 {
		t.Errorf("left in the upload folder: %v", got)
	}
	if got := names(t, dir, "1"); len(got) != 1 {
		t.Errorf("artifacts = %v, want a.txt", got)
	}
}

func TestOpenLocal_SparesUploadsOfOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	body, writer := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := store.Put(context.Background(), "a.txt", body, artifacts.UnknownSize)
		done <- err
	}()
	if _, err := writer.Write([]byte("first, ")); err != nil {
		t.Fatal(err)
	}
	openLocal(t, dir)
	if _, err := writer.Write([]byte("second")); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("Put: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a.txt")); string(got) != "first, second" || err != nil {
		t.Errorf("content = %q, %v", got, err)
	}
}

func TestLocal_PutLeavesNothingStaged(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	put(t, store, "d/a.txt", "x")
	broken := io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	if _, err := store.Put(context.Background(), "d/b.txt", broken, artifacts.UnknownSize); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Put = %v", err)
	}
	if err := store.Delete(context.Background(), "d"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir, staging); len(got) > 0 {
		t.Errorf("left in the upload folder: %v", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("root = %v, want the upload folder only", got)
	}
}

func TestLocal_AHalfUploadIsSeenNowhere(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	body := io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) {
		if entries, err := store.List(context.Background(), ""); len(entries) > 0 || err != nil {
			t.Errorf("List during an upload = %v, %v", entries, err)
		}
		if got := names(t, dir, staging); len(got) != 1 {
			t.Errorf("upload folder = %v, want one file", got)
		}
		return 0, io.EOF
	}))
	if _, err := store.Put(context.Background(), "d/a.txt", body, artifacts.UnknownSize); err != nil {
		t.Fatal(err)
	}
}

func TestLocal_ClashesOfFilesAndFolders(t *testing.T) {
	store := openLocal(t, t.TempDir())
	put(t, store, "d/e/a.txt", "x")
	for path, want := range map[string]error{
		"d": artifacts.ErrIsDir, "d/e": artifacts.ErrIsDir, "d/e/a.txt/b": artifacts.ErrNotDir, "d/e/a.txt/b/c": artifacts.ErrNotDir,
	} {
		body := readerFunc(func([]byte) (int, error) {
			t.Errorf("Put(%q) reads the body of an upload that can't succeed", path)
			return 0, io.EOF
		})
		if _, err := store.Put(context.Background(), path, body, artifacts.UnknownSize); !errors.Is(err, want) {
			t.Errorf("Put(%q) = %v, want %v", path, err, want)
		}
	}
}

func TestLocal_ClashesThatAppearDuringTheUpload(t *testing.T) {
	store := openLocal(t, t.TempDir())
	for path, want := range map[string]error{"d": artifacts.ErrIsDir, "d/f/x": artifacts.ErrNotDir} {
		body := readerFunc(func([]byte) (int, error) {
			put(t, store, "d/f", "came first")
			return 0, io.EOF
		})
		if _, err := store.Put(context.Background(), path, body, artifacts.UnknownSize); !errors.Is(err, want) {
			t.Errorf("Put(%q) = %v, want %v", path, err, want)
		}
	}
}

func TestLocal_FolderEmptiedUnderTheServerIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, staging)); err != nil {
		t.Fatal(err)
	}
	put(t, store, "d/a.txt", "x")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err := store.Put(context.Background(), "d/a.txt", strings.NewReader("x"), artifacts.UnknownSize)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put without a root = %v, want an error that is not fs.ErrNotExist", err)
	}
}

// symlinkStore has links that lead out of the store and one that does not.
func symlinkStore(t *testing.T) (store *artifacts.Local, outside string) {
	t.Helper()
	dir, outside := t.TempDir(), t.TempDir()
	write(t, "secret", outside, "secret.txt")
	write(t, "inside", dir, "d", "a.txt")
	for link, target := range map[string]string{
		"out": outside, "file": filepath.Join(outside, "secret.txt"), "up": "../" + filepath.Base(outside), "circle": "circle", "in": "d",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return openLocal(t, dir), outside
}

func TestLocal_RefusesSymlinksThatLeaveTheRoot(t *testing.T) {
	store, outside := symlinkStore(t)
	ctx := context.Background()
	for _, path := range []string{"out/secret.txt", "file", "up/secret.txt", "out/new.txt", "out/new/b.txt", "out", "up", "circle", "circle/x"} {
		var pathErr *artifacts.PathError
		if _, err := store.Open(ctx, path); !errors.As(err, &pathErr) {
			t.Errorf("Open(%q) = %v, want a *PathError", path, err)
		}
		if _, err := store.Put(ctx, path, strings.NewReader("overwritten"), artifacts.UnknownSize); !errors.As(err, &pathErr) {
			t.Errorf("Put(%q) = %v, want a *PathError", path, err)
		}
		if _, err := store.List(ctx, path); !errors.As(err, &pathErr) {
			t.Errorf("List(%q) = %v, want a *PathError", path, err)
		}
		if err := store.Delete(ctx, path); !errors.As(err, &pathErr) {
			t.Errorf("Delete(%q) = %v, want a *PathError", path, err)
		}
	}
	if got := names(t, outside); len(got) != 1 {
		t.Errorf("outside = %v, want secret.txt", got)
	}
	if got, err := os.ReadFile(filepath.Join(outside, "secret.txt")); string(got) != "secret" || err != nil {
		t.Errorf("secret = %q, %v", got, err)
	}
	entries, err := store.List(ctx, "")
	if len(entries) != 2 || entries[0].Name != "d" || entries[1].Name != "in" || !entries[1].IsDir || err != nil {
		t.Errorf("List = %v, %v, want d and in", entries, err)
	}
}

func TestLocal_DeleteOfATreeDoesNotFollowItsLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, "secret", outside, "secret.txt")
	write(t, "x", dir, "run", "a.txt")
	if err := os.Symlink(outside, filepath.Join(dir, "run", "out")); err != nil {
		t.Fatal(err)
	}
	if err := openLocal(t, dir).Delete(context.Background(), "run"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, outside); len(got) != 1 {
		t.Errorf("outside = %v, want secret.txt", got)
	}
}

func TestLocal_ListLeavesOutWhatCantBeOpened(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	for _, name := range []string{"a.txt", "a#b", `a\b`, "a%20b", "a?b", "a\nb"} {
		write(t, "x", dir, name)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := store.List(context.Background(), "")
	if len(entries) != 1 || entries[0].Name != "a.txt" || err != nil {
		t.Errorf("List = %v, %v, want a.txt", entries, err)
	}
	if _, err := store.Open(context.Background(), "pipe"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a named pipe = %v, want fs.ErrNotExist", err)
	}
}

func TestLocal_FullDiskIsErrNoSpace(t *testing.T) {
	dir := t.TempDir()
	store := openLocal(t, dir)
	// A body whose error is the one a full disk gives stands in for the disk.
	full := readerFunc(func([]byte) (int, error) { return 0, syscall.ENOSPC })
	if _, err := store.Put(context.Background(), "a.txt", full, artifacts.UnknownSize); !errors.Is(err, artifacts.ErrNoSpace) {
		t.Errorf("Put = %v, want ErrNoSpace", err)
	}
	if got := names(t, dir, staging); len(got) > 0 {
		t.Errorf("left in the upload folder: %v", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestLocal_ASweepTakesNoUploadThatIsAboutToAppear(t *testing.T) {
	dir := t.TempDir()
	store, other := openLocal(t, dir), openLocal(t, dir)
	done := make(chan struct{})
	var sweeps sync.WaitGroup
	sweeps.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := other.SweepUploads(context.Background(), time.Time{}); err != nil {
				t.Errorf("SweepUploads = %v", err)
				return
			}
		}
	})
	for i := range 200 {
		if _, err := store.Put(context.Background(), fmt.Sprintf("new/%d/a.txt", i), strings.NewReader("x"), 1); err != nil {
			t.Errorf("Put %d = %v", i, err)
			break
		}
	}
	close(done)
	sweeps.Wait()
}
