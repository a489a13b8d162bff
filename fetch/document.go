package fetch

import (
	"bytes"
	"encoding/json"
	"strings"
)

// sameDocument reports whether a document of the platform says no more than the one that is held. A bundle keeps values
// verbatim and drops secrets (docs/bundle-format.md), so fields of the platform's that are not held and look like what is
// dropped do not count; taking one for new would rewrite the sequence with each run and change nothing.
func sameDocument(held, listed json.RawMessage) bool {
	if bytes.Equal(held, listed) {
		return true
	}
	var before, now map[string]json.RawMessage
	if json.Unmarshal(held, &before) != nil || json.Unmarshal(listed, &now) != nil {
		return false
	}
	for name, value := range before {
		if !sameValue(value, now[name]) {
			return false
		}
	}
	for name, value := range now {
		if _, known := before[name]; !known && !looksDropped(name, value) {
			return false
		}
	}
	return true
}

func sameValue(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y bytes.Buffer
	if len(b) == 0 || json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		return false
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

// looksDropped reports whether a bundle would not keep such a field: an object or array, a long string or an address, or
// one named like a secret.
func looksDropped(name string, value json.RawMessage) bool {
	const longWord = 20 // characters; from there on a string may be a token
	switch value[0] {
	case '{', '[':
		return true
	case '"':
		if len(value) > longWord || bytes.Contains(value, []byte("://")) {
			return true
		}
	}
	lower := strings.ToLower(name)
	for _, word := range []string{"url", "token", "secret", "hook", "password", "signature", "credential", "key", "telegram"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
