package models

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"greenroom/search"
)

// LoggedModelStatus is where a logged model stands, by MLflow's number. MLflow has written others than these, for names it did not know.
type LoggedModelStatus int64

// The states of a logged model: its files are on the way, all there, or will never be.
const (
	LoggedModelPending      LoggedModelStatus = 1
	LoggedModelReady        LoggedModelStatus = 2
	LoggedModelUploadFailed LoggedModelStatus = 3
)

// LoggedModel is a model that a run, or nobody, logged: its files lie at ArtifactLocation. Times are in milliseconds since 1970.
type LoggedModel struct {
	ID               string `gorm:"column:model_id"`
	ExperimentID     int64
	Name             string
	ArtifactLocation string
	CreationTime     int64 `gorm:"column:creation_timestamp_ms"`
	LastUpdateTime   int64 `gorm:"column:last_updated_timestamp_ms"`
	Status           LoggedModelStatus
	LifecycleStage   LifecycleStage
	ModelType        *string
	SourceRunID      *string
	StatusMessage    *string

	Tags    []Tag               `gorm:"-"`
	Params  []Param             `gorm:"-"`
	Metrics []LoggedModelMetric `gorm:"-"`
}

const loggedModelColumns = "logged_models.model_id, logged_models.experiment_id, logged_models.name, logged_models.artifact_location, logged_models.creation_timestamp_ms, " +
	"logged_models.last_updated_timestamp_ms, logged_models.status, logged_models.lifecycle_stage, logged_models.model_type, logged_models.source_run_id, logged_models.status_message"

func (m *LoggedModel) columns() []any {
	return []any{
		&m.ID, &m.ExperimentID, &m.Name, &m.ArtifactLocation, &m.CreationTime,
		&m.LastUpdateTime, &m.Status, &m.LifecycleStage, &m.ModelType, &m.SourceRunID, &m.StatusMessage,
	}
}

// LoggedModelMetric is a value that a run measured on a logged model, perhaps on a dataset. NaN is kept as 0: MLflow's table has no mark for it.
type LoggedModelMetric struct {
	ModelID       string
	Key           string  `gorm:"column:metric_name"`
	Value         float64 `gorm:"column:metric_value"`
	Timestamp     int64   `gorm:"column:metric_timestamp_ms"`
	Step          int64   `gorm:"column:metric_step"`
	RunID         string
	DatasetName   *string
	DatasetDigest *string
}

// Limits in characters: the columns'.
const (
	maxLoggedModelName = 500
	maxModelType       = 500
	maxSourceRunID     = 32
	maxOnceKey         = 255 // of a logged model's params and tags, and of the tags of an input
)

// NewLoggedModel describes the logged model to create. An empty Name is made up.
type NewLoggedModel struct {
	ExperimentID int64
	Name         string
	ModelType    string
	SourceRunID  string
	Params       []Param
	Tags         []Tag
}

