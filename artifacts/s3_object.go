package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Open implements Store. It asks for the object's size only; the content is asked for by the first Read.
func (s *S3) Open(ctx context.Context, p string) (*Object, error) {
	clean, key, err := s.pathKey(p)
	if err != nil {
		return nil, err
	}
	if clean == "" {
		return nil, s.describe(ctx, "open", clean, ErrIsDir)
	}
	head, err := s.head(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		var below bool
		if below, err = s.anyBelow(ctx, key); err == nil {
			err = fs.ErrNotExist
			if below {
				err = ErrIsDir
			}
		}
	}
	if err != nil {
		return nil, s.describe(ctx, "open", clean, err)
	}
	object := &objectReader{ctx: ctx, s: s, clean: clean, key: key, etag: aws.ToString(head.ETag), size: aws.ToInt64(head.ContentLength)}
	return &Object{ReadSeekCloser: object, Size: object.size, ModTime: aws.ToTime(head.LastModified), ETag: quoted(head.ETag)}, nil
}

// head asks for an object's size and ETag. A missing one is fs.ErrNotExist.
func (s *S3) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner})
	switch code := apiCode(err); {
	case code == "NotFound" || code == "NoSuchKey" || code == "ObjectParentIsFile" || code == "XMinioParentIsObject":
		return nil, fs.ErrNotExist
	case err == nil && (aws.ToString(head.ETag) == "" || head.ContentLength == nil):
		return nil, &UnavailableError{Err: errors.New("S3 does not tell the object's size and ETag")}
	}
	return head, err
}

// maxResumes is how often a download that broke off is resumed, until it has come on by resumeBytes.
const (
	maxResumes  = 3
	resumeBytes = 1 << 20
)

// objectReader reads one content of an object. It never mixes two: every request names the ETag.
type objectReader struct {
	ctx   context.Context //nolint:containedctx // of Open, in which the object is read
	s     *S3
	clean string
	key   string
	etag  string
	size  int64

	offset  int64         // where the next Read is
	body    io.ReadCloser // nil, or from bodyAt on
	bodyAt  int64
	resumes int
	resumed int64 // offset of the last one
}

// Seek implements io.Seeker; it asks S3 for nothing.
func (o *objectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of an artifact")
	}
	o.offset = offset
	return offset, nil
}

// Close implements io.Closer.
func (o *objectReader) Close() error {
	o.drop()
	return nil
}

func (o *objectReader) drop() {
	if o.body != nil {
		o.body.Close()
		o.body = nil
	}
}

// Read implements io.Reader.
func (o *objectReader) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if o.body != nil && o.bodyAt != o.offset {
		o.drop()
	}
	for {
		n, err := o.read(p)
		if err == nil {
			o.offset += int64(n)
			o.bodyAt = o.offset
			if o.offset-o.resumed >= resumeBytes {
				o.resumes = 0
			}
			return n, nil
		}
		o.drop()
		if broken := (*brokenBody)(nil); !errors.As(err, &broken) || isTimeout(err) || o.resumes == maxResumes || o.ctx.Err() != nil {
			return 0, o.s.describe(o.ctx, "read", o.clean, err)
		}
		o.resumes++
		o.resumed = o.offset
	}
}

// brokenBody reports a download that began well.
type brokenBody struct{ err error }

func (e *brokenBody) Error() string { return "the download from S3 broke off: " + e.err.Error() }

func (e *brokenBody) Unwrap() error { return e.err }

// read reads at least one byte. The last bytes are given out only after the SDK has found the checksum of the whole to be
// right, so that a damaged object never looks complete.
func (o *objectReader) read(p []byte) (int, error) {
	if o.body == nil {
		body, err := o.get()
		if err != nil {
			return 0, err
		}
		o.body, o.bodyAt = body, o.offset
	}
	p = p[:min(int64(len(p)), o.size-o.offset)]
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = o.body.Read(p)
	}
	if o.offset+int64(n) == o.size {
		for rest := 0; err == nil; {
			if rest, err = o.body.Read(make([]byte, 1)); rest > 0 {
				err = errReplaced
			}
		}
		if err == io.EOF { //nolint:errorlint // a Reader's
			return n, nil
		}
		if strings.HasPrefix(err.Error(), "checksum did not match") { // the SDK's error has no name
			// Not resumed: a part comes without a checksum.
			return 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return 0, &brokenBody{err}
	}
	if n > 0 {
		return n, nil
	}
	if err == io.EOF { //nolint:errorlint // a Reader's
		err = io.ErrUnexpectedEOF
	}
	return 0, &brokenBody{err}
}

// get asks for the content from the offset on.
func (o *objectReader) get() (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(o.ctx)
	timer := time.AfterFunc(o.s.bounds.Call, cancel)
	input := &s3.GetObjectInput{Bucket: &o.s.bucket, Key: &o.key, IfMatch: &o.etag, ExpectedBucketOwner: o.s.owner}
	var ranged []func(*s3.Options)
	if o.offset > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", o.offset))
		// Some servers send the checksum of the whole along with a part.
		ranged = append(ranged, func(opts *s3.Options) {
			opts.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		})
	}
	answer, err := o.s.client.GetObject(ctx, input, ranged...)
	if err == nil && !timer.Stop() {
		answer.Body.Close()
		err = errSlow
	}
	if err != nil {
		slow := ctx.Err() != nil && o.ctx.Err() == nil
		cancel()
		return nil, o.refusal(err, slow)
	}
	body := cancelBody{answer.Body, cancel}
	if err := o.check(answer); err != nil {
		body.Close() //nolint:errcheck // given up
		return nil, err
	}
	return body, nil
}

// refusal translates the error of a download that did not begin.
func (o *objectReader) refusal(err error, slow bool) error {
	var answer *awshttp.ResponseError
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	switch code := apiCode(err); {
	case slow:
		return &UnavailableError{Err: errSlow}
	case status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable || code == "NoSuchKey":
		return errReplaced
	}
	return err
}

// check refuses an answer that is not the content asked for.
func (o *objectReader) check(answer *s3.GetObjectOutput) error {
	switch {
	case aws.ToString(answer.ETag) != o.etag:
		return errReplaced
	case o.offset > 0 && !strings.HasPrefix(aws.ToString(answer.ContentRange), fmt.Sprintf("bytes %d-%d/", o.offset, o.size-1)):
		return &UnavailableError{Err: fmt.Errorf("S3 answers with range %q of %d bytes where all from byte %d on was asked for", aws.ToString(answer.ContentRange), o.size, o.offset)}
	case answer.ContentLength != nil && *answer.ContentLength != o.size-o.offset:
		return &UnavailableError{Err: fmt.Errorf("S3 answers with %d bytes where it told of %d", *answer.ContentLength, o.size-o.offset)}
	}
	return nil
}

// cancelBody ends the context of its request when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b cancelBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}
