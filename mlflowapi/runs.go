package mlflowapi

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"greenroom/models"
)

type runInfo struct {
	RunUUID        string                `json:"run_uuid"`
	ExperimentID   string                `json:"experiment_id"`
	RunName        *string               `json:"run_name,omitempty"`
	UserID         *string               `json:"user_id,omitempty"`
	Status         models.RunStatus      `json:"status"`
	StartTime      *int64                `json:"start_time,omitempty"`
	EndTime        *int64                `json:"end_time,omitempty"`
	ArtifactURI    *string               `json:"artifact_uri,omitempty"`
	LifecycleStage models.LifecycleStage `json:"lifecycle_stage"`
	RunID          string                `json:"run_id"`
}

type metric struct {
	Key       string `json:"key"`
	Value     double `json:"value"`
	Timestamp int64  `json:"timestamp"`
	Step      int64  `json:"step"`
}

type param struct {
	Key   string `json:"key" mlflow:"required"`
	Value string `json:"value"`
}

func modelParams(params []param) []models.Param {
	out := make([]models.Param, len(params))
	for i, p := range params {
		out[i] = models.Param(p)
	}
	return out
}

func newRunInfo(r *models.Run) runInfo {
	return runInfo{
		RunUUID: r.ID, RunID: r.ID, ExperimentID: strconv.FormatInt(r.ExperimentID, 10), RunName: r.Name, UserID: r.UserID, Status: r.Status,
		StartTime: r.StartTime, EndTime: r.EndTime, ArtifactURI: r.ArtifactURI, LifecycleStage: r.LifecycleStage,
	}
}

func newMetric(m models.Metric) metric {
	return metric{m.Key, double(m.Float()), m.Timestamp, m.Step}
}

// runRef names a run; clients up to 3.x send its id under both names.
type runRef struct {
	RunID   string `json:"run_id" mlflow:"required"`
	RunUUID string `json:"run_uuid"`
}

func (r runRef) targets() []target { return onRun(r.id()) }

func (r runRef) id() string {
	if r.RunID == "" {
		return r.RunUUID
	}
	return r.RunID
}

type createRunRequest struct {
	ExperimentID string `json:"experiment_id"`
	UserID       string `json:"user_id"`
	RunName      string `json:"run_name"`
	StartTime    int64  `json:"start_time"`
	Tags         []tag  `json:"tags"`
}

func (r createRunRequest) targets() []target { return onExperiment(cmp.Or(r.ExperimentID, "0")) }

// runResponse is a run with all its data; a new one is without outputs.
type runResponse struct {
	run   *models.Run
	isNew bool
}

func (a *API) createRun(ctx context.Context, req *createRunRequest) (*runResponse, error) {
	if req.ExperimentID == "" {
		req.ExperimentID = "0"
	}
	experiment, err := experimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	r, err := a.store.CreateRun(ctx, models.NewRun{ExperimentID: experiment, UserID: req.UserID, Name: req.RunName, StartTime: req.StartTime, Tags: modelTags(req.Tags)})
	if err != nil {
		return nil, err
	}
	return &runResponse{run: r, isNew: true}, nil
}

func (a *API) getRun(ctx context.Context, req *runRef) (*runResponse, error) {
	r, err := a.store.Run(ctx, req.id())
	if err != nil {
		return nil, err
	}
	return &runResponse{run: r}, nil
}

// runStatus is a run's status on the wire.
type runStatus string

