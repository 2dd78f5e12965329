package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"greenroom/auth"
)

func newAuthCommand() *cobra.Command {
	a := &authAdmin{}
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Grant permissions, and tell who may do what and why",
		Long:  "Grants permissions, and tells who may do what and why." + adminHelp,
	}
	a.define(cmd)
	cmd.AddCommand(a.grant(), a.revoke(), a.explain(), a.whoami(), a.setup(), a.audit())
	return cmd
}

// authAdmin holds the commands about permissions.
type authAdmin struct{ admin }

// ownPath is where Greenroom answers what MLflow has no route for.
const ownPath = "/api/3.0/greenroom/"

func (a *authAdmin) grant() *cobra.Command {
	var to holder
	var on object
	cmd := &cobra.Command{
		Use:   "grant LEVEL",
		Short: "Give a user or a group a permission: READ, USE, EDIT, MANAGE or DENY",
		Long:  "Gives a user or a group a permission, in place of the one that was granted there before.\n\n" + levelsHelp,
		Example: "  greenroom auth grant EDIT --user ci --model churn\n" +
			"  greenroom auth grant READ --group interns --experiment '*'",
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = a.with(func(cmd *cobra.Command, c *client, args []string) error {
		if err := errors.Join(to.check(), on.check()); err != nil {
			return err
		}
		level := strings.ToUpper(args[0])
		body := to.in(map[string]any{"resource_type": on.kind(), "resource_id": on.pattern(), "permission": level})
		if err := c.send(cmd.Context(), http.MethodPost, to.path()+"permissions/grant", body, &struct{}{}); err != nil {
			return err
		}
		noteMissing(cmd, c, on)
		return a.report(cmd, body, fmt.Sprintf("%s has %s on %s", to, level, on))
	})
	to.define(cmd)
	on.define(cmd)
	return cmd
}

// noteMissing tells of a name that nothing has, as it may be mistyped.
func noteMissing(cmd *cobra.Command, c *client, on object) {
	path, query := "registered-models/get", url.Values{"name": {on.model}}
	switch {
	case on.workspace || strings.Contains(on.pattern(), "*"):
		return
	case on.model == "" && isNumber(on.experiment):
		path, query = "experiments/get", url.Values{"experiment_id": {on.experiment}}
	case on.model == "":
		path, query = "experiments/get-by-name", url.Values{"experiment_name": {on.experiment}}
	}
	if err := c.get(cmd.Context(), path, query, &struct{}{}); exitCode(err) == exitNotFound {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: there is no %s yet\n", printable(on.String()))
	}
}

// isNumber tells an experiment's id from a name.
func isNumber(text string) bool { return strings.Trim(text, "0123456789") == "" }

func (a *authAdmin) revoke() *cobra.Command {
	var from holder
	var on object
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Take back what was granted to a user or a group on this id, name or pattern",
		Args:  cobra.NoArgs,
	}
	cmd.RunE = a.with(func(cmd *cobra.Command, c *client, _ []string) error {
		if err := errors.Join(from.check(), on.check()); err != nil {
			return err
		}
		body := from.in(map[string]any{"resource_type": on.kind(), "resource_id": on.pattern()})
		if err := c.send(cmd.Context(), http.MethodPost, from.path()+"permissions/revoke", body, &struct{}{}); err != nil {
			return err
		}
		return a.report(cmd, body, fmt.Sprintf("%s no longer holds a permission on %s directly", from, on))
	})
	from.define(cmd)
	on.define(cmd)
	return cmd
}

func (a *authAdmin) explain() *cobra.Command {
	var user, token string
	var on object
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Tell what a user may do with an experiment or a model, and why",
		Long:  "Tells what a user may do with an experiment or a model, or without either, whether the user may create them, and why.",
		Example: "  greenroom auth explain --user ci --model churn\n" +
			"  greenroom auth explain --user ci --experiment weekly-churn --token 4fk2hslq3xzt",
		Args: cobra.NoArgs,
	}
	cmd.RunE = a.with(func(cmd *cobra.Command, c *client, _ []string) error {
		if on.experiment != "" && on.model != "" {
			return usageError{errors.New("give --experiment or --model, not both")}
		}
		query := url.Values{}
		setIf(query, "username", user)
		setIf(query, "token", token)
		setIf(query, "model", on.model)
		if isNumber(on.experiment) {
			setIf(query, "experiment_id", on.experiment)
		} else {
			query.Set("experiment_name", on.experiment)
		}
		var answer each[struct {
			Lines []string `json:"lines"`
		}]
		if err := c.get(cmd.Context(), ownPath+"auth/explain", query, &answer); err != nil {
			return err
		}
		if a.asJSON {
			return printJSON(cmd.OutOrStdout(), answer)
		}
		for _, line := range answer.value.Lines {
			fmt.Fprintln(cmd.OutOrStdout(), printable(line))
		}
		return nil
	})
	cmd.Flags().StringVar(&user, "user", "", "the user (default: you)")
	cmd.Flags().StringVar(&token, "token", "", "id of an API token of the user's, which may be narrowed by a role")
	on.define(cmd)
	return cmd
}

