package mlflowapi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"reflect"
	"strings"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/panics"
)

// uploadRef is embedded by a request about a multipart upload. The end of the request's path is the artifact's folder.
type uploadRef struct {
	LocalFile string `json:"path" mlflow:"required"` // on the client's machine, of any system: only its name counts
}

// name is that of the artifact.
func (r uploadRef) name() string { return r.LocalFile[strings.LastIndexAny(r.LocalFile, `/\`)+1:] }

type uploadRequest[Req any] interface {
	*Req
	name() string
}

// onUpload is an RPC about the file that folder and name together are: on that the caller needs the level, and not on the folder alone.
func onUpload[Req any, P uploadRequest[Req]](a *API, answer func(context.Context, *gin.Context, multipartPlace, P) (any, error)) call {
	d := newDecoder(reflect.TypeFor[Req]())
	return func(c *gin.Context) (decoded, error) {
		req := P(new(Req))
		object, err := bodyObject(c.Request)
		if err == nil {
			err = d.fill(reflect.ValueOf(req).Elem(), "", object)
		}
		if err != nil {
			return decoded{}, err
		}
		target := req.name()
		if folder := artifactPath(c); folder != "" {
			target = folder + "/" + target
		}
		return decoded{onArtifact(target), func(ctx context.Context) (any, error) {
			at, err := a.multipart(target)
			if err != nil {
				return nil, err
			}
			return answer(ctx, c, at, req)
		}}, nil
	}
}

// multipartPlace is a file of a store that takes files in parts.
type multipartPlace struct {
	artifacts.Place
	parts artifacts.Multiparter
}

// multipart is servedFile for a file that comes in parts.
func (a *API) multipart(path string) (multipartPlace, error) {
	at, err := a.servedFile(path)
	if err != nil {
		return multipartPlace{}, err
	}
	parts, ok := at.Store.(artifacts.Multiparter)
	if !ok {
		return multipartPlace{}, notImplemented(noMultipartUpload)
	}
	return multipartPlace{at, parts}, nil
}

type createUploadRequest struct {
	uploadRef
	NumParts int64 `json:"num_parts" mlflow:"required"`
}

type createUploadResponse struct {
	UploadID    string           `json:"upload_id"`
	Credentials []partCredential `json:"credentials"`
}

type partCredential struct {
	URL        string            `json:"url"`
	PartNumber int               `json:"part_number"`
	Headers    map[string]string `json:"headers"`
}

// createMultipartUpload begins an upload, and gives out a URL for each part.
func (a *API) createMultipartUpload(ctx context.Context, c *gin.Context, at multipartPlace, req *createUploadRequest) (any, error) {
	count := req.NumParts
	if count < 1 || count > artifacts.MaxParts {
		return nil, invalid("Invalid value %d for parameter 'num_parts': an upload has from 1 to %d parts; send a bigger file in bigger parts.", count, artifacts.MaxParts)
	}
	urls := a.urls(c, at.Store)
	if urls == nil {
		return nil, notImplemented(noMultipartUpload)
	}
	id, err := a.createUpload(ctx, at)
	if err != nil {
		return nil, err
	}
	resp := &createUploadResponse{UploadID: id, Credentials: make([]partCredential, count)}
	for i := range resp.Credentials {
		url, err := urls.part(ctx, at.Place, id, i+1)
		if err != nil {
			return nil, err
		}
		resp.Credentials[i] = partCredential{url.URL, i + 1, headers(url)}
	}
	return resp, nil
}

// headers are those of a URL, for JSON: clients look for them even when there are none.
func headers(url artifacts.Presigned) map[string]string {
	if url.Header == nil {
		return map[string]string{}
	}
	return url.Header
}

type completeUploadRequest struct {
	uploadRef
	UploadID string         `json:"upload_id" mlflow:"required"`
	Parts    []uploadedPart `json:"parts" mlflow:"required"`
}

type uploadedPart struct {
	PartNumber int64  `json:"part_number"`
	ETag       string `json:"etag"`
}

// completeMultipartUpload goes on to its end when the client does not wait for it: a client gives up on a big file after two
// minutes and asks again, which the store then answers with what the first request has come to.
func (a *API) completeMultipartUpload(ctx context.Context, _ *gin.Context, at multipartPlace, req *completeUploadRequest) (any, error) {
	if len(req.Parts) > artifacts.MaxParts {
		return nil, invalid("Invalid value for parameter 'parts': an upload has from 1 to %d parts.", artifacts.MaxParts)
	}
	parts := make([]artifacts.Part, len(req.Parts))
	for i, part := range req.Parts {
		if part.PartNumber < 1 || part.PartNumber > artifacts.MaxParts {
			return nil, invalid("Invalid value %d for parameter 'parts[%d].part_number': parts have the numbers from 1 to %d.", part.PartNumber, i, artifacts.MaxParts)
		}
		parts[i] = artifacts.Part{Number: int(part.PartNumber), ETag: part.ETag}
	}
	return empty{}, a.detached(ctx, func(ctx context.Context) error { return a.completeUpload(ctx, at, req.UploadID, parts) })
}

// detached runs work that the end of the request does not stop, and waits for it as long as the request lasts.
func (a *API) detached(ctx context.Context, work func(context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		err := panics.Caught(func() error { return work(context.WithoutCancel(ctx)) })
		if err != nil && ctx.Err() != nil {
			a.log.ErrorContext(ctx, "failed after its client had gone", slog.Any("error", err))
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type abortUploadRequest struct {
	uploadRef
	UploadID string `json:"upload_id" mlflow:"required"`
}

// abortMultipartUpload drops the parts; what does not exist is dropped already.
func (a *API) abortMultipartUpload(ctx context.Context, _ *gin.Context, at multipartPlace, req *abortUploadRequest) (any, error) {
	return empty{}, uploadError(at.Path, at.parts.AbortUpload(ctx, at.Path, req.UploadID))
}

// uploadError is artifactError for what can go wrong with parts.
func uploadError(target string, err error) error {
	switch {
	case errors.Is(err, artifacts.ErrNoUpload):
		return &models.Error{Code: models.ResourceDoesNotExist, Message: "No such multipart upload of '" + target + "': it was not begun for this path, or has been completed or aborted. Begin a new one."}
	case errors.Is(err, artifacts.ErrPart):
		return invalid("The parts make no file: %v. Name every part once, in the order of the numbers, with the ETag that its upload answered.", err)
	case errors.Is(err, fs.ErrNotExist):
		return errors.New(err.Error()) // a failure of the store; an upload has nothing else to miss
	}
	return artifactError(target, err)
}
