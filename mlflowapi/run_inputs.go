package mlflowapi

import "greenroom/models"

type runInputs struct {
	ModelInputs   []modelInput   `json:"model_inputs,omitempty"`
	DatasetInputs []datasetInput `json:"dataset_inputs,omitempty"`
}

type datasetInput struct {
	Tags    []tag   `json:"tags,omitempty"`
	Dataset dataset `json:"dataset"`
}

type dataset struct {
	Name       string  `json:"name"`
	Digest     string  `json:"digest"`
	SourceType string  `json:"source_type"`
	Source     string  `json:"source"`
	Schema     *string `json:"schema,omitempty"`
	Profile    *string `json:"profile,omitempty"`
}

type modelInput struct {
	ModelID string `json:"model_id"`
}

type runOutputs struct {
	ModelOutputs []modelOutput `json:"model_outputs,omitempty"`
}

type modelOutput struct {
	ModelID string `json:"model_id"`
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
