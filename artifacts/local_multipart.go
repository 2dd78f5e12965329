package artifacts

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// multipartDir holds a folder for each multipart upload. It is not the staging
// folder, which a start of the server clears: an upload goes on after that.
const multipartDir = reservedPrefix + "-parts"

// What is in the folder of an upload, besides the parts, which are named by
// their numbers and end with the SHA-256 of what comes before.
const (
	targetName = "path" // the file to be; its lock is held while the parts are put together
	doneName   = "done" // after that: a doneUpload
	joinedName = "file" // with a dash and a random text: the parts so far put together
)

// maxTargetBytes is far beyond maxPathBytes, and bounds what is read of a damaged file.
const maxTargetBytes = 64 << 10

// completePoll is how often the second of two calls that complete an upload looks whether the first has ended.
const completePoll = 50 * time.Millisecond

// doneUpload remembers what a completed upload was made of, until it is swept.
type doneUpload struct {
	Parts  []Part
	Stored Stored
}

// CreateUpload implements Multiparter.
func (l *Local) CreateUpload(_ context.Context, p string) (id string, err error) {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return "", err
	}
	if err := l.checkTarget(clean); err != nil {
		return "", describe("create upload of", clean, err)
	}
	if err := l.root.Mkdir(multipartDir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", describe("create upload of", clean, hideNotExist(err))
	}
	id = rand.Text()
	dir := uploadDir(id)
	if err := l.root.Mkdir(dir, dirMode); err != nil {
		return "", describe("create upload of", clean, hideNotExist(err))
	}
	err = l.writeIn(dir, targetName, strings.NewReader(clean), nil)
	if err == nil {
		err = l.syncDir(multipartDir)
	}
	if err != nil {
		return "", errors.Join(describe("create upload of", clean, hideNotExist(err)), l.root.RemoveAll(dir))
	}
	return id, nil
}

func uploadDir(id string) string { return path.Join(multipartDir, id) }

// openUpload opens the file that names the target of an upload. It is
// ErrNoUpload if there is none, or it is of another path.
func (l *Local) openUpload(clean, id string) (*os.File, error) {
	isID := id != "" && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
	if !isID {
		return nil, ErrNoUpload
	}
	f, err := l.root.Open(path.Join(uploadDir(id), targetName))
	if err != nil {
		return nil, uploadError(err)
	}
	target, err := io.ReadAll(io.LimitReader(f, maxTargetBytes))
	if err == nil && string(target) != clean {
		err = ErrNoUpload
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// uploadError takes a folder that is not there for an upload that was aborted.
func uploadError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoUpload
	}
	return err
}

// writeIn makes the file dir/name of what body holds, and of what tail gives
// after that, durably and at once.
func (l *Local) writeIn(dir, name string, body io.Reader, tail func() []byte) (err error) {
	temp := path.Join(dir, name+"-"+rand.Text())
	f, err := l.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // closed already, when that is what failed
			_ = l.root.Remove(temp)
		}
	}()
	if _, err = io.CopyBuffer(struct{ io.Writer }{f}, body, make([]byte, copyBufferBytes)); err != nil {
		return err
	}
	if tail != nil {
		if _, err = f.Write(tail()); err != nil {
			return err
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return l.root.Rename(temp, path.Join(dir, name))
}

// PutPart implements Multiparter.
func (l *Local) PutPart(ctx context.Context, p, id string, number int, body io.Reader, size int64) (tag string, err error) {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return "", err
	}
	describePart := func(err error) error {
		return fmt.Errorf("part %d: %w", number, describe("put part of", clean, uploadError(err)))
	}
	if number < 1 || number > MaxParts || size < 0 {
		return "", describePart(fmt.Errorf("%w: parts have the numbers from 1 to %d, and tell their size", ErrPart, MaxParts))
	}
	f, err := l.openUpload(clean, id)
	if err != nil {
		return "", describePart(err)
	}
	if err := f.Close(); err != nil {
		return "", describePart(err)
	}
	switch _, err := l.readDone(id); {
	case err == nil:
		return "", describePart(ErrNoUpload)
	case !errors.Is(err, fs.ErrNotExist):
		return "", describePart(err)
	}
	sum := sha256.New()
	part := &exactReader{r: io.TeeReader(contextReader{ctx, body}, sum), left: size}
	if err := l.writeIn(uploadDir(id), strconv.Itoa(number), part, func() []byte { return sum.Sum(nil) }); err != nil {
		return "", describePart(err)
	}
	return partETag(sum.Sum(nil)), nil
}

