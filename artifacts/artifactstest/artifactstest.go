// Package artifactstest checks that an artifacts.Store keeps its contract. Every
// store runs the same suite.
package artifactstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
)

// Run runs the suite. newStore returns an empty store and cleans up after itself.
func Run(t *testing.T, newStore func(t *testing.T) artifacts.Store) {
	tests := []struct {
		name string
		test func(*testing.T, artifacts.Store)
	}{
		{"PutThenOpenReturnsTheBytes", putThenOpen},
		{"PutTellsWhatItStored", putTells},
		{"EmptyFileIsAFile", emptyFile},
		{"PutReplacesTheOldContent", overwrite},
		{"AnOpenObjectNeverMixesTwoContents", openDuringOverwrite},
		{"ETagChangesWithEachPut", etagChanges},
		{"ObjectSeeksAndServesRanges", ranges},
		{"NamesKeepTheirBytes", names},
		{"SpellingsOfOnePathAreOneArtifact", spellings},
		{"ListIsSortedDirectAndSized", list},
		{"ListOfNothing", listMissing},
		{"WalkVisitsEveryFile", walk},
		{"MissingIsNotExist", missing},
		{"OpenOfAFolderIsErrIsDir", openFolder},
		{"DeleteRemovesAFile", deleteFile},
		{"DeleteRemovesATreeAndNothingElse", deleteTree},
		{"DeleteOfMissingIsNoError", deleteMissing},
		{"RootIsNeverDeleted", deleteRoot},
		{"PathsOutsideAreRefused", refusedPaths},
		{"FailedBodyLeavesNothing", failedBody},
		{"FailedBodyKeepsTheOldContent", failedOverwrite},
		{"CancelledPutLeavesNothing", cancelledPut},
		{"BigStreamPassesInPieces", bigStream},
		{"ConcurrentPutsOfOnePathEndWithOneOfThem", concurrentPuts},
		{"ConcurrentPutsAndDeletesNeverFail", concurrentDeletes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

func put(t testing.TB, s artifacts.Store, path, content string) artifacts.Stored {
	t.Helper()
	stored, err := s.Put(context.Background(), path, strings.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatalf("Put(%q): %v", path, err)
	}
	return stored
}

func open(t testing.TB, s artifacts.Store, path string) *artifacts.Object {
	t.Helper()
	object, err := s.Open(context.Background(), path)
	if err != nil {
		t.Fatalf("Open(%q): %v", path, err)
	}
	t.Cleanup(func() { object.Close() })
	return object
}

func wantContent(t testing.TB, s artifacts.Store, path, want string) {
	t.Helper()
	object := open(t, s, path)
	got, err := io.ReadAll(object)
	if err != nil {
		t.Fatalf("read %q: %v", path, err)
	}
	if string(got) != want {
		t.Errorf("content of %q = %q, want %q", path, got, want)
	}
	if object.Size != int64(len(want)) {
		t.Errorf("size of %q = %d, want %d", path, object.Size, len(want))
	}
}

func wantMissing(t testing.TB, s artifacts.Store, path string) {
	t.Helper()
	object, err := s.Open(context.Background(), path)
	if err == nil {
		object.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(%q) = %v, want fs.ErrNotExist", path, err)
	}
}

func wantList(t testing.TB, s artifacts.Store, path string, want ...artifacts.Entry) {
	t.Helper()
	got, err := s.List(context.Background(), path)
	if err != nil {
		t.Fatalf("List(%q): %v", path, err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List(%q) (-want +got):\n%s", path, diff)
	}
}

// wantNothing checks that neither a file nor a trace of one is left at the root.
func wantNothing(t testing.TB, s artifacts.Store) {
	t.Helper()
	wantList(t, s, "")
}

func wantPathError(t testing.TB, what string, err error) {
	t.Helper()
	var pathErr *artifacts.PathError
	if !errors.As(err, &pathErr) {
		t.Errorf("%s = %v, want a *PathError", what, err)
	}
}

func putThenOpen(t *testing.T, s artifacts.Store) {
	put(t, s, "1/run/artifacts/model/MLmodel", "flavors: {}\n")
	wantContent(t, s, "1/run/artifacts/model/MLmodel", "flavors: {}\n")
	object := open(t, s, "1/run/artifacts/model/MLmodel")
	if object.ModTime.IsZero() {
		t.Error("ModTime is zero")
	}
	if len(object.ETag) < 3 || object.ETag[0] != '"' || object.ETag[len(object.ETag)-1] != '"' {
		t.Errorf("ETag = %s, want a quoted strong tag", object.ETag)
	}
}

func putTells(t *testing.T, s artifacts.Store) {
	for _, content := range []string{"", "flavors: {}\n", strings.Repeat("0123456789", 1<<20)} {
		for _, size := range []int64{int64(len(content)), artifacts.UnknownSize} {
			got, err := s.Put(context.Background(), "d/a.txt", strings.NewReader(content), size)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(content))
			want := artifacts.Stored{Size: int64(len(content)), ETag: open(t, s, "d/a.txt").ETag, SHA256: hex.EncodeToString(sum[:])}
			if got != want {
				t.Errorf("Put of %d bytes = %+v, want %+v", len(content), got, want)
			}
		}
	}
}

func emptyFile(t *testing.T, s artifacts.Store) {
	put(t, s, "d/empty", "")
	wantContent(t, s, "d/empty", "")
	wantList(t, s, "d", artifacts.Entry{Name: "empty"})
}

func overwrite(t *testing.T, s artifacts.Store) {
	put(t, s, "a.txt", "a long first content")
	put(t, s, "a.txt", "short")
	wantContent(t, s, "a.txt", "short")
}

func openDuringOverwrite(t *testing.T, s artifacts.Store) {
	before, after := strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<20)
	put(t, s, "a.txt", before)
	object := open(t, s, "a.txt")
	head := make([]byte, 10)
	if _, err := io.ReadFull(object, head); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a.txt", after)
	rest, err := io.ReadAll(object)
	if err == nil && string(head)+string(rest) != before {
		t.Error("an open object changed its content")
	}
	wantContent(t, s, "a.txt", after)
}

func etagChanges(t *testing.T, s artifacts.Store) {
	seen := map[string]bool{}
	for i := range 20 {
		put(t, s, "a.txt", fmt.Sprintf("%02d", i))
		seen[open(t, s, "a.txt").ETag] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 contents have %d ETags", len(seen))
	}
	if first, second := open(t, s, "a.txt").ETag, open(t, s, "a.txt").ETag; first != second {
		t.Error("ETag differs between two opens of one content")
	}
}

func ranges(t *testing.T, s artifacts.Store) {
	content := strings.Repeat("0123456789", 100_000)
	put(t, s, "d/numbers", content)
	object := open(t, s, "d/numbers")
	for _, at := range []int64{999_995, 0, 500_003, 999_999} {
		if pos, err := object.Seek(at, io.SeekStart); pos != at || err != nil {
			t.Fatalf("Seek(%d) = %d, %v", at, pos, err)
		}
		want := content[at:min(at+5, int64(len(content)))]
		got := make([]byte, len(want))
		if _, err := io.ReadFull(object, got); err != nil || string(got) != want {
			t.Errorf("read at %d = %q, %v, want %q", at, got, err, want)
		}
	}
	if pos, err := object.Seek(-3, io.SeekEnd); pos != 999_997 || err != nil {
		t.Errorf("Seek from the end = %d, %v", pos, err)
	}
	if got, err := io.ReadAll(object); string(got) != "789" || err != nil {
		t.Errorf("tail = %q, %v", got, err)
	}

	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Range", "bytes=10-13,500001-500002")
	answer := httptest.NewRecorder()
	http.ServeContent(answer, request, "numbers", object.ModTime, object)
	if answer.Code != http.StatusPartialContent || !strings.Contains(answer.Body.String(), "0123") ||
		!strings.Contains(answer.Body.String(), "12\r\n") {
		t.Errorf("http.ServeContent of two ranges = %d %q", answer.Code, answer.Body)
	}
}

func names(t *testing.T, s artifacts.Store) {
	for _, name := range []string{
		"ünï/日本語.txt", "with space/and  two", " leading and trailing ", "a+b&c=d;e,f@g!h", "100%.txt", "a%b.txt", "50% off%",
		"q'uo\"te", "star*", "<angle>|pipe", "~home", "$HOME", "-rf", "colon:12:30", ".hidden", "...", "e\u0301", "é", "🎸",
		strings.Repeat("n", 255), "CASE", "case", "CON", "nul.txt",
	} {
		put(t, s, "names/"+name, name)
	}
	for _, name := range []string{"ünï/日本語.txt", " leading and trailing ", "100%.txt", "a%b.txt", "e\u0301", "é", "CASE", "case", "-rf"} {
		wantContent(t, s, "names/"+name, name)
	}
	wantList(t, s, "names/ünï", artifacts.Entry{Name: "日本語.txt", Size: int64(len("ünï/日本語.txt"))})
}

func spellings(t *testing.T, s artifacts.Store) {
	put(t, s, "./d//e/./f.txt", "x")
	wantContent(t, s, "d/e/f.txt", "x")
	wantList(t, s, "d/e/", artifacts.Entry{Name: "f.txt", Size: 1})
	if err := s.Delete(context.Background(), "./d/e//"); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, "d/e/f.txt")
}

func list(t *testing.T, s artifacts.Store) {
	for _, name := range []string{"b.txt", "a/deep/er.txt", "a.txt", "B.txt", "é.txt", "a0", "empty", "c/x", "c/y"} {
		content := name
		if name == "empty" {
			content = ""
		}
		put(t, s, "run/"+name, content)
	}
	put(t, s, "running", "a neighbour")
	wantList(t, s, "run",
		artifacts.Entry{Name: "B.txt", Size: 5},
		artifacts.Entry{Name: "a", IsDir: true},
		artifacts.Entry{Name: "a.txt", Size: 5},
		artifacts.Entry{Name: "a0", Size: 2},
		artifacts.Entry{Name: "b.txt", Size: 5},
		artifacts.Entry{Name: "c", IsDir: true},
		artifacts.Entry{Name: "empty"},
		artifacts.Entry{Name: "é.txt", Size: 6},
	)
	wantList(t, s, "", artifacts.Entry{Name: "run", IsDir: true}, artifacts.Entry{Name: "running", Size: 11})
	wantList(t, s, ".", artifacts.Entry{Name: "run", IsDir: true}, artifacts.Entry{Name: "running", Size: 11})
}

func listMissing(t *testing.T, s artifacts.Store) {
	wantNothing(t, s)
	put(t, s, "d/a.txt", "x")
	for path, want := range map[string]error{
		"nope": fs.ErrNotExist, "d/nope": fs.ErrNotExist, "d/a": fs.ErrNotExist, "d/a.txt/x": fs.ErrNotExist, "d/a.txt": artifacts.ErrNotDir,
	} {
		if got, err := s.List(context.Background(), path); !errors.Is(err, want) {
			t.Errorf("List(%q) = %v, %v, want %v", path, got, err, want)
		}
	}
}

func walk(t *testing.T, s artifacts.Store) {
	for _, name := range []string{"run/b.txt", "run/a/deep/er.txt", "run/a.txt", "run/a/x", "running", "run/empty"} {
		content := name
		if name == "run/empty" {
			content = ""
		}
		put(t, s, name, content)
	}
	type file struct {
		Path string
		Size int64
	}
	tests := map[string][]file{
		"run":       {{"run/a/deep/er.txt", 17}, {"run/a/x", 7}, {"run/a.txt", 9}, {"run/b.txt", 9}, {"run/empty", 0}},
		"./run//a/": {{"run/a/deep/er.txt", 17}, {"run/a/x", 7}}, "run/a.txt": {{"run/a.txt", 9}}, "nope": nil, "run/a.txt/below": nil,
	}
	tests[""] = append(slices.Clone(tests["run"]), file{"running", 7})
	for path, want := range tests {
		var got []file
		err := artifacts.Walk(context.Background(), s, path, func(path string, size int64) error {
			got = append(got, file{path, size})
			return nil
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Walk(%q) = %v (-want +got):\n%s", path, err, diff)
		}
	}
	visits := 0
	err := artifacts.Walk(context.Background(), s, "", func(string, int64) error { visits++; return errBroken })
	if !errors.Is(err, errBroken) || visits != 1 {
		t.Errorf("Walk whose visit fails = %v after %d visits, want its error after one", err, visits)
	}
	wantPathError(t, "Walk", artifacts.Walk(context.Background(), s, "../x", nil))
}

func missing(t *testing.T, s artifacts.Store) {
	put(t, s, "d/a.txt", "x")
	for _, path := range []string{"nope", "d/a", "d/a.txt2", "d/a.txt/x", "x/y/z"} {
		wantMissing(t, s, path)
	}
}

func openFolder(t *testing.T, s artifacts.Store) {
	put(t, s, "d/e/a.txt", "x")
	for _, path := range []string{"", ".", "d", "d/", "d/e"} {
		if _, err := s.Open(context.Background(), path); !errors.Is(err, artifacts.ErrIsDir) {
			t.Errorf("Open(%q) = %v, want ErrIsDir", path, err)
		}
	}
}

func deleteFile(t *testing.T, s artifacts.Store) {
	put(t, s, "d/a.txt", "x")
	put(t, s, "d/a.txt2", "y")
	if err := s.Delete(context.Background(), "d/a.txt"); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, "d/a.txt")
	wantContent(t, s, "d/a.txt2", "y")
	put(t, s, "d/a.txt", "again")
	wantContent(t, s, "d/a.txt", "again")
}

func deleteTree(t *testing.T, s artifacts.Store) {
	for i := range 30 {
		put(t, s, fmt.Sprintf("run/d%d/e/f%d", i%3, i), "x")
	}
	put(t, s, "run2/a.txt", "stays")
	put(t, s, "ru", "stays")
	if err := s.Delete(context.Background(), "run"); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, "run/d0/e/f0")
	wantList(t, s, "", artifacts.Entry{Name: "ru", Size: 5}, artifacts.Entry{Name: "run2", IsDir: true})
	put(t, s, "run/d0/e/f0", "again")
	wantList(t, s, "run/d0/e", artifacts.Entry{Name: "f0", Size: 5})
}

