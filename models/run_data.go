package models

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"greenroom/search"
)

// Metric is one value of a run's metric. NaN is kept as IsNaN with Value 0, infinities as the largest finite doubles, as in MLflow.
type Metric struct {
	Key       string
	Value     float64
	Timestamp int64 // milliseconds since 1970
	Step      int64
	IsNaN     bool `gorm:"column:is_nan"`

	// The logged model and the dataset that the value was measured on, when the client says so.
	ModelID, DatasetName, DatasetDigest string `gorm:"-"`
}

// Float is the value as logged.
func (m Metric) Float() float64 {
	if m.IsNaN {
		return math.NaN()
	}
	return m.Value
}

// NewMetric makes a metric from a value that may be NaN or infinite.
func NewMetric(key string, value float64, timestamp, step int64) Metric {
	m := Metric{Key: key, Value: value, Timestamp: timestamp, Step: step}
	switch {
	case math.IsNaN(value):
		m.Value, m.IsNaN = 0, true
	case math.IsInf(value, 1):
		m.Value = math.MaxFloat64
	case math.IsInf(value, -1):
		m.Value = -math.MaxFloat64
	}
	return m
}

// Batch is what LogBatch writes together.
type Batch struct {
	Metrics []Metric
	Params  []Param
	Tags    []Tag
}

var runIDPattern = regexp.MustCompile(`^[a-zA-Z0-9][\w\-]{0,255}$`)

func checkRunID(id string) error {
	if !runIDPattern.MatchString(id) {
		return invalid("Invalid value %s for parameter 'run_id' supplied.", Quote(id))
	}
	return nil
}

// LogBatch writes metrics, params and tags to an active run: all of them or, on any error, none.
func (s *Store) LogBatch(ctx context.Context, runID string, b Batch) error {
	if err := checkRunID(runID); err != nil {
		return err
	}
	if err := s.checkBatch(&b); err != nil {
		return err
	}
	if s.fitsStatement(b) {
		if err := s.logAtOnce(ctx, runID, b); !errors.Is(err, errParamsDiffer) {
			return err
		}
	}
	return s.update(ctx, func(t *tx) error {
		run, err := t.activeRun(runID)
		if err != nil {
			return err
		}
		changed, err := t.logParams(runID, b.Params)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			return invalid("Changing param values is not allowed. Params were already logged='[%s]' for run ID='%s'.", strings.Join(changed, ", "), runID)
		}
		if err := t.logMetrics(run, b.Metrics); err != nil {
			return err
		}
		return t.setTags(runID, b.Tags)
	})
}

func (s *Store) checkBatch(b *Batch) error {
	for i, m := range b.Metrics {
		if checkMetric("", m) != nil {
			return checkMetric("metrics["+strconv.Itoa(i)+"].", m)
		}
	}
	var err error
	for i, p := range b.Params {
		if b.Params[i], err = s.opts.checkParam("params["+strconv.Itoa(i)+"].", p); err != nil {
			return err
		}
	}
	for i, t := range b.Tags {
		if b.Tags[i], err = s.opts.checkTag("tags["+strconv.Itoa(i)+"].", t); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		what     string
		n, limit int
	}{
		{"metrics", len(b.Metrics), maxBatchMetrics},
		{"params", len(b.Params), maxBatchParams},
		{"tags", len(b.Tags), maxBatchTags},
		{"metrics, params, and tags", len(b.Metrics) + len(b.Params) + len(b.Tags), maxBatchEntities},
	} {
		if l.n > l.limit {
			return invalid("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple requests and try again.", l.limit, l.what, l.n, l.what, l.what)
		}
	}
	seen := make(map[string]bool, len(b.Params))
	var twice []string
	for _, p := range b.Params {
		if seen[p.Key] {
			twice = append(twice, search.Repr(p.Key))
		}
		seen[p.Key] = true
	}
	if len(twice) > 0 {
		return invalid("Duplicate parameter keys have been submitted: [%s]. Please ensure the request contains only one param value per param key.", strings.Join(twice, ", "))
	}
	return nil
}

// LogMetric writes one metric to an active run.
func (s *Store) LogMetric(ctx context.Context, runID string, m Metric) error {
	if err := checkMetric("", m); err != nil {
		return err
	}
	if b := (Batch{Metrics: []Metric{m}}); s.fitsStatement(b) {
		return s.logAtOnce(ctx, runID, b)
	}
	return s.update(ctx, func(t *tx) error {
		run, err := t.activeRun(runID)
		if err != nil {
			return err
		}
		return t.logMetrics(run, []Metric{m})
	})
}

