package models

import (
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"greenroom/auth"
)

// origin is what the source of a new version turns out to be.
type origin struct {
	source  string
	storage string // where the files are
	runID   *string
	model   *LoggedModel // the logged model that becomes a version, nil for none
}

// promptSources are what clients give as the source of a prompt's version, which has no files.
var promptSources = []string{"dummy-source", "prompt-template"}

func checkPromptSource(source string) error {
	if !slices.Contains(promptSources, source) {
		return invalid("Invalid prompt source: '%s'. Prompt sources must use an MLflow placeholder.", source)
	}
	return nil
}

// origin finds what a source refers to, and refuses one that its run or logged model does not contain: a version must not
// make files readable that belong to something else.
func (t *tx) origin(n NewModelVersion) (*origin, error) {
	runID := deref(n.RunID)
	o := &origin{source: n.Source, storage: n.Source, runID: &runID}
	if err := t.requireReadable(runID, deref(n.ModelID)); err != nil {
		return nil, err
	}
	if isPrompt(n.Tags) {
		return o, nil
	}
	uri := splitURI(n.Source)
	ref, err := parseModelRef(n.Source, uri)
	if err != nil {
		return nil, err
	}
	if ref != nil && ref.name != "" {
		return t.originVersion(n, ref)
	}
	if modelID := deref(n.ModelID); modelID != "" {
		if err := t.checkSourceOfModel(n.Source, uri, ref, modelID); err != nil {
			return nil, err
		}
		if o.model, err = t.lockLoggedModel(modelID); err != nil {
			return nil, err
		}
		if ref != nil {
			o.storage = o.model.ArtifactLocation
		}
		if runID == "" {
			o.runID = o.model.SourceRunID
		}
	} else if err := t.checkSourceOfRun(n.Source, uri, ref, runID); err != nil {
		return nil, err
	}
	return o, checkLength("storage_location", o.storage, maxSource)
}

