package models

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"greenroom/auth"
)

// Role is a set of permissions with a name, for users, groups and tokens.
type Role struct {
	ID          int64
	Name        string
	Description *string
	Permissions []RolePermission `gorm:"-"`
}

// RolePermission is one permission of a role.
type RolePermission struct {
	ID, RoleID int64
	auth.Grant
}

// RoleAssignment says that a user has a role.
type RoleAssignment struct{ ID, UserID, RoleID int64 }

// Hidden tells whether the role holds what is granted to one user or group directly. Only grants change it.
func (r Role) Hidden() bool { return isHiddenRole(r.Name) }

// Holder is who has roles and grants: one user or one group, by name.
type Holder struct{ User, Group string }

// String names the holder in messages.
func (h Holder) String() string {
	if h.Group != "" {
		return "group=" + h.Group
	}
	return "user=" + h.User
}

// audited is the holder as the audit log names it.
func (h Holder) audited() string {
	if h.Group != "" {
		return "group '" + h.Group + "'"
	}
	return "user '" + h.User + "'"
}

// Limits of a role, in characters.
const (
	maxRoleName        = 255
	maxRoleDescription = 1024
)

const roleColumns = "r.id, r.name, r.description"

// CreateRole makes a role without permissions.
func (s *Store) CreateRole(ctx context.Context, name string, description *string) (r *Role, err error) {
	if err := checkRoleName(name); err != nil {
		return nil, err
	}
	if err := checkLength("description", deref(description), maxRoleDescription); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		id, err := t.changeIdentity()
		if err != nil {
			return err
		}
		r = &Role{ID: id, Name: name, Description: description}
		t.about("role '%s'", name)
		n, err := t.exec("INSERT INTO greenroom_roles (id, name, workspace, description) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", id, name, workspace, description)
		if err == nil && n == 0 {
			return alreadyExists("Role (name=%s, workspace=%s) already exists.", name, workspace)
		}
		return err
	})
	return r, err
}

// Role gives a role with its permissions.
func (s *Store) Role(ctx context.Context, id int64) (r *Role, err error) {
	err = s.view(ctx, func(t *tx) error {
		if r, err = t.role(id); err != nil {
			return err
		}
		return t.loadPermissions([]*Role{r})
	})
	return r, err
}

// Roles gives all roles with their permissions by name, the hidden ones of users and groups included.
func (s *Store) Roles(ctx context.Context) (roles []*Role, err error) {
	err = s.view(ctx, func(t *tx) error {
		roles, err = pick[*Role](t, "SELECT "+roleColumns+" FROM greenroom_roles r WHERE r.workspace = ? ORDER BY r.name", workspace)
		if err != nil {
			return err
		}
		return t.loadPermissions(roles)
	})
	return roles, err
}

// UpdateRole gives a role another name or description; nil leaves one as it is.
func (s *Store) UpdateRole(ctx context.Context, id int64, name, description *string) (r *Role, err error) {
	if name != nil {
		if err := checkRoleName(*name); err != nil {
			return nil, err
		}
	}
	if err := checkLength("description", deref(description), maxRoleDescription); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		if r, err = t.changeRole(id); err != nil {
			return err
		}
		if name != nil {
			t.noteMove("name", r.Name, *name)
			r.Name = *name
		}
		if description != nil {
			t.note("description", "replaced")
			r.Description = description
		}
		_, err := t.exec("UPDATE greenroom_roles SET name = ?, description = ? WHERE id = ?", r.Name, r.Description, id)
		if isUniqueViolation(err) {
			return alreadyExists("Role with name=%s already exists in workspace=%s", r.Name, workspace)
		}
		if err != nil {
			return err
		}
		return t.loadPermissions([]*Role{r})
	})
	return r, err
}

// DeleteRole removes a role, and with it the API tokens that it narrows.
func (s *Store) DeleteRole(ctx context.Context, id int64) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.changeRole(id); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM greenroom_roles WHERE id = ?", id)
		return err
	})
}

