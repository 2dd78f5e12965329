package artifactstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/artifacts"
)

// partBytes is the least that S3 takes as a part, unless it is the last.
const partBytes = 5 << 20

// RunMultiparter runs the suite of a store that implements artifacts.Multiparter. newStore is as Run's.
func RunMultiparter(t *testing.T, newStore func(t *testing.T) artifacts.Store) {
	tests := []struct {
		name string
		test func(*testing.T, multipartStore)
	}{
		{"PartsMakeAFile", partsMakeAFile},
		{"PartsComeAtOnceAndInAnyOrder", partsInAnyOrder},
		{"PartNumbersMayHaveGaps", partNumbersWithGaps},
		{"APartThatIsSentAgainIsReplaced", replacedPart},
		{"APartThatIsNotNamedIsLeftOut", unnamedPart},
		{"PartsThatMakeNoFileAreErrPart", invalidParts},
		{"PartNumbersHaveBounds", partNumberBounds},
		{"UnknownUploadsAreErrNoUpload", unknownUploads},
		{"AnUploadIsGoodForItsPathOnly", uploadOfAnotherPath},
		{"UploadsOfOnePathAreIndependent", uploadsOfOnePath},
		{"SizeIsThatOfTheStoredParts", uploadSize},
		{"NothingIsVisibleBeforeCompletion", invisibleBeforeCompletion},
		{"CompletionReplacesTheOldContent", completionReplaces},
		{"CompletionOutlivesADelete", completionAfterDelete},
		{"CompletionRepeatedGivesTheSameAnswer", completionRepeated},
		{"CompletionsAtOnceHaveTheSameAnswer", completionsAtOnce},
		{"CompletionIsRepeatedAfterItWasCutOff", completionCutOff},
		{"CancelledCompletionLeavesNothingHalf", cancelledCompletion},
		{"CompletionAsksBeforeTheFileIsVisible", completionAsks},
		{"AbortDropsTheUpload", abort},
		{"SweepDropsOldUploadsAndSparesYoung", sweep},
		{"BrokenPartStoresNothing", brokenPart},
		{"ShortPartStoresNothing", shortPart},
		{"PathsOutsideAreRefused", refusedUploadPaths},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, ok := newStore(t).(multipartStore)
			if !ok {
				t.Fatal("the store takes no files in parts")
			}
			tt.test(t, s)
		})
	}
}

type multipartStore interface {
	artifacts.Store
	artifacts.Multiparter
}

func create(t testing.TB, s multipartStore, path string) (id string) {
	t.Helper()
	id, err := s.CreateUpload(context.Background(), path)
	if err != nil {
		t.Fatalf("CreateUpload(%q): %v", path, err)
	}
	return id
}

func putPart(t testing.TB, s multipartStore, path, id string, number int, content string) artifacts.Part {
	t.Helper()
	etag, err := s.PutPart(context.Background(), path, id, number, strings.NewReader(content), int64(len(content)))
	if err != nil {
		t.Errorf("PutPart(%q, %d): %v", path, number, err)
	}
	return artifacts.Part{Number: number, ETag: etag}
}

func complete(t testing.TB, s multipartStore, path, id string, parts ...artifacts.Part) artifacts.Stored {
	t.Helper()
	stored, err := s.CompleteUpload(context.Background(), path, id, parts, nil)
	if err != nil {
		t.Fatalf("CompleteUpload(%q): %v", path, err)
	}
	return stored
}

func wantComplete(t testing.TB, s multipartStore, path, id string, parts []artifacts.Part, want error) {
	t.Helper()
	if _, err := s.CompleteUpload(context.Background(), path, id, parts, nil); !errors.Is(err, want) {
		t.Errorf("CompleteUpload(%q, %v) = %v, want %v", path, parts, err, want)
	}
}

// fullPart is a part that needs not be the last, of one letter.
func fullPart(letter string) string { return strings.Repeat(letter, partBytes) }

// wantBytes is wantContent for what is too long to print.
func wantBytes(t testing.TB, s artifacts.Store, path, want string) {
	t.Helper()
	object := open(t, s, path)
	got, err := io.ReadAll(object)
	if err != nil || object.Size != int64(len(want)) || !bytes.Equal(got, []byte(want)) {
		t.Errorf("%q has %d of %d bytes (%v), want %d certain ones", path, len(got), object.Size, err, len(want))
	}
}

