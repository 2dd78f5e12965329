package reliability_test

import "syscall"

// mortal makes a process end with the test's, however that ends.
func mortal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
