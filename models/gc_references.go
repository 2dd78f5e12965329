package models

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
)

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
				noteFirst(refs.models, note.ModelID, name)
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

// noteFirst keeps the first version that is noted.
func noteFirst[K comparable](noted map[K]string, key K, version string) {
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
			noteFirst(r.runs, id, version)
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
			noteFirst(r.runs, id, version)
			noteFirst(r.runModels, id, version)
		}
	case "models":
		steps := uri.segments()
		if len(steps) > 0 {
			noteFirst(r.models, steps[0], version)
		}
		if len(steps) > 1 {
			return steps[0] + "/" + steps[1]
		}
	default:
		for _, key := range r.opts.folderKeys(location) {
			noteFirst(r.folders, key, version)
			upwards(path.Dir(key), func(key string) bool {
				noteFirst(r.around, key, version)
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
				noteFirst(r.experiments, e.ID, version)
			}
		}
		return len(at) == 0
	})
	for _, e := range owners.around[folder] { // the version is a folder of several experiments
		noteFirst(r.experiments, e.ID, version)
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