// changeRole reads a role that is going to change.
func (t *tx) changeRole(id int64) (*Role, error) {
	if _, err := t.changeIdentity(); err != nil {
		return nil, err
	}
	r, err := t.role(id)
	t.about("role '%s'", r.Name)
	if err == nil && r.Hidden() {
		return nil, invalid("Role %s is not one to change: it holds what is granted to one user or group. Grant or revoke permissions of that user or group.", r.Name)
	}
	return r, err
}

func (t *tx) role(id int64) (*Role, error) {
	r, ok, err := pickOne[Role](t, "SELECT "+roleColumns+" FROM greenroom_roles r WHERE r.id = ? AND r.workspace = ?", id, workspace)
	if err == nil && !ok {
		err = notFound("Role with id=%d not found", id)
	}
	return &r, err
}

// AddRolePermission adds a permission to a role. A name in it without * is that name, whichever model has it at the time.
func (s *Store) AddRolePermission(ctx context.Context, roleID int64, g auth.Grant) (p RolePermission, err error) {
	g.Exact = false
	if err := checkGrant(g); err != nil {
		return p, err
	}
	err = s.update(ctx, func(t *tx) error {
		if _, err := t.changeRole(roleID); err != nil {
			return err
		}
		id, err := t.changeIdentity()
		if err != nil {
			return err
		}
		p = RolePermission{id, roleID, g}
		t.noteGrant(g)
		made, err := t.insertPermission(p)
		if err == nil && !made {
			return alreadyExists("Role permission (role_id=%d, resource_type=%s, resource_pattern=%s) already exists.", roleID, g.Kind, g.Pattern)
		}
		return err
	})
	return p, err
}

