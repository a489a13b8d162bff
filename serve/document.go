package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// errDocument is a stored document that is not a JSON object: a bundle is untrusted input.
var errDocument = errors.New("stored document is no JSON object")

// field is a member added to a stored document: what a bundle never holds because it is secret or changes by itself, but
// the platform always answers.
type field struct {
	name  string
	value string // null where nil is true
	null  bool
}

func text(name, value string) field { return field{name: name, value: value} }
func null(name string) field        { return field{name: name, null: true} }

// appendDocument appends doc to dst as it is stored, number literals and all, with extra as its last members. A member of
// the same name in doc gives way.
func appendDocument(dst []byte, doc json.RawMessage, extra ...field) ([]byte, error) {
	body := bytes.TrimSpace(doc)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return dst, errDocument
	}
	if len(extra) == 0 {
		return append(dst, body...), nil
	}
	for _, f := range extra {
		if bytes.Contains(body, []byte(`"`+f.name+`"`)) {
			var err error
			if body, err = without(body, extra); err != nil {
				return dst, err
			}
			break
		}
	}
	inner := bytes.TrimSpace(body[1 : len(body)-1])
	dst = append(dst, '{')
	dst = append(dst, inner...)
	for i, f := range extra {
		if i > 0 || len(inner) > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), f.name...), '"', ':')
		if f.null {
			dst = append(dst, "null"...)
			continue
		}
		value, err := encode(f.value)
		if err != nil {
			return dst, fmt.Errorf("encode %s: %w", f.name, err)
		}
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}

// without returns the object body less the members named by fields.
func without(body []byte, fields []field) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, errDocument
	}
	for _, f := range fields {
		delete(members, f.name)
	}
	return encode(members)
}
