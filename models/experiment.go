package models

import (
	"context"
	"strconv"
	"strings"

	"greenroom/auth"
)

// LifecycleStage tells whether an experiment, a run or a logged model is in use or deleted.
type LifecycleStage string

// The lifecycle stages; a deleted object can be restored.
const (
	Active  LifecycleStage = "active"
	Deleted LifecycleStage = "deleted"
)

// ViewType selects lifecycle stages in a search.
type ViewType string

// The view types; "" is ActiveOnly.
const (
	ActiveOnly  ViewType = "ACTIVE_ONLY"
	DeletedOnly ViewType = "DELETED_ONLY"
	ViewAll     ViewType = "ALL"
)

func (v ViewType) stages() []LifecycleStage {
	switch v {
	case DeletedOnly:
		return []LifecycleStage{Deleted}
	case ViewAll:
		return []LifecycleStage{Active, Deleted}
	default:
		return []LifecycleStage{Active}
	}
}

// Experiment groups runs. Times are in milliseconds since 1970.
type Experiment struct {
	ID               int64 `gorm:"column:experiment_id"`
	Name             string
	ArtifactLocation string
	LifecycleStage   LifecycleStage
	CreationTime     *int64
	LastUpdateTime   *int64
	Tags             []Tag `gorm:"-"`
}

const experimentColumns = "experiments.experiment_id, experiments.name, experiments.artifact_location, experiments.lifecycle_stage, experiments.creation_time, experiments.last_update_time"

func (e *Experiment) columns() []any {
	return []any{&e.ID, &e.Name, orZero(&e.ArtifactLocation), &e.LifecycleStage, &e.CreationTime, &e.LastUpdateTime}
}

// CreateExperiment makes an experiment and gives its id. An empty location means a folder of its own under the artifact root.
func (s *Store) CreateExperiment(ctx context.Context, name, location string, tags []Tag) (id int64, err error) {
	if err := checkExperimentName(name); err != nil {
		return 0, err
	}
	if location != "" {
		if err := s.opts.checkArtifactLocation("artifact_location", location); err != nil {
			return 0, err
		}
		location = resolveLocal(location)
		if err := checkLength("artifact_location", location, maxArtifactLocation); err != nil {
			return 0, err
		}
	}
	tags = lastPerKey(tags)
	for _, t := range tags {
		if err := checkExperimentTag(t); err != nil {
			return 0, err
		}
	}
	err = s.update(ctx, func(t *tx) error {
		if location != "" {
			if err := t.checkOwnFolder(location); err != nil {
				return err
			}
		}
		id, _, err = pickOne[int64](t, `INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)
			VALUES (?, ?, ?, ?, ?, ?) RETURNING experiment_id`, name, location, Active, t.now, t.now, workspace)
		if isUniqueViolation(err) {
			return alreadyExists("Experiment(name=%s) already exists.", name)
		}
		if err != nil {
			return err
		}
		t.about("experiment %d", id)
		t.note("name", name)
		if location == "" {
			own := appendToURI(s.opts.ArtifactRoot, strconv.FormatInt(id, 10))
			if _, err := t.exec("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", own, id); err != nil {
				return err
			}
		}
		if err := t.upsertTags("experiment_tags", "experiment_id", id, tags); err != nil {
			return err
		}
		if err := t.dropOldGrants(strconv.FormatInt(id, 10)); err != nil {
			return err
		}
		return t.grantCreator(auth.Experiment, strconv.FormatInt(id, 10))
	})
	return id, err
}

// Experiment gives an experiment, deleted or not.
func (s *Store) Experiment(ctx context.Context, id int64) (e *Experiment, err error) {
	err = s.view(ctx, func(t *tx) error {
		e, err = t.experiment(id, ViewAll)
		if err != nil {
			return err
		}
		return t.loadExperimentTags([]*Experiment{e})
	})
	return e, err
}

// ExperimentByName gives an experiment, deleted or not.
func (s *Store) ExperimentByName(ctx context.Context, name string) (e *Experiment, err error) {
	err = s.view(ctx, func(t *tx) error {
		row, ok, err := pickOne[Experiment](t, "SELECT "+experimentColumns+" FROM experiments WHERE workspace = ? AND name = ?", workspace, name)
		if err != nil {
			return err
		}
		if !ok {
			return notFound("Could not find experiment with name '%s'", name)
		}
		e = &row
		return t.loadExperimentTags([]*Experiment{e})
	})
	return e, err
}

// SearchExperiments gives one page of the experiments that match and that the caller may read.
func (s *Store) SearchExperiments(ctx context.Context, view ViewType, page Page) (found []*Experiment, err error) {
	where, err := experimentSchema.Where(s.dialect, page.Filter)
	if err != nil {
		return nil, err
	}
	order, err := experimentSchema.OrderBy(s.dialect, page.OrderBy)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(t *tx) error {
		rows := newQuery(" FROM experiments WHERE experiments.workspace = ? AND experiments.lifecycle_stage IN ?", workspace, view.stages()).and(t.visibleExperiments())
		found, err = pickPage[Experiment](t, listing{columns: experimentColumns, rows: rows, where: where, order: order, scope: []any{view}}, page)
		if err != nil {
			return err
		}
		return t.loadExperimentTags(found)
	})
	return found, err
}

// RenameExperiment gives an active experiment another name.
func (s *Store) RenameExperiment(ctx context.Context, id int64, name string) error {
	if err := checkExperimentName(name); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		e, err := t.experiment(id, ViewAll)
		if err != nil {
			return err
		}
		t.noteMove("name", e.Name, name)
		if e.LifecycleStage != Active {
			return invalid("Cannot rename a non-active experiment.")
		}
		_, err = t.exec("UPDATE experiments SET name = ?, last_update_time = ? WHERE experiment_id = ?", name, t.now, id)
		if isUniqueViolation(err) {
			return alreadyExists("Experiment(name=%s) already exists.", name)
		}
		return err
	})
}

