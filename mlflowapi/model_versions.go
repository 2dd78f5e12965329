package mlflowapi

import (
	"context"
	"strconv"

	"greenroom/models"
)

type modelVersion struct {
	Name                 string       `json:"name"`
	Version              string       `json:"version"`
	CreationTimestamp    *int64       `json:"creation_timestamp,omitempty"`
	LastUpdatedTimestamp *int64       `json:"last_updated_timestamp,omitempty"`
	UserID               *string      `json:"user_id,omitempty"`
	CurrentStage         models.Stage `json:"current_stage"`
	Description          *string      `json:"description,omitempty"`
	Source               *string      `json:"source,omitempty"`
	RunID                *string      `json:"run_id,omitempty"`
	Status               *string      `json:"status,omitempty"`
	StatusMessage        string       `json:"status_message,omitempty"`
	Tags                 []tag        `json:"tags,omitempty"`
	RunLink              *string      `json:"run_link,omitempty"`
	Aliases              []string     `json:"aliases,omitempty"`
}

func newModelVersion(v *models.ModelVersion) modelVersion {
	return modelVersion{
		Name: v.Name, Version: strconv.FormatInt(v.Version, 10), CreationTimestamp: v.CreationTime, LastUpdatedTimestamp: v.LastUpdatedTime, UserID: v.UserID,
		CurrentStage: v.CurrentStage, Description: v.Description, Source: v.Source, RunID: v.RunID, Status: v.Status, StatusMessage: value(v.StatusMessage),
		Tags: newTags(v.Tags), RunLink: v.RunLink, Aliases: v.Aliases,
	}
}

func newModelVersions(versions []*models.ModelVersion) []modelVersion {
	out := make([]modelVersion, len(versions))
	for i, v := range versions {
		out[i] = newModelVersion(v)
	}
	return out
}

type modelVersionResponse struct {
	ModelVersion modelVersion `json:"model_version"`
}

func (r *modelVersionResponse) appendJSON(b []byte) []byte {
	return append(r.ModelVersion.appendJSON(append(b, `{"model_version":`...)), '}')
}

func (v modelVersion) appendJSON(b []byte) []byte {
	b, f := object(b)
	b = f.text(b, "name", v.Name)
	b = f.text(b, "version", v.Version)
	b = f.optionalNumber(b, "creation_timestamp", v.CreationTimestamp)
	b = f.optionalNumber(b, "last_updated_timestamp", v.LastUpdatedTimestamp)
	b = f.optionalText(b, "user_id", v.UserID)
	b = f.text(b, "current_stage", string(v.CurrentStage))
	b = f.optionalText(b, "description", v.Description)
	b = f.optionalText(b, "source", v.Source)
	b = f.optionalText(b, "run_id", v.RunID)
	b = f.optionalText(b, "status", v.Status)
	b = f.optionalText(b, "status_message", optional(v.StatusMessage))
	if len(v.Tags) > 0 {
		b = appendList(f.name(b, "tags"), v.Tags, appendTag)
	}
	b = f.optionalText(b, "run_link", v.RunLink)
	if len(v.Aliases) > 0 {
		b = appendList(f.name(b, "aliases"), v.Aliases, appendString)
	}
	return append(b, '}')
}

func answerModelVersion(v *models.ModelVersion, err error) (*modelVersionResponse, error) {
	if err != nil {
		return nil, err
	}
	return &modelVersionResponse{newModelVersion(v)}, nil
}

type createModelVersionRequest struct {
	Name        string  `json:"name" mlflow:"required"`
	Source      string  `json:"source" mlflow:"required"`
	RunID       *string `json:"run_id"`
	Tags        []tag   `json:"tags"`
	RunLink     string  `json:"run_link"`
	Description string  `json:"description"`
	ModelID     *string `json:"model_id"`
}

// targets leaves what the version is made from to the store, which finds out what that is and asks for Read on it.
func (r createModelVersionRequest) targets() []target { return onModel(r.Name) }

func (a *API) createModelVersion(ctx context.Context, req *createModelVersionRequest) (*modelVersionResponse, error) {
	return answerModelVersion(a.store.CreateModelVersion(ctx, models.NewModelVersion{
		Name: req.Name, Source: req.Source, RunID: req.RunID, ModelID: req.ModelID,
		RunLink: req.RunLink, Description: req.Description, Tags: modelTags(req.Tags),
	}))
}

