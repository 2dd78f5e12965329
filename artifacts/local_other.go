//go:build !unix

package artifacts

import (
	"io/fs"
	"os"
	"syscall"
)

// lock needs to do nothing: these systems refuse to remove an open file.
func lock(*os.File) error { return nil }

func inode(fs.FileInfo) uint64 { return 0 }

func isNoSpace(errno syscall.Errno) bool { return errno == syscall.ENOSPC }
