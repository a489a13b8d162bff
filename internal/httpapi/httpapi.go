// Package httpapi is what the clients of both APIs share: login and re-login, retry and back-off, deadlines, size limits,
// redaction, the error type.
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
	Name      string                                                         // of the API, for messages: "platform", "annotation API"
	BaseURL   string                                                         // scheme://host[:port][/prefix], as Normalize returns it
	Login     func(ctx context.Context, c *Client) (token string, err error) // before the first authorised request, and once after a 401; nil: no authorisation
	Transport http.RoundTripper                                              // nil: NewTransport()
	Retry     Retry
	Log       *slog.Logger // each request at debug: method, path (no query values that are secret), status, milliseconds, bytes; nil: silent
	Rate      Limiter      // bytes per second over downloads; nil: unlimited
	UserAgent string
}

// Limiter is what Rate needs of golang.org/x/time/rate.Limiter.
type Limiter interface {
	WaitN(ctx context.Context, n int) error
	Burst() int
}

// Retry bounds repetition. The zero value means the defaults.
type Retry struct {
	Attempts int           // per request, first included; default 6
	For      time.Duration // per request, overall; default 2 minutes
	Base     time.Duration // first back-off (full jitter, doubled each time); default 500 ms
	Max      time.Duration // longest back-off; default 30 s
}

// Request is one call. Only idempotent requests (GET, or those that say so) are repeated after an ambiguous failure.
type Request struct {
	Method      string
	Path        string // below BaseURL, or an absolute URL of another host, which never gets the token
	Query       url.Values
	ContentType string
	Body        func() (io.Reader, int64, error) // made anew for each attempt; length -1: unknown; nil: none
	Idempotent  bool
	NoAuth      bool
	MaxBytes    int64 // of the answer; 0: the default for JSON
}

// Client is safe for concurrent use.
type Client struct{}

func New(cfg Config) *Client { panic("not built yet") }

// JSON does the request and decodes a 2xx answer into out (nil: ignored).
func (c *Client) JSON(ctx context.Context, r Request, out any) error { panic("not built yet") }

// Bytes does the request and returns a 2xx answer's body, at most MaxBytes.
func (c *Client) Bytes(ctx context.Context, r Request) ([]byte, http.Header, error) {
	panic("not built yet")
}

// Requests and BytesRead are totals since New: requests sent (each attempt), bytes received in bodies.
func (c *Client) Requests() int64  { panic("not built yet") }
func (c *Client) BytesRead() int64 { panic("not built yet") }

// Error is a request that ended without a 2xx answer. Its text has no secrets and is one line.
type Error struct {
	Method, Path string
	Status       int    // 0: no answer
	Detail       string // the API's own words, cut to a line
	Attempts     int
	Ambiguous    bool // the server may have acted: timeout, reset, 5xx after a request that is not idempotent
	Err          error
}

func (e *Error) Error() string { panic("not built yet") }
func (e *Error) Unwrap() error { return e.Err }

// Status returns the HTTP status within err, 0 if there is none.
func Status(err error) int { panic("not built yet") }

// ErrUnauthorized: login refused, or a 401 that a new login did not cure. ErrUnreachable: the circuit is open: the server
// has not answered for so long that further requests fail at once.
var (
	ErrUnauthorized error
	ErrUnreachable  error
)

// Normalize understands an API address as people paste it: with a trailing slash, /docs or /api/v1. Errors say what is expected.
func Normalize(raw string) (string, error) { panic("not built yet") }

// Redact returns the URL without userinfo, query and fragment.
func Redact(raw string) string { panic("not built yet") }

// NewTransport has deadlines on connect, headers and idle bodies, none on total size; its idle connections close before
// the servers' 5 s (contract I).
func NewTransport() http.RoundTripper { panic("not built yet") }
