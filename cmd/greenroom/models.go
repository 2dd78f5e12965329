package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// registeredModel and modelVersion are what tables show of the REST API's objects.
type registeredModel struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Created     millis         `json:"creation_timestamp"`
	Updated     millis         `json:"last_updated_timestamp"`
	Latest      []modelVersion `json:"latest_versions"`
	Tags        []tag          `json:"tags"`
	Aliases     []modelAlias   `json:"aliases"`
}

type modelAlias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

type modelVersion struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Stage   string   `json:"current_stage"`
	Status  string   `json:"status"`
	Source  string   `json:"source"`
	RunID   string   `json:"run_id"`
	Created millis   `json:"creation_timestamp"`
	Aliases []string `json:"aliases"`
}

func newModelsCommand() *cobra.Command {
	r := &registry{}
	cmd := &cobra.Command{
		Use:   "models",
		Short: "Look at and change registered models, on this or another MLflow server",
		Long:  "Looks at and changes registered models." + remoteHelp,
	}
	r.define(cmd)
	alias := &cobra.Command{Use: "alias", Short: "Set and delete aliases"}
	alias.AddCommand(r.aliasSet(), r.aliasDelete())
	cmd.AddCommand(r.list(), r.show(), r.versions(), r.transition(), alias, r.resolve())
	return cmd
}

// registry holds the commands about registered models.
type registry struct{ remote }

// connect calls the registry's server, which MLFLOW_REGISTRY_URI can tell apart from the tracking server.
func (r *registry) connect() (*client, error) {
	uri := r.uri
	if uri == "" {
		uri = os.Getenv("MLFLOW_REGISTRY_URI")
	}
	return newClient(uri, os.Getenv)
}

func (r *registry) list() *cobra.Command {
	var filter string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the registered models",
		Example: "  greenroom models list --filter \"name LIKE 'churn%'\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.connect()
			if err != nil {
				return err
			}
			models, more, err := pages(limit, func(token string, n int) ([]each[registeredModel], string, error) {
				var page struct {
					Models []each[registeredModel] `json:"registered_models"`
					Next   string                  `json:"next_page_token"`
				}
				query := url.Values{"max_results": {strconv.Itoa(min(n, 1000))}}
				setIf(query, "filter", filter)
				setIf(query, "page_token", token)
				err := c.get(cmd.Context(), "registered-models/search", query, &page)
				return page.Models, page.Next, err
			})
			if err != nil {
				return err
			}
			noteMore(cmd.ErrOrStderr(), more)
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), nonNil(models))
			}
			rows := make([][]string, len(models))
			for i, m := range models {
				rows[i] = []string{m.value.Name, joinLatest(m.value.Latest), joinAliases(m.value.Aliases), m.value.Updated.String()}
			}
			return printTable(cmd.OutOrStdout(), []string{"NAME", "LATEST VERSIONS", "ALIASES", "UPDATED"}, rows)
		},
	}
	cmd.Flags().StringVar(&filter, "filter", "", "MLflow's filter, such as name LIKE 'churn%' or tag.team = 'growth'")
	defineMax(cmd, &limit, 100)
	return cmd
}

func (r *registry) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a registered model",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.connect()
			if err != nil {
				return err
			}
			model, err := getModel(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if r.asJSON {
				return printJSON(out, model)
			}
			m := model.value
			if err := printFields(out, [][2]string{
				{"name", m.Name},
				{"description", m.Description},
				{"tags", joinTags(m.Tags)},
				{"aliases", joinAliases(m.Aliases)},
				{"created", m.Created.String()},
				{"updated", m.Updated.String()},
			}...); err != nil || len(m.Latest) == 0 {
				return err
			}
			fmt.Fprintln(out)
			return printTable(out, versionHeader(), versionRows(m.Latest, m.Aliases))
		},
	}
}

func (r *registry) versions() *cobra.Command {
	var stage string
	var limit int
	cmd := &cobra.Command{
		Use:     "versions NAME",
		Short:   "List the versions of a registered model, the newest first",
		Example: "  greenroom models versions churn --stage Production",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.connect()
			if err != nil {
				return err
			}
			name := args[0]
			model, err := getModel(cmd.Context(), c, name) // for its aliases, and to tell "no versions" from "no model"
			if err != nil {
				return err
			}
			literal, err := quoted(name)
			if err != nil {
				return err
			}
			versions, more, err := pages(limit, func(token string, n int) ([]each[modelVersion], string, error) {
				if stage != "" {
					n = 1000 // the filter language knows no stages
				}
				var page struct {
					Versions []each[modelVersion] `json:"model_versions"`
					Next     string               `json:"next_page_token"`
				}
				query := url.Values{"filter": {"name = " + literal}, "order_by": {"version_number DESC"}, "max_results": {strconv.Itoa(min(n, 1000))}}
				setIf(query, "page_token", token)
				err := c.get(cmd.Context(), "model-versions/search", query, &page)
				return inStage(page.Versions, stage), page.Next, err
			})
			if err != nil {
				return err
			}
			noteMore(cmd.ErrOrStderr(), more)
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), nonNil(versions))
			}
			list := make([]modelVersion, len(versions))
			for i, v := range versions {
				list[i] = v.value
			}
			return printTable(cmd.OutOrStdout(), versionHeader(), versionRows(list, model.value.Aliases))
		},
	}
	cmd.Flags().StringVar(&stage, "stage", "", "only those in a stage: None, Staging, Production or Archived")
	defineMax(cmd, &limit, 100)
	return cmd
}

