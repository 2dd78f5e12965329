package models

import (
	"context"
	"slices"
	"strings"

	"greenroom/search"
)

// Stage is where a model version stands in its life.
type Stage string

// The stages.
const (
	StageNone       Stage = "None"
	StageStaging    Stage = "Staging"
	StageProduction Stage = "Production"
	StageArchived   Stage = "Archived"

	// stageDeleted marks a version that was deleted; its row keeps its number from being used again.
	stageDeleted Stage = "Deleted_Internal"
)

var stages = []Stage{StageNone, StageStaging, StageProduction, StageArchived}

// ParseStage reads a stage in any case.
func ParseStage(text string) (Stage, error) {
	for _, s := range stages {
		if strings.EqualFold(text, string(s)) {
			return s, nil
		}
	}
	return "", invalid("Invalid Model Version stage: %s. Value must be one of None, Staging, Production, Archived.", text)
}

// TransitionStage moves a version to a stage. With archive, all other versions of that stage move to Archived in the same
// transaction, so that no reader sees two of them or none; only Staging and Production can be cleared so.
func (s *Store) TransitionStage(ctx context.Context, name string, version int64, stage string, archive bool) (v *ModelVersion, err error) {
	to, err := ParseStage(stage)
	if err != nil {
		return nil, err
	}
	if archive && to != StageStaging && to != StageProduction {
		return nil, invalid("Model version transition cannot archive existing model versions because '%s' is not an Active stage. Valid stages are ['Staging', 'Production']", stage)
	}
	err = s.changeVersion(ctx, name, version, func(t *tx, found *ModelVersion) error {
		if archive {
			archived, err := pick[int64](t, "UPDATE model_versions SET current_stage = ?, last_updated_time = ? WHERE workspace = ? AND name = ? AND version <> ? AND current_stage = ? RETURNING version",
				StageArchived, t.now, workspace, name, version, to)
			if err != nil {
				return err
			}
			t.noteArchived(archived)
		}
		if err := t.queue("UPDATE model_versions SET current_stage = $1, last_updated_time = $2 WHERE workspace = $3 AND name = $4 AND version = $5",
			string(to), t.now, workspace, name, version); err != nil {
			return err
		}
		t.noteMove("stage", found.CurrentStage, to)
		found.CurrentStage, found.LastUpdatedTime = to, &t.now
		v = found
		return t.touchModel(name)
	})
	return v, err
}

// noteArchived notes the versions that make room for another in its stage: all, or how many there are of very many.
func (t *tx) noteArchived(versions []int64) {
	const most = 100
	if len(versions) > most {
		t.note("archived_count", len(versions))
		return
	}
	if len(versions) > 0 {
		slices.Sort(versions)
		t.note("archived", versions)
	}
}

// LatestVersions gives the newest version of each of the stages, of all stages if none is named.
func (s *Store) LatestVersions(ctx context.Context, name string, stageNames []string) (latest []*ModelVersion, err error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	wanted := stages
	if len(stageNames) > 0 {
		wanted = nil
	}
	for _, text := range stageNames {
		stage, err := ParseStage(text)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, stage)
	}
	if len(wanted) == 1 {
		var v *ModelVersion
		err := s.glance(ctx, func(ctx context.Context, db queryer) (err error) {
			v, err = pickVersion(ctx, db, newestOfStage(s.dialect), []any{name, string(wanted[0])})
			return err
		})
		if v != nil || err != nil {
			return []*ModelVersion{v}, err
		}
	}
	err = s.view(ctx, func(t *tx) error {
		latest, err = t.latestVersionsWithAliases(name, wanted)
		return err
	})
	return latest, err
}

// newestOfStage asks for the highest version of a model in a stage.
func newestOfStage(dialect search.Dialect) string {
	return versionQuery(dialect, versionOfModel+"AND model_versions.current_stage = $2 ORDER BY model_versions.version DESC LIMIT 1")
}

func (t *tx) latestVersionsWithAliases(name string, wanted []Stage) ([]*ModelVersion, error) {
	if _, err := t.registeredModel(name); err != nil {
		return nil, err
	}
	latest, err := t.latestVersions([]string{name})
	if err != nil {
		return nil, err
	}
	latest = slices.DeleteFunc(latest, func(v *ModelVersion) bool { return !slices.Contains(wanted, v.CurrentStage) })
	return latest, t.loadVersionAliases(name, latest)
}

// latestVersions gives the newest version of each stage of each model, with tags; stages come in the order of their oldest version.
func (t *tx) latestVersions(names []string) ([]*ModelVersion, error) {
	versions, err := pick[*ModelVersion](t, "SELECT "+modelVersionColumns+` FROM model_versions JOIN (
			SELECT name, current_stage, max(version) AS newest, min(version) AS oldest FROM model_versions
			WHERE workspace = ? AND name IN ? AND current_stage <> ? GROUP BY name, current_stage
		) latest ON latest.name = model_versions.name AND latest.newest = model_versions.version
		WHERE model_versions.workspace = ? ORDER BY model_versions.name, latest.oldest`, workspace, names, stageDeleted, workspace)
	if err != nil {
		return nil, err
	}
	return versions, t.loadVersionTags(versions)
}
