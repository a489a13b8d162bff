package httpapi

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const masked = "***"

// Redact returns the URL without userinfo, query and fragment. What is no plain URL is not shown at all: a password with
// a slash in it, say, ends up in what looks like the path, with a question mark in the query, and the rest of it in the host.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Scheme != "" && u.Host == "" || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return "(unreadable URL)"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}

// Redact is the function of that name for a URL that a server has given, on one line: it may be made of a secret of ours.
func (c *Client) Redact(raw string) string { return c.Line(Redact(raw)) }

// What a secret looks like in a text that somebody else has written: net/http's errors, a server's answer.
var (
	urlPattern    = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"<>\\]+`)
	jwtPattern    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*){1,2}`)
	bearerPattern = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	fieldPattern  = regexp.MustCompile(`(?i)\b([\w-]*(?:signature|credential|security-token|accesskeyid|token|password|passwd|secret|api_?key)(?:[_-]?id)?)(\\*["']?\s*[=:]\s*)`)
	barePattern   = regexp.MustCompile(`^[^\s"'&,;<>]+`)
	quotePattern  = regexp.MustCompile(`^\\*["']`)
	secretName    = regexp.MustCompile(`(?i)signature|credential|token|accesskey|password|passwd|secret|api_?key|^x-amz-|^sig$`)
)

// maxSearched is how many bytes of a text are searched for secrets: what begins in the part that is shown ends before that.
const maxSearched = 64 << 10

// scrub masks whatever looks like a secret, and the secrets known, in the part of a text that is searched.
func scrub(text string, known []secret) string {
	text = mask(text[:min(len(text), maxSearched)], known)
	text = urlPattern.ReplaceAllStringFunc(text, Redact)
	text = jwtPattern.ReplaceAllString(text, masked)
	text = bearerPattern.ReplaceAllString(text, "$1 "+masked)
	return maskFields(text)
}

// maskFields masks the values of fields whose names are those of secrets: a quoted value to its closing quote, another to
// its end.
func maskFields(text string) string {
	var b strings.Builder
	for {
		field := fieldPattern.FindStringIndex(text)
		if field == nil {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:field[1]])
		text = text[field[1]:]
		size := len(barePattern.FindString(text))
		if quote := quotePattern.FindString(text); quote != "" {
			b.WriteString(quote)
			text = text[len(quote):]
			size = quoted(text, quote)
		}
		if size > 0 {
			b.WriteString(masked)
			text = text[size:]
		}
	}
}

// quoted is how long a value is that began with a quote, which may have backslashes before it where it was quoted again
// and again. It ends before the next quote with as many, where those that stand for backslashes of the value itself do not
// count, or before one with fewer, which ends what it is quoted in.
func quoted(text, opening string) int {
	mark, level := opening[len(opening)-1], len(opening)-1
	backslashes := 0
	for i := range len(text) {
		switch {
		case text[i] == '\\':
			backslashes++
			continue
		case text[i] == mark && (backslashes < level || backslashes%(2*(level+1)) == level):
			return i - backslashes%(2*(level+1))
		}
		backslashes = 0
	}
	return len(text)
}

// secret is a text that is shown nowhere.
type secret struct {
	text    string
	pattern *regexp.Regexp // of its spellings; nil: there is one, or no other is looked for
}

// mask masks the secrets known in a text.
func mask(text string, known []secret) string {
	for _, s := range known {
		if s.pattern == nil {
			text = strings.ReplaceAll(text, s.text, masked)
		} else {
			text = s.pattern.ReplaceAllLiteralString(text, masked)
		}
	}
	return text
}

