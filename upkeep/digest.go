package upkeep

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/panics"
)

const (
	// lease is how long work stays a server's that has stopped; one that runs renews it.
	lease = time.Minute
	// fileReaders is how many files a server reads at once: a small one need not wait for the one of 50 GB.
	fileReaders = 2
	// pendingPause is how long a version waits for its files to be read.
	pendingPause = 2 * time.Second
	firstPause   = 10 * time.Second
	maxPause     = 6 * time.Hour
	// fileAge is how long a file is tried to be read.
	fileAge = 7 * 24 * time.Hour
	// emptyAttempts is how often a version is looked at that has no files yet, over ten minutes.
	emptyAttempts = 7
	// versionAttempts is how often a version is tried whose store fails, over a day.
	versionAttempts = 15
)

// Digester reads in the background the files whose bytes did not pass through a server, and makes the digests of model
// versions. Replicas share the work by the database.
type Digester struct {
	store  *models.Store
	stores artifacts.Stores
	log    *slog.Logger
	now    func() time.Time
	// poll is how often a server asks for work that it was not told of: other replicas', and what has waited.
	poll time.Duration
}

// NewDigester gives a Digester that rests until Run.
func NewDigester(store *models.Store, stores artifacts.Stores, log *slog.Logger) *Digester {
	return &Digester{store: store, stores: stores, log: log, now: time.Now, poll: 5 * time.Second}
}

// Run works until ctx ends. What it leaves is taken up by the next one.
func (d *Digester) Run(ctx context.Context) {
	steps := []func(context.Context) (bool, error){d.digestVersion}
	for range fileReaders {
		steps = append(steps, d.readFile)
	}
	var wg sync.WaitGroup
	var wakes []chan struct{}
	for _, step := range steps {
		wake := make(chan struct{}, 1)
		wakes = append(wakes, wake)
		wg.Go(func() { d.loop(ctx, wake, step) })
	}
	for {
		told := wakes
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case <-d.store.FilesDue():
		case <-d.store.VersionsDue():
			told = wakes[:1] // digestVersion's: a version adds nothing to what the others read
		}
		for _, wake := range told {
			select {
			case wake <- struct{}{}:
			default: // it will look anyway
			}
		}
	}
}

// loop does one piece of work after the other. A failure is told once, until something succeeds.
func (d *Digester) loop(ctx context.Context, wake <-chan struct{}, step func(context.Context) (did bool, err error)) {
	failing := false
	for ctx.Err() == nil {
		did, err := panics.Result(func() (bool, error) { return step(ctx) })
		if err != nil && ctx.Err() == nil && !failing {
			d.log.WarnContext(ctx, "digests can't be made now; they are tried again", slog.Any("error", err))
		}
		if did && err == nil {
			failing = false
			continue
		}
		failing = failing || err != nil
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(d.poll):
		}
	}
}

// hold renews a lease while fn runs.
func hold(ctx context.Context, renew func(context.Context) error, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for tick := time.Tick(lease / 3); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				_ = panics.Caught(func() error { return renew(ctx) }) // if it fails, another replica does the work too
			}
		}
	})
	return fn(ctx)
}

// readFile fills in the digest of one file that is due.
func (d *Digester) readFile(ctx context.Context) (did bool, err error) {
	r, ok, err := d.store.ClaimArtifact(ctx, lease)
	if err != nil || !ok {
		return false, err
	}
	renew := func(ctx context.Context) error { return d.store.PutOffArtifact(ctx, r, lease) }
	err = hold(ctx, renew, func(ctx context.Context) error {
		at, err := d.stores.Locate(r.Location)
		if err != nil {
			return err
		}
		object, err := at.Store.Open(ctx, at.Path)
		if err != nil {
			return err
		}
		defer object.Close()
		if object.ETag != r.ETag {
			return errChanged
		}
		sum, err := digest(ctx, object)
		if err != nil {
			return err
		}
		return d.store.FillArtifactDigest(ctx, r, sum)
	})
	if err == nil || ctx.Err() != nil {
		return true, err
	}
	return true, errors.Join(fmt.Errorf("read '%s': %w", r.Location, err), d.store.PutOffArtifact(ctx, r, d.pause(ctx, r, err)))
}

var errChanged = errors.New("the file is not the one that was stored")

// pause is how long a file waits that could not be read: longer the longer it has waited, and in the end for good.
func (d *Digester) pause(ctx context.Context, r models.ArtifactRecord, err error) time.Duration {
	age := d.now().Sub(time.UnixMilli(r.StoredAt))
	if age < fileAge {
		return min(max(age, firstPause), maxPause)
	}
	d.log.ErrorContext(ctx, "a file has no digest, and is not tried again; greenroom verify tells of it", slog.String("location", r.Location), slog.Any("error", err))
	return 0
}

