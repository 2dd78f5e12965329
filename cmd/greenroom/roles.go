package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// role is what tables show of the REST API's role.
type role struct {
	ID          int64            `json:"id"`
	Name        string           `json:"name"`
	Description string           `json:"description"`
	Permissions []rolePermission `json:"permissions"`
}

type rolePermission struct {
	ID      int64  `json:"id"`
	Kind    string `json:"resource_type"`
	Pattern string `json:"resource_pattern"`
	Level   string `json:"permission"`
}

// hidden tells whether the role holds what is granted to one user or group directly.
func (r role) hidden() bool { return strings.HasPrefix(r.Name, "__") }

func newRoleCommand() *cobra.Command {
	r := &roleAdmin{}
	cmd := &cobra.Command{
		Use:   "role",
		Short: "Make roles, which hold permissions, and give them to users and groups",
		Long: "Makes roles, which hold permissions, and gives them to users and groups. viewer, editor and manager exist from the start.\n" +
			"greenroom auth grant gives a permission without a role." + adminHelp,
	}
	r.define(cmd)
	cmd.AddCommand(r.create(), r.list(), r.show(), r.remove(), r.assign(), r.unassign(), r.grant(), r.revoke())
	return cmd
}

// roleAdmin holds the commands about roles.
type roleAdmin struct{ admin }

const rolesPath = "/api/3.0/mlflow/roles/"

func (r *roleAdmin) create() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a role without permissions",
		Example: "  greenroom role create deployer && greenroom role grant deployer EDIT --model 'churn*'",
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = r.with(func(cmd *cobra.Command, c *client, args []string) error {
		body := map[string]any{"name": args[0], "workspace": "default"}
		if description != "" {
			body["description"] = description
		}
		var answer struct {
			Role each[role] `json:"role"`
		}
		if err := c.send(cmd.Context(), http.MethodPost, rolesPath+"create", body, &answer); err != nil {
			return err
		}
		return r.report(cmd, answer.Role, "role "+args[0]+" is made; it holds nothing yet: greenroom role grant "+args[0]+" ...")
	})
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	return cmd
}

func (r *roleAdmin) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the roles",
		Args:  cobra.NoArgs,
		RunE: r.with(func(cmd *cobra.Command, c *client, _ []string) error {
			roles, err := listRoles(cmd.Context(), c)
			if err != nil {
				return err
			}
			rows := make([][]string, len(roles))
			for i, role := range roles {
				v := role.value
				held := make([]string, len(v.Permissions))
				for i, p := range v.Permissions {
					held[i] = p.Level + " on " + p.object()
				}
				rows[i] = []string{v.Name, strings.Join(held, ", "), v.Description}
			}
			return r.table(cmd, nonNil(roles), []string{"NAME", "PERMISSIONS", "DESCRIPTION"}, rows)
		}),
	}
}

// listRoles gives the roles but the hidden ones.
func listRoles(ctx context.Context, c *client) (roles []each[role], err error) {
	var answer struct {
		Roles []each[role] `json:"roles"`
	}
	err = c.get(ctx, rolesPath+"list", nil, &answer)
	for _, r := range answer.Roles {
		if !r.value.hidden() {
			roles = append(roles, r)
		}
	}
	return roles, err
}

// findRole gives the role of a name.
func findRole(ctx context.Context, c *client, name string) (found each[role], err error) {
	roles, err := listRoles(ctx, c)
	if err != nil {
		return found, err
	}
	for _, r := range roles {
		if r.value.Name == name {
			return r, nil
		}
	}
	return found, &notFoundError{"there is no role " + name + "; greenroom role list shows all"}
}

func (r *roleAdmin) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a role with its permissions",
		Args:  cobra.ExactArgs(1),
		RunE: r.with(func(cmd *cobra.Command, c *client, args []string) error {
			found, err := findRole(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), found)
			}
			if err := printFields(cmd.OutOrStdout(), [2]string{"name", found.value.Name}, [2]string{"description", found.value.Description}); err != nil {
				return err
			}
			return printPermissions(cmd.OutOrStdout(), []role{found.value})
		}),
	}
}