// DeleteExperiment marks an active experiment and all its runs deleted.
func (s *Store) DeleteExperiment(ctx context.Context, id int64) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.experiment(id, ActiveOnly); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE experiments SET lifecycle_stage = ?, last_update_time = ? WHERE experiment_id = ?", Deleted, t.now, id); err != nil {
			return err
		}
		runs, err := pick[string](t, "SELECT run_uuid FROM runs WHERE experiment_id = ?", id)
		if err != nil {
			return err
		}
		if err := t.deleteAssessments(runs...); err != nil {
			return err
		}
		_, err = t.exec("UPDATE runs SET lifecycle_stage = ?, deleted_time = ? WHERE experiment_id = ?", Deleted, t.now, id)
		return err
	})
}

// RestoreExperiment brings back a deleted experiment and all its runs, also those deleted one by one before it, as MLflow does.
// Runs that are being deleted for good stay deleted.
func (s *Store) RestoreExperiment(ctx context.Context, id int64) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.pickExperiment(id, DeletedOnly, t.forUpdate()); err != nil {
			return err
		}
		if err := t.requireUnmarked(GarbageExperiment, strconv.FormatInt(id, 10), id); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE experiments SET lifecycle_stage = ?, last_update_time = ? WHERE experiment_id = ?", Active, t.now, id); err != nil {
			return err
		}
		_, err := t.exec("UPDATE runs SET lifecycle_stage = ?, deleted_time = NULL WHERE experiment_id = ? AND NOT EXISTS (SELECT 1 FROM greenroom_gc WHERE kind = ? AND id = run_uuid)", Active, id, GarbageRun)
		return err
	})
}

// SetExperimentTag sets one tag of an active experiment.
func (s *Store) SetExperimentTag(ctx context.Context, id int64, tag Tag) error {
	if err := checkExperimentTag(tag); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeExperiment(id); err != nil {
			return err
		}
		t.noteTag(tag)
		if err := t.checkCustomViews(id, tag); err != nil {
			return err
		}
		return t.upsertTags("experiment_tags", "experiment_id", id, []Tag{tag})
	})
}

// maxCustomViews is how many saved views an experiment keeps in its tags.
const maxCustomViews = 50

// customViewPrefix begins the tags in which MLflow's pages keep an experiment's saved views.
const customViewPrefix = "mlflow.customView.view"

func (t *tx) checkCustomViews(id int64, tag Tag) error {
	if !strings.HasPrefix(tag.Key, customViewPrefix) {
		return nil
	}
	n, _, err := pickOne[int](t, "SELECT count(*) FROM experiment_tags WHERE experiment_id = ? AND key LIKE ? AND key <> ?", id, customViewPrefix+"%", tag.Key)
	if err == nil && n >= maxCustomViews {
		return invalid("An experiment can have at most %d custom views; delete one first.", maxCustomViews)
	}
	return err
}

// DeleteExperimentTag removes one tag of an active experiment.
func (s *Store) DeleteExperimentTag(ctx context.Context, id int64, key string) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeExperiment(id); err != nil {
			return err
		}
		t.note("tag", key)
		n, err := t.exec("DELETE FROM experiment_tags WHERE experiment_id = ? AND key = ?", id, key)
		if err == nil && n == 0 {
			return notFound("No tag with name: %s in experiment with id %d", key, id)
		}
		return err
	})
}

func (t *tx) experiment(id int64, view ViewType) (*Experiment, error) {
	return t.pickExperiment(id, view, "")
}

func (t *tx) pickExperiment(id int64, view ViewType, lock string) (*Experiment, error) {
	e, ok, err := pickOne[Experiment](t, "SELECT "+experimentColumns+" FROM experiments WHERE experiment_id = ? AND workspace = ? AND lifecycle_stage IN ?"+lock, id, workspace, view.stages())
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound("No Experiment with id=%d exists", id)
	}
	return &e, nil
}

// activeExperiment reads an experiment that is in use, and keeps it from being deleted until the transaction ends: what is
// put into it would stay active.
func (t *tx) activeExperiment(id int64) (*Experiment, error) {
	e, err := t.pickExperiment(id, ViewAll, t.forShare())
	if err == nil && e.LifecycleStage != Active {
		return nil, invalid("The experiment %d must be in the 'active' state. Current state is %s.", id, e.LifecycleStage)
	}
	return e, err
}

func (t *tx) loadExperimentTags(experiments []*Experiment) error {
	byID := make(map[int64]*Experiment, len(experiments))
	ids := make([]int64, len(experiments))
	for i, e := range experiments {
		byID[e.ID], ids[i] = e, e.ID
	}
	return eachChunk(ids, func(ids []int64) error {
		rows, err := pick[struct {
			ExperimentID int64
			Key          string
			Value        *string
		}](t, "SELECT experiment_id, key, value FROM experiment_tags WHERE experiment_id IN ? ORDER BY experiment_id, key", ids)
		for _, r := range rows {
			e := byID[r.ExperimentID]
			e.Tags = append(e.Tags, Tag{r.Key, deref(r.Value)})
		}
		return err
	})
}

func checkExperimentName(name string) error {
	if name == "" {
		return invalid("Invalid experiment name: ''")
	}
	return checkLength("name", name, maxExperimentName)
}

func checkExperimentTag(tag Tag) error {
	if err := checkName("key", tag.Key); err != nil {
		return err
	}
	if err := checkLength("key", tag.Key, maxKey); err != nil {
		return err
	}
	return checkLength("value", tag.Value, maxExperimentTagValue)
}
