package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greenroom/auth"
	"greenroom/models"
	"greenroom/upkeep"
)

// gcFlags are the flags of greenroom gc, named as mlflow gc's.
type gcFlags struct {
	storeFlags
	olderThan, uploadsOlderThan                        string
	runIDs, experimentIDs, loggedModelIDs, jobIDs      string
	trackingURI, workspace                             string
	jobs, allWorkspaces, keepArtifacts, dryRun, asJSON bool
}

func newGCCommand() *cobra.Command {
	var f gcFlags
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete for good the runs, experiments and logged models that were deleted",
		Long: `Deletes for good the runs, experiments and logged models that were deleted, with their artifacts, as mlflow gc does. It works on the
database and the artifact stores themselves, also while servers use them: give it the same --backend-store-uri,
--artifacts-destination and --default-artifact-root as the server, or the same variables.

First it prints what it is about to delete. What a version of a registered model points to is kept whole, and named with the version; so is
what has artifacts in a store that is not given. If ids are given, only these are deleted, and if one of them can't be, nothing is.

A run or experiment that is being deleted can't be restored or registered any more. Killed at any moment, or stopped by a
store that fails, the next greenroom gc goes on with it, whatever its flags. It also drops multipart uploads that were given up.

Exit codes: 0 done; 1 something could not be deleted, run it again; 2 wrong command line; 3 there is nothing with such an id;
4 refused: what an id names is not deleted, not old enough or needed.`,
		Example: "  greenroom gc --older-than 30d --dry-run\n  greenroom gc --run-ids 1f0c,2e9b",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(cmd.Flags(), os.Getenv, cmd.ErrOrStderr()); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	f.define(cmd.Flags())
	return cmd
}

func (f *gcFlags) define(set *pflag.FlagSet) {
	set.SortFlags = false
	set.StringVar(&f.olderThan, "older-than", "", "only what was deleted longer ago than this, such as 30d or 1d2h3m4s; decimals are fine")
	set.StringVar(&f.runIDs, "run-ids", "", "runs to delete, separated by commas")
	set.StringVar(&f.experimentIDs, "experiment-ids", "", "experiments to delete with all their runs and logged models, separated by commas")
	set.StringVar(&f.loggedModelIDs, "logged-model-ids", "", "logged models to delete, separated by commas")
	set.BoolVar(&f.jobs, "jobs", false, "delete the records of MLflow's finished jobs, too")
	set.StringVar(&f.jobIDs, "job-ids", "", "finished jobs to delete, separated by commas")
	f.defineStores(set)
	set.BoolVar(&f.keepArtifacts, "keep-artifacts", false, "delete also what has artifacts in none of these stores, and leave those where they are")
	set.StringVar(&f.uploadsOlderThan, "uploads-older-than", "24h", "drop multipart uploads begun longer ago than this that have not come to an end")
	set.BoolVar(&f.dryRun, "dry-run", false, "only print what would be deleted")
	set.BoolVar(&f.asJSON, "json", false, "print JSON")
	set.StringVar(&f.trackingURI, "tracking-uri", "", "accepted: no server is needed")
	set.StringVar(&f.workspace, "workspace", "", "accepted if it is default: there are no others")
	set.BoolVar(&f.allWorkspaces, "all-workspaces", false, "accepted: there is one workspace")
}

// read fills in what the environment gives, and refuses what can't be done.
func (f *gcFlags) read(set *pflag.FlagSet, getenv func(string) string, notes io.Writer) error {
	if err := f.readStores(set, getenv); err != nil {
		return err
	}
	switch {
	case f.workspace != "" && f.allWorkspaces:
		return usageError{errors.New("give --workspace or --all-workspaces, not both")}
	case f.workspace != "" && f.workspace != "default":
		return usageError{fmt.Errorf("--workspace %s: there are no workspaces, so everything is in the one named default; leave it out", f.workspace)}
	case f.trackingURI != "":
		fmt.Fprintln(notes, "note: --tracking-uri has no effect: gc works on the database and the artifact stores themselves")
	}
	return nil
}

