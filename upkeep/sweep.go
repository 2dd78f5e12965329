package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/panics"
)

// The server sweeps this often, and leaves uploads this much time from their beginning to their end.
const (
	SweepEvery     = time.Hour
	UploadLifetime = 24 * time.Hour
)

// Sweeper drops what nobody needs and nobody deletes: multipart uploads that were given up, temporary files of uploads whose
// process was killed, and the manifests of versions that are gone. Several replicas may sweep at once.
type Sweeper struct {
	Store  *models.Store
	Stores artifacts.Stores
	// UploadLifetime is how long after its beginning an upload counts as given up.
	UploadLifetime time.Duration
	Log            *slog.Logger
	Now            func() time.Time
}

// Swept is what a sweep has dropped.
type Swept struct {
	Uploads   int   `json:"uploads"`
	Manifests int64 `json:"manifests"`
}

// Sweep sweeps once. Where one store fails the others are swept all the same.
func (s Sweeper) Sweep(ctx context.Context) (swept Swept, err error) {
	before := s.Now().Add(-s.UploadLifetime)
	stores := []artifacts.Store{s.Stores.Served}
	for _, store := range s.Stores.Roots {
		stores = append(stores, store)
	}
	for _, store := range stores {
		if multiparter, ok := store.(artifacts.Multiparter); ok {
			n, failed := multiparter.SweepUploads(ctx, before)
			swept.Uploads += n
			err = errors.Join(err, failed)
		}
	}
	var failed error
	swept.Manifests, failed = s.Store.DropManifests(ctx)
	return swept, errors.Join(err, failed)
}

// Run sweeps at once and then every so often, until ctx ends.
func (s Sweeper) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		swept, err := panics.Result(func() (Swept, error) { return s.Sweep(ctx) })
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.WarnContext(ctx, "what uploads left behind could not be swept; it is tried again", slog.Any("error", err), slog.Duration("in", every))
		case swept != Swept{}:
			s.Log.InfoContext(ctx, "swept", slog.Int("uploads", swept.Uploads), slog.Int64("manifests", swept.Manifests))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
