package artifacts

import (
	"context"
	"errors"
	"io"
	"time"
)

// MaxParts is how many parts an upload may have, as in S3.
const MaxParts = 10_000

var (
	// ErrNoUpload reports an upload that was never begun for the path, has been
	// aborted or swept, or was completed with other parts.
	ErrNoUpload = errors.New("no such multipart upload")
	// ErrPart reports parts that do not make a file: one is missing, has
	// another ETag than it was stored with, or they are out of order.
	ErrPart = errors.New("invalid parts of a multipart upload")
)

// Part is one part of an upload, as its PutPart answered.
type Part struct {
	Number int // from 1 to MaxParts
	ETag   string
}

// Multiparter is a Store that also takes a file in parts, which may come at
// once and in any order. Nobody sees the file before CompleteUpload. Paths are
// checked as by Put.
type Multiparter interface {
	// CreateUpload begins an upload of the file at path. The id is text that
	// needs no escaping in a URL, and is good for this path only.
	CreateUpload(ctx context.Context, path string) (id string, err error)

	// PutPart stores part number of size bytes, and replaces it if it was there
	// already. It is all or nothing. The ETag is quoted.
	PutPart(ctx context.Context, path, id string, number int, body io.Reader, size int64) (etag string, err error)

	// UploadSize is how many bytes the parts that are stored so far have.
	UploadSize(ctx context.Context, path, id string) (bytes int64, err error)

	// CompleteUpload makes of the parts, in the order of their numbers, the
	// file at path, as Put does. Repeated with the same parts it gives the same
	// answer, as a client repeats it whose first answer was lost; also while the
	// first call still goes on, as it may do when its context has ended. ready,
	// unless it is nil, is asked when all is done but that the file becomes
	// visible: an error of it is returned wrapped, and the upload stays as it was.
	CompleteUpload(ctx context.Context, path, id string, parts []Part, ready func() error) (Stored, error)

	// AbortUpload drops the parts. What does not exist is dropped already.
	AbortUpload(ctx context.Context, path, id string) error

	// SweepUploads drops what unfinished uploads, begun before a time, left
	// behind, and tells how many there were.
	SweepUploads(ctx context.Context, before time.Time) (dropped int, err error)
}

// Presigner is a Store whose storage gives out URLs of its own, which need no
// other credentials until they expire.
type Presigner interface {
	// PresignGet is for reading the file at path, in ranges too. It does not
	// look whether the file exists.
	PresignGet(ctx context.Context, path string, ttl time.Duration) (Presigned, error)
	// PresignPut is for storing the file at path with one PUT.
	PresignPut(ctx context.Context, path string, ttl time.Duration) (Presigned, error)
	// PresignPart is for storing a part of an upload with one PUT, which
	// answers with the part's ETag.
	PresignPart(ctx context.Context, path, id string, number int, ttl time.Duration) (Presigned, error)
}

// Presigned is a URL and the headers that have to be sent with it.
type Presigned struct {
	URL    string
	Header map[string]string
}
