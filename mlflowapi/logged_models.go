package mlflowapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"

	"greenroom/auth"
	"greenroom/models"
)

type loggedModel struct {
	Info loggedModelInfo `json:"info"`
	Data loggedModelData `json:"data"`
}

type loggedModelInfo struct {
	ModelID                string            `json:"model_id"`
	ExperimentID           string            `json:"experiment_id"`
	Name                   string            `json:"name"`
	CreationTimestampMS    int64             `json:"creation_timestamp_ms"`
	LastUpdatedTimestampMS int64             `json:"last_updated_timestamp_ms"`
	ArtifactURI            string            `json:"artifact_uri"`
	Status                 loggedModelStatus `json:"status"`
	ModelType              *string           `json:"model_type,omitempty"`
	SourceRunID            *string           `json:"source_run_id,omitempty"`
	StatusMessage          *string           `json:"status_message,omitempty"`
	Tags                   []tag             `json:"tags,omitempty"`
}

type loggedModelData struct {
	Params  []param             `json:"params,omitempty"`
	Metrics []loggedModelMetric `json:"metrics,omitempty"`
}

type loggedModelMetric struct {
	metric
	DatasetName   *string `json:"dataset_name,omitempty"`
	DatasetDigest *string `json:"dataset_digest,omitempty"`
	ModelID       string  `json:"model_id"`
	RunID         string  `json:"run_id"`
}

func newLoggedModel(m *models.LoggedModel) loggedModel {
	out := loggedModel{Info: loggedModelInfo{
		ModelID: m.ID, ExperimentID: strconv.FormatInt(m.ExperimentID, 10), Name: m.Name, CreationTimestampMS: m.CreationTime, LastUpdatedTimestampMS: m.LastUpdateTime,
		ArtifactURI: m.ArtifactLocation, Status: newLoggedModelStatus(m.Status), ModelType: m.ModelType, SourceRunID: m.SourceRunID, StatusMessage: m.StatusMessage,
		Tags: newTags(m.Tags),
	}}
	for _, p := range m.Params {
		out.Data.Params = append(out.Data.Params, param(p))
	}
	for _, v := range m.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, loggedModelMetric{
			metric{v.Key, double(v.Value), v.Timestamp, v.Step}, v.DatasetName, v.DatasetDigest, v.ModelID, v.RunID,
		})
	}
	return out
}

// loggedModelStatus is a logged model's status on the wire.
type loggedModelStatus string

func (loggedModelStatus) enumNames() map[int64]string {
	return map[int64]string{
		int64(models.LoggedModelPending):      "LOGGED_MODEL_PENDING",
		int64(models.LoggedModelReady):        "LOGGED_MODEL_READY",
		int64(models.LoggedModelUploadFailed): "LOGGED_MODEL_UPLOAD_FAILED",
	}
}

func newLoggedModelStatus(status models.LoggedModelStatus) loggedModelStatus {
	name, ok := loggedModelStatus("").enumNames()[int64(status)]
	if !ok {
		return "LOGGED_MODEL_STATUS_UNSPECIFIED"
	}
	return loggedModelStatus(name)
}

func (s loggedModelStatus) model() models.LoggedModelStatus {
	for number, name := range s.enumNames() {
		if name == string(s) {
			return models.LoggedModelStatus(number)
		}
	}
	return 0
}

type loggedModelResponse struct {
	Model loggedModel `json:"model"`
}

func answerLoggedModel(m *models.LoggedModel, err error) (*loggedModelResponse, error) {
	if err != nil {
		return nil, err
	}
	return &loggedModelResponse{newLoggedModel(m)}, nil
}

type createLoggedModelRequest struct {
	ExperimentID string  `json:"experiment_id" mlflow:"required"`
	Name         string  `json:"name"`
	ModelType    string  `json:"model_type"`
	SourceRunID  string  `json:"source_run_id"`
	Params       []param `json:"params"`
	Tags         []tag   `json:"tags"`
}

func (r createLoggedModelRequest) targets() []target { return onExperiment(r.ExperimentID) }