// LogParam writes one param to an active run. A param keeps its first value: the same again is fine, another is refused.
func (s *Store) LogParam(ctx context.Context, runID string, p Param) error {
	p, err := s.opts.checkParam("", p)
	if err != nil {
		return err
	}
	if b := (Batch{Params: []Param{p}}); s.fitsStatement(b) {
		if err := s.logAtOnce(ctx, runID, b); !errors.Is(err, errParamsDiffer) {
			return err
		}
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeRun(runID); err != nil {
			return err
		}
		changed, err := t.logParams(runID, []Param{p})
		if err == nil && len(changed) > 0 {
			old, _, err := pickOne[string](t, "SELECT value FROM params WHERE run_uuid = ? AND key = ?", runID, p.Key)
			if err != nil {
				return err
			}
			return invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'. Attempted logging new value '%s'.", p.Key, old, runID, p.Value)
		}
		return err
	})
}

// SetTag sets one tag of an active run; mlflow.runName renames it.
func (s *Store) SetTag(ctx context.Context, runID string, tag Tag) error {
	tag, err := s.opts.checkTag("", tag)
	if err != nil {
		return err
	}
	if b := (Batch{Tags: []Tag{tag}}); s.fitsStatement(b) {
		return s.logAtOnce(ctx, runID, b)
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeRun(runID); err != nil {
			return err
		}
		return t.setTags(runID, []Tag{tag})
	})
}

// DeleteTag removes one tag of an active run.
func (s *Store) DeleteTag(ctx context.Context, runID, key string) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeRun(runID); err != nil {
			return err
		}
		n, err := t.exec("DELETE FROM tags WHERE run_uuid = ? AND key = ?", runID, key)
		if err == nil && n == 0 {
			return notFound("No tag with name: %s in run with id %s", key, runID)
		}
		return err
	})
}

const tagLoggedModels = "mlflow.log-model.history"

// RecordLoggedModel appends what a 1.x or 2.x client tells of a model it logged to the run's tag mlflow.log-model.history.
func (s *Store) RecordLoggedModel(ctx context.Context, runID string, model json.RawMessage) error {
	return s.update(ctx, func(t *tx) error {
		// The tag may not be there yet, so the run is what is locked.
		if _, err := t.lockActiveRun(runID); err != nil {
			return err
		}
		text, ok, err := pickOne[string](t, "SELECT value FROM tags WHERE run_uuid = ? AND key = ?", runID, tagLoggedModels)
		if err != nil {
			return err
		}
		var history []json.RawMessage
		if ok && json.Unmarshal([]byte(text), &history) != nil {
			return invalid("The run's tag %s is not a JSON list; correct or delete it first.", tagLoggedModels)
		}
		all, err := json.Marshal(append(history, model))
		if err != nil {
			return err
		}
		// Cut in the middle, the list would be no JSON any more.
		if err := checkLength(tagLoggedModels, string(all), maxTagValue); err != nil {
			return err
		}
		return t.upsertTags("tags", "run_uuid", runID, []Tag{{tagLoggedModels, string(all)}})
	})
}

