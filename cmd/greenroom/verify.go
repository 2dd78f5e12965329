package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"greenroom/auth"
	"greenroom/models"
	"greenroom/upkeep"
)

// verifyFlags are the flags of greenroom verify.
type verifyFlags struct {
	storeFlags
	readers                      int
	all, record, verbose, asJSON bool
}

func newVerifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [MODEL-URI]",
		Short: "Compare artifacts with their digests, and name each file that is missing, truncated or altered",
		Long: `Reads artifacts and compares them with the SHA-256 that was recorded when they were stored; for one model version, with those of the day
it was registered. It works on the database and the artifact stores themselves, also while servers use them: give it the same
--backend-store-uri, --artifacts-destination and --default-artifact-root as the server, or the same variables.

Each file that is not as it should be is one line: missing, truncated, altered, added (to a version, after it was registered) or
unreadable, where it is, what was expected and what was found. Files that were not stored through a server of Greenroom's have no
digest, and are counted; --record reads them now, so that the next verify knows them.

Exit codes: 0 all is well; 1 a file is not as it should be, or not everything could be read; 2 wrong command line; 3 there is no such
model version.`,
		Example: "  greenroom verify\n  greenroom verify models:/churn/Production\n  greenroom verify models:/churn@champion --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.readStores(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			switch {
			case f.readers < 1:
				return usageError{fmt.Errorf("--readers %d: at least 1", f.readers)}
			case f.all && len(args) > 0:
				return usageError{errors.New("give --all or a model version, not both")}
			}
			uri := ""
			if len(args) > 0 {
				uri = args[0]
				if _, err := parseModelURI(uri); err != nil {
					return err
				}
			}
			return f.run(cmd, uri)
		},
	}
	set := cmd.Flags()
	set.SortFlags = false
	set.BoolVar(&f.all, "all", false, "every file and every model version (default)")
	set.BoolVar(&f.record, "record", false, "make the digests that are missing, of files and of model versions")
	set.BoolVar(&f.verbose, "verbose", false, "list also the files that have no digest")
	set.IntVar(&f.readers, "readers", 3, "how many files to read at once")
	f.defineStores(set)
	set.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// verifyReport is the JSON of verify.
type verifyReport struct {
	OK       bool             `json:"ok"`
	Findings []upkeep.Finding `json:"findings"`
	upkeep.Totals
}

func (f *verifyFlags) run(cmd *cobra.Command, uri string) error {
	ctx := auth.With(cmd.Context(), theOperator())
	store, stores, closeAll, err := f.openStores(ctx, cmd.Flags())
	if err != nil {
		return err
	}
	defer closeAll()
	out, progress := cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr())
	report := verifyReport{Findings: []upkeep.Finding{}}
	verifier := upkeep.Verifier{Store: store, Stores: stores, Readers: f.readers, Record: f.record, Progress: progress.show, Report: func(found upkeep.Finding) {
		if found.Status == upkeep.Unrecorded && !f.verbose {
			return
		}
		progress.clear()
		if f.asJSON {
			report.Findings = append(report.Findings, found)
		} else {
			printFinding(out, found)
		}
	}}
	report.Totals, err = f.verify(ctx, &verifier, uri)
	progress.clear()
	report.OK = err == nil && report.Bad == 0
	if f.asJSON {
		err = errors.Join(err, printJSON(out, report))
	} else if err == nil {
		printTotals(out, report.Totals, f.record)
	}
	if err == nil && report.Bad > 0 {
		err = fmt.Errorf("files that are not as they should be: %d", report.Bad)
	}
	return err
}

func (f *verifyFlags) verify(ctx context.Context, verifier *upkeep.Verifier, uri string) (upkeep.Totals, error) {
	if uri == "" {
		return verifier.All(ctx)
	}
	version, err := verifier.Store.VersionByURI(ctx, uri)
	if known := (*models.Error)(nil); errors.As(err, &known) && known.Code != models.TemporarilyUnavailable {
		err = &notFoundError{known.Message}
	}
	if err != nil {
		return upkeep.Totals{}, err
	}
	totals, err := verifier.Version(ctx, version)
	if err != nil {
		err = fmt.Errorf("%s version %d: %w", version.Name, version.Version, err)
	}
	return totals, err
}

func printFinding(w io.Writer, f upkeep.Finding) {
	line := fmt.Sprintf("%-10s  %s", f.Status, f.Location)
	if f.Version != "" {
		line += "  of " + f.Version
	}
	if f.Expected != "" {
		line += "  expected " + f.Expected
	}
	if f.Found != "" {
		line += "  found " + f.Found
	}
	fmt.Fprintln(w, printable(line))
}

func printTotals(w io.Writer, t upkeep.Totals, record bool) {
	parts := []string{fmt.Sprintf("files compared: %d (%s read)", t.Files, size(t.Bytes)), fmt.Sprintf("model versions: %d", t.Versions)}
	if t.Recorded > 0 {
		parts = append(parts, fmt.Sprintf("files that got their digest: %d", t.Recorded))
	}
	if t.Unrecorded > 0 && !record {
		parts = append(parts, fmt.Sprintf("files without a digest: %d (--record makes them)", t.Unrecorded))
	}
	if t.Undigested > 0 && !record {
		parts = append(parts, fmt.Sprintf("model versions without a digest: %d (--record makes them)", t.Undigested))
	}
	verdict := "all is well"
	if t.Bad > 0 {
		verdict = fmt.Sprintf("not as they should be: %d", t.Bad)
	}
	fmt.Fprintf(w, "%s: %s\n", strings.Join(parts, "; "), verdict)
}

// progress tells a person at a terminal how far it is.
type progress struct {
	w        io.Writer
	terminal bool
	shown    time.Time
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

func (p *progress) show(t upkeep.Totals) {
	if !p.terminal || time.Since(p.shown) < time.Second/4 {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%d files, %s", t.Files+t.Recorded, size(t.Bytes))
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// size is a number of bytes for people.
func size(bytes int64) string {
	value, units := float64(bytes), []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	unit := 0
	for ; value >= 1024 && unit < len(units)-1; unit++ {
		value /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
