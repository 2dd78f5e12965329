//go:build linux

// Command confined starts a program whose disk the caller controls.
//
//	confined [-tmpfs DIR -size BYTES -inodes N] [-watched] PROGRAM [ARGUMENT...]
//
// With -tmpfs, DIR is a file system of that size and as many files and folders, which only the program has. With -watched, the kernel asks before each call
// of it that changes a file; who may answer is sent over the socket that is file descriptor 3.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	tmpfs := flag.String("tmpfs", "", "folder to mount a file system of its own on")
	size := flag.Int64("size", 0, "its bytes")
	inodes := flag.Int64("inodes", 0, "how many files and folders it has; 0 for any number")
	watched := flag.Bool("watched", false, "have the kernel ask before writes")
	flag.Parse()
	if err := run(*tmpfs, *size, *inodes, *watched, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "confined:", err)
		os.Exit(1)
	}
}

func run(tmpfs string, size, inodes int64, watched bool, command []string) error {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // a filter and a mount namespace are this thread's until it becomes the program
	if tmpfs != "" {
		if err := mount(tmpfs, size, inodes); err != nil {
			return fmt.Errorf("mount on %s: %w", tmpfs, err)
		}
	}
	if watched {
		if err := watch(3); err != nil {
			return fmt.Errorf("watch the program's calls: %w", err)
		}
	}
	return syscall.Exec(program, command, os.Environ())
}

func mount(folder string, size, inodes int64) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", size, inodes))
}

// calls are those by which a file's content or name changes.
var calls = []uint32{
	unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE,
	unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE,
}

// watch installs a filter that passes calls on to whoever holds its listener, and sends the listener over the socket.
func watch(socket int) error {
	const number = 0 // where seccomp_data has the call's number
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for i, call := range calls {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(calls) - i)})
	}
	program = append(program,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return errno
	}
	return unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0) // the listener itself is closed on exec
}
