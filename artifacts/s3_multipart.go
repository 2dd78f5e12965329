package artifacts

import (
	"context"
	"crypto/md5" //nolint:gosec // S3's ETags are made with it
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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
	ctx, cancel := limited(ctx, callTime)
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

func encodeUploadID(id string) string {
	unreserved := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~", c)
	}
	if !strings.HasPrefix(id, encodedID) && strings.IndexFunc(id, func(c rune) bool { return !unreserved(c) }) < 0 {
		return id
	}
	return encodedID + base64.RawURLEncoding.EncodeToString([]byte(id))
}

// decodeUploadID gives S3's id. A wrong one is ErrNoUpload.
func decodeUploadID(id string) (string, error) {
	encoded, ok := strings.CutPrefix(id, encodedID)
	if !ok {
		encoded = ""
	}
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	switch {
	case id == "" || err != nil:
		return "", ErrNoUpload
	case ok:
		return string(decoded), nil
	}
	return id, nil
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
	input := &s3.UploadPartInput{
		Bucket: &s.bucket, Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(number)), //nolint:gosec // at most MaxParts
		Body: source, ContentLength: &size, ExpectedBucketOwner: s.owner,
	}
	var unsigned []func(*s3.Options)
	if options := s.client.Options(); !overTLS(options) || options.RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired {
		// Nothing can stand in the header of what has not been read yet.
		unsigned = append(unsigned, func(o *s3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		})
	}
	answer, err := s.client.UploadPart(ctx, input, unsigned...)
	if source.err != nil {
		return "", fmt.Errorf("put part %d of artifact %q: %w", number, clean, source.err)
	}
	if err != nil {
		return "", s.describe(ctx, fmt.Sprintf("put part %d of", number), clean, err)
	}
	return quoted(answer.ETag), nil
}

func overTLS(o s3.Options) bool {
	return !strings.HasPrefix(aws.ToString(o.BaseEndpoint), "http:")
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

// CompleteUpload implements Multiparter.
func (s *S3) CompleteUpload(ctx context.Context, p, id string, parts []Part) (Stored, error) {
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
	stored := Stored{}
	if _, err = s.complete(ctx, key, upload, completed); err == nil {
		var head *s3.HeadObjectOutput
		if head, err = s.head(ctx, key); err == nil {
			stored = Stored{Size: aws.ToInt64(head.ContentLength), ETag: quoted(head.ETag)}
		}
	}
	return stored, s.describe(ctx, "complete the upload of", clean, err)
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
	case headErr != nil || err != nil && strings.Trim(aws.ToString(head.ETag), `"`) != multipartETag(parts):
		return "", err
	}
	return quoted(head.ETag), nil
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
	ctx, cancel := limited(ctx, callTime)
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
				return dropped, s.describe(ctx, "abort the upload of", aws.ToString(upload.Key), err)
			}
			dropped++
		}
		key, id := aws.ToString(page.NextKeyMarker), aws.ToString(page.NextUploadIdMarker)
		if !aws.ToBool(page.IsTruncated) || key == aws.ToString(input.KeyMarker) && id == aws.ToString(input.UploadIdMarker) {
			return dropped, nil
		}
		input.KeyMarker, input.UploadIdMarker = &key, &id
	}
}

func (s *S3) uploads(ctx context.Context, input *s3.ListMultipartUploadsInput) (*s3.ListMultipartUploadsOutput, error) {
	ctx, cancel := limited(ctx, callTime)
	defer cancel()
	return s.client.ListMultipartUploads(ctx, input)
}
