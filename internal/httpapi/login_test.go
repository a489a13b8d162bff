package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority is an API that gives tokens t1, t2, … and takes those that it likes.
type authority struct {
	mu      sync.Mutex
	logins  int
	asked   []string // tokens, in order of the requests
	takes   func(token string, request int) bool
	refusal http.HandlerFunc // of a token; default 401
	slow    time.Duration    // of a login
	login   http.HandlerFunc // instead of giving a token
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/login" {
		time.Sleep(a.slow)
		a.mu.Lock()
		a.logins++
		n := a.logins
		a.mu.Unlock()
		if a.login != nil {
			a.login(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": fmt.Sprintf("token-%d", n)})
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	a.mu.Lock()
	a.asked = append(a.asked, token)
	ok := a.takes(token, len(a.asked))
	a.mu.Unlock()
	switch {
	case ok:
		_, _ = w.Write([]byte(`[]`))
	case a.refusal != nil:
		a.refusal(w, r)
	default:
		text(401, `{"detail":"Could not validate credentials"}`)(w, r)
	}
}

func logIn(ctx context.Context, c *Client) (string, error) {
	var answer struct {
		Token string `json:"access_token"`
	}
	err := c.JSON(ctx, Request{Method: "POST", Path: "/login", NoAuth: true, Idempotent: true, Body: body("{}")}, &answer)
	return answer.Token, err
}

func newAuthorised(t *testing.T, a *authority) *Client {
	t.Helper()
	_, tr := newNetwork(t, a)
	return New(Config{Name: "platform", BaseURL: base, Transport: tr, Login: logIn})
}

func TestLoginIsLazyAndShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{slow: 2 * time.Second, takes: func(string, int) bool { return true }}
		c := newAuthorised(t, a)
		if err := c.JSON(t.Context(), Request{Path: "/open", NoAuth: true}, nil); err != nil || a.logins != 0 {
			t.Fatalf("%v, %d logins before anything needed one", err, a.logins)
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if a.logins != 1 {
			t.Errorf("%d logins for 16 requests at once", a.logins)
		}
	})
}

func TestExpiredTokenIsRenewedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := false
		a := &authority{slow: time.Second}
		a.takes = func(token string, _ int) bool { return token != "token-1" || !expired }
		c := newAuthorised(t, a)
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		expired = true
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { // a POST too: what was refused was not acted upon
				if err := c.JSON(t.Context(), Request{Method: "POST", Path: "/x", Body: body("{}")}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if a.logins != 2 {
			t.Errorf("%d logins, want 2", a.logins)
		}
	})
}

// TestTokensThatExpireOften: another request's token may expire before this one's second attempt; that is no refusal.
func TestTokensThatExpireOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		used := map[string]int{}
		a := &authority{slow: 10 * time.Millisecond}
		a.takes = func(token string, _ int) bool { used[token]++; return used[token] <= 40 }
		c := newAuthorised(t, a)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 100 {
					if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}

// TestTokenThatExpiresBeforeTheSecondAttempt: the token that replaced the refused one served another request, then expired
// too. That is no refusal of a fresh token.
func TestTokenThatExpiresBeforeTheSecondAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		refused := 0
		a.takes = func(token string, request int) bool {
			if request == 2 { // the second attempt of the first request, which takes its time
				a.mu.Unlock()
				time.Sleep(time.Second)
				a.mu.Lock()
			}
			if ok := request == 3 || token == "token-3"; !ok {
				refused++
				return false
			}
			return true
		}
		c := newAuthorised(t, a)
		var all sync.WaitGroup
		all.Go(func() {
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := c.JSON(t.Context(), Request{Path: "/y"}, nil); err != nil {
			t.Error(err)
		}
		all.Wait()
		if diff := cmp.Diff([]string{"token-1", "token-2", "token-2", "token-3"}, a.asked); diff != "" || refused != 2 {
			t.Errorf("%d refused; (-want +got):\n%s", refused, diff)
		}
	})
}

// TestTokensThatAllExpireAtOnce: each is taken once, by another request, and refused the next time. One request logs in
// maxRelogins times, not for ever.
func TestTokensThatAllExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{}
		var c *Client
		a.takes = func(token string, _ int) bool {
			c.session.mu.Lock()
			c.session.accepted = true // another request was answered
			c.session.mu.Unlock()
			return false
		}
		c = newAuthorised(t, a)
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); !errors.Is(err, ErrUnauthorized) || a.logins != 1+maxRelogins {
			t.Errorf("%d logins: %v", a.logins, err)
		}
	})
}

func TestFreshTokenRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		refusal http.HandlerFunc
		logins  int
		want    string
		unauth  bool
	}{
		{"401", nil, 2, "the platform refuses the token that it has just given: GET /x: 401 Unauthorized after 2 attempts: Could not validate credentials", true},
		{"406 of the platform", text(406, `{"detail":"Invalid token."}`), 2, "the platform refuses the token that it has just given: GET /x: 406 Not Acceptable after 2 attempts: Invalid token.", true},
		{"406 of something else", text(406, `{"detail":"No such format"}`), 1, "GET /x: 406 Not Acceptable: No such format", false},
		{"403 is no matter of tokens", text(403, `{"detail":"Incompatible token scope."}`), 1, "GET /x: 403 Forbidden: Incompatible token scope.", false},
		{"G8 header lost", text(403, `{"detail":"Not authenticated"}`), 1, "GET /x: 403 Forbidden: Not authenticated (the Authorization header was lost on the way: does the address redirect, or a proxy drop it?)", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authority{takes: func(string, int) bool { return false }, refusal: tc.refusal}
				c := newAuthorised(t, a)
				err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
				if diff := cmp.Diff(tc.want, fmt.Sprint(err)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if errors.Is(err, ErrUnauthorized) != tc.unauth || a.logins != tc.logins {
					t.Errorf("ErrUnauthorized %v, %d logins", errors.Is(err, ErrUnauthorized), a.logins)
				}
				if !tc.unauth {
					return
				}
				before := c.Requests()
				if err := c.JSON(t.Context(), Request{Path: "/y"}, nil); !errors.Is(err, ErrUnauthorized) || c.Requests() != before {
					t.Errorf("the next request: %v, sent %d", err, c.Requests()-before)
				}
			})
		})
	}
}

func TestLoginRefused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		login  http.HandlerFunc
		logins int
		want   string
		unauth bool
	}{
		{"credentials", text(401, `{"detail":"Invalid credentials."}`), 1, "log in to the platform: POST /login: 401 Unauthorized: Invalid credentials.", true},
		{"inactive", text(400, `{"detail":"Inactive user"}`), 1, "log in to the platform: POST /login: 400 Bad Request: Inactive user", true},
		{"another service", text(404, `{"detail":"Not Found"}`), 1, "log in to the platform: POST /login: 404 Not Found: Not Found", false},
		{"out of order", text(503, ``), 6, "log in to the platform: POST /login: 503 Service Unavailable after 6 attempts", false},
		{"no token", text(200, `{}`), 1, "log in to the platform: the answer has no usable token (0 bytes)", false},
		{"a token that is no header", text(200, `{"access_token":"a\nb"}`), 1, "log in to the platform: the answer's token has characters that no token has", false},
		{
			"what FastAPI repeats of the request", text(422, `{"detail":[{"type":"missing","loc":["body","username"],"msg":"Field required","input":{"password":"canary"}}]}`), 1,
			"log in to the platform: POST /login: 422 Unprocessable Entity: body.username: Field required", false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authority{login: tc.login, slow: time.Second}
				c := newAuthorised(t, a)
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
						if diff := cmp.Diff(tc.want, fmt.Sprint(err)); diff != "" {
							t.Errorf("(-want +got):\n%s", diff)
						}
						if errors.Is(err, ErrUnauthorized) != tc.unauth {
							t.Errorf("ErrUnauthorized: %v", !tc.unauth)
						}
					})
				}
				all.Wait()
				if a.logins != tc.logins {
					t.Errorf("%d logins, want %d", a.logins, tc.logins)
				}
				if Status(c.JSON(t.Context(), Request{Path: "/x"}, nil)) == 401 && a.logins != 1 {
					t.Error("a refused account is tried again")
				}
			})
		})
	}
}

// TestAbandonedLogin: the request that logs in for all is cancelled; those who wait do it themselves.
func TestAbandonedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{slow: 10 * time.Second, takes: func(string, int) bool { return true }}
		c := newAuthorised(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := c.JSON(ctx, Request{Path: "/x"}, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
				t.Errorf("the other: %v", err)
			}
		})
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		all.Go(func() {
			if err := c.JSON(impatient, Request{Path: "/x"}, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("one that may not wait: %v", err)
			}
		})
		time.AfterFunc(2*time.Second, cancel)
		all.Wait()
	})
}

func TestLoginThatNeedsATokenIsAnErrorNotADeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, text(200, "[]"))
		c := New(Config{BaseURL: base, Transport: tr, Login: func(ctx context.Context, c *Client) (string, error) {
			return "x", c.JSON(ctx, Request{Path: "/me"}, nil)
		}})
		if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err == nil || !strings.Contains(err.Error(), "NoAuth") {
			t.Errorf("got %v", err)
		}
	})
}