// CreateLoggedModel makes a pending logged model in an active experiment. The source run need not exist.
func (s *Store) CreateLoggedModel(ctx context.Context, n NewLoggedModel) (m *LoggedModel, err error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	if n.Name == "" {
		n.Name = randomName()
	}
	err = s.update(ctx, func(t *tx) error {
		e, err := t.activeExperiment(n.ExperimentID)
		if err != nil {
			return err
		}
		if err := t.requireReadable(n.SourceRunID, ""); err != nil {
			return err
		}
		id := "m-" + newID()
		m = &LoggedModel{
			ID: id, ExperimentID: e.ID, Name: n.Name, ArtifactLocation: appendToURI(e.ArtifactLocation, "models", id, "artifacts"), CreationTime: t.now, LastUpdateTime: t.now,
			Status: LoggedModelPending, LifecycleStage: Active, ModelType: &n.ModelType, SourceRunID: &n.SourceRunID,
		}
		_, err = t.exec(`INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, m.ID, m.ExperimentID, m.Name, m.ArtifactLocation, m.CreationTime, m.LastUpdateTime, m.Status, m.LifecycleStage, m.ModelType, m.SourceRunID)
		if err != nil {
			return err
		}
		if err := t.addLoggedModelParams(m, n.Params); err != nil {
			return err
		}
		if err := t.setLoggedModelTags(m, n.Tags); err != nil {
			return err
		}
		return t.loadLoggedModels([]*LoggedModel{m})
	})
	return m, err
}

func (n *NewLoggedModel) check() error {
	if strings.ContainsAny(n.Name, `/:.%"'`) {
		return invalid(`Invalid model name (%s) provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%%', '"', "'")`, search.Repr(n.Name))
	}
	if err := checkLength("name", n.Name, maxLoggedModelName); err != nil {
		return err
	}
	if err := checkLength("model_type", n.ModelType, maxModelType); err != nil {
		return err
	}
	if err := checkLength("source_run_id", n.SourceRunID, maxSourceRunID); err != nil {
		return err
	}
	if err := checkLoggedModelParams(n.Params); err != nil {
		return err
	}
	return checkOnce("tags", n.Tags, 0)
}

// LoggedModel gives a logged model with all its data; a deleted one only if asked to.
func (s *Store) LoggedModel(ctx context.Context, id string, allowDeleted bool) (m *LoggedModel, err error) {
	err = s.view(ctx, func(t *tx) error {
		if m, err = t.loggedModel(id); err != nil {
			return err
		}
		if m.LifecycleStage == Deleted && !allowDeleted {
			return modelNotFound(id)
		}
		return t.loadLoggedModels([]*LoggedModel{m})
	})
	return m, err
}

// DeleteLoggedModel marks a logged model deleted; a second time is no error.
func (s *Store) DeleteLoggedModel(ctx context.Context, id string) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.loggedModel(id); err != nil {
			return err
		}
		_, err := t.exec("UPDATE logged_models SET lifecycle_stage = ?, last_updated_timestamp_ms = ? WHERE model_id = ?", Deleted, t.now, id)
		return err
	})
}

// FinalizeLoggedModel sets the status, from any to any, and gives the logged model as it is now.
func (s *Store) FinalizeLoggedModel(ctx context.Context, id string, status LoggedModelStatus) (m *LoggedModel, err error) {
	err = s.update(ctx, func(t *tx) error {
		if m, err = t.loggedModel(id); err != nil {
			return err
		}
		m.Status, m.LastUpdateTime = status, t.now
		if _, err := t.exec("UPDATE logged_models SET status = ?, last_updated_timestamp_ms = ? WHERE model_id = ?", status, t.now, id); err != nil {
			return err
		}
		return t.loadLoggedModels([]*LoggedModel{m})
	})
	return m, err
}

// LogLoggedModelParams adds params. A param keeps its first value: the same again is fine, another is refused.
func (s *Store) LogLoggedModelParams(ctx context.Context, id string, params []Param) error {
	if err := checkLoggedModelParams(params); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		m, err := t.loggedModel(id)
		if err != nil {
			return err
		}
		return t.addLoggedModelParams(m, params)
	})
}

// SetLoggedModelTags sets tags; of two with one key the last counts. TagModelVersions alone may also come from a caller who may
// only read: it is refused (*auth.ForbiddenError) if it adds anything.
func (s *Store) SetLoggedModelTags(ctx context.Context, id string, tags []Tag) error {
	tags = lastPerKey(tags)
	if err := checkOnce("tags", tags, 0); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		m, err := t.loggedModel(id)
		if err != nil {
			return err
		}
		if len(tags) == 1 && tags[0].Key == TagModelVersions {
			if repeated, err := t.repeatsVersions(m, tags[0].Value); repeated || err != nil {
				return err
			}
		}
		return t.setLoggedModelTags(m, tags)
	})
}

// DeleteLoggedModelTag removes one tag.
func (s *Store) DeleteLoggedModelTag(ctx context.Context, id, key string) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.loggedModel(id); err != nil {
			return err
		}
		n, err := t.exec("DELETE FROM logged_model_tags WHERE model_id = ? AND tag_key = ?", id, key)
		if err == nil && n == 0 {
			return notFound("No tag with key %s found for model with ID %s.", search.Repr(key), search.Repr(id))
		}
		return err
	})
}

// LoggedModelSearch is a search of logged models. Datasets limit the metrics that the filter compares.
type LoggedModelSearch struct {
	ExperimentIDs []int64
	Filter        string
	Datasets      []DatasetFilter
	OrderBy       []LoggedModelOrder
	Offset, Limit int
}

