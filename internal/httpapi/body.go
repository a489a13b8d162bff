package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// answer reads what the server has sent: a 2xx body whole and within limits, of others the beginning, for its detail. A
// document that is to be decoded waits for its turn where it is large; the caller ends the turn with out.decoded.
func (c *Client) answer(ctx context.Context, r Request, resp *http.Response, document bool) (out outcome, bytes int64) {
	out = outcome{answered: true, status: resp.StatusCode, header: resp.Header}
	out.after, out.asked = retryAfter(resp.Header, time.Now())
	limit := r.MaxBytes
	if limit <= 0 {
		limit = defaultMaxBytes
	}
	good := resp.StatusCode/100 == 2
	if !good {
		limit = maxErrorBytes
	}
	var large *Turn // a hostile document takes thirty times its size when it is decoded, and every worker may meet one
	if document {
		large = TurnOf(c.large)
		out.decoded = large.End
	}
	body, err := c.readAll(ctx, resp, limit, large)
	if closeErr := resp.Body.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	switch {
	case !good: // cut or not, the status is the answer
		out.page = looksLikeHTML(body)
		if out.detail = c.Line(detailOf(body, err != nil)); out.detail == statusText(out.status) {
			out.detail = "" // nginx titles its pages so
		}
	case err != nil:
		out.err, out.unusable, out.final = err, true, errors.Is(err, ErrTooLarge)
		var limiter *limiterError
		out.final = out.final || errors.As(err, &limiter)
	default:
		out.body = body
	}
	return out, int64(len(body))
}

// readAll reads a body of at most limit bytes, as they are after decompression, so that a bomb ends there.
func (c *Client) readAll(ctx context.Context, resp *http.Response, limit int64, large *Turn) ([]byte, error) {
	// What a Content-Length may make us allocate before it has come. Of images callers reserve limit, and to grow by doubling
	// would take as long as to receive them.
	const trusted, trustedDocument = 4 << 20, 256 << 10 // bytes
	declared := resp.ContentLength
	if resp.Uncompressed || resp.Request != nil && resp.Request.Method == http.MethodHead {
		declared = -1
	}
	if declared > limit && resp.StatusCode/100 == 2 {
		return nil, fmt.Errorf("%w: %d bytes, more than the %d allowed", ErrTooLarge, declared, limit)
	}
	most := min(limit+1, trusted)
	if large != nil {
		most = min(most, trustedDocument)
	}
	var buf []byte
	if size := min(max(declared+1, 512), most); large == nil && size >= recycledSize {
		buf = c.recycled(size, limit+1)
	} else {
		buf = make([]byte, 0, size)
	}
	for {
		if len(buf) > largeDocument {
			if err := large.Begin(ctx); err != nil {
				return buf, err
			}
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(len(buf), 16<<10)) // at least doubled
		}
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		c.read.Add(int64(n))
		if int64(len(buf)) > limit {
			return buf[:limit], fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if limitErr := c.pace(ctx, n); limitErr != nil {
			return buf, limitErr
		}
		switch {
		case errors.Is(err, io.EOF):
			if declared >= 0 && int64(len(buf)) != declared {
				return buf, fmt.Errorf("%d bytes of %d: %w", len(buf), declared, io.ErrUnexpectedEOF)
			}
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// recycledSize is from how many bytes on, and in multiples of what, bodies share memory: images of one camera differ by less.
const recycledSize = 64 << 10

// Recycle takes back a body that Bytes returned, for a later one to be read into: to clear memory for each of thousands of images and
// to collect it again takes as long as to receive them. Nobody may look at it afterwards.
func (c *Client) Recycle(body []byte) {
	if cap(body) >= recycledSize {
		c.bodies.Put(&body)
	}
}

// recycled returns an empty buffer of at least size bytes, mostly more, but at most most of them.
func (c *Client) recycled(size, most int64) []byte {
	if body, ok := c.bodies.Get().(*[]byte); ok {
		if has := int64(cap(*body)); has >= size && has <= min(2*size, most) {
			return (*body)[:0]
		}
	}
	return make([]byte, 0, max(size, min((size+recycledSize-1)/recycledSize*recycledSize, most)))
}

// limiterError is a failure of our own limiter, which another attempt would meet again.
type limiterError struct{ error }

func (e *limiterError) Unwrap() error { return e.error }

// pace waits until the limit on downloads has room for n bytes more, in portions that fit its burst.
func (c *Client) pace(ctx context.Context, n int) error {
	if c.rate == nil {
		return nil
	}
	for n > 0 {
		portion := n
		if burst := c.rate.Burst(); burst > 0 {
			portion = min(n, burst)
		}
		if err := c.rate.WaitN(ctx, portion); err != nil {
			return &limiterError{fmt.Errorf("limit of the rate: %w", err)}
		}
		n -= portion
	}
	return nil
}

// discard reads the little body of a redirect, so that its connection can be used again.
func (c *Client) discard(ctx context.Context, resp *http.Response) int64 {
	body, _ := c.readAll(ctx, resp, maxErrorBytes, nil) // if it breaks, so will the connection: nothing else depends on it
	_ = resp.Body.Close()
	return int64(len(body))
}

// upload makes the bodies of one attempt, counts what is sent of them, and keeps an error of reading them: it is ours, not
// the server's.
type upload struct {
	mu  sync.Mutex
	err error
}

func (u *upload) open(body func() (io.Reader, int64, error), sent *atomic.Int64) (io.ReadCloser, int64, error) {
	r, length, err := body()
	if err != nil {
		u.keep(err)
		return nil, 0, err
	}
	return &uploadReader{reader: r, upload: u, sent: sent}, length, nil
}

func (u *upload) keep(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

type uploadReader struct {
	reader io.Reader
	upload *upload
	sent   *atomic.Int64
}

func (r *uploadReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	r.sent.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		r.upload.keep(err)
	}
	return n, err
}

func (r *uploadReader) Close() error {
	if closer, ok := r.reader.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
