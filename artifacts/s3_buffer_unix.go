//go:build unix

package artifacts

import (
	"fmt"
	"syscall"
)

// allocate gets memory of which only those pages count that are written to.
func allocate(size int) ([]byte, error) {
	buffer, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate an upload buffer of %d bytes: %w", size, err)
	}
	return buffer, nil
}

func release(buffer []byte) {
	_ = syscall.Munmap(buffer) // fails for what allocate has not returned only
}
