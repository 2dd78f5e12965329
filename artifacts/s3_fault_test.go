package artifacts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
)

// hung is far above every bound that a call to S3 has: who takes so long hangs.
const hung = 5 * time.Minute

// impatient has a server's bounds where S3 falls silent.
var impatient = artifacts.S3Bounds{Call: patient.Call}

// faultyS3 is a store behind a proxy, and another one that looks past it at the same bucket.
type faultyS3 struct {
	*artifacts.S3
	proxy  *artifactstest.FaultProxy
	direct *artifacts.S3
	id     string // of an upload of d/parts.bin
	part   artifacts.Part
}

const oldContent = "old"

// newFaultyS3 has a file d/old.bin and a begun upload, and no faults yet.
func newFaultyS3(t testing.TB, server *artifactstest.S3Server, bounds artifacts.S3Bounds) *faultyS3 {
	t.Helper()
	proxy := artifactstest.NewFaultProxy(t, server)
	direct := openS3(t, server, artifacts.S3Options{Bounds: patient})
	f := &faultyS3{proxy: proxy, direct: direct, S3: openS3(t, server, artifacts.S3Options{URI: direct.URI(), Endpoint: proxy.Endpoint, Bounds: bounds})}
	put(t, direct, "d/old.bin", oldContent)
	f.begin(t)
	return f
}

func (f *faultyS3) begin(t testing.TB) {
	t.Helper()
	var err error
	if f.id, err = f.direct.CreateUpload(t.Context(), "d/parts.bin"); err != nil {
		t.Fatal(err)
	}
	etag, err := f.direct.PutPart(t.Context(), "d/parts.bin", f.id, 1, strings.NewReader("part"), 4)
	if err != nil {
		t.Fatal(err)
	}
	f.part = artifacts.Part{Number: 1, ETag: etag}
}

const (
	onePut    = 1 << 20 // bytes that go up with one call
	manyParts = 9 << 20 // bytes that go up in parts
)

// putNew stores d/new.bin.
func (f *faultyS3) putNew(ctx context.Context, size int64) error {
	_, err := f.Put(ctx, "d/new.bin", io.LimitReader(rand.NewChaCha8([32]byte{3}), size), size)
	return err
}

func (f *faultyS3) read(ctx context.Context, path string) ([]byte, error) {
	object, err := f.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	return io.ReadAll(object)
}

type s3Call struct {
	operation artifactstest.Operation
	name      string
	call      func(ctx context.Context, f *faultyS3) error
}

// s3Calls are all that a store asks of S3, each with a call that needs it.
var s3Calls = []s3Call{
	{artifactstest.HeadObject, "Open", func(ctx context.Context, f *faultyS3) error { _, err := f.Open(ctx, "d/old.bin"); return err }},
	{artifactstest.GetObject, "Read", func(ctx context.Context, f *faultyS3) error { _, err := f.read(ctx, "d/old.bin"); return err }},
	{artifactstest.ListObjects, "List", func(ctx context.Context, f *faultyS3) error { _, err := f.List(ctx, "d"); return err }},
	{artifactstest.DeleteObjects, "Delete", func(ctx context.Context, f *faultyS3) error { return f.Delete(ctx, "d") }},
	{artifactstest.PutObject, "Put", func(ctx context.Context, f *faultyS3) error { return f.putNew(ctx, onePut) }},
	{artifactstest.CreateMultipart, "Put of a big file, at its start", func(ctx context.Context, f *faultyS3) error { return f.putNew(ctx, manyParts) }},
	{artifactstest.UploadPart, "Put of a big file", func(ctx context.Context, f *faultyS3) error { return f.putNew(ctx, manyParts) }},
	{artifactstest.CompleteUpload, "Put of a big file, at its end", func(ctx context.Context, f *faultyS3) error { return f.putNew(ctx, manyParts) }},
	{artifactstest.CreateMultipart, "CreateUpload", func(ctx context.Context, f *faultyS3) error {
		_, err := f.CreateUpload(ctx, "d/new.bin")
		return err
	}},
	{artifactstest.UploadPart, "PutPart", func(ctx context.Context, f *faultyS3) error {
		_, err := f.PutPart(ctx, "d/parts.bin", f.id, 2, io.LimitReader(rand.NewChaCha8([32]byte{4}), onePut), onePut)
		return err
	}},
	{artifactstest.CompleteUpload, "CompleteUpload", func(ctx context.Context, f *faultyS3) error {
		_, err := f.CompleteUpload(ctx, "d/parts.bin", f.id, []artifacts.Part{f.part}, nil)
		return err
	}},
	{artifactstest.AbortUpload, "AbortUpload", func(ctx context.Context, f *faultyS3) error { return f.AbortUpload(ctx, "d/parts.bin", f.id) }},
	{artifactstest.ListUploads, "SweepUploads", func(ctx context.Context, f *faultyS3) error {
		_, err := f.SweepUploads(ctx, time.Now().Add(-time.Hour))
		return err
	}},
}

