package store

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// What is here reads valid JSON only: callers have checked it.

// fields returns the members of an object; of a name that occurs twice the last counts.
func fields(object json.RawMessage) []field {
	var out []field
	seen := map[string]int{}
	for name, value := range members(object) {
		if i, again := seen[name]; again {
			out[i].value = value
			continue
		}
		seen[name] = len(out)
		out = append(out, field{name, value})
	}
	return out
}

// members yields the members of an object in order.
func members(object json.RawMessage) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		i := skipSpace(object, 0) + 1
		for {
			i = skipSpace(object, i)
			if object[i] == '}' {
				return
			}
			end := skipValue(object, i)
			name := stringValue(object[i:end])
			i = skipSpace(object, end) + 1 // the colon
			i = skipSpace(object, i)
			end = skipValue(object, i)
			if !yield(name, object[i:end:end]) {
				return
			}
			i = skipSpace(object, end)
			if object[i] == ',' {
				i++
			}
		}
	}
}

// elements yields the elements of an array in order.
func elements(array json.RawMessage) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		i := skipSpace(array, 0) + 1
		for {
			i = skipSpace(array, i)
			if array[i] == ']' {
				return
			}
			end := skipValue(array, i)
			if !yield(array[i:end:end]) {
				return
			}
			i = skipSpace(array, end)
			if array[i] == ',' {
				i++
			}
		}
	}
}

func skipSpace(doc []byte, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\t' || doc[i] == '\n' || doc[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i.
func skipValue(doc []byte, i int) int {
	switch doc[i] {
	case '"':
		return skipString(doc, i)
	case '{', '[':
		depth := 0
		for {
			switch doc[i] {
			case '"':
				i = skipString(doc, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			i++
			if depth == 0 {
				return i
			}
		}
	}
	for i < len(doc) && !strings.ContainsRune(",]}: \t\r\n", rune(doc[i])) {
		i++
	}
	return i
}

func skipString(doc []byte, i int) int {
	for i++; doc[i] != '"'; i++ {
		if doc[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func firstByte(doc []byte) byte {
	if i := skipSpace(doc, 0); i < len(doc) {
		return doc[i]
	}
	return 0
}

func isScalar(value json.RawMessage) bool {
	c := firstByte(value)
	return c != '{' && c != '['
}

// stringValue decodes a JSON string; other values are "".
func stringValue(value json.RawMessage) string {
	if firstByte(value) != '"' {
		return ""
	}
	if !slices.Contains(value, '\\') {
		return string(value[1 : len(value)-1])
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return ""
	}
	return s
}

// canonical appends doc as canonical JSON (docs/bundle-format.md, Digest).
func canonical(out []byte, doc json.RawMessage) []byte {
	switch firstByte(doc) {
	case '{':
		sorted := fields(doc)
		slices.SortFunc(sorted, func(a, b field) int { return strings.Compare(a.name, b.name) })
		out = append(out, '{')
		for i, f := range sorted {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, f.name), ':')
			out = canonical(out, f.value)
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		first := true
		for element := range elements(doc) {
			if !first {
				out = append(out, ',')
			}
			first = false
			out = canonical(out, element)
		}
		return append(out, ']')
	case '"':
		return appendString(out, stringValue(doc))
	}
	return append(out, strings.TrimSpace(string(doc))...)
}

// appendString appends s as a JSON string with the fewest escapes.
func appendString(out []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\b':
			out = append(out, `\b`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\f':
			out = append(out, `\f`...)
		case r == '\r':
			out = append(out, `\r`...)
		case r < ' ':
			out = append(out, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"')
}

// maxNesting is how deeply the values of a document may be nested. A camera with its poses has 3 levels; what reads values inside
// of values takes the time of their size for each level.
const maxNesting = 8

// tooDeep reports whether JSON is nested more deeply than any document that is stored.
func tooDeep(doc []byte) bool {
	if bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) <= maxNesting {
		return false // as nearly always, and much faster than looking at each byte
	}
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			i = skipString(doc, i) - 1
		case '{', '[':
			if depth++; depth > maxNesting {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}
