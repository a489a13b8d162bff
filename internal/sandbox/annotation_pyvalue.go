package sandbox

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The annotation API is written in Python, and its error answers repeat what it was sent. The values below keep what
// Go's encoding/json forgets and those answers show: the order of keys, and integers apart from floats.
//
// A Python value is one of nil, bool, int64, pyInt, float64, string, []any, pyDict, pyBytes or pyUpload.

// pyInt is an integer that does not fit 64 bits, as its decimal literal.
type pyInt string

// pyBytes is a request body that is no JSON document.
type pyBytes []byte

// pyMember is one key of a pyDict.
type pyMember struct {
	Key   string
	Value any
}

// pyDict is a dictionary in insertion order.
type pyDict []pyMember

func (d pyDict) get(key string) (any, bool) {
	for i := range d {
		if d[i].Key == key {
			return d[i].Value, true
		}
	}
	return nil, false
}

// set replaces the value of key where it stands, as Python does for a repeated key, or appends it.
func (d pyDict) set(key string, value any) pyDict {
	for i := range d {
		if d[i].Key == key {
			d[i].Value = value
			return d
		}
	}
	return append(d, pyMember{key, value})
}

// pyStyle is one way of Python's json.dumps.
type pyStyle struct {
	item, key string // separators
	ascii     bool   // escape everything beyond ASCII
}

func compactStyle() pyStyle { return pyStyle{item: ",", key: ":"} }                // JSONResponse
func spacedStyle() pyStyle  { return pyStyle{item: ", ", key: ": ", ascii: true} } // json.dumps without options

// encode appends v as JSON. ok is false for what Python refuses too: NaN, the infinities, lone surrogates.
func (s pyStyle) encode(b []byte, v any) (out []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case bool:
		return strconv.AppendBool(b, v), true
	case int64:
		return strconv.AppendInt(b, v, 10), true
	case pyInt:
		return append(b, v...), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return b, false
		}
		return append(b, pyFloat(v)...), true
	case string:
		return s.encodeString(b, v), !holdsSurrogate(v)
	case []any:
		return s.encodeList(b, v)
	case pyDict:
		return s.encodeDict(b, v)
	case pyBytes, pyUpload:
		return s.encodeString(b, pyRepr(v)), true // the API turns what JSON cannot hold into str(…)
	}
	return b, false
}

func (s pyStyle) encodeList(b []byte, list []any) ([]byte, bool) {
	b = append(b, '[')
	for i, item := range list {
		if i > 0 {
			b = append(b, s.item...)
		}
		var ok bool
		if b, ok = s.encode(b, item); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

func (s pyStyle) encodeDict(b []byte, dict pyDict) ([]byte, bool) {
	b = append(b, '{')
	for i, m := range dict {
		if i > 0 {
			b = append(b, s.item...)
		}
		b = append(s.encodeString(b, m.Key), s.key...)
		var ok bool
		if b, ok = s.encode(b, m.Value); !ok || holdsSurrogate(m.Key) {
			return b, false
		}
	}
	return append(b, '}'), true
}

func (s pyStyle) encodeString(b []byte, text string) []byte {
	b = append(b, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r < 0x20 || s.ascii && r == 0x7f:
			b = appendEscaped(b, r)
		case s.ascii && r > 0xffff:
			r -= 0x10000
			b = appendEscaped(appendEscaped(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		case s.ascii && r > 0x7f:
			b = appendEscaped(b, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// holdsSurrogate reports a lone surrogate: three bytes as UTF-8 would have them, which no valid text contains.
func holdsSurrogate(text string) bool {
	for i := 1; i < len(text); i++ {
		if text[i-1] == 0xed && text[i] >= 0xa0 {
			return true
		}
	}
	return false
}

// appendEscaped appends one UTF-16 unit as \uXXXX.
func appendEscaped(b []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}

// pyFloat is repr(float): the shortest digits that read back equal, a point always, an exponent below 1e-4 and from
// 1e16 on.
func pyFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64) // Go and Python agree on two exponent digits
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// pyRepr is repr(v), as error texts show the refused input.
func pyRepr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case pyInt:
		return string(v)
	case float64:
		return pyFloat(v)
	case string:
		return pyQuote(v, false)
	case pyBytes:
		return "b" + pyQuote(string(v), true)
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = pyRepr(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case pyDict:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = pyQuote(m.Key, false) + ": " + pyRepr(m.Value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case pyUpload:
		return "UploadFile(filename=" + pyQuote(v.filename, false) + ", size=" + strconv.Itoa(len(v.data)) + ")"
	}
	return "?"
}

// pyQuote quotes a string, or bytes, as Python's repr does.
func pyQuote(text string, bytes bool) string {
	quote := byte('\'')
	if strings.Contains(text, "'") && !strings.Contains(text, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if !bytes {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		switch {
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f || bytes && r > 0x7f:
			b.WriteString(`\x` + hexByte(byte(r)))
		default:
			b.WriteRune(r)
		}
		i += size
	}
	b.WriteByte(quote)
	return b.String()
}

func hexByte(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// pyTypeName is type(v).__name__.
func pyTypeName(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, pyInt:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case pyBytes:
		return "bytes"
	case []any:
		return "list"
	case pyDict:
		return "dict"
	case pyUpload:
		return "UploadFile"
	}
	return "object"
}
