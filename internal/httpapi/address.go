package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Normalize understands an API address as people paste it: with a trailing slash, /docs, /api, /api/v1 or a page below them. It
// returns scheme://host[:port][/prefix], lower case, without a default port, and is idempotent. Errors say what is
// expected and never repeat what may hold a password.
func Normalize(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", errors.New("no address given: expected one like https://alertapi.pyronear.org")
	}
	u, err := url.Parse(raw)
	if err != nil && !strings.Contains(raw, "://") { // 127.0.0.1:8080 is taken for a path, which may not have its colon
		if _, hostErr := url.Parse("https://" + raw); hostErr == nil && !strings.ContainsFunc(raw, unprintable) {
			return "", noScheme(raw)
		}
	}
	if err != nil || strings.ContainsFunc(raw, unprintable) {
		return "", fmt.Errorf("address%s is not a URL: expected one like https://alertapi.pyronear.org", harmless(raw))
	}
	if strings.Contains(raw, "@") { // wherever the parser has put it: a password with a slash in it ends up in what looks like the path
		return "", errors.New("address holds a user name or password: give it without, as https://HOST; accounts have their own variables")
	}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case scheme != "http" && scheme != "https" && strings.Contains(raw, "://"):
		return "", fmt.Errorf("address%s has another scheme than http or https", harmless(raw))
	case scheme != "http" && scheme != "https":
		return "", noScheme(raw)
	case u.Hostname() == "":
		return "", fmt.Errorf("address%s has no host: expected one like %s://alertapi.pyronear.org", harmless(raw), scheme)
	case strings.ContainsFunc(u.Hostname(), notInHosts):
		return "", errors.New("address has no usable host: expected one like https://alertapi.pyronear.org")
	case !isPort(u.Port()):
		return "", fmt.Errorf("address%s has no usable port: expected one from 1 to 65535", harmless(raw))
	}
	base := url.URL{Scheme: scheme, Host: canonicalHost(u)}
	return base.String() + prefixOf(u), nil
}

func noScheme(raw string) error {
	return fmt.Errorf("address%s has no scheme: expected https://HOST (or http://HOST)", harmless(raw))
}

// isPort accepts what can be dialled; none is the scheme's own.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func notInHosts(r rune) bool { return strings.ContainsRune("/\\?#@%<>\"'` ", r) || unprintable(r) }

// canonicalHost is the host in lower case, without the port that its scheme has anyway.
func canonicalHost(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || port == "80" && strings.EqualFold(u.Scheme, "http") || port == "443" && strings.EqualFold(u.Scheme, "https") {
		return host
	}
	return host + ":" + port
}

// prefixOf is the path before the API's own: what a reverse proxy puts in front of it.
func prefixOf(u *url.URL) string {
	segments := strings.Split(strings.Trim(path.Clean("/"+u.EscapedPath()), "/"), "/")
	for i := range segments {
		if segments[i] == "api" && i+1 < len(segments) && segments[i+1] == "v1" {
			segments = segments[:i]
			break
		}
	}
	for len(segments) > 0 && isPageOfAPI(segments[len(segments)-1]) {
		segments = segments[:len(segments)-1]
	}
	if len(segments) == 0 {
		return ""
	}
	return "/" + strings.Join(segments, "/")
}

// isPageOfAPI knows the pages that a browser's address bar may show, the API's root without its version, and the empty end of
// a path.
func isPageOfAPI(segment string) bool {
	return segment == "" || segment == "api" || segment == "docs" || segment == "redoc" || segment == "status" || segment == "openapi.json"
}

// harmless quotes what a user typed if it can hold no secret: no user, no query.
func harmless(raw string) string {
	if len(raw) > 100 || strings.ContainsAny(raw, "@?#&=") {
		return ""
	}
	return fmt.Sprintf(" %q", raw)
}

// target is where a request goes.
type target struct {
	url      *url.URL
	absolute bool // given by a server: whatever its query holds may be a signature
	foreign  bool // absolute, and of another origin than the API's
	auth     bool
	// shown is for messages: the path of an API request, the redacted URL of another host's; never a query. It is made
	// when it is needed: most requests need no message, and scrubbing takes half as long as receiving an image.
	shown func() string
}

func (c *Client) target(r Request) (target, error) {
	if !isAbsolute(r.Path) {
		pathOnly, query, _ := strings.Cut(r.Path, "?")
		u, err := url.Parse(c.base.String() + "/" + strings.TrimPrefix(pathOnly, "/"))
		if err != nil {
			return target{shown: func() string { return c.Line(pathOnly) }}, errors.New("the path is no part of a URL")
		}
		u.RawQuery = joinQuery(query, r.Query)
		return target{url: u, shown: func() string { return c.Line(u.EscapedPath()) }, auth: !r.NoAuth && c.login != nil}, nil
	}
	u, err := url.Parse(r.Path)
	if err != nil || u.Hostname() == "" {
		return target{shown: func() string { return c.Redact(r.Path) }}, errors.New("the image's address is no usable URL")
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	u.Scheme = strings.ToLower(u.Scheme)
	u.RawQuery = joinQuery(u.RawQuery, r.Query)
	return target{url: u, shown: func() string { return c.Redact(u.String()) }, absolute: true, foreign: !sameOrigin(u, c.base)}, nil
}

func joinQuery(raw string, values url.Values) string {
	switch more := values.Encode(); {
	case raw == "":
		return more
	case more == "":
		return raw
	default:
		return raw + "&" + more
	}
}

func isAbsolute(path string) bool {
	scheme, _, ok := strings.Cut(path, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

func origin(u *url.URL) string { return strings.ToLower(u.Scheme) + "://" + canonicalHost(u) }

func sameOrigin(a, b *url.URL) bool { return origin(a) == origin(b) }