// requireReadable refuses a run and a logged model that the caller may not read: a version shows what it is made from to all
// who may read its model, and a logged model its run. One that this server does not know, of another server perhaps, has nothing to show.
func (t *tx) requireReadable(runID, modelID string) error {
	if t.by.Unlimited() {
		return nil
	}
	run, err := t.runObject(runID)
	if err == nil {
		err = t.by.Require(auth.Read, run)
	}
	if err != nil && !isNotFound(err) {
		return err
	}
	model, err := t.loggedModelObject(modelID)
	if err == nil {
		err = t.by.Require(auth.Read, model)
	}
	if err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

// originVersion makes a version from another one: it keeps that one's run and location, and names its number instead of a stage or alias.
func (t *tx) originVersion(n NewModelVersion, ref *modelRef) (*origin, error) {
	if err := checkModelName("name", ref.name); err != nil {
		return nil, err
	}
	if _, err := t.registeredModel(ref.name); err != nil {
		return nil, err
	}
	if err := t.by.Require(auth.Read, auth.Object{Kind: auth.RegisteredModel, Name: ref.name}); err != nil {
		return nil, err
	}
	tags, err := t.registeredModelTags([]string{ref.name})
	if err != nil {
		return nil, err
	}
	if isPrompt(tags[ref.name]) {
		return nil, invalid("Invalid model version source: '%s'. Prompt versions cannot be used as model version sources.", n.Source)
	}
	v, err := t.versionByRef(ref)
	if err != nil {
		return nil, err
	}
	// MLflow keeps no logged model with a version, so that none can be equal.
	if n.RunID != nil && *n.RunID != deref(v.RunID) || deref(n.ModelID) != "" {
		return nil, invalid("Invalid model version source: '%s'. The run_id and model_id request parameters must match the referenced model version.", n.Source)
	}
	o := &origin{source: "models:/" + v.Name + "/" + strconv.FormatInt(v.Version, 10), storage: v.location(), runID: v.RunID}
	if err := checkRelative(o.source, splitURI(o.source)); err != nil {
		return nil, err
	}
	return o, checkLength("source", o.source, maxSource)
}

// modelRef is a models:/ URI: a logged model's id, or a registered model with a version, a stage, an alias or none of them for the newest version.
type modelRef struct {
	id                          string
	name, version, stage, alias string
}

// parseModelRef reads a models:/ URI; other locations give nil.
func parseModelRef(source string, uri splitLocation) (*modelRef, error) {
	if uri.scheme != "models" {
		return nil, nil
	}
	if uri.host != "" {
		return nil, invalid("Invalid model version source: '%s'. Registered model sources must use the active model registry.", source)
	}
	parts := strings.Split(strings.TrimLeft(uri.path, "/"), "/")
	if !strings.HasPrefix(uri.path, "/") || len(parts) > 2 || strings.TrimSpace(parts[0]) == "" {
		return nil, notContained(source, "model_id")
	}
	if len(parts) == 1 {
		at := strings.LastIndex(parts[0], "@")
		switch {
		case at < 0:
			return &modelRef{id: parts[0]}, nil
		case at == 0 || strings.TrimSpace(parts[0][at+1:]) == "":
			return nil, notContained(source, "model_id")
		}
		return &modelRef{name: parts[0][:at], alias: parts[0][at+1:]}, nil
	}
	ref := &modelRef{name: parts[0]}
	switch suffix := parts[1]; {
	case strings.TrimSpace(suffix) == "":
		return nil, notContained(source, "model_id")
	case strings.Trim(suffix, "0123456789") == "":
		ref.version = suffix
	case !strings.EqualFold(suffix, latestAlias):
		ref.stage = suffix
	}
	return ref, nil
}

func (t *tx) versionByRef(ref *modelRef) (*ModelVersion, error) {
	switch {
	case ref.version != "":
		version, err := ParseVersion(ref.version)
		if err != nil {
			return nil, err
		}
		return t.modelVersion(ref.name, version)
	case ref.alias != "":
		return t.versionByAlias(ref.name, ref.alias)
	}
	in, what := stages, ""
	if ref.stage != "" {
		stage, err := ParseStage(ref.stage)
		if err != nil {
			return nil, err
		}
		in, what = []Stage{stage}, " and stage '"+ref.stage+"'"
	}
	v, err := t.newestVersion(ref.name, in)
	if err == nil && v == nil {
		err = notFound("No versions of model with name '%s'%s found", ref.name, what)
	}
	return v, err
}

func (t *tx) checkSourceOfRun(source string, uri splitLocation, ref *modelRef, runID string) error {
	local := uri.local()
	if !local {
		if err := checkRelative(source, uri); err != nil {
			return err
		}
	}
	root := ""
	if runID != "" && uri.scheme != "runs" && ref == nil {
		run, ok, err := pickOne[struct{ ArtifactURI *string }](t, "SELECT artifact_uri FROM runs WHERE run_uuid = ?", runID)
		if err != nil {
			return err
		}
		if !ok && (local || uri.proxied()) {
			return notContained(source, "run_id")
		}
		root = deref(run.ArtifactURI)
	}
	switch {
	case local:
		if !t.s.opts.mayBeAt(root, source) {
			return invalid("Invalid model version source: '%s'. To use a local path as a model version source, the run_id request parameter has to be specified and the local path has to be contained within the artifact directory of the run specified by the run_id.", source)
		}
	case uri.scheme == "runs":
		id, _, _ := strings.Cut(strings.TrimPrefix(uri.path, "/"), "/")
		if uri.host != "" || runID == "" || id != runID {
			return notContained(source, "run_id")
		}
	case ref != nil:
		return notContained(source, "model_id")
	case uri.proxied():
		if root == "" || !containsURI(root, source) {
			return notContained(source, "run_id")
		}
	case !t.s.opts.mayBeAt(root, source):
		return t.requireSource(source)
	}
	return nil
}

func (t *tx) checkSourceOfModel(source string, uri splitLocation, ref *modelRef, modelID string) error {
	local := uri.local()
	if !local {
		if err := checkRelative(source, uri); err != nil {
			return err
		}
	}
	root := ""
	if uri.scheme != "runs" && ref == nil {
		model, err := t.lockLoggedModel(modelID)
		if isNotFound(err) && (local || uri.proxied()) {
			return notContained(source, "model_id")
		}
		if err != nil {
			return err
		}
		root = model.ArtifactLocation
	}
	switch {
	case local:
		if !t.s.opts.mayBeAt(root, source) {
			return invalid("Invalid model version source: '%s'. To use a local path as a model version source, the model_id request parameter has to be specified and the local path has to be contained within the artifact directory of the run specified by the model_id.", source)
		}
	case ref != nil:
		if ref.id != modelID {
			return notContained(source, "model_id")
		}
	case uri.scheme == "runs", uri.proxied() && (root == "" || !containsURI(root, source)):
		return notContained(source, "model_id")
	case !uri.proxied() && !t.s.opts.mayBeAt(root, source):
		return t.requireSource(source)
	}
	return nil
}

// mayBeAt tells whether the source of a version may be at a location: in the folder, root, of the run or logged model that it claims, or
// where the operator allows and this server keeps nothing of others.
func (o Options) mayBeAt(root, source string) bool {
	if root != "" && hasPrefix(source, root) {
		return true
	}
	_, ours := o.place(source)
	return !ours && o.allows(source)
}

// requireSource refuses a source that is neither in the folder of its run or logged model nor where the operator allows. In the
// default artifact root it may be what the caller may read.
func (t *tx) requireSource(source string) error {
	if _, ours := t.s.opts.place(source); ours {
		return t.requireArtifact(auth.Read, source)
	}
	return invalid("Invalid model version source: '%s'. It must be in the folder of the run or logged model that run_id or model_id names, or a runs:/ or models:/ URI. %s", source, prefixHint)
}

func notContained(source, parameter string) error {
	return invalid("Invalid model version source: '%s'. The %s request parameter must identify the resource that contains the source.", source, parameter)
}

// lockLoggedModel reads a logged model that is in use, and keeps its list of versions from being changed by others.
func (t *tx) lockLoggedModel(id string) (*LoggedModel, error) {
	m, ok, err := pickOne[LoggedModel](t, "SELECT "+loggedModelColumns+" FROM logged_models WHERE model_id = ? AND lifecycle_stage <> ?"+t.forUpdate(), id, Deleted)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, modelNotFound(id)
	}
	return &m, nil
}

