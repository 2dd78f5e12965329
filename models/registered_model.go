package models

import (
	"context"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"greenroom/auth"
	"greenroom/search"
)

// RegisteredModel is a name under which versions of a model are kept. Times are in milliseconds since 1970.
type RegisteredModel struct {
	Name            string
	CreationTime    *int64
	LastUpdatedTime *int64
	Description     *string

	LatestVersions []*ModelVersion `gorm:"-"` // the newest of each stage, without aliases
	Tags           []Tag           `gorm:"-"`
	Aliases        []Alias         `gorm:"-"`
}

// Alias is a name for one version of a registered model.
type Alias struct {
	Alias   string
	Version int64
}

const registeredModelColumns = "registered_models.name, registered_models.creation_time, registered_models.last_updated_time, registered_models.description"

func (m *RegisteredModel) columns() []any {
	return []any{&m.Name, &m.CreationTime, &m.LastUpdatedTime, &m.Description}
}

// Limits in characters: those of the columns. MLflow's code lets a model's tag have 100000, which PostgreSQL refuses.
const (
	maxModelName     = 256
	maxDescription   = 5000
	maxModelTagValue = 5000
)

// CreateRegisteredModel makes a model without versions.
func (s *Store) CreateRegisteredModel(ctx context.Context, name, description string, tags []Tag) (m *RegisteredModel, err error) {
	if err := checkNewModelName("name", name); err != nil {
		return nil, err
	}
	if err := checkLength("description", description, maxDescription); err != nil {
		return nil, err
	}
	tags = lastPerKey(tags)
	for _, tag := range tags {
		if err := checkModelTag(tag); err != nil {
			return nil, err
		}
	}
	err = s.update(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, name, t.now, t.now, description, workspace)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.nameTaken(name, tags)
		}
		t.about("registered model '%s'", name)
		m = &RegisteredModel{Name: name, CreationTime: &t.now, LastUpdatedTime: &t.now, Description: &description, Tags: tags}
		if err := t.setModelTags(name, tags); err != nil {
			return err
		}
		return t.grantCreator(auth.RegisteredModel, name)
	})
	return m, err
}

// nameTaken says why a model or prompt cannot be created. To MLflow, any value of the tag makes a prompt here.
func (t *tx) nameTaken(name string, tags []Tag) error {
	existing, err := t.registeredModelTags([]string{name})
	if err != nil {
		return err
	}
	was, wanted := "Registered Model", "Registered Model"
	if hasTag(existing[name], promptTag) {
		was = "Prompt"
	}
	if hasTag(tags, promptTag) {
		wanted = "Prompt"
	}
	if was != wanted {
		return alreadyExists("Tried to create a %s with name %s, but the name is already taken by a %s. MLflow does not allow creating a model and a prompt with the same name.",
			strings.ToLower(wanted), search.Repr(name), strings.ToLower(was))
	}
	return alreadyExists("%s (name=%s) already exists.", wanted, name)
}

// RegisteredModel gives a model.
func (s *Store) RegisteredModel(ctx context.Context, name string) (m *RegisteredModel, err error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	err = s.view(ctx, func(t *tx) error {
		m, err = t.registeredModel(name)
		if err != nil {
			return err
		}
		return t.loadRegisteredModels([]*RegisteredModel{m})
	})
	return m, err
}

// SearchRegisteredModels gives one page of the models that match and that the caller may read.
func (s *Store) SearchRegisteredModels(ctx context.Context, page Page) (found []*RegisteredModel, err error) {
	where, err := registeredModelSchema.Where(s.dialect, page.Filter)
	if err != nil {
		return nil, err
	}
	order, err := registeredModelSchema.OrderBy(s.dialect, page.OrderBy)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(t *tx) error {
		rows := newQuery(" FROM registered_models WHERE registered_models.workspace = ?", workspace).and(t.visibleModels("registered_models.name"))
		found, err = pickPage[RegisteredModel](t, listing{columns: registeredModelColumns, rows: rows, where: where, order: order}, page)
		if err != nil {
			return err
		}
		return t.loadRegisteredModels(found)
	})
	return found, err
}

