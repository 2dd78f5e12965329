package artifacts

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/singleflight"
)

// S3Bounds are what a call to S3 may take, so that no request hangs with it. A transfer has no such limit; it must make progress.
// Zero is what a server has.
type S3Bounds struct {
	Call   time.Duration // in all, with its retries; of a download, until its first byte
	Stall  time.Duration // without progress
	Settle time.Duration // until a completed upload is to be seen
}

func (b S3Bounds) orDefault() S3Bounds {
	return S3Bounds{Call: cmp.Or(b.Call, 10*time.Second), Stall: cmp.Or(b.Stall, 8*time.Second), Settle: cmp.Or(b.Settle, 10*time.Second)}
}

const (
	dialTime      = 3 * time.Second
	handshakeTime = 5 * time.Second
	completeTime  = 5 * time.Minute // S3 puts the parts of an upload together meanwhile; one on disks copies them, of several files at once
	settlePause   = 20 * time.Millisecond

	// idleConnTime is below that of common S3 servers, so that they are not first.
	idleConnTime = 20 * time.Second

	maxAttempts = 3
	maxBackoff  = time.Second
)

// maxKeyBytes is S3's limit on keys, in UTF-8.
const maxKeyBytes = 1024

// S3Options say which bucket to use, and how, as far as AWS's own variables and files (AWS_REGION, AWS_PROFILE,
// ~/.aws/config, AWS_CA_BUNDLE, …) do not.
type S3Options struct {
	// URI is s3://bucket or s3://bucket/prefix.
	URI string
	// Endpoint is the URL of an S3 server that is not AWS's; empty for AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or AWS.
	Endpoint string
	// PublicEndpoint is the URL under which clients reach the same server with presigned URLs; empty if it is the same.
	PublicEndpoint string
	// AddressingStyle is path, virtual or auto (or empty), which is path if there is an endpoint, and virtual on AWS.
	AddressingStyle string
	// IgnoreTLS takes any certificate.
	IgnoreTLS bool
	// ExpectedBucketOwner is the account that must own the bucket; empty for any.
	ExpectedBucketOwner string
	// UploadArgs are what new objects get, as JSON of boto3's names: {"ServerSideEncryption": "aws:kms"}. Empty for nothing.
	UploadArgs string
	// Bounds differ from a server's where a test wants S3 to hang for longer, or not to wait for it.
	Bounds S3Bounds
}

// S3 stores artifacts as objects of a bucket, in Amazon S3 or what speaks its protocol. A folder is what keys have in
// common; an object whose key ends with a slash, as consoles make them for folders, is none.
type S3 struct {
	client  *s3.Client
	patient *http.Client // for the call that may take completeTime
	signer  *s3.PresignClient
	bucket  string
	prefix  string // without slashes around it
	owner   *string
	args    uploadArgs
	bounds  S3Bounds
	buffers buffers
	aborts  sync.WaitGroup // uploads that are being dropped in the background

	completions singleflight.Group // of uploads that callers know
}

var (
	_ Store       = (*S3)(nil)
	_ Multiparter = (*S3)(nil)
	_ Presigner   = (*S3)(nil)
)

// OpenS3 makes a store of a bucket. It reads AWS's configuration, but asks nobody: whether the bucket answers, Check tells.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	bucket, prefix, err := splitS3URI(o.URI)
	if err != nil {
		return nil, err
	}
	args, err := parseUploadArgs(o.UploadArgs)
	if err != nil {
		return nil, err
	}
	for _, endpoint := range []string{o.Endpoint, o.PublicEndpoint} {
		if err := checkEndpoint(endpoint); err != nil {
			return nil, err
		}
	}
	// The SDK adds AWS_CA_BUNDLE to this client only if it may build it.
	client := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTime }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = handshakeTime
			t.IdleConnTimeout = idleConnTime
			t.MaxIdleConnsPerHost = 32
			t.ForceAttemptHTTP2 = false // one transfer that hangs must not hold up others on its connection
			if o.IgnoreTLS {
				t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // what the operator asked for
			}
		})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if built, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		client = built
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Credentials != nil {
		cfg.Credentials = credentials{cfg.Credentials}
	}
	transport := client.GetTransport()
	transport.MaxResponseHeaderBytes = 1 << 20
	bounds := o.Bounds.orDefault()
	cfg.HTTPClient = newHTTPClient(transport, bounds.Stall)
	cfg.Retryer = func() aws.Retryer { return newRetryer() }

	s := &S3{bucket: bucket, prefix: prefix, args: args, bounds: bounds, patient: newHTTPClient(transport, completeTime)}
	if o.ExpectedBucketOwner != "" {
		s.owner = aws.String(o.ExpectedBucketOwner)
	}
	s.client = s3.NewFromConfig(cfg, func(opts *s3.Options) {
		if o.Endpoint != "" {
			opts.BaseEndpoint = aws.String(o.Endpoint)
		}
		opts.DisableLogOutputChecksumValidationSkipped = true
		opts.ContinueHeaderThresholdBytes = -1
		switch o.AddressingStyle {
		case "", "auto":
			opts.UsePathStyle = opts.BaseEndpoint != nil
		case "path":
			opts.UsePathStyle = true
		case "virtual":
		default:
			err = fmt.Errorf("addressing style %q: write path, virtual or auto", o.AddressingStyle)
		}
	})
	if err != nil {
		return nil, err
	}
	s.signer = s3.NewPresignClient(s.client, func(opts *s3.PresignOptions) {
		opts.ClientOptions = append(opts.ClientOptions, func(opts *s3.Options) {
			if o.PublicEndpoint != "" {
				opts.BaseEndpoint = aws.String(o.PublicEndpoint)
				opts.UsePathStyle = o.AddressingStyle != "virtual"
			}
			// Else the URL is for a body with the checksum of none.
			opts.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		})
	})
	return s, nil
}