func uploadSize(t *testing.T, s multipartStore) {
	const path = "1/run/artifacts/model.bin"
	id := create(t, s, path)
	want := func(want int64) {
		t.Helper()
		if got, err := s.UploadSize(context.Background(), path, id); got != want || err != nil {
			t.Errorf("UploadSize = %d, %v, want %d", got, err, want)
		}
	}
	want(0)
	putPart(t, s, path, id, 1, fullPart("a"))
	putPart(t, s, path, id, 7, "end")
	want(partBytes + 3)
	putPart(t, s, path, id, 7, "another end")
	want(partBytes + 11)
	if _, err := s.UploadSize(context.Background(), path+"2", id); !errors.Is(err, artifacts.ErrNoUpload) {
		t.Errorf("UploadSize of another path = %v, want ErrNoUpload", err)
	}
	if err := s.AbortUpload(context.Background(), path, id); err != nil {
		t.Error(err)
	}
	if _, err := s.UploadSize(context.Background(), path, id); !errors.Is(err, artifacts.ErrNoUpload) {
		t.Errorf("UploadSize after an abort = %v, want ErrNoUpload", err)
	}
}

func partsMakeAFile(t *testing.T, s multipartStore) {
	const path = "1/run/artifacts/model.bin"
	content := fullPart("a") + fullPart("b") + "end"
	id := create(t, s, path)
	if !regexp.MustCompile(`^[A-Za-z0-9._~-]+$`).MatchString(id) {
		t.Errorf("id %q needs escaping in a URL", id)
	}
	var parts []artifacts.Part
	for i, piece := range []string{content[:partBytes], content[partBytes : 2*partBytes], content[2*partBytes:]} {
		part := putPart(t, s, path, id, i+1, piece)
		if len(part.ETag) < 3 || part.ETag[0] != '"' || part.ETag[len(part.ETag)-1] != '"' {
			t.Errorf("ETag of a part = %s, want a quoted one", part.ETag)
		}
		parts = append(parts, part)
	}
	stored := complete(t, s, path, id, parts...)
	wantBytes(t, s, path, content)
	if etag := open(t, s, path).ETag; stored.Size != int64(len(content)) || stored.ETag != etag {
		t.Errorf("stored = %+v, want size %d, ETag %s", stored, len(content), etag)
	}
	if sum := sha256.Sum256([]byte(content)); stored.SHA256 != "" && stored.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("stored = %+v, want digest %x or none", stored, sum)
	}
	wantList(t, s, "1/run/artifacts", artifacts.Entry{Name: "model.bin", Size: int64(len(content))})
}

func partsInAnyOrder(t *testing.T, s multipartStore) {
	const path, count = "d/model.bin", 12
	content := make([]byte, count*partBytes-7)
	if _, err := io.ReadFull(rand.NewChaCha8([32]byte{2}), content); err != nil {
		t.Fatal(err)
	}
	id := create(t, s, path)
	parts := make([]artifacts.Part, count)
	var wg sync.WaitGroup
	for _, i := range rand.Perm(count) {
		wg.Go(func() {
			parts[i] = putPart(t, s, path, id, i+1, string(content[i*partBytes:min((i+1)*partBytes, len(content))]))
		})
	}
	wg.Wait()
	complete(t, s, path, id, parts...)
	wantBytes(t, s, path, string(content))
}

func partNumbersWithGaps(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	last := putPart(t, s, "a.bin", id, artifacts.MaxParts, "end")
	first := putPart(t, s, "a.bin", id, 2, fullPart("a"))
	complete(t, s, "a.bin", id, first, last)
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
}

func replacedPart(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	old := putPart(t, s, "a.bin", id, 1, "a first and longer try")
	again := putPart(t, s, "a.bin", id, 1, "second")
	wantComplete(t, s, "a.bin", id, []artifacts.Part{old}, artifacts.ErrPart)
	complete(t, s, "a.bin", id, again)
	wantContent(t, s, "a.bin", "second")
}

func unnamedPart(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	first := putPart(t, s, "a.bin", id, 1, fullPart("a"))
	putPart(t, s, "a.bin", id, 2, fullPart("b"))
	last := putPart(t, s, "a.bin", id, 3, "end")
	complete(t, s, "a.bin", id, first, last)
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
}

