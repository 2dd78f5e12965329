package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"greenroom/artifacts"
	"greenroom/upkeep"
)

// restoreFlags are the flags of greenroom restore.
type restoreFlags struct {
	storeFlags
	check, asJSON bool
}

func newRestoreCommand() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make an empty database and artifact store of a backup",
		Long: `Makes the database that --backend-store-uri names, and what is in the artifact stores, of an archive of greenroom backup. It reads the whole
archive first, and refuses one that is damaged or cut off, a database or a store that is not empty, a database of another kind than the
backup's, and a backup of another schema revision or of a newer Greenroom.

The database comes last, in one step: a restore that is broken off leaves none, and can be run again.

Exit codes: 0 done; 1 not restored; 2 wrong command line; 3 there is no such file.`,
		Example: "  greenroom restore greenroom-2026-01-31.tar.gz --backend-store-uri sqlite:///greenroom.db --artifacts-destination ./mlartifacts\n" +
			"  greenroom verify --backend-store-uri sqlite:///greenroom.db --artifacts-destination ./mlartifacts",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.readStores(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			return f.run(cmd, args[0])
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.BoolVar(&f.check, "check", false, "only read the archive, and tell whether it is whole")
	f.defineStores(set)
	set.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (f *restoreFlags) run(cmd *cobra.Command, file string) error {
	ctx := cmd.Context()
	m, err := upkeep.CheckBackup(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return &notFoundError{"there is no file " + file}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	verb := "whole"
	if !f.check {
		verb = "restored"
		if err := f.restore(ctx, file, m); err != nil {
			return err
		}
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, newBackupReport(m))
	}
	printBackup(out, verb, m)
	if !f.check && !m.Artifacts {
		fmt.Fprintln(out, "artifacts were not in the backup: bring their store back by its own means")
	}
	return nil
}

func (f *restoreFlags) restore(ctx context.Context, file string, m upkeep.Manifest) error {
	stores := artifacts.Stores{}
	if m.Artifacts {
		f.server.serveArtifacts = true
		var err error
		if f.server.defaultArtifactRoot, err = artifactRoot(f.server); err != nil {
			return err
		}
		opened, closeStores, err := openArtifacts(ctx, f.server.artifactLocations(), os.Getenv)
		if err != nil {
			return err
		}
		defer closeStores()
		stores = opened
	}
	r := upkeep.Restore{URI: f.server.backendStoreURI, Stores: stores}
	return r.Run(ctx, file, m)
}