func (r *registry) transition() *cobra.Command {
	var archive bool
	cmd := &cobra.Command{
		Use:     "transition NAME VERSION STAGE",
		Short:   "Move a model version to a stage",
		Long:    "Moves a model version to a stage: None, Staging, Production or Archived.",
		Example: "  greenroom models transition churn 42 Production --archive-existing",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkVersion(args[1]); err != nil {
				return err
			}
			c, err := r.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Version each[modelVersion] `json:"model_version"`
			}
			body := map[string]any{"name": args[0], "version": args[1], "stage": args[2], "archive_existing_versions": archive}
			if err := c.send(cmd.Context(), http.MethodPost, "model-versions/transition-stage", body, &answer); err != nil {
				return err
			}
			v := answer.Version.value
			text := fmt.Sprintf("version %s of %s is in stage %s", v.Version, v.Name, v.Stage)
			if archive {
				text += "; every other version that was there is archived"
			}
			return r.report(cmd, answer.Version, text)
		},
	}
	cmd.Flags().BoolVar(&archive, "archive-existing", false, "archive the versions that are in the stage, in the same step")
	return cmd
}

func (r *registry) aliasSet() *cobra.Command {
	return &cobra.Command{
		Use:     "set NAME ALIAS VERSION",
		Short:   "Point an alias to a version; it moves there if it exists",
		Example: "  greenroom models alias set churn champion 42",
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkVersion(args[2]); err != nil {
				return err
			}
			body := map[string]string{"name": args[0], "alias": args[1], "version": args[2]}
			return r.change(cmd, http.MethodPost, body, fmt.Sprintf("%s@%s is version %s", args[0], args[1], args[2]))
		},
	}
}

func (r *registry) aliasDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME ALIAS",
		Short: "Delete an alias; its version stays",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{"name": args[0], "alias": args[1]}
			return r.change(cmd, http.MethodDelete, body, fmt.Sprintf("%s@%s is gone", args[0], args[1]))
		},
	}
}

// change makes an alias request, whose answer is empty, and says what is so now.
func (r *registry) change(cmd *cobra.Command, method string, body map[string]string, done string) error {
	c, err := r.connect()
	if err != nil {
		return err
	}
	var answer struct{}
	if err := c.send(cmd.Context(), method, "registered-models/alias", body, &answer); err != nil {
		return err
	}
	return r.report(cmd, body, done)
}

func (r *registry) resolve() *cobra.Command {
	return &cobra.Command{
		Use:   "resolve URI",
		Short: "Tell which version a models:/ URI means, and where its files are",
		Long:  "Tells which version models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME/latest or models:/NAME@ALIAS means, and where its files are.",
		Example: "  greenroom models resolve models:/churn/Production\n" +
			"  greenroom models resolve models:/churn@champion --json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseModelURI(args[0])
			if err != nil {
				return err
			}
			c, err := r.connect()
			if err != nil {
				return err
			}
			version, err := ref.find(cmd.Context(), c)
			if err != nil {
				return err
			}
			v := version.value
			var download struct {
				URI string `json:"artifact_uri"`
			}
			if err := c.get(cmd.Context(), "model-versions/get-download-uri", url.Values{"name": {v.Name}, "version": {v.Version}}, &download); err != nil {
				return err
			}
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Name     string `json:"name"`
					Version  string `json:"version"`
					Stage    string `json:"current_stage"`
					Status   string `json:"status"`
					RunID    string `json:"run_id,omitempty"`
					Source   string `json:"source"`
					Download string `json:"artifact_uri"`
				}{v.Name, v.Version, v.Stage, v.Status, v.RunID, v.Source, download.URI})
			}
			return printFields(cmd.OutOrStdout(), [][2]string{
				{"name", v.Name},
				{"version", v.Version},
				{"stage", v.Stage},
				{"status", v.Status},
				{"run", v.RunID},
				{"source", v.Source},
				{"download", download.URI},
			}...)
		},
	}
}

// modelURI is a parsed models:/ URI; one of version, alias, stage is set, or none for the latest version.
type modelURI struct{ name, version, alias, stage string }

