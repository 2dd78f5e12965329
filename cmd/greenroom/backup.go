package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"greenroom/auth"
	"greenroom/upkeep"
)

// backupFlags are the flags of greenroom backup.
type backupFlags struct {
	storeFlags
	artifacts, asJSON bool
}

func newBackupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database, and artifacts, into one file, while servers run",
		Long: `Copies the database as it is at one moment into a new archive (tar, gzip), while servers use it and write: everything that was acknowledged
before the command began is in it. With --artifacts, every file of the artifact stores is copied after that and compared with its recorded
digest. Give the same --backend-store-uri, --artifacts-destination and --default-artifact-root as the server, or the same variables.

The file appears when it is whole, on disk and checked. It holds the hashes of passwords and tokens, and the key that signs the URLs of
transfers: only its owner may read it.

Exit codes: 0 done; 1 there is no backup, or a file in it is not what the database knows of it; 2 wrong command line.`,
		Example: "  greenroom backup greenroom-$(date +%F).tar.gz --artifacts",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.readStores(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			return f.run(cmd, args[0])
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.BoolVar(&f.artifacts, "artifacts", false, "copy the files of the artifact stores, too")
	f.defineStores(set)
	set.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// backupReport is the JSON of backup and restore.
type backupReport struct {
	upkeep.Manifest
	Pieces int   `json:"pieces"`
	Bytes  int64 `json:"bytes"` // before compression
}

func newBackupReport(m upkeep.Manifest) backupReport {
	report := backupReport{Manifest: m, Pieces: len(m.Pieces)}
	for _, piece := range m.Pieces {
		report.Bytes += piece.Size
	}
	return report
}

func (f *backupFlags) run(cmd *cobra.Command, file string) error {
	ctx := auth.With(cmd.Context(), theOperator())
	store, stores, closeAll, err := f.openStores(ctx, cmd.Flags())
	if err != nil {
		return err
	}
	defer closeAll()
	b := upkeep.Backup{Store: store, Stores: stores, Artifacts: f.artifacts, Greenroom: version, Now: time.Now}
	m, err := b.Write(ctx, file)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		err = printJSON(out, newBackupReport(m))
	} else {
		for _, finding := range m.Bad {
			printFinding(out, finding)
		}
		printBackup(out, "backed up", m)
		switch {
		case !m.Artifacts:
			fmt.Fprintln(out, "artifacts are not in it: add --artifacts, or copy their store by its own means, after this")
		case m.Elsewhere > 0:
			fmt.Fprintf(out, "not in it: %d files in stores that no flag names\n", m.Elsewhere)
		}
	}
	if err == nil && len(m.Bad) > 0 {
		err = fmt.Errorf("the backup is made; files that are not what the database knows of them: %d", len(m.Bad))
	}
	return err
}

func printBackup(w io.Writer, verb string, m upkeep.Manifest) {
	report, rows := newBackupReport(m), int64(0)
	for _, n := range m.Rows {
		rows += n
	}
	files := 0
	for _, piece := range m.Pieces {
		if piece.IsArtifact() {
			files++
		}
	}
	fmt.Fprintf(w, "%s: %d rows of %d tables and %d files, %s, as of %s\n", verb, rows, len(m.Rows), files, size(report.Bytes), m.BegunAt.UTC().Format(time.RFC3339))
}
