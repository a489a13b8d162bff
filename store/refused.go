package store

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What a bundle does not take. Refusals are of what was to be put, not of the Writer: callers go on with what is left.

// refusedf makes an error that matches ErrRefused and says what is not taken.
func refusedf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

func checkContent(organizationID int64, key string, format Format, content Content) error {
	switch size := len(content.data); {
	case size == 0:
		return refusedf("it is empty")
	case size > maxImage:
		return refusedf("%d bytes, at most %d are stored", size, maxImage)
	case format != JPEG && format != PNG:
		return refusedf("unknown format %q", format)
	case organizationID < 0:
		return refusedf("the organization's id is negative")
	}
	return CheckKey(key)
}

// CheckKey returns ErrRefused for what a bundle does not take as a platform's bucket key.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) {
		return refusedf("a bucket key of %d bytes; 1 to %d of UTF-8 are stored", len(key), maxKey)
	}
	if isSigned(key) {
		return refusedf("its bucket key is a signed URL")
	}
	return nil
}

func checkNumbers(r SequenceRecord) error {
	if len(r.Detections) > maxDetections || len(r.Frames) > maxDetections {
		return refusedf("%d detections and %d frames, at most %d of each are stored", len(r.Detections), len(r.Frames), maxDetections)
	}
	return nil
}

// ProblemID is the id under which a Problem of that kind is recorded: id itself, or, where a bundle cannot hold that because it
// is too long or a URL, as much of its beginning as is plain, and a hash that stands for the whole.
func ProblemID(kind, id string) string {
	if kind == "" || checkProblem(kind, id) == nil {
		return id
	}
	const longest = 200 // bytes that are left for people to recognise
	plain := id[:min(len(id), longest)]
	if end := strings.IndexFunc(plain, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/-_.", c)
	}); end >= 0 {
		plain = plain[:end]
	}
	if isSigned(plain) {
		plain = ""
	}
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%s#%x", plain, sum[:8])
}

func checkProblem(kind, id string) error {
	if kind == "" || len(kind)+len(id) > maxKey || !utf8.ValidString(kind+id) {
		return refusedf("a kind and id of %d bytes; 1 to %d of UTF-8 are stored", len(kind)+len(id), maxKey)
	}
	if isSigned(id) || holdsURL(id) {
		return refusedf("its id is a URL")
	}
	return nil
}
