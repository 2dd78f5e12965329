package models

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"greenroom/auth"
	"greenroom/search"
)

// ModelVersion is one version of a registered model. Times are in milliseconds since 1970.
type ModelVersion struct {
	Name            string
	Version         int64
	CreationTime    *int64
	LastUpdatedTime *int64
	Description     *string
	UserID          *string
	CurrentStage    Stage
	Source          *string // where the client says the model is
	StorageLocation *string // where it really is, when Source names another model
	RunID           *string
	Status          *string
	StatusMessage   *string
	RunLink         *string

	Tags    []Tag    `gorm:"-"`
	Aliases []string `gorm:"-"`
}

const modelVersionColumns = "model_versions.name, model_versions.version, model_versions.creation_time, model_versions.last_updated_time, model_versions.description, " +
	"model_versions.user_id, model_versions.current_stage, model_versions.source, model_versions.storage_location, model_versions.run_id, model_versions.status, " +
	"model_versions.status_message, model_versions.run_link"

// versionColumns is how many modelVersionColumns are.
const versionColumns = 13

// readVersion reads modelVersionColumns.
func readVersion(r record) *ModelVersion {
	v := &struct { // one piece of memory for all that its pointers point to
		ModelVersion
		texts   [8]string
		numbers [2]int64
	}{}
	texts, numbers := v.texts[:0], v.numbers[:0]
	text := func(column int) *string {
		t, ok := r.text(column)
		if !ok {
			return nil
		}
		texts = append(texts, t)
		return &texts[len(texts)-1]
	}
	number := func(column int) *int64 {
		n, ok := r.number(column)
		if !ok {
			return nil
		}
		numbers = append(numbers, n)
		return &numbers[len(numbers)-1]
	}
	v.Name, _ = r.text(0)
	v.Version, _ = r.number(1)
	v.CreationTime, v.LastUpdatedTime = number(2), number(3)
	v.Description, v.UserID = text(4), text(5)
	stage, _ := r.text(6)
	v.CurrentStage = Stage(stage)
	v.Source, v.StorageLocation, v.RunID = text(7), text(8), text(9)
	v.Status, v.StatusMessage, v.RunLink = text(10), text(11), text(12)
	return &v.ModelVersion
}

// statusReady is the status of every version: nothing happens after its creation.
const statusReady = "READY"

const (
	maxSource          = 500
	maxRunLink         = 500
	maxVersionRunID    = 32
	maxVersionTagValue = 100000
)

// promptTextTag holds the text of a prompt's version.
const promptTextTag = "mlflow.prompt.text"

// creationWindow is how long a repeated request to create a version is taken for a client's blind retry and answered with
// the version already made. It covers the client's read timeout of 120 s and the first waits between its attempts.
const creationWindow = 3 * time.Minute

// NewModelVersion describes the version to create. RunID and ModelID are nil when the client does not give them: a version
// made from another version then takes its run.
type NewModelVersion struct {
	Name        string
	Source      string
	RunID       *string
	ModelID     *string
	RunLink     string
	Description string
	Tags        []Tag
}

// CreateModelVersion makes the next version of a model. Numbers rise by one and count deleted versions too. The same
// request again within three minutes gets the version it made before.
func (s *Store) CreateModelVersion(ctx context.Context, n NewModelVersion) (v *ModelVersion, err error) {
	if err := s.opts.checkNewVersion(&n); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		v, err = t.createVersion(n)
		return err
	})
	if err == nil {
		s.versionsDue.tell()
	}
	return v, err
}

