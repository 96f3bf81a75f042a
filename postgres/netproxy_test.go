package postgres_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A netProxy passes connections on to the server, and may cut them.
type netProxy struct {
	listener net.Listener
	server   string
	// cut is asked before a reply is passed on to a client that has sent the marker in
	// what it replies to; if it returns true, the connection is cut instead.
	cut func() bool
	// request is told of each request with the marker, before it is passed on, and cuts
	// the connection after that if it returns true.
	request func() bool

	mu    sync.Mutex // guards what follows
	down  bool
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// cancelRequest is the code of a message that asks to cancel another session's statement.
const cancelRequest = 80877102

// marker is in the payload of events whose appends the proxy looks at.
const marker = "the proxy looks at this"

// newNetProxy starts a proxy and returns the connection string to use it.
func newNetProxy(t *testing.T, dsn string) (*netProxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &netProxy{server: u.Host, conns: map[net.Conn]struct{}{}}
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
		p.stop()
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *netProxy) accept() {
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
		var marked flag
		p.wg.Go(func() {
			p.pass(client, server, func(b []byte) bool {
				if !bytes.Contains(b, []byte(marker)) {
					return false
				}
				marked.set(true)
				return p.request != nil && p.request()
			}, true)
		})
		p.wg.Go(func() {
			p.pass(server, client, func([]byte) bool {
				return marked.set(false) && p.cut != nil && p.cut()
			}, false)
		})
	}
}

// pass copies from one end to the other, and ends both when look says so: after what it
// was shown was passed on, or before.
func (p *netProxy) pass(from, to net.Conn, look func([]byte) bool, after bool) {
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

// cutAll cuts all connections.
func (p *netProxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// stop cuts all connections and lets nobody through any more.
func (p *netProxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.cutAll()
}

type flag struct {
	mu sync.Mutex // guards on
	on bool
}

// set sets the flag and returns what it was.
func (f *flag) set(on bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.on
	f.on = on
	return was
}
