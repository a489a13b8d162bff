package sandbox

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// user is an account of the API.
type user struct {
	id             int64
	name, password string
	inactive       bool
}

func newSecret() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails since Go 1.24
	return secret
}

// login is POST /auth/login.
func (a *AnnotationAPI) login(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	var name, password string
	loc := []any{"body"}
	if value, ok := c.v.field(loc, d, "username"); ok {
		name, _ = c.v.str(at(loc, "username"), value)
	}
	if value, ok := c.v.field(loc, d, "password"); ok {
		password, _ = c.v.str(at(loc, "password"), value)
	}
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.users {
		if u.name != name || u.password != password {
			continue
		}
		if u.inactive {
			return refuse(http.StatusBadRequest, "Inactive user")
		}
		token := a.sign(claims{Sub: u.name, UserID: u.id, Exp: a.options.Now().Add(a.options.TokenLifetime).Unix()})
		return answer(http.StatusOK, pyDict{{"access_token", token}, {"token_type", "bearer"}})
	}
	return refuse(http.StatusUnauthorized, "Incorrect username or password")
}

// claims are those of the service's tokens.
type claims struct {
	Sub    string `json:"sub"`
	UserID int64  `json:"user_id"`
	Exp    int64  `json:"exp"`
}

// sign makes a JWT of HMAC-SHA-256.
func (a *AnnotationAPI) sign(c claims) string {
	body, _ := json.Marshal(c) // strings and numbers always marshal
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(body)
	return signed + "." + encode(a.mac(signed))
}

func (a *AnnotationAPI) mac(text string) []byte {
	h := hmac.New(sha256.New, a.secret)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// authenticate returns the user of an Authorization header, or the refusal.
func (a *AnnotationAPI) authenticate(header string) (string, *reply) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	bearer := strings.EqualFold(scheme, "bearer")
	if a.options.ChallengeMissingToken && (token == "" || !bearer) {
		out := refuse(http.StatusUnauthorized, "Not authenticated")
		out.challenge = "Bearer"
		return "", &out
	}
	if scheme == "" || token == "" {
		out := refuse(http.StatusForbidden, "Not authenticated")
		return "", &out
	}
	if !bearer {
		out := refuse(http.StatusForbidden, "Invalid authentication credentials")
		return "", &out
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.verify(token); ok {
		for _, u := range a.users {
			switch {
			case u.id != c.UserID:
			case u.inactive:
				out := refuse(http.StatusBadRequest, "Inactive user")
				return "", &out
			default:
				return u.name, nil
			}
		}
	}
	out := refuse(http.StatusUnauthorized, "Could not validate credentials")
	return "", &out
}

func (a *AnnotationAPI) verify(token string) (claims, bool) {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return claims{}, false
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || !hmac.Equal(signature, a.mac(token[:dot])) {
		return claims{}, false
	}
	_, body, _ := strings.Cut(token[:dot], ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return claims{}, false
	}
	var c claims
	if err := json.Unmarshal(raw, &c); err != nil {
		return claims{}, false
	}
	return c, c.Sub != "" && time.Unix(c.Exp, 0).After(a.options.Now())
}
