package artifacts

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteBack lets the disk begin with a part of a file, n bytes from an offset on. It promises nothing; what fails, a
// sync tells.
func startWriteBack(f *os.File, offset, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE)
}
