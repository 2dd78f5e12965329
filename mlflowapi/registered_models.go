package mlflowapi

import (
	"context"
	"slices"
	"strconv"

	"greenroom/models"
)

type registeredModel struct {
	Name                 string         `json:"name"`
	CreationTimestamp    *int64         `json:"creation_timestamp,omitempty"`
	LastUpdatedTimestamp *int64         `json:"last_updated_timestamp,omitempty"`
	Description          string         `json:"description,omitempty"`
	LatestVersions       []modelVersion `json:"latest_versions,omitempty"`
	Tags                 []tag          `json:"tags,omitempty"`
	Aliases              []modelAlias   `json:"aliases,omitempty"`
}

type modelAlias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

func newRegisteredModel(m *models.RegisteredModel) registeredModel {
	out := registeredModel{
		Name: m.Name, CreationTimestamp: m.CreationTime, LastUpdatedTimestamp: m.LastUpdatedTime, Description: value(m.Description),
		LatestVersions: newModelVersions(m.LatestVersions), Tags: newTags(m.Tags),
	}
	for _, a := range m.Aliases {
		out.Aliases = append(out.Aliases, modelAlias{a.Alias, strconv.FormatInt(a.Version, 10)})
	}
	return out
}

type registeredModelResponse struct {
	RegisteredModel registeredModel `json:"registered_model"`
}

func answerRegisteredModel(m *models.RegisteredModel, err error) (*registeredModelResponse, error) {
	if err != nil {
		return nil, err
	}
	return &registeredModelResponse{newRegisteredModel(m)}, nil
}

type createRegisteredModelRequest struct {
	Name        string `json:"name" mlflow:"required"`
	Tags        []tag  `json:"tags"`
	Description string `json:"description"`
}

func (r createRegisteredModelRequest) targets() []target {
	return []target{{kind: creationModel, ref: r.Name}}
}

func (a *API) createRegisteredModel(ctx context.Context, req *createRegisteredModelRequest) (*registeredModelResponse, error) {
	return answerRegisteredModel(a.store.CreateRegisteredModel(ctx, req.Name, req.Description, modelTags(req.Tags)))
}

type registeredModelRef struct {
	Name string `json:"name" mlflow:"required"`
}

func (r registeredModelRef) targets() []target { return onModel(r.Name) }

func (a *API) getRegisteredModel(ctx context.Context, req *registeredModelRef) (*registeredModelResponse, error) {
	return answerRegisteredModel(a.store.RegisteredModel(ctx, req.Name))
}

type updateRegisteredModelRequest struct {
	Name        string `json:"name" mlflow:"required"`
	Description string `json:"description"`
}

func (r updateRegisteredModelRequest) targets() []target { return onModel(r.Name) }

// updateRegisteredModel clears the description when none is sent, as MLflow does.
func (a *API) updateRegisteredModel(ctx context.Context, req *updateRegisteredModelRequest) (*registeredModelResponse, error) {
	return answerRegisteredModel(a.store.UpdateRegisteredModel(ctx, req.Name, req.Description))
}

type renameRegisteredModelRequest struct {
	Name    string `json:"name" mlflow:"required"`
	NewName string `json:"new_name" mlflow:"required"`
}

func (r renameRegisteredModelRequest) targets() []target {
	return []target{{kind: modelByName, ref: r.Name, to: r.NewName}}
}

func (a *API) renameRegisteredModel(ctx context.Context, req *renameRegisteredModelRequest) (*registeredModelResponse, error) {
	return answerRegisteredModel(a.store.RenameRegisteredModel(ctx, req.Name, req.NewName))
}

func (a *API) deleteRegisteredModel(ctx context.Context, req *registeredModelRef) (*empty, error) {
	return &empty{}, a.store.DeleteRegisteredModel(ctx, req.Name)
}

// Page sizes of registered models.
const (
	defaultRegisteredModels = 100
	maxRegisteredModels     = 1000
)

type searchRegisteredModelsRequest struct {
	filtered
	Filter     string   `json:"filter"`
	MaxResults *int64   `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`
}

type searchRegisteredModelsResponse struct {
	RegisteredModels []registeredModel `json:"registered_models,omitempty"`
	NextPageToken    string            `json:"next_page_token,omitempty"`
}