func (f *gcFlags) run(cmd *cobra.Command) error {
	ctx := auth.With(cmd.Context(), theOperator())
	var filter models.GarbageFilter
	var err error
	if filter.OlderThan, err = age("older-than", f.olderThan); err != nil {
		return err
	}
	lifetime, err := age("uploads-older-than", f.uploadsOlderThan)
	if err != nil {
		return err
	}
	filter.RunIDs, filter.ExperimentIDs, filter.LoggedModelIDs = ids(f.runIDs), ids(f.experimentIDs), ids(f.loggedModelIDs)
	var jobs *models.JobFilter
	if jobIDs := ids(f.jobIDs); f.jobs || jobIDs != nil {
		jobs = &models.JobFilter{OlderThan: filter.OlderThan, IDs: jobIDs}
	}
	store, stores, closeAll, err := f.openStores(ctx, cmd.Flags())
	if err != nil {
		return err
	}
	defer closeAll()

	gc := upkeep.GC{Store: store, Stores: stores, KeepForeign: f.keepArtifacts}
	plan, err := gc.Plan(ctx, filter, jobs)
	if err != nil {
		return gcError(err)
	}
	out := cmd.OutOrStdout()
	if !f.asJSON {
		if err := printPlan(out, plan, f.dryRun); err != nil {
			return err
		}
	}
	if f.dryRun {
		if f.asJSON {
			return printJSON(out, gcReport{DryRun: true, GCPlan: plan})
		}
		return nil
	}
	report := gcReport{GCPlan: plan, Deleted: []models.Garbage{}, Failed: []gcFailure{}}
	kept, err := gc.Run(ctx, plan, func(r upkeep.Result) {
		if r.Err != nil {
			report.Failed = append(report.Failed, gcFailure{r.Garbage, r.Err.Error()})
			fmt.Fprintln(cmd.ErrOrStderr(), "failed:", oneLine(r.Err.Error()))
			return
		}
		report.Deleted = append(report.Deleted, r.Garbage)
		if !f.asJSON {
			fmt.Fprintf(out, "deleted %s\n", printable(r.String()))
		}
	})
	plan.Kept = append(plan.Kept, kept...)
	sweeper := upkeep.Sweeper{Store: store, Stores: stores, UploadLifetime: lifetime, Now: time.Now}
	var swept error
	if ctx.Err() == nil {
		report.Swept, swept = sweeper.Sweep(ctx)
	}
	if f.asJSON {
		swept = errors.Join(swept, printJSON(out, report))
	} else {
		printKept(out, kept)
		fmt.Fprintf(out, "deleted %d for good", len(report.Deleted))
		if err == nil && len(plan.Jobs) > 0 {
			fmt.Fprintf(out, ", and %d jobs", len(plan.Jobs))
		}
		if report.Swept.Uploads > 0 {
			fmt.Fprintf(out, "; dropped %d abandoned uploads", report.Swept.Uploads)
		}
		fmt.Fprintln(out)
	}
	if n := len(report.Failed); n > 0 && ctx.Err() == nil {
		return fmt.Errorf("%d could not be deleted: run greenroom gc again, which goes on with them", n)
	}
	return gcError(errors.Join(err, swept))
}

// gcReport is the JSON of gc.
type gcReport struct {
	DryRun bool `json:"dry_run"`
	*upkeep.GCPlan
	Deleted []models.Garbage `json:"deleted,omitempty"`
	Failed  []gcFailure      `json:"failed,omitempty"`
	Swept   upkeep.Swept     `json:"swept"`
}

type gcFailure struct {
	models.Garbage
	Error string `json:"error"`
}

// ids splits a list at its commas; nil if there are none.
func ids(list string) []string { return trimmed(strings.Split(list, ",")) }

var agePattern = regexp.MustCompile(`^(?:([.\d]+)d)?(?:([.\d]+)h)?(?:([.\d]+)m)?(?:([.\d]+)s)?$`)

// age reads a time such as 1.5d2h3m4s; an empty one is 0.
func age(flag, text string) (time.Duration, error) {
	wrong := usageError{fmt.Errorf("--%s %q: write days, hours, minutes and seconds, in this order, such as 30d, 8h or 1d2h3m4s", flag, text)}
	if text == "" {
		return 0, nil
	}
	parts := agePattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, wrong
	}
	total := 0.0
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil {
			return 0, wrong
		}
		total += n * float64(unit)
	}
	if total >= math.MaxInt64 {
		return 0, usageError{fmt.Errorf("--%s %s is too long", flag, text)}
	}
	return time.Duration(total), nil
}

// refusedError is something that the rules do not allow.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// gcError gives a refusal the exit code of one.
func gcError(err error) error {
	refusal := (*models.Error)(nil)
	if !errors.As(err, &refusal) {
		return err
	}
	switch refusal.Code {
	case models.ResourceDoesNotExist:
		return &notFoundError{refusal.Message}
	case models.ResourceConflict, models.InvalidParameterValue:
		return refusedError{errors.New(refusal.Message)}
	}
	return err
}

func printPlan(w io.Writer, plan *upkeep.GCPlan, dryRun bool) error {
	items := slices.Concat(plan.Unfinished, plan.Remove)
	if len(items) == 0 {
		fmt.Fprintln(w, "nothing to delete")
	} else {
		rows := make([][]string, len(items))
		for i, item := range items {
			rows[i] = []string{kindWord(item.Kind), item.ID, item.Name, strconv.FormatInt(item.Files, 10), strconv.FormatInt(item.Bytes, 10), remark(item, i < len(plan.Unfinished))}
		}
		if err := printTable(w, []string{"KIND", "ID", "NAME", "FILES", "BYTES", "REMARK"}, rows); err != nil {
			return err
		}
	}
	verb := "to delete"
	if dryRun {
		verb = "would delete"
	}
	if len(plan.Jobs) > 0 {
		fmt.Fprintf(w, "%s %d jobs: %s\n", verb, len(plan.Jobs), printable(strings.Join(plan.Jobs, ", ")))
	}
	printKept(w, plan.Kept)
	if len(items) > 0 {
		fmt.Fprintf(w, "%s: %d with %d files, %d bytes in total\n", verb, len(items), plan.Files, plan.Bytes)
	}
	return nil
}

func kindWord(kind models.GarbageKind) string { return strings.ReplaceAll(string(kind), "_", " ") }

func remark(item upkeep.GCItem, unfinished bool) string {
	var remarks []string
	if unfinished {
		remarks = append(remarks, "begun before")
	}
	if item.Runs > 0 {
		remarks = append(remarks, fmt.Sprintf("%d runs", item.Runs))
	}
	if item.LoggedModels > 0 {
		remarks = append(remarks, fmt.Sprintf("%d logged models", item.LoggedModels))
	}
	if item.Unknown != "" {
		remarks = append(remarks, "not counted: "+oneLine(item.Unknown))
	}
	return strings.Join(remarks, ", ")
}

func printKept(w io.Writer, kept []models.Kept) {
	for _, k := range kept {
		fmt.Fprintf(w, "kept %s: %s\n", printable(k.String()), printable(k.Reason))
	}
}
