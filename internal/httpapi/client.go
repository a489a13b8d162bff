package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Client is safe for concurrent use.
type Client struct {
	name      string
	base      *url.URL
	broken    error // BaseURL is unusable
	login     func(ctx context.Context, c *Client) (string, error)
	transport http.RoundTripper
	traces    bool // the transport tells when it has a connection
	retry     Retry
	log       *slog.Logger
	rate      Limiter
	agent     string
	passwords []string

	session  session
	circuits circuits
	api      apiReach
	large    chan struct{} // a slot for each large document at once
	bodies   sync.Pool     // of *[]byte; see Recycle

	requests, read, sent atomic.Int64
}

// New makes a client; it sends nothing. A BaseURL that Normalize refuses is what every request then fails with.
func New(cfg Config) *Client {
	c := &Client{
		name:      cfg.Name,
		base:      &url.URL{},
		login:     cfg.Login,
		transport: cfg.Transport,
		retry:     cfg.Retry.withDefaults(),
		log:       cfg.Log,
		rate:      cfg.Rate,
		agent:     cfg.UserAgent,
		passwords: cfg.Secrets,
		session:   session{secrets: spellings(cfg.Secrets)},
		circuits:  circuits{byOrigin: map[string]*circuit{}},
		large:     make(chan struct{}, largeAtOnce),
	}
	if c.name == "" {
		c.name = "API"
	}
	if c.transport == nil {
		c.transport = NewTransport()
	}
	_, c.traces = c.transport.(*transport)
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.agent == "" {
		c.agent = "pyrobundle"
	}
	base, err := Normalize(cfg.BaseURL)
	if err == nil {
		c.base, err = url.Parse(base)
	}
	if err != nil {
		c.base, c.broken = &url.URL{}, fmt.Errorf("%s: %w", c.name, err)
	}
	if a, ok := literal(c.base); ok {
		c.api.note(a)
	}
	return c
}

// JSON does the request and decodes a 2xx answer into out (nil: ignored). An answer that is HTML, broken JSON or empty where
// there is an out counts as a failure to be tried again (pitfall E2), one of another shape than out as a final one.
func (c *Client) JSON(ctx context.Context, r Request, out any) error {
	res, err := c.do(ctx, r, acceptDocument, func(res outcome) error { return decode(res, out) })
	if err == nil && r.Header != nil {
		*r.Header = res.header
	}
	return err
}

// Bytes does the request and returns a 2xx answer's body, at most MaxBytes. An HTML page is never what was asked for.
func (c *Client) Bytes(ctx context.Context, r Request) ([]byte, http.Header, error) {
	res, err := c.do(ctx, r, "*/*", notHTML)
	if err != nil {
		return nil, nil, err
	}
	return res.body, res.header, nil
}

// Requests counts the requests sent since New, each attempt and each redirect.
func (c *Client) Requests() int64 { return c.requests.Load() }

// BytesRead counts the bytes received in bodies since New, after decompression.
func (c *Client) BytesRead() int64 { return c.read.Load() }

// BytesSent counts the bytes sent in bodies since New, repetitions included.
func (c *Client) BytesSent() int64 { return c.sent.Load() }

// Close lets go of idle connections, so that nothing of the client is left running. It may be used again.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// acceptDocument is what JSON asks for.
const acceptDocument = "application/json"

var (
	errHTML = errors.New("an HTML page instead of the answer; something between may be answering for the server")
	errJSON = errors.New("broken JSON")
	// errEmpty: a 204, too, which filters give for what they hide. A listing of it would have no row.
	errEmpty = errors.New("an empty answer")
)

// finalError is a failure, or a 2xx answer, that another attempt would meet again.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func notHTML(res outcome) error {
	if looksLikeHTML(res.body) {
		return errHTML
	}
	return nil
}

func decode(res outcome, out any) error {
	switch {
	case len(res.body) == 0 && out == nil:
		return nil
	case len(res.body) == 0:
		return errEmpty
	case looksLikeHTML(res.body):
		return errHTML
	case out == nil:
		return nil
	case tooDeep(res.body):
		return finalError{fmt.Errorf("%w: JSON nested deeper than %d levels", ErrTooLarge, maxDepth)}
	case !json.Valid(res.body):
		return errJSON
	}
	if err := json.Unmarshal(res.body, out); err != nil {
		return finalError{fmt.Errorf("JSON of another shape than expected: %w", err)}
	}
	return nil
}