// logParams writes params that are new and names those that would change, as MLflow prints them.
func (t *tx) logParams(runID string, params []Param) (changed []string, err error) {
	if len(params) == 0 {
		return nil, nil
	}
	rows := make([][]any, len(params))
	keys := make([]string, len(params))
	for i, p := range params {
		rows[i], keys[i] = []any{p.Key, p.Value, runID}, p.Key
	}
	sortRows(rows, 0)
	n, err := t.insertRows("INSERT INTO params (key, value, run_uuid)", "(?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
	if err != nil || n == int64(len(params)) {
		return nil, err
	}
	stored, err := pick[Param](t, "SELECT key, value FROM params WHERE run_uuid = ? AND key IN ?", runID, keys)
	if err != nil {
		return nil, err
	}
	old := make(map[string]string, len(stored))
	for _, p := range stored {
		old[p.Key] = p.Value
	}
	for _, p := range params {
		if old[p.Key] != p.Value {
			changed = append(changed, fmt.Sprintf("{'key': %s, 'old_value': %s, 'new_value': %s}", search.Repr(p.Key), search.Repr(old[p.Key]), search.Repr(p.Value)))
		}
	}
	return changed, nil
}

// logMetrics adds values to the history and moves each key's latest value on, if the new one is later by (step, timestamp, value).
// Those that name a logged model are added to it as well.
func (t *tx) logMetrics(run *Run, metrics []Metric) error {
	_, err := t.insertRows("INSERT INTO metrics "+metricRow, "(?, ?, ?, ?, ?, ?)", "ON CONFLICT DO NOTHING", metricRows(run, sortedMetrics(metrics)))
	if err != nil {
		return err
	}
	_, err = t.insertRows("INSERT INTO latest_metrics "+metricRow, "(?, ?, ?, ?, ?, ?)", laterWins, metricRows(run, latestPerKey(metrics)))
	if err != nil {
		return err
	}
	return t.logModelMetrics(run, metrics)
}

const (
	metricRow = "(key, value, timestamp, run_uuid, step, is_nan)"

	laterWins = `ON CONFLICT (key, run_uuid) DO UPDATE
		SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
		WHERE (excluded.step, excluded.timestamp, excluded.value) > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)`
	lastTagWins = "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)

func metricRows(run *Run, metrics []Metric) [][]any {
	rows := make([][]any, len(metrics))
	for i, m := range metrics {
		rows[i] = []any{m.Key, m.Value, m.Timestamp, run.ID, m.Step, m.IsNaN}
	}
	return rows
}

// sortedMetrics puts metrics in one order for all writers alike, so that two of them never wait for each other.
func sortedMetrics(metrics []Metric) []Metric {
	return slices.SortedFunc(slices.Values(metrics), func(a, b Metric) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Value, b.Value))
	})
}

// latestPerKey keeps the latest value of each key, sorted by key.
func latestPerKey(metrics []Metric) []Metric {
	latest := map[string]Metric{}
	for _, m := range metrics {
		if old, ok := latest[m.Key]; !ok || m.laterThan(old) {
			latest[m.Key] = m
		}
	}
	return slices.SortedFunc(maps.Values(latest), func(a, b Metric) int { return cmp.Compare(a.Key, b.Key) })
}

func (m Metric) laterThan(old Metric) bool {
	if m.Step != old.Step {
		return m.Step > old.Step
	}
	if m.Timestamp != old.Timestamp {
		return m.Timestamp > old.Timestamp
	}
	return m.Value > old.Value
}

func (t *tx) setTags(runID string, tags []Tag) error {
	for _, tag := range tags {
		if tag.Key == tagRunName && tag.Value != "" {
			if err := t.renameRun(runID, tag.Value); err != nil {
				return err
			}
		}
	}
	return t.upsertTags("tags", "run_uuid", runID, tags)
}

func checkMetric(at string, m Metric) error {
	if err := checkName(at+"name", m.Key); err != nil {
		return err
	}
	if m.Timestamp < 0 {
		return invalid("Invalid value %d for parameter '%stimestamp' supplied: metric '%s' (value=%s). Timestamp must be a nonnegative long (64-bit integer) ", m.Timestamp, at, m.Key, pythonFloat(m.Float()))
	}
	if (m.DatasetName == "") != (m.DatasetDigest == "") {
		return invalid("Both dataset_name and dataset_digest must be provided if one is provided")
	}
	if err := checkLength(at+"dataset_name", m.DatasetName, maxDatasetName); err != nil {
		return err
	}
	if err := checkLength(at+"dataset_digest", m.DatasetDigest, maxDatasetDigest); err != nil {
		return err
	}
	return checkLength("Metric name", m.Key, maxKey)
}

func (o Options) checkParam(at string, p Param) (Param, error) {
	if err := checkName(at+"key", p.Key); err != nil {
		return p, err
	}
	if err := checkLength("Param key", p.Key, maxKey); err != nil {
		return p, err
	}
	value, err := o.fitValue("Param value", p.Value, maxParamValue)
	return Param{p.Key, value}, err
}

func (o Options) checkTag(at string, t Tag) (Tag, error) {
	if err := checkName(at+"key", t.Key); err != nil {
		return t, err
	}
	return o.fitTag(at, t)
}

// fitTag checks the lengths of a tag, and cuts its value if the server is told to.
func (o Options) fitTag(at string, t Tag) (Tag, error) {
	if err := checkLength(at+"key", t.Key, maxKey); err != nil {
		return t, err
	}
	value, err := o.fitValue(at+"value", t.Value, maxTagValue)
	return Tag{t.Key, value}, err
}
