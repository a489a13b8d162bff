package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadServerEndsARunInBoundedTimeWithOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(200, "[]"))
		c := New(Config{Name: "platform", BaseURL: base, Transport: tr})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		tr.CloseIdleConnections()
		n.setDown(syscall.ECONNREFUSED)
		start := time.Now()
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := range 100 {
					err := c.JSON(t.Context(), Request{Path: fmt.Sprintf("/%d/%d", worker, i)}, nil)
					if !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrHostUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("got %v", err)
						return
					}
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("took %v, want Retry.For and little more", took)
		}
		err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
		if want := "GET /x: platform at http://api.test has not answered for 2m"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	})
}

// TestOutageWithinRetryFor: a link that is down for a minute costs a minute, not the requests of that minute.
func TestOutageWithinRetryFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(200, "[]"))
		c := New(Config{BaseURL: base, Transport: tr})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		tr.CloseIdleConnections()
		n.setDown(syscall.ENETUNREACH)
		time.AfterFunc(time.Minute, func() { n.setDown(nil) })
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body("{}")}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// TestLogIsToldOfAnOutageOnce: somebody who watches a run that stands still sees why, once for all requests, and when it goes on.
func TestLogIsToldOfAnOutageOnce(t *testing.T) {
	const down, up = "WARN platform at http://api.test does not answer; trying on", "INFO platform at http://api.test answers again"
	for _, tt := range []struct {
		name   string
		outage time.Duration
		want   []string
	}{
		{"a moment", 3 * time.Second, nil},
		{"a minute", time.Minute, []string{down, up}},
		{"longer than Retry.For", time.Hour, []string{down}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, tr := newNetwork(t, text(200, "[]"))
				var log records
				c := New(Config{Name: "platform", BaseURL: base, Transport: tr, Log: slog.New(&log)})
				if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
					t.Fatal(err)
				}
				tr.CloseIdleConnections()
				n.setDown(syscall.ENETUNREACH)
				time.AfterFunc(tt.outage, func() { n.setDown(nil) })
				var all sync.WaitGroup
				for range 16 {
					all.Go(func() { _ = c.JSON(t.Context(), Request{Path: "/x"}, nil) })
				}
				all.Wait()
				if got := log.list(); !slices.Equal(got, tt.want) {
					t.Errorf("the log says %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestLogIsToldThatAHostIsBackByTheSecondLook, too: where all that is asked for fails, nobody else hears it answer.
func TestLogIsToldThatAHostIsBackByTheSecondLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/list" {
				text(200, "[]")(w, r)
			} else {
				text(500, "")(w, r)
			}
		}))
		var log records
		c := New(Config{Name: "platform", BaseURL: base, Transport: tr, Log: slog.New(&log)})
		if err := c.JSON(t.Context(), Request{Path: "/list"}, nil); err != nil {
			t.Fatal(err)
		}
		tr.CloseIdleConnections()
		n.setDown(syscall.ENETUNREACH)
		time.AfterFunc(time.Minute, func() { n.setDown(nil) })
		for range uselessToOpen {
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); Status(err) != 500 {
				t.Fatal(err)
			}
		}
		const down, up = "WARN platform at http://api.test does not answer; trying on", "INFO platform at http://api.test answers again"
		if got := log.list(); !slices.Equal(got, []string{down, up}) {
			t.Errorf("the log says %q", got)
		}
	})
}

// records are what is logged for everybody to see.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines
}

func (r *records) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (r *records) WithAttrs([]slog.Attr) slog.Handler               { return r }
func (r *records) WithGroup(string) slog.Handler                    { return r }
func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, record.Level.String()+" "+record.Message)
	return nil
}

func TestAddressThatNeverAnsweredFailsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(200, "[]"))
		n.setDown(syscall.ECONNREFUSED)
		c := New(Config{Name: "platform", BaseURL: base, Transport: tr})
		start := time.Now()
		err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
		if !errors.Is(err, ErrUnreachable) || time.Since(start) > 16*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if dialled := n.dialled(); dialled != 6 {
			t.Errorf("%d attempts, want 6", dialled)
		}
		if err := c.JSON(t.Context(), Request{Path: "/y"}, nil); !errors.Is(err, ErrUnreachable) || n.dialled() != 6 {
			t.Errorf("the next: %v", err)
		}
	})
}

func TestAnswerClosesTheCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(404, ""))
		n.setDown(syscall.ECONNREFUSED)
		c := New(Config{BaseURL: base, Transport: tr})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		n.setDown(nil)
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("at once: %v, want the circuit open", err)
		}
		time.Sleep(probeEvery)
		for range 2 { // one is let through, its answer lets the next pass
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); Status(err) != 404 {
				t.Errorf("after a while: %v", err)
			}
		}
	})
}

// TestSilentServer: it takes connections and hangs up. Three requests in a row used up their attempts: dead.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(hangUp))
		c := New(Config{BaseURL: base, Transport: tr})
		var got []bool
		for range 4 {
			got = append(got, errors.Is(c.JSON(t.Context(), Request{Path: "/x"}, nil), ErrUnreachable))
		}
		if fmt.Sprint(got) != "[false false true true]" {
			t.Errorf("ErrUnreachable: %v", got)
		}
	})
}

// TestPoisonedRequestOpensNoCircuit: one that the server always hangs up on, while it answers others.
func TestPoisonedRequestOpensNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/poison" {
				hangUp(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		for range 5 {
			if err := c.JSON(t.Context(), Request{Path: "/poison"}, nil); err == nil || errors.Is(err, ErrUnreachable) {
				t.Errorf("poison: %v", err)
			}
			if err := c.JSON(t.Context(), Request{Path: "/fine"}, nil); err != nil {
				t.Errorf("fine: %v", err)
			}
		}
	})
}

func TestDeadImageHostLeavesTheAPIAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var images atomic.Int64
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "images.test" {
				images.Add(1)
				hangUp(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		var last error
		for range 10 {
			_, _, last = c.Bytes(t.Context(), Request{Path: "http://images.test/1.jpg?Signature=canary"})
			if last == nil || errors.Is(last, ErrUnreachable) {
				t.Fatalf("image: %v", last)
			}
		}
		if !errors.Is(last, ErrHostUnreachable) || images.Load() != 3*6 {
			t.Errorf("%d requests, last: %v", images.Load(), last)
		}
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Errorf("API: %v", err)
		}
	})
}

// TestWaitsEndWhenTheCircuitOpens: nobody sits out a back-off of minutes for a host that is known to be dead.
func TestWaitsEndWhenTheCircuitOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newCircuit("host", ErrUnreachable, time.Minute)
		opened, err := host.enter()
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() {
			host.failed(time.Now(), true, syscall.ECONNREFUSED)
			if err := host.gaveUp(); !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		})
		start := time.Now()
		if err := sleep(t.Context(), time.Hour, opened); err != nil || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := host.enter(); !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	})
}

// TestConnectTimeoutIsNoOutage: with a Retry.For no longer than a connect takes, one connection that is lost on the way says
// nothing of a host that others are answered by, nor does it where nobody else asks.
func TestConnectTimeoutIsNoOutage(t *testing.T) {
	for _, others := range []bool{true, false} {
		t.Run(fmt.Sprintf("others are answered meanwhile: %v", others), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == "/lost" {
						time.Sleep(connectTimeout)
						return nil, &net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}
					}
					time.Sleep(time.Second)
					return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
				})
				c := New(Config{BaseURL: base, Transport: tr, Retry: Retry{For: connectTimeout}})
				fine := func() {
					if err := c.JSON(t.Context(), Request{Path: "/fine"}, nil); err != nil {
						t.Errorf("a request of a host that answers: %v", err)
					}
				}
				fine()
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						if !others {
							return
						}
						for range 30 {
							fine()
						}
					})
				}
				lost := 1
				if others {
					lost = giveUpsToOpen - 1 // more at once, without an answer between them, mean a dead host
				}
				for range lost {
					all.Go(func() {
						if err := c.JSON(t.Context(), Request{Path: "/lost"}, nil); err == nil || errors.Is(err, ErrUnreachable) {
							t.Errorf("lost: %v", err)
						}
					})
				}
				all.Wait()
				fine()
			})
		})
	}
}

// TestAnsweredMeanwhile: requests that give up while others are answered are unlucky, however many they are.
func TestAnsweredMeanwhile(t *testing.T) {
	host := newCircuit("host", ErrUnreachable, time.Minute)
	host.failed(time.Now(), false, io.EOF) // the last attempt of each
	host.success(question{})
	for range 2 * giveUpsToOpen {
		if err := host.gaveUp(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestThreeWhoGiveUpAtOnceAreNoOutage: on a network that loses half of everything, requests that began together end together.
func TestThreeWhoGiveUpAtOnceAreNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newCircuit("host", ErrUnreachable, time.Minute)
		host.success(question{})
		for range 2 * giveUpsToOpen {
			host.failed(time.Now(), false, io.EOF)
			if err := host.gaveUp(); err != nil {
				t.Fatalf("a moment after an answer: %v", err)
			}
		}
		time.Sleep(silence)
		if err := host.gaveUp(); !errors.Is(err, ErrUnreachable) {
			t.Errorf("after %s of silence: %v", silence, err)
		}
	})
}

// TestOutageBeginsWithTheLastAnswer, not with the connections that were begun before it and lost.
func TestOutageBeginsWithTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newCircuit("host", ErrUnreachable, time.Minute)
		began := time.Now()
		time.Sleep(time.Minute)
		host.success(question{})
		for range 2 * dialsToOpen {
			host.failed(began, true, syscall.ETIMEDOUT)
		}
		if _, err := host.enter(); err != nil {
			t.Errorf("it has just answered: %v", err)
		}
		time.Sleep(time.Minute)
		host.failed(time.Now(), true, syscall.ETIMEDOUT)
		if _, err := host.enter(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "for 1m0s") {
			t.Errorf("a minute later: %v", err)
		}
	})
}

// TestLoginClosesTheCircuit: where there is no token yet, the one request that is let through is the login.
func TestLoginClosesTheCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, tr := newNetwork(t, text(200, `{"access_token":"token"}`))
		n.setDown(syscall.ECONNREFUSED)
		c := New(Config{BaseURL: base, Transport: tr, Login: logIn})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("at once: %v, want the circuit open", err)
		}
		n.setDown(nil)
		time.Sleep(probeEvery)
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Errorf("the host is back: %v", err)
		}
	})
}

func TestCircuitsAreBounded(t *testing.T) {
	cs := circuits{byOrigin: map[string]*circuit{}}
	for i := range 10 * maxCircuits {
		cs.of(fmt.Sprint(i), func() *circuit { return newCircuit("", ErrHostUnreachable, time.Minute) })
	}
	if len(cs.byOrigin) != maxCircuits {
		t.Errorf("%d remembered", len(cs.byOrigin))
	}
}
