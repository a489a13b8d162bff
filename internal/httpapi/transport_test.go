package httpapi

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// once leaves one attempt, so that a deadline is seen as it is.
var once = Retry{Attempts: 1}

func TestDeadlines(t *testing.T) {
	drip := func(every time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("1"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(every)
			}
		}
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		after   time.Duration
		want    string
	}{
		{"no headers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, headerTimeout, "GET /x: net/http: timeout awaiting response headers"},
		{"body never begins", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, idleTimeout, "GET /x: unusable answer: " + errIdle.Error()},
		{"body stalls", drip(time.Hour), idleTimeout, "GET /x: unusable answer: " + errIdle.Error()},
		{"body trickles", drip(10 * time.Second), paceWindow, "GET /x: unusable answer: " + errPace.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, tc.handler)
				start := time.Now()
				_, _, err := New(Config{BaseURL: base, Transport: tr, Retry: once}).Bytes(t.Context(), Request{Path: "/x"})
				if time.Since(start) != tc.after || fmt.Sprint(err) != tc.want {
					t.Errorf("after %v, want %v: %v", time.Since(start), tc.after, err)
				}
				time.Sleep(time.Hour) // the handlers' last sleep
			})
		})
	}
}

// TestNobodyWaitsForAnotherProtocol: a server that switches to one, unasked, has the connection for itself: neither a deadline nor
// Ctrl-C would end a read of what it never sends.
func TestNobodyWaitsForAnotherProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: canary\r\n\r\n")
			time.AfterFunc(time.Hour, func() { _ = conn.Close() })
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		start := time.Now()
		for method, attempts := range map[string]int{"POST": 1, "GET": 6} {
			err := c.JSON(t.Context(), Request{Method: method, Path: "/x"}, nil)
			var e *Error
			if !errors.Is(err, errSwitched) || !errors.As(err, &e) || e.Attempts != attempts || e.Ambiguous != (method == "POST") {
				t.Errorf("%s: got %v", method, err)
			}
		}
		if took := time.Since(start); took > time.Minute || n.dialled() != 7 {
			t.Errorf("%d connections in %v", n.dialled(), took)
		}
		time.Sleep(2 * time.Hour) // until the server has hung up
	})
}

// TestSlowBodyIsNoFailure: there is no deadline on the whole.
func TestSlowBodyIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		portion := strings.Repeat("x", 8<<10)
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 60 {
				_, _ = io.WriteString(w, portion)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(20 * time.Second)
			}
		}))
		got, _, err := New(Config{BaseURL: base, Transport: tr, Retry: once}).Bytes(t.Context(), Request{Path: "/x"})
		if err != nil || len(got) != 60*len(portion) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// stuck is a connection that takes what is written until it has had enough.
type stuck struct {
	net.Conn
	left int
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.left <= 0 {
		time.Sleep(time.Hour)
	}
	n, err := s.Conn.Read(p[:min(len(p), 4096)])
	s.left -= n
	return n, err
}

func TestUploadThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		n.wrap = func(c net.Conn) net.Conn { return &stuck{c, 100 << 10} }
		c := New(Config{BaseURL: base, Transport: tr, Retry: once})
		start := time.Now()
		err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body(strings.Repeat("x", 1<<20))}, nil)
		var e *Error
		if took := time.Since(start); !errors.As(err, &e) || !e.Ambiguous || took < idleTimeout || took > 2*idleTimeout {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(2 * time.Hour) // the stuck one's sleep
	})
}

// thin is a connection over which so many bytes come each second.
type thin struct {
	net.Conn
	perSecond int
}

func (c thin) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return c.Conn.Read(p[:min(len(p), c.perSecond)])
}

// TestUploadOverAThinLink: what moves is not ended, however long it takes; what merely trickles is.
func TestUploadOverAThinLink(t *testing.T) {
	for perSecond, whole := range map[int]bool{1000: true, 200: true, 100: false} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, tr := newNetwork(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
				n.wrap = func(c net.Conn) net.Conn { return thin{c, perSecond} }
				c := New(Config{BaseURL: base, Transport: tr, Retry: once})
				start := time.Now()
				err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body(strings.Repeat("x", 200<<10))}, nil)
				if (err == nil) != whole || !whole && time.Since(start) > 2*idleTimeout {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				time.Sleep(2 * time.Second) // the thin one's sleep
			})
		})
	}
}

