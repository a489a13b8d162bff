// Package serve answers a bundle as the platform API.
package serve

import (
	"log/slog"
	"net/http"
	"time"

	"pyrobundle/store"
)

// Options change how a bundle is served. The zero value serves as a current platform with the default accounts.
type Options struct {
	Accounts      []Account     // nil: DefaultAccounts
	OldPlatform   bool          // as a server before offset (contract A.4)
	URLLifetime   time.Duration // of signed image URLs; 0: 24 h
	TokenLifetime time.Duration // 0: 365 days
	Now           func() time.Time
	Log           *slog.Logger
}

// Account may log in. An administrator (OrganizationID 0 or the admin scope) sees every organization.
type Account struct {
	Login, Password string
	Scope           string // "admin", "agent", "user"
	OrganizationID  int64
}

// New returns the platform API over bundle: one line in a test is httptest.NewServer(serve.New(bundle, serve.Options{})).
func New(bundle *store.Bundle, o Options) http.Handler { panic("not built yet") }
