package reliability_test

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// TestR18_SlowAndIdleConnectionsHarmNobody holds connections whose header never ends, and idle ones beside them. Others are
// served, the slow ones are closed, the idle ones can still be used.
func TestR18_SlowAndIdleConnectionsHarmNobody(t *testing.T) {
	n := size(500, 10_000)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n = min(n, (int(files.Max)-1000)/2) // the server gets the hard limit by itself, and so does this process
	s := startServer(t, modelstest.EmptySQLite(t))
	const idleRequest = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
	slow, idle := make([]net.Conn, n), make([]net.Conn, n)
	for i := range n {
		slow[i], idle[i] = dial(t, s), dial(t, s)
		send(t, slow[i], "GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		exchangeRaw(t, idle[i], idleRequest)
	}
	begin := time.Now()
	var last atomic.Int64
	var done sync.WaitGroup
	for _, c := range slow {
		done.Go(func() {
			closed := make(chan struct{})
			go func() { // until the server has had enough
				defer close(closed)
				_, _ = c.Read(make([]byte, 4096)) // an answer or the end
			}()
			for tick := time.NewTicker(5 * time.Second); ; {
				select {
				case <-closed:
					for took := int64(time.Since(begin)); ; {
						if before := last.Load(); took <= before || last.CompareAndSwap(before, took) {
							return
						}
					}
				case <-tick.C:
					_, _ = c.Write([]byte("a")) // fails when the server has closed
				}
			}
		})
	}
	median, worst := others(t, s, 500)
	memory := s.memory()
	done.Wait()
	for _, c := range idle {
		exchangeRaw(t, c, idleRequest)
	}
	if memory > 300<<20 {
		t.Errorf("the server holds %d MiB", memory>>20)
	}
	report(t, "R18", "slow", n, "idle", n, "memory", strconv.FormatInt(memory>>20, 10)+"MiB", "others_median", median, "others_max", worst,
		"last_slow_closed", milliseconds(time.Duration(last.Load())))
	s.stop()
}

func dial(t testing.TB, s *server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// exchangeRaw sends a request over a connection that stays open, and wants a 200.
func exchangeRaw(t testing.TB, c net.Conn, request string) {
	t.Helper()
	send(t, c, request)
	answer := make([]byte, 4096)
	if k, err := c.Read(answer); err != nil || !bytes.HasPrefix(answer[:k], []byte("HTTP/1.1 200 ")) {
		t.Fatalf("%q %v", answer[:k], err)
	}
}
