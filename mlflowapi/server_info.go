package mlflowapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
)

type serverInfo struct {
	StoreType                       string          `json:"store_type"`
	WorkspacesEnabled               bool            `json:"workspaces_enabled"`
	TraceArchivalEnabled            bool            `json:"trace_archival_enabled"`
	MultipartUploadsEnabled         bool            `json:"multipart_uploads_enabled"`
	MultipartDownloadsEnabled       bool            `json:"multipart_downloads_enabled"`
	PresignedUploadRunIDSupported   bool            `json:"presigned_upload_run_id_supported"`
	PresignedUploadModelIDSupported bool            `json:"presigned_upload_model_id_supported"`
	FeaturesEnabled                 map[string]bool `json:"features_enabled"`
}

// serverInfoPath is public, as in MLflow: clients ask it before they log in.
const serverInfoPath = "/3.0/mlflow/server-info"

// serverInfo tells clients since 3.16 what this server can do; they keep the answer for a minute. What they hear of transfers they rely
// on: a download without the URL that was promised fails.
func (a *API) serverInfo(c *gin.Context) (decoded, error) {
	store := a.cfg.Artifacts.Served
	_, inParts := store.(artifacts.Multiparter)
	urls := a.urls(c, store) != nil
	info := &serverInfo{
		StoreType: "SqlStore", FeaturesEnabled: map[string]bool{"gateway": false},
		MultipartUploadsEnabled: urls && inParts, MultipartDownloadsEnabled: urls,
		PresignedUploadRunIDSupported: true, PresignedUploadModelIDSupported: true, // the requests are; the storage need not be
	}
	return decoded{answer: func(context.Context) (any, error) { return info, nil }}, nil
}

func plainText(text string) gin.HandlerFunc {
	return func(c *gin.Context) { c.String(http.StatusOK, text) }
}

// ready answers 200 while the database does and the server isn't about to stop.
func (a *API) ready(c *gin.Context) {
	if a.cfg.Stopping != nil && a.cfg.Stopping() {
		a.fail(c, &models.Error{Code: models.TemporarilyUnavailable, Message: "The server is about to stop."})
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), 2*time.Second)
	defer cancel()
	if err := a.store.Ping(ctx); err != nil {
		a.fail(c, errors.Join(&models.Error{Code: models.TemporarilyUnavailable, Message: "The database does not answer."}, err))
		return
	}
	c.String(http.StatusOK, "OK")
}