// TestPaceIsTakenAnew: a body that came fast and then trickles is ended as one that always did.
func TestPaceIsTakenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 1<<20))
			for r.Context().Err() == nil {
				time.Sleep(10 * time.Second)
				_, _ = w.Write([]byte("1"))
				_ = http.NewResponseController(w).Flush()
			}
		}))
		start := time.Now()
		_, _, err := New(Config{BaseURL: base, Transport: tr, Retry: once}).Bytes(t.Context(), Request{Path: "/x"})
		if took := time.Since(start); !errors.Is(err, errPace) || took > 2*paceWindow {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(time.Minute) // the handler's sleep
	})
}

func TestConnectionsHaveADeadline(t *testing.T) {
	if d := newDialer(); d.Timeout != connectTimeout {
		t.Errorf("a connect may take %v", d.Timeout)
	}
}

// TestTLSHandshakeThatNobodyAnswers ends as a connect does, and as clearly before anything was sent.
func TestTLSHandshakeThatNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(200, "[]"))
		n.wrap = func(c net.Conn) net.Conn { return &stuck{Conn: c} }
		c := New(Config{BaseURL: "https://api.test", Transport: tr, Retry: once})
		start := time.Now()
		err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body("{}")}, nil)
		var e *Error
		if took := time.Since(start); took != connectTimeout || !errors.As(err, &e) || e.Ambiguous {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(3 * time.Hour) // the stuck one's sleep
	})
}

func TestEndlessHeadersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 512<<10))
		}))
		err := New(Config{BaseURL: base, Transport: tr, Retry: once}).JSON(t.Context(), Request{Path: "/x"}, nil)
		if err == nil || !strings.Contains(err.Error(), "exceeded 262144 bytes") {
			t.Errorf("got %v", err)
		}
	})
}

// tlsServer speaks TLS of at most a version, and HTTP/2 to those who want it. Its client trusts it.
func tlsServer(t *testing.T, newest uint16, handler http.HandlerFunc) (*httptest.Server, *Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MaxVersion: newest, MinVersion: tls.VersionTLS10} //nolint:gosec // what must be refused
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)                        // it complains of our hanging up
	srv.StartTLS()
	tr := NewTransport().(*transport)
	tr.http.TLSClientConfig.RootCAs = x509.NewCertPool()
	tr.http.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
	c := New(Config{BaseURL: srv.URL, Transport: tr, Retry: once})
	t.Cleanup(func() { c.Close(); srv.Close() })
	return srv, c
}

func TestOnlyHTTP11(t *testing.T) {
	_, c := tlsServer(t, tls.VersionTLS13, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	if got, _, err := c.Bytes(t.Context(), Request{Path: "/x"}); err != nil || string(got) != "HTTP/1.1" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	for version, welcome := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
		_, c := tlsServer(t, version, text(200, "[]"))
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); (err == nil) != welcome {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// TestCertificatesOfTheUsersFile: where the system does not read SSL_CERT_FILE by itself, we do; a file that is none is said
// to be so instead of trusting nobody.
func TestCertificatesOfTheUsersFile(t *testing.T) {
	srv, _ := tlsServer(t, tls.VersionTLS13, text(200, "[]"))
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := errors.Join(os.WriteFile(good, block, 0o600), os.WriteFile(bad, []byte("none"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ system, file, want string }{
		{"linux", good, ""}, // crypto/x509 does
		{"windows", "", ""},
		{"windows", bad, "SSL_CERT_FILE: no certificate in " + bad},
		{"darwin", filepath.Join(dir, "missing"), "SSL_CERT_FILE: open "},
	} {
		pool, err := certificates(tc.system, tc.file)
		if pool != nil || tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
			t.Errorf("%s, %s: %v, %v", tc.system, tc.file, pool, err)
		}
	}
	pool, err := certificates("darwin", good)
	if err != nil {
		t.Fatal(err)
	}
	tr := NewTransport().(*transport)
	tr.http.TLSClientConfig.RootCAs = pool
	c := New(Config{BaseURL: srv.URL, Transport: tr})
	defer c.Close()
	if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
		t.Error(err)
	}
	tr.broken = errors.New("SSL_CERT_FILE: no certificate")
	err = c.JSON(t.Context(), Request{Path: "/x"}, nil)
	if want := "GET /x: SSL_CERT_FILE: no certificate"; !errors.Is(err, tr.broken) || err.Error() != want {
		t.Errorf("a broken file: %v, want at once %s", err, want)
	}
}

func TestIdleConnectionsCloseBeforeTheServers(t *testing.T) {
	for pause, dials := range map[time.Duration]int{3 * time.Second: 1, 4500 * time.Millisecond: 2} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, tr := newNetwork(t, text(200, "[]"))
				c := New(Config{BaseURL: base, Transport: tr})
				for range 2 {
					if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
						t.Fatal(err)
					}
					time.Sleep(pause)
				}
				if n.dialled() != dials {
					t.Errorf("%d connections, want %d", n.dialled(), dials)
				}
			})
		})
	}
}