// wantUntouched checks that others see what they saw before.
func (f *faultyS3) wantUntouched(t testing.TB, what string) {
	entries, err := f.direct.List(context.Background(), "d")
	if err != nil || len(entries) != 1 || entries[0] != (artifacts.Entry{Name: "old.bin", Size: int64(len(oldContent))}) {
		t.Errorf("%s: the store shows %v, %v", what, entries, err)
	}
}

func TestS3_FaultsEndInTimeWithTheirKindOfError(t *testing.T) {
	server := artifactstest.SharedS3(t)
	for _, tt := range []struct {
		name    string
		faults  []artifactstest.Fault
		refused bool
		bounds  artifacts.S3Bounds
	}{
		{"S3 fails", []artifactstest.Fault{artifactstest.InternalFailure, artifactstest.SlowDown}, false, patient},
		{"S3 refuses", []artifactstest.Fault{artifactstest.AccessDenied, artifactstest.ForeignKey, artifactstest.NoBucket}, true, patient},
		{"connections break", []artifactstest.Fault{artifactstest.CutUpload(0), artifactstest.CutUpload(100_000), artifactstest.CutDownload(0)}, false, patient},
		{"S3 hangs", []artifactstest.Fault{artifactstest.Hang, artifactstest.HangUpload(100_000), artifactstest.HangDownload(1), artifactstest.Trickle}, false, artifacts.S3Bounds{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachS3Call(t, server, tt.bounds, tt.faults, func(f *faultyS3, c s3Call, fault artifactstest.Fault) {
				f.proxy.Break(c.operation, fault)
				ctx, cancel := context.WithTimeout(context.Background(), hung)
				defer cancel()
				err := c.call(ctx, f)
				var away *artifacts.UnavailableError
				if !errors.As(err, &away) || away.Refused != tt.refused || ctx.Err() != nil {
					t.Errorf("%s, %s = %v, want *UnavailableError with Refused %v", fault, c.name, err, tt.refused)
				}
				f.wantUntouched(t, fault.String()+", "+c.name)
			})
		})
	}
}

// eachS3Call tests each call with each of the faults that can strike it, all at once, as many of them wait.
func eachS3Call(t *testing.T, server *artifactstest.S3Server, bounds artifacts.S3Bounds, faults []artifactstest.Fault, test func(*faultyS3, s3Call, artifactstest.Fault)) {
	t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, fault := range faults {
		for _, c := range s3Calls {
			if strikes(fault, c.operation) {
				f := newFaultyS3(t, server, bounds)
				wg.Go(func() { test(f, c, fault) })
			}
		}
	}
}

// strikes tells whether a fault can happen to an operation: not all have a body to break.
func strikes(fault artifactstest.Fault, operation artifactstest.Operation) bool {
	name := fault.String()
	switch {
	case strings.HasPrefix(name, "upload"):
		return operation == artifactstest.PutObject || operation == artifactstest.UploadPart
	case strings.HasPrefix(name, "download"):
		return operation == artifactstest.GetObject || operation == artifactstest.ListObjects || operation == artifactstest.ListUploads
	case name == artifactstest.Trickle.String():
		return operation == artifactstest.ListObjects || operation == artifactstest.ListUploads // three bytes of an object have come before it is noticed
	case name == artifactstest.NoBucket.String():
		return operation != artifactstest.HeadObject // whose answers have no body to tell one 404 from another
	case name == artifactstest.Hang.String():
		return operation != artifactstest.CompleteUpload // which S3 may take minutes for
	}
	return true
}

