package models

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"greenroom/search"
)

// DeleteGarbage removes all rows of what MarkGarbage has marked, and the mark. Its artifacts must be gone. What has many rows
// goes in several transactions; the last one removes the object and the mark, and leaves an entry in the audit log. What is
// gone already is no error.
func (s *Store) DeleteGarbage(ctx context.Context, g Garbage) error {
	switch g.Kind {
	case GarbageRun:
		return s.deleteRunForGood(ctx, g, g)
	case GarbageLoggedModel:
		return s.deleteModelForGood(ctx, g, g)
	}
	return s.deleteExperimentForGood(ctx, g)
}

// gcAction is the action of what is deleted for good in the audit log.
const gcAction = "gc"

func withGCAudit(ctx context.Context, g Garbage) context.Context {
	return WithAudit(ctx, &Audit{Action: gcAction, Object: g.String()})
}

// unaudited is for parts of a change that the audit log hears of at its end.
func unaudited(ctx context.Context) context.Context { return WithAudit(ctx, nil) }

// deleteBatch is how many rows one transaction removes, so that other writers need not wait for long.
const deleteBatch = 5000

// inBatches runs a transaction until it says that it was the last. Others get as much time to write as each of them takes.
func (s *Store) inBatches(ctx context.Context, fn func(*tx) (last bool, err error)) error {
	for {
		began, last := time.Now(), false
		err := s.update(ctx, func(t *tx) (err error) {
			if last, err = fn(t); err == nil && !last {
				t.changesNothing()
			}
			return err
		})
		if err != nil || last {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
}

// condition is rows of a table that go with an object.
type condition struct {
	table, where string
	args         []any
}

// deleteSome removes rows, but no more than deleteBatch; all tells that none is left.
func (t *tx) deleteSome(rows ...condition) (all bool, err error) {
	left := int64(deleteBatch)
	for _, c := range rows {
		query := "DELETE FROM %s WHERE rowid IN (SELECT rowid FROM %[1]s WHERE %[2]s LIMIT %[3]d)"
		if t.s.dialect == search.PostgreSQL {
			query = "DELETE FROM %s WHERE ctid = ANY (ARRAY (SELECT ctid FROM %[1]s WHERE %[2]s LIMIT %[3]d))"
		}
		n, err := t.exec(fmt.Sprintf(query, c.table, c.where, left), c.args...)
		if left -= n; err != nil || left <= 0 {
			return false, err
		}
	}
	return true, nil
}

// links are the rows of inputs that meet a condition, with their tags.
func links(where string, args ...any) []condition {
	return []condition{
		{"input_tags", "input_uuid IN (SELECT input_uuid FROM inputs WHERE " + where + ")", args},
		{"inputs", where, args},
	}
}

// associations are the links that MLflow keeps by the type and id of two objects.
func associations(kind, id string) []condition {
	return []condition{
		{"entity_associations", "source_type = ? AND source_id = ?", []any{kind, id}},
		{"entity_associations", "destination_type = ? AND destination_id = ?", []any{kind, id}},
	}
}

func rowsOfRun(id string) []condition {
	rows := []condition{}
	for _, table := range []string{"metrics", "latest_metrics", "params", "tags"} {
		rows = append(rows, condition{table, "run_uuid = ?", []any{id}})
	}
	rows = append(rows, condition{"logged_model_metrics", "run_id = ?", []any{id}})
	rows = append(rows, links("source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id = ?", id)...)
	rows = append(rows, links("destination_type = 'RUN' AND destination_id = ?", id)...)
	return append(rows, associations("run", id)...)
}

func rowsOfModel(id string) []condition {
	rows := []condition{}
	for _, table := range []string{"logged_model_metrics", "logged_model_params", "logged_model_tags"} {
		rows = append(rows, condition{table, "model_id = ?", []any{id}})
	}
	rows = append(rows, links("destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT') AND destination_id = ?", id)...)
	return append(rows, associations("model", id)...)
}

// rowsOfExperiment are those without runs and logged models. The rows of a trace go with it.
func rowsOfExperiment(id int64) []condition {
	const traces = "(SELECT request_id FROM trace_info WHERE experiment_id = ?)"
	rows := []condition{
		{"spans", "experiment_id = ?", []any{id}},
		{"assessments", "experiment_id = ?", []any{id}},
		{"entity_associations", "source_type = 'trace' AND source_id IN " + traces, []any{id}},
		{"entity_associations", "destination_type = 'trace' AND destination_id IN " + traces, []any{id}},
		{"trace_info", "experiment_id = ?", []any{id}},
	}
	rows = append(rows, links("source_type = 'DATASET' AND source_id IN (SELECT dataset_uuid FROM datasets WHERE experiment_id = ?)", id)...)
	for _, table := range []string{
		"datasets", "issues", "label_schemas", "review_queues", "online_scoring_configs", "scorers", "experiment_tags",
		// Without a foreign key, and SQLite gives an experiment's id again.
		"sql_trace_metric_daily_rollups", "sql_span_cost_daily_rollups", "sql_assessment_daily_rollups", "sql_trace_rollup_rebuild_queue",
	} {
		rows = append(rows, condition{table, "experiment_id = ?", []any{id}})
	}
	return append(rows, associations("experiment", strconv.FormatInt(id, 10))...)
}

// deleteRunForGood removes a run that is marked, by itself or with its experiment.
func (s *Store) deleteRunForGood(ctx context.Context, g, marked Garbage) error {
	return s.inBatches(withGCAudit(ctx, g), func(t *tx) (bool, error) {
		if still, err := t.isMarked(marked); err != nil || !still {
			return true, err
		}
		run, err := t.pickRun(g.ID, t.forUpdate())
		if isNotFound(err) {
			t.changesNothing()
			return true, t.unmark(g)
		}
		if err != nil {
			return false, err
		}
		if all, err := t.deleteSome(rowsOfRun(g.ID)...); err != nil || !all {
			return false, err
		}
		t.noteGarbage(deref(run.Name), run.ExperimentID, g, marked)
		if _, err := t.exec("UPDATE assessments SET run_id = NULL WHERE run_id = ?", g.ID); err != nil {
			return false, err
		}
		if _, err := t.exec("DELETE FROM runs WHERE run_uuid = ?", g.ID); err != nil {
			return false, err
		}
		return true, t.unmark(g)
	})
}

// deleteModelForGood removes a logged model that is marked, by itself or with its experiment.
func (s *Store) deleteModelForGood(ctx context.Context, g, marked Garbage) error {
	return s.inBatches(withGCAudit(ctx, g), func(t *tx) (bool, error) {
		if still, err := t.isMarked(marked); err != nil || !still {
			return true, err
		}
		m, ok, err := pickOne[LoggedModel](t, "SELECT "+loggedModelColumns+" FROM logged_models WHERE model_id = ?"+t.forUpdate(), g.ID)
		if err != nil {
			return false, err
		}
		if !ok {
			t.changesNothing()
			return true, t.unmark(g)
		}
		if all, err := t.deleteSome(rowsOfModel(g.ID)...); err != nil || !all {
			return false, err
		}
		t.noteGarbage(m.Name, m.ExperimentID, g, marked)
		if _, err := t.exec("DELETE FROM logged_models WHERE model_id = ?", g.ID); err != nil {
			return false, err
		}
		return true, t.unmark(g)
	})
}

func (s *Store) deleteExperimentForGood(ctx context.Context, g Garbage) error {
	id, err := strconv.ParseInt(g.ID, 10, 32)
	if err != nil {
		return fmt.Errorf("greenroom_gc has an experiment %q: %w", g.ID, err)
	}
	var runs, models []string
	err = s.view(ctx, func(t *tx) (err error) {
		if runs, err = pick[string](t, "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY run_uuid", id); err == nil {
			models, err = pick[string](t, "SELECT model_id FROM logged_models WHERE experiment_id = ? ORDER BY model_id", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, model := range models {
		if err := s.deleteModelForGood(ctx, Garbage{Kind: GarbageLoggedModel, ID: model}, g); err != nil {
			return err
		}
	}
	for _, run := range runs {
		if err := s.deleteRunForGood(ctx, Garbage{Kind: GarbageRun, ID: run}, g); err != nil {
			return err
		}
	}
	return s.inBatches(withGCAudit(ctx, g), func(t *tx) (bool, error) {
		if still, err := t.isMarked(g); err != nil || !still { // or else the id may be another experiment's by now
			return true, err
		}
		if err := t.dropOldGrants(g.ID); err != nil { // before other locks: see deletePermissions
			return false, err
		}
		e, err := t.pickExperiment(id, ViewAll, t.forUpdate())
		if isNotFound(err) {
			t.changesNothing()
			return true, t.unmark(g)
		}
		if err != nil {
			return false, err
		}
		if all, err := t.deleteSome(rowsOfExperiment(id)...); err != nil || !all {
			return false, err
		}
		t.noteGarbage(e.Name, e.ID, g, g)
		if _, err := t.exec("DELETE FROM experiments WHERE experiment_id = ?", id); err != nil {
			return false, err
		}
		return true, t.unmark(g)
	})
}

func (t *tx) noteGarbage(name string, experiment int64, g, marked Garbage) {
	t.note("name", name)
	t.note("experiment_id", experiment)
	if g.Kind != marked.Kind {
		t.note("with", marked.String())
	}
}

// isMarked tells whether nobody else has finished with it.
func (t *tx) isMarked(g Garbage) (bool, error) {
	_, still, err := pickOne[int](t, "SELECT 1 FROM greenroom_gc WHERE kind = ? AND id = ?", g.Kind, g.ID)
	if !still {
		t.changesNothing()
	}
	return still, err
}

func (t *tx) unmark(g Garbage) error {
	_, err := t.exec("DELETE FROM greenroom_gc WHERE kind = ? AND id = ?", g.Kind, g.ID)
	return err
}

// dropManifests reads the tags once. With NOT EXISTS, SQLite would read them once for each manifest, while all writers wait.
const dropManifests = `DELETE FROM greenroom_manifests WHERE digest NOT IN (SELECT substr(g.value, ?) FROM model_version_tags g
	JOIN model_versions v ON v.workspace = g.workspace AND v.name = g.name AND v.version = g.version
	WHERE g.key = ? AND g.value LIKE ? AND v.current_stage <> ?)`

// DropManifests drops the manifests that no version names any more, and tells how many there were.
func (s *Store) DropManifests(ctx context.Context) (dropped int64, err error) {
	err = s.update(unaudited(ctx), func(t *tx) error {
		if t.s.dialect == search.PostgreSQL {
			// Whoever names a manifest inserts it first, and so waits here.
			if _, err := t.exec("LOCK TABLE greenroom_manifests IN SHARE ROW EXCLUSIVE MODE"); err != nil {
				return err
			}
		}
		dropped, err = t.exec(dropManifests, len(digestPrefix)+1, TagDigest, digestPrefix+"%", stageDeleted)
		return err
	})
	return dropped, err
}

// The statuses of MLflow's jobs that are final: succeeded, failed, timed out, cancelled.
var finalJobs = []int{2, 3, 4, 5}

// JobFilter selects jobs. If any ids are given, only these are selected.
type JobFilter struct {
	OlderThan time.Duration // since their creation; 0 for any time
	IDs       []string
}

// SearchGarbageJobs gives the ids of the selected jobs that are at their end. Ids of others are an *Error that names them.
func (s *Store) SearchGarbageJobs(ctx context.Context, f JobFilter) (ids []string, err error) {
	err = s.view(ctx, func(t *tx) error {
		query, args := "SELECT id FROM jobs WHERE status IN ?", []any{finalJobs}
		if f.OlderThan > 0 {
			query, args = query+" AND creation_time < ?", append(args, t.now-f.OlderThan.Milliseconds())
		}
		if ids, err = pick[string](t, query+" ORDER BY id", args...); err != nil || len(f.IDs) == 0 {
			return err
		}
		final := ids
		ids = slices.Compact(slices.Sorted(slices.Values(f.IDs)))
		missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(final, id) })
		if len(missing) > 0 {
			return &Error{ResourceConflict, "Nothing was removed. Jobs that do not exist, are not at their end or not old enough: " + strings.Join(missing, ", ")}
		}
		return nil
	})
	return ids, err
}

// DeleteJobs removes jobs that are at their end.
func (s *Store) DeleteJobs(ctx context.Context, ids []string) error {
	return eachChunk(ids, func(ids []string) error {
		return s.update(WithAudit(ctx, &Audit{Action: gcAction, Object: "jobs"}), func(t *tx) error {
			t.note("jobs", len(ids))
			_, err := t.exec("DELETE FROM jobs WHERE id IN ? AND status IN ?", ids, finalJobs)
			return err
		})
	})
}
