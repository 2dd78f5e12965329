package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"greenroom/mlflowapi"
)

// version of Greenroom; a release build sets it with -ldflags.
var version = "0.1.0-dev"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of Greenroom and of the MLflow API it serves",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "greenroom %s, serving the API of MLflow %s\n", version, mlflowapi.MLflowVersion)
		},
	}
}
