package mlflowapi

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"greenroom/models"
)

type experiment struct {
	ExperimentID     string                `json:"experiment_id"`
	Name             string                `json:"name"`
	ArtifactLocation string                `json:"artifact_location"`
	LifecycleStage   models.LifecycleStage `json:"lifecycle_stage"`
	LastUpdateTime   *int64                `json:"last_update_time,omitempty"`
	CreationTime     *int64                `json:"creation_time,omitempty"`
	Tags             []tag                 `json:"tags,omitempty"`
	Workspace        string                `json:"workspace"`
}

func newExperiment(e *models.Experiment) experiment {
	return experiment{
		ExperimentID: strconv.FormatInt(e.ID, 10), Name: e.Name, ArtifactLocation: e.ArtifactLocation, LifecycleStage: e.LifecycleStage,
		LastUpdateTime: e.LastUpdateTime, CreationTime: e.CreationTime, Tags: newTags(e.Tags), Workspace: "default",
	}
}

// tag is a key and value of an experiment, a run, a logged model, a registered model or a version.
type tag struct {
	Key   string `json:"key" mlflow:"required"`
	Value string `json:"value"`
}

func appendTag(b []byte, t tag) []byte {
	b, f := object(b)
	b = f.text(b, "key", t.Key)
	b = f.text(b, "value", t.Value)
	return append(b, '}')
}

func newTags(tags []models.Tag) []tag {
	out := make([]tag, len(tags))
	for i, t := range tags {
		out[i] = tag(t)
	}
	return out
}

func modelTags(tags []tag) []models.Tag {
	out := make([]models.Tag, len(tags))
	for i, t := range tags {
		out[i] = models.Tag(t)
	}
	return out
}

// viewType selects active or deleted objects.
type viewType string

func (viewType) enumNames() map[int64]string {
	return map[int64]string{1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}
}

type createExperimentRequest struct {
	Name             string `json:"name" mlflow:"required"`
	ArtifactLocation string `json:"artifact_location"`
	Tags             []tag  `json:"tags"`
}

func (r createExperimentRequest) targets() []target {
	return []target{{kind: creationExperiment, ref: r.Name}}
}

type createExperimentResponse struct {
	ExperimentID string `json:"experiment_id"`
}

func (a *API) createExperiment(ctx context.Context, req *createExperimentRequest) (*createExperimentResponse, error) {
	id, err := a.store.CreateExperiment(ctx, req.Name, req.ArtifactLocation, modelTags(req.Tags))
	return &createExperimentResponse{strconv.FormatInt(id, 10)}, err
}

type experimentRef struct {
	ExperimentID string `json:"experiment_id" mlflow:"required"`
}

func (r experimentRef) targets() []target { return onExperiment(r.ExperimentID) }

type experimentResponse struct {
	Experiment experiment `json:"experiment"`
}

func (a *API) getExperiment(ctx context.Context, req *experimentRef) (*experimentResponse, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	e, err := a.store.Experiment(ctx, id)
	if err != nil {
		return nil, err
	}
	return &experimentResponse{newExperiment(e)}, nil
}

type getExperimentByNameRequest struct {
	ExperimentName string `json:"experiment_name" mlflow:"required"`
}

func (r getExperimentByNameRequest) targets() []target {
	return []target{{kind: experimentByName, ref: r.ExperimentName}}
}

func (a *API) getExperimentByName(ctx context.Context, req *getExperimentByNameRequest) (*experimentResponse, error) {
	e, err := a.store.ExperimentByName(ctx, req.ExperimentName)
	if err != nil {
		return nil, err
	}
	return &experimentResponse{newExperiment(e)}, nil
}

type searchExperimentsRequest struct {
	filtered
	MaxResults int64    `json:"max_results"`
	PageToken  string   `json:"page_token"`
	Filter     string   `json:"filter"`
	OrderBy    []string `json:"order_by"`
	ViewType   viewType `json:"view_type"`
}

type searchExperimentsResponse struct {
	Experiments   []experiment `json:"experiments,omitempty"`
	NextPageToken string       `json:"next_page_token,omitempty"`
}

