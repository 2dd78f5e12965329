package models

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/search"
)

// place is where an artifact location lies: a folder of the served store, or one below a default artifact root beside it.
type place struct {
	direct bool
	folder string // as artifacts.CanonicalPath spells it; "" for the whole store
}

// place finds the folder that a location names; ok is false if this server keeps nothing there.
func (o Options) place(location string) (p place, ok bool) {
	var folder string
	if artifacts.IsProxied(location) {
		folder, ok = artifacts.ProxiedFolder(location)
	} else if folder, ok = relativeTo(o.ArtifactsDestination, location); !ok {
		p.direct = true
		folder, ok = relativeTo(o.ArtifactRoot, location)
	}
	if !ok {
		return place{}, false
	}
	folder, err := artifacts.CanonicalPath(folder)
	p.folder = folder
	return p, err == nil
}

// relativeTo gives the path of a location below another one, if both are folders of this machine or on the same host or bucket.
func relativeTo(root, location string) (string, bool) {
	from, to := splitURI(root), splitURI(location)
	switch {
	case root == "" || location == "":
		return "", false
	case from.local() && to.local():
		rel, err := filepath.Rel(from.file(root), to.file(location))
		if err != nil || !filepath.IsLocal(rel) {
			return "", false
		}
		return filepath.ToSlash(rel), true
	case from.scheme == to.scheme && from.host == to.host:
		rel, ok := strings.CutPrefix(to.path+"/", strings.TrimRight(from.path, "/")+"/")
		return strings.Trim(rel, "/"), ok
	}
	return "", false
}

// contains tells whether a file or folder is the folder or inside it.
func contains(folder, file string) bool {
	return folder == "" || file == folder || strings.HasPrefix(file, folder+"/")
}

// contains also tells whether both are in the same store.
func (p place) contains(other place) bool {
	return p.direct == other.direct && contains(p.folder, other.folder)
}

// folderOwner is an experiment with the place of its artifacts.
type folderOwner struct {
	ExperimentID     int64
	Name             string
	ArtifactLocation string
	place            `gorm:"-"`
}

func (o folderOwner) object() auth.Object {
	return auth.Object{Kind: auth.Experiment, ID: strconv.FormatInt(o.ExperimentID, 10), Name: o.Name}
}

// folderOwners are the experiments that can keep artifacts at a place, above it or, if asked for, below it: those with an
// artifact location of their own choice, and of the others, which lie at the artifact root by their ids, the one around the place.
func (t *tx) folderOwners(at place, below bool) (owners []folderOwner, err error) {
	query, args := "SELECT experiment_id, name, artifact_location FROM experiments", []any(nil)
	root, ok := t.s.opts.place(t.s.opts.ArtifactRoot)
	if !below || !ok || !at.contains(root) {
		before, after, _ := strings.Cut(appendToURI(t.s.opts.ArtifactRoot, "\x00"), "\x00")
		query += " WHERE experiment_id = ? OR artifact_location <> ? || CAST(experiment_id AS VARCHAR(20)) || ?"
		args = []any{root.idAt(at), before, after}
	}
	rows, err := pick[folderOwner](t, query, args...)
	for _, row := range rows {
		if row.place, ok = t.s.opts.place(row.ArtifactLocation); ok {
			owners = append(owners, row)
		}
	}
	return owners, err
}

// idAt is the id of the experiment whose artifacts the other place belongs to if they lie below this root by their ids; -1 for none.
func (p place) idAt(other place) int64 {
	if !p.contains(other) {
		return -1
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(other.folder, p.folder), "/"), "/")
	id, err := strconv.ParseInt(first, 10, 32)
	if err != nil || id < 0 {
		return -1
	}
	return id
}

// isInDefaultFolder tells, by one look at an index, whether a place belongs to an experiment that keeps its artifacts where
// experiments do by default.
func (t *tx) isInDefaultFolder(at place) (bool, error) {
	root, ok := t.s.opts.place(t.s.opts.ArtifactRoot)
	id := root.idAt(at)
	if !ok || id < 0 {
		return false, nil
	}
	own := appendToURI(t.s.opts.ArtifactRoot, strconv.FormatInt(id, 10))
	if folder, _ := t.s.opts.place(own); !folder.contains(at) {
		return false, nil // such as 007
	}
	_, found, err := pickOne[int](t, "SELECT 1 FROM experiments WHERE experiment_id = ? AND artifact_location = ?", id, own)
	return found, err
}