func (runStatus) enumNames() map[int64]string {
	return map[int64]string{1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
}

type updateRunRequest struct {
	runRef
	Status  runStatus `json:"status"`
	EndTime *int64    `json:"end_time"`
	RunName string    `json:"run_name"`
}

type updateRunResponse struct {
	RunInfo runInfo `json:"run_info"`
}

func (a *API) updateRun(ctx context.Context, req *updateRunRequest) (*updateRunResponse, error) {
	r, err := a.store.UpdateRun(ctx, req.id(), models.RunUpdate{Status: models.RunStatus(req.Status), EndTime: req.EndTime, Name: req.RunName})
	if err != nil {
		return nil, err
	}
	return &updateRunResponse{newRunInfo(r)}, nil
}

func (a *API) deleteRun(ctx context.Context, req *runRef) (*empty, error) {
	return &empty{}, a.store.DeleteRun(ctx, req.id())
}

func (a *API) restoreRun(ctx context.Context, req *runRef) (*empty, error) {
	return &empty{}, a.store.RestoreRun(ctx, req.id())
}

type searchRunsRequest struct {
	filtered
	ExperimentIDs []string `json:"experiment_ids"`
	Filter        string   `json:"filter"`
	RunViewType   viewType `json:"run_view_type"`
	MaxResults    *int64   `json:"max_results"`
	OrderBy       []string `json:"order_by"`
	PageToken     string   `json:"page_token"`
}

type searchRunsResponse struct {
	runs      []*models.Run
	nextToken string
}

func (r *searchRunsResponse) appendJSON(b []byte) []byte {
	b, f := object(b)
	if len(r.runs) > 0 {
		b = slices.Grow(b, 1<<10*len(r.runs))
		b = appendList(f.name(b, "runs"), r.runs, func(b []byte, r *models.Run) []byte { return appendRun(b, r, true) })
	}
	if r.nextToken != "" {
		b = f.text(b, "next_page_token", r.nextToken)
	}
	return append(b, '}')
}

func (r *runResponse) appendJSON(b []byte) []byte {
	return append(appendRun(append(b, `{"run":`...), r.run, !r.isNew), '}')
}

func appendRun(b []byte, r *models.Run, outputs bool) []byte {
	b = newRunInfo(r).appendJSON(append(b, `{"info":`...))
	b = appendRunData(append(b, `,"data":`...), r)
	b = append(b, `,"inputs":`...)
	if len(r.ModelInputs)+len(r.DatasetInputs) == 0 {
		b = append(b, "{}"...)
	} else {
		b = appendMarshaled(b, newRunInputs(r))
	}
	switch {
	case !outputs:
	case len(r.ModelOutputs) == 0:
		b = append(b, `,"outputs":{}`...)
	default:
		b = appendMarshaled(append(b, `,"outputs":`...), newRunOutputs(r))
	}
	return append(b, '}')
}

func (i runInfo) appendJSON(b []byte) []byte {
	b, f := object(b)
	b = f.text(b, "run_uuid", i.RunUUID)
	b = f.text(b, "experiment_id", i.ExperimentID)
	b = f.optionalText(b, "run_name", i.RunName)
	b = f.optionalText(b, "user_id", i.UserID)
	b = f.text(b, "status", string(i.Status))
	b = f.optionalNumber(b, "start_time", i.StartTime)
	b = f.optionalNumber(b, "end_time", i.EndTime)
	b = f.optionalText(b, "artifact_uri", i.ArtifactURI)
	b = f.text(b, "lifecycle_stage", string(i.LifecycleStage))
	b = f.text(b, "run_id", i.RunID)
	return append(b, '}')
}

func appendRunData(b []byte, r *models.Run) []byte {
	b, f := object(b)
	if len(r.Metrics) > 0 {
		b = appendList(f.name(b, "metrics"), r.Metrics, func(b []byte, m models.Metric) []byte { return newMetric(m).appendJSON(b) })
	}
	if len(r.Params) > 0 {
		b = appendList(f.name(b, "params"), r.Params, func(b []byte, p models.Param) []byte { return appendTag(b, tag(p)) })
	}
	if len(r.Tags) > 0 {
		b = appendList(f.name(b, "tags"), r.Tags, func(b []byte, g models.Tag) []byte { return appendTag(b, tag(g)) })
	}
	return append(b, '}')
}

func (m metric) appendJSON(b []byte) []byte {
	b, f := object(b)
	b = f.text(b, "key", m.Key)
	b = appendDouble(f.name(b, "value"), float64(m.Value))
	b = f.number(b, "timestamp", m.Timestamp)
	b = f.number(b, "step", m.Step)
	return append(b, '}')
}

const defaultRunResults = 1000

func (a *API) searchRuns(ctx context.Context, req *searchRunsRequest) (*searchRunsResponse, error) {
	page, err := pageOf(req.MaxResults, defaultRunResults, maxSearchResults, req.PageToken)
	if err != nil {
		return nil, err
	}
	experiments, err := experimentIDs(req.ExperimentIDs)
	if err != nil {
		return nil, err
	}
	page.Filter, page.OrderBy = req.Filter, req.OrderBy
	found, err := a.store.SearchRuns(ctx, experiments, models.ViewType(req.RunViewType), page)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		r.ModelInputs = nil // a search leaves them out, as MLflow's does
	}
	next, err := nextToken(page)
	return &searchRunsResponse{found, next}, err
}

// loggedMetric is a metric to log; in a log-batch, clients 3.x put the run's id into each as well.
type loggedMetric struct {
	Key           string  `json:"key" mlflow:"required"`
	Value         float64 `json:"value" mlflow:"required"`
	Timestamp     int64   `json:"timestamp" mlflow:"required"`
	Step          int64   `json:"step"`
	ModelID       string  `json:"model_id"`
	DatasetName   string  `json:"dataset_name"`
	DatasetDigest string  `json:"dataset_digest"`
}

