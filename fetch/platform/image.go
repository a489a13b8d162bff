package platform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"pyrobundle/internal/httpapi"
)

// Errors of images that callers may match with errors.Is.
var (
	// ErrURLRefused: the storage does not answer this URL (400, 401, 403, 404, 410): it has expired, or what it leads to
	// is gone. Ask for a new one.
	ErrURLRefused = errors.New("the storage refuses the image's URL")
	// ErrImageGone, beside ErrURLRefused: the storage says that there is no such image, and not that the URL, its signature
	// or our clock is at fault. Of a new URL it is the proof that the image is gone. A 404 in another's words, a gateway's
	// that knows of no storage behind it, is none.
	ErrImageGone = errors.New("the storage has no such image")
)

// maxURL bounds an answer that is a URL, in bytes; a presigned one has some 500, with a session's token 2000. Requests for a new
// one are many at once.
const maxURL = 16 << 10

// ImageURL is GET /detections/{id}/url: a new presigned URL. ErrMissing means that the detection is gone, or, on servers that
// look before they sign, its image.
func (c *Client) ImageURL(ctx context.Context, detectionID int64) (string, error) {
	var answer struct {
		URL string `json:"url"`
	}
	request := get(fmt.Sprintf("/api/v1/detections/%d/url", detectionID), nil)
	request.MaxBytes = maxURL
	err := c.api.JSON(ctx, request, &answer)
	if err == nil && answer.URL == "" {
		err = errors.New("the answer has no url")
	}
	if err != nil {
		return "", fmt.Errorf("ask for the image URL of detection %d: %w", detectionID, missing(err))
	}
	return answer.URL, nil
}

// Image downloads what a presigned URL leads to, without the token, at most limit bytes. It returns ErrURLRefused where
// the storage refuses.
func (c *Client) Image(ctx context.Context, presigned string, limit int64) ([]byte, error) {
	if u, err := url.Parse(presigned); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("download an image: the platform names %s: %w", c.api.Redact(presigned), httpapi.ErrHostRefused)
	}
	data, _, err := c.api.Bytes(ctx, httpapi.Request{Method: http.MethodGet, Path: presigned, NoAuth: true, MaxBytes: limit})
	switch status := httpapi.Status(err); status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return nil, &refusedImage{err: err, gone: saysGone(status, err)}
	}
	return data, err
}

// Recycle takes back the bytes of an Image, for another to be downloaded into. Nobody may look at them afterwards.
func (c *Client) Recycle(image []byte) { c.api.Recycle(image) }

// saysGone reports whether a refusal is about the image itself. S3 answers NoSuchKey with 404, and 403 instead to accounts that
// may not list the bucket, and 403 in other words when the URL has expired, its signature is wrong or a clock is. What is
// not in S3's words at all may be a proxy's or gateway's; but none of these says 410 of what it does not know.
func saysGone(status int, err error) bool {
	said := detail(err)
	switch status {
	case http.StatusGone:
		return true
	case http.StatusNotFound:
		return strings.HasPrefix(said, "NoSuchKey")
	case http.StatusForbidden:
		return strings.HasPrefix(said, "NoSuchKey") ||
			strings.HasPrefix(said, "AccessDenied") && !strings.Contains(strings.ToLower(said), "expired")
	}
	return false
}

// detail is what a server said when it refused.
func detail(err error) string {
	var answer *httpapi.Error
	if errors.As(err, &answer) {
		return answer.Detail
	}
	return ""
}

// refusedImage is ErrURLRefused, and ErrImageGone where the storage says so. It is never httpapi.ErrUnauthorized: what a
// storage thinks of a URL says nothing of our account.
type refusedImage struct {
	err  error
	gone bool
}

func (e *refusedImage) Error() string { return e.err.Error() }

func (e *refusedImage) Is(target error) bool {
	return target == ErrURLRefused || e.gone && target == ErrImageGone
}
