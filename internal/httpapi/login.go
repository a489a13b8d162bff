package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// session is the token that all requests of a Client share.
type session struct {
	mu         sync.Mutex
	token      string
	given      []string // the token and those before it, newest first: late answers may still repeat them
	secrets    []secret // spellings of these and of the passwords
	generation int      // of the token; 0: none yet
	accepted   bool     // the API has answered a request with this token: a later refusal means that it expired
	refused    error    // login refused, or a fresh token: no further attempt is made, lest an account be locked
	login      *loginCall
}

// loginCall is a login under way; those who need its token wait for done.
type loginCall struct {
	done      chan struct{}
	err       error
	abandoned bool // its caller's context ended, which says nothing about the account
}

type loginContext struct{}

// authorise returns a token newer than the generation stale, logging in if there is none. However many requests ask,
// one logs in.
func (c *Client) authorise(ctx context.Context, stale int) (token string, generation int, err error) {
	if ctx.Value(loginContext{}) != nil {
		return "", 0, errors.New("a login must not need a token: send it with NoAuth")
	}
	s := &c.session
	for {
		s.mu.Lock()
		switch {
		case s.refused != nil:
			defer s.mu.Unlock()
			return "", 0, s.refused
		case s.generation > stale:
			defer s.mu.Unlock()
			return s.token, s.generation, nil
		case s.login == nil:
			call := &loginCall{done: make(chan struct{})}
			s.login = call
			s.mu.Unlock()
			c.logIn(ctx, call)
			if call.err != nil {
				return "", 0, call.err
			}
			continue
		}
		call := s.login
		s.mu.Unlock()
		select {
		case <-call.done:
			if call.err != nil && !call.abandoned {
				return "", 0, call.err
			}
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
	}
}

func (c *Client) logIn(ctx context.Context, call *loginCall) {
	var token string
	err := errors.New("the login did not return") // what those who wait learn should it panic
	s := &c.session
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.token, s.generation, s.accepted = token, s.generation+1, false
			s.given = append([]string{token}, s.given[:min(len(s.given), maxGiven-1)]...)
			s.secrets = spellings(c.passwords, s.given...)
		}
		if errors.Is(err, ErrUnauthorized) {
			s.refused = err
		}
		call.err, call.abandoned = err, err != nil && ctx.Err() != nil
		s.login = nil
		close(call.done)
	}()
	token, err = c.login(context.WithValue(ctx, loginContext{}, true), c)
	if err == nil {
		err = checkToken(token)
	}
	if err == nil {
		return
	}
	what := "log in to the " + c.name
	var refusal *Error
	if errors.As(err, &refusal) && !errors.Is(err, ErrUnauthorized) && refusesLogin(refusal.Status) {
		err = &unauthorizedError{what: what, err: err}
		return
	}
	err = fmt.Errorf("%s: %w", what, err)
}

// refusesLogin: 401 wrong credentials, 400 inactive user (annotation API), 403 no access at all.
func refusesLogin(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusBadRequest || status == http.StatusForbidden
}

// checkToken accepts what can stand in a header. It does not show what it refuses.
func checkToken(token string) error {
	const longest = 16 << 10 // bytes; servers refuse longer headers anyway
	if token == "" || len(token) > longest {
		return fmt.Errorf("the answer has no usable token (%d bytes)", len(token))
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("the answer's token has characters that no token has")
		}
	}
	return nil
}

// tokenRefused recognises an answer that a new login may cure: 401, and the platform's 406 to a token that it cannot decode
// (contract A.1).
func tokenRefused(out outcome) bool {
	return out.status == http.StatusUnauthorized || out.status == http.StatusNotAcceptable && out.detail == "Invalid token."
}

// lastToken is the newest token there is, without a login.
func (c *Client) lastToken() string {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.token
}

// tokenAccepted notes that the API took the token.
func (c *Client) tokenAccepted(generation int) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.session.generation == generation {
		c.session.accepted = true
	}
}

// mayLogInAgain tells whether a refused token may be replaced: always once, and again if the refused one had been
// accepted or has been replaced meanwhile. Otherwise a fresh token was refused, and err, kept for all further requests.
func (c *Client) mayLogInAgain(relogins, generation int, err error) error {
	s := &c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case relogins == 0 || relogins < maxRelogins && (s.accepted || s.generation != generation):
		return nil
	}
	refused := &unauthorizedError{what: fmt.Sprintf("the %s refuses the token that it has just given", c.name), err: err}
	if s.generation == generation && !s.accepted {
		s.refused = refused
	}
	return refused
}

// maxGiven is how many tokens are remembered to be masked; a request sees at most maxRelogins others come after its own.
const maxGiven = 2 * maxRelogins

// secrets are what every text is searched for.
func (c *Client) secrets() []secret {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.secrets
}