func (a *API) searchRegisteredModels(ctx context.Context, req *searchRegisteredModelsRequest) (*searchRegisteredModelsResponse, error) {
	page, err := pageOf(req.MaxResults, defaultRegisteredModels, maxRegisteredModels, req.PageToken)
	if err != nil {
		return nil, err
	}
	page.Filter, page.OrderBy = req.Filter, req.OrderBy
	found, err := a.store.SearchRegisteredModels(ctx, page)
	if err != nil {
		return nil, err
	}
	resp := &searchRegisteredModelsResponse{}
	for _, m := range found {
		resp.RegisteredModels = append(resp.RegisteredModels, newRegisteredModel(m))
	}
	resp.NextPageToken, err = nextToken(page)
	return resp, err
}

type listRegisteredModelsRequest struct {
	filtered
	MaxResults *int64 `json:"max_results"`
	PageToken  string `json:"page_token"`
}

// listRegisteredModels serves clients 1.x; MLflow 2 dropped the route for registered-models/search.
func (a *API) listRegisteredModels(ctx context.Context, req *listRegisteredModelsRequest) (*searchRegisteredModelsResponse, error) {
	return a.searchRegisteredModels(ctx, &searchRegisteredModelsRequest{MaxResults: req.MaxResults, PageToken: req.PageToken})
}

type getLatestVersionsRequest struct {
	Name   string   `json:"name" mlflow:"required"`
	Stages []string `json:"stages"`
}

func (r getLatestVersionsRequest) targets() []target { return onModel(r.Name) }

type modelVersionsResponse struct {
	ModelVersions []modelVersion `json:"model_versions,omitempty"`
	NextPageToken string         `json:"next_page_token,omitempty"`
}

func (r *modelVersionsResponse) appendJSON(b []byte) []byte {
	const usual = 512 // bytes of a version
	b, f := object(slices.Grow(b, usual*len(r.ModelVersions)))
	if len(r.ModelVersions) > 0 {
		b = appendList(f.name(b, "model_versions"), r.ModelVersions, func(b []byte, v modelVersion) []byte { return v.appendJSON(b) })
	}
	b = f.optionalText(b, "next_page_token", optional(r.NextPageToken))
	return append(b, '}')
}

func (a *API) getLatestVersions(ctx context.Context, req *getLatestVersionsRequest) (*modelVersionsResponse, error) {
	latest, err := a.store.LatestVersions(ctx, req.Name, req.Stages)
	if err != nil {
		return nil, err
	}
	return &modelVersionsResponse{ModelVersions: newModelVersions(latest)}, nil
}

type setRegisteredModelTagRequest struct {
	Name  string `json:"name" mlflow:"required"`
	Key   string `json:"key" mlflow:"required"`
	Value string `json:"value"`
}

func (r setRegisteredModelTagRequest) targets() []target { return onModel(r.Name) }

func (a *API) setRegisteredModelTag(ctx context.Context, req *setRegisteredModelTagRequest) (*empty, error) {
	return &empty{}, a.store.SetRegisteredModelTag(ctx, req.Name, models.Tag{Key: req.Key, Value: req.Value})
}

type deleteRegisteredModelTagRequest struct {
	Name string `json:"name" mlflow:"required"`
	Key  string `json:"key" mlflow:"required"`
}

func (r deleteRegisteredModelTagRequest) targets() []target { return onModel(r.Name) }

func (a *API) deleteRegisteredModelTag(ctx context.Context, req *deleteRegisteredModelTagRequest) (*empty, error) {
	return &empty{}, a.store.DeleteRegisteredModelTag(ctx, req.Name, req.Key)
}

type setAliasRequest struct {
	Name    string `json:"name" mlflow:"required"`
	Alias   string `json:"alias" mlflow:"required"`
	Version string `json:"version" mlflow:"required"`
}

func (r setAliasRequest) targets() []target { return onModel(r.Name) }

func (a *API) setAlias(ctx context.Context, req *setAliasRequest) (*empty, error) {
	version, err := models.ParseVersion(req.Version)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.SetAlias(ctx, req.Name, req.Alias, version)
}

type aliasRef struct {
	Name  string `json:"name" mlflow:"required"`
	Alias string `json:"alias" mlflow:"required"`
}

func (r aliasRef) targets() []target { return onModel(r.Name) }

func (a *API) deleteAlias(ctx context.Context, req *aliasRef) (*empty, error) {
	return &empty{}, a.store.DeleteAlias(ctx, req.Name, req.Alias)
}

func (a *API) getModelVersionByAlias(ctx context.Context, req *aliasRef) (*modelVersionResponse, error) {
	return answerModelVersion(a.store.ModelVersionByAlias(ctx, req.Name, req.Alias))
}
