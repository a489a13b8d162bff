package annotation

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// longestSecret bounds what of a text is searched, in bytes: whatever begins in the part that is shown ends before that.
const longestSecret = 64 << 10

// cutEscape is what is left of an escape where a text was cut.
var cutEscape = regexp.MustCompile(`%[0-9A-F]?$`)

// What the path of an address cannot have: an @ could be a password's end, and then nothing is shown.
var (
	intoPath = strings.NewReplacer("%", "%25", "@", "%40")
	fromPath = strings.NewReplacer("%40", "@", "%25", "%")
)

// Redact returns what the API has said in a row, fit for a message: without secrets, however they are spelled, without control
// characters, and short, some 200 characters at most. Ordinary words stay as they are.
//
// It goes through the redaction of internal/httpapi, which takes addresses, as a path of one. Cut is only what was masked before:
// of half a secret nobody would know that it is one.
func (c *Client) Redact(text string) string {
	const root = "/-/" // keeps a text that begins with slashes from being a host
	path := strings.ReplaceAll(url.PathEscape(intoPath.Replace(text[:min(len(text), longestSecret)])), "%2F", "/")
	shown, cut := strings.CutSuffix(strings.TrimPrefix(c.api.Redact(root+path), root), "…")
	if cut {
		shown = cutEscape.ReplaceAllString(shown, "")
	}
	plain, err := url.PathUnescape(shown)
	if err != nil { // something was masked within an escape
		plain = shown
	}
	plain = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(fromPath.Replace(plain), ""))
	if cut {
		plain += "…"
	}
	return plain
}
