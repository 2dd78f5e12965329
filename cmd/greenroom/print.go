package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// remote is what commands share that talk to a server.
type remote struct {
	uri    string
	asJSON bool
}

// define adds the shared flags to a command and those below it.
func (r *remote) define(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&r.uri, "tracking-uri", "", "the server, such as http://127.0.0.1:5000 (default: MLFLOW_TRACKING_URI)")
	cmd.PersistentFlags().BoolVar(&r.asJSON, "json", false, "print JSON, with the fields of MLflow's REST API")
}

const remoteHelp = `

The server and the credentials come from the variables of MLflow's client: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD (or ~/.mlflow/credentials), MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_SERVER_CERT_PATH,
MLFLOW_TRACKING_INSECURE_TLS. Any MLflow server will do.

Exit codes: 0 done; 1 the server can't be reached or failed; 2 wrong command line; 3 not found;
4 refused by the server: not logged in, not allowed, in conflict, or not a valid value.`

// report prints what a command has done: the value as JSON for scripts, the sentence for people.
func (r *remote) report(cmd *cobra.Command, value any, done string) error {
	if r.asJSON {
		return printJSON(cmd.OutOrStdout(), value)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), printable(done))
	return err
}

// table prints a list of objects: as JSON for scripts, as rows for people.
func (r *remote) table(cmd *cobra.Command, list any, header []string, rows [][]string) error {
	if r.asJSON {
		return printJSON(cmd.OutOrStdout(), list)
	}
	return printTable(cmd.OutOrStdout(), header, rows)
}

// printJSON prints a value indented.
func printJSON(w io.Writer, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, encoded, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(w)
	return err
}

// printTable prints rows under a header; empty cells become "-".
func printTable(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = printable(cell); cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// printFields prints name and value pairs below each other, without those that have no value.
func printFields(w io.Writer, fields ...[2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", f[0], printable(f[1]))
		}
	}
	return t.Flush()
}

// millis is a time of the REST API; old servers send it as a string.
type millis int64

func (m *millis) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	*m = millis(n)
	return err
}

func (m millis) String() string {
	if m == 0 {
		return ""
	}
	return time.UnixMilli(int64(m)).UTC().Format("2006-01-02 15:04:05Z")
}

// tag is a key and value of any entity.
type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func joinTags(tags []tag) string {
	list := make([]string, len(tags))
	for i, t := range tags {
		list[i] = t.Key + "=" + t.Value
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// each is a server's object, as it was sent and as far as a table shows it.
type each[T any] struct {
	raw   json.RawMessage
	value T
}

func (e *each[T]) UnmarshalJSON(text []byte) error {
	e.raw = slices.Clone(text)
	return json.Unmarshal(text, &e.value)
}

func (e each[T]) MarshalJSON() ([]byte, error) { return e.raw, nil }

// pages collects up to limit objects from a paged search; more tells that there are others.
func pages[T any](limit int, next func(token string, n int) ([]each[T], string, error)) (list []each[T], more bool, err error) {
	token := ""
	for {
		page, following, err := next(token, limit-len(list))
		if err != nil {
			return nil, false, err
		}
		list = append(list, page...)
		if len(list) >= limit || following == "" {
			return list[:min(limit, len(list))], following != "" || len(list) > limit, nil
		}
		token = following
	}
}

// noteMore tells a person that a list is not complete.
func noteMore(w io.Writer, more bool) {
	if more {
		fmt.Fprintln(w, "note: there are more; raise --max to see them")
	}
}
