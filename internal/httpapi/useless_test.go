package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// manyRequests are those of sixteen workers; it returns how many failed on their own, not by the host's circuit.
func manyRequests(t *testing.T, each int, sentinel error, ask func(n int) error) (single, whole int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := range each {
				err := ask(each*worker + i)
				mu.Lock()
				switch {
				case errors.Is(err, sentinel):
					whole++
				case err != nil:
					single++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return single, whole
}

// TestUselessServerEndsARunInBoundedTimeWithOneMessage: it was well, and from some moment on answers nothing that anybody can use.
func TestUselessServerEndsARunInBoundedTimeWithOneMessage(t *testing.T) {
	portal := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://portal.test/login?token=canary", http.StatusFound)
	}
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("["))
	}
	stalled := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	var turn atomic.Int64
	inTurns := func(w http.ResponseWriter, r *http.Request) {
		[]http.HandlerFunc{text(500, ""), hangUp, portal, half, gateway(502, "")}[turn.Add(1)%5](w, r)
	}
	for _, tc := range []struct {
		name    string
		fault   http.HandlerFunc
		longest time.Duration
		says    string
	}{
		{"a captive portal's page", text(200, "<!doctype html><title>Hotel</title>"), 2 * time.Minute, errHTML.Error()},
		{"a captive portal elsewhere", portal, 10 * time.Second, "302 Found: a redirect to https://portal.test/login, another host or scheme: not followed; is the address right?"},
		{"a filter's page", text(403, "<html><title>Blocked</title>"), 10 * time.Second, "403 Forbidden: Blocked"},
		{"broken documents", text(200, `{"a":`), 2 * time.Minute, errJSON.Error()},
		{"half a document", half, 2 * time.Minute, "unexpected EOF"},
		{"no document", stalled, 10 * time.Minute, errIdle.Error()},
		{"500", text(500, "Traceback\nOperationalError: database"), 2 * time.Minute, "500 Internal Server Error: OperationalError: database"},
		{"501", text(501, ""), 10 * time.Second, "501 Not Implemented"},
		{"429", text(429, ""), 2 * time.Minute, "429 Too Many Requests"},
		{"all in turn", inTurns, 2 * time.Minute, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, inTurn(text(200, "[]"), tc.fault))
				c := New(Config{Name: "platform", BaseURL: base, Transport: tr})
				if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				single, whole := manyRequests(t, 60, ErrUnreachable, func(n int) error {
					err := c.JSON(t.Context(), Request{Path: fmt.Sprintf("/%d", n)}, new(any))
					if errors.Is(err, ErrUnreachable) && (Status(err) != 0 || !strings.Contains(err.Error(), "platform at http://api.test has given no useful answer to the last ") ||
						!strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "canary")) {
						t.Errorf("got %v", err)
					}
					return err
				})
				if took := time.Since(start); single >= uselessToOpen || single+whole != 16*60 || took > tc.longest {
					t.Errorf("%d requests failed on their own, %d by the host, in %v", single, whole, took)
				}
			})
		})
	}
}

// TestUselessAnswerToAWriteIsStillAmbiguous: that the host is given up does not say that it has not acted.
func TestUselessAnswerToAWriteIsStillAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, text(500, ""))
		c := New(Config{BaseURL: base, Transport: tr})
		post := func() error { return c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body("{}")}, nil) }
		for n := range uselessToOpen {
			err := post()
			var e *Error
			if !errors.As(err, &e) || !e.Ambiguous || errors.Is(err, ErrUnreachable) != (n == uselessToOpen-1) {
				t.Errorf("the %d.: %v", n+1, err)
			}
		}
		var e *Error
		if err := post(); !errors.Is(err, ErrUnreachable) || !errors.As(err, &e) || e.Ambiguous {
			t.Errorf("one that was not sent: %v", err)
		}
	})
}

