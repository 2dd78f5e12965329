// Package upkeep looks after what the server keeps: it deletes for good, sweeps and checks, on the database and the stores
// directly. It knows nothing of HTTP.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"greenroom/artifacts"
	"greenroom/models"
)

// GC deletes for good what has been deleted: the files from the stores, then the rows from the database. What it has begun is
// marked, so that after any failure another GC goes on with it.
type GC struct {
	Store  *models.Store
	Stores artifacts.Stores
	// KeepForeign deletes also what has files in none of the stores. These files stay.
	KeepForeign bool
}

// GCItem is what a GC deletes, with the files that go with it.
type GCItem struct {
	models.Garbage
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Unknown is why the files could not be counted.
	Unknown string `json:"unknown,omitempty"`
}

// GCPlan is what a GC would do.
type GCPlan struct {
	// Unfinished is what an earlier GC has begun.
	Unfinished []GCItem      `json:"unfinished"`
	Remove     []GCItem      `json:"remove"`
	Kept       []models.Kept `json:"kept"`
	Jobs       []string      `json:"jobs"`
	Files      int64         `json:"files"`
	Bytes      int64         `json:"bytes"`

	filter models.GarbageFilter
}

// Plan finds what the filter selects, and the jobs that the other one selects if it is not nil. It changes nothing. What was
// asked for by its id and can't be deleted is a *models.Error.
func (g GC) Plan(ctx context.Context, filter models.GarbageFilter, jobs *models.JobFilter) (*GCPlan, error) {
	if err := g.checkServed(ctx); err != nil {
		return nil, err
	}
	filter.Foreign = g.KeepForeign
	filter.Stored = func(location string) bool {
		_, err := g.Stores.Locate(location)
		return err == nil
	}
	plan := &GCPlan{Unfinished: []GCItem{}, Remove: []GCItem{}, Kept: []models.Kept{}, Jobs: []string{}, filter: filter}
	marked, err := g.Store.MarkedGarbage(ctx)
	if err != nil {
		return nil, err
	}
	found, kept, err := g.Store.SearchGarbage(ctx, filter)
	if err != nil {
		return nil, err
	}
	plan.Kept = append(plan.Kept, kept...)
	if jobs != nil {
		ids, err := g.Store.SearchGarbageJobs(ctx, *jobs)
		if err != nil {
			return nil, err
		}
		plan.Jobs = append(plan.Jobs, ids...)
	}
	count := func(all []models.Garbage) (items []GCItem, err error) {
		items = make([]GCItem, len(all))
		for i, garbage := range all {
			if items[i], err = g.count(ctx, garbage); err != nil {
				return nil, err
			}
			plan.Files, plan.Bytes = plan.Files+items[i].Files, plan.Bytes+items[i].Bytes
		}
		return items, nil
	}
	if plan.Unfinished, err = count(marked); err != nil {
		return nil, err
	}
	plan.Remove, err = count(found)
	return plan, err
}

// checkServed refuses a served store without any file while the database knows of some in it. A mistyped bucket or prefix looks
// like that, and the files at the right one would be left behind with nobody who knows them.
func (g GC) checkServed(ctx context.Context) error {
	if g.Stores.Served == nil || g.KeepForeign {
		return nil
	}
	entries, err := g.Stores.Served.List(ctx, "")
	if err != nil || len(entries) > 0 {
		return err
	}
	known, err := g.Store.ArtifactRecords(ctx, artifacts.ServedRoot+"/", 1)
	if err != nil || len(known) == 0 || !strings.HasPrefix(known[0].Location, artifacts.ServedRoot+"/") {
		return err
	}
	return fmt.Errorf("the artifact store is empty, and the database knows of files in it, such as %s: is --artifacts-destination the one that the server has? If they are lost, add --keep-artifacts", known[0].Location)
}

// count walks through the files of garbage. Only the end of the context is an error: that a store fails is part of the item.
func (g GC) count(ctx context.Context, garbage models.Garbage) (GCItem, error) {
	item := GCItem{Garbage: garbage}
	places, _, err := g.places(garbage)
	for _, place := range places {
		if err != nil {
			break
		}
		err = artifacts.Walk(ctx, place.Store, place.Path, func(_ string, size int64) error {
			item.Files++
			item.Bytes += size
			return nil
		})
	}
	if ctx.Err() != nil {
		return item, ctx.Err()
	}
	if err != nil {
		item.Unknown = err.Error()
	}
	return item, nil
}

