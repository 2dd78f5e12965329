package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
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
			if err := t.lockGarbage(false); err != nil {
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
				rows[i] = []any{g.Kind, g.ID, t.now}
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

// lockGarbage makes marks and registrations, which share the lock, wait for each other on PostgreSQL; SQLite has one writer anyway.
func (t *tx) lockGarbage(shared bool) error {
	if t.s.dialect != search.PostgreSQL {
		return nil
	}
	lock := "SELECT pg_advisory_xact_lock(?)"
	if shared {
		lock = "SELECT pg_advisory_xact_lock_shared(?)"
	}
	_, err := t.exec(lock, garbageLock)
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

// garbage decides about everything that the filter selects.
func (t *tx) garbage(f GarbageFilter, lock bool) (found []Garbage, kept []Kept, err error) {
	ending := ""
	if lock {
		ending = t.forUpdate()
	}
	all, err := t.garbageRows(f, ending)
	if err != nil {
		return nil, nil, err
	}
	strays, err := t.strays()
	if err != nil {
		return nil, nil, err
	}
	owners, err := t.artifactOwners(strays)
	if err != nil {
		return nil, nil, err
	}
	refs, err := t.versionReferences(owners)
	if err != nil {
		return nil, nil, err
	}
	marks, err := t.marks()
	if err != nil {
		return nil, nil, err
	}
	marked := map[string]bool{}
	for _, m := range marks {
		marked[m.String()] = true
	}
	judge := garbageJudge{t: t, f: f, before: t.now - f.OlderThan.Milliseconds(), all: all, owners: owners, refs: refs}

	gone, whole := map[int64]bool{}, map[int64]bool{}
	decide := func(g Garbage, v verdict) bool {
		if v.reason == "" {
			found = append(found, g)
			return true
		}
		if f.byID() || !v.notSelected {
			kept = append(kept, Kept{Garbage: g, Reason: v.reason, Version: v.version})
		}
		return false
	}
	for _, id := range selected(f, f.ExperimentIDs, all.experiments) {
		g := Garbage{Kind: GarbageExperiment, ID: id}
		e, there := all.experiments[id]
		if marked[g.String()] {
			gone[e.ID] = true
			continue
		}
		if !there {
			decide(g, verdict{reason: unknownGarbage})
			continue
		}
		t.describeGarbage(&g, all, owners)
		v := judge.experiment(e, g)
		gone[e.ID] = decide(g, v)
		whole[e.ID] = v.version != ""
	}
	for _, id := range selected(f, f.RunIDs, all.runs) {
		g := Garbage{Kind: GarbageRun, ID: id}
		r, there := all.runs[id]
		switch {
		case marked[g.String()] || gone[r.ExperimentID] && there:
		case !there:
			decide(g, verdict{reason: unknownGarbage})
		case !f.byID() && whole[r.ExperimentID]: // named with its experiment
		default:
			t.describeGarbage(&g, all, owners)
			decide(g, judge.run(r, g))
		}
	}
	for _, id := range selected(f, f.LoggedModelIDs, all.models) {
		g := Garbage{Kind: GarbageLoggedModel, ID: id}
		m, there := all.models[id]
		switch {
		case marked[g.String()] || gone[m.ExperimentID] && there:
		case !there:
			decide(g, verdict{reason: unknownGarbage})
		case !f.byID() && whole[m.ExperimentID]:
		default:
			t.describeGarbage(&g, all, owners)
			decide(g, judge.model(m, g))
		}
	}
	return found, kept, nil
}

// selected are the ids to decide about, in order: those asked for, or all.
func selected[T any](f GarbageFilter, asked []string, all map[string]T) []string {
	var ids []string
	if f.byID() {
		ids = slices.Clone(asked)
	} else {
		for id := range all {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// describeGarbage fills in what is known of it: its name, and the folders that are its own.
func (t *tx) describeGarbage(g *Garbage, all *garbageRows, owners *artifactOwners) {
	addRun := func(r garbageRun) {
		if uri := deref(r.ArtifactURI); uri != "" {
			g.Folders = append(g.Folders, uri)
		}
	}
	addModel := func(m garbageModel) {
		if m.ArtifactLocation != "" {
			g.Folders = append(g.Folders, m.ArtifactLocation)
		}
	}
	switch g.Kind {
	case GarbageRun:
		if r, ok := all.runs[g.ID]; ok {
			g.Name, g.ExperimentID = deref(r.Name), r.ExperimentID
			addRun(r)
		}
	case GarbageLoggedModel:
		if m, ok := all.models[g.ID]; ok {
			g.Name, g.ExperimentID = m.Name, m.ExperimentID
			addModel(m)
		}
	case GarbageExperiment:
		e, ok := all.experiments[g.ID]
		if !ok {
			return
		}
		g.Name, g.ExperimentID = e.Name, e.ID
		g.Runs, g.LoggedModels = len(all.runsIn[e.ID]), len(all.modelsIn[e.ID])
		for _, r := range all.runsIn[e.ID] {
			addRun(r)
		}
		for _, m := range all.modelsIn[e.ID] {
			addModel(m)
		}
		if location := deref(e.ArtifactLocation); t.isDefaultLocation(e.ID, location) && owners.conflict(location, e.ID) == "" {
			g.Folders = append(g.Folders, location)
		}
	}
}

// isDefaultLocation tells whether an experiment keeps its artifacts in a folder of its own at the artifact root, or at the root
// of the served store.
func (t *tx) isDefaultLocation(id int64, location string) bool {
	name := strconv.FormatInt(id, 10)
	roots := []string{"mlflow-artifacts:/"}
	if t.s.opts.ArtifactRoot != "" {
		roots = append(roots, t.s.opts.ArtifactRoot)
	}
	return slices.ContainsFunc(roots, func(root string) bool { return location == appendToURI(root, name) })
}

// verdict is why something is kept, "" if it is not.
type verdict struct {
	reason      string
	version     string
	notSelected bool // the filter does not mean it, unless it names it
}

type garbageJudge struct {
	t      *tx
	f      GarbageFilter
	before int64 // milliseconds
	all    *garbageRows
	owners *artifactOwners
	refs   *versionReferences
}

func notDeleted() verdict {
	return verdict{reason: "it is not in the deleted stage: delete it first", notSelected: true}
}

func (j garbageJudge) tooYoung() verdict {
	return verdict{reason: fmt.Sprintf("it was deleted less than %s ago", j.f.OlderThan), notSelected: true}
}

func pointedTo(version string) verdict {
	return verdict{reason: "version " + version + " points to it", version: version}
}

func (j garbageJudge) run(r garbageRun, g Garbage) verdict {
	switch {
	case r.LifecycleStage != Deleted:
		return notDeleted()
	case r.DeletedTime == nil && (j.f.OlderThan > 0 || !j.f.byID()), j.f.OlderThan > 0 && *r.DeletedTime > j.before:
		return j.tooYoung()
	}
	if version := j.refs.toRun(r); version != "" {
		return pointedTo(version)
	}
	return j.folders(g)
}

func (j garbageJudge) model(m garbageModel, g Garbage) verdict {
	switch {
	case m.LifecycleStage != Deleted:
		return notDeleted()
	case j.f.OlderThan > 0 && m.LastUpdateTime > j.before:
		return j.tooYoung()
	}
	if version := j.refs.toModel(m); version != "" {
		return pointedTo(version)
	}
	return j.folders(g)
}

func (j garbageJudge) experiment(e garbageExperiment, g Garbage) verdict {
	switch {
	case e.LifecycleStage != Deleted:
		return notDeleted()
	case j.f.OlderThan > 0 && (e.LastUpdateTime == nil || *e.LastUpdateTime >= j.before):
		return j.tooYoung()
	}
	for _, r := range j.all.runsIn[e.ID] {
		if version := j.refs.toRun(r); version != "" {
			return verdict{reason: fmt.Sprintf("version %s points to its run %s", version, r.ID), version: version}
		}
	}
	for _, m := range j.all.modelsIn[e.ID] {
		if version := j.refs.toModel(m); version != "" {
			return verdict{reason: fmt.Sprintf("version %s points to its logged model %s", version, m.ID), version: version}
		}
	}
	if version := j.refs.experiments[e.ID]; version != "" {
		return pointedTo(version)
	}
	for _, r := range j.all.runsIn[e.ID] {
		switch {
		case r.LifecycleStage != Deleted:
			return verdict{reason: fmt.Sprintf("its run %s is active: delete it too", r.ID)}
		case j.f.OlderThan > 0 && (r.DeletedTime == nil || *r.DeletedTime > j.before):
			return verdict{reason: fmt.Sprintf("its run %s was deleted less than %s ago", r.ID, j.f.OlderThan)}
		}
	}
	if e.Guarded {
		return verdict{reason: "a guardrail of MLflow's gateway uses one of its scorers"}
	}
	return j.folders(g)
}

// folders keeps what has artifacts where they can't be deleted, or together with others'.
func (j garbageJudge) folders(g Garbage) verdict {
	for _, folder := range g.Folders {
		if j.f.Stored != nil && !j.f.Stored(folder) {
			if j.f.Foreign {
				continue
			}
			return verdict{reason: fmt.Sprintf("its artifacts are in %s, which is in none of the given stores: name the store with --artifacts-destination or --default-artifact-root, "+
				"or leave the files where they are with --keep-artifacts", folder)}
		}
		if owner := j.owners.inside(folder, g); owner != "" {
			return verdict{reason: alsoHolds(folder, owner)}
		}
	}
	return verdict{}
}

func alsoHolds(folder, owner string) string {
	return fmt.Sprintf("its folder %s also holds artifacts of %s", folder, owner)
}

// folderKeys are canonical names of the folder that a location means: two spellings of one folder have one in common, and a
// folder's name begins with the one of the folder around it. Letter case is ignored, as some file systems do.
func (o Options) folderKeys(location string) []string {
	var keys []string
	add := func(store, folder string) {
		if key := strings.ToLower(path.Join(store, path.Clean("/"+folder))); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	uri := splitURI(location)
	switch {
	case location == "":
	case !uri.local():
		if p, ok := o.place(location); ok {
			add(p.store(), p.folder)
		} else {
			add(uri.scheme+":/"+uri.host, strings.Join(uri.segments(), "/"))
		}
	default:
		file, err := filepath.Abs(uri.file(location))
		if uri.file(location) == "" || err != nil {
			break
		}
		resolved := o
		resolved.ArtifactRoot, resolved.ArtifactsDestination = realLocation(o.ArtifactRoot), realLocation(o.ArtifactsDestination)
		for _, spelling := range []string{file, realLocation(file)} {
			add("file:", spelling)
			for _, options := range []Options{o, resolved} {
				if p, ok := options.place(spelling); ok {
					add(p.store(), p.folder)
				}
			}
		}
	}
	return keys
}

// store names the store of a place.
func (p place) store() string {
	if p.direct {
		return "root:"
	}
	return "served:"
}

// realLocation follows the symbolic links of a local location that exists; others stay as they are.
func realLocation(location string) string {
	if uri := splitURI(location); location != "" && uri.local() {
		if found, err := filepath.EvalSymlinks(uri.file(location)); err == nil {
			return found
		}
	}
	return location
}

// upwards visits a folder's key and those of the folders around it, the innermost first, until visit gives false.
func upwards(key string, visit func(key string) bool) {
	for visit(key) {
		up := path.Dir(key)
		if up == key || up == "." {
			return
		}
		key = up
	}
}

// stray is a run or logged model whose artifacts do not lie in its experiment's folder.
type stray struct {
	Kind         GarbageKind
	ID           string
	ExperimentID int64
	Location     string
}

func (t *tx) strays() ([]stray, error) {
	return pick[stray](t, `SELECT 'run' AS kind, r.run_uuid AS id, r.experiment_id, r.artifact_uri AS location FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
			WHERE substr(r.artifact_uri, 1, length(e.artifact_location)) <> e.artifact_location OR r.artifact_uri IS NOT NULL AND e.artifact_location IS NULL
		UNION ALL SELECT 'logged_model', m.model_id, m.experiment_id, m.artifact_location FROM logged_models m JOIN experiments e ON e.experiment_id = m.experiment_id
			WHERE substr(m.artifact_location, 1, length(e.artifact_location)) <> e.artifact_location OR e.artifact_location IS NULL`)
}

// artifactOwners tells whose folders there are.
type artifactOwners struct {
	opts        Options
	experiments map[string][]ownerExperiment // by folder
	around      map[string][]ownerExperiment // by each folder around theirs
	strays      map[string][]stray           // by folder and each folder around it
}

type ownerExperiment struct {
	ID             int64 `gorm:"column:experiment_id"`
	Name           string
	Location       string
	LifecycleStage LifecycleStage
}

func (e ownerExperiment) String() string { return fmt.Sprintf("experiment %d (%s)", e.ID, e.Name) }

func (t *tx) artifactOwners(strays []stray) (*artifactOwners, error) {
	o := &artifactOwners{t.s.opts, map[string][]ownerExperiment{}, map[string][]ownerExperiment{}, map[string][]stray{}}
	all, err := pick[ownerExperiment](t, "SELECT experiment_id, name, artifact_location AS location, lifecycle_stage FROM experiments WHERE artifact_location IS NOT NULL ORDER BY experiment_id")
	for _, e := range all {
		for _, key := range o.opts.folderKeys(e.Location) {
			o.experiments[key] = append(o.experiments[key], e)
			upwards(path.Dir(key), func(key string) bool {
				o.around[key] = append(o.around[key], e)
				return true
			})
		}
	}
	for _, s := range strays {
		for _, key := range o.opts.folderKeys(s.Location) {
			upwards(key, func(key string) bool {
				o.strays[key] = append(o.strays[key], s)
				return true
			})
		}
	}
	return o, err
}

// conflict names another owner of what is in an experiment's folder: an experiment at, in or around it, or what strays into it.
func (o *artifactOwners) conflict(location string, id int64) (owner string) {
	for _, key := range o.opts.folderKeys(location) {
		for _, e := range slices.Concat(o.experiments[key], o.around[key]) {
			if e.ID != id {
				return e.String()
			}
		}
		upwards(path.Dir(key), func(key string) bool {
			for _, e := range o.experiments[key] {
				if e.ID != id {
					owner = e.String()
				}
			}
			return owner == ""
		})
		for _, s := range o.strays[key] {
			if s.ExperimentID != id {
				return s.Kind.words() + " " + s.ID
			}
		}
	}
	return owner
}

// inside names another owner of what is in a folder of garbage: an experiment, or a run or logged model that strays into it. A
// folder named after the garbage's own id may lie in other experiments' folders; another one may not.
func (o *artifactOwners) inside(location string, g Garbage) (owner string) {
	own := g.Kind == GarbageExperiment // whose folders are named after its runs, its logged models or itself, or stray
	for _, step := range splitURI(location).segments() {
		own = own || step == g.ID
	}
	for _, key := range o.opts.folderKeys(location) {
		inside := o.around[key]
		if !own {
			inside = slices.Concat(inside, o.experiments[key])
		}
		for _, e := range inside {
			if g.Kind != GarbageExperiment || e.ID != g.ExperimentID {
				return e.String()
			}
		}
		for _, s := range o.strays[key] {
			if s.ID != g.ID && (g.Kind != GarbageExperiment || s.ExperimentID != g.ExperimentID) {
				return s.Kind.words() + " " + s.ID
			}
		}
	}
	return ""
}

// versionReferences tells what the versions of registered models point to that are not deleted. A version is shown as name/version.
type versionReferences struct {
	opts        Options
	runs        map[string]string
	runModels   map[string]string // logged models of runs, as runs:/ finds them
	models      map[string]string
	experiments map[int64]string
	folders     map[string]string // what lies in the folder is part of the version
	around      map[string]string // part of what lies in the folder is the version
}

type versionRow struct {
	Name            string
	Version         int64
	Source          *string
	StorageLocation *string
	RunID           *string
	CurrentStage    Stage
}

func (t *tx) versionReferences(owners *artifactOwners) (*versionReferences, error) {
	rows, err := pick[versionRow](t, "SELECT name, version, source, storage_location, run_id, current_stage FROM model_versions ORDER BY name, version")
	if err != nil {
		return nil, err
	}
	notes, err := pick[struct{ ModelID, TagValue string }](t, "SELECT model_id, tag_value FROM logged_model_tags WHERE tag_key = ? ORDER BY model_id", TagModelVersions)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]versionRow, len(rows))
	for _, v := range rows {
		byName[v.Name+"/"+strconv.FormatInt(v.Version, 10)] = v
	}
	refs := newReferences(t.s.opts)
	for _, v := range rows {
		if v.CurrentStage != stageDeleted {
			refs.add(v, byName)
		}
	}
	for _, note := range notes {
		var versions []versionNote
		if json.Unmarshal([]byte(note.TagValue), &versions) != nil {
			continue // a user's text
		}
		for _, v := range versions {
			name := v.Name + "/" + v.Version.String()
			if row, ok := byName[name]; ok && row.CurrentStage != stageDeleted {
				note1(refs.models, note.ModelID, name)
			}
		}
	}
	for folder, version := range refs.folders {
		refs.noteExperiments(folder, version, owners)
	}
	return refs, nil
}

func newReferences(opts Options) *versionReferences {
	return &versionReferences{
		opts, map[string]string{}, map[string]string{}, map[string]string{}, map[int64]string{}, map[string]string{}, map[string]string{},
	}
}

// note1 keeps the first version that is noted.
func note1[K comparable](noted map[K]string, key K, version string) {
	if _, ok := noted[key]; !ok {
		noted[key] = version
	}
}

// add notes what a version points to, also through the versions that it was made from.
func (r *versionReferences) add(v versionRow, all map[string]versionRow) {
	version := v.Name + "/" + strconv.FormatInt(v.Version, 10)
	seen := map[string]bool{}
	for {
		if id := deref(v.RunID); id != "" {
			note1(r.runs, id, version)
		}
		next := r.addLocation(deref(v.StorageLocation), version)
		if from := r.addLocation(deref(v.Source), version); from != "" {
			next = from
		}
		from, ok := all[next]
		if next == "" || !ok || seen[next] {
			return
		}
		seen[next] = true
		v = from
	}
}

// addLocation notes a location, and gives the other version it names, if it does.
func (r *versionReferences) addLocation(location, version string) (from string) {
	if slices.Contains(promptSources, location) {
		return ""
	}
	uri := splitURI(location)
	switch uri.scheme {
	case "runs":
		steps := uri.segments()
		if uri.host != "" { // runs://<server>/<run>, or runs://<run> of a careless hand
			steps = append([]string{uri.host}, steps...)
		}
		for _, id := range steps[:min(len(steps), 2)] {
			note1(r.runs, id, version)
			note1(r.runModels, id, version)
		}
	case "models":
		steps := uri.segments()
		if len(steps) > 0 {
			note1(r.models, steps[0], version)
		}
		if len(steps) > 1 {
			return steps[0] + "/" + steps[1]
		}
	default:
		for _, key := range r.opts.folderKeys(location) {
			note1(r.folders, key, version)
			upwards(path.Dir(key), func(key string) bool {
				note1(r.around, key, version)
				return true
			})
		}
	}
	return ""
}

// noteExperiments notes the experiment to which a folder belongs that no run or logged model need own: the innermost around it.
// Of several with one location, one in use is enough to keep the files.
func (r *versionReferences) noteExperiments(folder, version string, owners *artifactOwners) {
	upwards(folder, func(key string) bool {
		at := owners.experiments[key]
		if len(at) > 0 && !slices.ContainsFunc(at, func(e ownerExperiment) bool { return e.LifecycleStage != Deleted }) {
			for _, e := range at {
				note1(r.experiments, e.ID, version)
			}
		}
		return len(at) == 0
	})
	for _, e := range owners.around[folder] { // the version is a folder of several experiments
		note1(r.experiments, e.ID, version)
	}
}

// toFolder is the version that lies in, at or around a folder.
func (r *versionReferences) toFolder(location string) (version string) {
	for _, key := range r.opts.folderKeys(location) {
		if version = r.around[key]; version != "" {
			return version
		}
		upwards(key, func(key string) bool {
			version = r.folders[key]
			return version == ""
		})
		if version != "" {
			return version
		}
	}
	return ""
}

func (r *versionReferences) toRun(run garbageRun) string {
	if version := r.runs[run.ID]; version != "" {
		return version
	}
	return r.toFolder(deref(run.ArtifactURI))
}

func (r *versionReferences) toModel(m garbageModel) string {
	if version := r.models[m.ID]; version != "" {
		return version
	}
	if version := r.runModels[deref(m.SourceRunID)]; version != "" {
		return version
	}
	return r.toFolder(m.ArtifactLocation)
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

// marks are the kinds and ids of what is marked, experiments last.
func (t *tx) marks() ([]Garbage, error) {
	rows, err := pick[struct {
		Kind GarbageKind
		ID   string
	}](t, "SELECT kind, id FROM greenroom_gc ORDER BY CASE kind WHEN 'experiment' THEN 1 ELSE 0 END, marked_at, id")
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

// markedRows is nil if nothing is marked.
func (t *tx) markedRows() (*markedRows, error) {
	marks, err := t.marks()
	if err != nil || len(marks) == 0 {
		return nil, err
	}
	rows, err := t.garbageRows(GarbageFilter{}.of(marks), "")
	return &markedRows{marks, rows}, err
}
