package models

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"greenroom/search"
)

// RunStatus is where a run stands.
type RunStatus string

// Running is the status a run begins with.
const Running RunStatus = "RUNNING"

const tagRunName = "mlflow.runName"

// Run is one execution that logs metrics, params, tags and artifacts. Times are in milliseconds since 1970.
type Run struct {
	ID             string `gorm:"column:run_uuid"`
	Name           *string
	UserID         *string
	Status         RunStatus
	StartTime      *int64
	EndTime        *int64
	LifecycleStage LifecycleStage
	ArtifactURI    *string
	ExperimentID   int64

	Metrics       []Metric       `gorm:"-"` // the latest of each key
	Params        []Param        `gorm:"-"`
	Tags          []Tag          `gorm:"-"`
	DatasetInputs []DatasetInput `gorm:"-"`
	ModelInputs   []ModelInput   `gorm:"-"`
	ModelOutputs  []ModelOutput  `gorm:"-"`
}

const runColumns = "runs.run_uuid, runs.name, runs.user_id, runs.status, runs.start_time, runs.end_time, runs.lifecycle_stage, runs.artifact_uri, runs.experiment_id"

func (r *Run) columns() []any {
	return []any{&r.ID, &r.Name, &r.UserID, orZero(&r.Status), &r.StartTime, &r.EndTime, &r.LifecycleStage, &r.ArtifactURI, &r.ExperimentID}
}

// NewRun describes the run to create. An empty Name is taken from the tag mlflow.runName, or made up.
type NewRun struct {
	ExperimentID int64
	UserID       string
	Name         string
	StartTime    int64 // milliseconds
	Tags         []Tag
}

// CreateRun starts a run in an active experiment.
func (s *Store) CreateRun(ctx context.Context, n NewRun) (run *Run, err error) {
	if err := s.prepareRun(&n); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		e, err := t.activeExperiment(n.ExperimentID)
		if err != nil {
			return err
		}
		id := newID()
		uri := appendToURI(e.ArtifactLocation, id, "artifacts")
		if err := checkLength("artifact_uri", uri, maxRunArtifactURI); err != nil {
			return invalid("The artifact location of experiment %d is too long: a run's artifact URI would exceed %d characters. Create an experiment with a shorter artifact_location.", e.ID, maxRunArtifactURI)
		}
		run = &Run{ID: id, Name: &n.Name, UserID: &n.UserID, Status: Running, StartTime: &n.StartTime, LifecycleStage: Active, ArtifactURI: &uri, ExperimentID: e.ID, Tags: n.Tags}
		_, err = t.execPlain(`INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
			VALUES ($1, $2, 'UNKNOWN', '', '', $3, $4, $5, '', $6, $7, $8)`, id, n.Name, n.UserID, Running, n.StartTime, Active, uri, e.ID)
		if err != nil {
			return err
		}
		return t.upsertTags("tags", "run_uuid", id, n.Tags)
	})
	return run, err
}

// prepareRun checks what a client asks for and settles the run's name.
func (s *Store) prepareRun(n *NewRun) error {
	if err := checkLength("user_id", n.UserID, maxUserID); err != nil {
		return err
	}
	seen := make(map[string]bool, len(n.Tags))
	nameTag := ""
	for i := range n.Tags {
		// MLflow checks no characters of the keys that come with a new run, so clients may send any.
		tag, err := s.opts.fitTag("tags["+strconv.Itoa(i)+"].", n.Tags[i])
		if err != nil {
			return err
		}
		if seen[tag.Key] {
			return invalid("Duplicate tag keys have been submitted: ['%s']. Please ensure the request contains only one tag value per tag key.", tag.Key)
		}
		seen[tag.Key] = true
		if n.Tags[i] = tag; tag.Key == tagRunName {
			nameTag = tag.Value
		}
	}
	switch {
	case n.Name != "" && nameTag != "" && n.Name != nameTag:
		return invalid("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='%s', mlflow.runName='%s').", n.Name, nameTag)
	case n.Name == "" && nameTag == "":
		n.Name = randomName()
	case n.Name == "":
		n.Name = nameTag
	}
	if nameTag == "" {
		n.Tags = slices.DeleteFunc(n.Tags, func(t Tag) bool { return t.Key == tagRunName })
		n.Tags = append(n.Tags, Tag{tagRunName, n.Name})
	}
	return checkLength("run_name", n.Name, maxRunName)
}

