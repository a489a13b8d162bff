package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claims are what a token says of its bearer (contract A.1).
type claims struct {
	Subject        int64 // user id, from 1
	Scopes         []string
	OrganizationID int64
	Expires        time.Time
}

func (c claims) admin() bool { return slices.Contains(c.Scopes, ScopeAdmin) }

// sees reports whether the bearer may read single objects of an organization (contract A.2); 0 is an unknown one.
func (c claims) sees(organizationID int64) bool {
	return c.admin() || (organizationID != 0 && organizationID == c.OrganizationID)
}

// signer makes and checks JSON Web Tokens with HMAC-SHA-256.
type signer struct {
	key []byte
	now func() time.Time
}

// wireClaims is the payload; pointers tell an absent claim from a zero one.
type wireClaims struct {
	Subject        *string  `json:"sub"`
	Scopes         []string `json:"scopes"`
	OrganizationID *int64   `json:"organization_id"`
	Expires        *float64 `json:"exp,omitempty"` // seconds since 1970
}

// token returns c signed.
func (s signer) token(c claims) string {
	subject, expires := strconv.FormatInt(c.Subject, 10), float64(c.Expires.Unix())
	payload, _ := json.Marshal(wireClaims{&subject, c.Scopes, &c.OrganizationID, &expires}) // plain fields: cannot fail
	return s.sign(payload)
}

// sign returns payload as a token.
func (s signer) sign(payload []byte) string {
	text := encodeSegment([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encodeSegment(payload)
	return text + "." + encodeSegment(s.signature(text))
}

func (s signer) signature(text string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// check reads a token, or refuses it in the platform's words: 406 what is no token, 401 what has expired or is signed with
// another key, 422 what lacks claims.
func (s signer) check(token string) (claims, error) {
	invalid := refuse(http.StatusNotAcceptable, "Invalid token.")
	expired := refuse(http.StatusUnauthorized, "Token has expired.")
	incomplete := refuse(http.StatusUnprocessableEntity, "Invalid token payload.")

	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, invalid
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	head, errHead := decodeSegment(parts[0])
	payload, errPayload := decodeSegment(parts[1])
	signature, errSignature := decodeSegment(parts[2])
	if errHead != nil || errPayload != nil || errSignature != nil ||
		json.Unmarshal(head, &header) != nil || header.Algorithm != "HS256" {
		return claims{}, invalid
	}
	if !hmac.Equal(signature, s.signature(parts[0]+"."+parts[1])) {
		return claims{}, expired
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil || fields == nil {
		return claims{}, invalid
	}
	var wire wireClaims
	if json.Unmarshal(payload, &wire) != nil {
		return claims{}, incomplete
	}
	c := claims{Scopes: wire.Scopes}
	if wire.Expires != nil {
		c.Expires = time.Unix(int64(*wire.Expires), 0)
		if !s.now().Before(c.Expires) {
			return claims{}, expired
		}
	}
	if wire.Subject == nil || wire.OrganizationID == nil || *wire.OrganizationID < 0 {
		return claims{}, incomplete
	}
	c.OrganizationID = *wire.OrganizationID
	var err error
	if c.Subject, err = strconv.ParseInt(*wire.Subject, 10, 64); err != nil || c.Subject < 1 {
		return claims{}, incomplete
	}
	for _, scope := range c.Scopes {
		if !slices.Contains([]string{ScopeAdmin, ScopeAgent, ScopeUser, scopeCamera}, scope) {
			return claims{}, incomplete
		}
	}
	return c, nil
}

func encodeSegment(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func decodeSegment(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// authorize reads the request's bearer token and checks that it has one of scopes.
func (s *server) authorize(r *http.Request, scopes []string) (claims, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return claims{}, refuse(http.StatusUnauthorized, "Not authenticated").challenge("Bearer")
	}
	c, err := s.tokens.check(token)
	if err != nil {
		return claims{}, err
	}
	for _, scope := range scopes {
		if slices.Contains(c.Scopes, scope) {
			return c, nil
		}
	}
	return claims{}, refuse(http.StatusForbidden, "Incompatible token scope.").
		challenge(`Bearer scope="` + strings.Join(scopes, " ") + `"`)
}
