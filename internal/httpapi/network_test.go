package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
)

// network is HTTP over pipes, so that real client and server code runs in a synctest bubble, where a minute takes no time.
type network struct {
	mu    sync.Mutex
	down  error // what a dial gets instead of a connection
	dials int
	wrap  func(net.Conn) net.Conn // of the server's end
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// newNetwork serves handler until the test ends and returns the transport that reaches it, by whatever host name.
func newNetwork(t *testing.T, handler http.Handler) (*network, *transport) {
	t.Helper()
	n := &network{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- server.Serve(n) }()
	tr := newTransport(func(*http.Request) (*url.URL, error) { return nil, nil }, n.dial)
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return n, tr
}

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	down, wrap := n.down, n.wrap
	n.mu.Unlock()
	if down != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: down}
	}
	client, server := net.Pipe()
	if wrap != nil {
		server = wrap(server)
	}
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) setDown(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = err
}

func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error   { n.once.Do(func() { close(n.done) }); return nil }
func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// text answers with status and body, for any request.
func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// inTurn answers the first request by the first handler, and so on; the last stays.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	next := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(next, len(handlers)-1)]
		next++
		mu.Unlock()
		h(w, r)
	}
}

// hangUp breaks the connection instead of answering.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
