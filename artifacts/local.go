package artifacts

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
)

// stagingDir holds uploads until they are complete and trees until they are
// deleted. It lies in the root, so that a rename moves between the two.
const stagingDir = reservedPrefix + "s"

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600

	copyBufferBytes = 512 << 10
	writeBackBytes  = 8 << 20
)

// Local stores artifacts as files of a folder. All access goes through os.Root,
// so that no symbolic link leads out of it.
type Local struct {
	root *os.Root
}

var (
	_ Store       = (*Local)(nil)
	_ Multiparter = (*Local)(nil)
)

// OpenLocal opens the folder dir, creates it if it is missing, and removes what
// interrupted uploads and deletes left behind. Uploads of other processes that
// are still running stay.
func OpenLocal(dir string) (*Local, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("create artifact folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact folder: %w", err)
	}
	l := &Local{root: root}
	if err := l.sweepStaging(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return l, nil
}

// Close releases the folder. Objects that are open stay readable.
func (l *Local) Close() error { return l.root.Close() }

// sweepStaging clears the staging folder, if there is one.
func (l *Local) sweepStaging() error {
	entries, err := fs.ReadDir(l.root.FS(), stagingDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read upload folder: %w", err)
	}
	for _, entry := range entries {
		if err := l.sweep(entry); err != nil {
			return fmt.Errorf("remove interrupted upload: %w", err)
		}
	}
	return nil
}

// sweep removes a staged file or tree, unless a process is still writing it.
func (l *Local) sweep(entry fs.DirEntry) error {
	name := path.Join(stagingDir, entry.Name())
	if entry.Type().IsRegular() {
		f, err := l.root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close() // open until the name is gone to keep the lock, see createStaged
		if lock(f) != nil {
			return nil
		}
	}
	return l.root.RemoveAll(name)
}

// Open implements Store.
func (l *Local) Open(_ context.Context, p string) (*Object, error) {
	clean, err := CanonicalPath(p)
	if err != nil {
		return nil, err
	}
	// Asked before opening, because opening a named pipe would wait.
	info, err := l.stat(clean)
	if err != nil {
		return nil, describe("open", clean, err)
	}
	if err := wantFile(info); err != nil {
		return nil, describe("open", clean, err)
	}
	f, err := l.root.Open(clean)
	if err != nil {
		return nil, describe("open", clean, err)
	}
	if info, err = f.Stat(); err == nil {
		err = wantFile(info)
	}
	if err != nil {
		return nil, errors.Join(describe("open", clean, err), f.Close())
	}
	return &Object{
		ReadSeekCloser: f,
		Size:           info.Size(),
		ModTime:        info.ModTime(),
		ETag:           etag(info),
		Stamp:          func() (Stamp, bool) { return stamp(f) },
	}, nil
}

// wantFile refuses folders, and treats devices, pipes and sockets as missing.
func wantFile(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return ErrIsDir
	case !info.Mode().IsRegular():
		return fs.ErrNotExist
	}
	return nil
}

// Put implements Store.
func (l *Local) Put(ctx context.Context, p string, body io.Reader, size int64) (Stored, error) {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return Stored{}, err
	}
	if err := l.checkTarget(clean); err != nil {
		return Stored{}, describe("put", clean, err)
	}
	f, name, stored, err := l.stage(ctx, body, size)
	if err != nil {
		return Stored{}, describe("put", clean, err)
	}
	defer f.Close() // not before the file has its name: a sweep would take it away without the lock
	if err := l.place(name, clean); err != nil {
		return Stored{}, errors.Join(describe("put", clean, err), l.discard(name))
	}
	return stored, nil
}