// Run gives a run with all its data, deleted or not.
func (s *Store) Run(ctx context.Context, id string) (*Run, error) {
	found, err := s.runsWithData(ctx, func(t *tx) ([]*Run, error) {
		run, err := t.run(id)
		return []*Run{run}, err
	})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// RunInfo gives a run without its metrics, params, tags, inputs and outputs.
func (s *Store) RunInfo(ctx context.Context, id string) (run *Run, err error) {
	err = s.view(ctx, func(t *tx) error {
		run, err = t.run(id)
		return err
	})
	return run, err
}

// RunUpdate is what UpdateRun changes; nil and "" leave a field as it is.
type RunUpdate struct {
	Status  RunStatus
	EndTime *int64 // milliseconds
	Name    string
}

// UpdateRun changes an active run and gives it as it is now, without its data.
func (s *Store) UpdateRun(ctx context.Context, id string, u RunUpdate) (run *Run, err error) {
	if err := checkLength("run_name", u.Name, maxRunName); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		if run, err = t.lockActiveRun(id); err != nil {
			return err
		}
		if u.Status != "" {
			run.Status = u.Status
		}
		if u.EndTime != nil {
			run.EndTime = u.EndTime
		}
		if u.Name != "" {
			if err := t.renameRun(id, u.Name); err != nil {
				return err
			}
			run.Name = &u.Name
		}
		_, err = t.exec("UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?", run.Status, run.EndTime, id)
		return err
	})
	return run, err
}

// renameRun keeps the run's name and its tag mlflow.runName the same.
func (t *tx) renameRun(id, name string) error {
	if err := checkLength("run_name", name, maxRunName); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE runs SET name = ? WHERE run_uuid = ?", name, id); err != nil {
		return err
	}
	return t.upsertTags("tags", "run_uuid", id, []Tag{{tagRunName, name}})
}

// DeleteRun marks a run deleted; a second time is no error.
func (s *Store) DeleteRun(ctx context.Context, id string) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.run(id)
		if err != nil {
			return err
		}
		t.note("experiment_id", r.ExperimentID)
		if err := t.deleteAssessments(id); err != nil {
			return err
		}
		_, err = t.exec("UPDATE runs SET lifecycle_stage = ?, deleted_time = ? WHERE run_uuid = ?", Deleted, t.now, id)
		return err
	})
}

// deleteAssessments removes the assessments that the given runs made: MLflow keeps the run's id in their metadata, a JSON text.
func (t *tx) deleteAssessments(runs ...string) error {
	const source = "mlflow.assessment.sourceRunId"
	pattern := `%"` + source + `"%`
	if len(runs) == 1 {
		pattern += runs[0] + "%"
	}
	candidates, err := pick[struct{ AssessmentID, AssessmentMetadata string }](t,
		"SELECT assessment_id, assessment_metadata FROM assessments WHERE assessment_metadata LIKE ? ORDER BY assessment_id", pattern)
	if err != nil {
		return err
	}
	gone := make(map[string]bool, len(runs))
	for _, id := range runs {
		gone[id] = true
	}
	var made []string
	for _, c := range candidates {
		var metadata map[string]any
		if err := json.Unmarshal([]byte(c.AssessmentMetadata), &metadata); err != nil {
			continue // not MLflow's
		}
		if id, ok := metadata[source].(string); ok && gone[id] {
			made = append(made, c.AssessmentID)
		}
	}
	return eachChunk(made, func(ids []string) error {
		_, err := t.exec("DELETE FROM assessments WHERE assessment_id IN ?", ids)
		return err
	})
}