func TestLimitsOfAnswers(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		read    int64 // at most
	}{
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}, limit + 64<<10},
		{"declared", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9000000000000000000")
			_, _ = w.Write([]byte("x"))
		}, 0},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 1 << 10 {
				_, _ = z.Write(make([]byte, 64<<10))
			}
			_ = z.Close()
		}, limit + 64<<10},
		{"deep", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("[", 100_000)) }, 100_000},
		{"deep and whole", text(200, strings.Repeat(`{"a":[`, 40)+strings.Repeat(`]}`, 40)), 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, tc.handler)
				c := New(Config{BaseURL: base, Transport: tr})
				var out any
				err := c.JSON(t.Context(), Request{Path: "/x", MaxBytes: limit}, &out)
				var e *Error
				if !errors.Is(err, ErrTooLarge) || !errors.As(err, &e) || e.Attempts != 1 {
					t.Errorf("got %v, want ErrTooLarge at once", err)
				}
				if c.BytesRead() > tc.read {
					t.Errorf("read %d bytes, want at most %d", c.BytesRead(), tc.read)
				}
			})
		})
	}
	t.Run("exactly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, tr := newNetwork(t, text(200, strings.Repeat("x", limit)))
			got, _, err := New(Config{BaseURL: base, Transport: tr}).Bytes(t.Context(), Request{Path: "/x", MaxBytes: limit})
			if err != nil || len(got) != limit {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	})
	t.Run("braces in strings are no depth", func(t *testing.T) {
		if tooDeep([]byte(`["` + strings.Repeat(`[{\"`, 1000) + `"]`)) {
			t.Error("too deep")
		}
	})
}

// TestTruncatedAnswerOfAnyTransport: net/http notices by itself; a transport that does not is no excuse.
func TestTruncatedAnswerOfAnyTransport(t *testing.T) {
	tr := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, ContentLength: 100, Body: io.NopCloser(strings.NewReader("only this")), Request: r}, nil
	})
	_, _, err := New(Config{BaseURL: base, Transport: tr, Retry: once}).Bytes(t.Context(), Request{Path: "/x"})
	if want := "GET /x: unusable answer: 9 bytes of 100: unexpected EOF"; !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPageInsteadOfAnImageIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, inTurn(text(http.StatusOK, "\n<HTML><title>welcome to our hotel"), text(http.StatusOK, "jpeg")))
		got, _, err := New(Config{BaseURL: base, Transport: tr}).Bytes(t.Context(), Request{Path: "/x"})
		if err != nil || string(got) != "jpeg" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestEndlessErrorAnswerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
		if Status(err) != 404 || len(err.Error()) > 300 || c.BytesRead() > 2*maxErrorBytes {
			t.Errorf("%d bytes read: %v", c.BytesRead(), err)
		}
	})
}

func TestRateLimitsDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, perSecond, burst = 1 << 20, 64 << 10, 10_000
		_, tr := newNetwork(t, text(200, strings.Repeat("x", size)))
		c := New(Config{BaseURL: base, Transport: tr, Rate: rate.NewLimiter(perSecond, burst)})
		start := time.Now()
		for range 2 {
			if _, _, err := c.Bytes(t.Context(), Request{Path: "/x"}); err != nil {
				t.Fatal(err)
			}
		}
		want := (2*size - burst) * time.Second / perSecond
		if took := time.Since(start); took < want*99/100 || took > want*101/100 {
			t.Errorf("took %v, want about %v", took, want)
		}
		if c.BytesRead() != 2*size {
			t.Errorf("BytesRead = %d", c.BytesRead())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.Bytes(ctx, Request{Path: "/x"}); err == nil || c.Requests() != 3 {
			t.Errorf("a context that ends while the limit holds it: %v after %d requests", err, c.Requests())
		}
	})
}
