package artifacts

import (
	"os"

	"golang.org/x/sys/unix"
)

func stamp(f *os.File) (Stamp, bool) {
	var stat unix.Stat_t
	if unix.Fstat(int(f.Fd()), &stat) != nil {
		return Stamp{}, false
	}
	return Stamp{Device: stat.Dev, Inode: stat.Ino, Size: stat.Size, Modified: stat.Mtim.Nano(), Changed: stat.Ctim.Nano()}, true
}