// outcome is what became of one attempt.
type outcome struct {
	answered bool // with headers at least
	status   int
	header   http.Header
	body     []byte // of a 2xx answer
	detail   string
	after    time.Duration // Retry-After
	asked    bool          // there was one
	page     bool          // an error in HTML

	err      error // no answer, or an unusable one
	unusable bool  // a 2xx answer whose body is broken, refused by check, or too large
	final    bool  // another attempt would meet the same
	hopeless bool  // and so would every other request to the host
	unsent   bool  // nothing of the request can have reached the server

	decoded func() // to be called when body has been decoded; nil: nobody waits for that
}

// byGateway tells whether something before the host says that the host does not answer. Who asks us to come back is alive, or
// knows that the host will be.
func (o outcome) byGateway() bool {
	switch o.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return !o.asked
	}
	return false
}

// do repeats attempts as long as that is safe, sensible and within the bounds of Retry.
func (c *Client) do(ctx context.Context, r Request, accept string, check func(outcome) error) (outcome, error) {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if c.broken != nil {
		return outcome{}, c.broken
	}
	t, err := c.target(r)
	if err == nil && t.foreign {
		err = c.api.permitURL(t.url)
	}
	if err != nil {
		return outcome{}, &Error{Method: r.Method, Path: t.shown(), Err: c.clean(err)}
	}
	asked := question{r, t, accept}
	host := c.circuitOf(t)
	deadline := time.Now().Add(c.retry.For)
	var (
		token                             string
		generation, stale, relogins       int
		attempts, countedFailures, failed int
	)
	for {
		if t.auth { // first: the one request that an open circuit lets through is the login where there is no token
			if token, generation, err = c.authorise(ctx, stale); err != nil {
				return outcome{}, err
			}
		}
		opened, err := host.enter()
		if err != nil {
			return outcome{}, &Error{Method: r.Method, Path: t.shown(), Attempts: attempts, Err: c.clean(err)}
		}
		attempts++
		started := time.Now()
		out := c.ask(ctx, asked, token, attempts, check)
		switch worth := out.worth(t.absolute); {
		case worth == useful:
			c.heard(ctx, host, asked.answered(out))
		case worth == useless && out.answered:
			host.spoke()
		case worth == silent && ctx.Err() == nil:
			host.failed(started, out.unsent, c.reason(out))
		}
		switch {
		case out.answered && !out.unusable && out.status/100 == 2:
			if t.auth {
				c.tokenAccepted(generation)
			}
			return out, nil
		case ctx.Err() != nil:
			out.err = ctx.Err()
			return outcome{}, c.failure(r, t, out, attempts)
		case t.auth && tokenRefused(out):
			if err := c.mayLogInAgain(relogins, generation, c.failure(r, t, out, attempts)); err != nil {
				return outcome{}, err
			}
			relogins++
			stale = generation
			continue
		case !mayRepeat(out, r.idempotent()):
			return outcome{}, c.failure(r, t, c.gaveUp(ctx, host, asked, out, false), attempts)
		}
		failed++
		if !out.unsent || !host.hasAnswered() {
			countedFailures++
		}
		left := time.Until(deadline)
		if countedFailures >= c.retry.Attempts || left <= 0 {
			return outcome{}, c.failure(r, t, c.gaveUp(ctx, host, asked, out, true), attempts)
		}
		if silent, why, tell := host.untold(); tell {
			c.log.WarnContext(ctx, c.Line(host.who+" does not answer; trying on"), "for", silent.Round(time.Second), "reason", c.Line(why.Error()))
		}
		wait := min(c.retry.backoff(failed, out.after, out.asked), left)
		if err := sleep(ctx, wait, opened); err != nil {
			return outcome{}, c.failure(r, t, outcome{err: err, unsent: true}, attempts)
		}
	}
}

// heard notes a useful answer of host, and to what if that can be asked again.
func (c *Client) heard(ctx context.Context, host *circuit, to question) {
	if silent, tell := host.success(to); tell {
		c.log.InfoContext(ctx, c.Line(host.who+" answers again"), "after", silent.Round(time.Second))
	}
}

func (c *Client) circuitOf(t target) *circuit {
	return c.circuits.of(origin(t.url), func() *circuit {
		at := t.url.Scheme + "://" + t.url.Host // as written: a secret in another spelling would not be recognised
		if t.foreign {
			return newCircuit("host "+at, ErrHostUnreachable, c.retry.For)
		}
		return newCircuit(c.name+" at "+at, ErrUnreachable, c.retry.For)
	})
}

// failure makes the error of an outcome.
func (c *Client) failure(r Request, t target, out outcome, attempts int) *Error {
	e := &Error{
		Method: r.Method, Path: t.shown(), Status: out.status, Detail: out.detail, Attempts: attempts,
		Ambiguous: ambiguous(out, r.idempotent()), RetryAfter: out.after, Err: c.clean(out.err),
	}
	if out.status == http.StatusForbidden && out.detail == "Not authenticated" && t.auth {
		e.Detail += " (the Authorization header was lost on the way: does the address redirect, or a proxy drop it?)" // contract G8
	}
	return e
}

