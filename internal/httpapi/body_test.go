package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestDeclaredLengthCostsNoMemory: 64 answers say that megabytes are coming, and send none.
func TestDeclaredLengthCostsNoMemory(t *testing.T) {
	const workers, most = 64, 40 << 20 // bytes for all; twice what is trusted and what connections take
	for _, status := range []int{http.StatusInternalServerError, http.StatusOK} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", fmt.Sprint(4<<20))
					w.WriteHeader(status)
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}))
				c := New(Config{BaseURL: base, Transport: tr, Retry: once})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for range workers {
					all.Go(func() { _ = c.JSON(ctx, Request{Path: "/x"}, nil) })
				}
				synctest.Wait()
				runtime.ReadMemStats(&after)
				if grown := after.TotalAlloc - before.TotalAlloc; grown > most {
					t.Errorf("%d MiB for %d answers that have sent no byte", grown>>20, workers)
				}
				cancel()
				all.Wait()
			})
		})
	}
}

// TestLargeDocumentsTakeTurns: of documents beyond largeDocument, largeAtOnce are in memory; the others wait, and smaller
// ones do not.
func TestLargeDocumentsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/small" {
				_, _ = io.WriteString(w, "[]")
				return
			}
			_, _ = io.WriteString(w, "["+strings.Repeat(" ", 3<<20))
			<-finish
			_, _ = io.WriteString(w, "]")
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		var all sync.WaitGroup
		for range 3 * largeAtOnce {
			all.Go(func() {
				if err := c.JSON(t.Context(), Request{Path: "/large"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if read, most := c.BytesRead(), int64(largeAtOnce*(3<<20+1)+2*largeAtOnce*(2*largeDocument)); read > most {
			t.Errorf("%d bytes are in memory, want at most %d", read, most)
		}
		if err := c.JSON(t.Context(), Request{Path: "/small"}, nil); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if err := c.JSON(ctx, Request{Path: "/large"}, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("one that is ended while it waits: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		close(finish)
		all.Wait()
		if n := len(c.large); n != 0 {
			t.Errorf("%d turns were not ended", n)
		}
	})
}

// TestBodyOfARedirectIsRead, so that its connection serves the next request; one without end is not.
func TestBodyOfARedirectIsRead(t *testing.T) {
	for name, tc := range map[string]struct{ size, dials int }{"little": {10_000, 1}, "endless": {1 << 30, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var writing atomic.Int64
				n, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					writing.Add(1)
					defer writing.Add(-1)
					if r.URL.Path == "/slash/" {
						_, _ = io.WriteString(w, "[]")
						return
					}
					w.Header().Set("Location", "/slash/")
					w.WriteHeader(http.StatusTemporaryRedirect)
					for range tc.size / 1000 {
						if _, err := io.WriteString(w, strings.Repeat("x", 1000)); err != nil {
							return
						}
					}
				}))
				c := New(Config{BaseURL: base, Transport: tr})
				if err := c.JSON(t.Context(), Request{Path: "/slash"}, nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if left := writing.Load(); left != 0 {
					t.Errorf("%d answers are still being written", left)
				}
				if n.dialled() != tc.dials || c.BytesRead() > 2*maxErrorBytes {
					t.Errorf("%d connections, want %d; %d bytes read", n.dialled(), tc.dials, c.BytesRead())
				}
			})
		})
	}
}

// TestCutErrorShowsNoPartOfASecret: what is longer than we read, or breaks off, may do so within a password.
func TestCutErrorShowsNoPartOfASecret(t *testing.T) {
	const password = "canary horse battery staple"
	for name, handler := range map[string]http.HandlerFunc{
		"too long":           text(http.StatusNotFound, "first\n"+strings.Repeat("x", maxErrorBytes-20)+" "+password),
		"too long, one line": text(http.StatusNotFound, strings.Repeat("x", maxErrorBytes-10)+" "+password),
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			text(http.StatusNotFound, "first\nyou sent canary hor")(w, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			c := New(Config{BaseURL: srv.URL, Retry: once, Secrets: []string{password}})
			defer c.Close()
			err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
			want := "GET /x: 404 Not Found"
			if !strings.HasSuffix(name, "one line") {
				want += ": first"
			}
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
