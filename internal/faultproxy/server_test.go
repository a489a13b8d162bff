package faultproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRefuse(t *testing.T) {
	_, _, s, c := start(t, Plan{Schedule: onlyFirst(Refuse), Outage: time.Hour})
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.body != whole {
		t.Fatalf("got %+v", got)
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); !errors.Is(got.err, syscall.ECONNREFUSED) {
		t.Errorf("during the outage: %v", got.err)
	}
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.body != whole {
		t.Errorf("after it: %+v", got)
	}
}

func TestRefuseEndsByItself(t *testing.T) {
	_, _, s, c := start(t, Plan{Schedule: onlyFirst(Refuse), Outage: 20 * time.Millisecond})
	ask(t, c, http.MethodGet, s.URL+"/doc")
	refused := 0
	for {
		got := ask(t, c, http.MethodGet, s.URL+"/doc")
		if got.body == whole {
			break
		}
		if refused++; !errors.Is(got.err, syscall.ECONNREFUSED) {
			t.Fatalf("got %+v", got)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

func TestDownAndUp(t *testing.T) {
	_, _, s, c := start(t, Plan{})
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.body != whole {
		t.Fatalf("got %+v", got)
	}
	s.Down()
	for range 3 {
		if got := ask(t, c, http.MethodPost, s.URL+"/doc"); got.err == nil {
			t.Fatalf("a dead server answers %+v", got)
		}
	}
	if got := ask(t, c, http.MethodPost, s.URL+"/doc"); !errors.Is(got.err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", got.err)
	}
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.body != whole {
		t.Errorf("got %+v", got)
	}
}

// TestDownEndsConnectionsThatNobodyHasAskedOn: those that are accepted, and not yet the http.Server's, are reset like all.
func TestDownEndsConnectionsThatNobodyHasAskedOn(t *testing.T) {
	// Nobody takes what is accepted, as if the http.Server were about to.
	s := &Server{addr: "127.0.0.1:0", done: make(chan struct{}), take: make(chan net.Conn), conns: map[net.Conn]http.ConnState{}}
	defer s.feeds.Wait()
	defer close(s.done)
	for range 20 {
		if err := s.Up(); err != nil {
			t.Fatal(err)
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.Down()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a connection to a dead server: %v", err)
		}
		_ = conn.Close()
	}
}

// raw asks on a connection of its own and returns it after the answer, to see when the server ends it.
func raw(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /doc HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != whole || resp.Close || resp.Header.Get("Connection") != "" {
		t.Fatalf("answer %q, %v, announces its end: %v", b, err, resp.Close)
	}
	return conn, r
}

func TestCloseIdleComesWithoutAWord(t *testing.T) {
	_, _, s, _ := start(t, Plan{Schedule: onlyFirst(CloseIdle)})
	conn, r := raw(t, s)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func TestIdleTimeout(t *testing.T) {
	_, _, s, _ := start(t, Plan{IdleTimeout: 20 * time.Millisecond})
	began := time.Now() // before the server can count: it begins to while we are still reading, or wait for a processor
	conn, r := raw(t, s)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(began) < 20*time.Millisecond {
		t.Errorf("after %v: %v, want the end", time.Since(began), err)
	}
}

// TestUnderWayUntilTheTargetIsDone, also where the client has hung up.
func TestUnderWayUntilTheTargetIsDone(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	p := New(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-finish }), Plan{})
	s, err := p.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	_ = conn.Close()
	if n := p.UnderWay(); n != 1 {
		t.Errorf("%d under way", n)
	}
	close(finish)
	for p.UnderWay() != 0 {
		time.Sleep(time.Millisecond)
	}
}
