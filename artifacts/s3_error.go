package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// timeoutError is a limit of ours that S3 exceeded.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }

// Timeout implements net.Error's.
func (timeoutError) Timeout() bool { return true }

const (
	errSlow    = timeoutError("S3 took too long to answer")
	errStalled = timeoutError("the transfer from or to S3 made no progress")
)

// errReplaced reports an object that was replaced while it was being read.
var errReplaced = errors.New("the object was replaced while it was being read")

// credentialsError reports that there is nothing to sign a request with.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	return "no usable AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role: " + e.err.Error()
}

func (e *credentialsError) Unwrap() error { return e.err }

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// describe adds what was attempted, and translates what S3 or the SDK says into the errors that Store promises. ctx is
// the caller's, which may be what ended the call.
func (s *S3) describe(ctx context.Context, op, clean string, err error) error {
	if err == nil {
		return nil
	}
	translated := err
	if cause := ctx.Err(); cause != nil {
		translated = cause
	} else if known := s.translate(clean, err); known != nil {
		translated = known
	}
	var pathErr *PathError
	if errors.As(translated, &pathErr) {
		return pathErr
	}
	return fmt.Errorf("%s artifact %q: %w", op, clean, translated)
}

// translate is nil for an error that is Store's already.
func (s *S3) translate(clean string, err error) error {
	var (
		known       *UnavailableError
		path        *PathError
		credentials *credentialsError
		answer      *awshttp.ResponseError
		api         smithy.APIError
		sent        *url.Error
	)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrIsDir), errors.Is(err, ErrNotDir), errors.Is(err, ErrNoUpload), errors.Is(err, ErrPart),
		errors.Is(err, ErrCorrupt), errors.As(err, &known), errors.As(err, &path):
		return nil
	case errors.Is(err, errReplaced):
		return &UnavailableError{Err: err}
	case errors.As(err, &credentials):
		return &UnavailableError{Refused: true, Err: credentials}
	}
	code, message, status := "", "", 0
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		status = answer.HTTPStatusCode()
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" && (status == http.StatusMovedPermanently || status == http.StatusBadRequest) {
			err = fmt.Errorf("%w (the bucket is in region %s; set AWS_REGION to it)", err, region)
		}
	}
	switch code {
	case "NoSuchKey", "NotFound":
		return fs.ErrNotExist
	case "NoSuchUpload":
		return ErrNoUpload
	case "InvalidPart", "InvalidPartOrder", "InvalidPartNumber", "EntityTooSmall", "EntityTooLarge":
		return fmt.Errorf("%w: %s", ErrPart, message)
	case "KeyTooLongError":
		return &PathError{Path: clean, Reason: "it is too long for the artifact store"}
	case "ExistingObjectIsDirectory", "XMinioObjectExistsAsDirectory":
		return ErrIsDir
	case "ObjectParentIsFile", "XMinioParentIsObject":
		return ErrNotDir
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientStorageSpace", "StorageFull", "NoSpaceLeft":
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "InvalidBucketName", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
		"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidRequest", "NotSignedUp", "AccountProblem":
		return &UnavailableError{Refused: true, Err: err}
	}
	switch status {
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMovedPermanently:
		return &UnavailableError{Refused: true, Err: err}
	case http.StatusBadRequest:
		// The answer to a HEAD has no code; credentials that have expired and a wrong region come like this.
		return &UnavailableError{Refused: code == "" || strings.Contains(code, "BadRequest") || strings.HasPrefix(code, "KMS."), Err: err}
	}
	if errors.As(err, &sent) {
		err = sent.Err // without the URL, which says nothing new
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errSlow
	}
	return &UnavailableError{Err: err}
}

// apiCode is S3's name of an error; empty if it is not S3's.
func apiCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