func deleteMissing(t *testing.T, s artifacts.Store) {
	put(t, s, "d/a.txt", "x")
	for _, path := range []string{"nope", "d/nope", "d/a.txt/below", "x/y"} {
		if err := s.Delete(context.Background(), path); err != nil {
			t.Errorf("Delete(%q): %v", path, err)
		}
	}
	wantContent(t, s, "d/a.txt", "x")
}

func deleteRoot(t *testing.T, s artifacts.Store) {
	put(t, s, "d/a.txt", "x")
	for _, path := range []string{"", ".", "./", "./.", "/", "//", "/.", "..", "d/..", "./d/.."} {
		wantPathError(t, fmt.Sprintf("Delete(%q)", path), s.Delete(context.Background(), path))
	}
	wantContent(t, s, "d/a.txt", "x")
}

func refusedPaths(t *testing.T, s artifacts.Store) {
	ctx := context.Background()
	for _, path := range []string{
		"../x", "a/../../x", "a/..", "/etc/passwd", "//etc/passwd", `..\x`, `a\b`, "a\x00b", "a\nb", "%2e%2e/x", "..%2fx", "%252e", "a#b", "a?b",
		"C:/x", "file:///etc/passwd", "a/\xff", strings.Repeat("n", 256), strings.Repeat("d/", 2048) + "x", ".greenroom-uploads/x",
		"d/.greenroom-upload-1",
	} {
		body := &countingReader{Reader: strings.NewReader("x")}
		_, err := s.Put(ctx, path, body, artifacts.UnknownSize)
		wantPathError(t, fmt.Sprintf("Put(%q)", path), err)
		if body.reads > 0 {
			t.Errorf("Put(%q) read the body before it refused the path", path)
		}
		_, err = s.Open(ctx, path)
		wantPathError(t, fmt.Sprintf("Open(%q)", path), err)
		_, err = s.List(ctx, path)
		wantPathError(t, fmt.Sprintf("List(%q)", path), err)
		wantPathError(t, fmt.Sprintf("Delete(%q)", path), s.Delete(ctx, path))
	}
	for _, path := range []string{"", ".", "./", "d/", "d/.", "a.txt//"} {
		_, err := s.Put(ctx, path, strings.NewReader("x"), artifacts.UnknownSize)
		wantPathError(t, fmt.Sprintf("Put(%q)", path), err)
	}
	wantNothing(t, s)
}

