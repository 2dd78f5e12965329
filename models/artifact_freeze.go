package models

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"greenroom/artifacts"
	"greenroom/auth"
)

// liveVersion is a model version in Staging or Production, and where its files are.
type liveVersion struct {
	Name         string
	Version      int64
	CurrentStage Stage
	Location     string
	RunRoot      *string // where the run keeps its artifacts, if Location is a runs:/ URI
}

// versionFolder is the segment that every folder of a run or logged model has, after the one with its id. A version of
// something above it, which MLflow has let into its database, would freeze an experiment or the whole store, and counts for nothing.
const versionFolder = "artifacts"

// RequireOverwritable refuses (ResourceConflict) to store a file at a location, as artifacts.Place spells it, that belongs to
// a model version in Staging or Production: those stay as they were when somebody approved them.
func (s *Store) RequireOverwritable(ctx context.Context, location string) error {
	at, ok := s.opts.place(location)
	if !ok || s.opts.AllowLiveChanges {
		return nil
	}
	id := ownerOf(at.folder)
	if id == "" {
		return nil
	}
	return s.look(ctx, func(t *tx) error {
		// A location names the folder above versionFolder literally, or percent-encoded.
		rows, err := t.liveVersions(` AND (`+versionLocation+` LIKE ? ESCAPE '\' OR `+versionLocation+` LIKE '%\%%' ESCAPE '\')`, "%"+likeEscaper.Replace(id)+"%")
		if err != nil {
			return err
		}
		return t.refuseLive(location, rows, func(version place) bool { return version.contains(at) })
	})
}

// RequireDeletable is RequireOverwritable for a file or folder with all that is below it.
func (s *Store) RequireDeletable(ctx context.Context, location string) error {
	at, ok := s.opts.place(location)
	if !ok || s.opts.AllowLiveChanges {
		return nil
	}
	return s.look(ctx, func(t *tx) error {
		rows, err := t.liveVersions("")
		if err != nil {
			return err
		}
		return t.refuseLive(location, rows, func(version place) bool { return version.contains(at) || at.contains(version) })
	})
}

// ownerOf is the id of the run or logged model that a file belongs to; "" for none.
func ownerOf(folder string) string {
	steps := strings.Split(folder, "/")
	if i := slices.Index(steps[1:], versionFolder); i >= 0 {
		return steps[i]
	}
	return ""
}

// versionLocation is SQL for ModelVersion.location.
const versionLocation = "COALESCE(NULLIF(model_versions.storage_location, ''), model_versions.source)"

// likeEscaper makes a text a pattern of LIKE … ESCAPE '\' that matches only itself.
var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

func (t *tx) liveVersions(and string, args ...any) ([]liveVersion, error) {
	// The condition is the one of the index greenroom_model_versions_live, word for word.
	return pick[liveVersion](t, "SELECT name, version, current_stage, "+versionLocation+" AS location, CASE WHEN lower(substr("+versionLocation+", 1, 5)) = 'runs:' THEN "+
		"(SELECT artifact_uri FROM runs WHERE run_uuid = substr(ltrim(substr("+versionLocation+", 6), '/'), 1, 32)) END AS run_root "+
		"FROM model_versions WHERE current_stage IN ('Staging', 'Production')"+and+" ORDER BY name, version", args...)
}

// refuseLive refuses a change at a location if a version is in its way: it names one that the caller may read, if there is one.
func (t *tx) refuseLive(location string, versions []liveVersion, inTheWay func(place) bool) error {
	var found *liveVersion
	readable := false
	for _, v := range versions {
		if at, ok := t.s.opts.placeOfVersion(v); ok && ownerOf(at.folder) != "" && inTheWay(at) {
			found = &v
			if readable = t.by.Level(auth.Object{Kind: auth.RegisteredModel, Name: v.Name}) >= auth.Read; readable {
				break
			}
		}
	}
	if found == nil {
		return nil
	}
	which := fmt.Sprintf("version %d of registered model '%s'", found.Version, found.Name)
	if !readable {
		which = "a version of a registered model that you may not read"
	}
	return &Error{ResourceConflict, fmt.Sprintf("'%s' can't be overwritten, added to or deleted: it belongs to %s, which is in stage %s. Log the change elsewhere and register it as a new version, "+
		"or transition that version to None or Archived first. An operator lifts this rule with --allow-live-artifact-changes.", location, which, found.CurrentStage)}
}

func (o Options) placeOfVersion(v liveVersion) (p place, ok bool) {
	uri := splitURI(v.Location)
	if uri.scheme != "runs" {
		return o.place(v.Location)
	}
	if p, ok = o.place(deref(v.RunRoot)); !ok {
		return place{}, false
	}
	_, folder, _ := strings.Cut(strings.TrimLeft(uri.path, "/"), "/")
	folder, err := artifacts.CanonicalPath(unquoteAll(strings.TrimLeft(folder, "/")))
	p.folder = strings.Trim(p.folder+"/"+folder, "/")
	return p, err == nil
}
