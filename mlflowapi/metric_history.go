package mlflowapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"greenroom/models"
)

type getMetricHistoryRequest struct {
	runRef
	MetricKey  string `json:"metric_key" mlflow:"required"`
	MaxResults *int64 `json:"max_results"`
	PageToken  string `json:"page_token"`
}

// maxHistoryResults bounds a page of a metric's history; clients ask for 25000. A larger page ends early, and its token leads on.
const maxHistoryResults = 1_000_000

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
	values *models.MetricHistory
	name   []byte // the metric's key in JSON
	left   int    // how much of the page is to come
	sent   int    // how much the client has, with the pages before
	last   models.Point
	out    []byte
	begun  bool
}

func (a *API) getMetricHistory(_ context.Context, req *getMetricHistoryRequest) (*inParts, error) {
	h := &history{name: appendString(nil, req.MetricKey), left: math.MaxInt}
	var page models.HistoryPage
	if req.PageToken != "" {
		var token historyToken
		err := readPageToken(req.PageToken, &token, func() bool { return token.Offset != nil && *token.Offset >= 0 })
		if err != nil {
			return nil, err
		}
		h.sent = *token.Offset
		if last := token.Greenroom; last != nil {
			page.After = &models.Point{Timestamp: last.Timestamp, Step: last.Step, Value: last.Value, IsNaN: last.IsNaN}
		} else {
			page.Offset = h.sent
		}
	}
	if req.MaxResults != nil {
		if *req.MaxResults <= 0 {
			return nil, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer.", *req.MaxResults)
		}
		h.left = int(min(*req.MaxResults, maxHistoryResults))
	}
	page.Limit = h.left
	h.values = a.store.MetricHistory(req.id(), req.MetricKey, page)
	return &inParts{h.next}, nil
}

// next gives the next part of the page.
func (h *history) next(ctx context.Context) (part []byte, last bool, err error) {
	found, more, err := h.values.Next(ctx)
	if err != nil {
		return nil, false, err
	}
	if len(found) == 0 && !h.begun {
		return []byte("{}"), true, nil
	}
	b := h.out[:0]
	for _, p := range found {
		if h.begun {
			b = append(b, ',')
		} else {
			b = append(b, `{"metrics":[`...)
			h.begun = true
		}
		b = append(appendPoint(b, h.name, p), '}')
		h.last = p
	}
	h.sent += len(found)
	h.left -= len(found)
	if last = !more || h.left == 0; last {
		b = append(b, ']')
		if more {
			token := historyToken{&h.sent, &lastValue{h.last.Timestamp, h.last.Step, h.last.Value, h.last.IsNaN}}
			b = appendString(append(b, `,"next_page_token":`...), token.String())
		}
		b = append(b, '}')
	}
	h.out = b
	return b, last, nil
}

// appendPoint writes a metric's value but for the end of its object. name is the metric's key in JSON.
func appendPoint(b, name []byte, p models.Point) []byte {
	b = append(append(b, `{"key":`...), name...)
	b = appendDouble(append(b, `,"value":`...), p.Float())
	b = strconv.AppendInt(append(b, `,"timestamp":`...), p.Timestamp, 10)
	return strconv.AppendInt(append(b, `,"step":`...), p.Step, 10)
}

// runPoints are the values of one metric in several runs.
type runPoints struct {
	key    string
	points []models.RunPoint
}

func (r runPoints) append(b []byte) []byte {
	const others = 128 // bytes of a value besides the metric's key
	name := appendString(nil, r.key)
	b = slices.Grow(b, len(r.points)*(len(name)+others))
	return appendList(b, r.points, func(b []byte, p models.RunPoint) []byte {
		b = append(appendPoint(b, name, p.Point), `,"run_id":`...)
		return append(appendString(b, p.RunID), '}')
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
type bulkHistory runPoints

func (h *bulkHistory) appendJSON(b []byte) []byte {
	return append(runPoints(*h).append(append(b, `{"metrics":`...)), '}')
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
	return &bulkHistory{req.MetricKey, history}, err
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
type historySample runPoints

func (h *historySample) appendJSON(b []byte) []byte {
	if len(h.points) == 0 {
		return append(b, "{}"...)
	}
	return append(runPoints(*h).append(append(b, `{"metrics":`...)), '}')
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
	return &historySample{req.MetricKey, sample}, err
}
