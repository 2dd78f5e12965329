//go:build !linux

package reliability_test

import "syscall"

// mortal is nothing where a process can not be bound to the one that starts it.
func mortal() *syscall.SysProcAttr { return nil }
