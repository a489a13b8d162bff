package httpapi

import (
	"errors"
	"fmt"
	"net/http"
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

func TestCircuitsAreBounded(t *testing.T) {
	cs := circuits{byOrigin: map[string]*circuit{}}
	for i := range 10 * maxCircuits {
		cs.of(fmt.Sprint(i), func() *circuit { return newCircuit("", ErrHostUnreachable, time.Minute) })
	}
	if len(cs.byOrigin) != maxCircuits {
		t.Errorf("%d remembered", len(cs.byOrigin))
	}
}
