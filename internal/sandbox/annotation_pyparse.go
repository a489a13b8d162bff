package sandbox

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// pyMaxDepth bounds nested lists and dictionaries, as the validator's own JSON reader does.
const pyMaxDepth = 200

// pySyntaxError is a document that is no JSON, in the words of both readers that the API uses: Python's json module
// for request bodies, the validator's own reader for JSON inside form fields.
type pySyntaxError struct {
	offset, at      int // bytes into the document, as Python and as the validator's reader count
	python, builtin string
	text            string // the document, for line and column
}

func (e *pySyntaxError) Error() string {
	seen := e.text[:min(e.at+1, len(e.text))] // a line feed that is the culprit itself counts
	line := 1 + strings.Count(seen, "\n")
	column := e.at - strings.LastIndexByte(seen, '\n')
	if strings.HasPrefix(e.builtin, "EOF") {
		column-- // the reader names the last byte that it saw
	}
	return e.builtin + " at line " + strconv.Itoa(line) + " column " + strconv.Itoa(column)
}

// parsePython reads one JSON document, NaN, the infinities and lone surrogates included, as Python does.
func parsePython(text string) (any, *pySyntaxError) {
	return pyParser{text: text}.document()
}

// parseField reads one JSON document as the validator's own reader does: without lone surrogates.
func parseField(text string) (any, *pySyntaxError) {
	return pyParser{text: text, builtin: true}.document()
}

func (p pyParser) document() (any, *pySyntaxError) {
	v := p.value(0)
	if p.err != nil {
		return nil, p.err
	}
	p.blanks()
	if p.pos < len(p.text) {
		p.fail(p.pos, "Extra data", "trailing characters")
		return nil, p.err
	}
	return v, nil
}

type pyParser struct {
	text    string
	builtin bool // the validator's own reader
	pos     int
	err     *pySyntaxError
}

func (p *pyParser) fail(offset int, python, builtin string) {
	if p.err == nil {
		p.err = &pySyntaxError{offset: offset, at: offset, python: python, builtin: builtin, text: p.text}
	}
}

func (p *pyParser) blanks() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// peek is the next byte after blanks, 0 at the end.
func (p *pyParser) peek() byte {
	p.blanks()
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *pyParser) value(depth int) any {
	c := p.peek()
	switch {
	case p.pos == len(p.text):
		p.fail(p.pos, "Expecting value", "EOF while parsing a value")
	case depth > pyMaxDepth:
		p.fail(p.pos, "Expecting value", "recursion limit exceeded")
	case c == '{':
		return p.dict(depth)
	case c == '[':
		return p.list(depth)
	case c == '"':
		return p.str()
	case c == '-' && strings.HasPrefix(p.text[p.pos:], "-Infinity"):
		p.pos += len("-Infinity")
		return math.Inf(-1)
	case c == '-' || '0' <= c && c <= '9':
		return p.number(depth)
	default:
		return p.word()
	}
	return nil
}

func (p *pyParser) word() any {
	words := []struct {
		text  string
		value any
	}{{"null", nil}, {"true", true}, {"false", false}, {"NaN", math.NaN()}, {"Infinity", math.Inf(1)}}
	for _, w := range words {
		if strings.HasPrefix(p.text[p.pos:], w.text) {
			p.pos += len(w.text)
			return w.value
		}
		if p.text[p.pos] == w.text[0] { // the reader has committed itself to this word
			at := p.pos
			for i := 0; i < len(w.text) && at < len(p.text) && p.text[at] == w.text[i]; i++ {
				at++
			}
			if at == len(p.text) {
				p.fail(p.pos, "Expecting value", "EOF while parsing a value")
				p.err.at = at
			} else {
				p.fail(p.pos, "Expecting value", "expected ident")
				p.err.at = at
			}
			return nil
		}
	}
	p.fail(p.pos, "Expecting value", "expected value")
	return nil
}

