package httpapi

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const masked = "***"

// Redact returns the URL without userinfo, query and fragment. What is no plain URL is not shown at all: a password with
// a slash in it, say, ends up in what looks like the path.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Scheme != "" && u.Host == "" || strings.Contains(u.Path, "@") {
		return "(unreadable URL)"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}

// What a secret looks like in a text that somebody else has written: net/http's errors, a server's answer.
var (
	urlPattern    = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"<>\\]+`)
	jwtPattern    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*){1,2}`)
	bearerPattern = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	fieldPattern  = regexp.MustCompile(`(?i)\b([\w-]*(?:signature|credential|security-token|accesskeyid|token|password|passwd|secret|api_?key)(?:[_-]?id)?)(\\*["']?\s*[=:]\s*\\*["']?)[^\s"'&,;<>]+`)
	secretName    = regexp.MustCompile(`(?i)signature|credential|token|accesskey|password|passwd|secret|api_?key|^x-amz-|^sig$`)
)

// scrub masks whatever looks like a secret, and the secrets known.
func scrub(text string, known []string) string {
	for _, secret := range known {
		if len(secret) >= 4 { // shorter ones would mask half of any sentence
			text = strings.ReplaceAll(text, secret, masked)
		}
	}
	text = urlPattern.ReplaceAllStringFunc(text, Redact)
	text = jwtPattern.ReplaceAllString(text, masked)
	text = bearerPattern.ReplaceAllString(text, "$1 "+masked)
	return fieldPattern.ReplaceAllString(text, "$1$2"+masked)
}

// spellings are the secrets as they are, and as a form, a JSON document, and a message that quotes one have them.
func spellings(secrets []string) []string {
	var all []string
	for _, secret := range secrets {
		all = append(all, secret)
		if form := url.QueryEscape(secret); form != secret {
			all = append(all, form)
		}
		for quoted := secret; ; {
			again := strconv.Quote(quoted)
			again = again[1 : len(again)-1]
			if again == quoted || len(again) > 4*len(secret)+16 {
				break
			}
			all = append(all, again)
			quoted = again
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) }) // what holds another spelling goes first
	return all
}

const maxLine = 200 // characters of a server's words in a message

// oneLine makes a text that a server has written fit for a terminal: one line, no control characters, at most maxLine.
func oneLine(text string) string {
	var b strings.Builder
	count, blank := 0, false
	for _, r := range text {
		if unicode.IsSpace(r) || unprintable(r) {
			blank = b.Len() > 0
			continue
		}
		if blank {
			b.WriteByte(' ')
			count++
			blank = false
		}
		if count >= maxLine-1 {
			return strings.TrimRight(b.String(), " ") + "…"
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}

// unprintable are control characters and those that reorder or hide text on a terminal.
func unprintable(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' ||
		unicode.Is(unicode.Co, r)
}

// line is oneLine without secrets.
func (c *Client) line(text string) string { return oneLine(scrub(text, c.secrets())) }

// maskedQuery is a query for the log: names, and the values of those that are no secrets.
func maskedQuery(u *url.URL, foreign bool) string {
	if u.RawQuery == "" {
		return ""
	}
	if foreign {
		return "?" + masked
	}
	values := u.Query()
	for name := range values {
		if secretName.MatchString(name) {
			values[name] = []string{masked}
		}
	}
	return "?" + strings.ReplaceAll(values.Encode(), url.QueryEscape(masked), masked)
}