func splitS3URI(uri string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" || strings.ContainsAny(bucket, "?#@ ") {
		return "", "", fmt.Errorf("%q is no place in S3; write s3://bucket or s3://bucket/prefix", uri)
	}
	prefix = strings.TrimRight(prefix, "/")
	if clean, err := CanonicalPath(prefix); err != nil || clean != prefix {
		return "", "", fmt.Errorf("%q is no place in S3; write s3://bucket/prefix, with a plain prefix such as team/artifacts", uri)
	}
	return bucket, prefix, nil
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("an S3 endpoint is a URL such as https://minio.company.com:9000, without credentials in it")
	}
	return nil
}

// newRetryer sends again what failed with 500, 503 or a broken connection, but not what hung: it would hang once more.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
		o.RateLimiter = ratelimit.None
		broken := retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			switch {
			case isTimeout(err):
				return aws.FalseTernary
			case errors.Is(err, io.ErrUnexpectedEOF): // in the middle of an answer, of which the SDK knows only that it is no XML
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		})
		o.Retryables = append([]retry.IsErrorRetryable{broken}, o.Retryables...)
	})
}

// URI is s3://bucket/prefix, as locations in the store begin.
func (s *S3) URI() string { return strings.TrimSuffix("s3://"+path.Join(s.bucket, s.prefix), "/") }

// Close waits for what still goes on in the background, which ends in bounded time.
func (s *S3) Close() error {
	s.aborts.Wait()
	return nil
}

// Check asks the bucket for its first object. An error is an *UnavailableError.
func (s *S3) Check(ctx context.Context) error {
	_, err := s.anyBelow(ctx, s.prefix)
	return s.describe(ctx, "list", "", err)
}

// key is the name of the object at a canonical path.
func (s *S3) key(clean string) (string, error) {
	key := path.Join(s.prefix, clean)
	if len(key) > maxKeyBytes {
		return "", &PathError{Path: clean, Reason: fmt.Sprintf("S3's keys have at most %d bytes", maxKeyBytes-len(key)+len(clean))}
	}
	return key, nil
}

// pathKey is the key of an artifact path in any spelling.
func (s *S3) pathKey(p string) (clean, key string, err error) {
	if clean, err = CanonicalPath(p); err == nil {
		key, err = s.key(clean)
	}
	return clean, key, err
}

// fileKey is pathKey for what must name a file.
func (s *S3) fileKey(p string) (clean, key string, err error) {
	if clean, err = CanonicalFilePath(p); err == nil {
		key, err = s.key(clean)
	}
	return clean, key, err
}

// folderPrefix is what the keys of a folder's files begin with.
func folderPrefix(key string) string {
	if key == "" {
		return ""
	}
	return key + "/"
}

// limited is ctx for a call that has no long body.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, errSlow)
}

// quoted is an ETag as HTTP wants it; some servers leave out the quotes.
func quoted(etag *string) string {
	tag := aws.ToString(etag)
	if tag == "" || strings.HasPrefix(tag, `"`) {
		return tag
	}
	return `"` + tag + `"`
}

// credentials are the SDK's, whose failures are told from those of S3.
type credentials struct{ aws.CredentialsProvider }

func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	value, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return value, &credentialsError{err}
	}
	return value, nil
}
