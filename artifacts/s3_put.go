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
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// smallBytes is up to where a file needs no part buffer.
	smallBytes = 64 << 10
	// pieceBytes is how much of a body is read at once.
	pieceBytes = 128 << 10
	// maxBuffers is how many parts of one upload are in memory at most: two on their way, one being filled.
	maxBuffers = 3
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
	buffer, err := s.buffers.take(first)
	if err != nil {
		return "", err
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
	if found := mime.TypeByExtension(path.Ext(key)); found != "" {
		return found
	}
	return "application/octet-stream"
}

// putParts stores an object of which the first buffer holds the first part.
func (s *S3) putParts(ctx context.Context, key string, source *partSource, size int64, first []byte) (etag string, err error) {
	id, err := s.create(ctx, key)
	if err != nil {
		s.buffers.give(first)
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
	s.aborts.Go(func() { _ = s.abort(ctx, key, id) })
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
	u.buffers = 1
	group, ctx := errgroup.WithContext(ctx)
	n, last := len(buffer), false
	var failed error // to get a further part
	for number := 1; ; number++ {
		part := buffer
		content := part[:n]
		group.Go(func() error {
			defer func() { u.idle <- part }()
			return u.send(ctx, number, content)
		})
		if last {
			break
		}
		if buffer, failed = u.next(ctx, partSize(number+1, u.size)); failed != nil {
			break
		}
		if n, last, failed = u.source.fill(buffer, 0); failed != nil {
			u.idle <- buffer
			break
		}
		if err := ctx.Err(); err != nil {
			u.idle <- buffer
			failed = err
			break
		}
	}
	if failed != nil && ctx.Err() == nil {
		// The group's context ends with its first error, and no further part begins.
		group.Go(func() error { return failed })
	}
	err = group.Wait()
	for range u.buffers {
		u.s.buffers.give(<-u.idle)
	}
	if err == nil {
		err = failed
	}
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	return err
}

// next is a buffer to fill: one of the upload's own, else a further one, else the first that is sent.
func (u *partUpload) next(ctx context.Context, size int) ([]byte, error) {
	var buffer []byte
	select {
	case buffer = <-u.idle:
	default:
		if u.buffers < maxBuffers {
			spare, err := u.s.buffers.spare(size)
			if err != nil {
				return nil, err
			}
			if spare != nil {
				u.buffers++
				return spare, nil
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
	larger, err := u.s.buffers.take(size)
	if err != nil {
		u.buffers--
	}
	return larger, err
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
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, completedPart(number, aws.ToString(answer.ETag)))
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

// fill reads into buffer from byte n on, until it is full or the body ends; last tells that nothing follows.
func (s *partSource) fill(buffer []byte, n int) (filled int, last bool, err error) {
	start := n
	defer func() {
		s.sum.Write(buffer[start:n])
		s.read += int64(n - start)
	}()
	n += copy(buffer[n:], s.ahead)
	s.ahead = nil
	for n < len(buffer) {
		got, err := s.body.Read(buffer[n:min(n+pieceBytes, len(buffer))])
		n += got
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			s.err = err
			return n, false, err
		}
	}
	for {
		ahead := make([]byte, 1)
		got, err := s.body.Read(ahead)
		switch {
		case got > 0 && err == nil:
			s.ahead = ahead
			return n, false, nil
		case got > 0 && err == io.EOF:
			s.ahead = ahead
			s.body = eof{}
			return n, false, nil
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			s.err = err
			return n, false, err
		}
	}
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