func parseModelURI(uri string) (modelURI, error) {
	wrong := usageError{fmt.Errorf("%q is not a model URI: write models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME/latest or models:/NAME@ALIAS", uri)}
	path, ok := strings.CutPrefix(uri, "models:/")
	if !ok {
		return modelURI{}, wrong
	}
	name, suffix, slash := strings.Cut(strings.TrimLeft(path, "/"), "/")
	if !slash {
		at := strings.LastIndex(name, "@")
		if at <= 0 || at == len(name)-1 {
			return modelURI{}, wrong
		}
		return modelURI{name: name[:at], alias: name[at+1:]}, nil
	}
	switch {
	case name == "" || suffix == "" || strings.Contains(suffix, "/"):
		return modelURI{}, wrong
	case strings.EqualFold(suffix, "latest"):
		return modelURI{name: name}, nil
	case checkVersion(suffix) == nil:
		return modelURI{name: name, version: suffix}, nil
	}
	return modelURI{name: name, stage: suffix}, nil
}

// find asks the server which version is meant.
func (u modelURI) find(ctx context.Context, c *client) (v each[modelVersion], err error) {
	if u.alias != "" {
		model, err := getModel(ctx, c, u.name)
		if err != nil {
			return v, err
		}
		for _, a := range model.value.Aliases {
			if strings.EqualFold(a.Alias, u.alias) {
				u.version = a.Version
			}
		}
		if u.version == "" {
			return v, &notFoundError{fmt.Sprintf("model %s has no alias %s", u.name, u.alias)}
		}
	}
	if u.version != "" {
		var answer struct {
			Version each[modelVersion] `json:"model_version"`
		}
		err := c.get(ctx, "model-versions/get", url.Values{"name": {u.name}, "version": {u.version}}, &answer)
		return answer.Version, err
	}
	body := map[string]any{"name": u.name}
	if u.stage != "" {
		body["stages"] = []string{u.stage}
	}
	var answer struct {
		Versions []each[modelVersion] `json:"model_versions"`
	}
	if err := c.send(ctx, http.MethodPost, "registered-models/get-latest-versions", body, &answer); err != nil {
		return v, err
	}
	newest := -1
	for _, candidate := range answer.Versions {
		if n, err := strconv.Atoi(candidate.value.Version); err == nil && n > newest {
			newest, v = n, candidate
		}
	}
	switch {
	case newest >= 0:
		return v, nil
	case u.stage != "":
		return v, &notFoundError{fmt.Sprintf("model %s has no version in stage %s", u.name, u.stage)}
	}
	return v, &notFoundError{fmt.Sprintf("model %s has no versions", u.name)}
}

func getModel(ctx context.Context, c *client, name string) (each[registeredModel], error) {
	var answer struct {
		Model each[registeredModel] `json:"registered_model"`
	}
	err := c.get(ctx, "registered-models/get", url.Values{"name": {name}}, &answer)
	return answer.Model, err
}

// checkVersion catches swapped arguments before they reach the server.
func checkVersion(text string) error {
	if n, err := strconv.ParseInt(text, 10, 32); err != nil || n < 0 || text[0] == '+' {
		return usageError{fmt.Errorf("%q is not a version number", text)}
	}
	return nil
}

func versionHeader() []string {
	return []string{"VERSION", "STAGE", "ALIASES", "STATUS", "CREATED", "RUN", "SOURCE"}
}

func versionRows(versions []modelVersion, aliases []modelAlias) [][]string {
	rows := make([][]string, len(versions))
	for i, v := range versions {
		var names []string
		for _, a := range aliases {
			if a.Version == v.Version {
				names = append(names, a.Alias)
			}
		}
		rows[i] = []string{v.Version, v.Stage, strings.Join(names, ", "), v.Status, v.Created.String(), v.RunID, v.Source}
	}
	return rows
}

func inStage(versions []each[modelVersion], stage string) []each[modelVersion] {
	if stage == "" {
		return versions
	}
	var out []each[modelVersion]
	for _, v := range versions {
		if strings.EqualFold(v.value.Stage, stage) {
			out = append(out, v)
		}
	}
	return out
}

func joinLatest(versions []modelVersion) string {
	list := make([]string, len(versions))
	for i, v := range versions {
		list[i] = v.Version
		if v.Stage != "" && v.Stage != "None" {
			list[i] += " (" + v.Stage + ")"
		}
	}
	return strings.Join(list, ", ")
}

func joinAliases(aliases []modelAlias) string {
	list := make([]string, len(aliases))
	for i, a := range aliases {
		list[i] = a.Alias + "=" + a.Version
	}
	return strings.Join(list, ", ")
}

// quoted is text as a literal of the filter language, which has no escapes.
func quoted(text string) (string, error) {
	switch {
	case !strings.Contains(text, "'"):
		return "'" + text + "'", nil
	case !strings.Contains(text, `"`):
		return `"` + text + `"`, nil
	}
	return "", usageError{fmt.Errorf("%q has both kinds of quotes, which MLflow's filters can't express", text)}
}

func setIf(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

// nonNil makes JSON's [] of an empty list.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func defineMax(cmd *cobra.Command, limit *int, standard int) {
	cmd.Flags().IntVar(limit, "max", standard, "how many to show at most")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return usageError{fmt.Errorf("--max %d: at least 1", *limit)}
		}
		return run(cmd, args)
	}
}
