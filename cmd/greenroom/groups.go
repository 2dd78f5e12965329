package main

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// groupObject is what tables show of the REST API's group.
type groupObject struct {
	Name    string   `json:"name"`
	Members []string `json:"members"`
	Roles   []role   `json:"roles"`
	Created millis   `json:"created_at"`
}

func newGroupCommand() *cobra.Command {
	g := &groupAdmin{}
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Make groups of users, for permissions that they share",
		Long:  "Makes groups of users. A group of the same name in a user's JWT counts as well." + adminHelp,
	}
	g.define(cmd)
	cmd.AddCommand(g.create(), g.list(), g.show(), g.remove(), g.add(), g.removeUser())
	return cmd
}

// groupAdmin holds the commands about groups.
type groupAdmin struct{ admin }

const groupsPath = ownPath + "groups/"

func (g *groupAdmin) create() *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Make a group",
		Args:  cobra.ExactArgs(1),
		RunE: g.with(func(cmd *cobra.Command, c *client, args []string) error {
			body := map[string]any{"name": args[0]}
			if err := c.send(cmd.Context(), http.MethodPost, groupsPath+"create", body, &struct{}{}); err != nil {
				return err
			}
			return g.report(cmd, body, "group "+args[0]+" is made")
		}),
	}
}

func (g *groupAdmin) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the groups",
		Args:  cobra.NoArgs,
		RunE: g.with(func(cmd *cobra.Command, c *client, _ []string) error {
			var answer struct {
				Groups []each[groupObject] `json:"groups"`
			}
			if err := c.get(cmd.Context(), groupsPath+"list", nil, &answer); err != nil {
				return err
			}
			rows := make([][]string, len(answer.Groups))
			for i, group := range answer.Groups {
				v := group.value
				rows[i] = []string{v.Name, strconv.Itoa(len(v.Members)), strings.Join(visible(v.Roles), ", "), v.Created.String()}
			}
			return g.table(cmd, nonNil(answer.Groups), []string{"NAME", "MEMBERS", "ROLES", "CREATED"}, rows)
		}),
	}
}

func (g *groupAdmin) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a group with its members and permissions",
		Args:  cobra.ExactArgs(1),
		RunE: g.with(func(cmd *cobra.Command, c *client, args []string) error {
			var answer struct {
				Group each[groupObject] `json:"group"`
			}
			if err := c.get(cmd.Context(), groupsPath+"get", url.Values{"name": {args[0]}}, &answer); err != nil {
				return err
			}
			if g.asJSON {
				return printJSON(cmd.OutOrStdout(), answer.Group)
			}
			v := answer.Group.value
			if err := printFields(cmd.OutOrStdout(), [][2]string{
				{"name", v.Name},
				{"members", strings.Join(v.Members, ", ")},
				{"roles", strings.Join(visible(v.Roles), ", ")},
				{"created", v.Created.String()},
			}...); err != nil {
				return err
			}
			return printPermissions(cmd.OutOrStdout(), v.Roles)
		}),
	}
}

func (g *groupAdmin) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a group with its permissions; its members stay users",
		Args:  cobra.ExactArgs(1),
		RunE: g.with(func(cmd *cobra.Command, c *client, args []string) error {
			body := map[string]any{"name": args[0]}
			if err := c.send(cmd.Context(), http.MethodDelete, groupsPath+"delete", body, &struct{}{}); err != nil {
				return err
			}
			return g.report(cmd, body, "group "+args[0]+" is gone")
		}),
	}
}

func (g *groupAdmin) add() *cobra.Command {
	return g.membership("add GROUP USER...", "add-member", "Put users into a group", "is in group")
}

func (g *groupAdmin) removeUser() *cobra.Command {
	return g.membership("remove GROUP USER...", "remove-member", "Take users out of a group", "is no longer in group")
}

func (g *groupAdmin) membership(use, path, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.MinimumNArgs(2),
		RunE: g.with(func(cmd *cobra.Command, c *client, args []string) error {
			for _, user := range args[1:] {
				body := map[string]any{"group_name": args[0], "username": user}
				if err := c.send(cmd.Context(), http.MethodPost, groupsPath+path, body, &struct{}{}); err != nil {
					return err
				}
				if err := g.report(cmd, body, "user "+user+" "+done+" "+args[0]); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}