// TagModelVersions lists, on a logged model, the versions made from it.
const TagModelVersions = "mlflow.modelVersions"

// versionNote is an entry of TagModelVersions. Clients write the version as a text, MLflow's server as a number.
type versionNote struct {
	Name    string      `json:"name"`
	Version json.Number `json:"version"`
}

// noteModelVersion adds a version to the list on its logged model.
func (t *tx) noteModelVersion(m *LoggedModel, name string, version int64) error {
	text, err := t.notedVersions(m)
	if err != nil {
		return err
	}
	var list []json.RawMessage
	if text != "" && json.Unmarshal([]byte(text), &list) != nil {
		return invalid("The tag %s of logged model '%s' is not a JSON list; correct or delete it first.", TagModelVersions, m.ID)
	}
	added, err := json.Marshal(versionNote{name, json.Number(strconv.FormatInt(version, 10))})
	if err != nil {
		return err
	}
	all, err := json.Marshal(append(list, added))
	if err != nil {
		return err
	}
	return t.setLoggedModelTags(m, []Tag{{TagModelVersions, string(all)}})
}

func (t *tx) notedVersions(m *LoggedModel) (text string, err error) {
	text, _, err = pickOne[string](t, "SELECT tag_value FROM logged_model_tags WHERE model_id = ? AND tag_key = ?", m.ID, TagModelVersions)
	return text, err
}

// repeatsVersions tells that a caller who may not change a logged model repeats what noteModelVersion has noted there: clients
// write it down once more after they have made a version, for which Read is enough.
func (t *tx) repeatsVersions(m *LoggedModel, value string) (bool, error) {
	if t.by.Unlimited() {
		return false, nil
	}
	o, err := t.loggedModelObject(m.ID)
	if err != nil {
		return false, err
	}
	refused := t.by.Require(auth.Edit, o)
	if refused == nil {
		return false, nil
	}
	text, err := t.notedVersions(m)
	if err != nil {
		return false, err
	}
	var noted, repeated []versionNote
	if json.Unmarshal([]byte(text), &noted) != nil || json.Unmarshal([]byte(value), &repeated) != nil {
		return false, refused
	}
	for _, v := range repeated {
		if !slices.Contains(noted, v) {
			return false, refused
		}
	}
	return true, nil
}