// UploadSize implements Multiparter.
func (l *Local) UploadSize(_ context.Context, p, id string) (int64, error) {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return 0, err
	}
	f, err := l.openUpload(clean, id)
	if err != nil {
		return 0, describe("measure upload of", clean, err)
	}
	if err := f.Close(); err != nil {
		return 0, describe("measure upload of", clean, err)
	}
	entries, err := fs.ReadDir(l.root.FS(), uploadDir(id))
	var bytes int64
	for _, entry := range entries {
		info, missing := entry.Info()
		if missing != nil || strings.Trim(entry.Name(), "0123456789") != "" {
			continue // replaced or aborted meanwhile, or no part
		}
		bytes += info.Size() - sha256.Size // which stands behind the part's bytes
	}
	if err != nil {
		return 0, describe("measure upload of", clean, uploadError(err))
	}
	return bytes, nil
}

func partETag(sum []byte) string { return `"` + hex.EncodeToString(sum) + `"` }

// CompleteUpload implements Multiparter. It copies the parts into one file, so
// that until it ends the disk holds the file twice: a part that were deleted
// after it was copied would be lost if the server died in between.
//
// Calls for one upload wait for each other, those of other processes too.
func (l *Local) CompleteUpload(ctx context.Context, p, id string, parts []Part, ready func() error) (Stored, error) {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return Stored{}, err
	}
	stored, err := l.complete(ctx, clean, id, parts, ready)
	if err != nil {
		return Stored{}, describe("complete upload of", clean, err)
	}
	return stored, nil
}

func (l *Local) complete(ctx context.Context, clean, id string, parts []Part, ready func() error) (Stored, error) {
	target, err := l.openUpload(clean, id)
	if err != nil {
		return Stored{}, err
	}
	defer target.Close() // and with it the lock
	if err := waitLock(ctx, target); err != nil {
		return Stored{}, err
	}
	switch done, err := l.readDone(id); {
	case err == nil && slices.Equal(done.Parts, parts):
		return done.Stored, nil
	case err == nil:
		return Stored{}, ErrNoUpload
	case !errors.Is(err, fs.ErrNotExist):
		return Stored{}, err
	}
	if err := l.checkParts(ctx, id, parts); err != nil {
		return Stored{}, err
	}
	if err := l.checkTarget(clean); err != nil {
		return Stored{}, err
	}
	l.clear(id, func(name string) bool { return !strings.HasPrefix(name, joinedName) }) // of a process that was killed
	name, stored, err := l.join(ctx, id, parts)
	if err != nil {
		return Stored{}, err
	}
	if ready != nil {
		if err := ready(); err != nil {
			return Stored{}, errors.Join(err, l.discard(name))
		}
	}
	if err := l.place(name, clean); err != nil {
		return Stored{}, errors.Join(err, l.discard(name))
	}
	// The file is there. What fails now, or is cut off by the end of the process, costs a repeated call another copy.
	record, err := json.Marshal(doneUpload{parts, stored})
	if err == nil {
		err = l.writeIn(uploadDir(id), doneName, bytes.NewReader(record), nil)
	}
	if err == nil {
		l.clear(id, func(name string) bool { return name == targetName || name == doneName })
	}
	return stored, nil
}

// clear makes room in the folder of an upload that is locked. What it does not remove SweepUploads does.
func (l *Local) clear(id string, keep func(name string) bool) {
	entries, _ := fs.ReadDir(l.root.FS(), uploadDir(id))
	for _, entry := range entries {
		if !keep(entry.Name()) {
			_ = l.root.Remove(path.Join(uploadDir(id), entry.Name()))
		}
	}
}

// waitLock locks f, as soon as nobody else holds the lock.
func waitLock(ctx context.Context, f *os.File) error {
	for {
		err := lock(f)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(completePoll):
		}
	}
}

func (l *Local) readDone(id string) (*doneUpload, error) {
	text, err := l.root.ReadFile(path.Join(uploadDir(id), doneName))
	if err != nil {
		return nil, err
	}
	done := &doneUpload{}
	return done, json.Unmarshal(text, done)
}

