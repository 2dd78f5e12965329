package reliability_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faultyDisk answers a server's calls that change files below a folder: they succeed, until it is told to fail some.
type faultyDisk struct {
	folder   string
	listener int

	closed chan struct{} // when the server has ended

	recorder *recorder // nil for none

	mu     sync.Mutex
	errno  syscall.Errno
	picks  func(n int, call change) bool // nil for none
	seen   int                           // calls since picks was set
	failed []string
}

// change is one call of the server.
type change struct {
	name string
	path string // of the file or folder
}

func (c change) String() string { return c.name + " " + c.path }

// kind is the call and what sort of file it is of.
func (c change) kind() string {
	_, path, _ := strings.Cut(c.path, "/")
	switch top, rest, _ := strings.Cut(path, "/"); {
	case top != "artifacts":
		return c.name + " " + top
	case strings.HasPrefix(rest, ".greenroom"):
		return c.name + " upload"
	default:
		return c.name + " artifacts"
	}
}

// The kernel's structures, of linux/seccomp.h.
type (
	seccompData struct {
		number             int32
		architecture       uint32
		instructionPointer uint64
		arguments          [6]uint64
	}
	seccompNotification struct {
		id    uint64
		pid   uint32
		flags uint32
		data  seccompData
	}
	seccompResponse struct {
		id    uint64
		value int64
		errno int32 // negative
		flags uint32
	}
)

// changing are the calls that confined has the kernel ask about, with the argument that is the file which changes.
var changing = map[int32]struct {
	name     string
	argument int
}{
	unix.SYS_WRITE: {"write", 0}, unix.SYS_PWRITE64: {"pwrite", 0}, unix.SYS_FSYNC: {"fsync", 0}, unix.SYS_FDATASYNC: {"fdatasync", 0},
	unix.SYS_FTRUNCATE: {"ftruncate", 0}, unix.SYS_FALLOCATE: {"fallocate", 0}, unix.SYS_RENAMEAT: {"renameat", 2}, unix.SYS_RENAMEAT2: {"renameat2", 2},
	unix.SYS_MKDIRAT: {"mkdirat", 0}, unix.SYS_UNLINKAT: {"unlinkat", 0}, unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2},
	unix.SYS_SENDFILE: {"sendfile", 0}, unix.SYS_SPLICE: {"splice", 2},
}

// newFaultyDisk takes the listener that comes over the socket. The confined program waits at its first call until it is served.
func newFaultyDisk(t testing.TB, folder string, socket *os.File) *faultyDisk {
	t.Helper()
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), rights, 0)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("the confined program sent no listener: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return &faultyDisk{folder: folder, listener: fds[0], closed: make(chan struct{})}
}

// serve answers until the confined program has ended.
func (d *faultyDisk) serve() {
	defer close(d.closed)
	defer unix.Close(d.listener)
	for {
		ready := []unix.PollFd{{Fd: int32(d.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			return // the program has ended
		}
		var asked seccompNotification
		if d.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked)) != 0 {
			continue // the thread was interrupted or killed
		}
		answer := seccompResponse{id: asked.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		d.mu.Lock()
		what, ours := d.change(asked)
		if ours {
			d.seen++
			if d.picks != nil && d.picks(d.seen, what) {
				answer.errno, answer.flags = -int32(d.errno), 0
			}
		}
		var changes []event
		var noteErr error
		if ours && d.recorder != nil {
			changes, noteErr = d.recorder.note(asked, what.path)
		}
		switch answered := d.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)) == 0; {
		case ours && !answered:
			d.seen-- // it was interrupted, and comes again
		case answer.errno != 0:
			d.failed = append(d.failed, what.kind())
		case ours && d.recorder != nil:
			d.recorder.add(changes, noteErr)
		}
		d.mu.Unlock()
	}
}

func (d *faultyDisk) ioctl(request uintptr, argument unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.listener), request, uintptr(argument))
	return errno
}

// change tells what a call changes, if it is below the folder.
func (d *faultyDisk) change(asked seccompNotification) (change, bool) {
	call := changing[asked.data.number]
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", asked.pid, int32(asked.data.arguments[call.argument])))
	if err != nil || path != d.folder && !strings.HasPrefix(path, d.folder+"/") {
		return change{}, false
	}
	path, err = filepath.Rel(d.folder, path)
	return change{call.name, path}, err == nil
}

// fail lets the calls fail that picks chooses, by their number from now on, which counts from 1.
func (d *faultyDisk) fail(errno syscall.Errno, picks func(n int, call change) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errno, d.picks, d.seen, d.failed = errno, picks, 0, nil
}

// heal ends the faults, and tells which calls failed.
func (d *faultyDisk) heal() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.picks = nil
	return d.failed
}

// hasFailed tells whether a call failed since the last fail.
func (d *faultyDisk) hasFailed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.failed) > 0
}
