package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"greenroom/auth"
	"greenroom/models"
)

// userObject is what tables show of the REST API's user.
type userObject struct {
	Name        string   `json:"username"`
	Admin       bool     `json:"is_admin"`
	Disabled    bool     `json:"disabled"`
	HasPassword bool     `json:"has_password"`
	Issuer      string   `json:"issuer"`
	Created     millis   `json:"created_at"`
	Groups      []string `json:"groups"`
	Roles       []role   `json:"roles"`
}

func newUserCommand() *cobra.Command {
	u := &userAdmin{}
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Make, change and remove users",
		Long:  "Makes, changes and removes users. The first user is an administrator; from then on everyone has to log in." + adminHelp,
	}
	u.define(cmd)
	cmd.AddCommand(u.create(), u.list(), u.show(), u.remove(),
		u.setDisabled("disable", true, "Keep a user out, whatever the user logs in with"), u.setDisabled("enable", false, "Let a disabled user in again"),
		u.setPassword(), u.setAdmin(), u.importUsers())
	return cmd
}

// userAdmin holds the commands about users.
type userAdmin struct{ admin }

func (u *userAdmin) create() *cobra.Command {
	var isAdmin, fromStdin, noPassword bool
	var issuer string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a user; the password is asked for",
		Example: "  greenroom user create ann --admin\n" +
			"  greenroom user create ci --no-password   # logs in with tokens only: greenroom token create --user ci",
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = u.with(func(cmd *cobra.Command, c *client, args []string) error {
		if fromStdin && (noPassword || issuer != "") {
			return usageError{errors.New("--password-stdin goes neither with --no-password nor with --issuer, whose users bring JWTs")}
		}
		body := map[string]any{"username": args[0], "is_admin": isAdmin, "issuer": issuer}
		if !noPassword && issuer == "" {
			password, err := askPassword(cmd, fromStdin, args[0])
			if err != nil {
				return err
			}
			body["password"] = password
		}
		var answer struct {
			User each[userObject] `json:"user"`
		}
		if err := c.send(cmd.Context(), http.MethodPost, ownPath+"users/create", body, &answer); err != nil {
			return err
		}
		done := "user " + args[0] + " is made"
		if answer.User.value.Admin {
			done += ", an administrator"
		}
		if answer.User.value.Admin && !isAdmin {
			fmt.Fprintln(cmd.ErrOrStderr(), "note: the first user is an administrator; from now on everyone has to log in")
		}
		return u.report(cmd, answer.User, done)
	})
	cmd.Flags().BoolVar(&isAdmin, "admin", false, "may do everything, also with users")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "no log-in by password: the user has tokens only")
	cmd.Flags().StringVar(&issuer, "issuer", "", "the user of this name whose JWTs come from this issuer, made ahead of the first one")
	return cmd
}

func (u *userAdmin) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Args:  cobra.NoArgs,
		RunE: u.with(func(cmd *cobra.Command, c *client, _ []string) error {
			var answer struct {
				Users []each[userObject] `json:"users"`
			}
			if err := c.get(cmd.Context(), ownPath+"users/list", nil, &answer); err != nil {
				return err
			}
			rows := make([][]string, len(answer.Users))
			for i, user := range answer.Users {
				v := user.value
				rows[i] = []string{v.Name, v.state(), strings.Join(v.Groups, ", "), strings.Join(visible(v.Roles), ", "), v.logsInWith(), v.Created.String()}
			}
			return u.table(cmd, nonNil(answer.Users), []string{"NAME", "IS", "GROUPS", "ROLES", "LOGS IN WITH", "CREATED"}, rows)
		}),
	}
}

func (v userObject) state() string {
	var is []string
	if v.Admin {
		is = append(is, "administrator")
	}
	if v.Disabled {
		is = append(is, "disabled")
	}
	return strings.Join(is, ", ")
}

func (v userObject) logsInWith() string {
	switch {
	case v.Issuer != "":
		return "JWTs of " + v.Issuer
	case v.HasPassword:
		return "password, tokens"
	}
	return "tokens"
}

func (u *userAdmin) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a user with roles and permissions",
		Args:  cobra.ExactArgs(1),
		RunE: u.with(func(cmd *cobra.Command, c *client, args []string) error {
			var answer struct {
				User each[userObject] `json:"user"`
			}
			if err := c.get(cmd.Context(), ownPath+"users/get", url.Values{"username": {args[0]}}, &answer); err != nil {
				return err
			}
			if u.asJSON {
				return printJSON(cmd.OutOrStdout(), answer.User)
			}
			var held struct {
				Permissions []struct {
					Role string `json:"role_name"`
					rolePermission
				} `json:"permissions"`
			}
			if err := c.get(cmd.Context(), "/api/3.0/mlflow/users/permissions/list", url.Values{"username": {args[0]}}, &held); err != nil {
				return err
			}
			roles := make([]role, len(held.Permissions))
			for i, p := range held.Permissions {
				roles[i] = role{Name: p.Role, Permissions: []rolePermission{p.rolePermission}}
			}
			v := answer.User.value
			if err := printFields(cmd.OutOrStdout(), [][2]string{
				{"name", v.Name},
				{"is", v.state()},
				{"logs in with", v.logsInWith()},
				{"groups", strings.Join(v.Groups, ", ")},
				{"roles", strings.Join(visible(v.Roles), ", ")},
				{"created", v.Created.String()},
			}...); err != nil {
				return err
			}
			return printPermissions(cmd.OutOrStdout(), roles)
		}),
	}
}