// discard removes a staged file, unless it has got its name or is gone.
func (l *Local) discard(staged string) error {
	if err := l.root.Remove(staged); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// checkTarget finds what can't succeed before the body is read.
func (l *Local) checkTarget(clean string) error {
	info, err := l.root.Stat(clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return ErrIsDir
	}
	return nil
}

// stage writes body to a new file in the staging folder, durably, and returns
// it, which is locked while it is open, with its name. On error the file is gone.
func (l *Local) stage(ctx context.Context, body io.Reader, size int64) (f *os.File, name string, stored Stored, err error) {
	f, name, err = l.createStaged()
	if err != nil {
		return nil, "", Stored{}, err
	}
	if stored, err = fill(ctx, f, body, size); err != nil {
		return nil, "", Stored{}, errors.Join(err, f.Close(), l.root.Remove(name))
	}
	return f, name, stored, nil
}

// fill writes body, of size bytes or UnknownSize, to a file, durably.
func fill(ctx context.Context, f *os.File, body io.Reader, size int64) (Stored, error) {
	sum := sha256.New()
	if err := copyAndSum(f, sum, contextReader{ctx, body}, size); err != nil {
		return Stored{}, err
	}
	if err := ctx.Err(); err != nil {
		return Stored{}, err
	}
	if err := f.Sync(); err != nil {
		return Stored{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Stored{}, err
	}
	return Stored{Size: info.Size(), ETag: etag(info), SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// copyAndSum adds up each part of body while it is written and the next one is read. Of a large body the disk is given parts
// early, so that the sync at the end has little left to wait for.
func copyAndSum(f *os.File, sum hash.Hash, body io.Reader, size int64) error {
	if size < 0 || size > copyBufferBytes {
		size = copyBufferBytes
	}
	part, spare := make([]byte, max(size, 1)), []byte(nil)
	var summing sync.WaitGroup
	defer summing.Wait()
	for given, written := int64(0), int64(0); ; part, spare = spare, part {
		n, readErr := fillPart(body, part)
		filled := part[:n]
		summing.Wait()
		if len(part) < copyBufferBytes {
			sum.Write(filled) // sooner than another goroutine would begin
		} else {
			summing.Go(func() { sum.Write(filled) })
		}
		if _, err := f.Write(filled); err != nil {
			return err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return readErr
		}
		if spare == nil {
			spare = make([]byte, len(part))
		}
		if written += int64(n); written-given >= writeBackBytes {
			startWriteBack(f, given, written-given)
			given = written
		}
	}
}

// fillPart reads until part is full, or an error of r, which may be io.EOF. A connection gives its bytes in small pieces, and
// each part costs two goroutines a change of turns.
func fillPart(r io.Reader, part []byte) (n int, err error) {
	for n < len(part) && err == nil {
		var read int
		read, err = r.Read(part[n:])
		n += read
	}
	return n, err
}

// etag is that of a file; a rename does not change it.
func etag(info fs.FileInfo) string {
	return fmt.Sprintf(`"%x-%x-%x"`, info.ModTime().UnixNano(), info.Size(), inode(info))
}

// createStaged creates and locks a file that no sweep of another process takes
// away. A sweep that comes between the creation and the lock either holds the
// lock or has removed the name; then another name is tried.
func (l *Local) createStaged() (f *os.File, name string, err error) {
	for range maxRaces {
		name = path.Join(stagingDir, rand.Text())
		f, err = l.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrNotExist) {
			if err = l.makeStaging(); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, "", fmt.Errorf("create upload file: %w", hideNotExist(err))
		}
		if err = lock(f); err == nil {
			if _, err = l.root.Stat(name); err == nil {
				return f, name, nil
			}
		}
		_ = f.Close() // empty, and given up
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("lock upload file: %w", errors.Join(err, l.root.Remove(name)))
		}
	}
	return nil, "", fmt.Errorf("create upload file: %w", hideNotExist(err))
}

// makeStaging creates the staging folder, with the first write.
func (l *Local) makeStaging() error {
	if err := l.root.Mkdir(stagingDir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// hideNotExist keeps a missing folder of ours from looking like a missing artifact.
func hideNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// maxRaces bounds how often a put or a delete gives way to others: each time, one of them has come to its end.
const maxRaces = 1000

// place moves a staged file to its path and makes that durable. It is ErrNoUpload if the staged file is gone, as that of an upload
// which was aborted is.
func (l *Local) place(staged, clean string) error {
	dir := path.Dir(clean)
	for attempt := 0; ; attempt++ {
		err := l.root.Rename(staged, clean)
		if err == nil {
			return l.syncDir(dir)
		}
		// The folder is missing; or a delete took it away after it was made.
		if !errors.Is(err, fs.ErrNotExist) || attempt == maxRaces {
			return hideNotExist(targetError(err))
		}
		if _, gone := l.root.Stat(staged); errors.Is(gone, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrNoUpload, hideNotExist(err))
		}
		if err := l.makeDirs(dir); err != nil {
			return err
		}
	}
}

// targetError translates the several ways in which systems refuse to rename a
// file onto a folder.
func targetError(err error) error {
	for _, errno := range []syscall.Errno{syscall.EISDIR, syscall.ENOTEMPTY, syscall.EEXIST} {
		if errors.Is(err, errno) {
			return ErrIsDir
		}
	}
	return err
}

// makeDirs creates dir and the folders above it, each durably.
func (l *Local) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	err := l.root.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.makeDirs(path.Dir(dir)); err != nil {
			return err
		}
		err = l.root.Mkdir(dir, dirMode)
	}
	switch {
	case err == nil:
		return l.syncDir(path.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		info, err := l.root.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a delete was faster; place tries again
		}
		if err == nil && !info.IsDir() {
			return ErrNotDir
		}
		return err
	case errors.Is(err, fs.ErrNotExist):
		return nil // as above
	}
	return err
}

// syncDir makes the names in dir durable. A folder that is gone needs nothing.
func (l *Local) syncDir(dir string) error {
	f, err := l.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// List implements Store.
func (l *Local) List(ctx context.Context, p string) ([]Entry, error) {
	clean, err := CanonicalPath(p)
	if err != nil {
		return nil, err
	}
	info, err := l.stat(clean)
	if err != nil {
		return nil, describe("list", clean, err)
	}
	if !info.IsDir() {
		return nil, describe("list", clean, ErrNotDir)
	}
	found, err := fs.ReadDir(l.root.FS(), rootName(clean))
	if err != nil {
		return nil, describe("list", clean, err)
	}
	entries := make([]Entry, 0, len(found))
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if name, err := CanonicalPath(f.Name()); err != nil || name != f.Name() {
			continue
		}
		// Follows links inside the root; what leads out of it, or is neither
		// file nor folder, can't be opened and isn't shown.
		info, err := l.entryInfo(clean, f)
		switch {
		case err != nil:
			continue
		case info.IsDir():
			entries = append(entries, Entry{Name: f.Name(), IsDir: true})
		case info.Mode().IsRegular():
			entries = append(entries, Entry{Name: f.Name(), Size: info.Size()})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

// entryInfo spares the walk from the root for all but links.
func (l *Local) entryInfo(dir string, entry fs.DirEntry) (fs.FileInfo, error) {
	if entry.Type()&fs.ModeSymlink != 0 {
		return l.root.Stat(path.Join(dir, entry.Name()))
	}
	return entry.Info()
}

// Delete implements Store. A tree is first moved out of sight as a whole, so
// that nobody sees half of it and an interrupted delete ends at the next start.
func (l *Local) Delete(_ context.Context, p string) error {
	clean, err := CanonicalPath(p)
	if err != nil {
		return err
	}
	if clean == "" {
		return &PathError{Path: p, Reason: "the artifact root can't be deleted; name a file or folder in it"}
	}
	// Stat follows links: one that leads out of the folder is the operator's.
	if _, err := l.stat(clean); err != nil {
		if err = describe("delete", clean, err); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := l.makeStaging(); err != nil {
		return fmt.Errorf("create upload folder: %w", hideNotExist(err))
	}
	doomed := path.Join(stagingDir, rand.Text())
	if err := l.root.Rename(clean, doomed); err != nil {
		if err = describe("delete", clean, err); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := l.syncDir(path.Dir(clean)); err != nil {
		return describe("delete", clean, err)
	}
	for attempt := 0; ; attempt++ {
		err := l.root.RemoveAll(doomed)
		if err == nil {
			return nil
		}
		// A put that had found the folder before it was moved placed its file meanwhile.
		if !errors.Is(err, syscall.ENOTEMPTY) || attempt == maxRaces {
			return describe("delete", clean, err)
		}
	}
}

// stat follows links. What would lie below a file does not exist.
func (l *Local) stat(clean string) (fs.FileInfo, error) {
	info, err := l.root.Stat(rootName(clean))
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, fs.ErrNotExist
	}
	return info, err
}

func rootName(clean string) string {
	if clean == "" {
		return "."
	}
	return clean
}

// describe adds what was attempted, and translates what the system says into
// the errors that Store promises.
func describe(op, clean string, err error) error {
	var (
		errno   syscall.Errno
		pathErr *fs.PathError
		linkErr *os.LinkError
	)
	switch {
	case errors.As(err, &errno):
		switch {
		case isNoSpace(errno):
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		case errno == syscall.ENOTDIR:
			err = fmt.Errorf("%w: %w", ErrNotDir, err)
		case errno == syscall.ELOOP:
			return &PathError{Path: clean, Reason: "it goes through a circle of symbolic links"}
		case errno == syscall.ENAMETOOLONG:
			return &PathError{Path: clean, Reason: "it is too long for the artifact folder's file system"}
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrClosed):
	case errors.As(err, &pathErr) || errors.As(err, &linkErr):
		// os.Root's own refusal, the only one that carries no errno.
		return &PathError{Path: clean, Reason: "it leaves the artifact folder through a symbolic link"}
	}
	return fmt.Errorf("%s artifact %q: %w", op, clean, err)
}

// contextReader ends a copy when the request is over.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
