package artifacts

import (
	"context"
	"errors"
	"io/fs"
	"path"
)

// Walk visits every file at or below a path of a store, with its path and its
// size in bytes, folder by folder in the order of List. What does not exist has
// no files. An error of visit ends the walk and is returned.
func Walk(ctx context.Context, s Store, p string, visit func(path string, size int64) error) error {
	clean, err := CanonicalPath(p)
	if err != nil {
		return err
	}
	entries, err := s.List(ctx, clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, ErrNotDir):
		object, err := s.Open(ctx, clean)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		object.Close()
		return visit(clean, object.Size)
	case err != nil:
		return err
	}
	for _, entry := range entries {
		below := path.Join(clean, entry.Name)
		if entry.IsDir {
			err = Walk(ctx, s, below, visit)
		} else {
			err = visit(below, entry.Size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
