package artifacts

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// streamed prepares a body of size bytes whose checksum is known only when it has passed: it follows the body, as S3's
// aws-chunked encoding has it, in one chunk. So a body that breaks off is never taken for the whole. The SDK does this over
// TLS only.
func (s *S3) streamed(body io.Reader, size int64) (framed io.Reader, length *int64, option func(*s3.Options)) {
	if s.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired {
		// The operator's word that the server does not know such checksums.
		return body, &size, func(o *s3.Options) {
			o.Retryer = aws.NopRetryer{}
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	}
	framed, total := checkedChunk(body, size)
	return framed, &total, func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{} // what has been read is gone
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.APIOptions = append(
			o.APIOptions,
			smithyhttp.SetHeaderValue("Content-Encoding", "aws-chunked"),
			smithyhttp.SetHeaderValue("X-Amz-Decoded-Content-Length", strconv.FormatInt(size, 10)),
			smithyhttp.SetHeaderValue("X-Amz-Trailer", "x-amz-checksum-crc32"),
			func(stack *middleware.Stack) error {
				return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("ChecksumFollows", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
					return next.HandleInitialize(v4.SetPayloadHash(ctx, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), in)
				}), middleware.Before)
			},
		)
	}
}

// checkedChunk is a body of size bytes with its CRC32 behind it; length is that of both.
func checkedChunk(body io.Reader, size int64) (chunked io.Reader, length int64) {
	head, end := fmt.Sprintf("%x\r\n", size), "\r\n0\r\n"
	if size == 0 {
		head, end = "", "0\r\n"
	}
	trailer := func(sum uint32) string {
		digest := []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
		return end + "x-amz-checksum-crc32:" + base64.StdEncoding.EncodeToString(digest) + "\r\n\r\n"
	}
	sum := crc32.NewIEEE()
	last := &lateReader{make: func() string { return trailer(sum.Sum32()) }}
	return io.MultiReader(strings.NewReader(head), io.TeeReader(body, sum), last), int64(len(head)) + size + int64(len(trailer(0)))
}

// lateReader reads a text that is made when it is first needed.
type lateReader struct {
	make func() string
	text *strings.Reader
}

func (l *lateReader) Read(p []byte) (int, error) {
	if l.text == nil {
		l.text = strings.NewReader(l.make())
	}
	return l.text.Read(p)
}