func (p *pyParser) list(depth int) any {
	p.pos++
	list := []any{}
	if p.peek() == ']' {
		p.pos++
		return list
	}
	if p.pos == len(p.text) {
		p.fail(p.pos, "Expecting value", "EOF while parsing a list")
		return nil
	}
	for {
		item := p.value(depth + 1)
		if p.err != nil {
			return nil
		}
		list = append(list, item)
		switch p.peek() {
		case ',':
			p.pos++
			if p.peek() == ']' {
				p.fail(p.pos, "Expecting value", "trailing comma")
				return nil
			}
		case ']':
			p.pos++
			return list
		default:
			p.separator("list", "expected `,` or `]`")
			return nil
		}
	}
}

func (p *pyParser) dict(depth int) any {
	p.pos++
	dict := pyDict{}
	if p.peek() == '}' {
		p.pos++
		return dict
	}
	for {
		if p.peek() != '"' {
			p.property(len(dict) > 0)
			return nil
		}
		key := p.str()
		if p.err == nil && p.peek() != ':' {
			if p.pos == len(p.text) {
				p.fail(p.pos, "Expecting ':' delimiter", "EOF while parsing an object")
			} else {
				p.fail(p.pos, "Expecting ':' delimiter", "expected `:`")
			}
		}
		if p.err != nil {
			return nil
		}
		p.pos++
		item := p.value(depth + 1)
		if p.err != nil {
			return nil
		}
		dict = dict.set(key, item)
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return dict
		default:
			p.separator("object", "expected `,` or `}`")
			return nil
		}
	}
}

// property reports what stands where a key should.
func (p *pyParser) property(after bool) {
	const python = "Expecting property name enclosed in double quotes"
	switch {
	case p.pos == len(p.text) && after:
		p.fail(p.pos, python, "EOF while parsing a value")
	case p.pos == len(p.text):
		p.fail(p.pos, python, "EOF while parsing an object")
	case after && p.text[p.pos] == '}':
		p.fail(p.pos, python, "trailing comma")
	default:
		p.fail(p.pos, python, "key must be a string")
	}
}

// separator reports what stands where a comma or a closing bracket should.
func (p *pyParser) separator(what, expected string) {
	if p.pos == len(p.text) {
		article := "a "
		if what == "object" {
			article = "an "
		}
		expected = "EOF while parsing " + article + what
	}
	p.fail(p.pos, "Expecting ',' delimiter", expected)
}

// number reads a number. Where one breaks off, Python has read a shorter one and stumbles over the rest.
func (p *pyParser) number(depth int) any {
	start := p.pos
	rest := "Expecting ',' delimiter"
	if depth == 0 {
		rest = "Extra data"
	}
	if p.next("-") {
		p.pos++
	}
	leadingZero := p.next("0")
	switch n := p.digits(); {
	case n == 0:
		at := p.pos
		p.fail(start, "Expecting value", "invalid number")
		p.err.at = at
	case leadingZero && n > 1:
		p.fail(p.pos-n+1, rest, "invalid number")
	}
	float := false
	if end := p.pos; p.next(".") {
		float = true
		p.pos++
		if p.digits() == 0 {
			p.broken(end, rest)
		}
	}
	if end := p.pos; p.next("eE") {
		float = true
		p.pos++
		if p.next("+-") {
			p.pos++
		}
		if p.digits() == 0 {
			p.broken(end, rest)
		}
	}
	if p.err != nil {
		return nil
	}
	literal := p.text[start:p.pos]
	if float {
		f, _ := strconv.ParseFloat(literal, 64) // out of range reads as infinity, as in Python
		return f
	}
	if i, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return i
	}
	return pyInt(literal)
}

// broken reports a fraction or an exponent without digits; end is where the number would have been complete.
func (p *pyParser) broken(end int, rest string) {
	builtin := "invalid number"
	if p.pos == len(p.text) {
		builtin = "EOF while parsing a value"
	}
	at := p.pos
	p.fail(end, rest, builtin)
	p.err.at = at
}

