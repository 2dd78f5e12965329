package models

import (
	"context"
	"math"
	"strconv"

	"greenroom/auth"
)

// ExperimentObject gives the experiment, deleted or not, as permissions see it.
func (s *Store) ExperimentObject(ctx context.Context, id int64) (auth.Object, error) {
	missing := notFound("No Experiment with id=%d exists", id)
	if id < math.MinInt32 || id > math.MaxInt32 { // PostgreSQL's column takes no others
		return auth.Object{}, missing
	}
	return s.object(ctx, func(t *tx) (auth.Object, error) {
		return t.experimentObject(missing, "SELECT experiment_id, name FROM experiments WHERE experiment_id = ?", id)
	})
}

// Object is the experiment as permissions see it.
func (e *Experiment) Object() auth.Object {
	return auth.Object{Kind: auth.Experiment, ID: strconv.FormatInt(e.ID, 10), Name: e.Name}
}

// RunObject gives the experiment that decides who may use a run, deleted or not.
func (s *Store) RunObject(ctx context.Context, id string) (auth.Object, error) {
	return s.object(ctx, func(t *tx) (auth.Object, error) { return t.runObject(id) })
}

// LoggedModelObject gives the experiment that decides who may use a logged model, deleted or not.
func (s *Store) LoggedModelObject(ctx context.Context, id string) (auth.Object, error) {
	return s.object(ctx, func(t *tx) (auth.Object, error) { return t.loggedModelObject(id) })
}

func (s *Store) object(ctx context.Context, find func(*tx) (auth.Object, error)) (o auth.Object, err error) {
	err = s.look(ctx, func(t *tx) error {
		o, err = find(t)
		return err
	})
	return o, err
}

func (t *tx) runObject(id string) (auth.Object, error) {
	return t.experimentObject(notFound("Run with id=%s not found", id),
		"SELECT e.experiment_id, e.name FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.run_uuid = ?", id)
}

func (t *tx) loggedModelObject(id string) (auth.Object, error) {
	return t.experimentObject(modelNotFound(id),
		"SELECT e.experiment_id, e.name FROM logged_models m JOIN experiments e ON e.experiment_id = m.experiment_id WHERE m.model_id = ?", id)
}

func (t *tx) experimentObject(missing error, query string, args ...any) (auth.Object, error) {
	row, ok, err := pickOne[struct {
		ExperimentID int64
		Name         string
	}](t, query, args...)
	if err == nil && !ok {
		err = missing
	}
	return auth.Object{Kind: auth.Experiment, ID: strconv.FormatInt(row.ExperimentID, 10), Name: row.Name}, err
}
