package models

import (
	"context"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"greenroom/auth"
)

// maxPattern is the limit of a grant's pattern, in characters.
const maxPattern = 500

// DirectGrant is what is granted to a user or group directly, for a pattern as people write it: an experiment's id or a
// model's name without * is that one object, and follows it when the model is renamed or deleted.
func DirectGrant(kind auth.Kind, pattern string, level auth.Level) auth.Grant {
	g := auth.Grant{Kind: kind, Pattern: pattern, Level: level}
	g.Exact = kind == auth.RegisteredModel && !strings.Contains(pattern, "*") || g.ByID()
	return g
}

// Grant gives a user or a group a level on what the pattern matches, in place of the level that was granted there before.
func (s *Store) Grant(ctx context.Context, h Holder, g auth.Grant) error {
	return s.grant(ctx, h, g, func(bool) error { return nil })
}

// CreateGrant is Grant for a pattern on which nothing was granted directly before; otherwise ResourceAlreadyExists.
func (s *Store) CreateGrant(ctx context.Context, h Holder, g auth.Grant) error {
	return s.grant(ctx, h, g, func(held bool) error {
		if held {
			return alreadyExists("Permission for %s on resource_type=%s, resource_id=%s already exists.", h, g.Kind, g.Pattern)
		}
		return nil
	})
}

// UpdateGrant is Grant for a pattern on which something was granted directly before; otherwise ResourceDoesNotExist.
func (s *Store) UpdateGrant(ctx context.Context, h Holder, g auth.Grant) error {
	return s.grant(ctx, h, g, func(held bool) error {
		if !held {
			return noGrant(h, g)
		}
		return nil
	})
}

func noGrant(h Holder, g auth.Grant) error {
	return notFound("Permission for %s on resource_type=%s, resource_id=%s not found.", h, g.Kind, g.Pattern)
}

func (s *Store) grant(ctx context.Context, h Holder, g auth.Grant, check func(held bool) error) error {
	if err := checkGrant(g); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		role, err := t.hiddenRole(h)
		if err != nil {
			return err
		}
		t.about("%s", h.audited())
		t.noteGrant(g)
		return t.grantTo(role, g, check)
	})
}

func (t *tx) grantTo(role int64, g auth.Grant, check func(held bool) error) error {
	held, err := t.permissions("role_id = ? AND resource_type = ? AND resource_pattern = ? AND is_exact = ?", role, g.Kind, g.Pattern, g.Exact)
	if err != nil {
		return err
	}
	if err := check(len(held) > 0); err != nil {
		return err
	}
	if len(held) > 0 {
		_, err := t.exec("UPDATE greenroom_role_permissions SET permission = ? WHERE id = ?", g.Level.String(), held[0].ID)
		return err
	}
	id, err := t.changeIdentity()
	if err != nil {
		return err
	}
	_, err = t.insertPermission(RolePermission{id, role, g})
	return err
}

// Revoke takes back what was granted directly on a pattern, be it as one name or as a pattern.
func (s *Store) Revoke(ctx context.Context, h Holder, kind auth.Kind, pattern string) error {
	if err := CheckKind(string(kind)); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		role, err := t.findHiddenRole(h)
		if err != nil {
			return err
		}
		t.about("%s", h.audited())
		t.noteGrant(auth.Grant{Kind: kind, Pattern: pattern})
		n, err := t.exec("DELETE FROM greenroom_role_permissions WHERE role_id = ? AND resource_type = ? AND resource_pattern = ?", role, kind, pattern)
		if err == nil && n == 0 {
			err = noGrant(h, auth.Grant{Kind: kind, Pattern: pattern})
		}
		return err
	})
}