func (a *API) createLoggedModel(ctx context.Context, req *createLoggedModelRequest) (*loggedModelResponse, error) {
	experiment, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	return answerLoggedModel(a.store.CreateLoggedModel(ctx, models.NewLoggedModel{
		ExperimentID: experiment, Name: req.Name, ModelType: req.ModelType, SourceRunID: req.SourceRunID, Params: modelParams(req.Params), Tags: modelTags(req.Tags),
	}))
}

type getLoggedModelRequest struct {
	ModelID      string `json:"model_id" mlflow:"required"`
	AllowDeleted bool   `json:"allow_deleted"`
}

func (r getLoggedModelRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) getLoggedModel(ctx context.Context, req *getLoggedModelRequest) (*loggedModelResponse, error) {
	return answerLoggedModel(a.store.LoggedModel(ctx, req.ModelID, req.AllowDeleted))
}

type finalizeLoggedModelRequest struct {
	ModelID string            `json:"model_id" mlflow:"required"`
	Status  loggedModelStatus `json:"status" mlflow:"required"`
}

func (r finalizeLoggedModelRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) finalizeLoggedModel(ctx context.Context, req *finalizeLoggedModelRequest) (*loggedModelResponse, error) {
	return answerLoggedModel(a.store.FinalizeLoggedModel(ctx, req.ModelID, req.Status.model()))
}

type deleteLoggedModelRequest struct {
	ModelID string `json:"model_id" mlflow:"required"`
}

func (r deleteLoggedModelRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) deleteLoggedModel(ctx context.Context, req *deleteLoggedModelRequest) (*empty, error) {
	return &empty{}, a.store.DeleteLoggedModel(ctx, req.ModelID)
}

type logLoggedModelParamsRequest struct {
	ModelID string  `json:"model_id" mlflow:"required"`
	Params  []param `json:"params"`
}

func (r logLoggedModelParamsRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) logLoggedModelParams(ctx context.Context, req *logLoggedModelParamsRequest) (*empty, error) {
	return &empty{}, a.store.LogLoggedModelParams(ctx, req.ModelID, modelParams(req.Params))
}

type setLoggedModelTagsRequest struct {
	ModelID string `json:"model_id" mlflow:"required"`
	Tags    []tag  `json:"tags"`
}

// targets lets those who may only read a logged model repeat the list of its versions, as clients do who have registered it;
// the store sees to it that they change nothing.
func (r setLoggedModelTagsRequest) targets() []target {
	ts := onLoggedModel(r.ModelID)
	if len(r.Tags) == 1 && r.Tags[0].Key == models.TagModelVersions {
		ts[0].level = auth.Read
	}
	return ts
}

func (a *API) setLoggedModelTags(ctx context.Context, req *setLoggedModelTagsRequest) (*empty, error) {
	return &empty{}, a.store.SetLoggedModelTags(ctx, req.ModelID, modelTags(req.Tags))
}

type deleteLoggedModelTagRequest struct {
	ModelID string `json:"model_id" mlflow:"required"`
	TagKey  string `json:"tag_key" mlflow:"required"`
}

func (r deleteLoggedModelTagRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) deleteLoggedModelTag(ctx context.Context, req *deleteLoggedModelTagRequest) (*empty, error) {
	return &empty{}, a.store.DeleteLoggedModelTag(ctx, req.ModelID, req.TagKey)
}

type searchLoggedModelsRequest struct {
	filtered
	ExperimentIDs []string             `json:"experiment_ids" mlflow:"required"`
	Filter        string               `json:"filter"`
	Datasets      []loggedModelDataset `json:"datasets"`
	MaxResults    *int64               `json:"max_results"`
	OrderBy       []loggedModelOrderBy `json:"order_by"`
	PageToken     string               `json:"page_token"`
}

type loggedModelDataset struct {
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}

// loggedModelOrderBy is a sort key; ascending unless said otherwise.
type loggedModelOrderBy struct {
	FieldName     string `json:"field_name"`
	Ascending     *bool  `json:"ascending"`
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}

type searchLoggedModelsResponse struct {
	Models        []loggedModel `json:"models,omitempty"`
	NextPageToken string        `json:"next_page_token,omitempty"`
}

