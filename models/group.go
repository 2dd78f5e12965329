package models

import (
	"context"
)

// Group is a set of users with a name, who share permissions. A JWT's group of the same name counts as well.
type Group struct {
	ID        int64
	Name      string
	CreatedAt int64    // milliseconds since 1970
	Members   []string `gorm:"-"` // users by name, without those whose JWT names the group
	// Roles are those of the group itself by name, with the hidden one that holds what is granted to it directly.
	Roles []*Role `gorm:"-"`
}

const maxGroupName = 255 // characters

const groupColumns = "g.id, g.name, g.created_at"

// CreateGroup makes a group without members.
func (s *Store) CreateGroup(ctx context.Context, name string) (g *Group, err error) {
	if err := checkIdentityName("Group", name, maxGroupName); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		t.about("group '%s'", name)
		id, err := t.changeIdentity()
		if err != nil {
			return err
		}
		g = &Group{ID: id, Name: name, CreatedAt: t.now}
		n, err := t.exec("INSERT INTO greenroom_groups (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", id, name, t.now)
		if err == nil && n == 0 {
			return alreadyExists("Group (name=%s) already exists.", name)
		}
		return err
	})
	return g, err
}

// Group gives a group with its members and roles.
func (s *Store) Group(ctx context.Context, name string) (g *Group, err error) {
	err = s.view(ctx, func(t *tx) error {
		if g, err = t.group(name); err != nil {
			return err
		}
		return t.loadGroups([]*Group{g})
	})
	return g, err
}

// Groups gives all groups by name, with their members and roles.
func (s *Store) Groups(ctx context.Context) (groups []*Group, err error) {
	err = s.view(ctx, func(t *tx) error {
		groups, err = pick[*Group](t, "SELECT "+groupColumns+" FROM greenroom_groups g ORDER BY g.name")
		if err != nil {
			return err
		}
		return t.loadGroups(groups)
	})
	return groups, err
}

func (t *tx) group(name string) (*Group, error) {
	g, ok, err := pickOne[Group](t, "SELECT "+groupColumns+" FROM greenroom_groups g WHERE g.name = ?", name)
	if err == nil && !ok {
		err = notFound("Group with name=%s not found", name)
	}
	return &g, err
}

func (t *tx) loadGroups(groups []*Group) error {
	byID := make(map[int64]*Group, len(groups))
	ids := make([]int64, len(groups))
	for i, g := range groups {
		byID[g.ID], ids[i] = g, g.ID
	}
	return eachChunk(ids, func(ids []int64) error {
		members, err := pick[struct {
			GroupID int64
			Name    string
		}](t, "SELECT m.group_id, u.name FROM greenroom_group_members m JOIN greenroom_users u ON u.id = m.user_id WHERE m.group_id IN ? ORDER BY u.name", ids)
		if err != nil {
			return err
		}
		for _, m := range members {
			g := byID[m.GroupID]
			g.Members = append(g.Members, m.Name)
		}
		held, err := pick[struct{ GroupID, RoleID int64 }](t, `SELECT h.group_id, h.role_id FROM greenroom_role_groups h
			JOIN greenroom_roles r ON r.id = h.role_id WHERE h.group_id IN ? ORDER BY r.name`, ids)
		if err != nil {
			return err
		}
		roles, err := pick[*Role](t, "SELECT "+roleColumns+" FROM greenroom_roles r WHERE r.id IN (SELECT role_id FROM greenroom_role_groups WHERE group_id IN ?)", ids)
		if err != nil {
			return err
		}
		roleByID := make(map[int64]*Role, len(roles))
		for _, r := range roles {
			roleByID[r.ID] = r
		}
		for _, h := range held {
			g := byID[h.GroupID]
			g.Roles = append(g.Roles, roleByID[h.RoleID])
		}
		return t.loadPermissions(roles)
	})
}

// DeleteGroup removes a group with what was granted to it. JWTs that name it give nothing more.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return s.update(ctx, func(t *tx) error {
		t.about("group '%s'", name)
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		g, err := t.group(name)
		if err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM greenroom_roles WHERE workspace = ? AND name = ?", workspace, hiddenGroupRole(g.ID)); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM greenroom_groups WHERE id = ?", g.ID) // the rest goes by the database's cascades
		return err
	})
}

// AddMember puts a user into a group; one who is in it stays.
func (s *Store) AddMember(ctx context.Context, group, user string) error {
	return s.changeMember(ctx, group, user, "added", "INSERT INTO greenroom_group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING")
}

// RemoveMember takes a user out of a group; one who is not in it stays out.
func (s *Store) RemoveMember(ctx context.Context, group, user string) error {
	return s.changeMember(ctx, group, user, "removed", "DELETE FROM greenroom_group_members WHERE group_id = ? AND user_id = ?")
}

func (s *Store) changeMember(ctx context.Context, group, user, change, query string) error {
	return s.update(ctx, func(t *tx) error {
		t.about("group '%s'", group)
		t.note(change, "user '"+user+"'")
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		g, err := t.group(group)
		if err != nil {
			return err
		}
		u, err := t.user(user)
		if err != nil {
			return err
		}
		n, err := t.exec(query, g.ID, u.ID)
		if n == 0 {
			t.changesNothing()
		}
		return err
	})
}

// UserGroups gives the names of each user's groups, by the user's id.
func (s *Store) UserGroups(ctx context.Context) (groups map[int64][]string, err error) {
	err = s.view(ctx, func(t *tx) error {
		rows, err := pick[struct {
			UserID int64
			Name   string
		}](t, "SELECT m.user_id, g.name FROM greenroom_group_members m JOIN greenroom_groups g ON g.id = m.group_id ORDER BY g.name")
		groups = make(map[int64][]string)
		for _, r := range rows {
			groups[r.UserID] = append(groups[r.UserID], r.Name)
		}
		return err
	})
	return groups, err
}
