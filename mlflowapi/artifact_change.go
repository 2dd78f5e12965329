package mlflowapi

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// putArtifact stores body, of size bytes or artifacts.UnknownSize, at a place. The audit log has it if there was a file before: one that appears
// is logging, one that is replaced may be a registered model's. The file is stored by then; an error makes the client send it again.
func (a *API) putArtifact(ctx context.Context, at place, body io.Reader, size int64) error {
	before, err := at.store.Open(ctx, at.path)
	replaces := err == nil
	if replaces {
		before.Close()
	}
	_, err = at.store.Put(ctx, at.path, body, size)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error()) // a failure of the store; a Put has nothing to miss
	}
	if err != nil || !replaces {
		return artifactError(at.path, err)
	}
	return a.store.RecordChange(ctx)
}

// deleteArtifact removes a file or folder; what does not exist is removed already.
func (a *API) deleteArtifact(ctx context.Context, at place) error {
	if err := at.store.Delete(ctx, at.path); err != nil {
		return artifactError(at.path, err)
	}
	return a.store.RecordChange(ctx)
}
