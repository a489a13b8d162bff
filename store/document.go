package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDocument bounds one platform document, in bytes; the largest known, a camera with many poses, has a few thousand.
const maxDocument = 1 << 20

// kind names a document and rules its fields.
type kind struct {
	name    string
	known   []string        // kept, if scalar
	never   []string        // dropped whatever they hold: secrets, and what changes by itself
	objects map[string]kind // kept, if an array of objects: each is filtered by its own rule
}

// The rules of docs/bundle-format.md, What is never stored.
func organizationKind() kind {
	return kind{name: "organization", known: []string{"id", "name"}, never: []string{"telegram_id", "slack_hook"}}
}

func cameraKind() kind {
	return kind{
		name: "camera",
		known: []string{
			"id", "organization_id", "name", "angle_of_view", "elevation", "lat", "lon", "is_trustable", "created_at",
		},
		never: []string{"last_active_at", "last_image", "last_image_url"},
		objects: map[string]kind{"poses": {
			name:  "pose",
			known: []string{"id", "camera_id", "azimuth", "patrol_id", "active"},
			never: []string{"image", "image_url"},
		}},
	}
}

func sequenceKind() kind {
	return kind{name: "sequence", known: []string{
		"id", "camera_id", "pose_id", "camera_azimuth", "is_wildfire", "sequence_azimuth", "cone_angle", "started_at",
		"last_seen_at", "max_conf", "temporal_model_score", "temporal_model_version", "temporal_api_version", "is_validated",
		"detections_count",
	}}
}

func detectionKind() kind {
	return kind{
		name: "detection",
		known: []string{
			"id", "camera_id", "pose_id", "sequence_id", "bucket_key", "crop_bucket_key", "bbox", "others_bboxes",
			"created_at", "recorded_at",
		},
		never: []string{"url", "crop_url"},
	}
}

// field is a member of a JSON object; value is verbatim.
type field struct {
	name  string
	value json.RawMessage
}

// strip returns doc without what a bundle never holds, otherwise verbatim but for white space. dropped is told the names of
// removed fields. A document that is no JSON object, too large, or hides a signed URL in a field that must be kept is refused.
func strip(k kind, doc json.RawMessage, dropped func(name string)) (json.RawMessage, error) {
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%s document of %d bytes, at most %d are stored", k.name, len(doc), maxDocument)
	}
	if !utf8.Valid(doc) || !json.Valid(doc) || firstByte(doc) != '{' {
		return nil, fmt.Errorf("%s document is not a JSON object", k.name)
	}
	return stripObject(k, doc, dropped)
}

func stripObject(k kind, doc json.RawMessage, dropped func(name string)) (json.RawMessage, error) {
	out := []byte{'{'}
	for _, f := range fields(doc) {
		value, keep, err := k.filter(f, dropped)
		if err != nil {
			return nil, err
		}
		if !keep {
			if dropped != nil {
				dropped(k.name + "." + f.name)
			}
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendString(out, f.name)
		out = append(out, ':')
		out = append(out, value...)
	}
	return append(out, '}'), nil
}

// filter decides about one field.
func (k kind) filter(f field, dropped func(string)) (value json.RawMessage, keep bool, err error) {
	if slices.Contains(k.never, f.name) {
		return nil, false, nil
	}
	if of, ok := k.objects[f.name]; ok && firstByte(f.value) == '[' {
		value, err := stripObjects(of, f.value, dropped)
		return value, err == nil, err
	}
	if !isScalar(f.value) {
		return nil, false, nil
	}
	text := stringValue(f.value)
	if slices.Contains(k.known, f.name) {
		if isSigned(text) {
			return nil, false, fmt.Errorf("%s document holds a signed URL in %q", k.name, f.name)
		}
		return f.value, true, nil
	}
	name := strings.ToLower(f.name)
	suspicious := secretName(name) || k.mentions(name) || holdsURL(text) || holdsToken(text)
	return f.value, !suspicious, nil
}

// mentions reports whether a lower-case name is one of k's own in other letters: encoding/json would take one for the other.
func (k kind) mentions(lower string) bool {
	_, object := k.objects[lower]
	return object || slices.Contains(k.known, lower) || slices.Contains(k.never, lower)
}

func stripObjects(k kind, array json.RawMessage, dropped func(string)) (json.RawMessage, error) {
	out := []byte{'['}
	for element := range elements(array) {
		if firstByte(element) != '{' {
			continue
		}
		object, err := stripObject(k, element, dropped)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, object...)
	}
	return append(out, ']'), nil
}

