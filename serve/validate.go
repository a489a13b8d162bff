package serve

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// issue is one entry of a 422 answer's detail, worded as the platform words it.
type issue struct {
	Type    string         `json:"type"`
	Place   []any          `json:"loc"` // where, from outside inwards: strings, and a number for a position
	Message string         `json:"msg"`
	Input   any            `json:"input"`
	Context map[string]any `json:"ctx,omitempty"`
}

// input reads the parameters of one place ("path", "query", "body") and collects what is wrong with them. Of a parameter
// given several times the last counts. An input may begin with the issues of another place, so that one answer has both.
type input struct {
	place  string
	values url.Values
	form   bool // an empty value counts as none
	issues []issue
}

// problems returns the 422 of what was found, nil where all was well.
func (in *input) problems() error {
	if len(in.issues) == 0 {
		return nil
	}
	return refuse(http.StatusUnprocessableEntity, in.issues)
}

func (in *input) complain(name, kind, message string, value any, context map[string]any) {
	in.issues = append(in.issues, issue{kind, []any{in.place, name}, message, value, context})
}

func (in *input) last(name string) (string, bool) {
	given := in.values[name]
	if len(given) == 0 || (in.form && given[len(given)-1] == "") {
		return "", false
	}
	return given[len(given)-1], true
}

// required reads a string that must be there.
func (in *input) required(name string) string {
	value, ok := in.last(name)
	if !ok {
		in.complain(name, "missing", "Field required", nil, nil)
	}
	return value
}

// pattern checks that an optional string is only, which is what the regular expression pattern says.
func (in *input) pattern(name, pattern, only string) {
	if value, ok := in.last(name); ok && value != only {
		in.complain(name, "string_pattern_mismatch", "String should match pattern '"+pattern+"'", value,
			map[string]any{"pattern": pattern})
	}
}

// bound is a limit of an integer.
type bound struct {
	kind, words, context string
	limit                int64
	holds                func(value, limit int64) bool
}

func above(limit int64) bound {
	return bound{"greater_than", "greater than", "gt", limit, func(v, l int64) bool { return v > l }}
}

func atLeast(limit int64) bound {
	return bound{"greater_than_equal", "greater than or equal to", "ge", limit, func(v, l int64) bool { return v >= l }}
}

func atMost(limit int64) bound {
	return bound{"less_than_equal", "less than or equal to", "le", limit, func(v, l int64) bool { return v <= l }}
}

// integer reads an optional integer within bounds. Values beyond 64 bits become the nearest of them.
func (in *input) integer(name string, absent int64, bounds ...bound) int64 {
	given, ok := in.last(name)
	if !ok {
		return absent
	}
	value, ok := parseInteger(given)
	if !ok {
		in.complain(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", given, nil)
		return absent
	}
	for _, b := range bounds {
		if !b.holds(value, b.limit) {
			in.complain(name, b.kind, fmt.Sprintf("Input should be %s %d", b.words, b.limit), given,
				map[string]any{b.context: b.limit})
			return absent
		}
	}
	return value
}

// parseInteger reads what the platform takes for an integer: blanks around it, a sign, single underscores between digits
// and zeros after a point are allowed.
func parseInteger(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	if whole, fraction, ok := strings.Cut(s, "."); ok && strings.Trim(fraction, "0") == "" {
		s = whole
	}
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || digits == "" || digits[0] == '_' || digits[len(digits)-1] == '_' ||
		strings.Contains(digits, "__") || strings.Trim(digits, "0123456789_") != "" {
		return 0, false
	}
	value, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // out of range: value is the nearest
		return 0, false
	}
	return value, true
}

// boolean reads an optional truth value.
func (in *input) boolean(name string, absent bool) bool {
	given, ok := in.last(name)
	if !ok {
		return absent
	}
	switch strings.ToLower(given) {
	case "1", "true", "t", "yes", "y", "on":
		return true
	case "0", "false", "f", "no", "n", "off":
		return false
	}
	in.complain(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", given, nil)
	return absent
}

// literal reads an optional string that must be one of options.
func (in *input) literal(name, kind string, options ...string) string {
	given, ok := in.last(name)
	if !ok || slices.Contains(options, given) {
		return given
	}
	in.complain(name, kind, "Input should be "+alternatives(options), given,
		map[string]any{"expected": alternatives(options)})
	return ""
}

// alternatives words a choice: 'a', 'b' or 'c'.
func alternatives(options []string) string {
	quoted := make([]string, len(options))
	for i, option := range options {
		quoted[i] = "'" + option + "'"
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// riskScore reads the fire-weather class (contract A.3).
func (in *input) riskScore() string {
	return in.literal("risk_score", "literal_error", "very_low", "low", "moderate", "high", "very_high", "extreme")
}

// maxForm bounds a login's body, in bytes.
const maxForm = 1 << 20

// readForm reads the body's fields, URL-encoded or multipart. A body of another type has none, as on the platform. What a
// handler around this one has parsed already is taken as it was parsed: the body is gone by then.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.PostForm != nil {
		return r.PostForm, nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	unreadable := refuse(http.StatusBadRequest, "There was an error parsing the body")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/x-www-form-urlencoded":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, unreadable
		}
		return parsePairs(string(body)), nil
	case "multipart/form-data":
		parts, err := r.MultipartReader()
		if err != nil {
			return nil, unreadable
		}
		form, err := parts.ReadForm(maxForm)
		if err != nil {
			return nil, unreadable
		}
		_ = form.RemoveAll() // files are of no matter
		return form.Value, nil
	default:
		return nil, nil
	}
}

// parsePairs reads the pairs of a query or of a URL-encoded body as leniently as the platform: nothing in them is an
// error, where Go's own parser leaves out a pair with a semicolon or a percent sign that encodes nothing.
func parsePairs(s string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		values[name] = append(values[name], unescape(value))
	}
	return values
}

// unescape decodes + and %XX; a percent sign before anything but two hexadecimal digits stands for itself.
func unescape(s string) string {
	s = strings.ReplaceAll(s, "+", " ")
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				out = append(out, b[0])
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// page cuts what limit and offset select out of n items: the half-open range of positions.
func page(n int, limit, offset int64) (from, to int) {
	if offset >= int64(n) {
		return n, n
	}
	from = int(offset)
	return from, from + int(min(limit, int64(n-from), math.MaxInt32))
}
