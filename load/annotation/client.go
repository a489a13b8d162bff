// Package annotation is a client of the annotation API, of either generation: one method for each endpoint used.
package annotation

import (
	"context"
	"log/slog"
	"net/http"

	"pyrobundle/internal/httpapi"
)

// Generation of the annotation API, recognised by itself (contract G10).
type Generation string

// The two generations in use.
const (
	SeedEra Generation = "seed"
	Newest  Generation = "newest"
)

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
type Client struct{}

// Dial logs in (httpapi.ErrUnauthorized when refused) and recognises the generation.
func Dial(ctx context.Context, cfg Config) (*Client, error) { panic("not built yet") }

func (c *Client) Generation() Generation { panic("not built yet") }
func (c *Client) BaseURL() string        { panic("not built yet") }
func (c *Client) Requests() int64        { panic("not built yet") }
func (c *Client) BytesSent() int64       { panic("not built yet") }