func TestS3_ShortFaultsAreNotNoticed(t *testing.T) {
	faults := []artifactstest.Fault{
		artifactstest.InternalFailure, artifactstest.SlowDown, artifactstest.LostAnswer, artifactstest.CutUpload(100_000), artifactstest.CutDownload(1),
	}
	eachS3Call(t, artifactstest.SharedS3(t), patient, faults, func(f *faultyS3, c s3Call, fault artifactstest.Fault) {
		if c.name == "PutPart" {
			return // its body can't be sent again, so its client is told
		}
		f.proxy.BreakNext(1, c.operation, fault)
		if err := c.call(context.Background(), f); err != nil {
			t.Errorf("%s, %s = %v", fault, c.name, err)
		}
		if got := f.proxy.Requests(c.operation); got < 2 {
			t.Errorf("%s, %s: %d requests, want a second one", fault, c.name, got)
		}
	})
}

func TestS3_OutageEndsWithoutARestart(t *testing.T) {
	f := newFaultyS3(t, artifactstest.SharedS3(t), patient)
	f.proxy.Down()
	var wg sync.WaitGroup
	for _, c := range s3Calls {
		wg.Go(func() {
			var away *artifacts.UnavailableError
			if err := c.call(t.Context(), f); !errors.As(err, &away) || away.Refused {
				t.Errorf("%s while nothing answers = %v, want *UnavailableError", c.name, err)
			}
		})
	}
	wg.Wait()
	f.wantUntouched(t, "after an outage")
	f.proxy.Up(t)
	for _, c := range s3Calls {
		if c.name == "Delete" || c.name == "AbortUpload" {
			continue
		}
		if err := c.call(t.Context(), f); err != nil {
			t.Errorf("%s after the outage = %v", c.name, err)
		}
	}
}