// RequireArtifact refuses the caller (*auth.ForbiddenError) unless they have the level on every experiment to whose artifacts
// a location, as artifacts.Place spells it, belongs; for more than Read also on those with artifacts below it.
// What a version of a registered model consists of may be read by all who may read the model, so that they can load it.
func (s *Store) RequireArtifact(ctx context.Context, need auth.Level, location string) error {
	return s.view(ctx, func(t *tx) error { return t.requireArtifact(need, location) })
}

func (t *tx) requireArtifact(need auth.Level, location string) error {
	if t.by.Unlimited() {
		return nil
	}
	ownerless := t.by.Forbid("may not use '" + location + "': it is in no experiment's artifact location")
	at, ok := t.s.opts.place(location)
	if !ok {
		return ownerless
	}
	if t.by.LevelOnAll(auth.Experiment) >= need {
		if ok, err := t.isInDefaultFolder(at); ok || err != nil {
			return err
		}
	}
	owners, err := t.folderOwners(at, need > auth.Read)
	if err != nil {
		return err
	}
	var innermost *folderOwner
	var refused error
	denied := false
	for _, o := range owners {
		around := o.contains(at)
		if around && (innermost == nil || len(o.folder) > len(innermost.folder)) {
			innermost = &o
		}
		if refused == nil && (around || need > auth.Read && at.contains(o.place)) {
			refused = t.by.Require(need, o.object())
		}
		denied = denied || around && t.by.Level(o.object()) == auth.Deny
	}
	if innermost == nil {
		return ownerless
	}
	if refused == nil || need > auth.Read || denied {
		return refused
	}
	if ok, err := t.isReadableVersion(at, innermost); ok || err != nil {
		return err
	}
	return refused
}

// isReadableVersion tells whether a place is, or is inside, what a version of a registered model consists of that the caller
// may read. A version's location counts only if it is a logged model or a folder among a run's artifacts: whoever once made
// a version of a whole run must not go on reading what the run logs later.
func (t *tx) isReadableVersion(at place, in *folderOwner) (bool, error) {
	steps := strings.Split(strings.TrimPrefix(strings.TrimPrefix(at.folder, in.folder), "/"), "/")
	const least = 3 // <run>/artifacts/<folder>, models/<logged model>/artifacts
	if len(steps) < least || steps[1] != "artifacts" && (steps[0] != "models" || steps[2] != "artifacts") {
		return false, nil
	}
	var locations []string
	for n := least; n <= len(steps); n++ {
		inside := strings.Join(steps[:n], "/")
		folder := strings.TrimPrefix(in.folder+"/"+inside, "/")
		spellings := []string{appendToURI(in.ArtifactLocation, inside)}
		if !at.direct {
			spellings = append(spellings, "mlflow-artifacts:/"+folder, "mlflow-artifacts:///"+folder)
		}
		for _, location := range spellings {
			if len(location) < maxSource {
				locations = append(locations, location, location+"/")
			}
		}
	}
	where := "model_versions.workspace = ? AND model_versions.current_stage <> ? AND COALESCE(NULLIF(model_versions.storage_location, ''), model_versions.source) IN ?"
	q := newQuery("SELECT 1 FROM model_versions WHERE "+where, workspace, stageDeleted, locations).and(t.visibleModels("model_versions.name"))
	_, found, err := pickOne[int](t, q.text.String()+" LIMIT 1", q.args...)
	return found, err
}

// creationLock is the number of the advisory lock that experiments with a location of their own are created under.
const creationLock = 0x67726e72

// checkOwnFolder refuses an artifact location that would let its creator, unless an administrator, use files that are not the
// new experiment's alone. Two experiments that are created at once cannot both pass.
func (t *tx) checkOwnFolder(location string) error {
	if t.s.dialect == search.PostgreSQL { // SQLite has one writer anyway
		if _, err := t.exec("SELECT pg_advisory_xact_lock(?)", creationLock); err != nil {
			return err
		}
	}
	if t.by.Unlimited() {
		return nil
	}
	at, ok := t.s.opts.place(location)
	if !ok {
		return nil // the operator allows it, and clients reach it with credentials of their own
	}
	taken := invalid("'artifact_location' '%s' is, contains or lies in a folder where other experiments keep artifacts; leave it out, or name a new folder.", location)
	root, ok := t.s.opts.place(t.s.opts.ArtifactRoot)
	if ok && (at.contains(root) || root.idAt(at) >= 0) {
		return taken
	}
	owners, err := t.folderOwners(at, true)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if o.fold().contains(at.fold()) || at.fold().contains(o.fold()) {
			return taken
		}
	}
	return nil
}

// fold is the place as file systems that ignore case see it.
func (p place) fold() place { return place{p.direct, strings.ToLower(p.folder)} }
