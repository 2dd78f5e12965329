package mlflowapi

import (
	"context"
	"strconv"

	"greenroom/auth"
	"greenroom/models"
)

type runInputs struct {
	ModelInputs   []modelInput   `json:"model_inputs,omitempty"`
	DatasetInputs []datasetInput `json:"dataset_inputs,omitempty"`
}

type datasetInput struct {
	Tags    []tag   `json:"tags,omitempty"`
	Dataset dataset `json:"dataset" mlflow:"required"`
}

type dataset struct {
	Name       string  `json:"name" mlflow:"required"`
	Digest     string  `json:"digest" mlflow:"required"`
	SourceType string  `json:"source_type"`
	Source     string  `json:"source"`
	Schema     *string `json:"schema,omitempty"`
	Profile    *string `json:"profile,omitempty"`
}

type modelInput struct {
	ModelID string `json:"model_id" mlflow:"required"`
}

type runOutputs struct {
	ModelOutputs []modelOutput `json:"model_outputs,omitempty"`
}

type modelOutput struct {
	ModelID string `json:"model_id" mlflow:"required"`
	Step    int64  `json:"step"`
}

func newRunInputs(r *models.Run) runInputs {
	var out runInputs
	for _, m := range r.ModelInputs {
		out.ModelInputs = append(out.ModelInputs, modelInput(m))
	}
	for _, d := range r.DatasetInputs {
		out.DatasetInputs = append(out.DatasetInputs, datasetInput{newTags(d.Tags), dataset(d.Dataset)})
	}
	return out
}

func newRunOutputs(r *models.Run) *runOutputs {
	out := &runOutputs{}
	for _, m := range r.ModelOutputs {
		out.ModelOutputs = append(out.ModelOutputs, modelOutput(m))
	}
	return out
}

type logInputsRequest struct {
	RunID    string         `json:"run_id" mlflow:"required"`
	Datasets []datasetInput `json:"datasets"`
	Models   []modelInput   `json:"models"`
}

// targets asks for no more than Read on the models: it is the run that changes.
func (r logInputsRequest) targets() []target {
	ts := onRun(r.RunID)
	for _, m := range r.Models {
		ts = append(ts, target{kind: loggedModelByID, ref: m.ModelID, level: auth.Read})
	}
	return ts
}

func (a *API) logInputs(ctx context.Context, req *logInputsRequest) (*empty, error) {
	datasets := make([]models.DatasetInput, len(req.Datasets))
	for i, d := range req.Datasets {
		datasets[i] = models.DatasetInput{Dataset: models.Dataset(d.Dataset), Tags: modelTags(d.Tags)}
	}
	inputs := make([]models.ModelInput, len(req.Models))
	for i, m := range req.Models {
		inputs[i] = models.ModelInput(m)
	}
	return &empty{}, a.store.LogInputs(ctx, req.RunID, datasets, inputs)
}

type logOutputsRequest struct {
	RunID  string        `json:"run_id" mlflow:"required"`
	Models []modelOutput `json:"models" mlflow:"required"`
}

func (r logOutputsRequest) targets() []target {
	ts := onRun(r.RunID)
	for _, m := range r.Models {
		ts = append(ts, onLoggedModel(m.ModelID)...)
	}
	return ts
}

func (a *API) logOutputs(ctx context.Context, req *logOutputsRequest) (*empty, error) {
	outputs := make([]models.ModelOutput, len(req.Models))
	for i, m := range req.Models {
		outputs[i] = models.ModelOutput(m)
	}
	return &empty{}, a.store.LogOutputs(ctx, req.RunID, outputs)
}

type searchDatasetsRequest struct {
	filtered
	ExperimentIDs []string `json:"experiment_ids"`
}

type searchDatasetsResponse struct {
	DatasetSummaries []datasetSummary `json:"dataset_summaries,omitempty"`
}

type datasetSummary struct {
	ExperimentID string  `json:"experiment_id"`
	Name         string  `json:"name"`
	Digest       string  `json:"digest"`
	Context      *string `json:"context,omitempty"`
}

// maxDatasetExperiments bounds the experiments of one search of datasets.
const maxDatasetExperiments = 20

func (a *API) searchDatasets(ctx context.Context, req *searchDatasetsRequest) (*searchDatasetsResponse, error) {
	switch n := len(req.ExperimentIDs); {
	case n == 0:
		return nil, invalid("SearchDatasets request must specify at least one experiment_id.")
	case n > maxDatasetExperiments:
		return nil, invalid("SearchDatasets request cannot specify more than %d experiment_ids. Received %d experiment_ids.", maxDatasetExperiments, n)
	}
	experiments, err := experimentIDs(req.ExperimentIDs)
	if err != nil {
		return nil, err
	}
	found, err := a.store.DatasetSummaries(ctx, experiments)
	if err != nil {
		return nil, err
	}
	resp := &searchDatasetsResponse{}
	for _, d := range found {
		resp.DatasetSummaries = append(resp.DatasetSummaries, datasetSummary{strconv.FormatInt(d.ExperimentID, 10), d.Name, d.Digest, d.Context})
	}
	return resp, nil
}