// HeldGrant gives what was granted directly on a pattern.
func (s *Store) HeldGrant(ctx context.Context, h Holder, kind auth.Kind, pattern string) (g auth.Grant, err error) {
	grants, err := s.HeldGrants(ctx, h)
	if err != nil {
		return g, err
	}
	for _, g := range grants {
		if g.Kind == kind && g.Pattern == pattern {
			return g, nil
		}
	}
	return g, noGrant(h, auth.Grant{Kind: kind, Pattern: pattern})
}

// HeldGrants gives all that was granted to a user or group directly.
func (s *Store) HeldGrants(ctx context.Context, h Holder) (grants auth.Grants, err error) {
	err = s.view(ctx, func(t *tx) error {
		role, err := t.findHiddenRole(h)
		if err != nil {
			return err
		}
		permissions, err := t.permissionsOf([]int64{role})
		grants = grantsVia("", permissions[role])
		return err
	})
	return grants, err
}

// findHiddenRole gives the role that holds what is granted to a user or group directly, 0 if there is none yet.
func (t *tx) findHiddenRole(h Holder) (int64, error) {
	holder, err := t.holderID(h)
	if err != nil {
		return 0, err
	}
	id, _, err := pickOne[int64](t, "SELECT id FROM greenroom_roles WHERE workspace = ? AND name = ?", workspace, hiddenRoleName(h, holder))
	return id, err
}

// hiddenRole is findHiddenRole that makes the role if there is none. It comes before a change of identity data.
func (t *tx) hiddenRole(h Holder) (int64, error) {
	id, err := t.changeIdentity()
	if err != nil {
		return 0, err
	}
	holder, err := t.holderID(h)
	if err != nil {
		return 0, err
	}
	found, err := t.findHiddenRole(h)
	if err != nil || found != 0 {
		return found, err
	}
	if _, err := t.exec("INSERT INTO greenroom_roles (id, name, workspace) VALUES (?, ?, ?)", id, hiddenRoleName(h, holder), workspace); err != nil {
		return 0, err
	}
	_, err = t.assign(h, &Role{ID: id})
	return id, err
}

func hiddenRoleName(h Holder, id int64) string {
	if h.Group != "" {
		return hiddenGroupRole(id)
	}
	return hiddenUserRole(id)
}

// grantCreator gives who acts MANAGE on what was just made: an experiment's id or a model's name.
func (t *tx) grantCreator(kind auth.Kind, pattern string) error {
	if t.by.UserID == 0 {
		return nil
	}
	name, ok, err := pickOne[string](t, "SELECT name FROM greenroom_users WHERE id = ?", t.by.UserID)
	if err != nil || !ok { // a user who is gone meanwhile needs nothing
		return err
	}
	role, err := t.hiddenRole(Holder{User: name})
	if err != nil {
		return err
	}
	return t.grantTo(role, auth.Grant{Kind: kind, Pattern: pattern, Exact: true, Level: auth.Manage}, func(bool) error { return nil })
}

const exactOnModel = "resource_type = 'registered_model' AND is_exact AND resource_pattern = ?"

// moveGrants lets what is granted on exactly one model follow its new name. What was granted on that name before gives
// way, but for a DENY.
func (t *tx) moveGrants(name, newName string) error {
	granted, _, err := pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_role_permissions WHERE "+exactOnModel+")", name)
	if err != nil || !granted || name == newName {
		return err
	}
	if _, err := t.changeIdentity(); err != nil {
		return err
	}
	const roles = "role_id IN (SELECT role_id FROM greenroom_role_permissions WHERE " + exactOnModel
	if _, err := t.exec("DELETE FROM greenroom_role_permissions WHERE "+exactOnModel+" AND "+roles+" AND permission = 'DENY')", name, newName); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM greenroom_role_permissions WHERE "+exactOnModel+" AND "+roles+")", newName, name); err != nil {
		return err
	}
	_, err = t.exec("UPDATE greenroom_role_permissions SET resource_pattern = ? WHERE "+exactOnModel, newName, name)
	return err
}

