package models

import (
	"fmt"
	"slices"
	"strconv"
)

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
