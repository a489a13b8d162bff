package sandbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// object is an image in the API's storage.
type object struct {
	data      []byte // nil when discarded
	sum       string // SHA-256, hexadecimal
	size      int64
	extension string // by content, as the service names its objects
}

func newObject(data []byte) object {
	sum := sha256.Sum256(data)
	return object{data: data, sum: hex.EncodeToString(sum[:]), size: int64(len(data)), extension: extension(data)}
}

// partsFrom is the size from which on the service's storage client uploads in parts. The storage then reports no MD5 of
// the whole, and the service takes the upload for corrupted.
const partsFrom = 8 << 20 // bytes, the client's default

// upload puts an image that the service holds itself into its storage.
func upload(data []byte) (object, *reply) {
	if len(data) >= partsFrom {
		out := refuse(http.StatusInternalServerError, "Data was corrupted during upload")
		return object{}, &out
	}
	return newObject(data), nil
}

// extension guesses a file name's ending from content; the service accepts any content.
func extension(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	if first := data[0]; (first == '{' || first == '[') && json.Valid(data) {
		return ".json"
	}
	kind, _, _ := strings.Cut(http.DetectContentType(data), ";")
	switch kind {
	case "image/jpeg":
		return ".jpg"
	case "image/png":
		return ".png"
	case "image/gif":
		return ".gif"
	case "image/webp":
		return ".webp"
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	}
	return ".bin"
}

// copyObject copies an object of the platform's storage. The sum in its new key is that of bucket and key.
func (a *AnnotationAPI) copyObject(bucket, key string) (object, string, *reply) {
	var data []byte
	found := false
	if a.options.PlatformObject != nil {
		data, found = a.options.PlatformObject(bucket, key)
	}
	if !found {
		out := refuse(http.StatusUnprocessableEntity, "Source object not found")
		return object{}, "", &out
	}
	if len(data) == 0 {
		out := refuse(http.StatusUnprocessableEntity, "Copied object is empty")
		return object{}, "", &out
	}
	sum := sha256.Sum256([]byte(bucket + "/" + key))
	return newObject(data), hex.EncodeToString(sum[:])[:8] + path.Ext(key), nil
}

// download fetches an image as the service does: 30 seconds, redirects not followed.
func download(ctx context.Context, source string) (object, *reply) {
	failed := func(status int, detail string) (object, *reply) {
		out := refuse(status, detail)
		return object{}, &out
	}
	address, err := url.Parse(source)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
		out := crash("httpx.UnsupportedProtocol: Request URL is missing an 'http://' or 'https://' protocol.")
		return object{}, &out
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		out := crash("httpx.InvalidURL")
		return object{}, &out
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		var dial *net.OpError
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return failed(http.StatusGatewayTimeout, "Timeout downloading image from source URL: "+source)
		case errors.As(err, &dial) && dial.Op == "dial":
			return failed(http.StatusBadGateway, "Could not connect to source URL: "+source)
		}
		return failed(http.StatusBadGateway, "Source URL closed the connection before responding: "+source)
	}
	defer func() { _ = response.Body.Close() }()
	switch code := response.StatusCode; {
	case code/100 == 4:
		return failed(http.StatusUnprocessableEntity, "Source URL returned HTTP "+strconv.Itoa(code))
	case code/100 != 2:
		return failed(http.StatusBadGateway, "Source URL server error: HTTP "+strconv.Itoa(code))
	}
	data, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return failed(http.StatusBadGateway, "Source URL closed the connection before responding: "+source)
	case len(data) == 0:
		return failed(http.StatusUnprocessableEntity, "Source URL returned empty response")
	}
	return upload(data)
}

const storageLifetime = 24 * time.Hour // of a presigned address

func (a *AnnotationAPI) bucket() string {
	if a.newest {
		return "annotation-api"
	}
	return "annotation-api-seed"
}

// presign returns an address under which the API itself serves an object, for storageLifetime.
func (a *AnnotationAPI) presign(r *http.Request, key string) string {
	expires := strconv.FormatInt(a.options.Now().Add(storageLifetime).Unix(), 10)
	address := url.URL{
		Scheme: scheme(r), Host: r.Host, Path: "/storage/" + a.bucket() + "/" + key,
		RawQuery: url.Values{
			"AWSAccessKeyId": {"sandbox"}, "Signature": {a.storageSignature(key, expires)}, "Expires": {expires},
		}.Encode(),
	}
	return address.String()
}

func (a *AnnotationAPI) storageSignature(key, expires string) string {
	return hex.EncodeToString(a.mac("GET\n" + expires + "\n" + key))
}

// serveStorage answers presigned addresses as an object store does. An Authorization header beside the signature is an
// error there: the API's token must never be sent to the storage.
func (a *AnnotationAPI) serveStorage(w http.ResponseWriter, r *http.Request, name string) {
	key, ok := strings.CutPrefix(name, a.bucket()+"/")
	query := r.URL.Query()
	expires, err := strconv.ParseInt(query.Get("Expires"), 10, 64)
	a.mu.Lock()
	image, found := a.objects[key]
	signature := a.storageSignature(key, query.Get("Expires"))
	a.mu.Unlock()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		storageError(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	case r.Header.Get("Authorization") != "":
		storageError(w, http.StatusBadRequest, "InvalidArgument")
	case !ok:
		storageError(w, http.StatusNotFound, "NoSuchBucket")
	case !hmac.Equal([]byte(signature), []byte(query.Get("Signature"))):
		storageError(w, http.StatusForbidden, "SignatureDoesNotMatch")
	case err != nil || !time.Unix(expires, 0).After(a.options.Now()):
		storageError(w, http.StatusForbidden, "AccessDenied")
	case !found:
		storageError(w, http.StatusNotFound, "NoSuchKey")
	case image.data == nil && image.size > 0:
		storageError(w, http.StatusGone, "DiscardedBySandbox")
	default:
		w.Header().Set("Content-Type", "binary/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(image.size, 10))
		if r.Method == http.MethodGet {
			_, _ = w.Write(image.data) // a client that has gone is its own problem
		}
	}
}

func storageError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>"+code+"</Code></Error>")
}
