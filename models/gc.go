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

// GarbageKind is what kind of object is deleted for good.
type GarbageKind string

// The kinds, as greenroom_gc names them.
const (
	GarbageRun         GarbageKind = "run"
	GarbageLoggedModel GarbageKind = "logged_model"
	GarbageExperiment  GarbageKind = "experiment"
)

// words is the kind in a sentence.
func (k GarbageKind) words() string { return strings.ReplaceAll(string(k), "_", " ") }

// Garbage is a run, logged model or experiment in the deleted stage.
type Garbage struct {
	Kind         GarbageKind `json:"kind"`
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	ExperimentID int64       `json:"experiment_id"`
	// Runs and LoggedModels are how many go with an experiment.
	Runs         int `json:"runs,omitempty"`
	LoggedModels int `json:"logged_models,omitempty"`
	// Folders are the artifact locations that belong to it alone, those of an experiment's runs and logged models first.
	Folders []string `json:"-"`
	// Blocked tells what else lies in one of the folders of what is marked: they can't be deleted before that is moved.
	Blocked string `json:"-"`
}

func (g Garbage) String() string { return g.Kind.words() + " " + g.ID }

// Kept is garbage that stays, and why.
type Kept struct {
	Garbage
	Reason string `json:"reason"`
	// Version is the version of a registered model that points to it, if that is why, such as churn/3.
	Version string `json:"version,omitempty"`
}

// GarbageFilter selects what to delete for good. If any ids are given, only these are selected.
type GarbageFilter struct {
	// OlderThan is how long something must have been deleted at least; 0 for any time.
	OlderThan                             time.Duration
	RunIDs, LoggedModelIDs, ExperimentIDs []string
	// Stored tells whether an artifact location lies in one of the server's stores. What has artifacts elsewhere is kept.
	Stored func(location string) bool
	// Foreign selects also what has artifacts elsewhere, which stay there.
	Foreign bool
}

func (f GarbageFilter) byID() bool {
	return len(f.RunIDs)+len(f.LoggedModelIDs)+len(f.ExperimentIDs) > 0
}

// of limits the filter to given garbage.
func (f GarbageFilter) of(items []Garbage) GarbageFilter {
	f.RunIDs, f.LoggedModelIDs, f.ExperimentIDs = nil, nil, nil
	for _, g := range items {
		switch g.Kind {
		case GarbageRun:
			f.RunIDs = append(f.RunIDs, g.ID)
		case GarbageLoggedModel:
			f.LoggedModelIDs = append(f.LoggedModelIDs, g.ID)
		case GarbageExperiment:
			f.ExperimentIDs = append(f.ExperimentIDs, g.ID)
		}
	}
	return f
}

// SearchGarbage gives what the filter selects and nothing keeps, and what is kept. What MarkGarbage has marked is not among
// it. Ids that can't be deleted for good are an *Error that names them all.
func (s *Store) SearchGarbage(ctx context.Context, f GarbageFilter) (found []Garbage, kept []Kept, err error) {
	err = s.view(ctx, func(t *tx) error {
		found, kept, err = t.garbage(f, false)
		if err == nil && f.byID() {
			err = refuseKept(kept)
		}
		return err
	})
	return found, kept, err
}

// refuseKept says why what was asked for by its id is not deleted.
func refuseKept(kept []Kept) error {
	if len(kept) == 0 {
		return nil
	}
	const shown = 20
	reasons := make([]string, 0, shown)
	for _, k := range kept[:min(len(kept), shown)] {
		reasons = append(reasons, fmt.Sprintf("%s: %s", k.Garbage, k.Reason))
	}
	if more := len(kept) - shown; more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	code := ResourceConflict
	if !slices.ContainsFunc(kept, func(k Kept) bool { return k.Reason != unknownGarbage }) {
		code = ResourceDoesNotExist
	}
	return &Error{code, "Nothing was removed. " + strings.Join(reasons, "; ")}
}

const unknownGarbage = "there is none with this id"

