package serve

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pyrobundle/store"
)

func TestCropURLOnlyWhenAskedForAndThere(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	crop := func(path string) any { return c.list(path)[0]["crop_url"] }
	if got := crop("/api/v1/sequences/1/detections?limit=1&desc=false"); got != nil {
		t.Errorf("without with_crop: %v", got)
	}
	got, _ := crop("/api/v1/sequences/1/detections?limit=1&desc=false&with_crop=true").(string)
	if !strings.Contains(got, "/platform-alert-api-2/crop_1_3-20261123010943-c412c1c0.jpg?") {
		t.Errorf("with_crop: %q", got)
	}
	if got := crop("/api/v1/sequences/7/detections?limit=1&desc=false&with_crop=true"); got != nil {
		t.Errorf("a row without crop: %v", got)
	}
	var fresh struct {
		URL  string  `json:"url"`
		Crop *string `json:"crop_url"`
	}
	must(t, json.Unmarshal(c.get("/api/v1/detections/3/url").body, &fresh))
	if !strings.Contains(fresh.URL, "/3-20261123010943-1b3645d0.jpg?") || fresh.Crop == nil {
		t.Errorf("detections/3/url: %+v", fresh)
	}
	if missing := (client{t: t}).get(*fresh.Crop); missing.status != http.StatusNotFound {
		t.Errorf("a bundle holds no crops: %s", missing)
	}
}

