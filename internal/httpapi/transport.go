package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"
)

// Deadlines. There is none on the total: an image over a thin link takes what it takes.
const (
	connectTimeout = 10 * time.Second
	// headerTimeout: the annotation API waits up to 30 s for a connection to its database and 60 s for a statement
	// (contract B.0); an answer after that is still worth having, it says what happened.
	headerTimeout = 120 * time.Second
	idleTimeout   = 30 * time.Second // without a single byte of a body that is read; see writeDeadline
	// The pace below which a body is a trickle kept up to hold us: sixteen images at once over 64 kbit/s have 500 bytes
	// per second each. Only time spent waiting for the server counts, not that of our own rate limit.
	paceWindow = time.Minute
	paceBytes  = 60 * 128 // per window
	writeBytes = 30 * 128 // the same within idleTimeout, for what is sent
	// keepIdle: the APIs' servers close connections after 5 s; a POST sent at that moment fails ambiguously (contract I).
	keepIdle = 4 * time.Second
	// perHost idle connections are kept; more workers than that are of no use.
	perHost = 64
)

var (
	errIdle = errors.New("no bytes for 30s in the middle of the answer")
	errPace = errors.New("the answer trickles at less than 128 bytes per second")
	// errSwitched: net/http hands over the connection then, whose reads no deadline, cancelled context or signal would end.
	errSwitched = errors.New("the server switches to another protocol, which nobody has asked for")
)

// NewTransport has deadlines on connect, headers and idle bodies, none on total size; its idle connections close before
// the servers' 5 s (contract I). Proxies and certificates come from the usual variables (HTTPS_PROXY, NO_PROXY,
// SSL_CERT_FILE). HTTP/1.1 only: there a broken connection concerns one request, not all.
func NewTransport() http.RoundTripper {
	t := newTransport(http.ProxyFromEnvironment, newDialer().DialContext)
	t.http.TLSClientConfig.RootCAs, t.broken = certificates(runtime.GOOS, os.Getenv("SSL_CERT_FILE"))
	return t
}

// newDialer gives up after connectTimeout, and asks the guard about each address.
func newDialer() *net.Dialer { return &net.Dialer{Timeout: connectTimeout, ControlContext: control} }

type transport struct {
	http   *http.Transport
	proxy  func(*http.Request) (*url.URL, error)
	broken error // no request can work: SSL_CERT_FILE is unusable
}

func newTransport(proxy func(*http.Request) (*url.URL, error), dial func(ctx context.Context, network, addr string) (net.Conn, error)) *transport {
	return &transport{
		proxy: proxy,
		http: &http.Transport{
			Proxy: proxy,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return writeDeadline{conn}, nil
			},
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // no HTTP/2
			TLSHandshakeTimeout:    connectTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        keepIdle,
			MaxIdleConns:           4 * perHost,
			MaxIdleConnsPerHost:    perHost,
			MaxResponseHeaderBytes: 256 << 10,
			WriteBufferSize:        32 << 10,
			ReadBufferSize:         32 << 10,
		},
	}
}

// certificates are those of SSL_CERT_FILE where crypto/x509 does not honour it itself; nil: the system's.
func certificates(system, file string) (*x509.CertPool, error) {
	if file == "" || system != "windows" && system != "darwin" {
		return nil, nil
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the user's own variable
	if err != nil {
		return nil, fmt.Errorf("SSL_CERT_FILE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("SSL_CERT_FILE: no certificate in %s", file)
	}
	return pool, nil
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.broken != nil {
		closeBody(req)
		return nil, finalError{t.broken}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	if p, ok := dialPolicyOf(ctx); ok {
		proxy, err := t.proxy(req)
		if err != nil {
			closeBody(req)
			cancel(nil)
			// err repeats it, password included
			return nil, finalError{errors.New("the proxy's address in HTTPS_PROXY or HTTP_PROXY is no usable URL")}
		}
		p.proxied = proxy != nil
		ctx = withConnected(withDialPolicy(ctx, p), p)
	}
	resp, err := t.http.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // handed on
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close()
		cancel(nil)
		return nil, errSwitched
	}
	resp.Body = &patientBody{body: resp.Body, ctx: ctx, cancel: cancel}
	return resp, nil
}

// CloseIdleConnections lets go of what is kept for later requests.
func (t *transport) CloseIdleConnections() { t.http.CloseIdleConnections() }

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// patientBody ends a read that gets no byte for idleTimeout, and a body that merely trickles.
type patientBody struct {
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // the request's own, to be cancelled from here
	cancel context.CancelCauseFunc

	once   sync.Once
	timer  *time.Timer
	waited time.Duration // for the server, in this window of the pace
	got    int
}

func (b *patientBody) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = time.AfterFunc(idleTimeout, func() { b.cancel(errIdle) })
	} else {
		b.timer.Reset(idleTimeout)
	}
	start := time.Now()
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); errors.Is(cause, errIdle) {
			return n, errIdle
		}
		return n, err
	}
	b.waited += time.Since(start)
	b.got += n
	if b.waited >= paceWindow {
		if b.got < paceBytes {
			b.cancel(errPace)
			return n, errPace
		}
		b.waited, b.got = 0, 0
	}
	return n, err
}

func (b *patientBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.body.Close()
	b.once.Do(func() { b.cancel(nil) })
	return err
}

// writeDeadline ends a write of which the peer takes less than writeBytes within idleTimeout; net/http has no such deadline.
// What it has taken counts, not whether that was all: net/http writes 32 KiB at a time, and a thin link takes them in minutes.
// A peer that takes nothing any more is so noticed within twice idleTimeout.
type writeDeadline struct{ net.Conn }

func (c writeDeadline) Write(p []byte) (written int, err error) {
	for {
		if err := c.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if n < writeBytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}