var errBroken = errors.New("connection lost")

func failedBody(t *testing.T, s artifacts.Store) {
	for _, after := range []int{0, 1, 100_000, 3 << 20} {
		body := io.MultiReader(bytes.NewReader(make([]byte, after)), brokenReader{})
		if _, err := s.Put(context.Background(), "d/e/a.bin", body, artifacts.UnknownSize); !errors.Is(err, errBroken) {
			t.Errorf("Put of a body that breaks after %d bytes = %v, want its error", after, err)
		}
		wantMissing(t, s, "d/e/a.bin")
		if entries, err := s.List(context.Background(), "d/e"); len(entries) > 0 {
			t.Errorf("List after a failed Put = %v, %v", entries, err)
		}
	}
}

func failedOverwrite(t *testing.T, s artifacts.Store) {
	put(t, s, "d/a.bin", "old")
	etag := open(t, s, "d/a.bin").ETag
	body := io.MultiReader(strings.NewReader("new"), brokenReader{})
	if _, err := s.Put(context.Background(), "d/a.bin", body, artifacts.UnknownSize); !errors.Is(err, errBroken) {
		t.Errorf("Put = %v, want the error of the body", err)
	}
	wantContent(t, s, "d/a.bin", "old")
	if got := open(t, s, "d/a.bin").ETag; got != etag {
		t.Errorf("ETag changed from %s to %s by a failed Put", etag, got)
	}
}