func (v loggedMetric) metric() models.Metric {
	m := models.NewMetric(v.Key, v.Value, v.Timestamp, v.Step)
	m.ModelID, m.DatasetName, m.DatasetDigest = v.ModelID, v.DatasetName, v.DatasetDigest
	return m
}

type logMetricRequest struct {
	runRef
	loggedMetric
}

func (r logMetricRequest) targets() []target {
	return append(onRun(r.id()), onModelOf(r.loggedMetric)...)
}

// onModelOf is the logged model that a metric is about, if it names one.
func onModelOf(m loggedMetric) []target {
	if m.ModelID == "" {
		return nil
	}
	return onLoggedModel(m.ModelID)
}

func (a *API) logMetric(ctx context.Context, req *logMetricRequest) (*empty, error) {
	return &empty{}, a.store.LogMetric(ctx, req.id(), req.metric())
}

type logParamRequest struct {
	runRef
	Key   string `json:"key" mlflow:"required"`
	Value string `json:"value"`
}

func (a *API) logParam(ctx context.Context, req *logParamRequest) (*empty, error) {
	return &empty{}, a.store.LogParam(ctx, req.id(), models.Param{Key: req.Key, Value: req.Value})
}

type setTagRequest struct {
	runRef
	Key   string `json:"key" mlflow:"required"`
	Value string `json:"value"`
}

func (a *API) setTag(ctx context.Context, req *setTagRequest) (*empty, error) {
	return &empty{}, a.store.SetTag(ctx, req.id(), models.Tag{Key: req.Key, Value: req.Value})
}

type deleteTagRequest struct {
	runRef
	Key string `json:"key" mlflow:"required"`
}

func (a *API) deleteTag(ctx context.Context, req *deleteTagRequest) (*empty, error) {
	return &empty{}, a.store.DeleteTag(ctx, req.id(), req.Key)
}

type logBatchRequest struct {
	RunID   string         `json:"run_id" mlflow:"required"`
	Metrics []loggedMetric `json:"metrics"`
	Params  []param        `json:"params"`
	Tags    []tag          `json:"tags"`
}

func (r logBatchRequest) targets() []target {
	ts := onRun(r.RunID)
	seen := map[string]bool{}
	for _, m := range r.Metrics {
		if !seen[m.ModelID] {
			seen[m.ModelID] = true
			ts = append(ts, onModelOf(m)...)
		}
	}
	return ts
}

func (a *API) logBatch(ctx context.Context, req *logBatchRequest) (*empty, error) {
	b := models.Batch{Params: modelParams(req.Params), Tags: modelTags(req.Tags)}
	for _, v := range req.Metrics {
		b.Metrics = append(b.Metrics, v.metric())
	}
	return &empty{}, a.store.LogBatch(ctx, req.RunID, b)
}

type logModelRequest struct {
	RunID     string `json:"run_id" mlflow:"required"`
	ModelJSON string `json:"model_json" mlflow:"required"`
}

func (r logModelRequest) targets() []target { return onRun(r.RunID) }

// logModel records what clients 1.x and 2.x tell of a model: its path, flavors and time, without the flavors' configuration.
func (a *API) logModel(ctx context.Context, req *logModelRequest) (*empty, error) {
	var model map[string]json.RawMessage
	if err := json.Unmarshal([]byte(req.ModelJSON), &model); err != nil || model == nil {
		return nil, invalid("Malformed model info. \n %s \n is not a valid JSON.", req.ModelJSON)
	}
	var missing []string
	for _, name := range []string{"artifact_path", "flavors", "run_id", "utc_time_created"} {
		if _, ok := model[name]; !ok {
			missing = append(missing, "'"+name+"'")
		}
	}
	if len(missing) > 0 {
		return nil, invalid("Model json is missing mandatory fields: {%s}", strings.Join(missing, ", "))
	}
	var flavors map[string]any
	if err := json.Unmarshal(model["flavors"], &flavors); err != nil {
		return nil, invalid("Malformed model info: 'flavors' must be a JSON object.")
	}
	for _, config := range flavors {
		if config, ok := config.(map[string]any); ok {
			delete(config, "config")
		}
	}
	kept := map[string]any{"flavors": flavors, "model_uuid": nil}
	for _, name := range []string{"run_id", "utc_time_created", "artifact_path", "model_uuid"} {
		if v, ok := model[name]; ok {
			kept[name] = v
		}
	}
	summary, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.RecordLoggedModel(ctx, req.RunID, summary)
}
