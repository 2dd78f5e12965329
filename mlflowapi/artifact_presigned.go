package mlflowapi

import (
	"context"
	"errors"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
)

// presignedFile is a file's URL for reading it in ranges, as clients of served stores get it.
type presignedFile struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	FileSize int64             `json:"file_size"` // bytes
}

// presignedProxied gives out a URL for a file of the served store.
func (a *API) presignedProxied(c *gin.Context) (decoded, error) {
	target := artifactPath(c)
	return decoded{onArtifact(target), func(ctx context.Context) (any, error) {
		at, err := a.served(target)
		if err != nil {
			return nil, err
		}
		urls := a.urls(c, at.Store)
		if urls == nil {
			return nil, notImplemented(noMultipartDownload)
		}
		return presignGet(ctx, at, urls)
	}}, nil
}

// presignGet gives out a URL for a file that exists.
func presignGet(ctx context.Context, at artifacts.Place, urls transferURLs) (*presignedFile, error) {
	object, err := at.Store.Open(ctx, at.Path)
	if errors.Is(err, artifacts.ErrIsDir) {
		return nil, &models.Error{Code: models.ResourceDoesNotExist, Message: "No such artifact: '" + at.Path + "' is a directory"} // as MLflow on S3
	}
	if err != nil {
		return nil, artifactError(at.Path, err)
	}
	defer object.Close()
	url, err := urls.get(ctx, at, object.ETag)
	if err != nil {
		return nil, err
	}
	return &presignedFile{url.URL, headers(url), object.Size}, nil
}

const (
	// defaultUploadURLSeconds is MLflow's.
	defaultUploadURLSeconds = 900
	// maxPresignSeconds is the longest lifetime that object stores give a URL: seven days.
	maxPresignSeconds = 604800
)

type presignedUploadRequest struct {
	RunID      string `json:"run_id"`
	ModelID    string `json:"model_id"`
	Path       string `json:"path" mlflow:"required"`
	Expiration *int64 `json:"expiration"` // seconds
}

func (r presignedUploadRequest) targets() []target {
	var ts []target
	if r.RunID != "" {
		ts = onRun(r.RunID)
	}
	if r.ModelID != "" {
		ts = append(ts, onLoggedModel(r.ModelID)...)
	}
	return ts
}

type presignedURLResponse struct {
	PresignedURL string            `json:"presigned_url"`
	Headers      map[string]string `json:"headers,omitempty"`
	FileSize     int64             `json:"file_size,omitempty"` // bytes; of a download
}

// presignedUpload gives out a URL of the storage behind a run or a logged model, for one PUT of a file.
func (a *API) presignedUpload(ctx context.Context, req *presignedUploadRequest) (*presignedURLResponse, error) {
	if (req.RunID == "") == (req.ModelID == "") {
		return nil, invalid("Exactly one of run_id and model_id must be provided.")
	}
	if _, err := artifacts.CanonicalFilePath(req.Path); err != nil {
		return nil, err
	}
	seconds, err := expiration(req.Expiration, defaultUploadURLSeconds, int64(maxUploadURLTime.Seconds()))
	if err != nil {
		return nil, err
	}
	location := ""
	if req.RunID != "" {
		run, err := a.store.RunInfo(ctx, req.RunID)
		if err != nil {
			return nil, err
		}
		location = value(run.ArtifactURI)
	} else {
		model, err := a.store.LoggedModel(ctx, req.ModelID, false)
		if err != nil {
			return nil, err
		}
		location = model.ArtifactLocation
	}
	if artifacts.IsProxied(location) {
		return nil, invalid("Presigned upload is not supported for proxied artifact storage (artifact URI: %s). Upload through this server instead.", location)
	}
	at, urls, err := a.presigner(location, req.Path, noPresignedUpload)
	if err != nil {
		return nil, err
	}
	url, err := a.presignPut(ctx, at, urls, seconds)
	if err != nil {
		return nil, artifactError(at.Path, err)
	}
	return &presignedURLResponse{PresignedURL: url.URL, Headers: url.Header}, nil
}

// expiration is how long a URL shall be good, as a request says.
func expiration(asked *int64, standard, longest int64) (time.Duration, error) {
	seconds := standard
	if asked != nil {
		seconds = *asked
	}
	if seconds < 1 || seconds > longest {
		return 0, invalid("expiration must be between 1 and %d seconds (got %d).", longest, seconds)
	}
	return time.Duration(seconds) * time.Second, nil
}

// presigner gives the file of a location and the storage that gives out URLs for it; without one, it answers with the message.
func (a *API) presigner(location, file, unsupported string) (artifacts.Place, artifacts.Presigner, error) {
	at, err := a.cfg.Artifacts.Locate(location)
	if errors.Is(err, artifacts.ErrElsewhere) {
		return artifacts.Place{}, nil, notImplemented(unsupported)
	}
	if err == nil {
		at, err = at.In(file)
	}
	if err != nil {
		return artifacts.Place{}, nil, err
	}
	urls, ok := at.Store.(artifacts.Presigner)
	if !ok || a.cfg.PresignedURLs == PresignedOff {
		return artifacts.Place{}, nil, notImplemented(unsupported)
	}
	return at, urls, nil
}

type presignedDownloadRequest struct {
	RunID      string `json:"run_id" mlflow:"required"`
	Path       string `json:"path" mlflow:"required"`
	Expiration *int64 `json:"expiration"` // seconds
}

func (r presignedDownloadRequest) targets() []target { return onRun(r.RunID) }

// presignedDownload gives out a URL of the storage behind a run, for reading a file.
func (a *API) presignedDownload(ctx context.Context, req *presignedDownloadRequest) (*presignedURLResponse, error) {
	if _, err := artifacts.CanonicalFilePath(req.Path); err != nil {
		return nil, err
	}
	seconds, err := expiration(req.Expiration, int64(a.downloadURLTime().Seconds()), maxPresignSeconds)
	if err != nil {
		return nil, err
	}
	run, err := a.store.RunInfo(ctx, req.RunID)
	if err != nil {
		return nil, err
	}
	if artifacts.IsProxied(value(run.ArtifactURI)) {
		return nil, invalid("Presigned download is not supported for runs with proxied artifact storage (artifact URI: %s). Download through this server instead.", value(run.ArtifactURI))
	}
	at, urls, err := a.presigner(value(run.ArtifactURI), req.Path, noPresignedDownload)
	if err != nil {
		return nil, err
	}
	file, err := presignGet(ctx, at, storeURLs{urls, seconds})
	if err != nil {
		return nil, err
	}
	return &presignedURLResponse{file.URL, file.Headers, file.FileSize}, nil
}