func TestImagesBehindSignedURLs(t *testing.T) {
	bundle := recordedBundle(t)
	now := &clock{at: time.Date(2026, 8, 8, 0, 0, 0, 0, time.UTC)}
	options := Options{Now: now.now, URLLifetime: time.Minute}
	c := serveBundle(t, bundle, options).as("org-2")
	row := c.list("/api/v1/sequences/1/detections?limit=1&desc=false")[0]
	signed := row["url"].(string)
	key := row["bucket_key"].(string)
	anonymous := client{t: t, base: c.base}

	got := anonymous.get(signed)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "binary/octet-stream" ||
		got.header.Get("Content-Length") != fmt.Sprint(len(got.body)) || !bytes.Equal(got.body, picture(key, store.JPEG)) {
		t.Fatalf("image: %d, %v, %d bytes", got.status, got.header, len(got.body))
	}

	tampered := func(change func(u *url.URL, q url.Values)) string {
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		change(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	stranger := serveBundle(t, bundle, options).as("org-2")
	foreign, err := url.Parse(stranger.list("/api/v1/sequences/1/detections?limit=1&desc=false")[0]["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		c      client
		url    string
		status int
		code   string
	}{
		{"with Authorization", c, signed, 400, "InvalidArgument"},
		{"without signature", anonymous, tampered(func(_ *url.URL, q url.Values) { q.Del("Signature") }), 403, "AccessDenied"},
		{"without anything", anonymous, tampered(func(_ *url.URL, q url.Values) { clear(q) }), 403, "AccessDenied"},
		{"another signature", anonymous, tampered(func(_ *url.URL, q url.Values) { q.Set("Signature", "AAAA") }), 403, "SignatureDoesNotMatch"},
		{"a later expiry", anonymous, tampered(func(_ *url.URL, q url.Values) { q.Set("Expires", "99999999999") }), 403, "SignatureDoesNotMatch"},
		{"another key", anonymous, tampered(func(u *url.URL, _ url.Values) { u.Path += "x" }), 403, "SignatureDoesNotMatch"},
		{"another access key", anonymous, tampered(func(_ *url.URL, q url.Values) { q.Set("AWSAccessKeyId", "me") }), 403, "InvalidAccessKeyId"},
		{"signed by another server", anonymous, c.base + foreign.RequestURI(), 403, "SignatureDoesNotMatch"},
	} {
		tc.c.t = t
		wantXML(t, tc.name, tc.c.get(tc.url), tc.status, tc.code)
	}
	if got := anonymous.do(http.MethodPut, signed, "", "x"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %s", got)
	}

	now.advance(time.Minute - time.Millisecond)
	if got := anonymous.get(signed); got.status != http.StatusOK {
		t.Errorf("within its lifetime: %s", got)
	}
	now.advance(time.Second)
	wantXML(t, "expired", anonymous.get(signed), 403, "AccessDenied")

	var fresh struct{ URL string }
	must(t, json.Unmarshal(c.get(fmt.Sprintf("/api/v1/detections/%.0f/url", row["id"])).body, &fresh))
	if got := anonymous.get(fresh.URL); got.status != http.StatusOK {
		t.Errorf("asked for again: %s", got)
	}
}

func wantXML(t *testing.T, name string, got answered, status int, code string) {
	t.Helper()
	var body struct {
		Code    string
		Message string
	}
	if got.status != status || got.header.Get("Content-Type") != "application/xml" ||
		xml.Unmarshal(got.body, &body) != nil || body.Code != code || body.Message == "" {
		t.Errorf("%s: got %s, want %d with code %s", name, got, status, code)
	}
}

// holedBundle has one sequence of five frames: the third has no image, the fourth is a PNG with a key that needs escaping.
func holedBundle(t *testing.T) *store.Bundle {
	t.Helper()
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	must(t, w.sequence(json.RawMessage(`{"id":1,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00"}`)))
	for i, key := range []string{"1-a.jpg", "1-b.jpg", "1-c.jpg", "1-d é&?/%2F.png", "1-e.jpg"} {
		doc, err := json.Marshal(map[string]any{
			"id": i + 1, "camera_id": 1, "sequence_id": 1, "bucket_key": key, "bbox": "[]",
			"created_at": fmt.Sprintf("2026-08-01T10:00:0%d", i),
		})
		must(t, err)
		must(t, w.detection(doc))
	}
	w.gone["1-c.jpg"] = true
	w.png["1-d é&?/%2F.png"] = true
	return w.open(t)
}

func TestMissingImageShowsAtItsURLOnly(t *testing.T) {
	c := serveBundle(t, holedBundle(t), Options{}).as("org-2")
	rows := c.list("/api/v1/sequences/1/detections?desc=false")
	anonymous := client{t: t}
	for i, want := range []int{200, 200, 404, 200, 200} {
		got := anonymous.get(rows[i]["url"].(string))
		if got.status != want {
			t.Errorf("image %d: %s, want %d", i, got, want)
		}
		if want == http.StatusNotFound {
			wantXML(t, "missing", got, 404, "NoSuchKey")
		}
	}
	if got := anonymous.get(rows[3]["url"].(string)); got.header.Get("Content-Type") != "binary/octet-stream" || !isPNG(got.body) {
		t.Errorf("PNG answered as %s, %d bytes", got.header.Get("Content-Type"), len(got.body))
	}
}

func isPNG(data []byte) bool { return bytes.HasPrefix(data, []byte("\x89PNG")) }

// One range is answered as S3 does; what is no range, or several, is answered whole.
func TestRangeOfAnImage(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	row := c.list("/api/v1/sequences/1/detections?limit=1&desc=false")[0]
	whole := picture(row["bucket_key"].(string), store.JPEG)
	size := len(whole)
	for _, tc := range []struct {
		asked  string
		status int
		from   int
		to     int
	}{
		{"bytes=0-15", 206, 0, 16},
		{"bytes=10-10", 206, 10, 11},
		{"bytes=100-", 206, 100, size},
		{"bytes=-20", 206, size - 20, size},
		{"bytes=-999999", 206, 0, size},
		{fmt.Sprintf("bytes=%d-%d", size-1, size+1000), 206, size - 1, size},
		{"", 200, 0, size},
		{"bytes=0-1,3-4", 200, 0, size},
		{"bytes=9-3", 200, 0, size},
		{"bytes=a-b", 200, 0, size},
		{"bytes=-", 200, 0, size},
		{"bytes=5", 200, 0, size},
		{"lines=0-1", 200, 0, size},
		{fmt.Sprintf("bytes=%d-", size), 416, 0, 0},
		{"bytes=999999-1000000", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
	} {
		t.Run(tc.asked, func(t *testing.T) {
			got := (client{t: t}).with("Range", tc.asked).get(row["url"].(string))
			if tc.status == 416 {
				wantXML(t, tc.asked, got, 416, "InvalidRange")
				if !bytes.Contains(got.body, fmt.Appendf(nil, "<ActualObjectSize>%d</ActualObjectSize>", size)) {
					t.Errorf("without the object's size: %s", got)
				}
				return
			}
			if got.status != tc.status || !bytes.Equal(got.body, whole[tc.from:tc.to]) {
				t.Errorf("%d with %d bytes, want %d with those from %d to %d of %d", got.status, len(got.body), tc.status, tc.from, tc.to, size)
			}
			want := ""
			if tc.status == 206 {
				want = fmt.Sprintf("bytes %d-%d/%d", tc.from, tc.to-1, size)
			}
			if r := got.header.Get("Content-Range"); r != want {
				t.Errorf("Content-Range %q, want %q", r, want)
			}
		})
	}
}

func TestDamagedImageAnswers500(t *testing.T) {
	path, err := shared.recorded()
	must(t, err)
	damaged := filepath.Join(t.TempDir(), "damaged.bundle")
	must(t, os.CopyFS(damaged, os.DirFS(path)))
	shard := filepath.Join(damaged, "images", "000001.tar")
	must(t, os.Chmod(shard, 0o600))
	data, err := os.ReadFile(shard)
	must(t, err)
	for i := 512; i < len(data); i += 64 { // within every image
		data[i] ^= 0xff
	}
	must(t, os.WriteFile(shard, data, 0o600))

	c := serveBundle(t, openBundle(t, damaged), Options{}).as("org-2")
	signed := c.list("/api/v1/sequences/1/detections?limit=1")[0]["url"].(string)
	if got := (client{t: t}).get(signed); got.status != http.StatusInternalServerError || string(got.body) != "Internal Server Error" {
		t.Errorf("got %d and %d bytes, want 500 and none of the image", got.status, len(got.body))
	}
}
