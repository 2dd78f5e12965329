package mlflowapi

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
)

// putArtifact stores body, of size bytes or artifacts.UnknownSize, at a place.
func (a *API) putArtifact(ctx context.Context, at artifacts.Place, body io.Reader, size int64) error {
	if err := a.checkSize(size); err != nil {
		return err
	}
	if limit := a.cfg.MaxArtifactBytes; limit > 0 {
		body = &limitedReader{body, limit, a.checkSize(math.MaxInt64)}
	}
	mayPut := func() error { return a.store.RequireOverwritable(ctx, at.Location()) }
	body = &guardedReader{body, size, mayPut} // a version may come to Staging or Production while the body is on its way
	return a.storeArtifact(ctx, at, func() (artifacts.Stored, error) { return at.Store.Put(ctx, at.Path, body, size) })
}

// checkSize refuses a file, or a part of one, over the operator's limit.
func (a *API) checkSize(bytes int64) error {
	if limit := a.cfg.MaxArtifactBytes; limit > 0 && bytes > limit {
		return &requestTooLarge{limit, true}
	}
	return nil
}

// storeArtifact makes a file appear at a place, and records what it is. Once that has happened, an error makes the client do it again.
// A file that is replaced loses its record before: what breaks off then leaves a file without one.
func (a *API) storeArtifact(ctx context.Context, at artifacts.Place, store func() (artifacts.Stored, error)) error {
	if err := a.store.RequireOverwritable(ctx, at.Location()); err != nil {
		return err
	}
	before, err := a.store.PrepareArtifact(ctx, at.Location())
	if err != nil {
		return err
	}
	old := before.Record
	replaces := old != nil
	if old == nil {
		if replaces, err = exists(ctx, at); err != nil {
			return err
		}
	}
	stored, err := store()
	ctx = context.WithoutCancel(ctx) // the file is there, and its client may be gone
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New(err.Error()) // a failure of the store; a Put has nothing to miss
	}
	if err != nil {
		if old != nil {
			err = errors.Join(err, a.recordAgain(ctx, at, before, err))
		}
		return artifactError(at.Path, err)
	}
	if old != nil && stored.ETag == old.ETag { // a completion that was repeated
		replaces, stored.SHA256 = false, old.SHA256
	}
	return a.record(ctx, at, stored, before, replaces)
}

// exists tells whether there is a file at a place. A store that does not answer fails here, so that its client need not wait twice.
func exists(ctx context.Context, at artifacts.Place) (bool, error) {
	object, err := at.Store.Open(ctx, at.Path)
	var away *artifacts.UnavailableError
	switch {
	case errors.As(err, &away):
		return false, err
	case err != nil:
		return false, nil // what is wrong with the path, the store says once more
	}
	return true, object.Close()
}

// record notes what was stored. Of two that store a file at once, the later one to record need not be the later one to
// store, and a deletion may have come between: the record that does not fit is removed.
func (a *API) record(ctx context.Context, at artifacts.Place, stored artifacts.Stored, before models.ArtifactBefore, replaces bool) error {
	contested, err := a.store.RecordArtifact(ctx, at.Location(), stored, before, replaces)
	if err != nil || !contested {
		return err
	}
	object, err := at.Store.Open(ctx, at.Path)
	if err == nil {
		defer object.Close()
		if object.ETag == stored.ETag {
			return nil
		}
	}
	return a.store.ForgetArtifact(ctx, at.Location(), stored.ETag)
}

// recordAgain is record for a file that was to be replaced, and was not. A store that does not answer may still do what it was asked for.
func (a *API) recordAgain(ctx context.Context, at artifacts.Place, before models.ArtifactBefore, failure error) error {
	old := before.Record
	var away *artifacts.UnavailableError
	if !errors.As(failure, &away) || away.Refused {
		object, err := at.Store.Open(ctx, at.Path)
		if err == nil {
			defer object.Close()
			if object.ETag == old.ETag {
				return a.record(ctx, at, artifacts.Stored{Size: old.Size, ETag: old.ETag, SHA256: old.SHA256}, before, false)
			}
		}
	}
	return a.store.ForgetArtifact(ctx, at.Location(), old.ETag)
}

