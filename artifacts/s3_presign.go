package artifacts

import (
	"context"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// maxURLTime is the longest that S3 lets a URL live.
const maxURLTime = 7 * 24 * time.Hour

// PresignGet implements Presigner. A browser that opens the URL saves the file, and shows nothing of it.
func (s *S3) PresignGet(ctx context.Context, p string, ttl time.Duration) (Presigned, error) {
	clean, key, err := s.fileKey(p)
	if err != nil {
		return Presigned{}, err
	}
	return s.presign(ctx, clean, func(ctx context.Context) (*v4.PresignedHTTPRequest, error) {
		return s.signer.PresignGetObject(ctx, &s3.GetObjectInput{
			Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner,
			ResponseContentDisposition: aws.String(mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(key)})),
		}, expires(ttl))
	})
}

// PresignPut implements Presigner.
func (s *S3) PresignPut(ctx context.Context, p string, ttl time.Duration) (Presigned, error) {
	clean, key, err := s.fileKey(p)
	if err != nil {
		return Presigned{}, err
	}
	return s.presign(ctx, clean, func(ctx context.Context) (*v4.PresignedHTTPRequest, error) {
		input := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, ContentType: aws.String(contentType(key)), ExpectedBucketOwner: s.owner}
		s.args.onPut(input)
		return s.signer.PresignPutObject(ctx, input, expires(ttl))
	})
}

// PresignPart implements Presigner.
func (s *S3) PresignPart(ctx context.Context, p, id string, number int, ttl time.Duration) (Presigned, error) {
	clean, key, upload, err := s.upload(p, id)
	if err != nil {
		return Presigned{}, err
	}
	return s.presign(ctx, clean, func(ctx context.Context) (*v4.PresignedHTTPRequest, error) {
		return s.signer.PresignUploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.bucket, Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(number)), ExpectedBucketOwner: s.owner, //nolint:gosec // at most MaxParts
		}, expires(ttl))
	})
}

func expires(ttl time.Duration) func(*s3.PresignOptions) {
	return s3.WithPresignExpires(min(ttl, maxURLTime))
}

// presign needs no more than credentials, for which it may have to ask.
func (s *S3) presign(ctx context.Context, clean string, sign func(context.Context) (*v4.PresignedHTTPRequest, error)) (Presigned, error) {
	limit, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	signed, err := sign(limit)
	if err != nil {
		return Presigned{}, s.describe(ctx, "sign a URL of", clean, err)
	}
	header := map[string]string{}
	for name := range signed.SignedHeader {
		if canonical := http.CanonicalHeaderKey(name); canonical != "Host" && canonical != "Content-Length" {
			header[canonical] = signed.SignedHeader.Get(name)
		}
	}
	return Presigned{URL: signed.URL, Header: header}, nil
}