func cancelledPut(t *testing.T, s artifacts.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	body := io.MultiReader(strings.NewReader("some"), readerFunc(func(p []byte) (int, error) {
		cancel()
		return copy(p, "more"), io.EOF
	}))
	if _, err := s.Put(ctx, "d/a.bin", body, artifacts.UnknownSize); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	wantMissing(t, s, "d/a.bin")
}

const (
	bigBytes      = 48 << 20
	maxPieceBytes = 8 << 20
)

func bigStream(t *testing.T, s artifacts.Store) {
	body := &countingReader{Reader: io.LimitReader(rand.NewChaCha8([32]byte{1}), bigBytes), sum: sha256.New()}
	if _, err := s.Put(context.Background(), "big/model.bin", body, artifacts.UnknownSize); err != nil {
		t.Fatal(err)
	}
	if body.largest > maxPieceBytes {
		t.Errorf("Put asked for %d bytes at once, want at most %d", body.largest, maxPieceBytes)
	}
	object := open(t, s, "big/model.bin")
	if object.Size != bigBytes {
		t.Fatalf("Size = %d, want %d", object.Size, int64(bigBytes))
	}
	got := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{object}, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Sum(nil), body.sum.Sum(nil)) {
		t.Error("a big file came back changed")
	}
}

func concurrentPuts(t *testing.T, s artifacts.Store) {
	const writers, rounds = 8, 5
	contents := map[string]bool{}
	for i := range writers {
		contents[strings.Repeat(string(rune('a'+i)), 10_000+i)] = true
	}
	for range rounds {
		var wg sync.WaitGroup
		for content := range contents {
			wg.Go(func() {
				if _, err := s.Put(context.Background(), "d/e/f/same", strings.NewReader(content), artifacts.UnknownSize); err != nil {
					t.Errorf("Put: %v", err)
				}
			})
		}
		wg.Wait()
		got, err := io.ReadAll(open(t, s, "d/e/f/same"))
		if err != nil || !contents[string(got)] {
			t.Fatalf("content is none of those put (%d bytes, %v)", len(got), err)
		}
		if err := s.Delete(context.Background(), "d"); err != nil {
			t.Fatal(err)
		}
	}
}

func concurrentDeletes(t *testing.T, s artifacts.Store) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 25 {
				if _, err := s.Put(context.Background(), fmt.Sprintf("d/e/%d", i), strings.NewReader("x"), artifacts.UnknownSize); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				if err := s.Delete(context.Background(), "d"); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	put(t, s, "d/e/last", "x")
	wantContent(t, s, "d/e/last", "x")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// countingReader records how it is read.
type countingReader struct {
	io.Reader
	sum     hash.Hash // of all bytes, if not nil
	reads   int
	largest int // bytes asked for at once
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.reads++
	c.largest = max(c.largest, len(p))
	n, err := c.Reader.Read(p)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	return n, err
}
