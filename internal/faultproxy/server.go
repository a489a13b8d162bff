package faultproxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a Proxy on a loopback port, which it can close and open again.
type Server struct {
	URL string // http://127.0.0.1:port

	http *http.Server
	addr string
	done chan struct{} // closed by Close
	over chan struct{} // closed when the http.Server has ended

	mu     sync.Mutex
	inner  net.Listener // nil: down
	conns  map[net.Conn]http.ConnState
	timer  *time.Timer // that ends an outage
	dead   bool        // Down, until Up
	closed bool
	take   chan net.Conn
	feeds  sync.WaitGroup
}

// Listen serves the proxy on a free port of the loopback interface until Close. A Proxy has one Server.
func (p *Proxy) Listen() (*Server, error) {
	s := &Server{
		done: make(chan struct{}), over: make(chan struct{}), take: make(chan net.Conn), conns: map[net.Conn]http.ConnState{},
		addr: "127.0.0.1:0",
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.URL = "http://" + s.addr
	s.http = &http.Server{
		Handler: p, IdleTimeout: p.plan.IdleTimeout, ConnState: s.watch, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), // broken connections are what this is for
	}
	p.mu.Lock()
	p.server = s
	p.mu.Unlock()
	go func() {
		defer close(s.over)
		_ = s.http.Serve(gate{s}) // ends with http.ErrServerClosed
	}()
	return s, nil
}

// Close ends the server and every connection.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	s.shut()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	err := s.http.Close()
	<-s.over
	s.feeds.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		tear(conn)
	}
	return err
}

// Down makes the server a dead one: the listener is closed, every connection reset.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.shut()
	for conn := range s.conns {
		tear(conn)
	}
}

// Up ends what Down began, on the same port.
func (s *Server) Up() error {
	s.mu.Lock()
	s.dead = false
	s.mu.Unlock()
	return s.open()
}

// outage closes the listener and idle connections for a while; false if it is closed already.
func (s *Server) outage(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner == nil || s.closed {
		return false
	}
	s.shut()
	for conn, state := range s.conns {
		if state == http.StateIdle {
			_ = conn.Close()
		}
	}
	s.timer = time.AfterFunc(d, s.reopen)
	return true
}

// reopen ends an outage. Where an outgoing connection of somebody has been given the port meanwhile, it waits for its end.
func (s *Server) reopen() {
	if err := s.open(); err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.dead {
		s.timer = time.AfterFunc(20*time.Millisecond, s.reopen)
	}
}

// shut is called with mu held.
func (s *Server) shut() {
	if s.inner != nil {
		_ = s.inner.Close()
		s.inner = nil
	}
}

func (s *Server) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.inner != nil || s.dead {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return err
	}
	s.inner, s.addr = l, l.Addr().String()
	s.feeds.Go(func() { s.feed(l) })
	return nil
}

// feed hands connections to the http.Server until the listener is closed.
func (s *Server) feed(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a client that went away while it queued
		}
		if !s.admit(l, conn) {
			tear(conn)
			continue
		}
		select {
		case s.take <- conn:
		case <-s.done:
			tear(conn)
			return
		}
	}
}

// admit remembers a connection that the http.Server does not know yet, so that Down ends it, too; false: its listener was
// closed meanwhile.
func (s *Server) admit(l net.Listener, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner != l {
		return false
	}
	s.conns[conn] = http.StateNew
	return true
}

// watch remembers connections, the hijacked too, until they are closed.
func (s *Server) watch(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateClosed {
		delete(s.conns, conn)
		return
	}
	s.conns[conn] = state
}

// gate is the listener that outlives the outages.
type gate struct{ *Server }

func (g gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.take:
		return conn, nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}

func (g gate) Close() error { return nil }

func (g gate) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
