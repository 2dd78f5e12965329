package reliability_test

import (
	"bytes"
	"net"
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
	idle := make([]net.Conn, n)
	var last atomic.Int64
	var done sync.WaitGroup
	for i := range n {
		slow := dial(t, s)
		begin := time.Now()
		send(t, slow, "GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		done.Go(func() {
			took := int64(untilClosed(slow, begin))
			for before := last.Load(); took > before && !last.CompareAndSwap(before, took); before = last.Load() {
			}
		})
		idle[i] = dial(t, s)
		exchangeRaw(t, idle[i], idleRequest)
	}
	took, held := others(t, s, 500), s.memory()
	done.Wait()
	for _, c := range idle {
		exchangeRaw(t, c, idleRequest)
	}
	// net/http has two buffers of 4 KiB and a stack of 8 KiB for each connection.
	if most := 60<<20 + memory(2*n)*20<<10; held > most {
		t.Errorf("the server holds %s, more than %s", held, most)
	}
	closed := time.Duration(last.Load())
	wantWithin(t, 250*time.Millisecond, "99 of 100 requests of others", took.p99())
	wantWithin(t, 15*time.Second, "the end of a slow connection", closed)
	report(t, "R18", "slow", n, "idle", n, "memory", held, "others_median", took.median(), "others_p99", took.p99(), "others_max", took.worst(),
		"last_slow_closed", closed)
	s.stop()
}

// untilClosed sends a header on, ever so slowly, until the server closes the connection. It gives how long it was open.
func untilClosed(c net.Conn, begin time.Time) time.Duration {
	closed := make(chan time.Duration)
	go func() {
		_, _ = c.Read(make([]byte, 4096)) // an answer or the end
		closed <- time.Since(begin)
	}()
	for tick := time.NewTicker(5 * time.Second); ; {
		select {
		case took := <-closed:
			tick.Stop()
			return took
		case <-tick.C:
			_, _ = c.Write([]byte("a")) // fails when the server has closed
		}
	}
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