// digest reads a file to its end, and gives its SHA-256 in lower-case hex.
func digest(ctx context.Context, object *artifacts.Object) (string, error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, untilDone{ctx, object}, make([]byte, 256<<10))
	if err == nil && n != object.Size {
		err = fmt.Errorf("%d of %d bytes came", n, object.Size)
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

// untilDone is a reader that ends with its context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// digestVersion makes the digest of one version that is due.
func (d *Digester) digestVersion(ctx context.Context) (did bool, err error) {
	due, ok, err := d.store.ClaimVersion(ctx, lease)
	if err != nil || !ok {
		return false, err
	}
	log := d.log.With(slog.String("model", due.Name), slog.Int64("version", due.Version))
	renew := func(ctx context.Context) error { return d.store.PutOffVersion(ctx, due, due.Attempts, lease) }
	err = hold(ctx, renew, func(ctx context.Context) error {
		version, err := d.store.ModelVersion(ctx, due.Name, due.Version)
		if err != nil {
			return err
		}
		files, err := versionFiles(ctx, d.store, d.stores, version, d.now().Add(lease))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return errNoFiles
		}
		return keepDigest(ctx, d.store, version, files)
	})
	var path *artifacts.PathError
	switch {
	case err == nil || ctx.Err() != nil:
		return true, err
	case errors.Is(err, errPending):
		return true, d.store.PutOffVersion(ctx, due, due.Attempts-1, pendingPause)
	case isNotFound(err), errors.Is(err, artifacts.ErrElsewhere), errors.Is(err, artifacts.ErrNotServed), errors.As(err, &path):
		return true, d.store.GiveUpVersion(ctx, due)
	case errors.Is(err, errNoFiles) && due.Attempts >= emptyAttempts:
		log.InfoContext(ctx, "a model version has no files, and gets no digest")
		return true, d.store.GiveUpVersion(ctx, due)
	case due.Attempts >= versionAttempts:
		log.ErrorContext(ctx, "a model version gets no digest; greenroom verify --record makes it later", slog.Any("error", err))
		return true, d.store.GiveUpVersion(ctx, due)
	}
	pause := min(firstPause<<(due.Attempts-1), maxPause)
	if putOff := d.store.PutOffVersion(ctx, due, due.Attempts, pause); putOff != nil || errors.Is(err, errNoFiles) {
		return true, putOff
	}
	return true, fmt.Errorf("digest of version %d of '%s': %w", due.Version, due.Name, err)
}

func isNotFound(err error) bool {
	var known *models.Error
	return errors.As(err, &known) && known.Code == models.ResourceDoesNotExist
}

var (
	errPending = errors.New("files are still to be read")
	errNoFiles = errors.New("the model version has no files")
)

// file is one of those that a model version consists of.
type file struct {
	path   string // below the version's folder
	sha256 string // lower-case hex
}

// manifest is what sha256sum prints for the files, sorted by path.
func manifest(files []file) string {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	var text strings.Builder
	for _, f := range files {
		fmt.Fprintf(&text, "%s  %s\n", f.sha256, f.path)
	}
	return text.String()
}

// parseManifest is the reverse of manifest.
func parseManifest(text string) (files []file, err error) {
	for line := range strings.Lines(text) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			return nil, fmt.Errorf("manifest has the line %q", line)
		}
		files = append(files, file{name, sum})
	}
	return files, nil
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func keepDigest(ctx context.Context, store *models.Store, v *models.ModelVersion, files []file) error {
	text := manifest(files)
	return store.SetVersionDigest(ctx, v.Name, v.Version, sha256Hex(text), text)
}

// versionFiles finds the files of a version with their digests. Those that nobody has read are read now, or left to readFile
// (errPending) if it reads them before the time given.
func versionFiles(ctx context.Context, store *models.Store, stores artifacts.Stores, v *models.ModelVersion, later time.Time) (files []file, err error) {
	location, err := store.FilesAt(ctx, v)
	if err != nil {
		return nil, err
	}
	folder, err := stores.Locate(location)
	if err != nil {
		return nil, err
	}
	pending := false
	err = artifacts.Walk(ctx, folder.Store, folder.Path, func(p string, _ int64) error {
		sum, err := digestOf(ctx, store, artifacts.Place{Store: folder.Store, Root: folder.Root, Path: p}, later)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted meanwhile
		case errors.Is(err, errPending):
			pending = true
			return nil
		}
		files = append(files, file{below(folder, p), sum})
		return err
	})
	if err == nil && pending {
		err = errPending
	}
	return files, err
}

// below is the path of a file relative to a folder; if the folder is the file itself, its name.
func below(folder artifacts.Place, p string) string {
	if p == folder.Path {
		return path.Base(p)
	}
	return strings.TrimPrefix(strings.TrimPrefix(p, folder.Path), "/")
}

// digestOf gives the digest of a file as it is now, from its record if that is of this content.
func digestOf(ctx context.Context, store *models.Store, at artifacts.Place, later time.Time) (string, error) {
	object, err := at.Store.Open(ctx, at.Path)
	if err != nil {
		return "", err
	}
	defer object.Close()
	r, recorded, err := store.ArtifactRecord(ctx, at.Location())
	if err != nil {
		return "", err
	}
	same := recorded && r.ETag == object.ETag
	switch {
	case same && r.SHA256 != "":
		return r.SHA256, nil
	case same && r.DueAt != nil && *r.DueAt <= later.UnixMilli():
		return "", errPending
	case !recorded:
		if err := note(ctx, store, at, object); err != nil {
			return "", err
		}
		if !later.IsZero() {
			return "", errPending
		}
	}
	sum, err := digest(ctx, object)
	if err != nil {
		return "", err
	}
	switch {
	case recorded && !same && r.SHA256 == sum:
		err = store.MoveArtifactRecord(ctx, r, object.ETag)
	case same || !recorded:
		err = store.FillArtifactDigest(ctx, models.ArtifactRecord{Location: at.Location(), ETag: object.ETag}, sum)
	}
	return sum, err
}

// note records a file that was found, unless it is gone by then.
func note(ctx context.Context, store *models.Store, at artifacts.Place, object *artifacts.Object) error {
	if err := store.NoteArtifact(ctx, at.Location(), object.Size, object.ETag); err != nil {
		return err
	}
	now, err := at.Store.Open(ctx, at.Path)
	if err == nil {
		defer now.Close()
		if now.ETag == object.ETag {
			return nil
		}
	}
	return store.ForgetArtifact(ctx, at.Location(), object.ETag)
}