func (u *userAdmin) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a user with all tokens and permissions; what the user made stays",
		Args:  cobra.ExactArgs(1),
		RunE: u.with(func(cmd *cobra.Command, c *client, args []string) error {
			body := map[string]any{"username": args[0]}
			if err := c.send(cmd.Context(), http.MethodDelete, "users/delete", body, &struct{}{}); err != nil {
				return err
			}
			return u.report(cmd, body, "user "+args[0]+" is gone")
		}),
	}
}

func (u *userAdmin) setDisabled(verb string, disabled bool, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: u.with(func(cmd *cobra.Command, c *client, args []string) error {
			body := map[string]any{"username": args[0], "disabled": disabled}
			if err := c.send(cmd.Context(), http.MethodPatch, ownPath+"users/update-disabled", body, &struct{}{}); err != nil {
				return err
			}
			return u.report(cmd, body, "user "+args[0]+" is "+verb+"d")
		}),
	}
}

func (u *userAdmin) setPassword() *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "set-password NAME",
		Short: "Give a user another password; tokens stay valid",
		Args:  cobra.ExactArgs(1),
	}
	cmd.RunE = u.with(func(cmd *cobra.Command, c *client, args []string) error {
		password, err := askPassword(cmd, fromStdin, args[0])
		if err != nil {
			return err
		}
		body := map[string]any{"username": args[0], "password": password}
		if c.user == args[0] {
			body["current_password"] = c.password // of who changes their own
		}
		if err := c.send(cmd.Context(), http.MethodPatch, "users/update-password", body, &struct{}{}); err != nil {
			return err
		}
		return u.report(cmd, map[string]any{"username": args[0]}, "user "+args[0]+" has a new password")
	})
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (u *userAdmin) setAdmin() *cobra.Command {
	var revoke bool
	cmd := &cobra.Command{
		Use:   "set-admin NAME",
		Short: "Make a user an administrator, who may do everything",
		Args:  cobra.ExactArgs(1),
	}
	cmd.RunE = u.with(func(cmd *cobra.Command, c *client, args []string) error {
		body := map[string]any{"username": args[0], "is_admin": !revoke}
		if err := c.send(cmd.Context(), http.MethodPatch, "users/update-admin", body, &struct{}{}); err != nil {
			return err
		}
		done := "user " + args[0] + " is an administrator"
		if revoke {
			done = "user " + args[0] + " is no administrator any more"
		}
		return u.report(cmd, body, done)
	})
	cmd.Flags().BoolVar(&revoke, "revoke", false, "make an administrator an ordinary user")
	return cmd
}

func (u *userAdmin) importUsers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import URI",
		Short: "Take users, roles and permissions from a database of MLflow's basic-auth app",
		Long: "Takes users with their password hashes, roles and permissions from a database of MLflow's basic-auth app: a file such as basic_auth.db,\n" +
			"or a database URI. Users whose names are taken here stay as they are. It works on the database itself; a second import changes nothing.",
		Example: "  greenroom user import basic_auth.db --backend-store-uri sqlite:///greenroom.db",
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		database, err := u.chosenDatabase()
		if err != nil {
			return err
		}
		if database == "" {
			return usageError{errors.New("into which database? Give --backend-store-uri")}
		}
		store, err := openAsOperator(cmd.Context(), database)
		if err != nil {
			return err
		}
		defer store.Close() // everything acknowledged is committed
		ctx := auth.With(cmd.Context(), theOperator())
		ctx = models.WithAudit(ctx, &models.Audit{Action: "user import", Object: redacted(args[0])})
		done, err := store.ImportBasicAuth(ctx, args[0], func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), "note:", printable(line)) })
		if err != nil {
			return err
		}
		return u.report(cmd, map[string]int{
			"users": done.Users, "roles": done.Roles, "assignments": done.Assignments, "grants": done.Grants, "left": done.Left, "skipped": done.Skipped,
		}, fmt.Sprintf("%d users, %d roles, %d role assignments and %d grants are imported; %d users were here already",
			done.Users, done.Roles, done.Assignments, done.Grants, done.Left))
	}
	return cmd
}

// visible are the names of roles, without those that hold what is granted to one user or group directly.
func visible(roles []role) (names []string) {
	for _, r := range roles {
		if !r.hidden() {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}