// MarkGarbage begins to delete garbage for good: in one transaction it looks once more that nothing keeps it, and marks it. What
// is marked can't be restored or registered any more. What has found a keeper meanwhile is given back, or if the filter has
// ids, refused together with all the others.
func (s *Store) MarkGarbage(ctx context.Context, f GarbageFilter, items []Garbage) (kept []Kept, err error) {
	parts := [][]Garbage{items}
	if !f.byID() { // a few at a time: registrations wait for this
		const most = 200
		parts = slices.Collect(slices.Chunk(items, most))
	}
	for _, part := range parts {
		if len(part) == 0 {
			continue
		}
		var late []Kept
		err := s.update(ctx, func(t *tx) error {
			if err := t.lockGarbage(); err != nil {
				return err
			}
			found, keptNow, err := t.garbage(f.of(part), true)
			if err != nil {
				return err
			}
			if late = keptNow; f.byID() && len(late) > 0 {
				return refuseKept(late)
			}
			rows := make([][]any, len(found))
			for i, g := range found {
				rows[i] = []any{string(g.Kind), g.ID, t.now}
			}
			_, err = t.insertRows("INSERT INTO greenroom_gc (kind, id, marked_at)", "(?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
			return err
		})
		if err != nil {
			return kept, err
		}
		kept = append(kept, late...)
	}
	return kept, nil
}

// garbageLock is the number of the advisory lock that keeps versions from being registered while garbage is marked.
const garbageLock = 0x67726763

// lockGarbage makes marks and registrations, which share the lock by keepGarbage, wait for each other on PostgreSQL; SQLite has one writer anyway.
func (t *tx) lockGarbage() error {
	if t.s.dialect != search.PostgreSQL {
		return nil
	}
	_, err := t.exec("SELECT pg_advisory_xact_lock(?)", garbageLock)
	return err
}

// MarkedGarbage is what MarkGarbage has marked and DeleteGarbage has not deleted yet, experiments last.
func (s *Store) MarkedGarbage(ctx context.Context) (marked []Garbage, err error) {
	err = s.view(ctx, func(t *tx) error {
		marked, err = t.markedGarbage()
		return err
	})
	return marked, err
}

func (t *tx) markedGarbage() ([]Garbage, error) {
	items, err := t.marks()
	if err != nil || len(items) == 0 {
		return nil, err
	}
	all, err := t.garbageRows(GarbageFilter{}.of(items), "")
	if err != nil {
		return nil, err
	}
	strays, err := t.strays()
	if err != nil {
		return nil, err
	}
	owners, err := t.artifactOwners(strays)
	if err != nil {
		return nil, err
	}
	for i := range items {
		t.describeGarbage(&items[i], all, owners)
		for _, folder := range items[i].Folders {
			if owner := owners.inside(folder, items[i]); owner != "" {
				items[i].Blocked = alsoHolds(folder, owner)
			}
		}
	}
	return items, nil
}

const beingDeleted = "is being deleted for good by greenroom gc"

// requireUnmarked refuses to bring back a run or an experiment that is being deleted for good.
func (t *tx) requireUnmarked(kind GarbageKind, id string, experiment int64) error {
	marked, ok, err := pickOne[struct {
		Kind GarbageKind
		ID   string
	}](t, "SELECT kind, id FROM greenroom_gc WHERE kind = ? AND id = ? OR kind = ? AND id = ?", kind, id, GarbageExperiment, strconv.FormatInt(experiment, 10))
	if err == nil && ok {
		return invalid("The %s %s %s and can't be restored.", marked.Kind.words(), marked.ID, beingDeleted)
	}
	return err
}

const marksQuery = "SELECT kind, id FROM greenroom_gc ORDER BY CASE kind WHEN 'experiment' THEN 1 ELSE 0 END, marked_at, id"

// marks are the kinds and ids of what is marked, experiments last.
func (t *tx) marks() ([]Garbage, error) {
	rows, err := pick[struct {
		Kind GarbageKind
		ID   string
	}](t, marksQuery)
	items := make([]Garbage, len(rows))
	for i, r := range rows {
		items[i] = Garbage{Kind: r.Kind, ID: r.ID}
	}
	return items, err
}

// checkNotGarbage refuses a new version of what is being deleted for good. Until the transaction ends nothing else is marked.
func (t *tx) checkNotGarbage(n NewModelVersion, o *origin, marked *markedRows) error {
	if marked == nil {
		return nil
	}
	refs := newReferences(t.s.opts)
	refs.add(versionRow{Name: n.Name, Source: &o.source, StorageLocation: &o.storage, RunID: o.runID}, nil)
	if o.model != nil {
		refs.models[o.model.ID] = n.Name
	}
	refused := func(kind GarbageKind, id string) error {
		return invalid("Invalid model version source: '%s'. The %s %s %s.", n.Source, kind.words(), id, beingDeleted)
	}
	for _, g := range marked.marks {
		if g.Kind == GarbageRun && refs.runs[g.ID] != "" || g.Kind == GarbageLoggedModel && refs.models[g.ID] != "" {
			return refused(g.Kind, g.ID)
		}
	}
	for _, r := range marked.runs {
		if refs.toRun(r) != "" {
			return refused(GarbageRun, r.ID)
		}
	}
	for _, m := range marked.models {
		if refs.toModel(m) != "" {
			return refused(GarbageLoggedModel, m.ID)
		}
	}
	for id, e := range marked.experiments {
		if t.isDefaultLocation(e.ID, deref(e.ArtifactLocation)) && refs.toFolder(deref(e.ArtifactLocation)) != "" {
			return refused(GarbageExperiment, id)
		}
	}
	return nil
}

// markedRows are what is marked, and those of its rows that are still there.
type markedRows struct {
	marks []Garbage
	*garbageRows
}

// keepGarbage keeps versions from being registered while garbage is marked, and gives what is marked; nil if nothing is.
func (t *tx) keepGarbage() (*markedRows, error) {
	var marks []Garbage
	questions := []question{{marksQuery, nil, func(row scanner) error {
		var g Garbage
		err := row.Scan((*string)(&g.Kind), &g.ID)
		marks = append(marks, g)
		return err
	}}}
	if t.s.dialect == search.PostgreSQL {
		lock := question{"SELECT 1 FROM pg_advisory_xact_lock_shared($1)", []any{garbageLock}, func(scanner) error { return nil }}
		questions = append([]question{lock}, questions...)
	}
	if err := t.ask(questions...); err != nil || len(marks) == 0 {
		return nil, err
	}
	rows, err := t.garbageRows(GarbageFilter{}.of(marks), "")
	return &markedRows{marks, rows}, err
}
