package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryableStatus are the answers that another attempt may better.
func retryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// unprocessedStatus are the answers that say that the server has not begun to act. A 503 is not one of them, with or
// without Retry-After: gateways send it after they have forwarded the request, and contract G9 counts all 5xx as ambiguous.
func unprocessedStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusTooEarly
}

// mayRepeat tells whether another attempt is sensible and safe.
func mayRepeat(out outcome, idempotent bool) bool {
	switch {
	case out.final:
		return false
	case out.answered && !out.unusable && !retryableStatus(out.status):
		return false
	default:
		return idempotent || out.unsent || out.answered && !out.unusable && unprocessedStatus(out.status)
	}
}

// ambiguous tells whether the server may have acted on a request that is not idempotent.
func ambiguous(out outcome, idempotent bool) bool {
	if idempotent || out.unsent {
		return false
	}
	return !out.answered || out.unusable || out.status >= 500 || out.status == http.StatusRequestTimeout
}

// finally recognises failures without an answer that another attempt would meet again, and adds what to do about them. Those
// that are hopeless every other request to the host would meet, too.
func finally(err error) (final, hopeless bool, _ error) {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, ErrHostRefused), errors.As(err, &finalError{}):
		return true, false, err
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return true, true, fmt.Errorf("%w (should the address begin with http instead of https?)", err)
	case errors.As(err, &authority):
		return true, true, fmt.Errorf("%w (a private authority's certificate goes in the file named by SSL_CERT_FILE)", err)
	case errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify):
		return true, true, err
	}
	return false, false, err
}

// isDial recognises failures before a connection was there, so that nothing can have been sent.
func isDial(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "socks connect") || errors.As(err, &dns)
}

// backoff is the wait before the next attempt: full jitter over a span that doubles from Base to Max, or what the server
// asked for and a little jitter, so that those it has sent away do not come back all at once.
func (r Retry) backoff(failures int, after time.Duration, asked bool) time.Duration {
	if asked {
		return after + rand.N(r.Base+1)
	}
	span := r.Max
	if shift := max(failures-1, 0); shift < 40 && r.Base < r.Max>>shift {
		span = r.Base << shift
	}
	return rand.N(span + 1)
}

// maxRetryAfter bounds what a header can say before Retry.For does: beyond, nobody waits.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After: seconds, or a date, which is compared with the answer's own Date so that a wrong clock
// here does no harm.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true // so many digits are out of range, not unreadable
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

// sleep waits, and ends early with ctx or when the circuit opens, which the next attempt then finds.
func sleep(ctx context.Context, d time.Duration, opened <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