// spellings are the secrets, however a server, a form, a document or a message that quotes one spells them. Those that hold
// others come first.
//
// To search for a pattern takes as long as it and the text are, multiplied. Passwords are the user's; of tokens, which a server
// makes as it likes, only those are looked for in more than one spelling that somebody may really give.
func spellings(passwords []string, tokens ...string) []secret {
	const (
		shortest = 4       // bytes; shorter ones would mask half of any sentence
		password = 2 << 10 // bytes; none is longer
		token    = 128     // bytes; 96 random ones in base64. A JWT has one spelling.
		escaped  = 8       // characters; so many of those random ones are + or /
	)
	byLength := slices.DeleteFunc(slices.Concat(passwords, tokens), func(text string) bool { return len(text) < shortest })
	slices.SortFunc(byLength, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	byLength = slices.Compact(byLength)
	all := make([]secret, len(byLength))
	for i, text := range byLength {
		all[i] = secret{text: text}
		n := 0
		for _, r := range text {
			if !neverEscaped(r) {
				n++
			}
		}
		cheap := n <= escaped && len(text) <= token
		if n > 0 && (cheap || len(text) <= password && slices.Contains(passwords, text)) {
			all[i].pattern = regexp.MustCompile(spelling(text))
		}
	}
	return all
}

// neverEscaped are the characters that have one spelling.
func neverEscaped(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._~", r))
}

// spelling is a pattern in which each character may be spelled in a way of its own: as it is, with backslashes before it, or
// as the escapes of a URL, JSON, Python, Go or HTML have it, once or again and again.
func spelling(secret string) string {
	var b strings.Builder
	for i := 0; i < len(secret); {
		r, width := utf8.DecodeRuneInString(secret[i:])
		bytes := secret[i : i+width]
		i += width
		if neverEscaped(r) {
			b.WriteString(regexp.QuoteMeta(string(r)))
			continue
		}
		b.WriteString(`(?i:` + backslash + `*(?:` + strings.Join(escapes(r, bytes), `|`) + `))`)
	}
	return b.String()
}

// The characters that escapes are made of, which may be escaped themselves.
const (
	percents   = `%(?:25)*`
	backslash  = `(?:\\|` + percents + `5c)`
	plus       = `(?:\+|` + percents + `2b)`
	hash       = `(?:#|` + percents + `23)`
	semicolon  = `(?:;|` + percents + `3b)`
	ampersand  = `(?:&|` + percents + `26|` + backslash + `+(?:u00|x)26)(?:(?:amp|` + hash + `0*38|` + hash + `x0*26)` + semicolon + `)*`
	controls   = "\a\b\t\n\v\f\r"
	controlled = "abtnvfr" // with a backslash before it
)

// escapes are patterns of one character, which has these bytes.
func escapes(r rune, bytes string) []string {
	var percent, hex strings.Builder
	for i := range len(bytes) {
		fmt.Fprintf(&percent, `%s%02x`, percents, bytes[i])
		fmt.Fprintf(&hex, `%s+x%02x`, backslash, bytes[i])
	}
	patterns := []string{
		regexp.QuoteMeta(string(r)), percent.String(), hex.String(),
		fmt.Sprintf(`%s+(?:u%04x|U%08x|x%02x)`, backslash, r, r, r),
		fmt.Sprintf(`%s%s(?:0*%d|x0*%x)%s`, ampersand, hash, r, r, semicolon),
	}
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		patterns = append(patterns, fmt.Sprintf(`%s+u%04x%s+u%04x`, backslash, high, backslash, low))
	}
	if i := strings.IndexRune(controls, r); i >= 0 {
		patterns = append(patterns, backslash+`+`+controlled[i:i+1])
	}
	switch r {
	case '\\':
		patterns = append(patterns, backslash+`+`)
	case ' ':
		patterns = append(patterns, plus)
	case '&':
		patterns = append(patterns, ampersand)
	case '<':
		patterns = append(patterns, ampersand+`lt`+semicolon)
	case '>':
		patterns = append(patterns, ampersand+`gt`+semicolon)
	case '"':
		patterns = append(patterns, ampersand+`quot`+semicolon)
	case '\'':
		patterns = append(patterns, ampersand+`apos`+semicolon)
	}
	return patterns
}

const maxLine = 200 // characters of a server's words in a message

// oneLine makes a text that a server has written fit for a terminal: one line, no control characters, at most maxLine.
func oneLine(text string) string { return lineOf(text, maxLine) }

// lineOf is oneLine with another limit, in characters.
func lineOf(text string, most int) string {
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
		if count >= most-1 {
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

// Line makes a text that a server has written fit for a message: one line without secrets, of 200 characters at most. It cuts
// what it has masked: of half a secret nobody would know that it is one.
func (c *Client) Line(text string) string {
	return oneLine(scrub(text, c.secrets()))
}

// Mask returns a text with the client's passwords and tokens masked, in whatever spelling, and otherwise as it is.
func (c *Client) Mask(text string) string { return mask(text, c.secrets()) }

// maskedQuery is a query for the log: names, and the values of those that are no secrets. Of a URL that a server has given
// anything may be its signature.
func maskedQuery(u *url.URL, given bool) string {
	if u.RawQuery == "" {
		return ""
	}
	if given {
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