// checkParts finds a mistake before gigabytes are copied.
func (l *Local) checkParts(ctx context.Context, id string, parts []Part) error {
	if len(parts) == 0 {
		return fmt.Errorf("%w: there are none", ErrPart)
	}
	last := 0
	for _, part := range parts {
		switch {
		case part.Number < 1 || part.Number > MaxParts:
			return fmt.Errorf("%w: parts have the numbers from 1 to %d, not %d", ErrPart, MaxParts, part.Number)
		case part.Number <= last:
			return fmt.Errorf("%w: part %d comes after part %d", ErrPart, part.Number, last)
		}
		last = part.Number
		if err := ctx.Err(); err != nil {
			return err
		}
		f, _, err := l.openPart(id, part)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openPart opens a part of which the caller knows the ETag, and tells its size without what is kept after it.
func (l *Local) openPart(id string, part Part) (_ *os.File, size int64, err error) {
	f, err := l.root.Open(path.Join(uploadDir(id), strconv.Itoa(part.Number)))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := l.root.Stat(uploadDir(id)); errors.Is(err, fs.ErrNotExist) {
			return nil, 0, ErrNoUpload
		}
		return nil, 0, fmt.Errorf("%w: part %d was not uploaded", ErrPart, part.Number)
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	sum := make([]byte, sha256.Size)
	if size = info.Size() - sha256.Size; size < 0 {
		return nil, 0, fmt.Errorf("%w: part %d is damaged; upload it again", ErrPart, part.Number)
	}
	if _, err := f.ReadAt(sum, size); err != nil {
		return nil, 0, err
	}
	if tag := partETag(sum); strings.Trim(part.ETag, `"`) != strings.Trim(tag, `"`) {
		return nil, 0, fmt.Errorf("%w: part %d was uploaded with another ETag", ErrPart, part.Number)
	}
	return f, size, nil
}

// join copies the parts into a new file in the folder of the upload, durably, and returns its name.
func (l *Local) join(ctx context.Context, id string, parts []Part) (_ string, _ Stored, err error) {
	name := path.Join(uploadDir(id), joinedName+"-"+rand.Text())
	f, err := l.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", Stored{}, uploadError(err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // closed already, when that is what failed
			_ = l.root.Remove(name)
		}
	}()
	sum, buffer := sha256.New(), make([]byte, copyBufferBytes)
	for _, part := range parts {
		if err := l.appendPart(ctx, f, sum, id, part, buffer); err != nil {
			return "", Stored{}, err
		}
	}
	if err := f.Sync(); err != nil {
		return "", Stored{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", Stored{}, err
	}
	return name, Stored{Size: info.Size(), ETag: etag(info), SHA256: hex.EncodeToString(sum.Sum(nil))}, f.Close()
}

func (l *Local) appendPart(ctx context.Context, to io.Writer, sum hash.Hash, id string, part Part, buffer []byte) error {
	f, size, err := l.openPart(id, part)
	if err != nil {
		return err
	}
	defer f.Close()
	content := &exactReader{r: f, left: size}
	_, err = io.CopyBuffer(io.MultiWriter(to, sum), contextReader{ctx, content}, buffer)
	return err
}

// AbortUpload implements Multiparter. A CompleteUpload that is under way ends
// with ErrNoUpload, unless it is past the point where the file appears.
func (l *Local) AbortUpload(_ context.Context, p, id string) error {
	clean, err := CanonicalFilePath(p)
	if err != nil {
		return err
	}
	f, err := l.openUpload(clean, id)
	if errors.Is(err, ErrNoUpload) {
		return nil
	}
	if err == nil {
		err = errors.Join(f.Close(), l.dropUpload(id))
	}
	if err != nil {
		return describe("abort upload of", clean, err)
	}
	return nil
}

// dropUpload moves the folder of an upload away as a whole, so that an
// interrupted removal ends at the next start.
func (l *Local) dropUpload(id string) error {
	if err := l.makeStaging(); err != nil {
		return hideNotExist(err)
	}
	doomed := path.Join(stagingDir, rand.Text())
	if err := l.root.Rename(uploadDir(id), doomed); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return l.root.RemoveAll(doomed)
}

// SweepUploads implements Multiparter. It drops what is remembered of completed uploads, too, and what uploads and deletes of
// processes that were killed left behind; these don't count.
func (l *Local) SweepUploads(ctx context.Context, before time.Time) (dropped int, err error) {
	if err := l.sweepStaging(); err != nil {
		return 0, err
	}
	entries, err := fs.ReadDir(l.root.FS(), multipartDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read folder of multipart uploads: %w", err)
	}
	var failed error
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return dropped, err
		}
		unfinished, err := l.sweepUpload(entry.Name(), before)
		if err != nil {
			failed = fmt.Errorf("drop multipart upload: %w", err) // the others go on
		} else if unfinished {
			dropped++
		}
	}
	return dropped, failed
}

// sweepUpload drops an upload that was begun before a time and is not being completed, and tells whether it dropped one without an end.
func (l *Local) sweepUpload(id string, before time.Time) (dropped bool, err error) {
	f, err := l.root.Open(path.Join(uploadDir(id), targetName))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = l.root.Open(uploadDir(id)) // begun, and cut off at once
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // and with it the lock
	info, err := f.Stat()
	if err != nil || !info.ModTime().Before(before) || lock(f) != nil {
		return false, err
	}
	_, err = l.readDone(id)
	return err != nil, l.dropUpload(id)
}
