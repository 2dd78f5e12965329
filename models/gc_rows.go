package models

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// garbageRun, garbageModel and garbageExperiment are rows as the rules of garbage need them.
type garbageRun struct {
	ID             string `gorm:"column:run_uuid"`
	Name           *string
	ExperimentID   int64
	LifecycleStage LifecycleStage
	DeletedTime    *int64
	ArtifactURI    *string
}

type garbageModel struct {
	ID               string `gorm:"column:model_id"`
	Name             string
	ExperimentID     int64
	LifecycleStage   LifecycleStage
	LastUpdateTime   int64 `gorm:"column:last_updated_timestamp_ms"`
	ArtifactLocation string
	SourceRunID      *string
}

type garbageExperiment struct {
	ID               int64 `gorm:"column:experiment_id"`
	Name             string
	LifecycleStage   LifecycleStage
	LastUpdateTime   *int64
	ArtifactLocation *string
	Guarded          bool
}

// garbageRows are the rows that a filter selects, and all runs and logged models of its experiments.
type garbageRows struct {
	runs        map[string]garbageRun
	models      map[string]garbageModel
	experiments map[string]garbageExperiment
	runsIn      map[int64][]garbageRun
	modelsIn    map[int64][]garbageModel
}

// garbageRows reads what the filter names by ids, or everything in the deleted stage. lock is what comes at the end of the
// queries; experiments are locked before runs and logged models, also those of single runs.
func (t *tx) garbageRows(f GarbageFilter, lock string) (*garbageRows, error) {
	all := &garbageRows{map[string]garbageRun{}, map[string]garbageModel{}, map[string]garbageExperiment{}, map[int64][]garbageRun{}, map[int64][]garbageModel{}}
	const (
		ofExperiments = "SELECT experiment_id, name, lifecycle_stage, last_update_time, artifact_location, " +
			"EXISTS (SELECT 1 FROM scorers s JOIN guardrails g ON g.scorer_id = s.scorer_id WHERE s.experiment_id = experiments.experiment_id) AS guarded FROM experiments WHERE "
		ofRuns   = "SELECT run_uuid, name, experiment_id, lifecycle_stage, deleted_time, artifact_uri FROM runs WHERE "
		ofModels = "SELECT model_id, name, experiment_id, lifecycle_stage, last_updated_timestamp_ms, artifact_location, source_run_id FROM logged_models WHERE "
	)
	addExperiments := func(where string, args ...any) error {
		found, err := pick[garbageExperiment](t, ofExperiments+where+" ORDER BY experiment_id"+lock, args...)
		for _, e := range found {
			all.experiments[strconv.FormatInt(e.ID, 10)] = e
		}
		return err
	}
	addRuns := func(where string, args ...any) error {
		found, err := pick[garbageRun](t, ofRuns+where+" ORDER BY run_uuid"+lock, args...)
		for _, r := range found {
			all.runs[r.ID] = r
		}
		return err
	}
	addModels := func(where string, args ...any) error {
		found, err := pick[garbageModel](t, ofModels+where+" ORDER BY model_id"+lock, args...)
		for _, m := range found {
			all.models[m.ID] = m
		}
		return err
	}
	if !f.byID() {
		const inDeleted = "lifecycle_stage = ? OR experiment_id IN (SELECT experiment_id FROM experiments WHERE lifecycle_stage = ?)"
		err := errors.Join(addExperiments("lifecycle_stage = ?", Deleted), addRuns(inDeleted, Deleted, Deleted), addModels(inDeleted, Deleted, Deleted))
		all.index()
		return all, err
	}
	var ids []int64
	for _, text := range f.ExperimentIDs {
		if id, err := strconv.ParseInt(text, 10, 32); err == nil {
			ids = append(ids, id)
		}
	}
	err := eachChunk(ids, func(ids []int64) error { return addExperiments("experiment_id IN ?", ids) })
	if err == nil && lock != "" {
		err = t.lockExperimentsOf(f)
	}
	if err == nil {
		err = eachChunk(ids, func(ids []int64) error {
			return errors.Join(addRuns("experiment_id IN ?", ids), addModels("experiment_id IN ?", ids))
		})
	}
	if err == nil {
		err = eachChunk(f.RunIDs, func(ids []string) error { return addRuns("run_uuid IN ?", ids) })
	}
	if err == nil {
		err = eachChunk(f.LoggedModelIDs, func(ids []string) error { return addModels("model_id IN ?", ids) })
	}
	all.index()
	return all, err
}

// lockExperimentsOf keeps the experiments of single runs from being restored, which would restore the runs.
func (t *tx) lockExperimentsOf(f GarbageFilter) error {
	return eachChunk(f.RunIDs, func(ids []string) error {
		_, err := pick[int64](t, "SELECT experiment_id FROM experiments WHERE experiment_id IN (SELECT experiment_id FROM runs WHERE run_uuid IN ?) ORDER BY experiment_id"+t.forShare(), ids)
		return err
	})
}

func (g *garbageRows) index() {
	for _, r := range g.runs {
		g.runsIn[r.ExperimentID] = append(g.runsIn[r.ExperimentID], r)
	}
	for _, m := range g.models {
		g.modelsIn[m.ExperimentID] = append(g.modelsIn[m.ExperimentID], m)
	}
	for _, runs := range g.runsIn {
		slices.SortFunc(runs, func(a, b garbageRun) int { return strings.Compare(a.ID, b.ID) })
	}
	for _, models := range g.modelsIn {
		slices.SortFunc(models, func(a, b garbageModel) int { return strings.Compare(a.ID, b.ID) })
	}
}