// UpdateRegisteredModel replaces a model's description.
func (s *Store) UpdateRegisteredModel(ctx context.Context, name, description string) (m *RegisteredModel, err error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	if err := checkLength("description", description, maxDescription); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		if m, err = t.lockModel(name); err != nil {
			return err
		}
		t.note("description", "replaced")
		m.Description, m.LastUpdatedTime = &description, &t.now
		_, err := t.exec("UPDATE registered_models SET description = ?, last_updated_time = ? WHERE workspace = ? AND name = ?", description, t.now, workspace, name)
		if err != nil {
			return err
		}
		return t.loadRegisteredModels([]*RegisteredModel{m})
	})
	return m, err
}

// RenameRegisteredModel gives a model another name; its versions, tags and aliases follow by the database's cascades.
func (s *Store) RenameRegisteredModel(ctx context.Context, name, newName string) (m *RegisteredModel, err error) {
	if err := checkNewModelName("new_name", newName); err != nil {
		return nil, err
	}
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		if m, err = t.lockModel(name); err != nil {
			return err
		}
		t.noteMove("name", name, newName)
		m.Name, m.LastUpdatedTime = newName, &t.now
		_, err := t.exec("UPDATE registered_models SET name = ?, last_updated_time = ? WHERE workspace = ? AND name = ?", newName, t.now, workspace, name)
		if isUniqueViolation(err) {
			return alreadyExists("Registered Model (name=%s) already exists.", newName)
		}
		if err != nil {
			return err
		}
		if _, err := t.exec("UPDATE model_versions SET last_updated_time = ? WHERE workspace = ? AND name = ?", t.now, workspace, newName); err != nil {
			return err
		}
		if err := t.forgetCreations(name); err != nil {
			return err
		}
		if err := t.renameDigestsDue(name, newName); err != nil {
			return err
		}
		if err := t.moveGrants(name, newName); err != nil {
			return err
		}
		return t.loadRegisteredModels([]*RegisteredModel{m})
	})
	return m, err
}

// DeleteRegisteredModel removes a model with its versions, tags and aliases for good.
func (s *Store) DeleteRegisteredModel(ctx context.Context, name string) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.lockModel(name); err != nil {
			return err
		}
		for _, table := range []string{"model_version_tags", "model_versions", "registered_model_tags", "registered_model_aliases", "registered_models"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE workspace = ? AND name = ?", workspace, name); err != nil {
				return err
			}
		}
		if err := t.forgetCreations(name); err != nil {
			return err
		}
		if err := t.dropDigestsDue(name); err != nil {
			return err
		}
		return t.dropGrants(name)
	})
}

// SetRegisteredModelTag sets one tag of a model.
func (s *Store) SetRegisteredModelTag(ctx context.Context, name string, tag Tag) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	if err := checkModelTag(tag); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.lockModel(name); err != nil {
			return err
		}
		t.noteTag(tag)
		return t.setModelTags(name, []Tag{tag})
	})
}

// DeleteRegisteredModelTag removes one tag of a model; one that does not exist is no error.
func (s *Store) DeleteRegisteredModelTag(ctx context.Context, name, key string) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	if err := checkName("key", key); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.lockModel(name); err != nil {
			return err
		}
		t.note("tag", key)
		return t.deleteOne("DELETE FROM registered_model_tags WHERE workspace = ? AND name = ? AND key = ?", workspace, name, key)
	})
}

func (t *tx) registeredModel(name string) (*RegisteredModel, error) {
	return t.pickModel(name, "")
}

// lockModel reads a model and keeps everybody else from changing it, its versions and its aliases until the transaction
// ends. Whoever changes one of these calls it first: version numbers are unique and stages change together because of it.
func (t *tx) lockModel(name string) (*RegisteredModel, error) {
	return t.pickModel(name, t.forUpdate())
}

// locking is lockModel for ask, which sets found if there is such a model.
func (t *tx) locking(name string, found *bool) question {
	return question{"SELECT 1 FROM registered_models WHERE workspace = $1 AND name = $2" + t.forUpdate(), []any{workspace, name}, func(row scanner) error {
		*found = true
		return row.Scan(new(int))
	}}
}

func (t *tx) pickModel(name, lock string) (*RegisteredModel, error) {
	m, ok, err := pickOne[RegisteredModel](t, "SELECT "+registeredModelColumns+" FROM registered_models WHERE workspace = ? AND name = ?"+lock, workspace, name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, modelNameNotFound(name)
	}
	return &m, nil
}

func modelNameNotFound(name string) error {
	return notFound("Registered Model with name=%s not found", name)
}

// touchModel notes that a model or one of its versions has changed.
func (t *tx) touchModel(name string) error {
	return t.queue("UPDATE registered_models SET last_updated_time = $1 WHERE workspace = $2 AND name = $3", t.now, workspace, name)
}