func (t *tx) insertPermission(p RolePermission) (made bool, err error) {
	n, err := t.exec(`INSERT INTO greenroom_role_permissions (id, role_id, resource_type, resource_pattern, is_exact, permission)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, p.ID, p.RoleID, p.Kind, p.Pattern, p.Exact, p.Level.String())
	return n == 1, err
}

// RemoveRolePermission takes a permission from its role.
func (s *Store) RemoveRolePermission(ctx context.Context, id int64) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		if _, err := t.changePermission(id); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM greenroom_role_permissions WHERE id = ?", id)
		return err
	})
}

// UpdateRolePermission gives a permission another level.
func (s *Store) UpdateRolePermission(ctx context.Context, id int64, level auth.Level) (p RolePermission, err error) {
	err = s.update(ctx, func(t *tx) error {
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		if p, err = t.changePermission(id); err != nil {
			return err
		}
		t.note("new_permission", level.String())
		p.Level = level
		if err := checkGrant(p.Grant); err != nil {
			return err
		}
		_, err := t.exec("UPDATE greenroom_role_permissions SET permission = ? WHERE id = ?", level.String(), id)
		return err
	})
	return p, err
}

// changePermission reads a role's permission that is going to change.
func (t *tx) changePermission(id int64) (p RolePermission, err error) {
	found, err := t.permissions("id = ?", id)
	if err != nil {
		return p, err
	}
	if len(found) == 0 {
		return p, notFound("Role permission with id=%d not found", id)
	}
	r, err := t.role(found[0].RoleID)
	if err != nil {
		return p, err
	}
	t.about("role '%s'", r.Name)
	t.noteGrant(found[0].Grant)
	return found[0], nil
}

// noteGrant tells the audit log what is granted or taken.
func (t *tx) noteGrant(g auth.Grant) {
	t.note("resource_type", g.Kind)
	t.note("resource_pattern", g.Pattern)
	if g.Level != auth.NoPermissions {
		t.note("permission", g.Level.String())
	}
}

func (t *tx) loadPermissions(roles []*Role) error {
	ids := make([]int64, len(roles))
	for i, r := range roles {
		ids[i] = r.ID
	}
	permissions, err := t.permissionsOf(ids)
	for _, r := range roles {
		r.Permissions = permissions[r.ID]
	}
	return err
}

// permissionsOf gives what roles hold, by the roles' ids.
func (t *tx) permissionsOf(roles []int64) (map[int64][]RolePermission, error) {
	held := make(map[int64][]RolePermission, len(roles))
	roles = slices.Compact(slices.Sorted(slices.Values(roles)))
	err := eachChunk(roles, func(roles []int64) error {
		found, err := t.permissions("role_id IN ?", roles)
		for _, p := range found {
			held[p.RoleID] = append(held[p.RoleID], p)
		}
		return err
	})
	return held, err
}

// grantsVia gives the grants of permissions, and through what they are held.
func grantsVia(via string, permissions []RolePermission) auth.Grants {
	grants := make(auth.Grants, len(permissions))
	for i, p := range permissions {
		grants[i] = p.Grant
		grants[i].Via = via
	}
	return grants
}

func (t *tx) permissions(where string, args ...any) ([]RolePermission, error) {
	rows, err := pick[struct {
		ID, RoleID     int64
		Kind           auth.Kind
		Pattern, Level string
		Exact          bool
	}](t, `SELECT id, role_id, resource_type AS kind, resource_pattern AS pattern, is_exact AS exact, permission AS level
		FROM greenroom_role_permissions WHERE `+where+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	found := make([]RolePermission, len(rows))
	for i, r := range rows {
		level, err := auth.ParseLevel(r.Level)
		if err != nil {
			return nil, err
		}
		found[i] = RolePermission{r.ID, r.RoleID, auth.Grant{Kind: r.Kind, Pattern: r.Pattern, Exact: r.Exact, Level: level}}
	}
	return found, nil
}

// AssignRole gives a role to a user or a group; a group's assignment has no id.
func (s *Store) AssignRole(ctx context.Context, to Holder, roleID int64) (made RoleAssignment, err error) {
	err = s.update(ctx, func(t *tx) error {
		r, err := t.changeRole(roleID)
		if err != nil {
			return err
		}
		t.note("to", to.audited())
		made, err = t.assign(to, r)
		return err
	})
	return made, err
}

func (t *tx) assign(to Holder, r *Role) (made RoleAssignment, err error) {
	holder, err := t.holderID(to)
	if err != nil {
		return made, err
	}
	id, err := t.changeIdentity()
	if err != nil {
		return made, err
	}
	var n int64
	if to.Group != "" {
		n, err = t.exec("INSERT INTO greenroom_role_groups (role_id, group_id) VALUES (?, ?) ON CONFLICT DO NOTHING", r.ID, holder)
		made = RoleAssignment{RoleID: r.ID}
	} else {
		n, err = t.exec("INSERT INTO greenroom_role_users (id, role_id, user_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", id, r.ID, holder)
		made = RoleAssignment{id, holder, r.ID}
	}
	if err == nil && n == 0 {
		err = alreadyExists("Role assignment (%s, role_id=%d) already exists", to, r.ID)
	}
	return made, err
}

// UnassignRole takes a role from a user or a group.
func (s *Store) UnassignRole(ctx context.Context, from Holder, roleID int64) error {
	return s.update(ctx, func(t *tx) error {
		r, err := t.changeRole(roleID)
		if err != nil {
			return err
		}
		t.note("from", from.audited())
		holder, err := t.holderID(from)
		if err != nil {
			return err
		}
		query := "DELETE FROM greenroom_role_users WHERE role_id = ? AND user_id = ?"
		if from.Group != "" {
			query = "DELETE FROM greenroom_role_groups WHERE role_id = ? AND group_id = ?"
		}
		n, err := t.exec(query, r.ID, holder)
		if err == nil && n == 0 {
			return notFound("Role assignment (%s, role_id=%d) not found", from, roleID)
		}
		return err
	})
}

// HolderRoles gives the roles, with their permissions, that were given to a user or group itself, the hidden one included.
func (s *Store) HolderRoles(ctx context.Context, h Holder) (roles []*Role, err error) {
	err = s.view(ctx, func(t *tx) error {
		holder, err := t.holderID(h)
		if err != nil {
			return err
		}
		query := "JOIN greenroom_role_users h ON h.role_id = r.id WHERE h.user_id = ?"
		if h.Group != "" {
			query = "JOIN greenroom_role_groups h ON h.role_id = r.id WHERE h.group_id = ?"
		}
		roles, err = pick[*Role](t, "SELECT "+roleColumns+" FROM greenroom_roles r "+query+" ORDER BY r.name", holder)
		if err != nil {
			return err
		}
		return t.loadPermissions(roles)
	})
	return roles, err
}

// RolesOf gives the roles, with their permissions, of a user and of groups.
func (s *Store) RolesOf(ctx context.Context, userID int64, groups []string) (roles []*Role, err error) {
	err = s.view(ctx, func(t *tx) error {
		roles, err = pick[*Role](t, "SELECT "+roleColumns+` FROM greenroom_roles r WHERE r.id IN (SELECT role_id FROM greenroom_role_users WHERE user_id = ?)
			OR r.id IN (SELECT h.role_id FROM greenroom_role_groups h JOIN greenroom_groups g ON g.id = h.group_id WHERE g.name IN ?) ORDER BY r.name`, userID, groups)
		if err != nil {
			return err
		}
		return t.loadPermissions(roles)
	})
	return roles, err
}

// UsersWithRoles gives all users by name, and the roles of each by the user's id.
func (s *Store) UsersWithRoles(ctx context.Context) (users []*User, roles map[int64][]*Role, err error) {
	err = s.view(ctx, func(t *tx) error {
		users, err = t.users()
		if err != nil {
			return err
		}
		all, err := pick[*Role](t, "SELECT "+roleColumns+" FROM greenroom_roles r WHERE r.workspace = ? ORDER BY r.name", workspace)
		if err != nil {
			return err
		}
		if err := t.loadPermissions(all); err != nil {
			return err
		}
		held, err := pick[struct{ RoleID, UserID int64 }](t, "SELECT role_id, user_id FROM greenroom_role_users")
		if err != nil {
			return err
		}
		holders := make(map[int64][]int64)
		for _, h := range held {
			holders[h.RoleID] = append(holders[h.RoleID], h.UserID)
		}
		roles = make(map[int64][]*Role)
		for _, r := range all {
			for _, user := range holders[r.ID] {
				roles[user] = append(roles[user], r)
			}
		}
		return nil
	})
	return users, roles, err
}

// RoleUsers gives the users who have a role, without those of its groups.
func (s *Store) RoleUsers(ctx context.Context, roleID int64) (found []RoleAssignment, err error) {
	err = s.view(ctx, func(t *tx) error {
		if _, err := t.role(roleID); err != nil {
			return err
		}
		found, err = pick[RoleAssignment](t, "SELECT id, user_id, role_id FROM greenroom_role_users WHERE role_id = ? ORDER BY id", roleID)
		return err
	})
	return found, err
}

// holderID gives the number of a user or a group.
func (t *tx) holderID(h Holder) (int64, error) {
	if h.Group == "" {
		u, err := t.user(h.User)
		if err != nil {
			return 0, err
		}
		return u.ID, nil
	}
	id, ok, err := pickOne[int64](t, "SELECT id FROM greenroom_groups WHERE name = ?", h.Group)
	if err == nil && !ok {
		err = notFound("Group with name=%s not found", h.Group)
	}
	return id, err
}

// isHiddenRole tells whether a role holds what is granted to one user or group directly; the names are MLflow's.
func isHiddenRole(name string) bool { return strings.HasPrefix(name, "__") }

func hiddenUserRole(id int64) string { return fmt.Sprintf("__user_%d__", id) }

func hiddenGroupRole(id int64) string { return fmt.Sprintf("__group_%d__", id) }

func checkRoleName(name string) error {
	if isHiddenRole(name) {
		return invalid("Role name '%s' begins with '__', which is kept for what users and groups hold directly. Choose a different name.", name)
	}
	return checkIdentityName("Role", name, maxRoleName)
}

// checkIdentityName refuses a name of a role or a group that looks like another one; its limit is in characters.
func checkIdentityName(of, name string, limit int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return invalid("%s name cannot be empty.", of)
	case strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) || !norm.NFC.IsNormalString(name):
		return invalid("%s name %s is not one: write it without control characters and blanks around it, in Unicode normalization form C.", of, Quote(name))
	}
	return checkLength("name", name, limit)
}
