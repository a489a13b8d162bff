package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const base = "http://api.test"

func body(s string) func() (io.Reader, int64, error) {
	return func() (io.Reader, int64, error) { return strings.NewReader(s), int64(len(s)), nil }
}

// TestWhatIsRepeated has a server that fails in one way for ever, or once.
func TestWhatIsRepeated(t *testing.T) {
	header := func(name, value string, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.Header().Set(name, value); h(w, r) }
	}
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"a":`)
	}
	for _, tc := range []struct {
		name       string
		fault      http.HandlerFunc
		get, post  int64 // requests that reach the server when it fails for ever
		ambiguous  bool  // of the POST
		wantStatus int
		want       string // the GET's text
	}{
		{"400", text(400, `{"detail":"Inactive user"}`), 1, 1, false, 400, "GET /x: 400 Bad Request: Inactive user"},
		{"403", text(403, `{"detail":"Access forbidden."}`), 1, 1, false, 403, "GET /x: 403 Forbidden: Access forbidden."},
		{"404", text(404, ``), 1, 1, false, 404, "GET /x: 404 Not Found"},
		{"408", text(408, ``), 6, 1, true, 408, "GET /x: 408 Request Timeout after 6 attempts"},
		{"409", text(409, ``), 1, 1, false, 409, "GET /x: 409 Conflict"},
		{"425", text(425, ``), 6, 6, false, 425, "GET /x: 425 Too Early after 6 attempts"},
		{"429", text(429, ``), 6, 6, false, 429, "GET /x: 429 Too Many Requests after 6 attempts"},
		{"500", text(500, "Traceback\n  File\nValueError: x\n"), 6, 1, true, 500, "GET /x: 500 Internal Server Error after 6 attempts: ValueError: x"},
		{"501", text(501, ``), 1, 1, true, 501, "GET /x: 501 Not Implemented"},
		{"502", text(502, `<html><title>Bad gateway</title>`), 6, 1, true, 502, "GET /x: 502 Bad Gateway after 6 attempts: Bad gateway"},
		{"503", text(503, ``), 6, 1, true, 503, "GET /x: 503 Service Unavailable after 6 attempts"},
		{"503 with Retry-After", header("Retry-After", "2", text(503, ``)), 6, 1, true, 503, "GET /x: 503 Service Unavailable after 6 attempts"},
		{"504", text(504, ``), 6, 1, true, 504, "GET /x: 504 Gateway Timeout after 6 attempts"},
		{"E2 HTML with 200", text(200, " <!DOCTYPE html><p>log in to the hotel"), 6, 1, true, 200, "GET /x: unusable answer after 6 attempts: " + errHTML.Error()},
		{"E2 broken JSON with 200", text(200, `{"a": [1, 2`), 6, 1, true, 200, "GET /x: unusable answer after 6 attempts: broken JSON"},
		{"truncated", short, 6, 1, true, 200, "GET /x: unusable answer after 6 attempts: unexpected EOF"},
		{"other shape", text(200, `{"a": 1}`), 1, 1, true, 200, "GET /x: unusable answer: JSON of another shape than expected: json: cannot unmarshal object into Go value of type []int"},
		{"empty", text(200, ``), 6, 1, true, 200, "GET /x: unusable answer after 6 attempts: an empty answer"},
		{"empty by its status", text(204, ``), 6, 1, true, 204, "GET /x: unusable answer after 6 attempts: an empty answer"},
		{"hang-up", hangUp, 6, 1, true, 0, "GET /x: no answer after 6 attempts: EOF"},
	} {
		for _, method := range []string{"GET", "POST", "idempotent POST"} {
			t.Run(tc.name+"/"+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var served atomic.Int64
					var heal atomic.Bool
					_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						served.Add(1)
						_, _ = io.Copy(io.Discard, r.Body)
						if heal.Load() {
							_, _ = io.WriteString(w, `[1]`)
							return
						}
						tc.fault(w, r)
					}))
					c := New(Config{BaseURL: base, Transport: tr})
					r := Request{Path: "/x"}
					want := tc.get
					if method != "GET" {
						r.Method, r.Body, r.Idempotent = "POST", body("abc"), method != "POST"
						if !r.Idempotent {
							want = tc.post
						}
					}
					var out []int
					err := c.JSON(t.Context(), r, &out)
					var e *Error
					if !errors.As(err, &e) {
						t.Fatalf("got %v, want an *Error", err)
					}
					if served.Load() != want || c.Requests() != want || e.Attempts != int(want) {
						t.Errorf("served %d, counted %d, Attempts %d, want %d", served.Load(), c.Requests(), e.Attempts, want)
					}
					if got, want := e.Ambiguous, tc.ambiguous && method == "POST"; got != want {
						t.Errorf("Ambiguous = %v, want %v", got, want)
					}
					if Status(err) != tc.wantStatus {
						t.Errorf("Status = %d, want %d", Status(err), tc.wantStatus)
					}
					if method == "GET" {
						if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
							t.Errorf("text (-want +got):\n%s", diff)
						}
					}

					// The server heals: what may be repeated succeeds, what may not was not sent again.
					heal.Store(true)
					if err := c.JSON(t.Context(), r, &out); err != nil || !cmp.Equal(out, []int{1}) {
						t.Errorf("after healing: %v, %v", out, err)
					}
				})
			})
		}
	}
}

func TestRetryHealsWithinTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, inTurn(text(500, ""), text(200, "<html>"), hangUp, text(200, "[7]")))
		c := New(Config{BaseURL: base, Transport: tr})
		start := time.Now()
		var out []int
		if err := c.JSON(t.Context(), Request{Path: "/x"}, &out); err != nil {
			t.Fatal(err)
		}
		if longest := (500 + 1000 + 2000) * time.Millisecond; time.Since(start) > longest {
			t.Errorf("took %v, more than full back-off %v", time.Since(start), longest)
		}
		if diff := cmp.Diff([]int{7}, out); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRetryAfterWins(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		least, most time.Duration
	}{
		{"seconds", "20", 20 * time.Second, 21 * time.Second},
		{"zero", "0", 0, time.Second},
		{"beyond Retry.For: the last attempt is at its end", "3600", time.Minute, time.Minute},
		{"no number of this world", strings.Repeat("9", 40), time.Minute, time.Minute},
		{"unreadable: back-off", "soon", 0, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, inTurn(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", tc.value)
					w.WriteHeader(http.StatusTooManyRequests)
				}, text(200, "[]")))
				c := New(Config{BaseURL: base, Transport: tr, Retry: Retry{For: time.Minute}})
				start := time.Now()
				if err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x"}, nil); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < tc.least || took > tc.most {
					t.Errorf("waited %v, want %v to %v", took, tc.least, tc.most)
				}
			})
		})
	}
	t.Run("date, by the server's own clock", func(t *testing.T) {
		now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
		h := http.Header{"Date": {now.Add(-time.Hour).Format(http.TimeFormat)}, "Retry-After": {now.Add(-time.Hour + 90*time.Second).Format(http.TimeFormat)}}
		if got, ok := retryAfter(h, now); !ok || got != 90*time.Second {
			t.Errorf("got %v, %v", got, ok)
		}
		h.Del("Date")
		if got, ok := retryAfter(h, now); !ok || got != 0 {
			t.Errorf("a date that has passed: got %v, %v, want 0", got, ok)
		}
	})
	t.Run("the error tells it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			err := New(Config{BaseURL: base, Transport: tr}).JSON(t.Context(), Request{Method: "POST", Path: "/x"}, nil)
			var e *Error
			if !errors.As(err, &e) || e.RetryAfter != 7*time.Second || !e.Ambiguous {
				t.Errorf("got %+v", e)
			}
		})
	})
}

// TestNobodyWaitsForMoreThanADay: whatever a header says, and in which way.
func TestNobodyWaitsForMoreThanADay(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for _, value := range []string{"86401", "9223372036854775807", strings.Repeat("9", 40), now.AddDate(50, 0, 0).Format(http.TimeFormat)} {
		if got, ok := retryAfter(http.Header{"Retry-After": {value}}, now); !ok || got != 24*time.Hour {
			t.Errorf("%s: %v, %v", value, got, ok)
		}
	}
	if got, _ := retryAfter(http.Header{"Retry-After": {"86399"}}, now); got != 86399*time.Second {
		t.Errorf("less than a day: %v", got)
	}
}

// TestBackoffHasFullJitterOverADoublingSpan: by counts of many draws, each quarter of the span has 500 of 2000; 300 are nine
// deviations below.
func TestBackoffHasFullJitterOverADoublingSpan(t *testing.T) {
	r := Retry{}.withDefaults()
	for _, tc := range []struct {
		failures int
		span     time.Duration
	}{{1, r.Base}, {2, 2 * r.Base}, {3, 4 * r.Base}, {6, 32 * r.Base}, {7, r.Max}, {60, r.Max}, {1000, r.Max}} {
		low, high, most := 0, 0, time.Duration(0)
		for range 2000 {
			d := r.backoff(tc.failures, 0, false)
			most = max(most, d)
			switch {
			case d < tc.span/4:
				low++
			case d > 3*tc.span/4:
				high++
			}
		}
		if most > tc.span || low < 300 || high < 300 {
			t.Errorf("after %d failures: up to %v of %v, %d in the lowest quarter, %d in the highest, of 2000", tc.failures, most, tc.span, low, high)
		}
	}
	seen := map[time.Duration]bool{}
	for range 100 {
		d := r.backoff(1, time.Minute, true)
		if d < time.Minute || d > time.Minute+r.Base {
			t.Errorf("Retry-After: 60 made %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("those sent away come back at %d moments of 100", len(seen))
	}
}

func TestRetryForBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, text(503, ""))
		c := New(Config{BaseURL: base, Transport: tr, Retry: Retry{Attempts: 1 << 30, For: 5 * time.Minute, Base: time.Second, Max: 30 * time.Second}})
		start := time.Now()
		err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
		if took := time.Since(start); Status(err) != 503 || took != 5*time.Minute {
			t.Errorf("ended after %v with %v, want exactly 5m0s", took, err)
		}
	})
}

func TestCancelEndsAWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, func() http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "100")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}())
		c := New(Config{BaseURL: base, Transport: tr})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		err := c.JSON(ctx, Request{Path: "/x"}, nil)
		if !errors.Is(err, context.Canceled) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestCancelledPostIsAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		c := New(Config{BaseURL: base, Transport: tr})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := c.JSON(ctx, Request{Method: "POST", Path: "/x"}, nil)
		var e *Error
		if !errors.As(err, &e) || !e.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestUnsentPostIsRepeated: a connection that was never there cannot have carried the request.
func TestUnsentPostIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(201, `{"id": 1}`))
		n.setDown(syscall.ECONNREFUSED)
		time.AfterFunc(400*time.Millisecond, func() { n.setDown(nil) })
		c := New(Config{BaseURL: base, Transport: tr, Retry: Retry{Attempts: 1000, Base: 100 * time.Millisecond, Max: 100 * time.Millisecond}})
		if err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body("{}")}, nil); err != nil {
			t.Fatal(err)
		}
		if n.dialled() < 2 {
			t.Errorf("dialled %d times", n.dialled())
		}
	})
}

func TestBodyIsMadeAnewAndCounted(t *testing.T) {
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprintf("%s %d %s", r.Header.Get("Content-Type"), r.ContentLength, b))
		if len(got) < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	c := New(Config{BaseURL: srv.URL, Retry: Retry{Base: time.Millisecond}})
	defer c.Close()
	if err := c.JSON(t.Context(), Request{Method: "PUT", Path: "x", ContentType: "text/plain", Body: body("abc"), Idempotent: true}, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"text/plain 3 abc", "text/plain 3 abc", "text/plain 3 abc"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.BytesSent() != 9 {
		t.Errorf("BytesSent = %d, want 9", c.BytesSent())
	}
}

func TestUnreadableUploadIsNotRepeated(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	broken := errors.New("disk gone")
	for name, made := range map[string]func() (io.Reader, int64, error){
		"at once": func() (io.Reader, int64, error) { return nil, 0, broken },
		"midway": func() (io.Reader, int64, error) {
			return io.MultiReader(strings.NewReader("abc"), errReader{broken}), 10, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := New(Config{BaseURL: srv.URL})
			defer c.Close()
			err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Idempotent: true, Body: made}, nil)
			var e *Error
			if !errors.Is(err, broken) || !errors.As(err, &e) || e.Attempts != 1 {
				t.Errorf("got %v", err)
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
