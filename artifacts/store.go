// Package artifacts stores the files of runs and models: streamed in and out,
// under paths that can't leave the store. It knows nothing of HTTP, runs or
// permissions.
package artifacts

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrIsDir reports a folder where a file is needed.
	ErrIsDir = errors.New("artifact path is a directory")
	// ErrNotDir reports a file where a folder is needed.
	ErrNotDir = errors.New("artifact path is not a directory")
	// ErrNoSpace reports that the storage is full, or its quota is used up.
	ErrNoSpace = errors.New("no space left in the artifact store")
	// ErrCorrupt reports a file that is not what the storage once took, by the
	// storage's own checksum.
	ErrCorrupt = errors.New("the storage has damaged the artifact")
)

// UnavailableError reports that the storage behind a Store failed, or did not
// answer in time. Its text is for the operator.
type UnavailableError struct {
	// Refused tells that the storage does not let this server in, or has no
	// such bucket: trying again does not help before the operator does.
	Refused bool
	Err     error
}

func (e *UnavailableError) Error() string { return "artifact store: " + e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// Store keeps artifacts. Every method passes its path through CanonicalPath and
// returns its *PathError, so a Store is safe with any string. Folders exist by
// the files in them: a store need not keep an empty one, and a file and a folder
// of the same name are refused only where the storage can't hold both.
//
// A Store is safe for concurrent use, by several processes too.
type Store interface {
	// Open returns the file at path; the caller closes it. The Object keeps
	// showing the content that was opened, or fails, when the file is replaced
	// meanwhile. A missing file is fs.ErrNotExist, a folder ErrIsDir.
	Open(ctx context.Context, path string) (*Object, error)

	// Put stores all of body at path, replaces what was there, and creates the
	// folders above. It is all or nothing: others see the old file until the
	// new one is complete and durable, and after an error nothing has changed.
	// It reads body in pieces of at most a few MiB. An error of body is
	// returned wrapped. size is how many bytes body has, or UnknownSize; body
	// itself tells when it is shorter. A folder at path is ErrIsDir, a file
	// above it ErrNotDir, a full disk ErrNoSpace.
	Put(ctx context.Context, path string, body io.Reader, size int64) (Stored, error)

	// List returns what lies directly in the folder, sorted by Name in byte
	// order. The empty path is the root, which always exists. A missing folder
	// is fs.ErrNotExist, a file ErrNotDir. Names that CanonicalPath refuses are
	// left out: no client could ask for them.
	List(ctx context.Context, path string) ([]Entry, error)

	// Delete removes the file, or the folder with all that is in it. What does
	// not exist is already deleted. The root is refused with a *PathError.
	Delete(ctx context.Context, path string) error
}

// UnknownSize is the size of a body that does not tell how long it is.
const UnknownSize = -1

// Stored is what a store tells of a file that it has just taken.
type Stored struct {
	Size   int64  // bytes
	ETag   string // as Object.ETag is from now on
	SHA256 string // of the content, in lower-case hex; empty if the bytes did not pass through the store
}

// Object is an open artifact. Seek is cheap: a store need not read what is
// skipped.
type Object struct {
	io.ReadSeekCloser
	Size    int64     // bytes
	ModTime time.Time // of the last Put
	ETag    string    // strong and quoted, as HTTP wants it; two contents never share one
	// Stamp tells in which state the open file is right now; ok is false if the system does not say. It is nil in a store that
	// marks no states.
	Stamp func() (s Stamp, ok bool)
}

// Stamp is how a file system marks a state of a file: to change the content, or a time that is part of this, makes another one.
type Stamp struct {
	Device, Inode     uint64
	Size              int64 // bytes
	Modified, Changed int64 // nanoseconds since 1970; nobody can set the latter
}

// Entry is a file or folder in a listing.
type Entry struct {
	Name  string // base name
	IsDir bool
	Size  int64 // bytes; 0 for a folder
}
