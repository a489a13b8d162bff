package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// exchange is one line of a recording of the real service.
type exchange struct {
	Method         string            `json:"method"`
	Path           string            `json:"path"`
	Query          map[string]string `json:"query"`
	Token          string            `json:"token"` // "expired", or "foreign": signed by another server
	RequestType    string            `json:"request_type"`
	Request        json.RawMessage   `json:"request"`
	Status         int               `json:"status"`
	Location       string            `json:"location"`
	ResponseType   string            `json:"response_type"`
	Response       json.RawMessage   `json:"response"`
	ResponseStart  string            `json:"response_start"`  // of an answer that was not recorded whole
	ResponseLength int               `json:"response_length"` // of that answer, characters
	Inferred       string            `json:"inferred"`        // why an answer that was not recorded is known
}

// recording is a history of the real service, and the API that is to repeat it.
type recording struct {
	api                  *AnnotationAPI
	base, token, origins string
}

// Addresses that recorded requests name, beside those of the service itself.
const (
	closedPort = "http://closed-port.test"
	nobody     = "http://127.0.0.1:1"
)

// TestRecordedExchanges replays what the real services of both generations answered. Equal history must give equal
// answers: status, key order, types, nulls, texts and ids; only clocks, tokens and sums of images differ.
func TestRecordedExchanges(t *testing.T) {
	origins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/status": // of the platform
			_, _ = w.Write([]byte(`{"status":"ok"}`))
		case strings.HasSuffix(r.URL.Path, "/missing.jpg"):
			http.NotFound(w, r)
		default:
			_, _ = w.Write(jpegLike(64))
		}
	}))
	defer origins.Close()
	for file, generation := range map[string]string{
		"annotation-newest":          "newest",
		"annotation-seed-era":        "seed",
		"annotation-probes-newest":   "newest",
		"annotation-probes-seed-era": "seed",
	} {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile("../../testdata/recorded/" + file + ".jsonl")
			if err != nil {
				t.Fatal(err)
			}
			api := NewAnnotationAPI(AnnotationOptions{
				Generation: generation, Now: oddClock(),
				PlatformObject: func(_, key string) ([]byte, bool) { return jpegLike(64), key != "missing.jpg" },
			})
			server := httptest.NewServer(api)
			defer server.Close()
			r := recording{api: api, base: server.URL, token: login(t, server.URL), origins: origins.URL}
			for i, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
				var e exchange
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatal(err)
				}
				t.Run(strconv.Itoa(i)+" "+e.Method+" "+e.Path, func(t *testing.T) { r.replay(t, e, i) })
			}
		})
	}
}

// oddClock ticks in steps that never end on a whole second.
func oddClock() func() time.Time {
	now := time.Date(2026, 11, 23, 1, 41, 30, 613034000, time.UTC)
	return func() time.Time {
		now = now.Add(1001 * time.Microsecond)
		return now
	}
}

