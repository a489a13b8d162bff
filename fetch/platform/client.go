// Package platform is a client of the alert platform's API: one method for each endpoint used.
package platform

import (
	"context"
	"log/slog"
	"net/http"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// Account is a login of the platform.
type Account struct{ Login, Password string }

// Config says which platform, as whom.
type Config struct {
	BaseURL   string
	Account   Account
	Admin     Account // for organization names; zero: none
	Transport http.RoundTripper
	Retry     httpapi.Retry
	Rate      httpapi.Limiter
	Log       *slog.Logger
	UserAgent string
}

// Client is safe for concurrent use.
type Client struct{}

// Dial logs in (httpapi.ErrUnauthorized when refused) and asks who the caller is.
func Dial(ctx context.Context, cfg Config) (*Client, error) { panic("not built yet") }

// Scope, OrganizationID: of the account, from login/validate. Source: what the bundle records.
func (c *Client) Scope() string         { panic("not built yet") }
func (c *Client) OrganizationID() int64 { panic("not built yet") }
func (c *Client) Source() store.Source  { panic("not built yet") }
func (c *Client) Requests() int64       { panic("not built yet") }
func (c *Client) BytesRead() int64      { panic("not built yet") }