// digits skips decimal digits and counts them.
func (p *pyParser) digits() int {
	from := p.pos
	for p.pos < len(p.text) && '0' <= p.text[p.pos] && p.text[p.pos] <= '9' {
		p.pos++
	}
	return p.pos - from
}

// next reports whether one of the characters of set follows.
func (p *pyParser) next(set string) bool {
	return p.pos < len(p.text) && strings.IndexByte(set, p.text[p.pos]) >= 0
}

func (p *pyParser) str() string {
	start := p.pos
	p.pos++
	var b strings.Builder
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '"':
			p.pos++
			return b.String()
		case c == '\\':
			if !p.escape(&b) {
				return ""
			}
		case c < 0x20:
			p.fail(p.pos, "Invalid control character at", "control character (\\u0000-\\u001F) found while parsing a string")
			return ""
		case c < utf8.RuneSelf:
			b.WriteByte(c)
			p.pos++
		default:
			r, size := utf8.DecodeRuneInString(p.text[p.pos:])
			b.WriteRune(r)
			p.pos += size
		}
	}
	p.fail(start, "Unterminated string starting at", "EOF while parsing a string")
	p.err.at = len(p.text)
	return ""
}

// escape reads one backslash sequence.
func (p *pyParser) escape(b *strings.Builder) bool {
	start := p.pos
	p.pos++
	if p.pos == len(p.text) {
		return true // str reports the missing end
	}
	c := p.text[p.pos]
	p.pos++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		return true
	}
	if c != 'u' {
		p.fail(start, "Invalid \\escape", "invalid escape")
		p.err.at = p.pos - 1
		return false
	}
	r, ok := p.unit()
	if !ok || !utf16.IsSurrogate(r) {
		b.WriteRune(r)
		return ok
	}
	end := p.pos
	if r < firstLow && strings.HasPrefix(p.text[p.pos:], `\u`) {
		p.pos += 2
		low, ok := p.unit()
		if !ok {
			return false
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			b.WriteRune(pair)
			return true
		}
		p.lone(p.pos-1, "lone leading surrogate in hex escape")
		p.pos = end // the second may begin a pair of its own
	} else {
		p.unpaired(r)
	}
	b.Write([]byte{0xed, byte(0x80 | r>>6&0x3f), byte(0x80 | r&0x3f)}) // as UTF-8 would have it
	return p.err == nil
}

// firstLow is the first surrogate that can only be the second of a pair.
const firstLow = 0xdc00

// unpaired reports a surrogate that no second one follows, at the byte where the reader notices.
func (p *pyParser) unpaired(r rune) {
	switch rest := p.text[p.pos:]; {
	case r >= firstLow:
		p.lone(p.pos-1, "lone leading surrogate in hex escape")
	case rest == "" || rest == `\`:
		p.lone(len(p.text), "EOF while parsing a string")
	case rest[0] == '\\':
		p.lone(p.pos+1, "unexpected end of hex escape")
	default:
		p.lone(p.pos, "unexpected end of hex escape")
	}
}

// lone reports a lone surrogate to the reader that takes none.
func (p *pyParser) lone(at int, builtin string) {
	if p.builtin {
		p.fail(at, "", builtin)
	}
}

// unit reads four hexadecimal digits.
func (p *pyParser) unit() (rune, bool) {
	const python = "Invalid \\uXXXX escape"
	end := p.pos + 4
	if !p.builtin {
		end++ // Python's reader wants to see the byte behind them
	}
	if end > len(p.text) {
		p.fail(p.pos-1, python, "EOF while parsing a string")
		p.err.at = len(p.text)
		return 0, false
	}
	n := rune(0)
	for i := range 4 {
		digit, err := strconv.ParseUint(p.text[p.pos+i:p.pos+i+1], 16, 8)
		if err != nil {
			p.fail(p.pos-1, python, "invalid escape")
			p.err.at = p.pos + i
			return 0, false
		}
		n = n<<4 | rune(digit)
	}
	p.pos += 4
	return n, true
}