// createUpload begins an upload of parts to a place.
func (a *API) createUpload(ctx context.Context, at multipartPlace) (id string, err error) {
	if err := a.store.RequireOverwritable(ctx, at.Location()); err != nil {
		return "", err
	}
	id, err = at.parts.CreateUpload(ctx, at.Path)
	return id, uploadError(at.Path, err)
}

// completeUpload is putArtifact for a file that has come in parts. Repeated with the same parts, it has the same end.
func (a *API) completeUpload(ctx context.Context, at multipartPlace, id string, parts []artifacts.Part) error {
	if err := a.checkUploadSize(ctx, at, id); err != nil {
		return uploadError(at.Path, err)
	}
	mayPut := func() error { return a.store.RequireOverwritable(ctx, at.Location()) } // a big file takes long to put together
	err := a.storeArtifact(ctx, at.Place, func() (artifacts.Stored, error) { return at.parts.CompleteUpload(ctx, at.Path, id, parts, mayPut) })
	return uploadError(at.Path, err)
}

// checkUploadSize is checkSize for the parts of an upload, which is aborted if they are too much.
func (a *API) checkUploadSize(ctx context.Context, at multipartPlace, id string) error {
	if a.cfg.MaxArtifactBytes <= 0 {
		return nil
	}
	bytes, err := at.parts.UploadSize(ctx, at.Path, id)
	if errors.Is(err, artifacts.ErrNoUpload) {
		return nil // completed already, or CompleteUpload says so
	}
	if err == nil {
		if err = a.checkSize(bytes); err != nil {
			err = errors.Join(err, at.parts.AbortUpload(ctx, at.Path, id))
		}
	}
	return err
}

// presignPut gives out a URL with which a client stores the file in the storage itself. The server does not hear of that, so it forgets what it
// knows of a file that is there, and the audit log has it as replaced.
func (a *API) presignPut(ctx context.Context, at artifacts.Place, urls artifacts.Presigner, ttl time.Duration) (artifacts.Presigned, error) {
	if err := a.store.RequireOverwritable(ctx, at.Location()); err != nil {
		return artifacts.Presigned{}, err
	}
	url, err := urls.PresignPut(ctx, at.Path, ttl) // which a store may refuse
	if err != nil {
		return artifacts.Presigned{}, err
	}
	replaces, err := exists(ctx, at)
	if err == nil && replaces {
		err = a.store.RecordDeletion(ctx, at.Location())
	}
	if err != nil {
		return artifacts.Presigned{}, err
	}
	return url, nil
}

// deleteArtifact removes a file or folder; what does not exist is removed already. What a store never deletes, it says
// before anything is forgotten.
func (a *API) deleteArtifact(ctx context.Context, at artifacts.Place) error {
	if at.Path == "" {
		return artifactError(at.Path, at.Store.Delete(ctx, at.Path))
	}
	if err := a.store.RequireDeletable(ctx, at.Location()); err != nil {
		return err
	}
	if err := a.store.ForgetArtifacts(ctx, at.Location()); err != nil {
		return err
	}
	if err := at.Store.Delete(ctx, at.Path); err != nil {
		return artifactError(at.Path, err)
	}
	return a.store.RecordDeletion(context.WithoutCancel(ctx), at.Location())
}

// guardedReader asks once more before it gives out the last of a body of left bytes, or artifacts.UnknownSize: a store makes nothing
// visible before it has that. A refusal is the error of the Read.
type guardedReader struct {
	body  io.Reader
	left  int64
	guard func() error // nil once it has been asked
}

func (g *guardedReader) Read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	g.left -= int64(n)
	if g.guard != nil && (g.left == 0 || errors.Is(err, io.EOF)) {
		if refused := g.guard(); refused != nil {
			return 0, refused
		}
		g.guard = nil
	}
	return n, err
}
