package upkeep

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
)

// A backup is a tar archive, compressed with gzip: the files of models.Store.BackUp below database/, those of the artifact stores below
// artifacts/, and the manifest last, so that an archive without one is not whole.
const (
	backupFormat   = 1
	manifestName   = "manifest.json"
	databaseFolder = "database/"
	artifactFolder = "artifacts/"

	maxManifestBytes = 1 << 30
)

// Manifest tells what a backup holds.
type Manifest struct {
	Format    int       `json:"format"`
	Greenroom string    `json:"greenroom"` // the version that made it
	BegunAt   time.Time `json:"begun_at"`  // whatever was acknowledged before is in it
	EndedAt   time.Time `json:"ended_at"`
	models.Snapshot
	Artifacts bool    `json:"artifacts"` // the files of the artifact stores are in it
	Pieces    []Piece `json:"pieces"`
	// Bad are files that were not what the database knows of them. What has no piece with the digest that the database knows,
	// and is not bad, was replaced or deleted after the database was copied; it has no record any more when it is restored.
	Bad []Finding `json:"bad"`
	// Elsewhere is how many files that the database knows are in stores that were not given.
	Elsewhere int64 `json:"elsewhere"`
}

// Piece is one file of a backup.
type Piece struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// location is where an artifact was, as the database knows it; ok is false for another piece.
func (p Piece) location() (location string, ok bool) {
	rest, ok := strings.CutPrefix(p.Name, artifactFolder)
	if !strings.HasPrefix(rest, "/") && !strings.Contains(rest, "://") {
		rest = artifacts.ServedRoot + "/" + rest
	}
	return rest, ok
}

// IsArtifact tells whether the piece is a file of an artifact store.
func (p Piece) IsArtifact() bool { return strings.HasPrefix(p.Name, artifactFolder) }

func pieceOf(location string) string {
	return artifactFolder + strings.TrimPrefix(location, artifacts.ServedRoot+"/")
}

// ErrArchive reports a backup that is damaged, cut off or none.
var ErrArchive = errors.New("this is no whole backup")

// Backup copies a database and its artifacts into an archive.
type Backup struct {
	Store  *models.Store
	Stores artifacts.Stores
	// Artifacts tells to copy the files of the stores, too.
	Artifacts bool
	Greenroom string // this version
	Now       func() time.Time
}

// Write makes the archive at a path, where nothing may be, for this user alone. It appears there when it is whole and durable.
func (b *Backup) Write(ctx context.Context, file string) (m Manifest, err error) {
	if _, err := os.Lstat(file); err == nil {
		return Manifest{}, fmt.Errorf("%s is there already", file)
	}
	work, err := os.MkdirTemp(filepath.Dir(file), ".greenroom-backup-")
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	temp, err := os.OpenFile(filepath.Join(work, "archive"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Manifest{}, err
	}
	defer temp.Close()
	if m, err = b.write(ctx, temp, work); err != nil {
		return Manifest{}, err
	}
	if err := temp.Sync(); err != nil {
		return Manifest{}, err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return Manifest{}, err
	}
	return m, syncFolder(filepath.Dir(file))
}

func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// write copies the database first: what it points to is then still there, unless it was deleted since, and files that came since do no harm.
func (b *Backup) write(ctx context.Context, to io.Writer, work string) (Manifest, error) {
	compressed, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return Manifest{}, err
	}
	w := &archiveWriter{tar: tar.NewWriter(compressed), now: b.Now()}
	w.manifest = Manifest{Format: backupFormat, Greenroom: b.Greenroom, BegunAt: w.now, Artifacts: b.Artifacts, Pieces: []Piece{}, Bad: []Finding{}}
	if err := b.copyDatabase(ctx, w, filepath.Join(work, "database")); err != nil {
		return Manifest{}, err
	}
	if b.Artifacts {
		if err := b.copyArtifacts(ctx, w); err != nil {
			return Manifest{}, err
		}
	}
	w.manifest.EndedAt = b.Now()
	if err := errors.Join(w.finish(), compressed.Close()); err != nil {
		return Manifest{}, err
	}
	return w.manifest, nil
}

func (b *Backup) copyDatabase(ctx context.Context, w *archiveWriter, dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if w.manifest.Snapshot, err = b.Store.BackUp(ctx, dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		file, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err == nil {
			err = w.add(ctx, databaseFolder+entry.Name(), file, info.Size())
		}
		if err := errors.Join(err, file.Close(), os.Remove(file.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyArtifacts copies every file of the stores.
func (b *Backup) copyArtifacts(ctx context.Context, w *archiveWriter) error {
	err := everyFile(ctx, b.Stores, func(at artifacts.Place) error {
		object, err := at.Store.Open(ctx, at.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, artifacts.ErrIsDir) {
			return nil // deleted since it was listed
		}
		if err == nil {
			err = w.add(ctx, pieceOf(at.Location()), object, object.Size)
			object.Close()
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", at.Location(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.compare(ctx, &w.manifest)
}

// compare finds the files that are not what the database knows of them. A record that is younger than the backup is of a
// file that came after it was copied.
func (b *Backup) compare(ctx context.Context, m *Manifest) error {
	copied := m.artifacts()
	for last := ""; ; {
		rows, err := b.Store.ArtifactRecords(ctx, last, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if r.StoredAt >= m.BegunAt.UnixMilli() {
				continue
			}
			if _, err := b.Stores.Locate(r.Location); err != nil {
				m.Elsewhere++
				continue
			}
			piece, ok := copied[r.Location]
			finding := Finding{Location: r.Location, Expected: describe(r.Size, r.SHA256), Found: describe(piece.Size, piece.SHA256)}
			switch {
			case ok && (r.SHA256 == piece.SHA256 || r.SHA256 == "" && r.Size == piece.Size):
				continue
			case !ok:
				finding.Status, finding.Found = Missing, "nothing"
			case piece.Size < r.Size:
				finding.Status = Truncated
			default:
				finding.Status = Altered
			}
			m.Bad = append(m.Bad, finding)
		}
		last = rows[len(rows)-1].Location
	}
}

// artifacts are the pieces by the locations of the files.
func (m *Manifest) artifacts() map[string]Piece {
	found := map[string]Piece{}
	for _, piece := range m.Pieces {
		if location, ok := piece.location(); ok {
			found[location] = piece
		}
	}
	return found
}

// archiveWriter writes an archive and its manifest.
type archiveWriter struct {
	tar      *tar.Writer
	now      time.Time
	manifest Manifest
}

func (w *archiveWriter) add(ctx context.Context, name string, content io.Reader, size int64) error {
	if err := w.tar.WriteHeader(w.header(name, size)); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w.tar, sum), untilDone{ctx, content}, make([]byte, 256<<10))
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d bytes came", n, size)
	}
	if err != nil {
		return err
	}
	w.manifest.Pieces = append(w.manifest.Pieces, Piece{name, size, hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (w *archiveWriter) header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.now, Format: tar.FormatPAX}
}

func (w *archiveWriter) finish() error {
	text, err := json.Marshal(w.manifest)
	if err != nil {
		return err
	}
	if err := w.tar.WriteHeader(w.header(manifestName, int64(len(text)))); err != nil {
		return err
	}
	if _, err := w.tar.Write(text); err != nil {
		return err
	}
	return w.tar.Close()
}