// TestPoisonedCameraOpensNoCircuit: all that is asked for fails, one after the other, and the host is well.
func TestPoisonedCameraOpensNoCircuit(t *testing.T) {
	for _, fault := range []http.HandlerFunc{text(500, ""), text(200, "<html>"), text(501, "")} {
		synctest.Test(t, func(t *testing.T) {
			var looked atomic.Int64
			_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/list" {
					fault(w, r)
				} else if looked.Add(1) == 3 { // a moment's disturbance
					text(500, "")(w, r)
				} else {
					text(200, "[]")(w, r)
				}
			}))
			c := New(Config{BaseURL: base, Transport: tr})
			list := func() {
				if err := c.JSON(t.Context(), Request{Path: "/list"}, nil); err != nil {
					t.Error(err)
				}
			}
			list()
			single, _ := manyRequests(t, 20, ErrUnreachable, func(n int) error { return c.JSON(t.Context(), Request{Path: fmt.Sprintf("/%d", n)}, new(any)) })
			if single != 16*20 {
				t.Errorf("%d of %d failed on their own", single, 16*20)
			}
			if n := looked.Load(); n < 10 || n > 20 {
				t.Errorf("it was asked %d times what it can answer, want one time for %d that it cannot", n, uselessToOpen)
			}
			list()
		})
	}
}

// TestAnswersThatAreErrorsOpenNoCircuit, however many they are.
func TestAnswersThatAreErrorsOpenNoCircuit(t *testing.T) {
	wait := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			text(status, "<html>")(w, r)
		}
	}
	for _, tc := range []struct {
		name  string
		host  string
		fault http.HandlerFunc
	}{
		{"gone", base, text(404, `{"detail":"Not found"}`)},
		{"refused", base, text(422, ``)},
		{"too large for the proxy before it", base, text(413, `<html><title>413 Request Entity Too Large</title>`)},
		{"another shape", base, text(200, `{"a":1}`)},
		{"come back later", base, wait(429)},
		{"maintenance", base, wait(503)},
		{"images that are gone", "http://images.test", text(404, "<html><title>404 Not Found</title>")},
		{"images beside the API", base, text(404, "<html><title>404 Not Found</title>")},
		{"links that have expired", "http://images.test", text(403, "<html><title>403 Forbidden</title>")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, tc.fault)
				c := New(Config{BaseURL: base, Transport: tr})
				for range 3 * uselessToOpen {
					err := c.JSON(t.Context(), Request{Path: tc.host + "/x"}, new([]int))
					if Status(err) == 0 || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrHostUnreachable) {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// TestBadNetworkOpensNoCircuit: a fifth of all requests goes wrong, and six attempts help all but a few.
func TestBadNetworkOpensNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := []http.HandlerFunc{text(500, ""), text(429, ""), text(200, "<html>"), text(200, "["), hangUp, gateway(502, ""), gateway(504, "")}
		for _, rate := range []float64{0.2, 0.5} {
			_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if rand.Float64() < rate {
					faults[rand.N(len(faults))](w, r)
					return
				}
				text(200, "[]")(w, r)
			}))
			c := New(Config{BaseURL: base, Transport: tr, Retry: Retry{For: 4 * time.Second}})
			_, whole := manyRequests(t, 200, ErrUnreachable, func(n int) error { return c.JSON(t.Context(), Request{Path: fmt.Sprintf("/%d", n)}, nil) })
			if whole != 0 {
				t.Errorf("at a rate of %v: %d ended by the circuit", rate, whole)
			}
		}
	})
}

// TestUsefulAnswerClosesTheCircuit: one request is let through every now and then, and what is of no use closes nothing.
func TestUsefulAnswerClosesTheCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if well.Load() {
				text(200, "[]")(w, r)
			} else {
				text(200, "<html>")(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		ask := func() error { return c.JSON(t.Context(), Request{Path: "/x"}, nil) }
		for range uselessToOpen {
			_ = ask()
		}
		time.Sleep(probeEvery)
		if sent := c.Requests(); !errors.Is(ask(), ErrUnreachable) || c.Requests() == sent {
			t.Error("none was let through")
		}
		well.Store(true)
		if err := ask(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "last 20 requests") {
			t.Errorf("after a page: %v", err)
		}
		time.Sleep(probeEvery)
		for range 2 {
			if err := ask(); err != nil {
				t.Errorf("after a useful answer: %v", err)
			}
		}
	})
}