func (o Options) checkNewVersion(n *NewModelVersion) error {
	if err := checkModelName("name", n.Name); err != nil {
		return err
	}
	if o.SourcePattern != nil && !o.SourcePattern.MatchString(n.Source) {
		return invalid("Invalid model version source: '%s'. It must match %s, which the operator set.", n.Source, o.SourcePattern)
	}
	if isPrompt(n.Tags) {
		if err := checkPromptSource(n.Source); err != nil {
			return err
		}
	}
	if err := o.checkHost("source", n.Source); err != nil {
		return err
	}
	for _, c := range []struct {
		field, value string
		limit        int
	}{
		{"source", n.Source, maxSource},
		{"run_id", deref(n.RunID), maxVersionRunID},
		{"run_link", n.RunLink, maxRunLink},
		{"description", n.Description, maxDescription},
	} {
		if err := checkLength(c.field, c.value, c.limit); err != nil {
			return err
		}
	}
	n.Tags = slices.DeleteFunc(lastPerKey(n.Tags), func(tag Tag) bool { return tag.Key == TagDigest }) // of another version, perhaps in another registry
	for _, tag := range n.Tags {
		if err := checkVersionTag(tag); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) createVersion(n NewModelVersion) (*ModelVersion, error) {
	marked, err := t.keepGarbage() // before the origin: what is deleted for good in between is not found there
	if err != nil {
		return nil, err
	}
	origin, err := t.origin(n)
	if err != nil {
		return nil, err
	}
	if err := t.checkNotGarbage(n, origin, marked); err != nil {
		return nil, err
	}
	fingerprint := n.fingerprint(origin)
	var found bool
	var repeated *int64
	var version int64
	err = t.ask(t.locking(n.Name, &found), t.repeatedCreation(fingerprint, &repeated),
		question{"SELECT COALESCE(max(version), 0) + 1 FROM model_versions WHERE workspace = $1 AND name = $2", []any{workspace, n.Name}, func(row scanner) error { return row.Scan(&version) }})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, modelNameNotFound(n.Name)
	}
	if repeated != nil {
		if v, err := t.modelVersion(n.Name, *repeated); !isNotFound(err) {
			t.changesNothing()
			return v, err
		}
	}
	t.about("registered model '%s' version %d", n.Name, version)
	t.noteSource(n.Source)
	if id := deref(n.RunID); id != "" {
		t.note("run_id", id)
	}
	if id := deref(n.ModelID); id != "" {
		t.note("model_id", id)
	}
	status := statusReady
	v := &ModelVersion{
		Name: n.Name, Version: version, CreationTime: &t.now, LastUpdatedTime: &t.now, Description: &n.Description, CurrentStage: StageNone,
		Source: &origin.source, StorageLocation: &origin.storage, RunID: origin.runID, Status: &status, RunLink: &n.RunLink, Tags: n.Tags,
	}
	err = t.queue(`INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, current_stage, source, storage_location, run_id, status, run_link, workspace)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, v.Name, v.Version, t.now, t.now, n.Description, string(v.CurrentStage), origin.source, origin.storage, origin.runID, status, n.RunLink, workspace)
	if err != nil {
		return nil, err
	}
	if err := t.setVersionTags(n.Name, version, n.Tags); err != nil {
		return nil, err
	}
	if origin.model != nil {
		if err := t.noteModelVersion(origin.model, n.Name, version); err != nil {
			return nil, err
		}
	}
	if err := t.rememberCreation(fingerprint, n.Name, version); err != nil {
		return nil, err
	}
	if err := t.digestDue(n, version); err != nil {
		return nil, err
	}
	return v, t.touchModel(n.Name)
}

// fingerprint tells requests apart. It covers what the source means now: after an alias or stage has moved, the same words are another request.
func (n NewModelVersion) fingerprint(o *origin) string {
	text, err := json.Marshal([]any{n.Name, n.Source, n.RunID, n.ModelID, n.RunLink, n.Description, n.Tags, o.source, o.storage})
	if err != nil {
		panic(err) // strings always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// repeatedCreation asks for the version that the same request made within the window. It may be deleted by now.
func (t *tx) repeatedCreation(fingerprint string, version **int64) question {
	return question{
		"SELECT version FROM greenroom_version_creations WHERE fingerprint = $1 AND created_at > $2",
		[]any{fingerprint, t.now - creationWindow.Milliseconds()},
		func(row scanner) error { return row.Scan(version) },
	}
}

func (t *tx) rememberCreation(fingerprint, name string, version int64) error {
	err := t.queue("DELETE FROM greenroom_version_creations WHERE name = $1 AND created_at <= $2", name, t.now-creationWindow.Milliseconds())
	if err != nil {
		return err
	}
	return t.queue(`INSERT INTO greenroom_version_creations (fingerprint, name, version, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (fingerprint) DO UPDATE SET version = excluded.version, created_at = excluded.created_at`, fingerprint, name, version, t.now)
}

// forgetCreations makes the next request under the name a new one, whatever came before.
func (t *tx) forgetCreations(name string) error {
	_, err := t.exec("DELETE FROM greenroom_version_creations WHERE name = ?", name)
	return err
}

// ModelVersion gives a version.
func (s *Store) ModelVersion(ctx context.Context, name string, version int64) (v *ModelVersion, err error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	err = s.glance(ctx, func(ctx context.Context, db queryer) error {
		v, err = modelVersion(ctx, db, s.dialect, name, version)
		return err
	})
	return v, err
}

// SearchModelVersions gives one page of the versions that match, of models that the caller may read, without aliases.
func (s *Store) SearchModelVersions(ctx context.Context, page Page) (found []*ModelVersion, err error) {
	where, err := modelVersionSchema.Where(s.dialect, page.Filter)
	if err != nil {
		return nil, err
	}
	order, err := modelVersionSchema.OrderBy(s.dialect, page.OrderBy)
	if err != nil {
		return nil, err
	}
	t := &tx{s: s, by: auth.Of(ctx)} // writes queries; r runs them
	rows := newQuery(" FROM model_versions WHERE model_versions.workspace = ? AND model_versions.current_stage <> ?", workspace, stageDeleted).and(t.visibleModels("model_versions.name"))
	l := listing{columns: modelVersionColumns, rows: rows, where: where, order: order, about: tagsOfVersion(s.dialect)}
	read := s.readRows
	if page.Cursor != nil && page.Cursor.After != nil { // by several queries, perhaps
		read = s.readSnapshot
	}
	err = read(ctx, func(r rowReader) error {
		found, err = readPage(t, l, page, func(q *query, add func(*ModelVersion, func() []any)) error {
			return r.versions(ctx, q, ofOneModel(where), order, add)
		})
		return err
	})
	return found, err
}

// ofOneModel tells whether a filter asks for the versions of one model and nothing else, as most do. They are few, and the plan to
// find them is the same for all models.
func ofOneModel(where search.Clause) bool {
	return len(where.Args) == 1 && strings.HasPrefix(where.SQL, "model_versions.name = ?")
}

// versions reads what a search among versions asks for: their columns, the keys of the order, and their tags. For few of them, SQLite
// does not watch for the end of ctx, and PostgreSQL keeps the plan.
func (r rowReader) versions(ctx context.Context, q *query, few bool, order []search.Key, add func(*ModelVersion, func() []any)) error {
	text, args := q.plain(r.s.dialect)
	switch {
	case r.s.dialect == search.SQLite && few:
		ctx = context.WithoutCancel(ctx)
	case r.s.dialect == search.PostgreSQL && !few:
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	return r.records(ctx, text, args, func(row record) error {
		v := readVersion(row)
		tags, _ := row.text(versionColumns + len(order))
		add(v, func() []any { return sortKeys(row, versionColumns, order) })
		return v.setTags(tags)
	})
}

// DownloadURI is where clients fetch a version's files.
func (s *Store) DownloadURI(ctx context.Context, name string, version int64) (uri string, err error) {
	v, err := s.ModelVersion(ctx, name, version)
	if err != nil {
		return "", err
	}
	return v.location(), nil
}

func (v *ModelVersion) location() string {
	if location := deref(v.StorageLocation); location != "" {
		return location
	}
	return deref(v.Source)
}

// UpdateModelVersion replaces a version's description; nil clears it.
func (s *Store) UpdateModelVersion(ctx context.Context, name string, version int64, description *string) (v *ModelVersion, err error) {
	if err := checkLength("description", deref(description), maxDescription); err != nil {
		return nil, err
	}
	err = s.changeVersion(ctx, name, version, func(t *tx, found *ModelVersion) error {
		t.note("description", "replaced")
		found.Description, found.LastUpdatedTime = description, &t.now
		v = found
		_, err := t.exec("UPDATE model_versions SET description = ?, last_updated_time = ? WHERE workspace = ? AND name = ? AND version = ?", description, t.now, workspace, name, version)
		return err
	})
	return v, err
}

// DeleteModelVersion removes a version and the aliases that point to it. Its row stays, emptied, so that its number is not used again.
func (s *Store) DeleteModelVersion(ctx context.Context, name string, version int64) error {
	return s.changeVersion(ctx, name, version, func(t *tx, _ *ModelVersion) error {
		if _, err := t.exec("DELETE FROM registered_model_aliases WHERE workspace = ? AND name = ? AND version = ?", workspace, name, version); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE model_versions SET current_stage = ?, last_updated_time = ?, description = NULL, user_id = NULL, source = 'REDACTED-SOURCE-PATH',
			run_id = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK', status_message = NULL WHERE workspace = ? AND name = ? AND version = ?`, stageDeleted, t.now, workspace, name, version)
		if err != nil {
			return err
		}
		if err := t.dropDigestDue(name, version); err != nil {
			return err
		}
		return t.touchModel(name)
	})
}

