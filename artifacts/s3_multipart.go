package artifacts

import (
	"context"
	"crypto/md5" //nolint:gosec // S3's ETags are made with it
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"greenroom/panics"
)

// CreateUpload implements Multiparter.
func (s *S3) CreateUpload(ctx context.Context, p string) (string, error) {
	clean, key, err := s.fileKey(p)
	if err != nil {
		return "", err
	}
	id, err := s.create(ctx, key)
	if err != nil {
		return "", s.describe(ctx, "begin an upload of", clean, err)
	}
	return encodeUploadID(id), nil
}

func (s *S3) create(ctx context.Context, key string) (id string, err error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	input := &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: &key, ContentType: aws.String(contentType(key)), ExpectedBucketOwner: s.owner}
	s.args.onCreate(input)
	answer, err := s.client.CreateMultipartUpload(ctx, input)
	if err != nil {
		return "", err
	}
	if aws.ToString(answer.UploadId) == "" {
		return "", &UnavailableError{Err: errors.New("S3 begins an upload without an id")}
	}
	return *answer.UploadId, nil
}

// encodedID marks an upload id that can't stand in a URL as S3 made it.
const encodedID = "~"

// maxUploadIDBytes is far above what servers use.
const maxUploadIDBytes = 1024

func encodeUploadID(id string) string {
	if isPlainID(id) {
		return id
	}
	return encodedID + base64.RawURLEncoding.EncodeToString([]byte(id))
}

// isPlainID tells whether an id needs no escaping in a URL.
func isPlainID(id string) bool {
	unreserved := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~", c)
	}
	return !strings.HasPrefix(id, encodedID) && strings.IndexFunc(id, func(c rune) bool { return !unreserved(c) }) < 0
}

// decodeUploadID gives S3's id. What can't be one is ErrNoUpload: a client may send anything, and a gateway that keeps
// uploads in folders must not be led into others.
func decodeUploadID(id string) (string, error) {
	decoded := id
	if encoded, ok := strings.CutPrefix(id, encodedID); ok {
		text, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return "", ErrNoUpload
		}
		decoded = string(text)
	}
	dots := slices.ContainsFunc(strings.Split(decoded, "/"), func(s string) bool { return strings.Trim(s, ".") == "" })
	if len(id) > maxUploadIDBytes || dots || encodeUploadID(decoded) != id || strings.ContainsFunc(decoded, unicode.IsControl) {
		return "", ErrNoUpload
	}
	return decoded, nil
}

// upload is the key of an artifact path with S3's id of an upload of it.
func (s *S3) upload(p, id string) (clean, key, upload string, err error) {
	if clean, key, err = s.fileKey(p); err == nil {
		upload, err = decodeUploadID(id)
	}
	return clean, key, upload, err
}

// PutPart implements Multiparter. The bytes go on to S3 as they come.
func (s *S3) PutPart(ctx context.Context, p, id string, number int, body io.Reader, size int64) (string, error) {
	clean, key, upload, err := s.upload(p, id)
	if err != nil {
		return "", err
	}
	if number < 1 || number > MaxParts || size < 0 {
		return "", fmt.Errorf("%w: part %d of %d bytes; parts go from 1 to %d and tell their size", ErrPart, number, size, MaxParts)
	}
	source := &exactReader{r: contextReader{ctx, body}, left: size}
	answer, err := s.streamPart(ctx, key, upload, number, source, size)
	if source.err != nil {
		return "", fmt.Errorf("put part %d of artifact %q: %w", number, clean, source.err)
	}
	if err != nil {
		return "", s.describe(ctx, fmt.Sprintf("put part %d of", number), clean, err)
	}
	return quoted(&answer), nil
}

// streamPart sends a part as it is read.
func (s *S3) streamPart(ctx context.Context, key, id string, number int, body io.Reader, size int64) (etag string, err error) {
	framed, length, option := s.streamed(body, size)
	answer, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.bucket, Key: &key, UploadId: &id, PartNumber: aws.Int32(int32(number)), //nolint:gosec // at most MaxParts
		Body: framed, ContentLength: length, ExpectedBucketOwner: s.owner,
	}, option)
	if err != nil {
		return "", err
	}
	return aws.ToString(answer.ETag), nil
}