type modelVersionRef struct {
	Name    string `json:"name" mlflow:"required"`
	Version string `json:"version" mlflow:"required"`
}

func (r modelVersionRef) targets() []target { return onVersion(r.Name, r.Version) }

func (a *API) getModelVersion(ctx context.Context, req *modelVersionRef) (*modelVersionResponse, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return answerModelVersion(a.store.ModelVersion(ctx, req.Name, version))
}

type updateModelVersionRequest struct {
	Name        string  `json:"name" mlflow:"required"`
	Version     string  `json:"version" mlflow:"required"`
	Description *string `json:"description"`
}

func (r updateModelVersionRequest) targets() []target { return onVersion(r.Name, r.Version) }

// updateModelVersion clears the description when none is sent, as MLflow does.
func (a *API) updateModelVersion(ctx context.Context, req *updateModelVersionRequest) (*modelVersionResponse, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return answerModelVersion(a.store.UpdateModelVersion(ctx, req.Name, version, req.Description))
}

func (a *API) deleteModelVersion(ctx context.Context, req *modelVersionRef) (*empty, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.DeleteModelVersion(ctx, req.Name, version)
}

// maxModelVersions is both the default and the largest page of model versions.
const maxModelVersions = 200_000

type searchModelVersionsRequest struct {
	filtered
	Filter     string   `json:"filter"`
	MaxResults *int64   `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`
}

func (a *API) searchModelVersions(ctx context.Context, req *searchModelVersionsRequest) (*modelVersionsResponse, error) {
	page, err := pageOf(req.MaxResults, maxModelVersions, maxModelVersions, req.PageToken)
	if err != nil {
		return nil, err
	}
	page.Filter, page.OrderBy = req.Filter, req.OrderBy
	found, err := a.store.SearchModelVersions(ctx, page)
	if err != nil {
		return nil, err
	}
	next, err := nextToken(page)
	return &modelVersionsResponse{newModelVersions(found), next}, err
}

type getDownloadURIRequest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (r getDownloadURIRequest) targets() []target { return onVersion(r.Name, r.Version) }

type getDownloadURIResponse struct {
	ArtifactURI string `json:"artifact_uri"`
}

func (a *API) getDownloadURI(ctx context.Context, req *getDownloadURIRequest) (*getDownloadURIResponse, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	uri, err := a.store.DownloadURI(ctx, req.Name, version)
	return &getDownloadURIResponse{uri}, err
}

type setModelVersionTagRequest struct {
	Name    string `json:"name" mlflow:"required"`
	Version string `json:"version" mlflow:"required"`
	Key     string `json:"key" mlflow:"required"`
	Value   string `json:"value"`
}

func (r setModelVersionTagRequest) targets() []target { return onVersion(r.Name, r.Version) }

func (a *API) setModelVersionTag(ctx context.Context, req *setModelVersionTagRequest) (*empty, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.SetModelVersionTag(ctx, req.Name, version, models.Tag{Key: req.Key, Value: req.Value})
}

type deleteModelVersionTagRequest struct {
	Name    string `json:"name" mlflow:"required"`
	Version string `json:"version" mlflow:"required"`
	Key     string `json:"key" mlflow:"required"`
}

func (r deleteModelVersionTagRequest) targets() []target { return onVersion(r.Name, r.Version) }

func (a *API) deleteModelVersionTag(ctx context.Context, req *deleteModelVersionTagRequest) (*empty, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.DeleteModelVersionTag(ctx, req.Name, version, req.Key)
}

type transitionStageRequest struct {
	Name                    string `json:"name" mlflow:"required"`
	Version                 string `json:"version" mlflow:"required"`
	Stage                   string `json:"stage" mlflow:"required"`
	ArchiveExistingVersions bool   `json:"archive_existing_versions"`
}

func (r transitionStageRequest) targets() []target { return onVersion(r.Name, r.Version) }

func (a *API) transitionStage(ctx context.Context, req *transitionStageRequest) (*modelVersionResponse, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return answerModelVersion(a.store.TransitionStage(ctx, req.Name, version, req.Stage, req.ArchiveExistingVersions))
}
