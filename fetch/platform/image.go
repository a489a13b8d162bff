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
	// or our clock is at fault. Of a new URL it is the proof that the image is gone.
	ErrImageGone = errors.New("the storage has no such image")
)

// ImageURL is GET /detections/{id}/url: a new presigned URL. Status 404 means that the detection is gone, or, on servers
// that look before they sign, its image.
func (c *Client) ImageURL(ctx context.Context, detectionID int64) (string, error) {
	var answer struct {
		URL string `json:"url"`
	}
	request := httpapi.Request{Method: http.MethodGet, Path: fmt.Sprintf("/api/v1/detections/%d/url", detectionID)}
	if err := c.api.JSON(ctx, request, &answer); err != nil {
		return "", fmt.Errorf("ask for the image URL of detection %d: %w", detectionID, err)
	}
	if answer.URL == "" {
		return "", fmt.Errorf("ask for the image URL of detection %d: the answer has no url", detectionID)
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

// saysGone reports whether a refusal is about the image itself. S3 answers 403 instead of 404 to accounts that may not
// list the bucket, and 403 in other words when the URL has expired, its signature is wrong or a clock is. A 403 that is not
// in S3's words at all may be a proxy's.
func saysGone(status int, err error) bool {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return true
	case http.StatusForbidden:
		var answer *httpapi.Error
		if !errors.As(err, &answer) {
			return false
		}
		return strings.HasPrefix(answer.Detail, "NoSuchKey") ||
			strings.HasPrefix(answer.Detail, "AccessDenied") && !strings.Contains(strings.ToLower(answer.Detail), "expired")
	}
	return false
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
