package artifacts

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// uploadArgs are what new objects get, by boto3's names.
type uploadArgs struct {
	ACL                     types.ObjectCannedACL
	BucketKeyEnabled        *bool
	CacheControl            *string
	ServerSideEncryption    types.ServerSideEncryption
	SSEKMSKeyId             *string
	SSEKMSEncryptionContext *string
	StorageClass            types.StorageClass
	Tagging                 *string
}

func parseUploadArgs(text string) (args uploadArgs, err error) {
	if text == "" {
		return args, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&args); err != nil {
		return args, fmt.Errorf("upload arguments for S3: %w; write a JSON object with any of ACL, BucketKeyEnabled, CacheControl, ServerSideEncryption, "+
			"SSEKMSKeyId, SSEKMSEncryptionContext, StorageClass, Tagging", err)
	}
	return args, nil
}

func (a uploadArgs) onPut(input *s3.PutObjectInput) {
	input.ACL, input.CacheControl, input.StorageClass, input.Tagging = a.ACL, a.CacheControl, a.StorageClass, a.Tagging
	input.ServerSideEncryption, input.SSEKMSKeyId = a.ServerSideEncryption, a.SSEKMSKeyId
	input.SSEKMSEncryptionContext, input.BucketKeyEnabled = a.SSEKMSEncryptionContext, a.BucketKeyEnabled
}

func (a uploadArgs) onCreate(input *s3.CreateMultipartUploadInput) {
	input.ACL, input.CacheControl, input.StorageClass, input.Tagging = a.ACL, a.CacheControl, a.StorageClass, a.Tagging
	input.ServerSideEncryption, input.SSEKMSKeyId = a.ServerSideEncryption, a.SSEKMSKeyId
	input.SSEKMSEncryptionContext, input.BucketKeyEnabled = a.SSEKMSEncryptionContext, a.BucketKeyEnabled
}
