package serve

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"pyrobundle/store"
)

// The scopes of an Account (contract A.1). The fourth, that of a camera, cannot be logged in with.
const (
	ScopeAdmin = "admin" // sees every organization
	ScopeAgent = "agent" // its own organization
	ScopeUser  = "user"  // its own organization
)

const scopeCamera = "camera"

// DefaultPassword is the password of every default account. A bundle is served to whoever may read its files; the login is
// there because clients expect one.
const DefaultPassword = "pyrobundle"

// Account may log in.
type Account struct {
	Login, Password string
	Scope           string // ScopeAdmin, ScopeAgent or ScopeUser; empty: ScopeAdmin where OrganizationID is 0, else ScopeUser
	OrganizationID  int64  // whose cameras and sequences it sees; an administrator lists those of all, under OldPlatform only with 0
}

// DefaultAccounts are the accounts of a handler that was given none: "admin", an administrator, and "org-<id>" for each
// organization that the bundle has or whose cameras it has, all with DefaultPassword. As on the platform the administrator
// belongs to an organization: the lowest of these, or 1 where there is none.
func DefaultAccounts(ctx context.Context, bundle *store.Bundle) ([]Account, error) {
	ids := map[int64]bool{}
	for o, err := range bundle.Organizations(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read organizations: %w", err)
		}
		if o.ID > 0 {
			ids[o.ID] = true
		}
	}
	for c, err := range bundle.Cameras(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read cameras: %w", err)
		}
		if c.OrganizationID > 0 {
			ids[c.OrganizationID] = true
		}
	}
	known := slices.Sorted(maps.Keys(ids))
	accounts := []Account{{
		Login: "admin", Password: DefaultPassword, Scope: ScopeAdmin, OrganizationID: append(known, 1)[0],
	}}
	for _, id := range known {
		accounts = append(accounts, Account{
			Login: "org-" + strconv.FormatInt(id, 10), Password: DefaultPassword, Scope: ScopeUser, OrganizationID: id,
		})
	}
	return accounts, nil
}

// scope returns the account's scope, the default filled in.
func (a Account) scope() string {
	switch {
	case a.Scope != "":
		return a.Scope
	case a.OrganizationID == 0:
		return ScopeAdmin
	default:
		return ScopeUser
	}
}

// accountList returns who may log in, read from the bundle at the first call where Options named nobody.
func (s *server) accountList(ctx context.Context) ([]Account, error) {
	if s.options.Accounts != nil {
		return s.options.Accounts, nil
	}
	s.accountsMu.Lock()
	defer s.accountsMu.Unlock()
	if s.accounts == nil {
		accounts, err := DefaultAccounts(ctx, s.bundle)
		if err != nil {
			return nil, err
		}
		s.accounts = accounts
	}
	return s.accounts, nil
}

// login answers POST /login/creds: the OAuth2 password form of contract A.1.
func (s *server) login(c *call) error {
	form, err := readForm(c.w, c.r)
	if err != nil {
		return err
	}
	in := input{place: "body", values: form, form: true}
	in.pattern("grant_type", "^password$", "password")
	name := in.required("username")
	password := in.required("password")
	if err := in.problems(); err != nil {
		return err
	}
	accounts, err := s.accountList(c.r.Context())
	if err != nil {
		return err
	}
	for i, a := range accounts {
		if a.Login == name && equalSecrets(a.Password, password) {
			token := s.tokens.token(claims{
				Subject: int64(i) + 1, Scopes: []string{a.scope()}, OrganizationID: a.OrganizationID,
				Expires: s.options.Now().Add(s.options.TokenLifetime),
			})
			return c.json(map[string]string{"access_token": token, "token_type": "bearer"})
		}
	}
	return refuse(http.StatusUnauthorized, "Invalid credentials.")
}

// equalSecrets compares in a time that tells nothing of where, or at what length, a and b differ.
func equalSecrets(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// validateLogin answers GET /login/validate: whom the token stands for.
func (s *server) validateLogin(c *call) error {
	return c.json(struct {
		Subject        int64    `json:"sub"`
		Scopes         []string `json:"scopes"`
		OrganizationID int64    `json:"organization_id"`
	}{c.caller.Subject, c.caller.Scopes, c.caller.OrganizationID})
}