// printPermissions prints what roles hold.
func printPermissions(w io.Writer, roles []role) error {
	var rows [][]string
	for _, r := range roles {
		via := "role " + r.Name
		switch {
		case strings.HasPrefix(r.Name, "__group_"):
			via = "group"
		case r.hidden():
			via = "directly"
		}
		for _, p := range r.Permissions {
			rows = append(rows, []string{p.Level, p.object(), via})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "\nno permissions")
		return err
	}
	fmt.Fprintln(w)
	return printTable(w, []string{"MAY", "ON", "HELD"}, rows)
}

// object names what a permission is about as the flags do.
func (p rolePermission) object() string {
	switch p.Kind {
	case "registered_model":
		return "model " + p.Pattern
	case "workspace":
		return "the server"
	}
	return p.Kind + " " + p.Pattern
}

func (r *roleAdmin) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a role from everyone who has it, and the tokens that it narrows",
		Args:  cobra.ExactArgs(1),
		RunE: r.with(func(cmd *cobra.Command, c *client, args []string) error {
			found, err := findRole(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := c.send(cmd.Context(), http.MethodDelete, rolesPath+"delete", map[string]any{"role_id": found.value.ID}, &struct{}{}); err != nil {
				return err
			}
			return r.report(cmd, found, "role "+args[0]+" is gone")
		}),
	}
}

func (r *roleAdmin) assign() *cobra.Command {
	return r.assignment("assign", http.MethodPost, "Give a role to a user or a group", "has")
}

func (r *roleAdmin) unassign() *cobra.Command {
	return r.assignment("unassign", http.MethodDelete, "Take a role from a user or a group", "no longer has")
}

