package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// What callers may match with errors.Is.
var (
	// ErrUnauthorized: login refused, or a 401 that a new login did not cure. Further authorised requests fail at once.
	ErrUnauthorized = errors.New("refused by the API")
	// ErrUnreachable: the API's host has not answered for so long, or nothing of use so often, that further requests fail at
	// once. A run should end.
	ErrUnreachable = errors.New("the API does not answer")
	// ErrHostUnreachable: the same of another host than the API's, the images' storage; the API itself may be well.
	ErrHostUnreachable = errors.New("the host does not answer")
	// ErrTooLarge: the answer exceeds Request.MaxBytes or the depth allowed. Asking again does not help.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrHostRefused: another host's address is one that an API has no business sending us to. Asking again does not help.
	ErrHostRefused = errors.New("address refused")
)

// Error is a request that ended without a usable 2xx answer. Its text has no secrets and is one line.
type Error struct {
	Method, Path string
	Status       int    // 0: no answer; 2xx: its body was unusable, see Err
	Detail       string // the API's own words, cut to a line
	Attempts     int    // that were sent; 0: none
	// Ambiguous: the server may have acted: no answer, 5xx (contract G9) or an unreadable 2xx after a request that is
	// not idempotent. Look before asking again.
	Ambiguous  bool
	RetryAfter time.Duration // what the last answer asked to wait; 0: nothing
	Err        error         // why there is no usable answer; nil where Status says it
}

// Error is, for example, "GET /api/v1/sequences/7/detections: 503 Service Unavailable after 6 attempts".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	attempts := ""
	if e.Attempts > 1 {
		attempts = fmt.Sprintf(" after %d attempts", e.Attempts)
	}
	switch {
	case e.Err != nil && e.Status != 0:
		fmt.Fprintf(&b, "unusable answer%s: %v", attempts, e.Err)
	case e.Err != nil && attempts != "":
		fmt.Fprintf(&b, "no answer%s: %v", attempts, e.Err)
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString(statusText(e.Status) + attempts)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Ambiguous {
		b.WriteString(" (the server may have acted on it)")
	}
	return b.String()
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// Unwrap gives the reason, among them context.Canceled, ErrUnreachable, ErrTooLarge and net's own.
func (e *Error) Unwrap() error { return e.Err }

// Status returns the HTTP status within err, 0 if there is none.
func Status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// cleanError keeps what an error is and replaces its text, which net/http fills with whole URLs.
type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }

func (c *Client) clean(err error) error {
	if err == nil {
		return nil
	}
	text, most := err.Error(), maxLine
	if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrHostUnreachable) {
		most = 2 * maxLine // the name of a host and its last words, which end with what to do
	}
	if line := lineOf(scrub(text, c.secrets()), most); line != text {
		return &cleanError{text: line, err: err}
	}
	return err
}

// unauthorizedError says who was refused where, and is both ErrUnauthorized and its cause.
type unauthorizedError struct {
	what string
	err  error
}

func (e *unauthorizedError) Error() string   { return e.what + ": " + e.err.Error() }
func (e *unauthorizedError) Unwrap() []error { return []error{ErrUnauthorized, e.err} }

// answerError is an answer of no use: that of a gateway to which the host behind it gave none, say.
type answerError struct {
	by     string // "a gateway answers "
	status int
	detail string
}

func (e *answerError) Error() string {
	if e.detail == "" {
		return e.by + statusText(e.status)
	}
	return e.by + statusText(e.status) + ": " + e.detail
}

// unreachableError is one of the two sentinels and the last thing that went wrong.
type unreachableError struct {
	sentinel error
	who      string // "platform at https://…"
	since    time.Duration
	cause    error
}

func (e *unreachableError) Error() string {
	text := fmt.Sprintf("%s has not answered for %s", e.who, e.since.Round(time.Second))
	if e.since < time.Second {
		text = e.who + " does not answer"
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *unreachableError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.sentinel}
	}
	return []error{e.sentinel, e.cause}
}

// uselessError is one of the two sentinels and the last of the answers of no use.
type uselessError struct {
	sentinel error
	who      string
	requests int // in a row; 0: none can have another
	cause    error
}

func (e *uselessError) Error() string {
	if e.requests == 0 {
		return e.who + " cannot be used: " + e.cause.Error()
	}
	return fmt.Sprintf("%s has given no useful answer to the last %d requests: %v", e.who, e.requests, e.cause)
}

func (e *uselessError) Unwrap() []error { return []error{e.sentinel, e.cause} }