// SearchLoggedModels gives one page of the logged models that match and are not deleted, with all their data, of those of the
// experiments that the caller may read.
func (s *Store) SearchLoggedModels(ctx context.Context, want LoggedModelSearch) (found []*LoggedModel, err error) {
	where, err := loggedModelWhere(s.dialect, want.Filter, want.Datasets)
	if err != nil {
		return nil, err
	}
	order, err := loggedModelOrderBy(s.dialect, want.OrderBy)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(t *tx) error {
		experiments, err := t.readableExperiments(want.ExperimentIDs)
		if err != nil || len(experiments) == 0 {
			return err
		}
		rows := newQuery(" FROM logged_models WHERE logged_models.experiment_id IN ? AND logged_models.lifecycle_stage <> ?", experiments, Deleted)
		found, err = pickPage[LoggedModel](t, listing{columns: loggedModelColumns, rows: rows, where: where, order: order}, Page{Offset: want.Offset, Limit: want.Limit})
		if err != nil {
			return err
		}
		return t.loadLoggedModels(found)
	})
	return found, err
}

// loggedModel reads a logged model, deleted or not, without its tags, params and metrics.
func (t *tx) loggedModel(id string) (*LoggedModel, error) {
	m, ok, err := pickOne[LoggedModel](t, "SELECT "+loggedModelColumns+" FROM logged_models WHERE model_id = ?", id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, modelNotFound(id)
	}
	return &m, nil
}

func modelNotFound(id string) error {
	return notFound("Logged model with ID '%s' not found.", id)
}