func (r *roleAdmin) assignment(verb, method, short, done string) *cobra.Command {
	var to holder
	cmd := &cobra.Command{
		Use:     verb + " ROLE",
		Short:   short,
		Example: "  greenroom role " + verb + " viewer --group interns",
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = r.with(func(cmd *cobra.Command, c *client, args []string) error {
		if err := to.check(); err != nil {
			return err
		}
		found, err := findRole(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		body := to.in(map[string]any{"role_id": found.value.ID})
		if to.group != "" {
			err = c.send(cmd.Context(), http.MethodPost, groupsPath+"roles/"+verb, body, &struct{}{})
		} else {
			err = c.send(cmd.Context(), method, rolesPath+verb, body, &struct{}{})
		}
		if err != nil {
			return err
		}
		return r.report(cmd, body, fmt.Sprintf("%s %s role %s", to, done, args[0]))
	})
	to.define(cmd)
	return cmd
}

func (r *roleAdmin) grant() *cobra.Command {
	var on object
	cmd := &cobra.Command{
		Use:   "grant ROLE LEVEL",
		Short: "Put a permission into a role: READ, USE, EDIT, MANAGE or DENY",
		Long:  "Puts a permission into a role, in place of the one that it has on the same.\n\n" + levelsHelp,
		Example: "  greenroom role grant deployer EDIT --model 'churn*'\n" +
			"  greenroom role grant deployer USE --workspace    # may create experiments and models",
		Args: cobra.ExactArgs(2),
	}
	cmd.RunE = r.with(func(cmd *cobra.Command, c *client, args []string) error {
		if err := on.check(); err != nil {
			return err
		}
		found, err := findRole(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		level := strings.ToUpper(args[1])
		method, path := http.MethodPost, "permissions/add"
		body := map[string]any{"role_id": found.value.ID, "resource_type": on.kind(), "resource_pattern": on.pattern(), "permission": level}
		if held, ok := found.value.permission(on); ok {
			method, path = http.MethodPatch, "permissions/update"
			body = map[string]any{"role_permission_id": held.ID, "permission": level}
		}
		var answer struct {
			Permission each[rolePermission] `json:"role_permission"`
		}
		if err := c.send(cmd.Context(), method, rolesPath+path, body, &answer); err != nil {
			return err
		}
		noteMissing(cmd, c, on)
		return r.report(cmd, answer.Permission, fmt.Sprintf("role %s has %s on %s", args[0], level, answer.Permission.value.object()))
	})
	on.define(cmd)
	on.defineWorkspace(cmd)
	return cmd
}

func (r role) permission(on object) (rolePermission, bool) {
	for _, p := range r.Permissions {
		if p.Kind == on.kind() && p.Pattern == on.pattern() {
			return p, true
		}
	}
	return rolePermission{}, false
}

func (r *roleAdmin) revoke() *cobra.Command {
	var on object
	cmd := &cobra.Command{
		Use:   "revoke ROLE",
		Short: "Take a permission out of a role",
		Args:  cobra.ExactArgs(1),
	}
	cmd.RunE = r.with(func(cmd *cobra.Command, c *client, args []string) error {
		if err := on.check(); err != nil {
			return err
		}
		found, err := findRole(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		held, ok := found.value.permission(on)
		if !ok {
			return &notFoundError{fmt.Sprintf("role %s has no permission on %s; greenroom role show %[1]s lists all", args[0], rolePermission{Kind: on.kind(), Pattern: on.pattern()}.object())}
		}
		if err := c.send(cmd.Context(), http.MethodDelete, rolesPath+"permissions/remove", map[string]any{"role_permission_id": held.ID}, &struct{}{}); err != nil {
			return err
		}
		return r.report(cmd, held, fmt.Sprintf("role %s no longer has %s on %s", args[0], held.Level, held.object()))
	})
	on.define(cmd)
	on.defineWorkspace(cmd)
	return cmd
}

// holder is the user or the group that --user or --group names.
type holder struct{ user, group string }

func (h *holder) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.user, "user", "", "the user")
	cmd.Flags().StringVar(&h.group, "group", "", "the group")
}

func (h *holder) check() error {
	if (h.user == "") == (h.group == "") {
		return usageError{errors.New("for whom? Give --user NAME or --group NAME")}
	}
	return nil
}

// in adds the holder to a request.
func (h *holder) in(body map[string]any) map[string]any {
	if h.group != "" {
		body["group_name"] = h.group
	} else {
		body["username"] = h.user
	}
	return body
}

// path is where requests about holders of this kind go.
func (h *holder) path() string {
	if h.group != "" {
		return groupsPath
	}
	return ownPath + "users/"
}

func (h holder) String() string {
	if h.group != "" {
		return "group " + h.group
	}
	return "user " + h.user
}

// object is what --experiment, --model or --workspace names.
type object struct {
	experiment, model string
	workspace         bool
}

const levelsHelp = "READ sees it; EDIT also changes it, such as moving a version to another stage; MANAGE also deletes it and grants it to others;\n" +
	"DENY forbids it whatever else is granted. USE is READ, and on the workspace the right to create experiments and models.\n" +
	"An experiment's permission also counts for its runs, artifacts and logged models, a model's for its versions, stages and aliases."

func (o *object) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.experiment, "experiment", "", "an experiment's id, its name, or a pattern of names in which * stands for any text")
	cmd.Flags().StringVar(&o.model, "model", "", "a registered model's name, or a pattern of names")
}

func (o *object) defineWorkspace(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.workspace, "workspace", false, "the server as a whole; USE on it lets create experiments and models")
}

func (o *object) check() error {
	n := 0
	for _, given := range []bool{o.experiment != "", o.model != "", o.workspace} {
		if given {
			n++
		}
	}
	if n != 1 {
		return usageError{errors.New("on what? Give --experiment, --model or, where there is one, --workspace; one of them")}
	}
	return nil
}

func (o *object) kind() string {
	switch {
	case o.workspace:
		return "workspace"
	case o.model != "":
		return "registered_model"
	}
	return "experiment"
}

func (o *object) pattern() string {
	switch {
	case o.workspace:
		return "*"
	case o.model != "":
		return o.model
	}
	return o.experiment
}

func (o object) String() string {
	return rolePermission{Kind: o.kind(), Pattern: o.pattern()}.object()
}