// checkRelative refuses a location whose path would lead elsewhere when taken for a file's, in any percent encoding.
func checkRelative(source string, uri splitLocation) error {
	decoded := unquoteAll(source)
	plain := splitURI(decoded)
	steps := strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' || r == '\\' })
	p := strings.TrimRight(plain.path, "/")
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if strings.ContainsRune(decoded, 0) || slices.Contains(steps, "..") || !strings.HasPrefix(p, "/") || path.Clean(p) != p ||
		uri.proxied() && strings.ContainsAny(decoded, `?#\`) {
		return invalid("Invalid model version source: '%s'. If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references present. Please provide an absolute path.", source)
	}
	return nil
}

// containsFile tells whether a local location lies at or below root, as written and, where it exists, after its symbolic links.
func containsFile(root, location string) bool {
	rootURI := splitURI(root)
	if !rootURI.local() {
		return false
	}
	dir, file := rootURI.file(root), splitURI(location).file(location)
	if !filepath.IsAbs(dir) || !filepath.IsAbs(file) || strings.ContainsAny(unquoteAll(location), "\\\x00") {
		return false
	}
	if !below(dir, file) {
		return false
	}
	realDir, errDir := filepath.EvalSymlinks(dir)
	realFile, errFile := filepath.EvalSymlinks(file)
	return errDir != nil || errFile != nil || below(realDir, realFile)
}

func below(dir, file string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}

// containsURI tells whether a location lies at or below root, comparing decoded path segments.
func containsURI(root, location string) bool {
	r, l := splitURI(root), splitURI(location)
	want, have := r.segments(), l.segments()
	return r.scheme == l.scheme && strings.EqualFold(r.host, l.host) && len(want) > 0 && len(have) >= len(want) && slices.Equal(have[:len(want)], want)
}

// splitLocation is a location taken apart, leniently: users' paths need not be valid URLs.
type splitLocation struct{ scheme, host, path string }

func splitURI(location string) splitLocation {
	s := splitLocation{scheme: uriScheme(location)}
	rest := location
	if s.scheme != "" {
		rest = location[len(s.scheme)+1:]
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		s.host, rest = after[:end], after[end:]
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	s.path = rest
	return s
}

// local tells whether a location is a file on the machine it is used on.
func (s splitLocation) local() bool { return s.scheme == "" || s.scheme == "file" }

// file is the path of a local location; a host other than this machine gives "".
func (s splitLocation) file(location string) string {
	if s.scheme == "" {
		return location
	}
	if s.host != "" && s.host != "localhost" && s.host != "127.0.0.1" {
		return ""
	}
	p, err := url.PathUnescape(s.path)
	if err != nil || unquoteAll(p) != p {
		return ""
	}
	return p
}

// proxied tells whether a location is served by an MLflow server.
func (s splitLocation) proxied() bool {
	return s.scheme == "mlflow-artifacts" ||
		(s.scheme == "http" || s.scheme == "https") && strings.Contains("/"+strings.Join(s.segments(), "/")+"/", "/api/2.0/mlflow-artifacts/artifacts/")
}

// segments are the parts of the path, decoded.
func (s splitLocation) segments() []string {
	var out []string
	for part := range strings.SplitSeq(s.path, "/") {
		if part != "" {
			out = append(out, unquoteAll(part))
		}
	}
	return out
}

// unquoteAll decodes percent encodings until none is left. What is no encoding stays.
func unquoteAll(s string) string {
	for {
		decoded := percentEncoded.ReplaceAllStringFunc(s, func(code string) string {
			text, err := url.PathUnescape(code)
			if err != nil {
				return code
			}
			return text
		})
		if decoded == s {
			return s
		}
		s = decoded
	}
}