// ask makes one attempt and judges what came of it.
func (c *Client) ask(ctx context.Context, q question, token string, number int, check func(outcome) error) outcome {
	out := c.attempt(ctx, q.request, q.target, token, q.accept, number)
	if out.answered && !out.unusable && out.status/100 == 2 {
		if out.err = check(out); out.err != nil {
			out.unusable, out.final = true, errors.As(out.err, &finalError{})
		}
	}
	if out.decoded != nil {
		out.decoded()
	}
	return out
}

// attempt sends the request once, follows the redirects allowed, and reads the answer.
func (c *Client) attempt(ctx context.Context, r Request, t target, token, accept string, number int) (out outcome) {
	started := time.Now()
	var bytes int64
	defer func() {
		if !c.log.Enabled(ctx, slog.LevelDebug) {
			return
		}
		attrs := []slog.Attr{
			slog.String("api", c.name), slog.String("method", r.Method), slog.String("path", t.shown()+maskedQuery(t.url, t.absolute)),
			slog.Int("status", out.status), slog.Int64("ms", time.Since(started).Milliseconds()), slog.Int64("bytes", bytes),
			slog.Int("attempt", number),
		}
		if out.err != nil {
			attrs = append(attrs, slog.String("error", c.Line(out.err.Error())))
		} else if out.detail != "" {
			attrs = append(attrs, slog.String("detail", out.detail))
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "request", attrs...)
	}()

	ctx = withDialPolicy(ctx, dialPolicy{api: &c.api, foreign: t.foreign})
	connected := !c.traces
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	at := t.url
	for redirects := 0; ; redirects++ {
		var up upload
		req, err := c.request(ctx, r, at, &up)
		if err != nil {
			return outcome{err: err, final: true, unsent: true}
		}
		req.Header.Set("Accept", accept)
		if t.auth && sameOrigin(at, c.base) {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		c.requests.Add(1)
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			out = outcome{unsent: !connected || isDial(err)}
			out.final, out.hopeless, out.err = finally(err)
			if local := up.failure(); local != nil {
				out.err, out.final, out.hopeless = fmt.Errorf("read what is to be sent: %w", local), true, false
			}
			return out
		}
		next, why := c.redirect(r, t, resp, redirects)
		if next != nil {
			bytes += c.discard(ctx, resp)
			at = next
			continue
		}
		var n int64
		out, n = c.answer(ctx, r, resp, accept == acceptDocument)
		bytes += n
		if why != "" {
			out.detail = c.Line(why)
		}
		return out
	}
}

// request makes one *http.Request.
func (c *Client) request(ctx context.Context, r Request, at *url.URL, up *upload) (*http.Request, error) {
	req := (&http.Request{
		Method: r.Method, URL: at, Host: at.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {c.agent}},
	}).WithContext(ctx)
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	if r.Body == nil {
		return req, nil
	}
	body, length, err := up.open(r.Body, &c.sent)
	if err != nil {
		return nil, fmt.Errorf("read what is to be sent: %w", err)
	}
	req.Body, req.ContentLength = body, length
	if length == 0 {
		_ = body.Close()
		req.Body = http.NoBody
	}
	// net/http sends a request again by itself if the server closed the idle connection before any of it was written.
	req.GetBody = func() (io.ReadCloser, error) {
		body, _, err := up.open(r.Body, &c.sent)
		return body, err
	}
	return req, nil
}

// redirect returns where an answer sends us if we follow, or why we do not. The API may send us elsewhere within its own
// origin, method and body included (307, 308); the host of an image anywhere that the guard allows, but never from https to http.
func (c *Client) redirect(r Request, t target, resp *http.Response, before int) (next *url.URL, why string) {
	switch resp.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return nil, "a redirect that would lose what was sent: not followed"
		}
	default:
		return nil, ""
	}
	location := resp.Header.Get("Location")
	next, err := resp.Request.URL.Parse(location)
	if location == "" || err != nil {
		return nil, "a redirect to nowhere"
	}
	next.User, next.Fragment, next.RawFragment = nil, "", ""
	shown := "a redirect to " + Redact(next.String())
	switch {
	case before >= maxRedirects:
		return nil, shown + ", one too many: not followed"
	case !t.foreign && !sameOrigin(next, t.url):
		return nil, shown + ", another host or scheme: not followed; is the address right?"
	case resp.Request.URL.Scheme == "https" && next.Scheme != "https":
		return nil, shown + ", from https to http: not followed"
	}
	if t.foreign {
		if err := c.api.permitURL(next); err != nil {
			return nil, shown + ": " + err.Error()
		}
	}
	return next, ""
}