// dropGrants removes what is granted on exactly one model: a later model of that name is another one.
func (t *tx) dropGrants(name string) error { return t.deletePermissions(exactOnModel, name) }

// dropOldGrants removes what is granted on the id of a new experiment: SQLite gives an id again after mlflow gc has
// removed the experiment that had it.
func (t *tx) dropOldGrants(id string) error {
	return t.deletePermissions("resource_type = 'experiment' AND resource_pattern = ?", id)
}

func (t *tx) deletePermissions(where, object string) error {
	there, _, err := pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_role_permissions WHERE "+where+")", object)
	if err != nil || !there {
		return err
	}
	if _, err := t.changeIdentity(); err != nil { // comes first in every change, or two of them wait for each other
		return err
	}
	_, err = t.exec("DELETE FROM greenroom_role_permissions WHERE "+where, object)
	return err
}

// checkGrant refuses a grant that could never mean what was meant.
func checkGrant(g auth.Grant) error {
	if err := CheckKind(string(g.Kind)); err != nil {
		return err
	}
	if g.Kind == auth.Workspace {
		switch {
		case g.Pattern != "*":
			return invalid("Invalid resource_pattern '%s' for resource_type='workspace': this server has one workspace, written '*'.", g.Pattern)
		case g.Level == auth.Manage:
			return invalid("MANAGE cannot be granted on the workspace: make the user an administrator, or give the role manager.")
		case g.Level != auth.Use:
			return invalid("Invalid permission '%s' for resource_type='workspace': only USE can be granted on it.", g.Level)
		}
		return nil
	}
	if g.Level == auth.NoPermissions {
		return invalid("Invalid permission 'NO_PERMISSIONS' for resource_type='%s': grant READ, USE, EDIT, MANAGE or DENY, or revoke what is granted.", g.Kind)
	}
	return checkPattern(g.Kind, g.Pattern)
}

func checkPattern(kind auth.Kind, pattern string) error {
	switch {
	case pattern == "":
		return invalid("The pattern of a permission cannot be empty: give an experiment's id, a name, or a name with * for any text.")
	case strings.ContainsFunc(pattern, unicode.IsControl):
		return invalid("Invalid pattern %s: it cannot have control characters.", Quote(pattern))
	case !norm.NFC.IsNormalString(pattern):
		return invalid("Invalid pattern '%s': it has letters and accents as separate characters; write it in Unicode normalization form C.", pattern)
	}
	if err := checkLength("resource_pattern", pattern, maxPattern); err != nil {
		return err
	}
	if kind != auth.Experiment || strings.Trim(pattern, "0123456789") != "" {
		return nil
	}
	if id, err := strconv.ParseInt(pattern, 10, 64); err != nil || strconv.FormatInt(id, 10) != pattern {
		return invalid("Invalid experiment id '%s'. Write it as the server does, such as 12; a name has other characters than digits.", pattern)
	}
	return nil
}

// CheckKind refuses the types of objects that no permission is about here, and says which one is meant instead.
func CheckKind(kind string) error {
	switch kind {
	case string(auth.Experiment), string(auth.RegisteredModel), string(auth.Workspace):
		return nil
	case "prompt", "prompt_version", "registered_model_version":
		return invalid("resource_type '%s' has no permissions of its own: prompts are registered models here, and versions are in the hands of their model's users; use resource_type 'registered_model'.", kind)
	case "run", "logged_model", "trace", "assessment":
		return invalid("resource_type '%s' has no permissions of its own: it is in the hands of its experiment's users; use resource_type 'experiment'.", kind)
	case "scorer", "scorer_version", "review_queue", "gateway_secret", "gateway_endpoint", "gateway_model_definition", "mcp_server", "mcp_server_version":
		return invalid("resource_type '%s' is not served: permissions are about 'experiment', 'registered_model' and 'workspace'.", kind)
	}
	return invalid("Invalid resource type '%s'. Valid resource types are: experiment, registered_model, workspace.", kind)
}
