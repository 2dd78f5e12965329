package models

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

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
