package faulttest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy passes connections on to the server, and may cut them.
type Proxy struct {
	listener net.Listener
	server   string
	// Cut is asked before a reply is passed on to a client that has sent the marker in
	// what it replies to; if it returns true, the connection is cut instead.
	Cut func() bool
	// Request is told of each request with the marker, before it is passed on, and cuts
	// the connection after that if it returns true.
	Request func() bool

	mu    sync.Mutex // guards what follows
	down  bool
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// cancelRequest is the code of a message that asks to cancel another session's statement.
const cancelRequest = 80877102

// Marker is in the payload of events whose appends the proxy looks at.
const Marker = "the proxy looks at this"

// NewProxy starts a proxy to the server of the connection string, and returns the one
// to use it. It ends with the test.
func NewProxy(t testing.TB, dsn string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u.Host, conns: map[net.Conn]struct{}{}}
	if u.Port() == "" {
		p.server += ":5432"
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	q := u.Query()
	q.Set("sslmode", "disable") // the proxy reads along
	u.RawQuery = q.Encode()
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.Stop()
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.down {
			p.mu.Unlock()
			_, _ = client.Close(), server.Close()
			return
		}
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		var marked atomic.Bool
		p.wg.Go(func() {
			p.pass(client, server, func(b []byte) bool {
				if !bytes.Contains(b, []byte(Marker)) {
					return false
				}
				marked.Store(true)
				return p.Request != nil && p.Request()
			}, true)
		})
		p.wg.Go(func() {
			p.pass(server, client, func([]byte) bool {
				return marked.Swap(false) && p.Cut != nil && p.Cut()
			}, false)
		})
	}
}

// pass copies from one end to the other, and ends both when look says so: after what it
// was shown was passed on, or before.
func (p *Proxy) pass(from, to net.Conn, look func([]byte) bool, after bool) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		delete(p.conns, to)
		p.mu.Unlock()
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if n == 16 && binary.BigEndian.Uint32(buf[4:]) == cancelRequest {
			return // the driver tries to end what the server still works on
		}
		cut := n > 0 && look(buf[:n])
		if cut && !after {
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err == io.EOF || err != nil || cut {
			return
		}
	}
}

// CutAll cuts all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Stop cuts all connections and lets nobody through any more.
func (p *Proxy) Stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.CutAll()
}
