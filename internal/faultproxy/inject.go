package faultproxy

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// injection does one fault to one request.
type injection func(p *Proxy, w http.ResponseWriter, r *http.Request, chance *rand.Rand)

func injections() map[Fault]injection {
	status := func(f Fault, code int, wait bool, contentType, body string) injection {
		return func(p *Proxy, w http.ResponseWriter, r *http.Request, chance *rand.Rand) {
			p.done(f)
			if wait {
				after := p.plan.RetryAfter[chance.IntN(len(p.plan.RetryAfter))]
				w.Header().Set("Retry-After", strconv.FormatInt(int64(after/time.Second), 10))
			}
			answer(w, r, code, contentType, body)
		}
	}
	const page = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Something is wrong</h1></body></html>"
	traceback := "Traceback (most recent call last):\n" + strings.Repeat("  File \"/app/app/main.py\", line 1, in f\n", 250) + "RuntimeError: injected\n"
	return map[Fault]injection{
		Refuse:                 refuse,
		CloseIdle:              closeIdle,
		Reset:                  reset,
		DropAnswer:             dropAnswer,
		Stall:                  stall,
		StallBody:              func(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) { p.half(StallBody, w, r) },
		Truncate:               func(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) { p.half(Truncate, w, r) },
		Delay:                  delay,
		TooManyRequests:        status(TooManyRequests, http.StatusTooManyRequests, false, "application/json", `{"detail":"slow down"}`),
		TooManyRequestsWait:    status(TooManyRequestsWait, http.StatusTooManyRequests, true, "application/json", `{"detail":"slow down"}`),
		InternalServerError:    status(InternalServerError, http.StatusInternalServerError, false, "text/plain", traceback),
		InternalErrorWait:      status(InternalErrorWait, http.StatusInternalServerError, true, "text/plain", traceback),
		BadGateway:             status(BadGateway, http.StatusBadGateway, false, "text/html", page),
		BadGatewayWait:         status(BadGatewayWait, http.StatusBadGateway, true, "text/html", page),
		ServiceUnavailable:     status(ServiceUnavailable, http.StatusServiceUnavailable, false, "text/plain", "no healthy upstream"),
		ServiceUnavailableWait: status(ServiceUnavailableWait, http.StatusServiceUnavailable, true, "text/plain", "no healthy upstream"),
		GatewayTimeout:         status(GatewayTimeout, http.StatusGatewayTimeout, false, "text/html", page),
		GatewayTimeoutWait:     status(GatewayTimeoutWait, http.StatusGatewayTimeout, true, "text/html", page),
		GatewayTimeoutAfter:    gatewayTimeoutAfter,
		HTML:                   status(HTML, http.StatusOK, false, "text/html; charset=utf-8", page),
		CutJSON:                cutJSON,
		FlipBytes:              flipBytes,
		ExpireToken:            expireToken,
		ExpireURL:              expireURL,
	}
}

