package modelstest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a TCP proxy in front of a database, whose connections can be made half-open.
type Proxy struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	stalled bool
	pairs   map[*pair]bool // those that pass bytes on
	dead    []net.Conn     // those that do no more
	last    []byte         // see EndAfter
}

// pair is the two sides of a connection.
type pair struct{ client, server net.Conn }

// NewProxy is a proxy in front of the PostgreSQL database at uri, and the URI of the database through it. It ends with the test.
func NewProxy(t testing.TB, uri string) (p *Proxy, through string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &Proxy{target: u.Host, listener: listener, pairs: map[*pair]bool{}}
	u.Host = listener.Addr().String()
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		accepting.Wait()
		p.close()
	})
	return p, u.String()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.mu.Lock()
		if p.stalled {
			p.dead = append(p.dead, client)
			p.mu.Unlock()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			p.mu.Unlock()
			continue
		}
		both := &pair{client, server}
		p.pairs[both] = true
		p.mu.Unlock()
		go p.pass(both, server, client)
		go p.pass(both, client, server)
	}
}

// pass copies one way, until one side ends or the connection is stalled: from then on nobody hears of the other's end.
func (p *Proxy) pass(both *pair, to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		if !p.pairs[both] {
			p.mu.Unlock()
			if err != nil {
				return
			}
			continue // read, so that the sender's kernel sees its bytes acknowledged
		}
		if err != nil {
			delete(p.pairs, both)
			both.client.Close()
			both.server.Close()
			p.mu.Unlock()
			return
		}
		last := false
		if at := bytes.Index(buffer[:n], p.last); from == both.server && p.last != nil && at >= 0 {
			n, last, p.last = at+len(p.last), true, nil
		}
		p.mu.Unlock()
		if _, err = to.Write(buffer[:n]); err != nil || last {
			from.Close()
		}
	}
}

// Stall makes all connections half-open for good, and new ones that are made until Heal.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
	for both := range p.pairs {
		p.dead = append(p.dead, both.client, both.server)
	}
	clear(p.pairs)
}

// EndAfter ends the connection on which the database next sends these bytes, right after them.
func (p *Proxy) EndAfter(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = []byte(answer)
}

// Heal lets new connections through again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = false
}

func (p *Proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for both := range p.pairs {
		both.client.Close()
		both.server.Close()
	}
	clear(p.pairs)
	for _, conn := range p.dead {
		conn.Close()
	}
}
