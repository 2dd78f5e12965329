package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"greenroom/auth"
	"greenroom/models/schema"
)

// Imported counts what an import has made.
type Imported struct {
	// Grants are those to users directly; those of Roles come with them.
	Users, Roles, Assignments, Grants int
	// Left are users of the imported database whose names were taken here: they stay as they are here, with their rights.
	Left int
	// Skipped are permissions that mean nothing here.
	Skipped int
}

// ImportBasicAuth takes users with their password hashes, roles and permissions from a database of MLflow's basic-auth app,
// of any release from 2.5 to 3.17: a file (basic_auth.db), or a URI as of a backend store. All of it is made or nothing. log
// is told of everything that does not come along, and what to do about it. A second import changes nothing.
func (s *Store) ImportBasicAuth(ctx context.Context, uri string, log func(string)) (done Imported, err error) {
	source, err := readBasicAuth(ctx, uri)
	if err != nil {
		return done, fmt.Errorf("read the users of MLflow: %w", err)
	}
	var told []string
	err = s.update(ctx, func(t *tx) error {
		i := importer{tx: t, source: source}
		err := i.run()
		done, told = i.done, i.told
		t.about("users of MLflow's basic-auth app")
		t.note("users", done.Users)
		t.note("roles", done.Roles)
		t.note("assignments", done.Assignments)
		t.note("grants", done.Grants)
		return err
	})
	if err != nil {
		return Imported{}, err
	}
	for _, line := range told {
		log(line)
	}
	return done, nil
}

// basicAuth is what a database of MLflow's basic-auth app holds.
type basicAuth struct {
	users       []basicAuthUser
	roles       []basicAuthRole
	permissions []basicAuthPermission
	assignments []struct{ user, role int64 }
}

type basicAuthUser struct {
	id    int64
	name  string
	hash  string
	admin bool
}

type basicAuthRole struct {
	id              int64
	name, workspace string
	description     *string
}

// basicAuthPermission is a permission of a role, or of a user in the tables of MLflow up to 3.6.
type basicAuthPermission struct {
	user, role           int64 // one of them
	kind, pattern, level string
}

// rolesAreMovedIn is the revision of MLflow's auth database before the one that moved the old permissions into roles.
const rolesAreMovedIn = "c3d4e5f6a7b8"

func readBasicAuth(ctx context.Context, uri string) (*basicAuth, error) {
	db, tables, err := openBasicAuth(ctx, uri)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	source := &basicAuth{}
	read := func(query string, row func(*sql.Rows) error) {
		if err == nil {
			err = eachRow(ctx, db, query, row)
		}
	}
	read("SELECT id, username, coalesce(password_hash, ''), coalesce(is_admin, FALSE) FROM users ORDER BY id", func(rows *sql.Rows) error {
		var u basicAuthUser
		err := rows.Scan(&u.id, &u.name, &u.hash, &u.admin)
		source.users = append(source.users, u)
		return err
	})
	permission := func(rows *sql.Rows) error {
		var p basicAuthPermission
		err := rows.Scan(&p.user, &p.role, &p.kind, &p.pattern, &p.level)
		source.permissions = append(source.permissions, p)
		return err
	}
	withRoles, revision := slices.Contains(tables, "role_permissions"), ""
	if slices.Contains(tables, "alembic_version_auth") {
		read("SELECT version_num FROM alembic_version_auth", func(rows *sql.Rows) error { return rows.Scan(&revision) })
	}
	if !withRoles || revision == rolesAreMovedIn { // otherwise the old tables are only kept to go back
		for _, old := range [][2]string{
			{"experiment", "experiment_id"},
			{"registered_model", "name"},
			{"workspace", "'*'"},
			{"scorer", "scorer_name"},
			{"gateway_secret", "secret_id"},
			{"gateway_endpoint", "endpoint_id"},
			{"gateway_model_definition", "model_definition_id"},
		} {
			kind, pattern := old[0], old[1]
			table := kind + "_permissions"
			if !slices.Contains(tables, table) {
				continue
			}
			where := "" // tables without workspaces are about the default one
			if kind == "workspace" || kind == "registered_model" && slices.Contains(tables, "workspace_permissions") {
				where = " WHERE workspace = '" + workspace + "'"
			}
			read("SELECT user_id, 0, '"+kind+"', "+pattern+", coalesce(permission, '') FROM "+table+where+" ORDER BY user_id, "+pattern, permission)
		}
	}
	if withRoles {
		read("SELECT id, name, workspace, description FROM roles ORDER BY id", func(rows *sql.Rows) error {
			var r basicAuthRole
			err := rows.Scan(&r.id, &r.name, &r.workspace, &r.description)
			source.roles = append(source.roles, r)
			return err
		})
		read("SELECT 0, role_id, resource_type, resource_pattern, permission FROM role_permissions ORDER BY id", permission)
		read("SELECT user_id, role_id FROM user_role_assignments ORDER BY id", func(rows *sql.Rows) error {
			var a struct{ user, role int64 }
			err := rows.Scan(&a.user, &a.role)
			source.assignments = append(source.assignments, a)
			return err
		})
	}
	return source, err
}

