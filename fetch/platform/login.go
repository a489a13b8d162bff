package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"pyrobundle/internal/httpapi"
)

// login is POST /login/creds, an OAuth2 password form (contract A.1). from is named when the platform refuses: the
// variables, or the file, that the account is from.
func login(baseURL string, account Account, from string) func(context.Context, *httpapi.Client) (string, error) {
	form := url.Values{"username": {account.Login}, "password": {account.Password}}.Encode()
	return func(ctx context.Context, api *httpapi.Client) (string, error) {
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		err := api.JSON(ctx, httpapi.Request{
			Method:      http.MethodPost,
			Path:        "/api/v1/login/creds",
			ContentType: "application/x-www-form-urlencoded",
			Body: func() (io.Reader, int64, error) {
				return strings.NewReader(form), int64(len(form)), nil
			},
			Idempotent: true, // a login leaves nothing behind
			NoAuth:     true,
			MaxBytes:   maxLogin,
		}, &answer)
		switch status := httpapi.Status(err); {
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return "", &refusedLogin{baseURL: baseURL, login: account.Login, from: from, err: err}
		case err != nil:
			return "", err
		case answer.AccessToken == "":
			return "", errors.New("the answer to the login has no access_token")
		}
		return answer.AccessToken, nil
	}
}

// refusedLogin is a login that the platform refused; it is httpapi.ErrUnauthorized. Its text says what to check.
type refusedLogin struct {
	baseURL, login, from string
	err                  error
}

func (e *refusedLogin) Error() string {
	reason := e.err.Error()
	var answer *httpapi.Error
	if errors.As(e.err, &answer) {
		reason = strings.TrimSpace(fmt.Sprintf("%d %s", answer.Status, answer.Detail))
	}
	return fmt.Sprintf("log in to %s as %q: %s (check %s)", httpapi.Redact(e.baseURL), e.login, reason, e.from)
}

func (e *refusedLogin) Unwrap() []error { return []error{httpapi.ErrUnauthorized, e.err} }

// dialError keeps a refusal's own sentence and says otherwise what was tried.
func dialError(cfg Config, err error) error {
	var refused *refusedLogin
	if errors.As(err, &refused) {
		return refused
	}
	return fmt.Errorf("log in to %s: %w", httpapi.Redact(cfg.BaseURL), err)
}