func (a *authAdmin) whoami() *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Tell who you are to the server",
		Args:  cobra.NoArgs,
		RunE: a.with(func(cmd *cobra.Command, c *client, _ []string) error {
			var answer each[struct {
				Name       string   `json:"username"`
				Admin      bool     `json:"is_admin"`
				Groups     []string `json:"groups"`
				Credential string   `json:"credential"`
				Expires    millis   `json:"expires_at"`
				Role       string   `json:"role"`
			}]
			if err := c.get(cmd.Context(), ownPath+"auth/whoami", nil, &answer); err != nil {
				return err
			}
			if a.asJSON {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			v := answer.value
			if v.Name == "" {
				v.Name = "everyone: nobody has to log in"
			}
			return printFields(cmd.OutOrStdout(), [][2]string{
				{"user", v.Name},
				{"is", userObject{Admin: v.Admin}.state()},
				{"groups", strings.Join(v.Groups, ", ")},
				{"logged in with", v.Credential},
				{"narrowed by role", v.Role},
				{"until", v.Expires.String()},
			}...)
		}),
	}
}

func (a *authAdmin) setup() *cobra.Command {
	var token, user string
	var fromStdin, noPassword bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make the first administrator with the set-up token that the server printed",
		Long: "Makes the first administrator with the set-up token that the server printed when it started. The password is asked for; with\n" +
			"--no-password the administrator gets an API token instead, which is printed.",
		Example: "  greenroom auth setup --tracking-uri http://mlflow.company.com:5000 --setup-token greenroom_setup_... --user ann",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = a.with(func(cmd *cobra.Command, c *client, _ []string) error {
		body := map[string]any{"username": user}
		if !noPassword {
			password, err := askPassword(cmd, fromStdin, user)
			if err != nil {
				return err
			}
			body["password"] = password
		}
		if token != "" {
			c.user, c.password, c.token = "", "", token
		}
		var answer struct {
			User  each[userObject] `json:"user"`
			Token string           `json:"token,omitempty"`
		}
		if err := c.send(cmd.Context(), http.MethodPost, ownPath+"setup", body, &answer); err != nil {
			return err
		}
		if answer.Token != "" && !a.asJSON {
			fmt.Fprintf(cmd.ErrOrStderr(), "User %s is made, an administrator. This token is shown only here; keep it as a secret, and use it as MLFLOW_TRACKING_TOKEN.\n", printable(user))
			_, err := fmt.Fprintln(cmd.OutOrStdout(), printable(answer.Token))
			return err
		}
		return a.report(cmd, answer, "user "+user+" is made, an administrator")
	})
	cmd.Flags().StringVar(&token, "setup-token", "", "the set-up token (default: MLFLOW_TRACKING_TOKEN)")
	cmd.Flags().StringVar(&user, "user", "", "name of the administrator")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "make an API token of 30 days instead of a password")
	required(cmd, "user")
	return cmd
}

func (a *authAdmin) audit() *cobra.Command {
	var user, action, object, since string
	var refused bool
	var limit int
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "List who changed what and who was refused what, the newest first",
		Example: "  greenroom auth audit --user ci --max 20\n  greenroom auth audit --refused --since 24h",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = a.with(func(cmd *cobra.Command, c *client, _ []string) error {
		query := url.Values{}
		setIf(query, "user", user)
		setIf(query, "action", action)
		setIf(query, "object", object)
		if refused {
			query.Set("outcome", "refused")
		}
		if since != "" {
			ago, err := auth.ParseLifetime(since)
			if err != nil {
				return usageError{fmt.Errorf("--since: %w", err)}
			}
			query.Set("since", strconv.FormatInt(time.Now().Add(-ago).UnixMilli(), 10))
		}
		entries, more, err := pages(limit, func(token string, n int) ([]each[auditEntry], string, error) {
			var page struct {
				Entries []each[auditEntry] `json:"entries"`
				Next    string             `json:"next_page_token"`
			}
			query.Set("max_results", strconv.Itoa(min(n, 1000)))
			setIf(query, "page_token", token)
			err := c.get(cmd.Context(), ownPath+"audit/search", query, &page)
			return page.Entries, page.Next, err
		})
		if err != nil {
			return err
		}
		noteMore(cmd.ErrOrStderr(), more)
		rows := make([][]string, len(entries))
		for i, e := range entries {
			v := e.value
			rows[i] = []string{v.At.String(), v.User, v.Credential, v.Outcome, v.Action, v.Object, cut(string(v.Detail), 100)}
		}
		return a.table(cmd, nonNil(entries), []string{"TIME", "USER", "LOGGED IN WITH", "OUTCOME", "ACTION", "OBJECT", "DETAIL"}, rows)
	})
	cmd.Flags().StringVar(&user, "user", "", "only what this user did")
	cmd.Flags().StringVar(&action, "action", "", "only this, such as model-versions/transition-stage; * stands for any text")
	cmd.Flags().StringVar(&object, "object", "", "only on this, such as \"registered model 'churn'*\"")
	cmd.Flags().BoolVar(&refused, "refused", false, "only what was refused")
	cmd.Flags().StringVar(&since, "since", "", "only the last while, such as 24h or 30d")
	defineMax(cmd, &limit, 100)
	return cmd
}

// auditEntry is what a table shows of an entry of the audit log.
type auditEntry struct {
	At         millis          `json:"at"`
	User       string          `json:"user_name"`
	Credential string          `json:"credential"`
	Action     string          `json:"action"`
	Object     string          `json:"object"`
	Outcome    string          `json:"outcome"`
	Detail     json.RawMessage `json:"detail"`
}