// places are where the files of garbage lie, none inside another. foreign are those that lie in none of the stores.
func (g GC) places(garbage models.Garbage) (places []artifacts.Place, foreign []string, err error) {
	for _, folder := range garbage.Folders {
		place, err := g.Stores.Locate(folder)
		wrong := (*artifacts.PathError)(nil)
		switch {
		case err == nil:
			places = append(places, place)
		case errors.Is(err, artifacts.ErrElsewhere), errors.Is(err, artifacts.ErrNotServed), errors.As(err, &wrong):
			foreign = append(foreign, folder)
		default:
			return nil, nil, err
		}
	}
	slices.SortFunc(places, func(a, b artifacts.Place) int { return strings.Compare(a.Location()+"/", b.Location()+"/") })
	outer := places[:0]
	for _, place := range places {
		if n := len(outer); n == 0 || !strings.HasPrefix(place.Location()+"/", outer[n-1].Location()+"/") {
			outer = append(outer, place)
		}
	}
	return outer, foreign, nil
}

// Result is what became of a piece of garbage.
type Result struct {
	models.Garbage
	// Err is why it is not gone; it stays marked then.
	Err error
}

// Run does what was planned. First it finishes what an earlier GC has begun. done hears of each piece of garbage. What turned
// out to be needed after all is given back; what was asked for by ids is refused then (*models.Error), before anything of it is
// touched. Another error is that of the first piece that failed; the others were deleted all the same.
//
// Only one process at a time runs a GC on a database (models.Store.LockGC).
func (g GC) Run(ctx context.Context, plan *GCPlan, done func(Result)) (kept []models.Kept, err error) {
	release, err := g.Store.LockGC(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	failed := map[string]bool{}
	err = g.finish(ctx, failed, done)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	remove := make([]models.Garbage, len(plan.Remove))
	for i, item := range plan.Remove {
		remove[i] = item.Garbage
	}
	kept, markErr := g.Store.MarkGarbage(ctx, plan.filter, remove)
	if markErr != nil {
		return kept, errors.Join(err, markErr)
	}
	err = errors.Join(err, g.finish(ctx, failed, done))
	if ctx.Err() != nil {
		return kept, ctx.Err()
	}
	return kept, errors.Join(err, g.Store.DeleteJobs(ctx, plan.Jobs))
}

// finish deletes what is marked, except for what has failed already.
func (g GC) finish(ctx context.Context, failed map[string]bool, done func(Result)) (first error) {
	marked, err := g.Store.MarkedGarbage(ctx)
	if err != nil {
		return err
	}
	for _, garbage := range marked {
		if failed[garbage.String()] {
			continue
		}
		err := g.delete(ctx, garbage)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("%s is not deleted yet: %w", garbage, err)
			failed[garbage.String()] = true
			if first == nil {
				first = err
			}
		}
		done(Result{garbage, err})
	}
	return first
}

func (g GC) delete(ctx context.Context, garbage models.Garbage) error {
	if garbage.Blocked != "" {
		return errors.New(garbage.Blocked)
	}
	places, foreign, err := g.places(garbage)
	if err != nil {
		return err
	}
	if len(foreign) > 0 && !g.KeepForeign {
		return fmt.Errorf("its artifacts are in %s, which is in none of the given stores", foreign[0])
	}
	for _, place := range places {
		if err := g.deleteFiles(ctx, place); err != nil {
			return err
		}
		if err := g.deleteEmptyParent(ctx, place); err != nil {
			return err
		}
	}
	return g.Store.DeleteGarbage(ctx, garbage)
}

// deleteFiles removes a folder with the records of its files, also of those that are stored meanwhile.
func (g GC) deleteFiles(ctx context.Context, place artifacts.Place) error {
	if err := g.Store.ForgetArtifacts(ctx, place.Location()); err != nil {
		return err
	}
	if err := place.Store.Delete(ctx, place.Path); err != nil {
		return err
	}
	return g.Store.ForgetArtifacts(ctx, place.Location())
}

// ownFolder is a folder that is named after a run or a logged model, with its artifacts.
var ownFolder = regexp.MustCompile(`(^|/)(m-)?[0-9a-f]{32}/artifacts$`)

// deleteEmptyParent removes the folder of a run or logged model around its artifacts, if nothing else is in it.
func (g GC) deleteEmptyParent(ctx context.Context, place artifacts.Place) error {
	if !ownFolder.MatchString(place.Path) {
		return nil
	}
	place.Path = path.Dir(place.Path)
	entries, err := place.Store.List(ctx, place.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(entries) > 0 {
		return err
	}
	return g.deleteFiles(ctx, place)
}
