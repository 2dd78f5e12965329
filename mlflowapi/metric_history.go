package mlflowapi

import (
	"context"

	"greenroom/models"
)

type runMetric struct {
	metric
	RunID string `json:"run_id"`
}

func newRunMetrics(history []models.RunMetric) []runMetric {
	out := make([]runMetric, len(history))
	for i, m := range history {
		out[i] = runMetric{newMetric(m.Metric), m.RunID}
	}
	return out
}

// Limits of the histories of several runs.
const (
	maxHistoryRuns     = 100
	maxBulkHistory     = 25000 // in all; a larger request gets as many
	maxHistoryInterval = 2500  // for each run
)

type bulkHistoryRequest struct {
	RunIDs     []string `json:"run_id"`
	MetricKey  string   `json:"metric_key"`
	MaxResults *int64   `json:"max_results"`
}

func (r bulkHistoryRequest) targets() []target { return onHistoryRuns(r.RunIDs) }

// onHistoryRuns looks at no more runs than one request may name: a longer list is refused anyway.
func onHistoryRuns(ids []string) []target { return onRuns(ids[:min(len(ids), maxHistoryRuns)]) }

type bulkHistoryResponse struct {
	Metrics []runMetric `json:"metrics"`
}

func (a *API) getMetricHistoryBulk(ctx context.Context, req *bulkHistoryRequest) (*bulkHistoryResponse, error) {
	limit := int64(maxBulkHistory)
	switch n := len(req.RunIDs); {
	case n == 0:
		return nil, invalid("GetMetricHistoryBulk request must specify at least one run_id.")
	case n > maxHistoryRuns:
		return nil, invalid("GetMetricHistoryBulk request cannot specify more than %d run_ids. Received %d run_ids.", maxHistoryRuns, n)
	case req.MetricKey == "":
		return nil, invalid("GetMetricHistoryBulk request must specify a metric_key.")
	case req.MaxResults != nil && *req.MaxResults <= 0:
		return nil, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer.", *req.MaxResults)
	case req.MaxResults != nil:
		limit = min(*req.MaxResults, limit)
	}
	history, err := a.store.MetricHistories(ctx, req.RunIDs, req.MetricKey, int(limit))
	return &bulkHistoryResponse{newRunMetrics(history)}, err
}

type historyIntervalRequest struct {
	RunIDs     []string `json:"run_ids" mlflow:"required"`
	MetricKey  string   `json:"metric_key" mlflow:"required"`
	StartStep  *int64   `json:"start_step"`
	EndStep    *int64   `json:"end_step"`
	MaxResults *int64   `json:"max_results"`
}

func (r historyIntervalRequest) targets() []target { return onHistoryRuns(r.RunIDs) }

type historyIntervalResponse struct {
	Metrics []runMetric `json:"metrics,omitempty"`
}

func (a *API) getMetricHistoryInterval(ctx context.Context, req *historyIntervalRequest) (*historyIntervalResponse, error) {
	if n := len(req.RunIDs); n > maxHistoryRuns {
		return nil, invalid("GetMetricHistoryBulkInterval request must specify at most %d run_ids. Received %d run_ids.", maxHistoryRuns, n)
	}
	limit := maxHistoryInterval
	if req.MaxResults != nil {
		if *req.MaxResults < 1 || *req.MaxResults > maxHistoryInterval {
			return nil, invalid("max_results must be between 1 and %d.%s", maxHistoryInterval, apiDocsHint)
		}
		limit = int(*req.MaxResults)
	}
	var steps *models.StepRange
	switch {
	case (req.StartStep == nil) != (req.EndStep == nil):
		return nil, invalid("If either start step or end step are specified, both must be specified.")
	case req.StartStep != nil && *req.StartStep > *req.EndStep:
		return nil, invalid("end_step must be greater than start_step. Found start_step=%d and end_step=%d.", *req.StartStep, *req.EndStep)
	case req.StartStep != nil:
		steps = &models.StepRange{First: *req.StartStep, Last: *req.EndStep}
	}
	sample, err := a.store.SampleMetricHistories(ctx, req.RunIDs, req.MetricKey, steps, limit)
	return &historyIntervalResponse{newRunMetrics(sample)}, err
}