// How many logged models a page has when the request does not say, and when it says 0.
const (
	defaultLoggedModelResults = 50
	zeroLoggedModelResults    = 100
)

func (a *API) searchLoggedModels(ctx context.Context, req *searchLoggedModelsRequest) (*searchLoggedModelsResponse, error) {
	size := defaultLoggedModelResults
	if req.MaxResults != nil {
		switch n := *req.MaxResults; {
		case n < 0:
			return nil, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer", n)
		case n == 0:
			size = zeroLoggedModelResults
		default: // MLflow sets no maximum here: a larger page ends early, and its token leads on
			size = int(min(n, maxSearchResults))
		}
	}
	page := newLoggedModelPage(req)
	if err := page.resume(req.PageToken); err != nil {
		return nil, err
	}
	experiments, err := experimentIDs(req.ExperimentIDs)
	if err != nil {
		return nil, err
	}
	search := models.LoggedModelSearch{ExperimentIDs: experiments, Filter: req.Filter, Offset: page.Offset, Limit: size + 1}
	for _, d := range req.Datasets {
		search.Datasets = append(search.Datasets, models.DatasetFilter{Name: d.DatasetName, Digest: d.DatasetDigest})
	}
	for _, o := range page.OrderBy {
		search.OrderBy = append(search.OrderBy, models.LoggedModelOrder{
			FieldName: o.FieldName, Descending: !o.Ascending, DatasetName: value(o.DatasetName), DatasetDigest: value(o.DatasetDigest),
		})
	}
	found, err := a.store.SearchLoggedModels(ctx, search)
	if err != nil {
		return nil, err
	}
	resp := &searchLoggedModelsResponse{}
	if len(found) > size {
		found = found[:size]
		page.Offset += size
		if resp.NextPageToken, err = page.token(); err != nil {
			return nil, err
		}
	}
	for _, m := range found {
		resp.Models = append(resp.Models, newLoggedModel(m))
	}
	return resp, nil
}

// loggedModelPage is the content of a page token, as MLflow's: the search it belongs to, and where to go on.
type loggedModelPage struct {
	ExperimentIDs []string               `json:"experiment_ids"`
	Filter        *string                `json:"filter_string"`
	OrderBy       []loggedModelPageOrder `json:"order_by"`
	Offset        int                    `json:"offset"`
}

type loggedModelPageOrder struct {
	FieldName     string  `json:"field_name"`
	Ascending     bool    `json:"ascending"`
	DatasetName   *string `json:"dataset_name"`
	DatasetDigest *string `json:"dataset_digest"`
}

func newLoggedModelPage(req *searchLoggedModelsRequest) loggedModelPage {
	page := loggedModelPage{ExperimentIDs: req.ExperimentIDs, Filter: optional(req.Filter)}
	for _, o := range req.OrderBy {
		page.OrderBy = append(page.OrderBy, loggedModelPageOrder{o.FieldName, o.Ascending == nil || *o.Ascending, optional(o.DatasetName), optional(o.DatasetDigest)})
	}
	return page
}

// resume goes to where the token of the same search points; "" is the first page.
func (p *loggedModelPage) resume(token string) error {
	if token == "" {
		return nil
	}
	var from loggedModelPage
	if err := readPageToken(token, &from, func() bool { return from.Offset >= 0 }); err != nil {
		return err
	}
	for _, part := range []struct {
		is, requested string
		want, got     any
	}{
		{"Experiment IDs in the page token do", "experiment IDs", p.ExperimentIDs, from.ExperimentIDs},
		{"Filter string in the page token does", "filter string", value(p.Filter), value(from.Filter)},
		{"Order by in the page token does", "order by", p.OrderBy, from.OrderBy},
	} {
		if !reflect.DeepEqual(part.want, part.got) {
			return invalid("%s not match the requested %s. Expected: %s. Found: %s", part.is, part.requested, shown(part.want), shown(part.got))
		}
	}
	p.Offset = from.Offset
	return nil
}

func (p *loggedModelPage) token() (string, error) {
	text, err := json.Marshal(p)
	return base64.StdEncoding.EncodeToString(text), err
}