func invalidParts(t *testing.T, s multipartStore) {
	const path = "d/a.bin"
	put(t, s, path, "old")
	id := create(t, s, path)
	first, last := putPart(t, s, path, id, 1, fullPart("a")), putPart(t, s, path, id, 2, "end")
	for name, parts := range map[string][]artifacts.Part{
		"none":                   {},
		"missing":                {first, last, {Number: 3, ETag: last.ETag}},
		"wrong ETag":             {first, {Number: 2, ETag: first.ETag}},
		"no ETag":                {first, {Number: 2}},
		"malformed ETag":         {first, {Number: 2, ETag: "\"<x>\n../.."}},
		"out of order":           {last, first},
		"twice":                  {first, first, last},
		"number 0":               {{Number: 0, ETag: first.ETag}, last},
		"negative number":        {{Number: -1, ETag: first.ETag}, last},
		"number above the bound": {first, {Number: artifacts.MaxParts + 1, ETag: last.ETag}},
	} {
		t.Run(name, func(t *testing.T) { wantComplete(t, s, path, id, parts, artifacts.ErrPart) })
	}
	wantContent(t, s, path, "old")
	complete(t, s, path, id, first, last) // no refusal has harmed the upload
	wantBytes(t, s, path, fullPart("a")+"end")
}

func partNumberBounds(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	for _, number := range []int{0, -1, artifacts.MaxParts + 1} {
		if _, err := s.PutPart(context.Background(), "a.bin", id, number, strings.NewReader("x"), 1); !errors.Is(err, artifacts.ErrPart) {
			t.Errorf("PutPart of number %d = %v, want ErrPart", number, err)
		}
	}
}

// wantNoUpload checks that an upload's parts can be neither stored nor completed. To abort it is no error.
func wantNoUpload(t testing.TB, s multipartStore, path, id string, parts ...artifacts.Part) {
	t.Helper()
	if len(parts) == 0 {
		parts = []artifacts.Part{{Number: 1, ETag: `"d41d8cd98f00b204e9800998ecf8427e"`}}
	}
	if _, err := s.PutPart(context.Background(), path, id, 1, strings.NewReader("x"), 1); !errors.Is(err, artifacts.ErrNoUpload) {
		t.Errorf("PutPart(%q, %q) = %v, want ErrNoUpload", path, id, err)
	}
	wantComplete(t, s, path, id, parts, artifacts.ErrNoUpload)
	if err := s.AbortUpload(context.Background(), path, id); err != nil {
		t.Errorf("AbortUpload(%q, %q) = %v", path, id, err)
	}
}

func unknownUploads(t *testing.T, s multipartStore) {
	put(t, s, "a.bin", "old")
	id := create(t, s, "a.bin")
	part := putPart(t, s, "a.bin", id, 1, "new")
	for _, unknown := range []string{
		"", "nope", strings.Repeat("0", len(id)), id + "0", id[:len(id)-1], strings.ToUpper(id) + "x", "..", ".", "../" + id, "./" + id, "a/b", `a\b`, "a\x00b",
		"a b&c=d?e#f", "é", strings.Repeat("n", 5000), "00000000-0000-0000-0000-000000000000",
	} {
		wantNoUpload(t, s, "a.bin", unknown, part)
	}
	wantContent(t, s, "a.bin", "old")
	complete(t, s, "a.bin", id, part)
	wantContent(t, s, "a.bin", "new")
}

func uploadOfAnotherPath(t *testing.T, s multipartStore) {
	id := create(t, s, "d/mine.bin")
	part := putPart(t, s, "d/mine.bin", id, 1, "mine")
	for _, path := range []string{"d/other.bin", "mine.bin", "d/mine.bin/below", "d"} {
		wantNoUpload(t, s, path, id, part)
	}
	wantNothing(t, s)
	complete(t, s, "./d//mine.bin", id, part)
	wantContent(t, s, "d/mine.bin", "mine")
}

func uploadsOfOnePath(t *testing.T, s multipartStore) {
	first, second := create(t, s, "a.bin"), create(t, s, "a.bin")
	if first == second {
		t.Fatal("two uploads have one id")
	}
	a, b := putPart(t, s, "a.bin", first, 1, "first"), putPart(t, s, "a.bin", second, 1, "second")
	complete(t, s, "a.bin", second, b)
	wantContent(t, s, "a.bin", "second")
	complete(t, s, "a.bin", first, a)
	wantContent(t, s, "a.bin", "first")
}

func invisibleBeforeCompletion(t *testing.T, s multipartStore) {
	id := create(t, s, "d/e/a.bin")
	wantNothing(t, s)
	part := putPart(t, s, "d/e/a.bin", id, 1, "x")
	wantNothing(t, s)
	wantMissing(t, s, "d/e/a.bin")
	if err := s.AbortUpload(context.Background(), "d/e/a.bin", id); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, s)
	wantNoUpload(t, s, "d/e/a.bin", id, part)
}

