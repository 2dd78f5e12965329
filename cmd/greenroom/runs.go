package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// runObject is what tables show of the REST API's run.
type runObject struct {
	Info struct {
		RunID        string `json:"run_id"`
		Name         string `json:"run_name"`
		ExperimentID string `json:"experiment_id"`
		UserID       string `json:"user_id"`
		Status       string `json:"status"`
		Start        millis `json:"start_time"`
		End          millis `json:"end_time"`
		ArtifactURI  string `json:"artifact_uri"`
		Lifecycle    string `json:"lifecycle_stage"`
	} `json:"info"`
	Data struct {
		Metrics []runMetric `json:"metrics"`
		Params  []tag       `json:"params"`
		Tags    []tag       `json:"tags"`
	} `json:"data"`
}

// runMetric has a number, or the string "NaN".
type runMetric struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Step  millis          `json:"step"`
}

func (m runMetric) number() string {
	text := strings.Trim(string(m.Value), `"`)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return strconv.FormatFloat(f, 'g', 6, 64)
	}
	return text
}

func newRunsCommand() *cobra.Command {
	r := &runs{}
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "Look at runs, on this or another MLflow server",
		Long:  "Looks at runs." + remoteHelp,
	}
	r.define(cmd)
	cmd.AddCommand(r.list(), r.show())
	return cmd
}

// runs holds the commands about runs.
type runs struct{ remote }

func (r *runs) list() *cobra.Command {
	var experiment, experimentID, filter string
	var orderBy []string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the runs of an experiment, the newest first",
		Example: "  greenroom runs list --experiment churn --filter \"metrics.auc > 0.9\" --order-by \"metrics.auc DESC\" --max 20",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(r.uri, os.Getenv)
			if err != nil {
				return err
			}
			id, err := findExperiment(cmd.Context(), c, experiment, experimentID)
			if err != nil {
				return err
			}
			list, more, err := pages(limit, func(token string, n int) ([]each[runObject], string, error) {
				var page struct {
					Runs []each[runObject] `json:"runs"`
					Next string            `json:"next_page_token"`
				}
				body := map[string]any{"experiment_ids": []string{id}, "max_results": min(n, 1000)}
				if filter != "" {
					body["filter"] = filter
				}
				if len(orderBy) > 0 {
					body["order_by"] = orderBy
				}
				if token != "" {
					body["page_token"] = token
				}
				err := c.send(cmd.Context(), http.MethodPost, "runs/search", body, &page)
				return page.Runs, page.Next, err
			})
			if err != nil {
				return err
			}
			noteMore(cmd.ErrOrStderr(), more)
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), nonNil(list))
			}
			rows := make([][]string, len(list))
			for i, run := range list {
				info := run.value.Info
				rows[i] = []string{info.RunID, info.Name, info.Status, info.Start.String(), duration(info.Start, info.End), cut(joinMetrics(run.value.Data.Metrics), 80)}
			}
			return printTable(cmd.OutOrStdout(), []string{"RUN ID", "NAME", "STATUS", "STARTED", "TOOK", "METRICS"}, rows)
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "name of the experiment (default: MLFLOW_EXPERIMENT_NAME)")
	cmd.Flags().StringVar(&experimentID, "experiment-id", "", "id of the experiment (default: MLFLOW_EXPERIMENT_ID)")
	cmd.Flags().StringVar(&filter, "filter", "", "MLflow's filter, such as metrics.auc > 0.9 AND params.depth = '3'")
	cmd.Flags().StringArrayVar(&orderBy, "order-by", nil, "such as metrics.auc DESC; may be repeated")
	defineMax(cmd, &limit, 20)
	return cmd
}

// findExperiment gives the id that the flags, or else the variables of MLflow's client, name.
func findExperiment(ctx context.Context, c *client, name, id string) (string, error) {
	if name != "" && id != "" {
		return "", usageError{errors.New("give --experiment or --experiment-id, not both")}
	}
	if name == "" && id == "" {
		if name = os.Getenv("MLFLOW_EXPERIMENT_NAME"); name == "" {
			id = os.Getenv("MLFLOW_EXPERIMENT_ID")
		}
	}
	if id != "" {
		return id, nil
	}
	if name == "" {
		return "", usageError{errors.New("which experiment? Give --experiment NAME or --experiment-id ID")}
	}
	var answer struct {
		Experiment struct {
			ID string `json:"experiment_id"`
		} `json:"experiment"`
	}
	err := c.get(ctx, "experiments/get-by-name", url.Values{"experiment_name": {name}}, &answer)
	return answer.Experiment.ID, err
}

func (r *runs) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show RUN_ID",
		Short: "Show a run with its params, metrics and tags",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(r.uri, os.Getenv)
			if err != nil {
				return err
			}
			var answer struct {
				Run each[runObject] `json:"run"`
			}
			if err := c.get(cmd.Context(), "runs/get", url.Values{"run_id": {args[0]}}, &answer); err != nil {
				return err
			}
			if r.asJSON {
				return printJSON(cmd.OutOrStdout(), answer.Run)
			}
			return printRun(cmd, answer.Run.value)
		},
	}
}

func printRun(cmd *cobra.Command, run runObject) error {
	info := run.Info
	fields := [][2]string{
		{"run", info.RunID},
		{"name", info.Name},
		{"experiment", info.ExperimentID},
		{"user", info.UserID},
		{"status", info.Status},
		{"started", info.Start.String()},
		{"took", duration(info.Start, info.End)},
		{"artifacts", info.ArtifactURI},
	}
	if info.Lifecycle == "deleted" {
		fields = append(fields, [2]string{"deleted", "yes"})
	}
	byKey := func(a, b tag) int { return cmp.Compare(a.Key, b.Key) }
	slices.SortFunc(run.Data.Params, byKey)
	slices.SortFunc(run.Data.Tags, byKey)
	slices.SortFunc(run.Data.Metrics, func(a, b runMetric) int { return cmp.Compare(a.Key, b.Key) })
	for _, p := range run.Data.Params {
		fields = append(fields, [2]string{"param " + printable(p.Key), p.Value})
	}
	for _, m := range run.Data.Metrics {
		fields = append(fields, [2]string{"metric " + printable(m.Key), fmt.Sprintf("%s (step %d)", m.number(), int64(m.Step))})
	}
	for _, t := range run.Data.Tags {
		if !strings.HasPrefix(t.Key, "mlflow.") || t.Key == "mlflow.note.content" {
			fields = append(fields, [2]string{"tag " + printable(t.Key), t.Value})
		}
	}
	return printFields(cmd.OutOrStdout(), fields...)
}

func joinMetrics(metrics []runMetric) string {
	list := make([]string, len(metrics))
	for i, m := range metrics {
		list[i] = m.Key + "=" + m.number()
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func duration(start, end millis) string {
	if start == 0 || end == 0 {
		return ""
	}
	d := time.Duration(end-start) * time.Millisecond
	if d >= time.Minute {
		d = d.Round(time.Second)
	}
	return d.String()
}
