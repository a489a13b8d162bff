package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
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
	name := folded(f.name)
	suspicious := secretName(name) || k.mentions(name) || holdsURL(text) || holdsToken(text)
	return f.value, !suspicious, nil
}

// folded is a name in the letters by which names are compared: lower case, and s for ſ, which encoding/json takes for it, too.
func folded(name string) string { return strings.ReplaceAll(strings.ToLower(name), "ſ", "s") }

// mentions reports whether a folded name is one of k's own in other letters: encoding/json would take one for the other.
func (k kind) mentions(name string) bool {
	_, object := k.objects[name]
	return object || slices.Contains(k.known, name) || slices.Contains(k.never, name)
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

// secretName reports whether a folded field name is that of a secret.
func secretName(name string) bool {
	for _, word := range []string{
		"url", "token", "secret", "hook", "password", "signature", "credential", "apikey", "api_key", "telegram",
	} {
		if strings.Contains(name, word) {
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
	for word := range strings.FieldsFuncSeq(text, endsWord) {
		if isToken(word) {
			return true
		}
	}
	return false
}

// tokenMarks are the characters of a token beside ASCII letters and digits.
const tokenMarks = "+/=_.~:-"

// endsWord reports whether a character stands between words: white space, and punctuation that no token has. A letter of another
// alphabet is part of its word, which then is no token.
func endsWord(c rune) bool {
	return !unicode.In(c, unicode.Letter, unicode.Mark, unicode.Digit) && !strings.ContainsRune(tokenMarks, c)
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
		case !strings.ContainsRune(tokenMarks, rune(c)):
			return false
		}
	}
	if !letters || !digits {
		return false
	}
	_, err := ParseTime(strings.Trim(word, ".:")) // a timestamp may end a sentence
	return err != nil
}

// Patterns of redact. A token in free text is recognised by its form alone: names and hashes must stay readable.
var (
	urlPattern    = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://[^\s"<>]*`)                            //nolint:gochecknoglobals // compiled once
	bearerPattern = regexp.MustCompile(`(?i)\b(bearer\s+)\S+`)                                         //nolint:gochecknoglobals // compiled once
	jwtPattern    = regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]{5,}(\.[\w-]*)?`)                         //nolint:gochecknoglobals // compiled once
	signedPattern = regexp.MustCompile(`(?i)(x-amz-[a-z0-9-]*=?|signature=|awsaccesskeyid=)[^\s&"']*`) //nolint:gochecknoglobals // compiled once
)

// redact removes secrets from free text: credentials, query and fragment of URLs, bearer tokens, signatures.
func redact(text string) string {
	text = urlPattern.ReplaceAllStringFunc(text, redactURL)
	text = bearerPattern.ReplaceAllString(text, "$1***")
	text = jwtPattern.ReplaceAllString(text, "***")
	return signedPattern.ReplaceAllString(text, "***")
}

// redactURL takes credentials, query and fragment out of a URL. A password that was not escaped may hold any character: where a
// colon comes before the first slash everything up to the last @ counts as credentials, and what is no port does without one.
func redactURL(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	url := strings.TrimRight(rest, "'),.:;")
	rest, after := url, rest[len(url):] // which is the text's
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if host := authority(rest); len(host) > at || strings.Contains(host, ":") {
			rest = rest[at+1:]
		}
	}
	host := authority(rest)
	if at := strings.LastIndexByte(host, '@'); at >= 0 { // a name alone, and a later @ that is none of its
		rest, host = rest[at+1:], host[at+1:]
	}
	if _, port, _ := strings.Cut(host, ":"); !strings.HasPrefix(host, "[") && strings.Trim(port, "0123456789") != "" {
		rest = "***" + rest[len(host):]
	}
	if query := strings.IndexAny(rest, "?#"); query >= 0 {
		rest = rest[:query]
	}
	return scheme + "://" + rest + after
}

// authority is what stands in a URL, behind its scheme, before path, query and fragment.
func authority(rest string) string {
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return rest[:end]
	}
	return rest
}

// forbidden finds a secret in a stored document: a field that is never stored, one that is named like a secret, a URL in a field
// that is not known, a signed one anywhere. What strip would leave today is not asked: its notion of a token may become stricter,
// and bundles that were written before are not damaged by that.
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
		if slices.Contains(k.known, f.name) {
			continue
		}
		if name := folded(f.name); secretName(name) || k.mentions(name) {
			return fmt.Errorf("its %s document holds %q", k.name, f.name)
		}
		if holdsURL(stringValue(f.value)) {
			return fmt.Errorf("its %s document holds a URL in %q", k.name, f.name)
		}
	}
	return nil
}

// checkDocument looks at a document that was read from a bundle.
func checkDocument(k kind, doc json.RawMessage) error {
	if len(doc) > maxDocument || !json.Valid(doc) || firstByte(doc) != '{' {
		return errors.New(k.name + " document is not a JSON object")
	}
	if tooDeep(doc) {
		return errors.New(k.name + " document is nested too deeply")
	}
	return nil
}
