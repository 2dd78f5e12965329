package reliability_test

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// balancer is a load balancer: it sends requests, in turns, to the servers whose /readyz says 200, and repeats none.
type balancer struct {
	servers fleet
	ready   []atomic.Bool
	turn    atomic.Uint64
	url     string
}

// checkEvery is how often the balancer asks.
const checkEvery = 100 * time.Millisecond

func startBalancer(t testing.TB, servers fleet) *balancer {
	t.Helper()
	b := &balancer{servers: servers, ready: make([]atomic.Bool, len(servers))}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = "http://" + listener.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	front := &http.Server{ReadHeaderTimeout: deadline, Handler: &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			target, err := url.Parse(b.next().url)
			if err != nil {
				panic(err) // it is ours
			}
			r.SetURL(target)
			r.Out.Host = "" // the server's own
			r.Out.GetBody = nil
		},
	}}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i, s := range servers {
		b.ready[i].Store(s.ready())
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(checkEvery):
					b.ready[i].Store(s.ready())
				}
			}
		})
	}
	running.Go(func() { _ = front.Serve(listener) }) // until it is closed
	t.Cleanup(func() {
		close(stop)
		front.Close()
		running.Wait()
		transport.CloseIdleConnections()
	})
	return b
}

// next is the server for a request: one that is ready, or any if none is.
func (b *balancer) next() *server {
	for range b.servers {
		if i := int(b.turn.Add(1) % uint64(len(b.servers))); b.ready[i].Load() {
			return b.servers[i]
		}
	}
	return b.servers[0]
}

// TestR24_RollingRestartsFailNoRequest stops and starts two servers by turns while clients that never retry are at work.
func TestR24_RollingRestartsFailNoRequest(t *testing.T) {
	t.Parallel()
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		rollingRestarts(t, "R24-default", "", size(2, 20))
	})
	t.Run("chosen", func(t *testing.T) {
		t.Parallel()
		drain := "10s" // the balancer asks a hundred times within this, and a few times on a machine with much else to do
		if *full {
			drain = "3s"
		}
		rollingRestarts(t, "R24", drain, size(4, 100))
	})
}

// rollingRestarts gives the servers a time to drain, or "" for the default.
func rollingRestarts(t *testing.T, number, drain string, rounds int) {
	t.Helper()
	uri := modelstest.PostgreSQL(t)
	servers := fleet{newServer(t, uri), newServer(t, uri)}
	for _, s := range servers {
		if last := len(s.args) - 1; drain == "" {
			s.args = s.args[:last-1]
		} else {
			s.args[last] = drain
		}
		s.start()
	}
	b := startBalancer(t, servers)
	r, j := random(t), newJournal(t)
	through := &server{t: t, url: b.url}
	l := startLoad(t, through, j, "r", writers, r, false)
	var drains durations
	for round := range rounds {
		i := round % len(servers)
		l.waitFor(writers)
		begin := time.Now()
		servers[i].stop()
		drains = append(drains, time.Since(begin))
		servers[i].start()
		eventually(t, "the balancer finds the server ready", b.ready[i].Load)
	}
	l.end()
	for _, s := range servers {
		s.stop()
	}
	wantWithin(t, 10*time.Second, "a stop", drains.worst())
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, number, "restarts", rounds, "replicas", len(servers), "writers", writers, "attempted", sum.attempted, "acknowledged", sum.acknowledged,
		"failed", strconv.Itoa(sum.attempted-sum.acknowledged), "lost", sum.lost, "duplicated", sum.duplicated, "drain_median", drains.median(), "drain_max", drains.worst())
}