// checkModelsExist refuses ids that no logged model has, deleted or not.
func (t *tx) checkModelsExist(ids []string) error {
	known := make(map[string]bool, len(ids))
	err := eachChunk(ids, func(ids []string) error {
		found, err := pick[string](t, "SELECT model_id FROM logged_models WHERE model_id IN ?", ids)
		for _, id := range found {
			known[id] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !known[id] {
			return modelNotFound(id)
		}
	}
	return nil
}

// loadLoggedModels fills tags, params and metrics of all logged models with one query for each kind.
func (t *tx) loadLoggedModels(loaded []*LoggedModel) error {
	byID := make(map[string]*LoggedModel, len(loaded))
	ids := make([]string, len(loaded))
	for i, m := range loaded {
		byID[m.ID], ids[i] = m, m.ID
	}
	return eachChunk(ids, func(ids []string) error {
		type pair struct{ ModelID, Key, Value string }
		tags, err := pick[pair](t, "SELECT model_id, tag_key AS key, tag_value AS value FROM logged_model_tags WHERE model_id IN ? ORDER BY model_id, tag_key", ids)
		if err != nil {
			return err
		}
		for _, p := range tags {
			m := byID[p.ModelID]
			m.Tags = append(m.Tags, Tag{p.Key, p.Value})
		}
		params, err := pick[pair](t, "SELECT model_id, param_key AS key, param_value AS value FROM logged_model_params WHERE model_id IN ? ORDER BY model_id, param_key", ids)
		if err != nil {
			return err
		}
		for _, p := range params {
			m := byID[p.ModelID]
			m.Params = append(m.Params, Param{p.Key, p.Value})
		}
		metrics, err := pick[LoggedModelMetric](t, "SELECT "+loggedModelMetricColumns+` FROM logged_model_metrics WHERE model_id IN ?
			ORDER BY model_id, metric_name, metric_timestamp_ms, metric_step, run_id`, ids)
		for _, p := range metrics {
			m := byID[p.ModelID]
			m.Metrics = append(m.Metrics, p)
		}
		return err
	})
}

const loggedModelMetricColumns = "model_id, metric_name, metric_value, metric_timestamp_ms, metric_step, run_id, dataset_name, dataset_digest"

// addLoggedModelParams adds params that are new and refuses those that would change.
func (t *tx) addLoggedModelParams(m *LoggedModel, params []Param) error {
	rows := make([][]any, len(params))
	for i, p := range params {
		rows[i] = []any{m.ID, m.ExperimentID, p.Key, p.Value}
	}
	sortRows(rows, 2)
	n, err := t.insertRows("INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value)", "(?, ?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
	if err != nil || n == int64(len(params)) {
		return err
	}
	stored, err := pick[Param](t, "SELECT param_key AS key, param_value AS value FROM logged_model_params WHERE model_id = ?", m.ID)
	if err != nil {
		return err
	}
	old := make(map[string]string, len(stored))
	for _, p := range stored {
		old[p.Key] = p.Value
	}
	for _, p := range params {
		if old[p.Key] != p.Value {
			return invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for model ID='%s'. Attempted logging new value '%s'.", p.Key, old[p.Key], m.ID, p.Value)
		}
	}
	return nil
}

func (t *tx) setLoggedModelTags(m *LoggedModel, tags []Tag) error {
	rows := make([][]any, 0, len(tags))
	for _, tag := range lastPerKey(tags) {
		rows = append(rows, []any{m.ID, m.ExperimentID, tag.Key, tag.Value})
	}
	_, err := t.insertRows("INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value)", "(?, ?, ?, ?)",
		"ON CONFLICT (model_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value", rows)
	return err
}

// logModelMetrics adds the metrics that name a logged model to it. One value fits a metric, time and step of a run: the
// same again changes nothing, another is refused.
func (t *tx) logModelMetrics(run *Run, metrics []Metric) error {
	type identity struct {
		model, key      string
		timestamp, step int64
	}
	logged := map[identity]LoggedModelMetric{}
	var ids []string
	for _, m := range metrics {
		if m.ModelID == "" {
			continue
		}
		at := identity{m.ModelID, m.Key, m.Timestamp, m.Step}
		n := LoggedModelMetric{m.ModelID, m.Key, m.Value, m.Timestamp, m.Step, run.ID, nullable(m.DatasetName), nullable(m.DatasetDigest)}
		if old, ok := logged[at]; ok && !old.same(n) {
			return n.clash()
		}
		logged[at] = n
		ids = append(ids, m.ModelID)
	}
	if len(logged) == 0 {
		return nil
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if err := t.checkModelsExist(ids); err != nil {
		if missing := new(Error); errors.As(err, &missing) {
			return invalid("%s", missing.Message)
		}
		return err
	}
	rows := make([][]any, 0, len(logged))
	for _, m := range logged {
		rows = append(rows, []any{m.ModelID, m.Key, m.Timestamp, m.Step, m.Value, run.ExperimentID, run.ID, m.DatasetName, m.DatasetDigest})
	}
	sortRows(rows, 0, 1, 2, 3)
	n, err := t.insertRows("INSERT INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id, dataset_name, dataset_digest)",
		"(?, ?, ?, ?, ?, ?, ?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
	if err != nil || n == int64(len(rows)) {
		return err
	}
	stored, err := pick[LoggedModelMetric](t, "SELECT "+loggedModelMetricColumns+" FROM logged_model_metrics WHERE model_id IN ? AND run_id = ?", ids, run.ID)
	if err != nil {
		return err
	}
	for _, old := range stored {
		if n, ok := logged[identity{old.ModelID, old.Key, old.Timestamp, old.Step}]; ok && !old.same(n) {
			return n.clash()
		}
	}
	return nil
}

func (m LoggedModelMetric) same(other LoggedModelMetric) bool {
	return m.Value == other.Value && deref(m.DatasetName) == deref(other.DatasetName) && deref(m.DatasetDigest) == deref(other.DatasetDigest)
}

func (m LoggedModelMetric) clash() error {
	return invalid("Metric '%s' of logged model '%s' already has another value or dataset at timestamp %d and step %d; log it at another step.", m.Key, m.ModelID, m.Timestamp, m.Step)
}

func checkLoggedModelParams(params []Param) error {
	tags := make([]Tag, len(params))
	for i, p := range params {
		tags[i] = Tag(p)
	}
	return checkOnce("params", tags, 0)
}

// checkOnce refuses a key given twice and texts over their limit, in characters; a value limit of 0 is none.
func checkOnce(field string, tags []Tag, valueLimit int) error {
	seen := make(map[string]bool, len(tags))
	for i, tag := range tags {
		at := field + "[" + strconv.Itoa(i) + "]."
		if seen[tag.Key] {
			return invalid("'%skey' repeats the key %s; provide it once.", at, search.Repr(tag.Key))
		}
		seen[tag.Key] = true
		if err := checkLength(at+"key", tag.Key, maxOnceKey); err != nil {
			return err
		}
		if valueLimit == 0 {
			continue
		}
		if err := checkLength(at+"value", tag.Value, valueLimit); err != nil {
			return err
		}
	}
	return nil
}

// nullable is nil for "".
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
