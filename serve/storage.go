package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pyrobundle/store"
)

// storagePrefix is where the images are, beside the API: /storage/{bucket}/{key}. bucketPrefix and an organization's id
// name its bucket, after the platform's {SERVER_NAME}-alert-api-{id} (contract A.4).
const (
	storagePrefix = "/storage/"
	bucketPrefix  = "platform-alert-api-"
	accessKey     = "pyrobundle"
)

// storage signs image URLs, and checks them, in the manner of S3's query authentication.
type storage struct {
	key      []byte
	now      func() time.Time
	lifetime time.Duration
}

// signFor returns a function that makes URLs for an organization's keys, on the host by which r reached us. They answer
// without Authorization until their lifetime has passed.
func (st storage) signFor(r *http.Request, organizationID int64) func(key string) string {
	bucket := bucketPrefix + strconv.FormatInt(organizationID, 10)
	base := scheme(r) + "://" + r.Host + storagePrefix + bucket + "/"
	expires := strconv.FormatInt(st.now().Add(st.lifetime+time.Second-1).Unix(), 10)
	return func(key string) string {
		return base + url.PathEscape(key) + "?AWSAccessKeyId=" + accessKey +
			"&Signature=" + url.QueryEscape(st.signature(bucket, key, expires)) + "&Expires=" + expires
	}
}

func (st storage) signature(bucket, key, expires string) string {
	mac := hmac.New(sha256.New, st.key)
	fmt.Fprintf(mac, "GET\n%s\n/%s/%s", expires, bucket, key)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// check refuses a request that is not signed, not signed by us, or too late.
func (st storage) check(r *http.Request, bucket, key string) error {
	q := parsePairs(r.URL.RawQuery)
	signature, expires := q.Get("Signature"), q.Get("Expires")
	switch {
	case r.Header.Get("Authorization") != "":
		return &storageError{
			status: http.StatusBadRequest, Code: "InvalidArgument",
			Message: "Only one auth mechanism allowed: send an image request without an Authorization header",
		}
	case signature == "" || expires == "":
		return &storageError{status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
	case q.Get("AWSAccessKeyId") != accessKey:
		return &storageError{
			status: http.StatusForbidden, Code: "InvalidAccessKeyId",
			Message: "The access key id of this URL does not exist here",
		}
	case !hmac.Equal([]byte(signature), []byte(st.signature(bucket, key, expires))):
		return &storageError{
			status: http.StatusForbidden, Code: "SignatureDoesNotMatch",
			Message: "The signature of this URL does not match the request",
		}
	}
	seconds, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || !st.now().Before(time.Unix(seconds, 0)) {
		return &storageError{status: http.StatusForbidden, Code: "AccessDenied", Message: "Request has expired"}
	}
	return nil
}

// storageError is a refusal of the image storage: XML as S3 writes it.
type storageError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
	Key     string   `xml:"Key,omitempty"`
	Range   string   `xml:"RangeRequested,omitempty"`
	Size    int      `xml:"ActualObjectSize,omitempty"` // bytes
	status  int
}

func (e *storageError) Error() string { return e.Code + ": " + e.Message }

func (e *storageError) writeTo(w http.ResponseWriter) {
	body, err := xml.Marshal(e)
	if err != nil { // strings alone
		body = nil
	}
	body = append([]byte(xml.Header), body...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// image answers GET /storage/{bucket}/{key}: an image's bytes, or what S3 would refuse with.
func (s *server) image(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return &storageError{
			status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed",
			Message: "The storage of a served bundle answers GET alone",
		}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, storagePrefix), "/")
	if err := s.storage.check(r, bucket, key); err != nil {
		return err
	}
	organizationID, err := strconv.ParseInt(strings.TrimPrefix(bucket, bucketPrefix), 10, 64)
	if err != nil {
		return &storageError{status: http.StatusNotFound, Code: "NoSuchBucket", Message: "The bucket does not exist"}
	}
	image, err := s.bundle.ImageOf(r.Context(), organizationID, key)
	if errors.Is(err, store.ErrNotFound) {
		return &storageError{status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist.", Key: key}
	}
	if err != nil {
		return fmt.Errorf("find image: %w", err)
	}
	data, err := s.bundle.ReadImage(r.Context(), image.Hash)
	if err != nil {
		return fmt.Errorf("read image %s: %w", image.Hash, err)
	}
	return writeObject(w, r.Header.Get("Range"), data)
}

// writeObject answers with an object, or with the one range of it that is asked for. Its type is that of objects uploaded
// without one, which the platform's are.
func writeObject(w http.ResponseWriter, asked string, data []byte) error {
	from, to, ranged := byteRange(asked, len(data))
	if ranged && from >= len(data) {
		return &storageError{
			status: http.StatusRequestedRangeNotSatisfiable, Code: "InvalidRange",
			Message: "The requested range is not satisfiable", Range: asked, Size: len(data),
		}
	}
	w.Header().Set("Content-Type", "binary/octet-stream")
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Length", strconv.Itoa(to-from))
	status := http.StatusOK
	if ranged {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)))
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
	_, _ = w.Write(data[from:to]) // a client that is gone is no error of ours
	return nil
}

// byteRange reads a Range header, bytes=first-last, bytes=first- or bytes=-length, as half-open bounds within size; from
// is size where nothing lies within. Anything else, several ranges too, is not ranged: S3 ignores it.
func byteRange(header string, size int) (from, to int, ranged bool) {
	bounds, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(bounds, "-")
	start, okFirst := digits(first)
	end, okLast := digits(last)
	switch {
	case !isBytes || !isRange || (first != "" && !okFirst) || (last != "" && !okLast) || first+last == "":
		return 0, size, false
	case first == "":
		return size - min(end, size), size, true
	case last == "":
		return min(start, size), size, true
	case end < start:
		return 0, size, false
	}
	return min(start, size), min(end, size-1) + 1, true
}
