package mlflowapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"greenroom/models"
)

type getMetricHistoryRequest struct {
	runRef
	MetricKey  string `json:"metric_key" mlflow:"required"`
	MaxResults *int64 `json:"max_results"`
	PageToken  string `json:"page_token"`
}

const (
	// maxHistoryResults bounds a page of a metric's history; clients ask for 25000. A larger page ends early, and its token leads on.
	maxHistoryResults = 1_000_000
	// historyPart is how much of a history is in memory at a time.
	historyPart = 25_000
)

// historyToken is the content of a page token of a metric's history: how many values the client has, as in MLflow's own, and
// the last of them, which MLflow ignores.
type historyToken struct {
	Offset    *int       `json:"offset"`
	Greenroom *lastValue `json:"greenroom,omitempty"`
}

type lastValue struct {
	Timestamp int64   `json:"timestamp"`
	Step      int64   `json:"step"`
	Value     float64 `json:"value"`
	IsNaN     bool    `json:"is_nan,omitempty"`
}

func (t historyToken) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // the database keeps no NaN and no infinities
	}
	return base64.StdEncoding.EncodeToString(text)
}

// history is a page of a metric's history on its way to the client.
type history struct {
	store *models.Store
	runID string
	key   string // of the metric
	name  []byte // the key in JSON
	left  int    // how much of the page is to come; -1 for all there is
	sent  int    // how much the client has, with the pages before
	page  models.HistoryPage
	out   []byte
	begun bool
}

func (a *API) getMetricHistory(_ context.Context, req *getMetricHistoryRequest) (*inParts, error) {
	h := &history{store: a.store, runID: req.id(), key: req.MetricKey, name: appendString(nil, req.MetricKey), left: -1}
	if req.PageToken != "" {
		var token historyToken
		err := readPageToken(req.PageToken, &token, func() bool { return token.Offset != nil && *token.Offset >= 0 })
		if err != nil {
			return nil, err
		}
		h.sent = *token.Offset
		if last := token.Greenroom; last != nil {
			h.page.After = &models.Metric{Timestamp: last.Timestamp, Step: last.Step, Value: last.Value, IsNaN: last.IsNaN}
		} else {
			h.page.Offset = h.sent
		}
	}
	if req.MaxResults != nil {
		if *req.MaxResults <= 0 {
			return nil, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer.", *req.MaxResults)
		}
		h.left = int(min(*req.MaxResults, maxHistoryResults))
	}
	return &inParts{h.next}, nil
}

// next reads the next part of the page. It holds no connection to the database while the client reads it: values that are
// logged meanwhile are in the history or not, as between two pages.
func (h *history) next(ctx context.Context) (part []byte, last bool, err error) {
	size := historyPart
	if h.left >= 0 {
		size = min(size, h.left)
	}
	h.page.Limit = size + 1 // one more shows that there is more
	found, err := h.store.MetricHistory(ctx, h.runID, h.key, h.page)
	if err != nil {
		return nil, false, err
	}
	more := len(found) > size
	found = found[:min(size, len(found))]
	if len(found) == 0 && !h.begun {
		return []byte("{}"), true, nil
	}
	b := h.out[:0]
	for _, m := range found {
		if h.begun {
			b = append(b, ',')
		} else {
			b = append(b, `{"metrics":[`...)
			h.begun = true
		}
		b = append(appendMetric(b, h.name, m), '}')
	}
	h.sent += len(found)
	if h.left >= 0 {
		h.left -= len(found)
	}
	if more {
		h.page.After, h.page.Offset = &found[len(found)-1], 0
	}
	if last = !more || h.left == 0; last {
		b = append(b, ']')
		if more {
			m := h.page.After
			token := historyToken{&h.sent, &lastValue{m.Timestamp, m.Step, m.Value, m.IsNaN}}
			b = appendString(append(b, `,"next_page_token":`...), token.String())
		}
		b = append(b, '}')
	}
	h.out = b
	return b, last, nil
}

// appendMetric writes a metric but for the end of its object. name is its key in JSON.
func appendMetric(b, name []byte, m models.Metric) []byte {
	b = append(append(b, `{"key":`...), name...)
	b = appendDouble(append(b, `,"value":`...), m.Float())
	b = strconv.AppendInt(append(b, `,"timestamp":`...), m.Timestamp, 10)
	return strconv.AppendInt(append(b, `,"step":`...), m.Step, 10)
}

// appendRunMetrics writes the values of one metric in several runs.
func appendRunMetrics(b []byte, history []models.RunMetric) []byte {
	if len(history) == 0 {
		return append(b, "[]"...)
	}
	name := appendString(nil, history[0].Key)
	return appendList(b, history, func(b []byte, m models.RunMetric) []byte {
		b = append(appendMetric(b, name, m.Metric), `,"run_id":`...)
		return append(appendString(b, m.RunID), '}')
	})
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

// bulkHistory answers with the values of one metric.
type bulkHistory []models.RunMetric

func (h *bulkHistory) appendJSON(b []byte) []byte {
	return append(appendRunMetrics(append(b, `{"metrics":`...), *h), '}')
}

func (a *API) getMetricHistoryBulk(ctx context.Context, req *bulkHistoryRequest) (*bulkHistory, error) {
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
	return (*bulkHistory)(&history), err
}

type historyIntervalRequest struct {
	RunIDs     []string `json:"run_ids" mlflow:"required"`
	MetricKey  string   `json:"metric_key" mlflow:"required"`
	StartStep  *int64   `json:"start_step"`
	EndStep    *int64   `json:"end_step"`
	MaxResults *int64   `json:"max_results"`
}

func (r historyIntervalRequest) targets() []target { return onHistoryRuns(r.RunIDs) }

// historySample answers with values of one metric, if there are any.
type historySample []models.RunMetric

func (h *historySample) appendJSON(b []byte) []byte {
	if len(*h) == 0 {
		return append(b, "{}"...)
	}
	return append(appendRunMetrics(append(b, `{"metrics":`...), *h), '}')
}

func (a *API) getMetricHistoryInterval(ctx context.Context, req *historyIntervalRequest) (*historySample, error) {
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
	return (*historySample)(&sample), err
}