// answer reads what was sent first, as a real application server does, so that the client never meets a connection that
// closes while it still writes: that would be another fault.
func answer(w http.ResponseWriter, r *http.Request, code int, contentType, body string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

func refuse(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	w.Header().Set("Connection", "close")
	p.pass(w, r)
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	if server.outage(p.plan.Outage) {
		p.done(Refuse)
	}
}

func closeIdle(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	recorded := p.record(r)
	conn := hijack(w)
	p.done(CloseIdle)
	_, _ = conn.Write(recorded.wire(r, recorded.body.Len()))
	_ = conn.Close()
}

func reset(p *Proxy, w http.ResponseWriter, _ *http.Request, _ *rand.Rand) {
	conn := hijack(w)
	p.done(Reset)
	tear(conn)
}

func dropAnswer(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	p.record(r)
	conn := hijack(w)
	p.done(DropAnswer)
	tear(conn)
}

func stall(p *Proxy, w http.ResponseWriter, _ *http.Request, _ *rand.Rand) {
	conn := hijack(w)
	p.done(Stall)
	p.hold(conn)
}

// half sends the headers and half of the body, then ends the connection or holds it.
func (p *Proxy) half(f Fault, w http.ResponseWriter, r *http.Request) {
	recorded := p.record(r)
	size := recorded.body.Len()
	if size == 0 { // there is no half of it
		recorded.send(w)
		return
	}
	conn := hijack(w)
	p.done(f)
	if _, err := conn.Write(recorded.wire(r, size/2)); err != nil || f == Truncate {
		_ = conn.Close()
		return
	}
	p.hold(conn)
}

func delay(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	p.done(Delay)
	timer := time.NewTimer(p.plan.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	p.pass(w, r)
}

func gatewayTimeoutAfter(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	p.record(r)
	p.done(GatewayTimeoutAfter)
	answer(w, r, http.StatusGatewayTimeout, "text/html", "<html><title>504 Gateway Time-out</title></html>")
}

func cutJSON(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	recorded := p.record(r)
	if size := recorded.body.Len(); size > 1 && strings.Contains(recorded.header.Get("Content-Type"), "json") {
		recorded.body.Truncate(size / 2)
		recorded.header.Del("Content-Length")
		p.done(CutJSON)
	}
	recorded.send(w)
}

func flipBytes(p *Proxy, w http.ResponseWriter, r *http.Request, chance *rand.Rand) {
	recorded := p.record(r)
	if size := recorded.body.Len(); size > 0 && recorded.status == http.StatusOK {
		const flips = 3
		for range flips {
			recorded.body.Bytes()[chance.IntN(size)] ^= 1 << chance.IntN(7)
		}
		// Two flips may undo one another; a third in a bit that they never touch makes the image another for certain.
		recorded.body.Bytes()[chance.IntN(size)] ^= 1 << 7
		p.done(FlipBytes)
	}
	recorded.send(w)
}

func expireToken(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	p.mu.Lock()
	p.expired[r.Header.Get("Authorization")] = true
	p.mu.Unlock()
	p.done(ExpireToken)
	p.refuseExpired(w, r)
}

func expireURL(p *Proxy, w http.ResponseWriter, r *http.Request, _ *rand.Rand) {
	p.mu.Lock()
	p.stale[r.URL.RequestURI()] = true
	p.mu.Unlock()
	p.done(ExpireURL)
	p.refuseExpired(w, r)
}

// refuseExpired answers for a token or a URL that has expired, now or by an earlier fault.
func (p *Proxy) refuseExpired(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	token, image := p.expired[r.Header.Get("Authorization")], p.stale[r.URL.RequestURI()]
	p.mu.Unlock()
	switch {
	case token:
		answer(w, r, http.StatusUnauthorized, "application/json", `{"detail":"Token has expired."}`)
	case image:
		answer(w, r, http.StatusForbidden, "application/xml", `<?xml version="1.0" encoding="UTF-8"?>`+
			`<Error><Code>AccessDenied</Code><Message>Request has expired</Message><RequestId>1</RequestId></Error>`)
	}
	return token || image
}

// pass lets the target answer.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	watching := !p.plan.IsImage(r) && (len(p.stale) > 0 || len(p.expired) > 0 && r.Method == http.MethodPost)
	p.mu.Unlock()
	if watching {
		p.record(r).send(w)
		return
	}
	p.target.ServeHTTP(w, r)
}

// record has the target answer into memory. What it gives again is valid again: two logins in one second may give the same
// token, two listings the same URL.
func (p *Proxy) record(r *http.Request) *recorded {
	rec := &recorded{header: http.Header{}, status: http.StatusOK}
	p.target.ServeHTTP(rec, r)
	_, _ = io.Copy(io.Discard, r.Body) // else the kernel resets the connection that we want to end in another way
	if rec.status/100 != 2 || p.plan.IsImage(r) {
		return rec
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stale)+len(p.expired) == 0 {
		return rec
	}
	text := strings.NewReplacer(`\u0026`, "&", `\/`, "/").Replace(rec.body.String())
	for uri := range p.stale {
		if strings.Contains(text, uri) {
			delete(p.stale, uri)
		}
	}
	for header := range p.expired {
		if _, token, ok := strings.Cut(header, " "); ok && strings.Contains(text, token) {
			delete(p.expired, header)
			delete(p.tokens, header)
		}
	}
	return rec
}

// recorded is an answer kept.
type recorded struct {
	status  int
	header  http.Header
	body    bytes.Buffer
	written bool
}

func (a *recorded) Header() http.Header { return a.header }

func (a *recorded) WriteHeader(status int) {
	if !a.written && status >= http.StatusOK {
		a.status, a.written = status, true
	}
}

func (a *recorded) Write(p []byte) (int, error) {
	a.written = true
	return a.body.Write(p)
}

func (a *recorded) send(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

// wire is the answer as it goes over a connection, of its body only the first bytes.
func (a *recorded) wire(r *http.Request, bodyBytes int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	header := a.header.Clone()
	header.Del("Transfer-Encoding")
	if header.Get("Content-Type") == "" && a.body.Len() > 0 {
		header.Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified && r.Method != http.MethodHead {
		header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	}
	_ = header.Write(&b) // into memory
	b.WriteString("\r\n")
	if r.Method != http.MethodHead {
		b.Write(a.body.Bytes()[:bodyBytes])
	}
	return b.Bytes()
}

// hijack takes the connection from net/http; where that cannot be (HTTP/2), it breaks it the way net/http offers.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}

// tear resets a connection: the client sees ECONNRESET, not an orderly end.
func tear(conn net.Conn) {
	below := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		below = t.NetConn()
	}
	if t, ok := below.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0) // if it cannot be, the client sees the end instead, which is as good a fault
	}
	_ = below.Close()
}

// hold says nothing until the client hangs up or Plan.Stall is over.
func (p *Proxy) hold(conn net.Conn) {
	defer tear(conn)
	if conn.SetReadDeadline(time.Now().Add(p.plan.Stall)) != nil {
		return
	}
	for {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return // hung up, or os.ErrDeadlineExceeded
		}
	}
}
