package artifacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"greenroom/panics"
)

const (
	// smallBytes is up to where a file needs no part buffer.
	smallBytes = 64 << 10
	// pieceBytes is how much of a body is read at once.
	pieceBytes = 128 << 10
	// maxBuffers is how many parts of one upload are in memory at most: two on their way, one being filled.
	maxBuffers = 3
	// streamBytes is the size of a part that goes to S3 as it comes, because no buffer is free. Its failure fails the
	// upload, where a part in a buffer is sent again.
	streamBytes = 16 << 20
)

// Put implements Store. A small file goes up with one call; a larger one as a multipart upload, of which nobody sees
// anything before it is complete.
func (s *S3) Put(ctx context.Context, p string, body io.Reader, size int64) (Stored, error) {
	clean, key, err := s.fileKey(p)
	if err != nil {
		return Stored{}, err
	}
	source := &partSource{body: contextReader{ctx, body}, sum: sha256.New()}
	etag, err := s.put(ctx, key, source, size)
	switch {
	case source.err != nil && errors.Is(err, source.err):
		return Stored{}, fmt.Errorf("put artifact %q: %w", clean, err)
	case err != nil:
		err = s.describe(ctx, "put", clean, err)
		if errors.Is(err, ErrPart) || errors.Is(err, ErrNoUpload) {
			err = &UnavailableError{Err: errors.New(err.Error())} // of parts that the caller knows nothing of
		}
		return Stored{}, err
	}
	return Stored{Size: source.read, ETag: etag, SHA256: hex.EncodeToString(source.sum.Sum(nil))}, nil
}

func (s *S3) put(ctx context.Context, key string, source *partSource, size int64) (etag string, err error) {
	var small []byte
	if size <= smallBytes {
		small = make([]byte, smallBytes)
		if size >= 0 {
			small = small[:max(size, 1)]
		}
		n, last, err := source.fill(small, 0)
		if err != nil {
			return "", err
		}
		small = small[:n]
		if last {
			return s.putObject(ctx, key, small)
		}
	}
	first := partSize(1, size)
	if size >= 0 {
		first = int(min(int64(first), size))
	}
	buffer, err := s.buffers.take(first, size < 0)
	if err != nil {
		return "", err
	}
	if buffer == nil {
		if size <= streamBytes {
			return s.streamObject(ctx, key, source, size)
		}
		return s.putParts(ctx, key, source, size, nil)
	}
	n, last, err := source.fill(buffer, copy(buffer, small))
	if err != nil || last {
		defer s.buffers.give(buffer)
	}
	switch {
	case err != nil:
		return "", err
	case last:
		return s.putObject(ctx, key, buffer[:n])
	}
	return s.putParts(ctx, key, source, size, buffer)
}

// streamObject stores a whole object as it is read.
func (s *S3) streamObject(ctx context.Context, key string, source *partSource, size int64) (etag string, err error) {
	exact := &exactReader{r: source, left: size}
	framed, length, option := s.streamed(exact, size)
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: framed, ContentLength: length, ContentType: aws.String(contentType(key)), ExpectedBucketOwner: s.owner,
	}
	s.args.onPut(input)
	answer, err := s.client.PutObject(ctx, input, option)
	if exact.err != nil {
		source.err = exact.err
		return "", exact.err
	}
	if err != nil {
		return "", err
	}
	return quoted(answer.ETag), nil
}

// putObject stores a whole object. Once the body is there it is not broken off, so that the caller knows what came of it.
func (s *S3) putObject(ctx context.Context, key string, content []byte) (etag string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx = context.WithoutCancel(ctx)
	for attempt := 1; ; attempt++ {
		etag, err = s.tryPutObject(ctx, key, content)
		if apiCode(err) != "ExistingObjectIsDirectory" || attempt == maxAttempts {
			return etag, err
		}
		// A gateway that keeps objects as files also says so when another call makes the folder above at that moment.
		if below, belowErr := s.anyBelow(ctx, key); below || belowErr != nil {
			return etag, err
		}
	}
}

func (s *S3) tryPutObject(ctx context.Context, key string, content []byte) (etag string, err error) {
	body := lend(content)
	defer body.takeBack()
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: body, ContentLength: aws.Int64(int64(len(content))), ContentType: aws.String(contentType(key)), ExpectedBucketOwner: s.owner,
	}
	s.args.onPut(input)
	answer, err := s.client.PutObject(ctx, input)
	if err != nil {
		return "", err
	}
	return quoted(answer.ETag), nil
}

// contentType is what S3 tells those who read the object from it.
func contentType(key string) string {
	// Without a charset, as MLflow has it: clients that send a type of their own with a presigned URL send that one.
	if found, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(key)), ";"); found != "" {
		return found
	}
	return "application/octet-stream"
}

// putParts stores an object of which the buffer, if there is one, holds the first part.
func (s *S3) putParts(ctx context.Context, key string, source *partSource, size int64, first []byte) (etag string, err error) {
	id, err := s.create(ctx, key)
	if err != nil {
		if first != nil {
			s.buffers.give(first)
		}
		return "", err
	}
	u := &partUpload{s: s, key: key, id: id, source: source, size: size, idle: make(chan []byte, maxBuffers)}
	if err = u.run(ctx, first); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		// Not broken off either, as in putObject.
		etag, err = s.complete(context.WithoutCancel(ctx), key, id, u.parts)
	}
	if err != nil {
		s.dropUpload(ctx, key, id)
		return "", err
	}
	return etag, nil
}

// dropUpload aborts an upload that failed, for which nobody has to wait. What it can't abort, SweepUploads does.
func (s *S3) dropUpload(ctx context.Context, key, id string) {
	ctx = context.WithoutCancel(ctx)
	s.aborts.Go(func() { _ = panics.Caught(func() error { return s.abort(ctx, key, id) }) })
}