func randomBytes(t testing.TB, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.NewChaCha8([32]byte{5}).Read(content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestS3_DownloadsThatBreakOffAreResumed(t *testing.T) {
	f := newFaultyS3(t, artifactstest.SharedS3(t), patient)
	content := randomBytes(t, 9<<20)
	if _, err := f.direct.Put(t.Context(), "big.bin", bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	for _, cuts := range [][]int64{{0}, {1}, {0, 0, 0}, {1 << 20, 3 << 20, 100, 2<<20 + 1, 2 << 20}, {9<<20 - 1}, {9<<20 - 1, 0}} {
		before := f.proxy.Requests(artifactstest.GetObject)
		for _, n := range cuts {
			f.proxy.BreakNext(1, artifactstest.GetObject, artifactstest.CutDownload(n))
		}
		got, err := f.read(t.Context(), "big.bin")
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("read with cuts %v = %d bytes, %v, want the %d right ones", cuts, len(got), err, len(content))
		}
		if requests := f.proxy.Requests(artifactstest.GetObject) - before; requests != len(cuts)+1 {
			t.Errorf("read with cuts %v took %d requests", cuts, requests)
		}
		f.proxy.Heal()
	}
}

func TestS3_ABrokenDownloadIsNeverComplete(t *testing.T) {
	server := artifactstest.SharedS3(t)
	content := randomBytes(t, 3<<20)
	var wg sync.WaitGroup
	for _, fault := range []artifactstest.Fault{
		artifactstest.CutDownload(0), artifactstest.CutDownload(1000), artifactstest.HangDownload(1 << 20), artifactstest.WrongETag, artifactstest.Trickle,
		artifactstest.AccessDenied,
	} {
		f := newFaultyS3(t, server, impatient)
		if _, err := f.direct.Put(t.Context(), "big.bin", bytes.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		f.proxy.Break(artifactstest.GetObject, fault)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), hung)
			defer cancel()
			object, err := f.Open(ctx, "big.bin")
			if err != nil {
				t.Errorf("%s: Open: %v", fault, err)
				return
			}
			defer object.Close()
			got, err := io.ReadAll(object)
			if err == nil || ctx.Err() != nil || !bytes.HasPrefix(content, got) {
				t.Errorf("%s: read %d bytes, %v, want an error in time after a part of the content", fault, len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestS3_AnObjectThatIsReplacedWhileItsDownloadBreaksOffIsNoMix(t *testing.T) {
	f := newFaultyS3(t, artifactstest.SharedS3(t), patient)
	before, after := strings.Repeat("a", 3<<20), strings.Repeat("b", 3<<20)
	for name, replace := range map[string]func() error{
		"replaced": func() error {
			_, err := f.direct.Put(t.Context(), "big.bin", strings.NewReader(after), int64(len(after)))
			return err
		},
		"deleted": func() error { return f.direct.Delete(t.Context(), "big.bin") },
	} {
		put(t, f.direct, "big.bin", before)
		object := func() *artifacts.Object {
			object, err := f.Open(t.Context(), "big.bin")
			if err != nil {
				t.Fatal(err)
			}
			return object
		}()
		f.proxy.BreakNext(1, artifactstest.GetObject, artifactstest.CutDownload(1<<20))
		head := make([]byte, 1000)
		if _, err := io.ReadFull(object, head); err != nil {
			t.Fatal(err)
		}
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(object)
		if err == nil || strings.Trim(string(head)+string(rest), "a") != "" {
			t.Errorf("%s: read %d bytes, %v, want an error and nothing of the new content", name, len(head)+len(rest), err)
		}
		object.Close()
	}
}

func TestS3_FailedPutsLeaveNoUploadBehind(t *testing.T) {
	server := artifactstest.SharedS3(t)
	errBody := errors.New("the client is gone")
	for name, tt := range map[string]struct {
		operation artifactstest.Operation
		fault     artifactstest.Fault
		body      func(ctx context.Context, cancel func()) io.Reader
	}{
		"a part fails":            {operation: artifactstest.UploadPart, fault: artifactstest.InternalFailure},
		"a part is refused":       {operation: artifactstest.UploadPart, fault: artifactstest.AccessDenied},
		"a part is cut":           {operation: artifactstest.UploadPart, fault: artifactstest.CutUpload(1 << 20)},
		"a part has another ETag": {operation: artifactstest.UploadPart, fault: artifactstest.WrongETag},
		"the completion fails":    {operation: artifactstest.CompleteUpload, fault: artifactstest.InternalFailure},
		"the completion refused":  {operation: artifactstest.CompleteUpload, fault: artifactstest.AccessDenied},
		"the body breaks": {body: func(context.Context, func()) io.Reader {
			return io.MultiReader(bytes.NewReader(make([]byte, manyParts)), readerFunc(func([]byte) (int, error) { return 0, errBody }))
		}},
		"the client leaves": {body: func(_ context.Context, cancel func()) io.Reader {
			return io.MultiReader(bytes.NewReader(make([]byte, manyParts)), readerFunc(func(p []byte) (int, error) { cancel(); return 1, nil }))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaultyS3(t, server, patient)
			if err := f.direct.AbortUpload(t.Context(), "d/parts.bin", f.id); err != nil {
				t.Fatal(err)
			}
			if tt.operation != "" {
				f.proxy.Break(tt.operation, tt.fault)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := io.Reader(bytes.NewReader(make([]byte, manyParts)))
			if tt.body != nil {
				body = tt.body(ctx, cancel)
			}
			if _, err := f.Put(ctx, "d/new.bin", body, artifacts.UnknownSize); err == nil {
				t.Error("the Put succeeded")
			} else if away := (*artifacts.UnavailableError)(nil); tt.body == nil && !errors.As(err, &away) {
				t.Errorf("Put = %v, want *UnavailableError", err)
			}
			f.wantUntouched(t, name)
			if err := f.Close(); err != nil { // waits for what goes on in the background
				t.Fatal(err)
			}
			if left, err := f.direct.SweepUploads(t.Context(), time.Now().Add(time.Hour)); left != 0 || err != nil {
				t.Errorf("%d uploads were left (%v)", left, err)
			}
		})
	}
}

func TestS3_AnUploadThatCouldNotBeAbortedIsSwept(t *testing.T) {
	f := newFaultyS3(t, artifactstest.SharedS3(t), patient)
	if err := f.direct.AbortUpload(t.Context(), "d/parts.bin", f.id); err != nil {
		t.Fatal(err)
	}
	f.proxy.Break(artifactstest.UploadPart, artifactstest.InternalFailure)
	f.proxy.Break(artifactstest.AbortUpload, artifactstest.InternalFailure)
	if err := f.putNew(t.Context(), manyParts); err == nil {
		t.Error("the Put succeeded")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.proxy.Heal()
	if dropped, err := f.SweepUploads(t.Context(), time.Now().Add(time.Hour)); dropped != 1 || err != nil {
		t.Errorf("SweepUploads = %d, %v, want the one upload", dropped, err)
	}
	f.wantUntouched(t, "after the sweep")
}

func TestS3_PutWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	f := newFaultyS3(t, artifactstest.SharedS3(t), patient)
	for _, tt := range []struct {
		operation artifactstest.Operation
		size      int
	}{{artifactstest.PutObject, onePut}, {artifactstest.CompleteUpload, manyParts}} {
		content := randomBytes(t, tt.size)
		f.proxy.BreakNext(1, tt.operation, artifactstest.LostAnswer)
		path := fmt.Sprintf("new/%d", tt.size)
		stored, err := f.Put(t.Context(), path, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		object, err := f.direct.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(object)
		object.Close()
		if err != nil || !bytes.Equal(got, content) || object.ETag != stored.ETag {
			t.Errorf("%s: %d bytes, ETag %s, %v, want ETag %s", path, len(got), object.ETag, err, stored.ETag)
		}
	}
	if _, err := f.direct.Open(t.Context(), "d/parts.bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of an upload that is under way = %v", err)
	}
}

// occupyBuffers keeps uploads standing that hold all buffers of a store, so that further ones go to S3 as they are read.
func (f *faultyS3) occupyBuffers(t testing.TB) {
	t.Helper()
	const uploads = 4 // each waits while it fills its first part, before it asks S3 for anything
	done := make(chan struct{})
	var holding, ended sync.WaitGroup
	holding.Add(uploads)
	for i := range uploads {
		var once sync.Once
		body := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), readerFunc(func([]byte) (int, error) {
			once.Do(holding.Done)
			<-done
			return 0, errors.New("given up")
		}))
		ended.Go(func() { _, _ = f.Put(context.Background(), fmt.Sprintf("held/%d", i), body, manyParts) })
	}
	holding.Wait()
	t.Cleanup(func() {
		close(done)
		ended.Wait()
	})
}

func TestS3_StreamedUploadsThatFailLeaveNothing(t *testing.T) {
	const streamed = 33 << 20
	server := artifactstest.SharedS3(t)
	errBody := errors.New("the client is gone")
	var wg sync.WaitGroup
	for _, operation := range []artifactstest.Operation{artifactstest.PutObject, artifactstest.UploadPart} {
		size := int64(streamed)
		if operation == artifactstest.PutObject {
			size = onePut
		}
		for _, fault := range []artifactstest.Fault{
			artifactstest.InternalFailure, artifactstest.AccessDenied, artifactstest.CutUpload(100_000), artifactstest.HangUpload(100_000), artifactstest.Hang,
		} {
			f := newFaultyS3(t, server, impatient)
			f.occupyBuffers(t)
			before := f.proxy.Requests(operation)
			f.proxy.BreakNext(1, operation, fault)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), hung)
				defer cancel()
				err := f.putNew(ctx, size)
				var away *artifacts.UnavailableError
				if !errors.As(err, &away) || ctx.Err() != nil {
					t.Errorf("%s, %s = %v, want *UnavailableError", fault, operation, err)
				}
				if requests := f.proxy.Requests(operation) - before; requests != 1 {
					t.Errorf("%s, %s: %d requests; the upload was not streamed", fault, operation, requests)
				}
				f.wantUntouched(t, fault.String())
				f.wantOneUpload(t, fault.String())
			})
		}
		for name, after := range map[string]int64{"at once": 0, "early": 100_000, "late": size - 1} {
			f := newFaultyS3(t, server, patient)
			f.occupyBuffers(t)
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				body := io.MultiReader(bytes.NewReader(make([]byte, after)), readerFunc(func([]byte) (int, error) {
					cancel() // as the API's contexts end with their clients
					return 0, errBody
				}))
				if _, err := f.Put(ctx, "d/new.bin", body, size); !errors.Is(err, errBody) {
					t.Errorf("%s: body that breaks %s = %v, want its error", operation, name, err)
				}
				f.wantUntouched(t, name)
				f.wantOneUpload(t, name)
			})
			short := newFaultyS3(t, server, patient)
			short.occupyBuffers(t)
			wg.Go(func() {
				if _, err := short.Put(context.Background(), "d/new.bin", bytes.NewReader(make([]byte, after)), size); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: body that is short (%s) = %v, want io.ErrUnexpectedEOF", operation, name, err)
				}
				short.wantUntouched(t, name)
				short.wantOneUpload(t, name)
			})
		}
	}
	wg.Wait()
}

// wantOneUpload checks that only the upload of d/parts.bin is open, and ends it.
func (f *faultyS3) wantOneUpload(t testing.TB, what string) {
	if err := f.Close(); err != nil { // waits for what goes on in the background
		t.Error(err)
	}
	if open, err := f.direct.SweepUploads(context.Background(), time.Now().Add(time.Hour)); open != 1 || err != nil {
		t.Errorf("%s: %d uploads are open (%v), want the one of the test", what, open, err)
	}
}
