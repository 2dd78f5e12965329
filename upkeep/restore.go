package upkeep

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"greenroom/artifacts"
	"greenroom/models"
)

// CheckBackup reads a whole archive, compares every piece with the manifest, and gives that. What is wrong with it is ErrArchive.
func CheckBackup(ctx context.Context, file string) (m Manifest, err error) {
	var pieces []Piece
	err = readArchive(ctx, file, func(header *tar.Header, content io.Reader) error {
		if m.Format != 0 {
			return fmt.Errorf("%w: %s comes after the manifest", ErrArchive, header.Name)
		}
		if header.Name == manifestName {
			if err := json.NewDecoder(io.LimitReader(content, maxManifestBytes)).Decode(&m); err != nil {
				return fmt.Errorf("%w: its manifest: %w", ErrArchive, err)
			}
			if m.Format != backupFormat {
				return fmt.Errorf("the backup has format %d and this Greenroom reads %d: restore it with Greenroom %s or a later one", m.Format, backupFormat, m.Greenroom)
			}
			return nil
		}
		sum := sha256.New()
		size, err := io.Copy(sum, content)
		pieces = append(pieces, Piece{header.Name, size, hex.EncodeToString(sum.Sum(nil))})
		return err
	})
	switch {
	case err != nil:
		return Manifest{}, err
	case m.Format == 0:
		return Manifest{}, fmt.Errorf("%w: it has no manifest, and so was cut off", ErrArchive)
	case !slices.Equal(pieces, m.Pieces):
		return Manifest{}, fmt.Errorf("%w: %s", ErrArchive, difference(pieces, m.Pieces))
	}
	return m, nil
}

func difference(found, want []Piece) string {
	for i, piece := range want {
		if i >= len(found) || found[i] != piece {
			return piece.Name + " is not what the manifest says"
		}
	}
	return "it has more than the manifest says"
}

// readArchive visits the entries of an archive, up to the end of the file.
func readArchive(ctx context.Context, name string, visit func(*tar.Header, io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	compressed, err := gzip.NewReader(bufio.NewReaderSize(untilDone{ctx, file}, 1<<20))
	if err != nil {
		return damaged(ctx, err)
	}
	entries := tar.NewReader(compressed)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return damaged(ctx, err)
		}
		failing := &failingReader{r: entries}
		if err := visit(header, failing); err != nil {
			if failing.err != nil {
				return damaged(ctx, failing.err)
			}
			return err
		}
	}
	if _, err := io.Copy(io.Discard, compressed); err != nil { // gzip's checksum comes at the end
		return damaged(ctx, err)
	}
	return nil
}

func damaged(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrArchive, err)
}

// failingReader remembers why it could not go on.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// Restore makes a database and artifact stores of an archive.
type Restore struct {
	// URI is of the database, which has to be empty.
	URI string
	// Stores have no files but those of the archive, which a restore that was broken off has left.
	Stores artifacts.Stores
}

// Check tells why the restore is not possible.
func (r *Restore) Check(ctx context.Context, m Manifest) error {
	if err := models.CanRestore(ctx, r.URI, m.Snapshot); err != nil {
		return err
	}
	copied := m.artifacts()
	for location := range copied {
		if _, err := r.place(location); err != nil {
			return err
		}
	}
	if !m.Artifacts {
		return nil
	}
	return everyFile(ctx, r.Stores, func(at artifacts.Place) error {
		piece, ok := copied[at.Location()]
		if ok {
			object, err := at.Store.Open(ctx, at.Path)
			if err != nil {
				return err
			}
			defer object.Close()
			sum, err := digest(ctx, object)
			if err != nil {
				return err
			}
			ok = sum == piece.SHA256
		}
		if !ok {
			return fmt.Errorf("the artifact store is not empty: it has %s; restore into an empty one", at.Location())
		}
		return nil
	})
}

// place is where a piece goes.
func (r *Restore) place(location string) (artifacts.Place, error) {
	at, err := r.Stores.Locate(location)
	if err == nil && at.Location() != location {
		err = fmt.Errorf("its place is %s", at.Location())
	}
	if err != nil {
		return at, fmt.Errorf("%s: no flag names the store that it goes to; give the same --artifacts-destination and --default-artifact-root as the server: %w", location, err)
	}
	return at, nil
}

// Run restores an archive of which CheckBackup has given the manifest: the files first, so that there is no database before it
// can be served. Broken off, it can be run again.
func (r *Restore) Run(ctx context.Context, file string, m Manifest) (err error) {
	if err := r.Check(ctx, m); err != nil {
		return err
	}
	parent := "" // the system's folder for temporary files
	if target, err := models.ParseURI(r.URI); err == nil && target.Path != "" {
		parent = filepath.Dir(target.Path)
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(parent, ".greenroom-restore-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	copied := m.artifacts()
	err = readArchive(ctx, file, func(header *tar.Header, content io.Reader) error {
		if name, ok := strings.CutPrefix(header.Name, databaseFolder); ok && name == path.Base(name) {
			return extract(filepath.Join(work, name), content)
		}
		piece := Piece{Name: header.Name}
		location, ok := piece.location()
		if !ok {
			return nil // the manifest
		}
		at, err := r.place(location)
		if err != nil {
			return err
		}
		stored, err := at.Store.Put(ctx, at.Path, content, header.Size)
		if err == nil && (stored.SHA256 != copied[location].SHA256 || stored.Size != copied[location].Size) {
			err = ErrArchive
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", location, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return models.Restore(ctx, r.URI, work, m.Snapshot, r.keeper(m))
}

func extract(name string, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// keeper tells which of the database's records of files stay: those of files as they are in the archive, those of files that
// were bad when it was made, and those of files that it does not have.
func (r *Restore) keeper(m Manifest) func(location, sha256 string) bool {
	copied, bad := m.artifacts(), map[string]bool{}
	for _, finding := range m.Bad {
		bad[finding.Location] = true
	}
	return func(location, sha256 string) bool {
		if _, err := r.Stores.Locate(location); !m.Artifacts || bad[location] || err != nil {
			return true
		}
		piece, ok := copied[location]
		return ok && piece.SHA256 == sha256
	}
}
