package mlflowapi

import (
	"context"

	"greenroom/artifacts"
)

type presignedUploadRequest struct {
	RunID      string `json:"run_id"`
	ModelID    string `json:"model_id"`
	Path       string `json:"path" mlflow:"required"`
	Expiration int64  `json:"expiration"` // seconds
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

// presignedUpload refuses: this server's stores give out no URLs of their own.
func (a *API) presignedUpload(ctx context.Context, req *presignedUploadRequest) (*empty, error) {
	if (req.RunID == "") == (req.ModelID == "") {
		return nil, invalid("Exactly one of run_id and model_id must be provided.")
	}
	if _, err := artifacts.CanonicalFilePath(req.Path); err != nil {
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
	return nil, notImplemented(noPresignedUpload)
}

type presignedDownloadRequest struct {
	RunID      string `json:"run_id" mlflow:"required"`
	Path       string `json:"path" mlflow:"required"`
	Expiration *int64 `json:"expiration"` // seconds
}

func (r presignedDownloadRequest) targets() []target { return onRun(r.RunID) }

// maxPresignSeconds is the longest lifetime that object stores give a URL: seven days.
const maxPresignSeconds = 604800

// presignedDownload refuses, as presignedUpload does.
func (a *API) presignedDownload(ctx context.Context, req *presignedDownloadRequest) (*empty, error) {
	if _, err := artifacts.CanonicalFilePath(req.Path); err != nil {
		return nil, err
	}
	if e := req.Expiration; e != nil && (*e < 1 || *e > maxPresignSeconds) {
		return nil, invalid("expiration must be between 1 and %d seconds (got %d).", maxPresignSeconds, *e)
	}
	run, err := a.store.RunInfo(ctx, req.RunID)
	if err != nil {
		return nil, err
	}
	if artifacts.IsProxied(value(run.ArtifactURI)) {
		return nil, invalid("Presigned download is not supported for runs with proxied artifact storage (artifact URI: %s). Download through this server instead.", value(run.ArtifactURI))
	}
	return nil, notImplemented(noPresignedDownload)
}
