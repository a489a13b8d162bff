// Package annotation is a client of the annotation API, of either generation: one method for each endpoint used.
//
// It speaks the API's forms, multipart uploads and pages, and judges nothing: what a 409 means, what may be repeated after
// an ambiguous failure and what belongs to a person is decided by its only user, package load. Login, retries, deadlines
// and redaction are those of internal/httpapi; boxes and documents are those of package annotate.
package annotation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pyrobundle/internal/httpapi"
)

// Generation of the annotation API, recognised by itself (contract G10).
type Generation string

// The two generations in use.
const (
	SeedEra Generation = "seed"
	Newest  Generation = "newest"
)

// PageSize is the largest page that the API gives (contract B.0).
const PageSize = 100

// maxAPIDescription bounds openapi.json, in bytes; FastAPI's is some 300 kB for this API.
const maxAPIDescription = 8 << 20

// Config says which annotation API, as whom.
type Config struct {
	BaseURL         string
	Login, Password string
	Transport       http.RoundTripper
	Retry           httpapi.Retry
	Log             *slog.Logger
	UserAgent       string
}

// Client is safe for concurrent use.
type Client struct {
	api        *httpapi.Client
	baseURL    string
	generation Generation
}

// Dial logs in (httpapi.ErrUnauthorized when refused) and recognises the generation.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{baseURL: strings.TrimRight(cfg.BaseURL, "/")}
	c.api = httpapi.New(httpapi.Config{
		Name:      "annotation API",
		BaseURL:   c.baseURL,
		Login:     login(cfg.Login, cfg.Password),
		Transport: cfg.Transport,
		Retry:     cfg.Retry,
		Log:       cfg.Log,
		UserAgent: cfg.UserAgent,
		Secrets:   []string{cfg.Password},
	})
	generation, err := c.recognise(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	c.generation = generation
	return c, nil
}

// login asks for a token by the API's JSON login (contract B.0).
func login(name, password string) func(context.Context, *httpapi.Client) (string, error) {
	return func(ctx context.Context, api *httpapi.Client) (string, error) {
		request, err := jsonRequest(http.MethodPost, "/api/v1/auth/login", map[string]string{
			"username": name, "password": password,
		})
		if err != nil {
			return "", err
		}
		request.NoAuth = true
		request.Idempotent = true // a second login only makes a second token
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := api.JSON(ctx, request, &answer); err != nil {
			return "", err
		}
		return answer.AccessToken, nil
	}
}

// recognise tells the generations apart by a field of the first sequence, or, where there is none yet, by the routes that
// the API describes (contract G10). An API that describes nothing is taken for the older one, whose rules are the
// stricter.
func (c *Client) recognise(ctx context.Context) (Generation, error) {
	var first struct {
		Items []map[string]json.RawMessage `json:"items"`
	}
	err := c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodGet, Path: "/api/v1/sequences/", Query: url.Values{"size": {"1"}},
	}, &first)
	if err != nil {
		return "", fmt.Errorf("look at the annotation API: %w", err)
	}
	if len(first.Items) > 0 {
		if _, newer := first.Items[0]["platform_alert_id"]; newer {
			return Newest, nil
		}
		return SeedEra, nil
	}
	var description struct {
		Paths map[string]json.RawMessage `json:"paths"`
	}
	err = c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodGet, Path: "/api/v1/openapi.json", MaxBytes: maxAPIDescription,
	}, &description)
	if err != nil && httpapi.Status(err) != http.StatusNotFound {
		return "", fmt.Errorf("read the annotation API's description: %w", err)
	}
	if _, newer := description.Paths["/api/v1/sequences/temporal-score"]; newer {
		return Newest, nil
	}
	return SeedEra, nil
}

// Generation is what Dial recognised.
func (c *Client) Generation() Generation { return c.generation }

// BaseURL is the API's address without a trailing slash; it has no credentials in it.
func (c *Client) BaseURL() string { return c.baseURL }

// Requests counts the requests sent since Dial began, each attempt.
func (c *Client) Requests() int64 { return c.api.Requests() }

// BytesSent counts the bytes of the bodies sent, each attempt.
func (c *Client) BytesSent() int64 { return c.api.BytesSent() }

// Close lets go of idle connections. The client may be used again.
func (c *Client) Close() { c.api.Close() }

// jsonRequest is a request with a JSON body.
func jsonRequest(method, path string, body any) (httpapi.Request, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return httpapi.Request{}, fmt.Errorf("encode %s %s: %w", method, path, err)
	}
	return httpapi.Request{
		Method: method, Path: path, ContentType: "application/json",
		Body: func() (io.Reader, int64, error) { return bytes.NewReader(encoded), int64(len(encoded)), nil },
	}, nil
}

// Time is a timestamp of the API: ISO-8601 with a zone, separated by T, or by a blank where a list includes annotations
// (contract B.0). Without a zone it is UTC.
type Time struct{ time.Time }

// UnmarshalJSON reads either form; null leaves the zero time.
func (t *Time) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	for _, layout := range [...]string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
	} {
		if parsed, err := time.Parse(layout, text); err == nil {
			t.Time = parsed.UTC()
			return nil
		}
	}
	const longest = 64 // bytes; a cut text could end within a secret, which nobody would recognise
	if len(text) > longest {
		return fmt.Errorf("parse a time of %d bytes: want ISO-8601", len(text))
	}
	return fmt.Errorf("parse time %q: want ISO-8601", text)
}

// Redact makes what the API has said in a row fit for a message: one line without secrets, of 200 characters at most.
func (c *Client) Redact(text string) string { return c.api.Line(text) }

// Mask returns a text with this client's passwords and tokens masked, and otherwise as it is.
func (c *Client) Mask(text string) string { return c.api.Mask(text) }

// FormatTime writes a time as the API is sent it: UTC with Z, because it reads a time without zone in its own process's
// zone, and takes a + in a query for a blank.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }
