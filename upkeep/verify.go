package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/panics"
)

// Status is what is wrong with a file.
type Status string

// Unrecorded is no harm: nobody knows what the file was.
const (
	Missing    Status = "missing"
	Truncated  Status = "truncated"
	Altered    Status = "altered"
	Added      Status = "added" // to a model version, after it was registered
	Unreadable Status = "unreadable"
	Unrecorded Status = "unrecorded"
)

// Finding is a file that is not as it should be.
type Finding struct {
	Status   Status `json:"status"`
	Location string `json:"location"`
	Version  string `json:"version,omitempty"` // models:/NAME/VERSION, if the file is not as that was registered
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
}

// Totals tells what was done.
type Totals struct {
	Files      int64 `json:"files"` // that were compared with what is known of them
	Bytes      int64 `json:"bytes"` // that were read
	Versions   int64 `json:"versions"`
	Bad        int64 `json:"bad"`        // findings other than Unrecorded
	Unrecorded int64 `json:"unrecorded"` // files
	Recorded   int64 `json:"recorded"`   // files that got their digest now
	Undigested int64 `json:"undigested"` // versions without a digest that have files
}

// Verifier compares files with what is known of them.
type Verifier struct {
	Store  *models.Store
	Stores artifacts.Stores
	// Readers is how many files are read at once.
	Readers int
	// Record makes the digests that are missing: of files that no server has stored, and of versions that none has registered.
	Record bool
	// Report hears of each finding, one at a time.
	Report func(Finding)
	// Progress hears what was done so far, now and then, one call at a time; nil for nobody.
	Progress func(Totals)

	mu     sync.Mutex
	totals Totals
	bad    map[string]bool // locations
}

// page is how many rows are read at once.
const page = 500

// All compares every recorded file, and then every version that has a digest. An error is one of the database or a store: then
// not everything was looked at.
func (v *Verifier) All(ctx context.Context) (Totals, error) {
	v.bad = map[string]bool{}
	for _, pass := range []func(context.Context) error{v.recorded, v.unrecorded, v.versions} {
		if err := pass(ctx); err != nil {
			return v.totals, err
		}
	}
	return v.totals, nil
}