// SetModelVersionTag sets one tag of a version.
func (s *Store) SetModelVersionTag(ctx context.Context, name string, version int64, tag Tag) error {
	if err := checkVersionTag(tag); err != nil {
		return err
	}
	return s.changeVersion(ctx, name, version, func(t *tx, v *ModelVersion) error {
		if tag.Key == TagDigest {
			if !slices.Contains(v.Tags, tag) {
				return digestIsOurs()
			}
			t.changesNothing()
		}
		t.noteTag(tag)
		return t.setVersionTags(name, version, []Tag{tag})
	})
}

// DeleteModelVersionTag removes one tag of a version; one that does not exist is no error.
func (s *Store) DeleteModelVersionTag(ctx context.Context, name string, version int64, key string) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	if key == TagDigest {
		return digestIsOurs()
	}
	return s.changeVersion(ctx, name, version, func(t *tx, _ *ModelVersion) error {
		t.note("tag", key)
		return t.deleteOne("DELETE FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ? AND key = ?", workspace, name, version, key)
	})
}

// changeVersion runs fn on a version while its model is locked, after also has been asked.
func (s *Store) changeVersion(ctx context.Context, name string, version int64, fn func(*tx, *ModelVersion) error, also ...question) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	if !fitsVersion(version) {
		return versionNotFound(name, version)
	}
	return s.update(ctx, func(t *tx) error {
		var found bool
		var v *ModelVersion
		query, args := versionByNumber(s.dialect, name, version)
		err := t.ask(append([]question{t.locking(name, &found), {query, args, func(row scanner) (err error) {
			v, err = scanVersion(row)
			return err
		}}}, also...)...)
		if err != nil {
			return err
		}
		if v == nil {
			return versionNotFound(name, version)
		}
		t.about("registered model '%s' version %d", name, version)
		return fn(t, v)
	})
}