// partUpload sends the parts of one object, several at once.
type partUpload struct {
	s       *S3
	key, id string
	source  *partSource
	size    int64 // bytes in all, or UnknownSize

	buffers int         // that the upload holds
	idle    chan []byte // those of them that may be filled

	mu    sync.Mutex
	parts []types.CompletedPart
}

// run sends everything. On return all buffers are given back.
func (u *partUpload) run(ctx context.Context, buffer []byte) (err error) {
	group, ctx := errgroup.WithContext(ctx)
	n, last := len(buffer), false
	if buffer != nil {
		u.buffers = 1
	}
	for number := 1; ; number++ {
		if part := buffer; part == nil {
			last, err = u.stream(ctx, number)
		} else {
			content := part[:n]
			group.Go(func() error {
				defer func() { u.idle <- part }()
				return panics.Caught(func() error { return u.send(ctx, number, content) })
			})
		}
		if err != nil || last {
			break
		}
		if buffer, err = u.next(ctx, partSize(number+1, u.size)); err != nil {
			break
		}
		if buffer == nil {
			continue
		}
		if n, last, err = u.source.fill(buffer, 0); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			u.idle <- buffer
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		// The group's context ends with its first error, and no further part begins.
		failed := err
		group.Go(func() error { return failed })
	}
	if waited := group.Wait(); waited != nil {
		err = waited
	}
	for range u.buffers {
		u.s.buffers.give(<-u.idle)
	}
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	return err
}

// next is a buffer to fill: one of the upload's own, else a further one, else the first that is sent. It is nil if the
// upload has none and can do without.
func (u *partUpload) next(ctx context.Context, size int) (buffer []byte, err error) {
	select {
	case buffer = <-u.idle:
	default:
		if u.buffers < maxBuffers {
			further, err := u.s.buffers.take(size, u.size < 0 && u.buffers == 0)
			if err != nil {
				return nil, err
			}
			if further != nil {
				u.buffers++
			}
			if further != nil || u.buffers == 0 {
				return further, nil
			}
		}
		select {
		case buffer = <-u.idle:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(buffer) == size {
		return buffer, nil
	}
	u.s.buffers.give(buffer)
	u.buffers--
	if buffer, err = u.s.buffers.take(size, true); err == nil {
		u.buffers++
	}
	return buffer, err
}

// stream sends the next part as it is read; last tells that nothing follows.
func (u *partUpload) stream(ctx context.Context, number int) (last bool, err error) {
	left := u.size - u.source.read
	size := min(left, max(streamBytes, int64(partSize(number, u.size))))
	exact := &exactReader{r: u.source, left: size}
	etag, err := u.s.streamPart(ctx, u.key, u.id, number, exact, size)
	if exact.err != nil {
		u.source.err = exact.err
		return false, exact.err
	}
	if err != nil {
		return false, err
	}
	u.done(number, etag)
	return left == size, nil
}

func (u *partUpload) done(number int, etag string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, completedPart(number, etag))
}

// send is not broken off: S3 could still be storing the part when the upload is aborted, and keep it for good.
func (u *partUpload) send(ctx context.Context, number int, content []byte) error {
	body := lend(content)
	defer body.takeBack()
	answer, err := u.s.client.UploadPart(context.WithoutCancel(ctx), &s3.UploadPartInput{
		Bucket: &u.s.bucket, Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)), //nolint:gosec // at most MaxParts
		Body: body, ContentLength: aws.Int64(int64(len(content))), ExpectedBucketOwner: u.s.owner,
	})
	if err != nil {
		return err
	}
	u.done(number, aws.ToString(answer.ETag))
	return nil
}

// partSize is how large a part must be, so that MaxParts of them are enough. While the size of the whole is unknown, the
// parts grow as it does: to some 780 GB.
func partSize(number int, size int64) int {
	if size < 0 {
		return partBytes << ((number - 1) / 1500)
	}
	if size <= partBytes*MaxParts {
		return partBytes
	}
	least := (size + MaxParts - 1) / MaxParts
	return int((least + 1<<20 - 1) >> 20 << 20)
}

// partSource cuts a body into parts, and computes its digest.
type partSource struct {
	body  io.Reader
	sum   hash.Hash
	read  int64 // bytes handed out
	err   error // of the body
	ahead []byte
}

func (s *partSource) Read(p []byte) (n int, err error) {
	if len(s.ahead) > 0 {
		n = copy(p, s.ahead)
		s.ahead = s.ahead[n:]
	} else {
		n, err = s.next(p)
	}
	s.sum.Write(p[:n])
	s.read += int64(n)
	return n, err
}

// next reads from the body, and remembers its error.
func (s *partSource) next(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if err != nil {
		s.body = failed{err}
		if err != io.EOF {
			s.err = err
		}
	}
	return n, err
}

// fill reads into buffer from byte n on, until it is full or the body ends; last tells that nothing follows.
func (s *partSource) fill(buffer []byte, n int) (filled int, last bool, err error) {
	for n < len(buffer) && err == nil {
		var got int
		got, err = s.Read(buffer[n:min(n+pieceBytes, len(buffer))])
		n += got
	}
	for err == nil && len(s.ahead) == 0 {
		var got int
		ahead := make([]byte, 1)
		got, err = s.next(ahead)
		s.ahead = ahead[:got]
	}
	if err == io.EOF && len(s.ahead) == 0 { //nolint:errorlint // a Reader's
		return n, true, nil
	}
	if err == io.EOF { //nolint:errorlint // a Reader's
		err = nil
	}
	return n, false, err
}

// failed is a body that has ended.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
