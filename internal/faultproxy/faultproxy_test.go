package faultproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// target answers GET /doc, POST /login, GET /detections/1/url and GET /image?Signature=…, and counts what it acts on.
type target struct {
	served atomic.Int64
	image  string
	logins atomic.Int64
	fixed  bool // every login gives the same token
}

func (a *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	a.served.Add(1)
	switch r.URL.Path {
	case "/login":
		n := a.logins.Add(1)
		if a.fixed {
			n = 1
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": fmt.Sprintf("token-%d", n)})
	case "/detections/1/url":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"url": "http://" + r.Host + "/image?Signature=abc&Expires=1"})
	case "/image":
		w.Header().Set("Content-Type", "image/jpeg")
		_, _ = io.WriteString(w, a.image)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"items":["one","two","three"]}`)
	}
}

const whole = `{"items":["one","two","three"]}`

func start(t *testing.T, plan Plan) (*target, *Proxy, *Server, *http.Client) {
	t.Helper()
	a := &target{image: "\xff\xd8" + strings.Repeat("x", 10_000)}
	p := New(a, plan)
	s, err := p.Listen()
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, p, s, &http.Client{Transport: tr}
}

// onlyFirst is the schedule that does one fault to the first request.
func onlyFirst(f Fault) func(int, *http.Request) Fault {
	return func(n int, _ *http.Request) Fault {
		if n == 0 {
			return f
		}
		return None
	}
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of the request
	cut    error // of reading the body
}

func ask(t *testing.T, c *http.Client, method, address string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(strings.Repeat("sent ", 100)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{err: err}
	}
	b, cut := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b), nil, cut}
}

// TestEachFaultIsWhatItsNameSays does each fault to a POST and looks at it from both sides: what the client sees, and
// whether the target acted.
func TestEachFaultIsWhatItsNameSays(t *testing.T) {
	brokenConnection := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }
	status := func(code int, contentType, retryAfter string) func(*testing.T, reply) {
		return func(t *testing.T, got reply) {
			if got.err != nil || got.cut != nil || got.status != code || got.header.Get("Content-Type") != contentType || got.header.Get("Retry-After") != retryAfter {
				t.Errorf("got %d %v, %v, %v", got.status, got.header, got.err, got.cut)
			}
		}
	}
	isWhole := func(t *testing.T, got reply) {
		if got.err != nil || got.cut != nil || got.status != 200 || got.body != whole {
			t.Errorf("got %+v, want the whole answer", got)
		}
	}
	const delay, hold = 30 * time.Millisecond, 60 * time.Millisecond
	for _, tc := range []struct {
		fault Fault
		acted bool
		least time.Duration
		check func(*testing.T, reply)
	}{
		{None, true, 0, isWhole},
		{Reset, false, 0, func(t *testing.T, got reply) {
			if !brokenConnection(got.err) {
				t.Errorf("got %v, want a reset", got.err)
			}
		}},
		{DropAnswer, true, 0, func(t *testing.T, got reply) {
			if !brokenConnection(got.err) {
				t.Errorf("got %v, want a reset", got.err)
			}
		}},
		{Stall, false, hold, func(t *testing.T, got reply) {
			if !brokenConnection(got.err) {
				t.Errorf("got %v, want a reset", got.err)
			}
		}},
		{StallBody, true, hold, func(t *testing.T, got reply) {
			if got.status != 200 || got.body != whole[:len(whole)/2] || !brokenConnection(got.cut) {
				t.Errorf("got %+v", got)
			}
		}},
		{Truncate, true, 0, func(t *testing.T, got reply) {
			if got.status != 200 || got.body != whole[:len(whole)/2] || !errors.Is(got.cut, io.ErrUnexpectedEOF) {
				t.Errorf("got %+v", got)
			}
		}},
		{Delay, true, delay, isWhole},
		{CloseIdle, true, 0, isWhole},
		{Refuse, true, 0, isWhole},
		{TooManyRequests, false, 0, status(429, "application/json", "")},
		{TooManyRequestsWait, false, 0, status(429, "application/json", "3")},
		{InternalServerError, false, 0, status(500, "text/plain", "")},
		{InternalErrorWait, false, 0, status(500, "text/plain", "3")},
		{BadGateway, false, 0, status(502, "text/html", "")},
		{BadGatewayWait, false, 0, status(502, "text/html", "3")},
		{ServiceUnavailable, false, 0, status(503, "text/plain", "")},
		{ServiceUnavailableWait, false, 0, status(503, "text/plain", "3")},
		{GatewayTimeout, false, 0, status(504, "text/html", "")},
		{GatewayTimeoutWait, false, 0, status(504, "text/html", "3")},
		{GatewayTimeoutAfter, true, 0, status(504, "text/html", "")},
		{HTML, false, 0, status(200, "text/html; charset=utf-8", "")},
		{CutJSON, true, 0, func(t *testing.T, got reply) {
			if got.err != nil || got.cut != nil || got.body != whole[:len(whole)/2] || json.Valid([]byte(got.body)) {
				t.Errorf("got %+v", got)
			}
		}},
	} {
		t.Run("fault "+string(tc.fault), func(t *testing.T) {
			a, p, s, c := start(t, Plan{Schedule: onlyFirst(tc.fault), Delay: delay, Stall: hold, RetryAfter: []time.Duration{3 * time.Second}, Outage: time.Millisecond})
			began := time.Now()
			got := ask(t, c, http.MethodPost, s.URL+"/doc")
			if took := time.Since(began); took < tc.least {
				t.Errorf("took %v, want at least %v", took, tc.least)
			}
			tc.check(t, got)
			if acted := a.served.Load() == 1; acted != tc.acted {
				t.Errorf("the target acted: %v, want %v", acted, tc.acted)
			}
			want := map[Fault]int{tc.fault: 1}
			if tc.fault == None {
				want = map[Fault]int{}
			}
			if diff := cmp.Diff(want, p.Counts()); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRetryAfterIsDrawn: by the plan's seed, from what the plan lists; without a list nobody has to wait.
func TestRetryAfterIsDrawn(t *testing.T) {
	for want, listed := range map[string][]time.Duration{"0": nil, "0 1 2": {0, time.Second, 2 * time.Second}} {
		_, _, s, c := start(t, Plan{Rate: 1, Faults: []Fault{ServiceUnavailableWait, BadGatewayWait}, RetryAfter: listed})
		seen := map[string]bool{}
		for range 50 {
			seen[ask(t, c, http.MethodGet, s.URL+"/doc").header.Get("Retry-After")] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != want {
			t.Errorf("of %v: %q, want %q", listed, got, want)
		}
	}
}

func TestFlipBytes(t *testing.T) {
	a, p, s, c := start(t, Plan{Rate: 1, Faults: []Fault{FlipBytes}})
	seen := map[string]bool{}
	for range 50 {
		got := ask(t, c, http.MethodGet, s.URL+"/image?Signature=abc")
		if got.err != nil || got.status != 200 || len(got.body) != len(a.image) || got.body == a.image {
			t.Fatalf("%d, %d bytes, unchanged: %v, %v", got.status, len(got.body), got.body == a.image, got.err)
		}
		seen[got.body] = true
	}
	if len(seen) < 40 {
		t.Errorf("only %d different images of 50", len(seen))
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.body != whole {
		t.Errorf("a document: %+v", got)
	}
	if n := p.Counts()[FlipBytes]; n != 50 {
		t.Errorf("counted %d", n)
	}
}

func TestExpireToken(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		t.Run(fmt.Sprintf("the same token again: %v", fixed), func(t *testing.T) {
			a, p, s, c := start(t, Plan{Rate: 1, Faults: []Fault{ExpireToken}, TokenUses: 3})
			a.fixed = fixed
			logIn := func() string {
				var out struct {
					Token string `json:"access_token"`
				}
				if err := json.Unmarshal([]byte(ask(t, c, http.MethodPost, s.URL+"/login").body), &out); err != nil {
					t.Fatal(err)
				}
				return "Bearer " + out.Token
			}
			token := logIn()
			var got []int
			for range 5 {
				got = append(got, ask(t, c, http.MethodGet, s.URL+"/doc", "Authorization", token).status)
			}
			if diff := cmp.Diff([]int{200, 200, 401, 401, 401}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if p.Counts()[ExpireToken] != 1 {
				t.Errorf("counts %v", p.Counts())
			}
			fresh := logIn()
			if got := ask(t, c, http.MethodGet, s.URL+"/doc", "Authorization", fresh); got.status != 200 {
				t.Errorf("a new login: %+v", got)
			}
			if got := ask(t, c, http.MethodGet, s.URL+"/doc", "Authorization", token).status; (got == 200) != fixed {
				t.Errorf("the expired token: %d", got)
			}
		})
	}
}

func TestExpireURL(t *testing.T) {
	_, p, s, c := start(t, Plan{Schedule: onlyFirst(ExpireURL)})
	image := s.URL + "/image?Signature=abc&Expires=1"
	for range 2 {
		got := ask(t, c, http.MethodGet, image)
		if got.status != 403 || !strings.Contains(got.body, "<Code>AccessDenied</Code>") || got.header.Get("Content-Type") != "application/xml" {
			t.Errorf("got %+v", got)
		}
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/image?Signature=other&Expires=2"); got.status != 200 {
		t.Errorf("another URL of it: %d", got.status)
	}
	if got := ask(t, c, http.MethodGet, s.URL+"/detections/1/url"); got.status != 200 {
		t.Errorf("a new URL: %+v", got)
	}
	if got := ask(t, c, http.MethodGet, image); got.status != 200 {
		t.Errorf("the URL given again: %d", got.status)
	}
	if diff := cmp.Diff(map[Fault]int{ExpireURL: 1}, p.Counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSeedDecidesHoweverRequestsInterleave compares runs one by one and at once.
func TestSeedDecidesHoweverRequestsInterleave(t *testing.T) {
	faultsOf := func(seed uint64, workers int) map[string]string {
		p := New(&target{}, Plan{Seed: seed, Rate: 0.3, Faults: []Fault{TooManyRequests, BadGateway, ServiceUnavailable, FlipBytes}})
		var mu sync.Mutex
		got := map[string]string{}
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for i := w; i < 200; i += workers {
					for range 3 {
						r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://x/%d?page=1", i), nil)
						if err != nil {
							t.Error(err)
							return
						}
						fault, _ := p.meet(r)
						mu.Lock()
						got[r.URL.String()] += string(fault) + ","
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		return got
	}
	one := faultsOf(7, 1)
	if diff := cmp.Diff(one, faultsOf(7, 8)); diff != "" {
		t.Errorf("eight at once (-one +eight):\n%s", diff)
	}
	if cmp.Equal(one, faultsOf(8, 1)) {
		t.Error("another seed does the same")
	}
	counts := map[string]int{}
	for _, faults := range one {
		for fault := range strings.SplitSeq(strings.TrimSuffix(faults, ","), ",") {
			counts[fault]++
		}
	}
	// 600 requests, 0.3 of them faulty, three faults that fit: 60 of each, five deviations allowed.
	for _, fault := range []Fault{TooManyRequests, BadGateway, ServiceUnavailable} {
		if n := counts[string(fault)]; n < 25 || n > 95 {
			t.Errorf("%s %d times in 600", fault, n)
		}
	}
	if counts[string(FlipBytes)] != 0 {
		t.Error("bytes flipped in what is no image")
	}
}

// TestPresignedURLIsTheSameRequest: whatever its signature, the second download of an image meets its second fate.
func TestPresignedURLIsTheSameRequest(t *testing.T) {
	a, err := url.Parse("http://x/b/k.jpg?AWSAccessKeyId=1&Signature=2&Expires=3")
	if err != nil {
		t.Fatal(err)
	}
	b, err := url.Parse("http://x/b/k.jpg?X-Amz-Signature=9&X-Amz-Date=8")
	if err != nil {
		t.Fatal(err)
	}
	got := identity(&http.Request{Method: http.MethodGet, URL: a})
	if diff := cmp.Diff("GET /b/k.jpg?", got); diff != "" || got != identity(&http.Request{Method: http.MethodGet, URL: b}) {
		t.Error(diff)
	}
}

func TestMatchAndHeal(t *testing.T) {
	_, p, s, c := start(t, Plan{Rate: 1, Faults: []Fault{BadGateway}, Match: func(r *http.Request) bool { return r.Method == http.MethodPost }})
	if got := ask(t, c, http.MethodGet, s.URL+"/doc"); got.status != 200 {
		t.Errorf("a GET: %d", got.status)
	}
	if got := ask(t, c, http.MethodPost, s.URL+"/doc"); got.status != 502 {
		t.Errorf("a POST: %d", got.status)
	}
	p.Heal()
	if got := ask(t, c, http.MethodPost, s.URL+"/doc"); got.status != 200 || p.Requests() != 3 {
		t.Errorf("healed: %d, %d requests", got.status, p.Requests())
	}
}

func TestToAnotherAddress(t *testing.T) {
	_, _, behind, _ := start(t, Plan{})
	at, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := New(To(at), Plan{})
	s, err := p.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got := ask(t, c, http.MethodGet, s.URL+"/detections/1/url")
	if want := `{"url":"` + s.URL + `/image?Signature=abc\u0026Expires=1"}`; strings.TrimSpace(got.body) != want {
		t.Errorf("got %s, want %s: the host name is the client's", got.body, want)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // the reverse proxy's
}
