package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"greenroom/models"
	"greenroom/models/schema"
)

func newDBCommand() *cobra.Command {
	var uri string
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Look at and prepare the database",
	}
	cmd.PersistentFlags().StringVar(&uri, "backend-store-uri", "sqlite:///greenroom.db", "database: sqlite:///file.db or postgresql://user:password@host/database; also MLFLOW_BACKEND_STORE_URI")
	cmd.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		if env := os.Getenv("MLFLOW_BACKEND_STORE_URI"); env != "" && !cmd.Flags().Changed("backend-store-uri") {
			uri = env
		}
	}

	var asJSON bool
	status := &cobra.Command{
		Use:   "status",
		Short: "Tell which schema the database has, and whether this Greenroom serves it",
		Long: "Tells which schema the database has, and whether this Greenroom serves it. Changes nothing.\n" +
			"Exits with 0 if greenroom server can use the database (an empty one it creates), with 1 otherwise.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := models.Inspect(cmd.Context(), uri)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(newDBStatus(s))
			} else {
				err = printStatus(cmd.OutOrStdout(), s)
			}
			if err != nil {
				return err
			}
			return s.Refused(uri)
		},
	}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON")

	upgrade := &cobra.Command{
		Use:   "upgrade",
		Short: "Create the tables in an empty database, or apply Greenroom's pending migrations",
		Long: "Creates the tables in an empty database, or applies Greenroom's pending migrations; greenroom server does so too when it starts.\n" +
			"A database with another revision of MLflow's schema is refused, with the command that helps.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := models.Upgrade(cmd.Context(), uri); err != nil {
				return err
			}
			s, err := models.Inspect(cmd.Context(), uri)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	cmd.AddCommand(status, upgrade)
	return cmd
}

// dbStatus is the JSON of db status.
type dbStatus struct {
	State          schema.State `json:"state"`
	Ready          bool         `json:"ready"`
	Revision       string       `json:"revision"`
	ServedRevision string       `json:"served_revision"`
	Migration      int          `json:"greenroom_migration"`
	Pending        []string     `json:"greenroom_pending"`
}

func newDBStatus(s schema.Status) dbStatus {
	pending := s.Pending
	if pending == nil {
		pending = []string{}
	}
	return dbStatus{s.State, s.Refused("") == nil, s.Revision, schema.Revision, s.Level, pending}
}

func printStatus(w io.Writer, s schema.Status) error {
	revision := s.Revision
	if revision == "" {
		revision = "none"
	}
	pending := "none pending"
	if len(s.Pending) > 0 {
		pending = "pending " + strings.Join(s.Pending, ", ")
	}
	_, err := fmt.Fprintf(w, "state                 %s\nMLflow revision       %s (this Greenroom serves %s)\nGreenroom migrations  %d applied, %s\n",
		s.State, revision, schema.Revision, s.Level, pending)
	return err
}
