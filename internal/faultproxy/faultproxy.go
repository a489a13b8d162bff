// Package faultproxy stands between the program and an API and does to their conversation what bad links, tired servers
// and careless gateways do. It is for tests: those of fetch, load and the commands run whole phases through it and then
// count what arrived.
//
//	proxy := faultproxy.New(sandbox, faultproxy.Plan{Seed: 1, Rate: 0.2})
//	server, err := proxy.Listen() // server.URL is what the program is given
//
// The proxy is an http.Handler around the API's own handler (To makes one of a URL). Served by its own Server it can also
// do what only a listener can: refuse connections, close idle ones, be down. It knows no room of ours.
//
//	faultproxy.go  the plan and what came of it
//	fault.go       the faults by name, and which requests they fit
//	dice.go        which request meets which fault: by seed, however requests interleave
//	inject.go      each fault done
//	server.go      the listener
package faultproxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Plan says how much goes wrong, and what. The zero value lets everything pass.
type Plan struct {
	Seed   uint64  // the same seed does the same to the k-th time that the same request is made
	Rate   float64 // chance of a fault, 0 to 1, for each request
	Faults []Fault // drawn from, evenly, as far as they fit the request; nil: All

	// Schedule, if not nil, decides instead of Seed and Rate: it is given each request and its number, from 0, in order of
	// arrival, and returns its fault or None. It may be called concurrently. A fault that does not fit is not done.
	Schedule func(n int, r *http.Request) Fault

	Match   func(*http.Request) bool // only these requests can meet a fault; nil: all
	IsImage func(*http.Request) bool // which requests fetch an image by a signed URL; nil: those with a signature in the query

	Delay       time.Duration   // of Delay; default 50 ms
	Stall       time.Duration   // how long Stall and StallBody hold a connection whose client waits, until they reset it; default 1 s
	RetryAfter  []time.Duration // of the answers that have one, drawn from evenly; whole seconds; nil: always "Retry-After: 0"
	Outage      time.Duration   // how long Refuse keeps the listener closed; default 50 ms
	TokenUses   int             // requests that a token is good for, at least, before ExpireToken can hit it; default 40
	IdleTimeout time.Duration   // after which the Server closes idle connections; default 5 s, as uvicorn (contract I)
}

func (p Plan) withDefaults() Plan {
	if p.Faults == nil {
		p.Faults = All()
	}
	if p.IsImage == nil {
		p.IsImage = isSigned
	}
	if p.RetryAfter == nil {
		p.RetryAfter = []time.Duration{0}
	}
	p.Delay = orDefault(p.Delay, 50*time.Millisecond)
	p.Stall = orDefault(p.Stall, time.Second)
	p.Outage = orDefault(p.Outage, 50*time.Millisecond)
	p.IdleTimeout = orDefault(p.IdleTimeout, 5*time.Second)
	if p.TokenUses <= 0 {
		p.TokenUses = 40
	}
	return p
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Proxy is an http.Handler, safe for concurrent use.
type Proxy struct {
	target     http.Handler
	plan       Plan
	injections map[Fault]injection

	mu       sync.Mutex
	server   *Server // nil until Listen
	requests int
	underWay int
	times    map[string]int // that the same request was made
	counts   map[Fault]int
	tokens   map[string]int  // uses of an Authorization header
	expired  map[string]bool // Authorization headers
	stale    map[string]bool // request URIs of images
	healed   bool
}

// New puts a proxy before target.
func New(target http.Handler, plan Plan) *Proxy {
	return &Proxy{
		target: target, plan: plan.withDefaults(), injections: injections(),
		times: map[string]int{}, counts: map[Fault]int{}, tokens: map[string]int{}, expired: map[string]bool{}, stale: map[string]bool{},
	}
}

// To is the API at another address, as a target. It is asked with the host name that the client used.
func To(base *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Host = r.In.Host
	}}
}

// Requests is how many have arrived, with and without a fault.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// UnderWay is how many have arrived and are not answered yet, those of clients that have hung up meanwhile among them: the
// target may still act on them.
func (p *Proxy) UnderWay() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.underWay
}

// Counts is how often each fault has been done.
func (p *Proxy) Counts() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[Fault]int, len(p.counts))
	for fault, n := range p.counts {
		counts[fault] = n
	}
	return counts
}

// Heal lets everything pass from now on; tokens and URLs that have expired stay so.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed = true
}

// ServeHTTP passes the request on, or does to it what the plan says.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, chance := p.meet(r)
	defer p.over()
	if p.refuseExpired(w, r) {
		return
	}
	if inject := p.injections[fault]; inject != nil {
		inject(p, w, r, chance)
		return
	}
	p.pass(w, r)
}

// over ends what meet began.
func (p *Proxy) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
}

// done counts a fault that has really been done.
func (p *Proxy) done(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[f]++
}