func (t *tx) setModelTags(name string, tags []Tag) error {
	rows := make([][]any, 0, len(tags))
	for _, tag := range lastPerKey(tags) {
		rows = append(rows, []any{tag.Key, tag.Value, name, workspace})
	}
	_, err := t.insertRows("INSERT INTO registered_model_tags (key, value, name, workspace)", "(?, ?, ?, ?)",
		"ON CONFLICT (workspace, key, name) DO UPDATE SET value = excluded.value", rows)
	return err
}

// loadRegisteredModels fills tags, aliases and latest versions of all models with one query for each kind.
func (t *tx) loadRegisteredModels(found []*RegisteredModel) error {
	byName := make(map[string]*RegisteredModel, len(found))
	names := make([]string, len(found))
	for i, m := range found {
		byName[m.Name], names[i] = m, m.Name
	}
	if len(names) == 0 {
		return nil
	}
	tags, err := t.registeredModelTags(names)
	if err != nil {
		return err
	}
	for name, list := range tags {
		byName[name].Tags = list
	}
	aliases, err := pick[struct {
		Name string
		Alias
	}](t, "SELECT name, alias, version FROM registered_model_aliases WHERE workspace = ? AND name IN ? ORDER BY name, alias", workspace, names)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		m := byName[a.Name]
		m.Aliases = append(m.Aliases, a.Alias)
	}
	latest, err := t.latestVersions(names)
	for _, v := range latest {
		m := byName[v.Name]
		m.LatestVersions = append(m.LatestVersions, v)
	}
	return err
}

func (t *tx) registeredModelTags(names []string) (map[string][]Tag, error) {
	rows, err := pick[struct {
		Name, Key string
		Value     *string
	}](t, "SELECT name, key, value FROM registered_model_tags WHERE workspace = ? AND name IN ? ORDER BY name, key", workspace, names)
	tags := make(map[string][]Tag, len(names))
	for _, r := range rows {
		tags[r.Name] = append(tags[r.Name], Tag{r.Key, deref(r.Value)})
	}
	return tags, err
}

// checkModelName refuses a name that no model can have; field is the parameter named when it is blank.
func checkModelName(field, name string) error {
	if strings.TrimSpace(name) == "" {
		return invalid("Missing value for required parameter '%s'.", field)
	}
	if strings.ContainsAny(name, "/:") {
		return invalid("Invalid model name '%s'. Names cannot contain '/' or ':'.", name)
	}
	return checkPathLike("name", name)
}

// checkNewModelName also refuses, unlike MLflow, names that look like another one or become it in a URL: whoever asks for
// one of the two could be given the other.
func checkNewModelName(field, name string) error {
	if err := checkModelName(field, name); err != nil {
		return err
	}
	switch {
	case strings.ContainsFunc(name, unicode.IsControl):
		return invalid("Invalid model name %s. Names cannot contain control characters.", Quote(name))
	case strings.ContainsFunc(name, isInvisible):
		return invalid("Invalid model name %s. Names cannot contain invisible characters.", Quote(name))
	case strings.TrimSpace(name) != name:
		return invalid("Invalid model name '%s'. Names cannot begin or end with a space.", name)
	case percentEncoded.MatchString(name):
		return invalid("Invalid model name '%s'. Names cannot contain percent escapes such as %%31; write the character itself.", name)
	case !norm.NFC.IsNormalString(name):
		return invalid("Invalid model name '%s'. It has letters and accents as separate characters; write it in Unicode normalization form C.", name)
	}
	return checkLength(field, name, maxModelName)
}

// isInvisible tells of a character that shows nothing, or turns the text around it. The two joiners shape the letters of several
// scripts.
func isInvisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d'
}

func checkModelTag(tag Tag) error {
	if err := checkName("key", tag.Key); err != nil {
		return err
	}
	if err := checkLength("key", tag.Key, maxKey); err != nil {
		return err
	}
	return checkLength("value", tag.Value, maxModelTagValue)
}

func hasTag(tags []Tag, key string) bool {
	for _, t := range tags {
		if t.Key == key {
			return true
		}
	}
	return false
}

// isPrompt tells whether tags make a registered model or a version a prompt.
func isPrompt(tags []Tag) bool {
	prompt := false
	for _, t := range tags {
		if t.Key == promptTag {
			prompt = strings.EqualFold(t.Value, "true")
		}
	}
	return prompt
}