const maxSearchResults = 50000

func (a *API) searchExperiments(ctx context.Context, req *searchExperimentsRequest) (*searchExperimentsResponse, error) {
	page, err := pageOf(&req.MaxResults, 0, maxSearchResults, req.PageToken)
	if err != nil {
		return nil, err
	}
	page.Filter, page.OrderBy = req.Filter, req.OrderBy
	found, err := a.store.SearchExperiments(ctx, models.ViewType(req.ViewType), page)
	if err != nil {
		return nil, err
	}
	resp := &searchExperimentsResponse{}
	for _, e := range found {
		resp.Experiments = append(resp.Experiments, newExperiment(e))
	}
	resp.NextPageToken, err = nextToken(page)
	return resp, err
}

type listExperimentsRequest struct {
	filtered
	ViewType   viewType `json:"view_type"`
	MaxResults *int64   `json:"max_results"`
	PageToken  string   `json:"page_token"`
}

// listExperiments serves clients 1.x; MLflow 2 dropped the route for experiments/search.
func (a *API) listExperiments(ctx context.Context, req *listExperimentsRequest) (*searchExperimentsResponse, error) {
	search := &searchExperimentsRequest{MaxResults: maxSearchResults, PageToken: req.PageToken, ViewType: req.ViewType, OrderBy: []string{"experiment_id ASC"}}
	if req.MaxResults != nil {
		search.MaxResults = *req.MaxResults
	}
	return a.searchExperiments(ctx, search)
}

type updateExperimentRequest struct {
	ExperimentID string `json:"experiment_id" mlflow:"required"`
	NewName      string `json:"new_name" mlflow:"required"`
}

func (r updateExperimentRequest) targets() []target {
	return []target{{kind: experimentByID, ref: r.ExperimentID, to: r.NewName}}
}

func (a *API) updateExperiment(ctx context.Context, req *updateExperimentRequest) (*empty, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.RenameExperiment(ctx, id, req.NewName)
}

func (a *API) deleteExperiment(ctx context.Context, req *experimentRef) (*empty, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.DeleteExperiment(ctx, id)
}

func (a *API) restoreExperiment(ctx context.Context, req *experimentRef) (*empty, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.RestoreExperiment(ctx, id)
}

type setExperimentTagRequest struct {
	ExperimentID string `json:"experiment_id" mlflow:"required"`
	Key          string `json:"key" mlflow:"required"`
	Value        string `json:"value"`
}

func (r setExperimentTagRequest) targets() []target { return onExperiment(r.ExperimentID) }

func (a *API) setExperimentTag(ctx context.Context, req *setExperimentTagRequest) (*empty, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.SetExperimentTag(ctx, id, models.Tag{Key: req.Key, Value: req.Value})
}

type deleteExperimentTagRequest struct {
	ExperimentID string `json:"experiment_id" mlflow:"required"`
	Key          string `json:"key" mlflow:"required"`
}

func (r deleteExperimentTagRequest) targets() []target { return onExperiment(r.ExperimentID) }

func (a *API) deleteExperimentTag(ctx context.Context, req *deleteExperimentTagRequest) (*empty, error) {
	id, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.DeleteExperimentTag(ctx, id, req.Key)
}

// experimentID reads an id: a decimal integer in ASCII. One beyond the column's range is an experiment that cannot exist.
func experimentID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !isDigits(strings.TrimPrefix(text, "-")) {
		return 0, invalid("Invalid experiment ID '%s'. Experiment ID must be a valid integer.", text)
	}
	if err != nil || id > math.MaxInt32 || id < math.MinInt32 {
		return 0, &models.Error{Code: models.ResourceDoesNotExist, Message: fmt.Sprintf("No Experiment with id=%s exists", text)}
	}
	return id, nil
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func experimentIDs(texts []string) ([]int64, error) {
	ids := make([]int64, len(texts))
	for i, text := range texts {
		id, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, invalid("Invalid experiment ID '%s'. Experiment ID must be a valid integer.", text)
		}
		ids[i] = id
	}
	return ids, nil
}
