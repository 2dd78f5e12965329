package artifacts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxDeleteKeys is how many objects S3 deletes with one call.
const maxDeleteKeys = 1000

// List implements Store.
func (s *S3) List(ctx context.Context, p string) ([]Entry, error) {
	clean, key, err := s.pathKey(p)
	if err != nil {
		return nil, err
	}
	entries, found, err := s.list(ctx, folderPrefix(key))
	if err == nil && !found && clean != "" {
		if _, err = s.head(ctx, key); err == nil {
			err = ErrNotDir
		}
	}
	if err != nil {
		return nil, s.describe(ctx, "list", clean, err)
	}
	return entries, nil
}

// list also tells whether any key begins with prefix, of an entry or not.
func (s *S3) list(ctx context.Context, prefix string) (entries []Entry, found bool, err error) {
	input := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, Delimiter: aws.String("/"), ExpectedBucketOwner: s.owner}
	err = s.pages(ctx, input, func(page *s3.ListObjectsV2Output) error {
		found = found || len(page.Contents)+len(page.CommonPrefixes) > 0
		for _, object := range page.Contents {
			if name := strings.TrimPrefix(aws.ToString(object.Key), prefix); showable(name) {
				entries = append(entries, Entry{Name: name, Size: aws.ToInt64(object.Size)})
			}
		}
		for _, folder := range page.CommonPrefixes {
			if name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(folder.Prefix), prefix), "/"); showable(name) {
				entries = append(entries, Entry{Name: name, IsDir: true})
			}
		}
		return nil
	})
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, found, err
}

// showable tells whether a client can ask for a name.
func showable(name string) bool {
	clean, err := CanonicalPath(name)
	return err == nil && name != "" && clean == name
}

// anyBelow tells whether a folder has a file.
func (s *S3) anyBelow(ctx context.Context, key string) (bool, error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	page, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(folderPrefix(key)), MaxKeys: aws.Int32(1), EncodingType: types.EncodingTypeUrl, ExpectedBucketOwner: s.owner,
	})
	if err != nil {
		return false, err
	}
	return len(page.Contents) > 0, nil
}

// pages visits a listing page by page. Keys are asked for URL-encoded, because XML can't hold all of them.
func (s *S3) pages(ctx context.Context, input *s3.ListObjectsV2Input, visit func(*s3.ListObjectsV2Output) error) error {
	input.EncodingType = types.EncodingTypeUrl
	for {
		page, err := s.page(ctx, input)
		if err != nil {
			return err
		}
		if err := visit(page); err != nil {
			return err
		}
		next := aws.ToString(page.NextContinuationToken)
		if !aws.ToBool(page.IsTruncated) || next == "" {
			return nil
		}
		if next == aws.ToString(input.ContinuationToken) {
			return &UnavailableError{Err: errors.New("S3 lists the same page again and again")}
		}
		input.ContinuationToken = &next
	}
}

func (s *S3) page(ctx context.Context, input *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	page, err := s.client.ListObjectsV2(ctx, input)
	if err != nil || page.EncodingType != types.EncodingTypeUrl {
		return page, err
	}
	decode := func(encoded *string) *string {
		text, bad := url.QueryUnescape(aws.ToString(encoded))
		if bad != nil {
			err = &UnavailableError{Err: fmt.Errorf("S3 lists a key in a wrong encoding: %w", bad)}
		}
		return &text
	}
	for i := range page.Contents {
		page.Contents[i].Key = decode(page.Contents[i].Key)
	}
	for i := range page.CommonPrefixes {
		page.CommonPrefixes[i].Prefix = decode(page.CommonPrefixes[i].Prefix)
	}
	return page, err
}

// Delete implements Store. An interrupted one has deleted a part of the folder; a repeated one deletes the rest.
func (s *S3) Delete(ctx context.Context, p string) error {
	clean, key, err := s.pathKey(p)
	if err != nil {
		return err
	}
	if clean == "" {
		return &PathError{Path: p, Reason: "the artifact root can't be deleted; name a file or folder in it"}
	}
	input := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(folderPrefix(key)), ExpectedBucketOwner: s.owner}
	err = s.pages(ctx, input, func(page *s3.ListObjectsV2Output) error { return s.deleteKeys(ctx, page.Contents) })
	if err == nil {
		err = s.deleteKey(ctx, key)
	}
	return s.describe(ctx, "delete", clean, err)
}

func (s *S3) deleteKey(ctx context.Context, key string) error {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner})
	if isGone(apiCode(err)) {
		return nil
	}
	return err
}

// isGone tells whether S3's error says that there is nothing left to delete. A gateway that keeps objects as files has
// folders of its own, which go when they are empty.
func isGone(code string) bool {
	switch code {
	case "NoSuchKey", "NotFound", "ObjectParentIsFile", "ExistingObjectIsDirectory", "DirectoryNotEmpty":
		return true
	}
	return false
}

// deleteKeys deletes the objects of a page.
func (s *S3) deleteKeys(ctx context.Context, objects []types.Object) error {
	for batch := range slices.Chunk(objects, maxDeleteKeys) {
		ids := make([]types.ObjectIdentifier, len(batch))
		for i, object := range batch {
			ids[i].Key = object.Key
		}
		if err := s.deleteBatch(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

func (s *S3) deleteBatch(ctx context.Context, ids []types.ObjectIdentifier) error {
	ctx, cancel := limited(ctx, s.bounds.Call)
	defer cancel()
	answer, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}, ExpectedBucketOwner: s.owner,
	})
	if err != nil {
		return err
	}
	for _, failed := range answer.Errors {
		if code := aws.ToString(failed.Code); !isGone(code) {
			return &UnavailableError{
				Refused: code == "AccessDenied",
				Err:     fmt.Errorf("S3 does not delete %q: %s: %s", aws.ToString(failed.Key), code, aws.ToString(failed.Message)),
			}
		}
	}
	return nil
}