func eachRow(ctx context.Context, db *sql.DB, query string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// openBasicAuth opens a database to be read only, and gives the names of its tables.
func openBasicAuth(ctx context.Context, uri string) (db *sql.DB, tables []string, err error) {
	if !strings.Contains(uri, "://") {
		uri = "sqlite:///" + uri
	}
	target, err := ParseURI(uri)
	if err != nil {
		return nil, nil, err
	}
	driver, dsn, query := "pgx", target.DSN, "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
	if target.Dialect == schema.SQLite {
		if _, err := os.Stat(target.Path); err != nil {
			return nil, nil, err
		}
		driver, query = "sqlite", "SELECT name FROM sqlite_master WHERE type = 'table'"
		dsn = "file:" + (&url.URL{Path: target.Path}).EscapedPath() + "?mode=ro&_pragma=busy_timeout(20000)"
	}
	if db, err = sql.Open(driver, dsn); err != nil {
		return nil, nil, err
	}
	err = eachRow(ctx, db, query, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		tables = append(tables, name)
		return err
	})
	if err == nil && (!slices.Contains(tables, "users") || !slices.Contains(tables, "experiment_permissions")) {
		err = fmt.Errorf("%s is not a database of MLflow's basic-auth app: it has no tables users and experiment_permissions; its path is the database_uri of basic_auth.ini", target)
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, tables, nil
}

// importer is one attempt at an import.
type importer struct {
	*tx
	source *basicAuth
	done   Imported
	told   []string
}

func (i *importer) tell(format string, args ...any) {
	i.told = append(i.told, fmt.Sprintf(format, args...))
}

func (i *importer) run() error {
	users, err := i.makeUsers()
	if err != nil {
		return err
	}
	roles, holders, err := i.makeRoles()
	if err != nil {
		return err
	}
	if err := i.assignRoles(users, roles); err != nil {
		return err
	}
	for _, p := range i.source.permissions {
		holder := p.user
		if p.role != 0 {
			var direct bool
			if holder, direct = holders[p.role]; !direct {
				continue // done with its role
			}
		}
		name, ok := users[holder]
		if !ok {
			continue // a user who stays as here
		}
		role, err := i.hiddenRole(Holder{User: name})
		if err != nil {
			return err
		}
		for _, g := range i.grants(p, "user '"+name+"'", true) {
			i.done.Grants++
			if err := i.grantTo(role, g, func(bool) error { return nil }); err != nil {
				return err
			}
		}
	}
	if i.done.Users+i.done.Roles+i.done.Grants+i.done.Assignments == 0 {
		i.changesNothing()
	}
	return nil
}

// makeUsers gives the names of the new users by their ids there.
func (i *importer) makeUsers() (made map[int64]string, err error) {
	made = map[int64]string{}
	admins := false
	for _, u := range i.source.users {
		if err := auth.CheckUserName(u.name); err != nil {
			i.tell("user %q was left out: %v; make the user anew under another name", u.name, err)
			i.done.Skipped++
			continue
		}
		id, err := i.changeIdentity()
		if err != nil {
			return nil, err
		}
		isNew, err := i.insertUser(id, NewUser{Name: u.name, PasswordHash: u.hash, Admin: u.admin}, nil)
		if err != nil {
			return nil, err
		}
		if !isNew {
			i.done.Left++
			i.tell("user '%s' exists here already and stays as it is here, with its password and rights; to import it, delete it here first", u.name)
			continue
		}
		made[u.id] = u.name
		i.done.Users++
		admins = admins || u.admin
	}
	if i.done.Users > 0 {
		i.tell("in MLflow all users may create experiments and models, and read everything unless default_permission in basic_auth.ini says otherwise: " +
			"here, give them the role editor or viewer, or start the server with --default-permission READ")
	}
	if !admins && i.done.Users > 0 {
		if admins, _, err = pickOne[bool](i.tx, "SELECT "+hasAdmin); err != nil {
			return nil, err
		}
		if !admins {
			i.tell("there is no administrator: make one")
		}
	}
	return made, nil
}

// makeRoles gives the ids here of roles by their ids there, and the user of each role that holds a user's direct permissions.
func (i *importer) makeRoles() (roles, holders map[int64]int64, err error) {
	roles, holders = map[int64]int64{}, map[int64]int64{}
	for _, r := range i.source.roles {
		if r.workspace != workspace {
			i.tell("role '%s' of workspace '%s' was left out, with its permissions: there is one workspace here, 'default'", r.name, r.workspace)
			i.done.Skipped++
			continue
		}
		if user, ok := directRoleOf(r.name); ok {
			holders[r.id] = user
			continue
		}
		var grants auth.Grants
		for _, p := range i.source.permissions {
			if p.role == r.id {
				grants = append(grants, i.grants(p, "role '"+r.name+"'", false)...)
			}
		}
		if err := checkRoleName(r.name); err != nil {
			i.tell("role %q was left out: %v", r.name, err)
			i.done.Skipped++
			continue
		}
		if roles[r.id], err = i.makeRole(r, grants); err != nil {
			return nil, nil, err
		}
	}
	return roles, holders, nil
}

// directRoleOf reads the name of the role that holds a user's direct permissions in MLflow.
func directRoleOf(name string) (user int64, ok bool) {
	_, err := fmt.Sscanf(name, "__user_%d__", &user)
	return user, err == nil && name == hiddenUserRole(user)
}

// makeRole makes a role or finds the same one. A role of the name that is another one keeps it.
func (i *importer) makeRole(r basicAuthRole, grants auth.Grants) (int64, error) {
	for _, name := range []string{r.name, r.name + " (imported)"} {
		existing, ok, err := pickOne[Role](i.tx, "SELECT "+roleColumns+" FROM greenroom_roles r WHERE r.workspace = ? AND r.name = ?", workspace, name)
		if err != nil {
			return 0, err
		}
		if !ok {
			id, err := i.changeIdentity()
			if err != nil {
				return 0, err
			}
			if _, err := i.exec("INSERT INTO greenroom_roles (id, name, workspace, description) VALUES (?, ?, ?, ?)", id, name, workspace, r.description); err != nil {
				return 0, err
			}
			if name != r.name {
				i.tell("role '%s' exists here with other permissions; the imported one is '%s'", r.name, name)
			}
			i.done.Roles++
			for _, g := range grants {
				if err := i.grantTo(id, g, func(bool) error { return nil }); err != nil {
					return 0, err
				}
			}
			return id, nil
		}
		held, err := i.permissionsOf([]int64{existing.ID})
		if err != nil {
			return 0, err
		}
		if sameGrants(grantsVia("", held[existing.ID]), grants) {
			return existing.ID, nil
		}
	}
	i.tell("role '%s' was left out: '%s' and '%s (imported)' exist here with other permissions; rename one of them and give the role to its users", r.name, r.name, r.name)
	i.done.Skipped++
	return 0, nil
}

func sameGrants(a, b auth.Grants) bool {
	within := func(a, b auth.Grants) bool {
		return !slices.ContainsFunc(a, func(g auth.Grant) bool { return !slices.Contains(b, g) })
	}
	return within(a, b) && within(b, a)
}

func (i *importer) assignRoles(users map[int64]string, roles map[int64]int64) error {
	for _, a := range i.source.assignments {
		name, role := users[a.user], roles[a.role]
		if name == "" || role == 0 {
			continue
		}
		if _, err := i.assign(Holder{User: name}, &Role{ID: role}); err != nil {
			return err
		}
		i.done.Assignments++
	}
	return nil
}

// grants is what a permission of MLflow's becomes here: none if it means nothing here, which is told. A direct one is a user's own.
func (i *importer) grants(p basicAuthPermission, of string, direct bool) auth.Grants {
	level, err := auth.ParseLevel(p.level)
	if level == auth.NoPermissions {
		level = auth.Deny // it overruled everything else
	}
	g := auth.Grant{Kind: auth.Kind(p.kind), Pattern: p.pattern, Level: level}
	if p.kind == "prompt" && p.pattern != "*" {
		g.Kind = auth.RegisteredModel // prompts are among them, and no model has a prompt's name
	}
	switch g.Kind {
	case auth.Workspace:
		if err == nil && p.pattern == "*" && level >= auth.Read {
			return i.workspaceGrants(level, of)
		}
	case auth.RegisteredModel:
		// To MLflow * is all names, and any other pattern one name.
		g.Exact = p.pattern != "*" && (direct || strings.Contains(p.pattern, "*"))
	case auth.Experiment:
		g.Exact = p.pattern != "*"
		if g.Exact && strings.Trim(p.pattern, "0123456789") != "" {
			err = errors.Join(err, fmt.Errorf("'%s' is no experiment's id", p.pattern))
		}
	}
	if err == nil {
		err = checkGrant(g)
	}
	if err == nil {
		return auth.Grants{g}
	}
	message := err.Error()
	var refusal *Error
	if errors.As(err, &refusal) {
		message = refusal.Message
	}
	i.tell("%s on %s '%s' of %s was left out: %s", p.level, p.kind, p.pattern, of, message)
	i.done.Skipped++
	return nil
}

// workspaceGrants is what a level on the whole workspace becomes. EDIT, which old releases had, was about everything in it.
func (i *importer) workspaceGrants(level auth.Level, of string) auth.Grants {
	grants := auth.Grants{{Kind: auth.Workspace, Pattern: "*", Level: auth.Use}}
	if level < auth.Edit {
		return grants
	}
	if level == auth.Manage {
		i.tell("MANAGE on the workspace of %s becomes MANAGE on all experiments and models; make those who manage users administrators", of)
	}
	return append(grants, auth.Grant{Kind: auth.Experiment, Pattern: "*", Level: level}, auth.Grant{Kind: auth.RegisteredModel, Pattern: "*", Level: level})
}