func login(t *testing.T, base string) string {
	t.Helper()
	response, err := http.Post(base+"/api/v1/auth/login", "application/json",
		strings.NewReader(`{"username":"admin","password":"admin12345"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("login answered %d without a token: %v", response.StatusCode, err)
	}
	return answer.Token
}

func (r recording) replay(t *testing.T, e exchange, index int) {
	t.Helper()
	e.Request = []byte(strings.NewReplacer("http://storage.test", r.origins, "http://platform.test", r.origins, closedPort, nobody).
		Replace(string(e.Request)))
	body, contentType := e.body(t)
	address := r.base + e.Path
	if len(e.Query) > 0 {
		query := url.Values{}
		for name, value := range e.Query {
			query.Set(name, value)
		}
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(t.Context(), e.Method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if token := r.tokenFor(e); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != e.Status {
		t.Fatalf("exchange %d: status %d, recorded %d; body %s", index, response.StatusCode, e.Status, raw)
	}
	if e.Location != "" {
		want := strings.Replace(e.Location, e.Location[:strings.Index(e.Location, "/api")], r.base, 1)
		if got := response.Header.Get("Location"); got != want {
			t.Errorf("Location %q, want %q", got, want)
		}
		return
	}
	if e.Inferred != "" {
		return
	}
	if got := response.Header.Get("Content-Type"); got != e.ResponseType {
		t.Errorf("content type %q, recorded %q", got, e.ResponseType)
	}
	raw = bytes.ReplaceAll(raw, []byte(nobody), []byte(closedPort))
	switch {
	case e.ResponseStart != "":
		if got := utf8.RuneCount(raw); got != e.ResponseLength {
			t.Errorf("body of %d characters, recorded %d: %s", got, e.ResponseLength, raw)
		}
		stamps := func(text string) string { return createdAt.ReplaceAllStringFunc(text, zeroed) }
		if got, want := stamps(string(raw)), stamps(e.ResponseStart); !strings.HasPrefix(got, want) {
			t.Errorf("body %s\ndoes not start with the recorded\n%s", got, want)
		}
	case e.Response == nil:
		if len(raw) > 0 {
			t.Errorf("body %q where none was recorded", raw)
		}
	case e.Status == http.StatusInternalServerError:
		if !bytes.HasPrefix(raw, []byte("Traceback")) {
			t.Errorf("body %.80q is no traceback", raw)
		}
	case strings.HasSuffix(e.Path, "/openapi.json"):
		comparePaths(t, raw, e.Response)
	default:
		if diff := cmp.Diff(canonical(t, e.Response), canonical(t, raw)); diff != "" {
			t.Errorf("answer differs from the recorded one (-recorded +got):\n%s", diff)
		}
	}
}

// tokenFor is the token that the recorded request had; recordings leave them out.
func (r recording) tokenFor(e exchange) string {
	switch {
	case e.Token == "expired":
		return r.api.sign(claims{Sub: "admin", UserID: 1, Exp: 1})
	case e.Token == "foreign":
		return NewAnnotationAPI(AnnotationOptions{}).sign(claims{Sub: "admin", UserID: 1, Exp: math.MaxInt32})
	case e.Status == http.StatusForbidden:
		return ""
	case e.Status == http.StatusUnauthorized:
		return "abc"
	}
	return r.token
}

// body rebuilds the recorded request.
func (e exchange) body(t *testing.T) (io.Reader, string) {
	t.Helper()
	password := "admin12345"
	if e.Status == http.StatusUnauthorized {
		password = "nope"
	}
	raw := strings.ReplaceAll(string(e.Request), "<redacted>", password)
	switch e.RequestType {
	case "":
		return http.NoBody, ""
	case "application/json":
		return strings.NewReader(raw), e.RequestType
	case "application/x-www-form-urlencoded":
		document, syntax := parsePython(raw)
		if syntax != nil {
			t.Fatal(syntax)
		}
		form, _ := document.(pyDict).get("_form")
		var pairs []string
		for _, m := range form.(pyDict) {
			pairs = append(pairs, url.QueryEscape(m.Key)+"="+url.QueryEscape(m.Value.(string)))
		}
		return strings.NewReader(strings.Join(pairs, "&")), e.RequestType
	}
	var form struct {
		Parts []struct {
			Name, Value, Filename string
			ContentType           string  `json:"content_type"`
			Text                  *string // what the file held, if it was no image
			Bytes                 int     // of an image; 0: not recorded
		} `json:"_multipart"`
	}
	if err := json.Unmarshal([]byte(raw), &form); err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, part := range form.Parts {
		if part.Filename == "" {
			if err := w.WriteField(part.Name, part.Value); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data := jpegLike(max(part.Bytes, 64))
		if part.Text != nil {
			data = []byte(*part.Text)
		}
		writeFile(t, w, part.Name, part.Filename, part.ContentType, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &body, w.FormDataContentType()
}

func writeFile(t *testing.T, w *multipart.Writer, name, filename, contentType string, data []byte) {
	t.Helper()
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="` + name + `"; filename="` + filename + `"`},
		"Content-Type":        {contentType},
	})
	if err == nil {
		_, err = part.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// jpegLike is enough of a JPEG to be taken for one.
func jpegLike(size int) []byte {
	return append([]byte{0xff, 0xd8, 0xff, 0xe0}, bytes.Repeat([]byte{7}, size-4)...)
}

// canonical writes a JSON document with one value a line, its order and number forms kept, and masks what the clock
// and the image's sum make different.
func canonical(t *testing.T, raw []byte) string {
	t.Helper()
	document, syntax := parsePython(string(raw))
	if syntax != nil {
		t.Fatalf("%v in %s", syntax, raw)
	}
	var lines []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case pyDict:
			lines = append(lines, path+" {")
			for _, m := range v {
				walk(path+"."+m.Key, m.Value)
			}
		case []any:
			lines = append(lines, path+" [")
			for i, item := range v {
				walk(path+"."+strconv.Itoa(i), item)
			}
		case string:
			lines = append(lines, path+" = "+masked(path, v))
		default:
			lines = append(lines, path+" = "+pyRepr(v))
		}
	}
	walk("", document)
	return strings.Join(lines, "\n")
}

var (
	digits    = regexp.MustCompile(`[0-9]`)
	imageSum  = regexp.MustCompile(`_[0-9a-f]{8}(\.|$)`)
	createdAt = regexp.MustCompile(`"created_at":"[^"]*"`)
)

// knownSums are those of the recorded files and answers that are not images: replays have them too.
var knownSums = []string{"e3b0c442", "61bd3acb", "a29ee2b1"}

func zeroed(text string) string { return digits.ReplaceAllString(text, "0") }

func masked(path, value string) string {
	switch name := path[strings.LastIndexByte(path, '.')+1:]; {
	case name == "access_token":
		return "<token>"
	case name == "bucket_key":
		return maskedKey(value)
	case name == "url" && strings.Contains(value, "AWSAccessKeyId="):
		return maskedAddress(value)
	case slices.Contains([]string{"created_at", "updated_at", "skipped_at"}, name),
		name == "last_seen_at" && strings.HasPrefix(value, "2026-11-23"): // the server's clock
		return zeroed(value)
	}
	return strconv.Quote(value)
}

func maskedKey(key string) string {
	if slices.ContainsFunc(knownSums, func(sum string) bool { return strings.Contains(key, "_"+sum) }) {
		return key
	}
	return imageSum.ReplaceAllString(key, "_<sum>$1")
}

// maskedAddress keeps bucket, key and names of the parameters of a presigned address.
func maskedAddress(value string) string {
	address, err := url.Parse(value)
	if err != nil {
		return value
	}
	names := slices.Sorted(maps.Keys(address.Query()))
	return maskedKey(strings.TrimPrefix(address.Path, "/storage")) + " " + strings.Join(names, " ")
}

func comparePaths(t *testing.T, got, recorded []byte) {
	t.Helper()
	var mine struct{ Paths map[string]map[string]any }
	var theirs struct{ Paths map[string][]string }
	if err := json.Unmarshal(got, &mine); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(recorded, &theirs); err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	for path, methods := range mine.Paths {
		for method := range methods {
			listed[path] = append(listed[path], method)
		}
		slices.Sort(listed[path])
	}
	if diff := cmp.Diff(theirs.Paths, listed); diff != "" {
		t.Errorf("paths differ (-recorded +got):\n%s", diff)
	}
}
