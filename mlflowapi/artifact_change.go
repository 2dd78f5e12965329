package mlflowapi

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"greenroom/artifacts"
)

// putArtifact stores body, of size bytes or artifacts.UnknownSize, at a place. The audit log has it if there was a file before: one that appears
// is logging, one that is replaced may be a registered model's. The file is stored by then; an error makes the client send it again.
func (a *API) putArtifact(ctx context.Context, at artifacts.Place, body io.Reader, size int64) error {
	before, err := at.Store.Open(ctx, at.Path)
	replaces := err == nil
	if replaces {
		before.Close()
	}
	_, err = at.Store.Put(ctx, at.Path, body, size)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error()) // a failure of the store; a Put has nothing to miss
	}
	if err != nil || !replaces {
		return artifactError(at.Path, err)
	}
	return a.store.RecordChange(ctx)
}

// deleteArtifact removes a file or folder; what does not exist is removed already.
func (a *API) deleteArtifact(ctx context.Context, at artifacts.Place) error {
	if err := at.Store.Delete(ctx, at.Path); err != nil {
		return artifactError(at.Path, err)
	}
	return a.store.RecordChange(ctx)
}
