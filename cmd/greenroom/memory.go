package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// ballastBytes are never touched, and so take no memory, but count as alive: a server's few live megabytes are collected once for as
// many bytes that requests have allocated, and not for every few.
const ballastBytes = 16 << 20

// calmGC gives back what the start has allocated, and makes the garbage collector run less often until the function that it gives is
// called, unless the operator has set it up.
func calmGC() (end func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	go debug.FreeOSMemory()
	ballast := make([]byte, ballastBytes)
	return func() { runtime.KeepAlive(ballast) }
}
