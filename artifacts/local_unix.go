//go:build unix

package artifacts

import (
	"io/fs"
	"os"
	"syscall"
)

// lock marks an upload as alive until f is closed; it fails at once when
// another process holds the lock.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// inode tells two files apart that were written in the same clock tick.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

// isNoSpace holds for a full disk, a used-up quota, and a file that is larger
// than the file system or the process's limits allow.
func isNoSpace(errno syscall.Errno) bool {
	return errno == syscall.ENOSPC || errno == syscall.EDQUOT || errno == syscall.EFBIG
}