// exactReader reads as many bytes as were promised, and remembers why it could not.
type exactReader struct {
	r    io.Reader
	left int64
	err  error
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF {
		if e.left == 0 {
			return n, err
		}
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		e.err = err
	}
	return n, err
}

// UploadSize implements Multiparter.
func (s *S3) UploadSize(ctx context.Context, p, id string) (bytes int64, err error) {
	clean, key, upload, err := s.upload(p, id)
	if err != nil {
		return 0, err
	}
	input := &s3.ListPartsInput{Bucket: &s.bucket, Key: &key, UploadId: &upload, ExpectedBucketOwner: s.owner}
	for {
		page, err := s.listedParts(ctx, input)
		if err != nil {
			return 0, s.describe(ctx, "measure the upload of", clean, err)
		}
		for _, part := range page.Parts {
			bytes += aws.ToInt64(part.Size)
		}
		next := aws.ToString(page.NextPartNumberMarker)
		if !aws.ToBool(page.IsTruncated) || next == "" || next == aws.ToString(input.PartNumberMarker) {
			return bytes, nil
		}
		input.PartNumberMarker = &next
	}
}

func (s *S3) listedParts(ctx context.Context, input *s3.ListPartsInput) (*s3.ListPartsOutput, error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	return s.client.ListParts(ctx, input)
}

// CompleteUpload implements Multiparter.
func (s *S3) CompleteUpload(ctx context.Context, p, id string, parts []Part, ready func() error) (Stored, error) {
	clean, key, upload, err := s.upload(p, id)
	if err != nil {
		return Stored{}, err
	}
	if len(parts) == 0 {
		return Stored{}, fmt.Errorf("%w: there are none", ErrPart)
	}
	completed := make([]types.CompletedPart, len(parts))
	for i, part := range parts {
		if part.Number < 1 || part.Number > MaxParts {
			return Stored{}, fmt.Errorf("%w: part %d; parts go from 1 to %d", ErrPart, part.Number, MaxParts)
		}
		completed[i] = completedPart(part.Number, part.ETag)
	}
	if ready != nil {
		if err := ready(); err != nil {
			return Stored{}, fmt.Errorf("complete the upload of artifact %q: %w", clean, err)
		}
	}
	stored, err := s.completeOnce(ctx, key, upload, completed)
	return stored, s.describe(ctx, "complete the upload of", clean, err)
}

// completeOnce lets calls for the same parts of an upload share one call to S3, which tells a second one, while it still
// answers the first, whatever it likes. It goes on when its callers are gone.
func (s *S3) completeOnce(ctx context.Context, key, upload string, parts []types.CompletedPart) (Stored, error) {
	if err := ctx.Err(); err != nil {
		return Stored{}, err
	}
	call := key + "\x00" + upload
	for _, part := range parts {
		call += fmt.Sprintf("\x00%d %s", *part.PartNumber, *part.ETag)
	}
	done := s.completions.DoChan(call, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		return panics.Result(func() (Stored, error) {
			etag, err := s.complete(ctx, key, upload, parts)
			if err != nil {
				return Stored{}, err
			}
			return s.settled(ctx, key, etag, parts)
		})
	})
	select {
	case result := <-done:
		return result.Val.(Stored), result.Err
	case <-ctx.Done():
		return Stored{}, ctx.Err()
	}
}

// settled is the object that S3 says it has made of the parts. A gateway also says so while it still copies them for another
// process, or of an upload of which it knows nothing.
func (s *S3) settled(ctx context.Context, key, etag string, parts []types.CompletedPart) (Stored, error) {
	for pause, end := settlePause, time.Now().Add(s.bounds.Settle); ; pause = min(2*pause, time.Second) {
		head, err := s.head(ctx, key)
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case err != nil && !missing:
			return Stored{}, err
		case !missing && (quoted(head.ETag) == etag || isMadeOf(head, parts)):
			return Stored{Size: aws.ToInt64(head.ContentLength), ETag: quoted(head.ETag)}, nil
		case time.Now().Before(end):
			time.Sleep(pause)
		case missing:
			return Stored{}, &UnavailableError{Err: errors.New("S3 says that the upload is completed, but shows no object")} // it may still come
		default:
			return Stored{}, ErrNoUpload // replaced since, or never made of these parts
		}
	}
}

