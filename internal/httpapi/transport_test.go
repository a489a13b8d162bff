package httpapi

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
		if !errors.As(err, &e) || !e.Ambiguous || time.Since(start) != idleTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		time.Sleep(2 * time.Hour) // the stuck one's sleep
	})
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