// RestoreRun brings a deleted run back; on an active one it changes nothing.
func (s *Store) RestoreRun(ctx context.Context, id string) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.run(id)
		if err != nil {
			return err
		}
		t.note("experiment_id", r.ExperimentID)
		// In the order in which greenroom gc locks.
		if _, err := t.pickExperiment(r.ExperimentID, ViewAll, t.forShare()); err != nil {
			return err
		}
		if _, err := t.pickRun(id, t.forUpdate()); err != nil {
			return err
		}
		if err := t.requireUnmarked(GarbageRun, id, r.ExperimentID); err != nil {
			return err
		}
		_, err = t.exec("UPDATE runs SET lifecycle_stage = ?, deleted_time = NULL WHERE run_uuid = ?", Active, id)
		return err
	})
}

// SearchRuns gives one page of the runs that match, with all their data, of those of the experiments that the caller may read.
func (s *Store) SearchRuns(ctx context.Context, experiments []int64, view ViewType, page Page) ([]*Run, error) {
	q, err := runSchema.Query(s.dialect, page.Filter, page.OrderBy)
	if err != nil {
		return nil, err
	}
	asked := slices.Sorted(slices.Values(experiments))
	return s.runsWithData(ctx, func(t *tx) ([]*Run, error) {
		experiments, err := t.readableExperiments(experiments)
		if err != nil || len(experiments) == 0 {
			return nil, err
		}
		return pickPage[Run](t, listRuns(q, experiments, view, asked), page)
	})
}

// listRuns is a search among the runs of experiments; asked are those that the caller named.
func listRuns(q search.Query, experiments []int64, view ViewType, asked []int64) listing {
	among := func(from search.Clause) *query {
		return newQuery(" FROM ").add(from.SQL, from.Args...).add(" WHERE runs.experiment_id IN ? AND runs.lifecycle_stage IN ?", experiments, view.stages())
	}
	l := listing{columns: runColumns, rows: among(search.Clause{SQL: "runs" + q.Joins.SQL, Args: q.Joins.Args}), where: q.Where, order: q.Order, scope: []any{asked, view}}
	if q.Lead != nil {
		l.lead = &lead{q.Lead, among(q.Lead.From), among(search.Clause{SQL: "runs"})}
	}
	return l
}

func (t *tx) run(id string) (*Run, error) { return t.pickRun(id, "") }

func (t *tx) pickRun(id, lock string) (*Run, error) {
	run, ok, err := pickOne[Run](t, "SELECT "+runColumns+" FROM runs WHERE run_uuid = ?"+lock, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, runNotFound(id)
	}
	return &run, nil
}

// activeRun gives an active run with its experiment and nothing else.
func (t *tx) activeRun(id string) (*Run, error) {
	run := &Run{ID: id}
	ok, err := t.scanPlain("SELECT experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1", []any{id}, &run.ExperimentID, &run.LifecycleStage)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, runNotFound(id)
	}
	return run, run.requireActive()
}

// lockActiveRun is activeRun for who writes back what was read: nobody else changes the run until the transaction ends.
func (t *tx) lockActiveRun(id string) (*Run, error) {
	run, err := t.pickRun(id, t.forUpdate())
	if err != nil {
		return nil, err
	}
	return run, run.requireActive()
}

func (r *Run) requireActive() error {
	if r.LifecycleStage != Active {
		return invalid("The run %s must be in the 'active' state. Current state is %s.", r.ID, r.LifecycleStage)
	}
	return nil
}

func runNotFound(id string) error { return notFound("Run with id=%s not found", id) }

// newID gives 32 lower-case hex digits of a random UUID, MLflow's form of an id.
func newID() string {
	var id [16]byte
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:])
}
