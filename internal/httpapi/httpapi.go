// Package httpapi is what the clients of both APIs (fetch/platform and load/annotation) share: login and re-login, retry
// and back-off, deadlines, size limits, redaction, the error type. It knows no endpoint of either and imports no room of ours.
//
// A request passes these stations, one file each:
//
//	address.go    the URL: below the API's base, or an absolute one of another host, which never gets the token
//	circuit.go    a host that has not answered for long is not asked again and again; useless.go: nor one that answers nothing of use
//	login.go      one login for all that wait for it, and a new one when a token is refused
//	client.go     one attempt: send, follow the few redirects allowed, read within limits
//	retry.go      what may be repeated, how often, after which wait
//	transport.go  deadlines on connect, headers and idle bodies; guard.go: which addresses other hosts may have
//	errors.go     what is left of a request that failed: one line without secrets
//
// Its promises are those of the design page: running again is safe only if a request that may have acted is never
// repeated behind the caller's back (Error.Ambiguous), an answer is untrusted input, and no secret is ever in a text.
package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Config describes one API and the account used there.
type Config struct {
	Name      string // of the API, for messages: "platform", "annotation API"
	BaseURL   string // scheme://host[:port][/prefix], as Normalize returns it
	Transport http.RoundTripper
	Retry     Retry
	Log       *slog.Logger // each attempt at debug: method, path (secret query values masked), status, milliseconds, bytes; nil: silent
	Rate      Limiter      // bytes per second over downloads; nil: unlimited
	UserAgent string       // default "pyrobundle"

	// Login returns a token: it is called before the first authorised request, once for all that wait for it, and again
	// after a 401. It asks c with NoAuth and, since logging in twice does no harm, Idempotent. nil: no authorisation.
	Login func(ctx context.Context, c *Client) (token string, err error)

	// Secrets are literal strings, passwords above all, to be masked should a server repeat them in an answer.
	// Tokens are masked without being listed.
	Secrets []string
}

// Limiter is what Rate needs of golang.org/x/time/rate.Limiter.
type Limiter interface {
	WaitN(ctx context.Context, n int) error
	Burst() int
}

// Retry bounds repetition. The zero value means the defaults.
//
// Attempts that could not even connect to a host which has answered before are an outage of the link, not an answer to
// the request: they do not count as Attempts and are bounded by For alone. A host that has never answered is more likely
// an address mistyped: there Attempts bounds them too.
type Retry struct {
	Attempts int           // per request, first included; default 6; 1: never repeat
	For      time.Duration // per request, overall: no attempt begins later; default 2 minutes
	Base     time.Duration // first back-off (full jitter, doubled each time); default 500 ms
	Max      time.Duration // longest back-off; default 30 s
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 6
	}
	if r.For <= 0 {
		r.For = 2 * time.Minute
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 30 * time.Second
	}
	return r
}

// Request is one call. Only idempotent requests (GET and HEAD, or those that say so) are repeated after an ambiguous failure.
type Request struct {
	Method      string // default GET
	Path        string // below BaseURL, or an absolute URL, which never gets the token
	Query       url.Values
	ContentType string
	Body        func() (io.Reader, int64, error) // made anew for each attempt; length -1: unknown; nil: none; closed if it is an io.Closer
	Idempotent  bool
	NoAuth      bool
	MaxBytes    int64        // of the answer, after decompression; 0: 8 MiB
	Header      *http.Header // receives the header of a 2xx answer; nil: not wanted
}

func (r Request) idempotent() bool {
	return r.Idempotent || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// Limits of what is accepted from a server; an answer is untrusted input.
const (
	defaultMaxBytes = 8 << 20  // bytes of an answer; the largest real one, 1000 sequences of a listing, has 1 MB
	largeDocument   = 1 << 20  // bytes from which on a document waits for its turn
	largeAtOnce     = 2        // such documents in memory at once, however many requests are under way
	maxErrorBytes   = 64 << 10 // bytes read of an answer that is an error; tracebacks have 10 kB
	maxDepth        = 64       // levels of JSON; the APIs' documents have 6
	maxRedirects    = 3        // an API redirects once (the trailing slash), a storage host once (its region)
	maxRelogins     = 4        // of one request, each after a token that had been accepted expired
)