// each runs fn for what feed gives, several at once, until one fails.
func each[T any](ctx context.Context, n int, feed func(ctx context.Context, work chan<- T) error, fn func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var wg sync.WaitGroup
	for range max(n, 1) {
		wg.Go(func() {
			for item := range work {
				if ctx.Err() != nil {
					continue
				}
				if err := panics.Caught(func() error { return fn(ctx, item) }); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := feed(ctx, work)
	close(work)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// recorded compares every file that has a record.
func (v *Verifier) recorded(ctx context.Context) error {
	return each(ctx, v.Readers, func(ctx context.Context, work chan<- models.ArtifactRecord) error {
		for last := ""; ; {
			rows, err := v.Store.ArtifactRecords(ctx, last, page)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, r := range rows {
				select {
				case work <- r:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			last = rows[len(rows)-1].Location
		}
	}, v.compare)
}

// maxChanges is how often a file is read anew that changes meanwhile.
const maxChanges = 5

// compare compares a file with its record. A server may be replacing the file: only a record that still stands is believed.
func (v *Verifier) compare(ctx context.Context, r models.ArtifactRecord) error {
	for range maxChanges {
		finding, err := v.look(ctx, r)
		if err != nil {
			return err
		}
		if finding == nil {
			v.count(func(t *Totals) { t.Files++ })
			return nil
		}
		now, ok, err := v.Store.ArtifactRecord(ctx, r.Location)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if now.ETag == r.ETag && now.StoredAt == r.StoredAt {
			v.count(func(t *Totals) { t.Files++ })
			v.report(*finding)
			return nil
		}
		r = now
	}
	return nil // it changes all the time, and is read the next time
}

// look gives what is wrong with a recorded file, nil for nothing.
func (v *Verifier) look(ctx context.Context, r models.ArtifactRecord) (*Finding, error) {
	finding := &Finding{Location: r.Location, Expected: describe(r.Size, r.SHA256)}
	at, err := v.Stores.Locate(r.Location)
	if err != nil {
		finding.Status, finding.Found = Unreadable, "no flag names the store that it is in"
		return finding, nil
	}
	size, etag, sum, err := v.read(ctx, at)
	if finding.fail(err) {
		return finding, nil
	}
	if err != nil {
		return nil, err
	}
	finding.Found = describe(size, sum)
	switch {
	case r.SHA256 == sum && r.ETag != etag:
		return nil, v.Store.MoveArtifactRecord(ctx, r, etag)
	case r.SHA256 == sum:
		return nil, nil
	case r.SHA256 == "" && r.ETag == etag:
		v.count(func(t *Totals) { t.Recorded++ })
		return nil, v.Store.FillArtifactDigest(ctx, r, sum)
	case size < r.Size:
		finding.Status = Truncated
	default:
		finding.Status = Altered
	}
	return finding, nil
}

// fail takes an error that is about one file; another is one of the store.
func (f *Finding) fail(err error) bool {
	var away *artifacts.UnavailableError
	var path *artifacts.PathError
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &away):
		return false
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, artifacts.ErrIsDir), errors.Is(err, artifacts.ErrNotDir):
		f.Status, f.Found = Missing, "nothing"
		return true
	case errors.As(err, &path):
		f.Status, f.Found = Unreadable, path.Reason
		return true
	case errors.Is(err, artifacts.ErrCorrupt):
		f.Status, f.Found = Altered, "what the store's own checksum does not fit"
		return true
	}
	f.Status, f.Found = Unreadable, err.Error()
	return true
}

func describe(size int64, sha256 string) string {
	if sha256 == "" {
		return fmt.Sprintf("%d bytes", size)
	}
	return fmt.Sprintf("%d bytes, sha256 %s", size, sha256)
}

// read reads a file to its end.
func (v *Verifier) read(ctx context.Context, at artifacts.Place) (size int64, etag, sum string, err error) {
	object, err := at.Store.Open(ctx, at.Path)
	if err != nil {
		return 0, "", "", err
	}
	defer object.Close()
	sum, err = digest(ctx, object)
	v.count(func(t *Totals) { t.Bytes += object.Size })
	return object.Size, object.ETag, sum, err
}

func (v *Verifier) count(add func(*Totals)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	add(&v.totals)
	if v.Progress != nil {
		v.Progress(v.totals)
	}
}

func (v *Verifier) report(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.Status == Unrecorded {
		v.totals.Unrecorded++
	} else {
		v.totals.Bad++
		if v.bad != nil {
			v.bad[f.Location] = true
		}
	}
	v.Report(f)
}

// wasBad tells of a file that was reported already.
func (v *Verifier) wasBad(location string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bad[location]
}

// unrecorded finds the files that have no record.
func (v *Verifier) unrecorded(ctx context.Context) error {
	return each(ctx, v.Readers, func(ctx context.Context, work chan<- artifacts.Place) error {
		return v.feedUnrecorded(ctx, work)
	}, func(ctx context.Context, at artifacts.Place) error {
		if !v.Record {
			v.report(Finding{Status: Unrecorded, Location: at.Location()})
			return nil
		}
		size, err := recordFile(ctx, v.Store, at)
		finding := Finding{Location: at.Location()}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted meanwhile
		case finding.fail(err):
			v.report(finding)
			return nil
		case err != nil:
			return err
		}
		v.count(func(t *Totals) { t.Recorded++; t.Bytes += size })
		return nil
	})
}

func (v *Verifier) feedUnrecorded(ctx context.Context, work chan<- artifacts.Place) error {
	var found []artifacts.Place
	pass := func() error {
		locations := make([]string, len(found))
		for i, at := range found {
			locations[i] = at.Location()
		}
		recorded, err := v.Store.RecordedArtifacts(ctx, locations)
		for _, at := range found {
			if err != nil || recorded[at.Location()] {
				continue
			}
			select {
			case work <- at:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		found = found[:0]
		return err
	}
	err := everyFile(ctx, v.Stores, func(at artifacts.Place) error {
		found = append(found, at)
		if len(found) < page {
			return nil
		}
		return pass()
	})
	if err == nil && len(found) > 0 {
		err = pass()
	}
	return err
}

// everyFile visits each file of the stores once.
func everyFile(ctx context.Context, stores artifacts.Stores, visit func(artifacts.Place) error) error {
	var roots []artifacts.Place
	if stores.Served != nil {
		roots = append(roots, artifacts.Place{Store: stores.Served, Root: artifacts.ServedRoot})
	}
	for _, root := range slices.Sorted(maps.Keys(stores.Roots)) {
		at, err := stores.Locate(root)
		if err != nil {
			return err
		}
		roots = append(roots, at)
	}
	for _, root := range roots {
		err := artifacts.Walk(ctx, root.Store, root.Path, func(p string, _ int64) error {
			at := artifacts.Place{Store: root.Store, Root: root.Root, Path: p}
			if known, err := stores.Locate(at.Location()); err == nil && known.Root != at.Root {
				return nil // another store's, inside this one
			}
			return visit(at)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// recordFile reads a file that has no record, and gives its size.
func recordFile(ctx context.Context, store *models.Store, at artifacts.Place) (int64, error) {
	object, err := at.Store.Open(ctx, at.Path)
	if err != nil {
		return 0, err
	}
	object.Close()
	_, err = digestOf(ctx, store, at, time.Time{})
	return object.Size, err
}

// versions compares every version that has a digest.
func (v *Verifier) versions(ctx context.Context) error {
	return each(ctx, v.Readers, func(ctx context.Context, work chan<- *models.ModelVersion) error {
		name, number := "", int64(0)
		for {
			found, err := v.Store.Versions(ctx, name, number, page)
			if err != nil || len(found) == 0 {
				return err
			}
			for _, version := range found {
				select {
				case work <- version:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			last := found[len(found)-1]
			name, number = last.Name, last.Version
		}
	}, func(ctx context.Context, version *models.ModelVersion) error {
		err := v.version(ctx, version, true)
		if errors.Is(err, errNoDigest) {
			v.count(func(t *Totals) { t.Undigested++ })
			return nil
		}
		if isElsewhere(err) || errors.Is(err, errNoFiles) {
			return nil
		}
		return err
	})
}

func isElsewhere(err error) bool {
	return errors.Is(err, artifacts.ErrElsewhere) || errors.Is(err, artifacts.ErrNotServed)
}

// errNoDigest tells of a version whose files nobody has written down.
var errNoDigest = errors.New("the version has no digest: its files were never looked at, or a server is about to do so; --record makes the digest of what is there now")

// Version compares the files of one version with those that were registered. Errors are as All's; a version that has no digest
// or no files is an error too.
func (v *Verifier) Version(ctx context.Context, version *models.ModelVersion) (Totals, error) {
	err := v.version(ctx, version, false)
	return v.totals, err
}

// version compares a version's files. Those whose record was compared just now need not be read again.
func (v *Verifier) version(ctx context.Context, version *models.ModelVersion, compared bool) error {
	name := fmt.Sprintf("models:/%s/%d", version.Name, version.Version)
	location, err := v.Store.FilesAt(ctx, version)
	if err != nil {
		return err
	}
	folder, err := v.Stores.Locate(location)
	if err != nil {
		return fmt.Errorf("%s has its files at '%s', in no store that is named; give --artifacts-destination and --default-artifact-root as the server has them: %w", name, location, err)
	}
	found := map[string]bool{}
	err = artifacts.Walk(ctx, folder.Store, folder.Path, func(p string, _ int64) error {
		found[below(folder, p)] = true
		return nil
	})
	if err != nil {
		return err
	}
	root, ok := version.Digest()
	if !ok {
		return v.makeDigest(ctx, version, len(found))
	}
	v.count(func(t *Totals) { t.Versions++ })
	text, ok, err := v.Store.Manifest(ctx, root)
	if err != nil {
		return err
	}
	if !ok || sha256Hex(text) != root {
		v.report(Finding{Status: Altered, Location: name, Version: name, Expected: "the manifest of digest sha256:" + root, Found: orNothing(text)})
		return nil
	}
	files, err := parseManifest(text)
	if err != nil {
		return err
	}
	single := len(found) == 1 && found[lastStep(folder.Path)] && isFile(ctx, folder)
	place := func(name string) artifacts.Place {
		if single {
			return folder
		}
		at := folder
		at.Path = strings.TrimPrefix(folder.Path+"/"+name, "/")
		return at
	}
	readers := v.Readers
	if compared {
		readers = 1 // of each of as many versions at once
	}
	err = each(ctx, readers, func(ctx context.Context, work chan<- file) error {
		for _, f := range files {
			select {
			case work <- f:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}, func(ctx context.Context, f file) error {
		return v.compareRegistered(ctx, name, place(f.path), f, compared)
	})
	if err != nil {
		return err
	}
	for _, f := range files {
		delete(found, f.path)
	}
	for _, added := range slices.Sorted(maps.Keys(found)) {
		v.report(Finding{Status: Added, Location: place(added).Location(), Version: name, Expected: "nothing: the version was registered without it"})
	}
	return nil
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return "one of digest sha256:" + sha256Hex(text)
}

func lastStep(p string) string { return p[strings.LastIndex(p, "/")+1:] }

// isFile tells whether a version's folder is a file itself.
func isFile(ctx context.Context, at artifacts.Place) bool {
	object, err := at.Store.Open(ctx, at.Path)
	if err != nil {
		return false
	}
	object.Close()
	return true
}

// makeDigest makes the digest of a version that has none, if it is asked for.
func (v *Verifier) makeDigest(ctx context.Context, version *models.ModelVersion, files int) error {
	if files == 0 {
		return errNoFiles
	}
	if !v.Record {
		return errNoDigest
	}
	read, err := versionFiles(ctx, v.Store, v.Stores, version, time.Time{})
	if err != nil {
		return err
	}
	v.count(func(t *Totals) { t.Versions++ })
	return keepDigest(ctx, v.Store, version, read)
}

// compareRegistered compares a file with what it was when its version was registered.
func (v *Verifier) compareRegistered(ctx context.Context, version string, at artifacts.Place, want file, compared bool) error {
	if compared && v.wasBad(at.Location()) {
		return nil
	}
	r, recorded, err := v.Store.ArtifactRecord(ctx, at.Location())
	if err != nil {
		return err
	}
	finding := Finding{Location: at.Location(), Version: version, Expected: "sha256 " + want.sha256}
	known := recorded && r.SHA256 == want.sha256
	if known {
		finding.Expected = describe(r.Size, want.sha256)
	}
	if known && compared {
		return nil
	}
	size, _, sum, err := v.read(ctx, at)
	v.count(func(t *Totals) { t.Files++ })
	switch {
	case finding.fail(err):
	case err != nil:
		return err
	case sum == want.sha256:
		return nil
	case known && size < r.Size:
		finding.Status, finding.Found = Truncated, describe(size, sum)
	default:
		finding.Status, finding.Found = Altered, describe(size, sum)
	}
	v.report(finding)
	return nil
}