func completionReplaces(t *testing.T, s multipartStore) {
	old := strings.Repeat("a", 1<<20)
	put(t, s, "a.bin", old)
	id := create(t, s, "a.bin")
	part := putPart(t, s, "a.bin", id, 1, "new")
	object := open(t, s, "a.bin")
	head := make([]byte, 10)
	if _, err := io.ReadFull(object, head); err != nil {
		t.Fatal(err)
	}
	complete(t, s, "a.bin", id, part)
	if rest, err := io.ReadAll(object); err == nil && string(head)+string(rest) != old {
		t.Error("an open object changed its content")
	}
	wantContent(t, s, "a.bin", "new")
	put(t, s, "a.bin", "newer")
	wantContent(t, s, "a.bin", "newer")
}

func completionAfterDelete(t *testing.T, s multipartStore) {
	put(t, s, "run/d/a.bin", "old")
	id := create(t, s, "run/d/a.bin")
	part := putPart(t, s, "run/d/a.bin", id, 1, "new")
	if err := s.Delete(context.Background(), "run"); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, s)
	complete(t, s, "run/d/a.bin", id, part)
	wantContent(t, s, "run/d/a.bin", "new")
}

func completionRepeated(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	parts := []artifacts.Part{putPart(t, s, "a.bin", id, 1, fullPart("a")), putPart(t, s, "a.bin", id, 2, "end")}
	want := complete(t, s, "a.bin", id, parts...)
	if got := complete(t, s, "a.bin", id, parts...); got != want {
		t.Errorf("completed again = %+v, want %+v", got, want)
	}
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
	wantComplete(t, s, "a.bin", id, parts[:1], artifacts.ErrNoUpload)
	wantComplete(t, s, "b.bin", id, parts, artifacts.ErrNoUpload)
	if err := s.AbortUpload(context.Background(), "a.bin", id); err != nil {
		t.Errorf("AbortUpload after completion: %v", err)
	}
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
}

func completionsAtOnce(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	parts := []artifacts.Part{putPart(t, s, "a.bin", id, 1, fullPart("a")), putPart(t, s, "a.bin", id, 2, "end")}
	stored, errs := make([]artifacts.Stored, 4), make([]error, 4)
	var wg sync.WaitGroup
	for i := range stored {
		wg.Go(func() { stored[i], errs[i] = s.CompleteUpload(context.Background(), "a.bin", id, parts, nil) })
	}
	wg.Wait()
	want := complete(t, s, "a.bin", id, parts...)
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
	for i, got := range stored {
		if got != want || errs[i] != nil {
			t.Errorf("completed at once: %+v, %v, want %+v", got, errs[i], want)
		}
	}
}