// TestUselessImageHostLeavesTheAPIAlone: the API's circuit is another, and so is the error.
func TestUselessImageHostLeavesTheAPIAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "images.test" {
				text(200, "<html>")(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		single, _ := manyRequests(t, 10, ErrHostUnreachable, func(n int) error {
			_, _, err := c.Bytes(t.Context(), Request{Path: fmt.Sprintf("http://images.test/%d.jpg?Signature=canary", n)})
			if errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "canary") {
				t.Error(err)
			}
			return err
		})
		if single >= uselessToOpen {
			t.Errorf("%d images failed on their own", single)
		}
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Errorf("API: %v", err)
		}
	})
}

// badCertificates fails requests as net/http does where a certificate is not valid.
func badCertificates(bad func(*http.Request) bool) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		if bad(r) {
			return nil, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("[]")), ContentLength: -1, Request: r}, nil
	}
}

// TestCertificateThatNobodyAccepts: the first request tells for all.
func TestCertificateThatNobodyAccepts(t *testing.T) {
	c := New(Config{Name: "platform", BaseURL: "https://api.test", Transport: badCertificates(func(*http.Request) bool { return true })})
	for range 2 {
		err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
		if want := "GET /x: platform at https://api.test cannot be used: tls: failed to verify certificate: x509: certificate has expired"; !errors.Is(err, ErrUnreachable) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
	if c.Requests() != 1 {
		t.Errorf("%d requests", c.Requests())
	}
}

// TestCertificateThatExpiresMidway ends the run, which no request can go on with, after a second look.
func TestCertificateThatExpiresMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var expired atomic.Bool
		c := New(Config{BaseURL: "https://api.test", Transport: badCertificates(func(*http.Request) bool { return expired.Load() })})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		expired.Store(true)
		start := time.Now()
		single, _ := manyRequests(t, 100, ErrUnreachable, func(int) error { return c.JSON(t.Context(), Request{Path: "/x"}, nil) })
		if took := time.Since(start); single >= hopelessToOpen || took != (looks-1)*lookPause {
			t.Errorf("%d requests failed on their own, in %v", single, took)
		}
	})
}

// TestOneOfSeveralServersHasABadCertificate: the others answer to the same name.
func TestOneOfSeveralServersHasABadCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		c := New(Config{BaseURL: "https://api.test", Transport: badCertificates(func(r *http.Request) bool {
			return n.Add(1)%2 == 0 || r.URL.Path == "/unlucky"
		})})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		for range 5 * hopelessToOpen {
			if err := c.JSON(t.Context(), Request{Path: "/unlucky"}, nil); err == nil || errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestSecondLookThatIsCutShortProvesNothing: a run that ends has not shown that its host is useless.
func TestSecondLookThatIsCutShortProvesNothing(t *testing.T) {
	host := newCircuit("host", ErrUnreachable, time.Minute)
	for n := range uselessToOpen {
		if look, _, _ := host.inVain(errHTML, false); look != (n == uselessToOpen-1) {
			t.Errorf("after %d: %v", n+1, look)
		}
	}
	if look, _, wait := host.inVain(errHTML, false); look || wait == nil {
		t.Error("another looks too")
	}
	host.looked(false)
	if err := host.verdict(); err != nil {
		t.Error(err)
	}
	if look, _, _ := host.inVain(errHTML, false); !look {
		t.Error("nobody looks again")
	}
	host.success(question{}) // to somebody else, meanwhile
	host.looked(true)
	if err := host.verdict(); err != nil {
		t.Error(err)
	}
}