// secretName reports whether a lower-case field name is that of a secret.
func secretName(lower string) bool {
	for _, word := range []string{
		"url", "token", "secret", "hook", "password", "signature", "credential", "apikey", "api_key", "telegram",
	} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

func holdsURL(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "data:") || isSigned(text)
}

// isSigned reports whether text carries the query of a presigned URL, of either generation.
func isSigned(text string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, "x-amz-") || strings.Contains(lower, "signature=")
}

// holdsToken reports whether a word of text looks like a token: long, of a token's characters, letters and digits mixed.
func holdsToken(text string) bool {
	for word := range strings.FieldsSeq(text) {
		if isToken(word) {
			return true
		}
	}
	return false
}

func isToken(word string) bool {
	const shortest = 20 // characters
	if len(word) < shortest {
		return false
	}
	letters, digits := false, false
	for _, c := range []byte(word) {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			letters = true
		case '0' <= c && c <= '9':
			digits = true
		case !strings.ContainsRune("+/=_.~:-", rune(c)):
			return false
		}
	}
	if !letters || !digits {
		return false
	}
	_, err := ParseTime(word)
	return err != nil
}

// Patterns of redact. A token in free text is recognised by its form alone: names and hashes must stay readable.
var (
	urlPattern    = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#@"']*@)?([^\s?#"'<>]*)(?:[?#][^\s"'<>]*)?`) //nolint:gochecknoglobals // compiled once
	bearerPattern = regexp.MustCompile(`(?i)\b(bearer\s+)\S+`)                                                            //nolint:gochecknoglobals // compiled once
	jwtPattern    = regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]{5,}(\.[\w-]*)?`)                                            //nolint:gochecknoglobals // compiled once
	signedPattern = regexp.MustCompile(`(?i)(x-amz-[a-z0-9-]*=?|signature=|awsaccesskeyid=)[^\s&"']*`)                    //nolint:gochecknoglobals // compiled once
)

// redact removes secrets from free text: credentials, query and fragment of URLs, bearer tokens, signatures.
func redact(text string) string {
	text = urlPattern.ReplaceAllString(text, "$1$2")
	text = bearerPattern.ReplaceAllString(text, "$1***")
	text = jwtPattern.ReplaceAllString(text, "***")
	return signedPattern.ReplaceAllString(text, "***")
}

// forbidden finds a secret in a stored document: the name of a field that never is stored, or a signed URL.
func forbidden(k kind, doc json.RawMessage) error {
	for _, f := range fields(doc) {
		if slices.Contains(k.never, f.name) {
			return fmt.Errorf("its %s document holds %q", k.name, f.name)
		}
		if of, ok := k.objects[f.name]; ok && firstByte(f.value) == '[' {
			for element := range elements(f.value) {
				if firstByte(element) != '{' {
					continue
				}
				if err := forbidden(of, element); err != nil {
					return err
				}
			}
			continue
		}
		if isSigned(stringValue(f.value)) || !isScalar(f.value) && isSigned(string(f.value)) {
			return fmt.Errorf("its %s document holds a signed URL in %q", k.name, f.name)
		}
	}
	return nil
}

// What follows reads valid JSON only: callers have checked it.

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

// checkDocument looks at a document that was read from a bundle.
func checkDocument(k kind, doc json.RawMessage) error {
	if len(doc) > maxDocument || !json.Valid(doc) || firstByte(doc) != '{' {
		return errors.New(k.name + " document is not a JSON object")
	}
	return nil
}