// fitsVersion tells whether the column has place for a version.
func fitsVersion(version int64) bool { return math.MinInt32 <= version && version <= math.MaxInt32 }

// modelVersion reads a version with its tags and aliases.
func (t *tx) modelVersion(name string, version int64) (*ModelVersion, error) {
	return modelVersion(t.Statement.Context, t.Statement.ConnPool, t.s.dialect, name, version)
}

func modelVersion(ctx context.Context, db queryer, dialect search.Dialect, name string, version int64) (*ModelVersion, error) {
	if !fitsVersion(version) {
		return nil, versionNotFound(name, version)
	}
	query, args := versionByNumber(dialect, name, version)
	v, err := pickVersion(ctx, db, query, args)
	if v == nil && err == nil {
		err = versionNotFound(name, version)
	}
	return v, err
}

// versionOfModel begins the end of a query of versions.
const versionOfModel = "WHERE model_versions.workspace = '" + workspace + "' AND model_versions.current_stage <> '" + string(stageDeleted) + "' AND model_versions.name = $1 "

func versionByNumber(dialect search.Dialect, name string, version int64) (query string, args []any) {
	return versionQuery(dialect, versionOfModel+"AND model_versions.version = $2"), []any{name, version}
}

// versionQuery selects versions with tags and aliases from model_versions, by the end of a query from its WHERE on, for scanVersion.
// A row comes as one text, a JSON array: to ask for one row, drivers take several times as long over 15 columns.
func versionQuery(dialect search.Dialect, where string) string {
	row, list, aliases := "json_array(", "json(", "json_group_array(alias)"
	if dialect == search.PostgreSQL {
		row, list, aliases = "json_build_array(", "(", "json_agg(alias)"
	}
	return "SELECT CAST(" + row + modelVersionColumns + ", " + list + tagsOfVersion(dialect) + "), " +
		list + "(SELECT " + aliases + " FROM registered_model_aliases o WHERE " + ofVersion + "))) AS text) FROM model_versions " + where
}

// ofVersion is the condition for the rows o of a version.
const ofVersion = "o.workspace = '" + workspace + "' AND o.name = model_versions.name AND o.version = model_versions.version"

// tagsOfVersion selects the tags of a version as JSON, for setTags.
func tagsOfVersion(dialect search.Dialect) string {
	tags := "json_group_array(json_array(key, value))"
	if dialect == search.PostgreSQL {
		tags = "json_agg(json_build_array(key, value))"
	}
	return "(SELECT " + tags + " FROM model_version_tags o WHERE " + ofVersion + ")"
}

