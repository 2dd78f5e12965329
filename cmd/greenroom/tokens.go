package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"greenroom/auth"
)

// tokenObject is what tables show of the REST API's API token.
type tokenObject struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	User     string `json:"username"`
	Role     string `json:"role"`
	Created  millis `json:"created_at"`
	Expires  millis `json:"expires_at"`
	Revoked  millis `json:"revoked_at"`
	LastUsed millis `json:"last_used_at"`
}

func newTokenCommand() *cobra.Command {
	t := &tokenAdmin{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make and revoke tokens, with which jobs and CI log in",
		Long: "Makes and revokes tokens. The client takes one in MLFLOW_TRACKING_TOKEN, or as the password in MLFLOW_TRACKING_PASSWORD.\n" +
			"An API token (create) lives for weeks and can be revoked; a JWT (mint) lives for minutes and needs the key file, but no server." + adminHelp,
	}
	t.define(cmd)
	cmd.AddCommand(t.create(), t.list(), t.revoke(), newTokenMintCommand())
	return cmd
}

// tokenAdmin holds the commands about API tokens.
type tokenAdmin struct{ admin }

const tokensPath = ownPath + "tokens/"

func (t *tokenAdmin) create() *cobra.Command {
	var user, name, role, expires string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an API token, and print it: it is shown only once",
		Example: "  greenroom token create --user ci --name deploy --role editor --expires 90d\n" +
			"  export MLFLOW_TRACKING_TOKEN=$(greenroom token create --name laptop --expires 30d)",
		Args: cobra.NoArgs,
	}
	cmd.RunE = t.with(func(cmd *cobra.Command, c *client, _ []string) error {
		if _, err := auth.ParseLifetime(expires); err != nil {
			return usageError{fmt.Errorf("--expires: %w", err)}
		}
		body := map[string]any{"username": user, "name": name, "role": role, "expires": expires}
		var answer struct {
			Text  string            `json:"token"`
			Token each[tokenObject] `json:"info"`
		}
		if err := c.send(cmd.Context(), http.MethodPost, tokensPath+"create", body, &answer); err != nil {
			return err
		}
		v := answer.Token.value
		fmt.Fprintf(cmd.ErrOrStderr(), "Token %s of user %s is valid until %s. It is shown only here; keep it as a secret, and use it as MLFLOW_TRACKING_TOKEN.\n", v.ID, printable(v.User), v.Expires)
		if t.asJSON {
			return printJSON(cmd.OutOrStdout(), map[string]any{"token": answer.Text, "info": answer.Token})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), printable(answer.Text))
		return err
	})
	cmd.Flags().StringVar(&user, "user", "", "whose token it is (default: yours)")
	cmd.Flags().StringVar(&name, "name", "", "what it is for")
	cmd.Flags().StringVar(&role, "role", "", "narrows what the token may do to what this role holds, such as viewer or editor")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends, such as 90d or 12h; at most 366d")
	required(cmd, "name", "expires")
	return cmd
}

// required makes flags obligatory.
func required(cmd *cobra.Command, names ...string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range names {
			if cmd.Flags().Lookup(name).Value.String() == "" {
				return usageError{fmt.Errorf("--%s is missing (see %s --help)", name, cmd.CommandPath())}
			}
		}
		return run(cmd, args)
	}
}

func (t *tokenAdmin) list() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List API tokens, also those that ended",
		Args:  cobra.NoArgs,
	}
	cmd.RunE = t.with(func(cmd *cobra.Command, c *client, _ []string) error {
		query := url.Values{}
		setIf(query, "username", user)
		var answer struct {
			Tokens []each[tokenObject] `json:"tokens"`
		}
		if err := c.get(cmd.Context(), tokensPath+"list", query, &answer); err != nil {
			return err
		}
		rows := make([][]string, len(answer.Tokens))
		for i, token := range answer.Tokens {
			v := token.value
			rows[i] = []string{v.ID, v.User, v.Name, v.Role, v.state(time.Now()), v.Expires.String(), v.LastUsed.String()}
		}
		return t.table(cmd, nonNil(answer.Tokens), []string{"ID", "USER", "NAME", "ROLE", "IS", "EXPIRES", "LAST USED"}, rows)
	})
	cmd.Flags().StringVar(&user, "user", "", "only this user's")
	return cmd
}

func (v tokenObject) state(now time.Time) string {
	switch {
	case v.Revoked != 0:
		return "revoked"
	case int64(v.Expires) <= now.UnixMilli():
		return "expired"
	}
	return "valid"
}

func (t *tokenAdmin) revoke() *cobra.Command {
	var all bool
	var user string
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End an API token, or all tokens of a user, on every replica within a second or two",
		Example: "  greenroom token revoke 4fk2hslq3xzt\n" +
			"  greenroom token revoke --all --user eve    # JWTs, too; a password still logs in",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = t.with(func(cmd *cobra.Command, c *client, args []string) error {
		switch {
		case all == (len(args) == 1) || user != "" && !all:
			return usageError{errors.New("give the ID of a token, or --all and perhaps --user NAME")}
		case all:
			var answer struct {
				Revoked int `json:"revoked_tokens"`
			}
			if err := c.send(cmd.Context(), http.MethodPost, ownPath+"users/revoke-all", map[string]any{"username": user}, &answer); err != nil {
				return err
			}
			return t.report(cmd, answer, fmt.Sprintf("%d API tokens and all JWTs until now are revoked", answer.Revoked))
		}
		var answer struct {
			Token each[tokenObject] `json:"info"`
		}
		if err := c.send(cmd.Context(), http.MethodPost, tokensPath+"revoke", map[string]any{"id": args[0]}, &answer); err != nil {
			return err
		}
		return t.report(cmd, answer.Token, "token "+args[0]+" is revoked")
	})
	cmd.Flags().BoolVar(&all, "all", false, "all API tokens, and all JWTs until now")
	cmd.Flags().StringVar(&user, "user", "", "with --all: whose (default: yours)")
	return cmd
}

func newTokenMintCommand() *cobra.Command {
	var file string
	r := auth.MintRequest{}
	cmd := &cobra.Command{
		Use:     "mint",
		Short:   "Sign a JWT of this server's own with the key file, and print it; no server is asked",
		Example: "  greenroom token mint --key-file keys.json --user ci --ttl 15m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := auth.Mint(file, r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "key-file", "", "the file that greenroom key create made and greenroom server --key-file reads")
	cmd.Flags().StringVar(&r.Subject, "user", "", "the user, who must exist on the server")
	cmd.Flags().StringArrayVar(&r.Groups, "group", nil, "a group that the token adds to the user's own; may be repeated")
	cmd.Flags().StringArrayVar(&r.Roles, "role", nil, "a role that the token adds to the user's own; may be repeated")
	cmd.Flags().StringVar(&r.Audience, "audience", ownAudience, "the server's --jwt-audience")
	cmd.Flags().DurationVar(&r.TTL, "ttl", 15*time.Minute, "how long it is valid, at most 24h")
	required(cmd, "key-file", "user")
	return cmd
}