func completedPart(number int, etag string) types.CompletedPart {
	return types.CompletedPart{PartNumber: aws.Int32(int32(number)), ETag: &etag} //nolint:gosec // at most MaxParts
}

// complete makes an object of the parts. If S3 has forgotten the upload, the object may be there already: an earlier call,
// of a client or the SDK, did it, and its answer was lost.
func (s *S3) complete(ctx context.Context, key, id string, parts []types.CompletedPart) (etag string, err error) {
	caller := ctx
	ctx, cancel := limited(ctx, completeTime)
	defer cancel()
	answer, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}, ExpectedBucketOwner: s.owner,
	}, func(o *s3.Options) { o.HTTPClient = s.patient })
	if err == nil && quoted(answer.ETag) != "" {
		return quoted(answer.ETag), nil
	}
	if err != nil && apiCode(err) != "NoSuchUpload" {
		return "", err
	}
	head, headErr := s.head(caller, key)
	switch {
	case headErr != nil && err == nil:
		return "", headErr
	case headErr != nil || err != nil && !isMadeOf(head, parts):
		return "", err
	}
	return quoted(head.ETag), nil
}

// isMadeOf tells whether an object consists of the parts.
func isMadeOf(head *s3.HeadObjectOutput, parts []types.CompletedPart) bool {
	return strings.Trim(aws.ToString(head.ETag), `"`) == multipartETag(parts)
}

// multipartETag is the ETag that S3 gives an object of these parts; empty if a part's is no MD5.
func multipartETag(parts []types.CompletedPart) string {
	sum := md5.New() //nolint:gosec // as above
	for _, part := range parts {
		digest, err := hex.DecodeString(strings.Trim(aws.ToString(part.ETag), `"`))
		if err != nil {
			return ""
		}
		sum.Write(digest)
	}
	return fmt.Sprintf("%x-%d", sum.Sum(nil), len(parts))
}

// AbortUpload implements Multiparter.
func (s *S3) AbortUpload(ctx context.Context, p, id string) error {
	clean, key, upload, err := s.upload(p, id)
	if errors.Is(err, ErrNoUpload) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.describe(ctx, "abort the upload of", clean, s.abort(ctx, key, upload))
}

func (s *S3) abort(ctx context.Context, key, id string) error {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: &id, ExpectedBucketOwner: s.owner})
	if apiCode(err) == "NoSuchUpload" {
		return nil
	}
	return err
}

// SweepUploads implements Multiparter. Uploads that clients without this server began below the prefix are swept too.
func (s *S3) SweepUploads(ctx context.Context, before time.Time) (dropped int, err error) {
	input := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: aws.String(folderPrefix(s.prefix)), ExpectedBucketOwner: s.owner}
	var failed error
	for {
		page, err := s.uploads(ctx, input)
		if err != nil {
			return dropped, s.describe(ctx, "sweep uploads of", "", err)
		}
		for _, upload := range page.Uploads {
			if !aws.ToTime(upload.Initiated).Before(before) {
				continue
			}
			if err := s.abort(ctx, aws.ToString(upload.Key), aws.ToString(upload.UploadId)); err != nil {
				failed = s.describe(ctx, "abort the upload of", aws.ToString(upload.Key), err) // the others go on
				continue
			}
			dropped++
		}
		key, id := aws.ToString(page.NextKeyMarker), aws.ToString(page.NextUploadIdMarker)
		if !aws.ToBool(page.IsTruncated) || key == aws.ToString(input.KeyMarker) && id == aws.ToString(input.UploadIdMarker) {
			return dropped, failed
		}
		input.KeyMarker, input.UploadIdMarker = &key, &id
	}
}

func (s *S3) uploads(ctx context.Context, input *s3.ListMultipartUploadsInput) (*s3.ListMultipartUploadsOutput, error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	return s.client.ListMultipartUploads(ctx, input)
}