// completionCutOff is what a server sees whose client is gone and asks again.
func completionCutOff(t *testing.T, s multipartStore) {
	put(t, s, "a.bin", "old")
	id := create(t, s, "a.bin")
	parts := []artifacts.Part{putPart(t, s, "a.bin", id, 1, fullPart("a")), putPart(t, s, "a.bin", id, 2, "end")}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.CompleteUpload(ctx, "a.bin", id, parts, func() error {
		time.AfterFunc(time.Millisecond, cancel) // wherever that is
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("CompleteUpload = %v, want context.Canceled or the file", err)
	}
	complete(t, s, "a.bin", id, parts...)
	wantBytes(t, s, "a.bin", fullPart("a")+"end")
}

func cancelledCompletion(t *testing.T, s multipartStore) {
	id := create(t, s, "d/a.bin")
	part := putPart(t, s, "d/a.bin", id, 1, "x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.CompleteUpload(ctx, "d/a.bin", id, []artifacts.Part{part}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("CompleteUpload = %v, want context.Canceled", err)
	}
	wantNothing(t, s)
	complete(t, s, "d/a.bin", id, part)
	wantContent(t, s, "d/a.bin", "x")
}

func completionAsks(t *testing.T, s multipartStore) {
	put(t, s, "a.bin", "old")
	id := create(t, s, "a.bin")
	part := putPart(t, s, "a.bin", id, 1, "new")
	_, err := s.CompleteUpload(context.Background(), "a.bin", id, []artifacts.Part{part}, func() error {
		wantContent(t, s, "a.bin", "old")
		return errBroken
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("CompleteUpload that is refused = %v, want the refusal", err)
	}
	wantContent(t, s, "a.bin", "old")
	complete(t, s, "a.bin", id, part)
	wantContent(t, s, "a.bin", "new")
}

func abort(t *testing.T, s multipartStore) {
	put(t, s, "a.bin", "old")
	id := create(t, s, "a.bin")
	part := putPart(t, s, "a.bin", id, 1, "new")
	if err := s.AbortUpload(context.Background(), "a.bin", id); err != nil {
		t.Fatal(err)
	}
	wantNoUpload(t, s, "a.bin", id, part)
	wantContent(t, s, "a.bin", "old")
}

func sweep(t *testing.T, s multipartStore) {
	sweep := func(before time.Time, want int) {
		t.Helper()
		if dropped, err := s.SweepUploads(context.Background(), before); err != nil || dropped != want {
			t.Errorf("SweepUploads = %d, %v, want %d", dropped, err, want)
		}
	}
	first, second, done := create(t, s, "d/a.bin"), create(t, s, "b.bin"), create(t, s, "c.bin")
	a, b := putPart(t, s, "d/a.bin", first, 1, "a"), putPart(t, s, "b.bin", second, 1, "b")
	complete(t, s, "c.bin", done, putPart(t, s, "c.bin", done, 1, "c"))
	sweep(time.Now().Add(-time.Hour), 0)
	complete(t, s, "d/a.bin", first, a)
	sweep(time.Now().Add(time.Hour), 1)
	wantNoUpload(t, s, "b.bin", second, b)
	sweep(time.Now().Add(time.Hour), 0)
	wantContent(t, s, "d/a.bin", "a")
	wantContent(t, s, "c.bin", "c")
	wantMissing(t, s, "b.bin")
}

func brokenPart(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	for _, after := range []int{0, 1, 100_000, 3 << 20} {
		body := io.MultiReader(bytes.NewReader(make([]byte, after)), brokenReader{})
		if _, err := s.PutPart(context.Background(), "a.bin", id, 1, body, partBytes); !errors.Is(err, errBroken) {
			t.Errorf("PutPart of a body that breaks after %d bytes = %v, want its error", after, err)
		}
	}
	wantComplete(t, s, "a.bin", id, []artifacts.Part{{Number: 1, ETag: `"d41d8cd98f00b204e9800998ecf8427e"`}}, artifacts.ErrPart)
	part := putPart(t, s, "a.bin", id, 1, "good")
	if _, err := s.PutPart(context.Background(), "a.bin", id, 1, brokenReader{}, partBytes); !errors.Is(err, errBroken) {
		t.Errorf("PutPart over a good part = %v, want the error of the body", err)
	}
	complete(t, s, "a.bin", id, part)
	wantContent(t, s, "a.bin", "good")
}

func shortPart(t *testing.T, s multipartStore) {
	id := create(t, s, "a.bin")
	part := putPart(t, s, "a.bin", id, 1, "good")
	for _, size := range []int64{6, 1 << 20, partBytes} {
		if etag, err := s.PutPart(context.Background(), "a.bin", id, 1, strings.NewReader("short"), size); err == nil {
			t.Errorf("PutPart of 5 bytes in place of %d = %s, want an error", size, etag)
		}
	}
	complete(t, s, "a.bin", id, part)
	wantContent(t, s, "a.bin", "good")
}

func refusedUploadPaths(t *testing.T, s multipartStore) {
	ctx := context.Background()
	id := create(t, s, "d/a.bin")
	for _, path := range []string{
		"", ".", "d/", "../x", "a/../../x", "/etc/passwd", `..\x`, "a\x00b", "a\nb", "%2e%2e/x", "a#b", "a?b", "C:/x", "a/\xff", strings.Repeat("n", 256),
		strings.Repeat("d/", 2048) + "x", ".greenroom-uploads/x",
	} {
		_, err := s.CreateUpload(ctx, path)
		wantPathError(t, "CreateUpload", err)
		body := &countingReader{Reader: strings.NewReader("x")}
		_, err = s.PutPart(ctx, path, id, 1, body, 1)
		wantPathError(t, "PutPart", err)
		if body.reads > 0 {
			t.Errorf("PutPart(%q) read the body before it refused the path", path)
		}
		_, err = s.CompleteUpload(ctx, path, id, []artifacts.Part{{Number: 1, ETag: `"x"`}}, nil)
		wantPathError(t, "CompleteUpload", err)
		wantPathError(t, "AbortUpload", s.AbortUpload(ctx, path, id))
	}
	wantNothing(t, s)
}
