// Package platform is a client of the alert platform's API: one method for each endpoint used.
//
// It knows paths, parameters and documents (contract A), not what they are fetched for: that is package fetch. Transport,
// retry, re-login and redaction are internal/httpapi's; the record types are store's.
package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// Account is a login of the platform.
type Account struct{ Login, Password string }

// Config says which platform, as whom.
type Config struct {
	BaseURL   string
	Account   Account
	Accounts  string  // file that Account is from, named where it is refused; empty: from the environment
	Admin     Account // for organization names; zero: none
	SourceAPI string  // overrides what Source finds out; empty: found out
	Transport http.RoundTripper
	Retry     httpapi.Retry
	Rate      httpapi.Limiter
	Log       *slog.Logger
	UserAgent string
}

// Client is safe for concurrent use.
type Client struct {
	api      *httpapi.Client
	admin    *httpapi.Client // nil: no administrator
	identity identity
	source   store.Source
}

// identity is who login/validate says the caller is.
type identity struct {
	Scopes         []string `json:"scopes"`
	OrganizationID int64    `json:"organization_id"`
}

// sourceHeader is how a platform that nobody knows by its host (a bundle served again) names itself.
const sourceHeader = "X-Pyrobundle-Source-Api"

// ScopeAdmin is the scope that sees every organization (contract A.2).
const ScopeAdmin = "admin"

// Dial logs in (httpapi.ErrUnauthorized when refused) and asks who the caller is, both accounts at once.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{api: newAPI(cfg, cfg.Account, cmp.Or(cfg.Accounts, "PLATFORM_LOGIN and PLATFORM_PASSWORD"))}
	var header http.Header
	var userErr, adminErr error
	var both sync.WaitGroup
	both.Go(func() { c.identity, header, userErr = whoAmI(ctx, c.api) })
	if cfg.Admin != (Account{}) {
		c.admin = newAPI(cfg, cfg.Admin, "PLATFORM_ADMIN_LOGIN and PLATFORM_ADMIN_PASSWORD")
		both.Go(func() { _, _, adminErr = whoAmI(ctx, c.admin) })
	}
	both.Wait()
	if err := cmp.Or(userErr, adminErr); err != nil {
		c.Close()
		return nil, dialError(cfg, err)
	}
	c.source = store.Source{URL: httpapi.Redact(cfg.BaseURL), API: sourceAPI(cfg, header)}
	return c, nil
}

func newAPI(cfg Config, account Account, from string) *httpapi.Client {
	return httpapi.New(httpapi.Config{
		Name:      "platform",
		BaseURL:   cfg.BaseURL,
		Login:     login(cfg.BaseURL, account, from),
		Transport: cfg.Transport,
		Retry:     cfg.Retry,
		Log:       cfg.Log,
		Rate:      cfg.Rate,
		UserAgent: cfg.UserAgent,
		Secrets:   []string{cfg.Account.Password, cfg.Admin.Password}, // a server may tell one account of the other
	})
}

// maxLogin bounds the answers to a login and to who the account is, in bytes; a token has some 300.
const maxLogin = 64 << 10

// whoAmI is GET /login/validate, with the answer's header. Who has no scope is nobody, and only an administrator may belong
// to no organization: everybody's sequences are listed under none.
func whoAmI(ctx context.Context, api *httpapi.Client) (who identity, header http.Header, err error) {
	request := get("/api/v1/login/validate", nil)
	request.Header, request.MaxBytes = &header, maxLogin
	if err := api.JSON(ctx, request, &who); err != nil {
		return identity{}, nil, err
	}
	switch scope := who.scope(); {
	case scope == "":
		return identity{}, nil, errors.New("the platform does not say what the account may do")
	case who.OrganizationID < 0 || who.OrganizationID == 0 && scope != ScopeAdmin:
		return identity{}, nil, fmt.Errorf("the platform says that the account belongs to organization %d", who.OrganizationID)
	}
	return who, header, nil
}

// sourceAPI names the platform for the annotation API (contract B.1, C.2). A platform at a known host is what that host
// is, whatever it says of itself.
func sourceAPI(cfg Config, header http.Header) string {
	if cfg.SourceAPI != "" {
		return cfg.SourceAPI
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return ""
	}
	switch strings.ToLower(base.Hostname()) {
	case "alertapi.pyronear.org":
		return "pyronear_french"
	case "apicenia.pyronear.org":
		return "api_cenia"
	}
	switch name := header.Get(sourceHeader); name {
	case "pyronear_french", "alert_wildfire", "api_cenia":
		return name
	}
	return ""
}

// Scope is the account's: "admin", "agent" or "user".
func (c *Client) Scope() string { return c.identity.scope() }

func (who identity) scope() string {
	if slices.Contains(who.Scopes, ScopeAdmin) {
		return ScopeAdmin
	}
	return strings.Join(who.Scopes, " ")
}

// OrganizationID is the organization that the account belongs to.
func (c *Client) OrganizationID() int64 { return c.identity.OrganizationID }

// Source is what a bundle records: the address, and the annotation API's name for it where that is known.
func (c *Client) Source() store.Source { return c.source }

// Close lets go of idle connections, so that nothing of the client is left running. It may be used again.
func (c *Client) Close() {
	c.api.Close()
	if c.admin != nil {
		c.admin.Close()
	}
}

// Requests is how many requests were sent since Dial began, each attempt counted.
func (c *Client) Requests() int64 {
	if c.admin == nil {
		return c.api.Requests()
	}
	return c.api.Requests() + c.admin.Requests()
}

// BytesRead is how many bytes of answers were received since Dial began.
func (c *Client) BytesRead() int64 {
	if c.admin == nil {
		return c.api.BytesRead()
	}
	return c.api.BytesRead() + c.admin.BytesRead()
}
