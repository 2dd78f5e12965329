package models

import (
	"context"
	"regexp"
	"strings"
	"unicode"
)

const maxAlias = 255

// latestAlias always names the highest version; it cannot be set.
const latestAlias = "latest"

// SetAlias points an alias to a version; an alias that points elsewhere moves.
func (s *Store) SetAlias(ctx context.Context, name, alias string, version int64) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	if err := checkAlias(alias); err != nil {
		return err
	}
	if strings.EqualFold(alias, latestAlias) {
		return invalid("'latest' alias name (case insensitive) is reserved.")
	}
	if versionAlias.MatchString(alias) {
		return invalid("Version alias name '%s' is reserved.", alias)
	}
	var before *int64
	pointer := question{
		"SELECT version FROM registered_model_aliases WHERE workspace = $1 AND name = $2 AND alias = $3",
		[]any{workspace, name, alias},
		func(row scanner) error { return row.Scan(&before) },
	}
	return s.changeVersion(ctx, name, version, func(t *tx, _ *ModelVersion) error {
		t.note("alias", alias)
		if before != nil {
			t.noteMove("version", *before, version)
		}
		return t.queue(`INSERT INTO registered_model_aliases (alias, version, name, workspace) VALUES ($1, $2, $3, $4)
			ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version`, alias, version, name, workspace)
	}, pointer)
}

// DeleteAlias removes an alias; one that does not exist is no error.
func (s *Store) DeleteAlias(ctx context.Context, name, alias string) error {
	if err := checkModelName("name", name); err != nil {
		return err
	}
	if err := checkAlias(alias); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.lockModel(name); err != nil {
			return err
		}
		t.note("alias", alias)
		return t.deleteOne("DELETE FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?", workspace, name, alias)
	})
}

// ModelVersionByAlias gives the version that an alias points to; "latest" is the highest one.
func (s *Store) ModelVersionByAlias(ctx context.Context, name, alias string) (v *ModelVersion, err error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	if err := checkAlias(alias); err != nil {
		return nil, err
	}
	err = s.glance(ctx, func(ctx context.Context, db queryer) error {
		v, err = pickVersion(ctx, db, versionQuery(s.dialect, versionOfModel+"AND model_versions.version = (SELECT version FROM registered_model_aliases WHERE workspace = '"+workspace+"' AND name = $1 AND alias = $2)"),
			[]any{name, alias})
		return err
	})
	if v != nil || err != nil {
		return v, err
	}
	err = s.view(ctx, func(t *tx) error { // "latest", or what is missing
		v, err = t.versionByAlias(name, alias)
		return err
	})
	return v, err
}

func (t *tx) versionByAlias(name, alias string) (*ModelVersion, error) {
	if strings.EqualFold(alias, latestAlias) {
		v, err := t.newestVersion(name, stages)
		if err == nil && v == nil {
			err = notFound("Latest version not found for model %s.", name)
		}
		return v, err
	}
	if _, err := t.registeredModel(name); err != nil {
		return nil, err
	}
	version, ok, err := pickOne[int64](t, "SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?", workspace, name, alias)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalid("Registered model alias %s not found.", alias)
	}
	return t.modelVersion(name, version)
}

// newestVersion is the highest version in any of the stages, nil if there is none.
func (t *tx) newestVersion(name string, in []Stage) (newest *ModelVersion, err error) {
	latest, err := t.latestVersionsWithAliases(name, in)
	for _, v := range latest {
		if newest == nil || v.Version > newest.Version {
			newest = v
		}
	}
	return newest, err
}

// loadVersionAliases fills the aliases of versions of one model.
func (t *tx) loadVersionAliases(name string, versions []*ModelVersion) error {
	aliases, err := pick[Alias](t, "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ? ORDER BY alias", workspace, name)
	for _, v := range versions {
		for _, a := range aliases {
			if a.Version == v.Version {
				v.Aliases = append(v.Aliases, a.Alias)
			}
		}
	}
	return err
}

// versionAlias is what would be mistaken for a version number.
var versionAlias = regexp.MustCompile(`^[vV]\p{Nd}+$`)

func checkAlias(alias string) error {
	if alias == "" {
		return invalid("Registered model alias name cannot be empty.")
	}
	for _, r := range alias {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '_' && r != '-' {
			return invalid("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes (-).", alias)
		}
	}
	return checkLength("Registered model alias name", alias, maxAlias)
}