func scanVersion(row scanner) (*ModelVersion, error) {
	var text string
	if err := row.Scan(&text); err != nil {
		return nil, err
	}
	fields, err := splitJSON(text)
	if err != nil {
		return nil, err
	}
	if len(fields) != versionColumns+2 {
		return nil, fmt.Errorf("a version has %d columns", len(fields))
	}
	v := readVersion(fields)
	aliases, err := splitJSON(fields[versionColumns+1])
	if err != nil {
		return nil, err
	}
	for i := range aliases {
		alias, _ := aliases.text(i)
		v.Aliases = append(v.Aliases, alias)
	}
	slices.Sort(v.Aliases)
	return v, v.setTags(fields[versionColumns])
}

// setTags sets the tags that tagsOfVersion has selected.
func (v *ModelVersion) setTags(list string) error {
	pairs, err := splitJSON(list)
	if err != nil || len(pairs) == 0 {
		return err
	}
	v.Tags = make([]Tag, len(pairs))
	for i, pair := range pairs {
		tag, err := splitJSON(pair)
		if err != nil || len(tag) != 2 {
			return errors.Join(fmt.Errorf("a tag has %d columns", len(tag)), err)
		}
		v.Tags[i].Key, _ = tag.text(0)
		v.Tags[i].Value, _ = tag.text(1)
	}
	slices.SortFunc(v.Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	return nil
}

// pickVersion gives the first version of a versionQuery, nil if there is none. It does without gorm, as it is what most requests
// of a registry ask for.
func pickVersion(ctx context.Context, db queryer, query string, args []any) (*ModelVersion, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	return scanVersion(rows)
}

// ParseVersion reads a version number. One beyond 64 bits is a version that cannot exist.
func ParseVersion(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, invalid("Parameter 'version' must be an integer, got '%s'.", text)
	}
	return n, nil
}

func versionNotFound(name string, version int64) error {
	return notFound("Model Version (name=%s, version=%d) not found", name, version)
}

func (t *tx) setVersionTags(name string, version int64, tags []Tag) error {
	rows := make([][]any, 0, len(tags))
	for _, tag := range lastPerKey(tags) {
		rows = append(rows, []any{tag.Key, tag.Value, name, version, workspace})
	}
	_, err := t.insertRows("INSERT INTO model_version_tags (key, value, name, version, workspace)", "(?, ?, ?, ?, ?)",
		"ON CONFLICT (workspace, key, name, version) DO UPDATE SET value = excluded.value", rows)
	return err
}

// loadVersionTags fills the tags of versions of any models with one query for thousands of them.
func (t *tx) loadVersionTags(versions []*ModelVersion) error {
	type id struct {
		name    string
		version int64
	}
	byID := make(map[id]*ModelVersion, len(versions))
	for _, v := range versions {
		byID[id{v.Name, v.Version}] = v
	}
	return eachChunk(versions, func(part []*ModelVersion) error {
		var names []string
		var numbers []int64
		for _, v := range part {
			names, numbers = append(names, v.Name), append(numbers, v.Version)
		}
		slices.Sort(names)
		slices.Sort(numbers)
		// A few rows too many, of other pairs of these names and numbers: both databases find them by the index, which
		// PostgreSQL does not do for a list of pairs.
		rows, err := pick[struct {
			Name    string
			Version int64
			Key     string
			Value   *string
		}](t, "SELECT name, version, key, value FROM model_version_tags WHERE workspace = ? AND name IN ? AND version IN ? ORDER BY name, version, key",
			workspace, slices.Compact(names), slices.Compact(numbers))
		for _, r := range rows {
			if v := byID[id{r.Name, r.Version}]; v != nil {
				v.Tags = append(v.Tags, Tag{r.Key, deref(r.Value)})
			}
		}
		return err
	})
}

func checkVersionTag(tag Tag) error {
	if err := checkName("key", tag.Key); err != nil {
		return err
	}
	if err := checkLength("key", tag.Key, maxKey); err != nil {
		return err
	}
	if tag.Key == promptTextTag && checkLength("value", tag.Value, maxVersionTagValue) != nil {
		return invalid("Prompt text exceeds max length of %d characters.", maxVersionTagValue)
	}
	return checkLength("value", tag.Value, maxVersionTagValue)
}
