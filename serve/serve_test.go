package serve

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/store"
)

const fromDate = "/api/v1/sequences/all/fromdate?from_date="

func TestSequencesOfADay(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	for _, tc := range []struct {
		name  string
		login string
		query string
		want  []int64
	}{
		{"own organization, newest first", "org-2", "2026-08-01&limit=1000&risk_score=extreme", []int64{47, 39, 27, 6, 5, 14, 38}},
		{"no risk service, nothing filtered", "org-2", "2026-08-01&limit=1000", []int64{47, 39, 27, 6, 5, 14, 38}},
		{"very low risk keeps what is at 0.6 or above", "org-2", "2026-08-01&limit=1000&risk_score=very_low", []int64{47, 39, 27, 6, 5, 14, 38}},
		{"very low risk drops 0.521 and 0.592", "org-2", "2026-08-04&limit=1000&risk_score=very_low", nil},
		{"low risk keeps 0.521", "org-2", "2026-08-04&limit=1000&risk_score=low", nil},
		{"administrators see every organization", "admin", "2026-08-01&limit=1000&risk_score=extreme", []int64{47, 39, 27, 6, 5, 33, 14, 38}},
		{"midnight is a date", "org-2", "2026-08-01T00:00:00&limit=2", []int64{47, 39}},
		{"limit and offset", "org-2", "2026-08-01&limit=2&offset=3", []int64{6, 5}},
		{"a limit beyond everything", "org-2", "2026-08-01&limit=100000&offset=5", []int64{14, 38}},
		{"a sequence over midnight belongs to the day it started on", "org-2", "2026-08-06&limit=1", []int64{20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := platform.as(tc.login)
			c.t = t
			got := c.list(fromDate + tc.query)
			if tc.want != nil {
				if diff := cmp.Diff(tc.want, ids(got)); diff != "" {
					t.Error(diff)
				}
				return
			}
			threshold := map[bool]float64{true: 0.6, false: 0.45}[strings.Contains(tc.query, "very_low")]
			all := c.list(fromDate + "2026-08-04&limit=1000")
			kept := slices.DeleteFunc(slices.Clone(all), func(s map[string]any) bool {
				conf, ok := s["max_conf"].(float64)
				return ok && conf < threshold
			})
			if diff := cmp.Diff(ids(kept), ids(got)); diff != "" {
				t.Error(diff)
			}
			if len(kept) == len(all) && threshold == 0.6 {
				t.Error("the recorded day has nothing to filter: the case shows nothing")
			}
		})
	}
}

func TestDefaultLimitOfAListingIsFifteen(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	for i := 1; i <= 20; i++ {
		must(t, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T10:%02d:00","last_seen_at":"2026-08-01T11:00:00"}`, i, i)))
	}
	platform := serveBundle(t, w.open(t), Options{})
	got := platform.as("org-2").list(fromDate + "2026-08-01")
	if want := []int64{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6}; !slices.Equal(want, ids(got)) {
		t.Errorf("got %v, want %v", ids(got), want)
	}
}

// E19: paging over a listing by offset must meet every sequence once as long as nothing changes, ties included.
func TestE19_PagesOfTiedSequencesMeetEachOnce(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	for i := 1; i <= 7; i++ {
		must(t, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00"}`, i)))
	}
	c := serveBundle(t, w.open(t), Options{}).as("org-2")
	var met []int64
	for offset := range 4 {
		met = append(met, ids(c.list(fmt.Sprintf("%s2026-08-01&limit=2&offset=%d", fromDate, 2*offset)))...)
	}
	slices.Sort(met)
	if want := []int64{1, 2, 3, 4, 5, 6, 7}; !slices.Equal(want, met) {
		t.Errorf("got %v, want %v", met, want)
	}
}

func TestDetectionsOfASequence(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	ascending := ids(c.list("/api/v1/sequences/1/detections?limit=100&desc=false"))
	if len(ascending) != 34 || ascending[0] != 3 || ascending[1] != 6 || ascending[30] != 158 || ascending[33] != 171 {
		t.Fatalf("sequence 1 is recorded with 34 rows from 3 to 171: %v", ascending)
	}
	descending := slices.Clone(ascending)
	slices.Reverse(descending)
	for _, tc := range []struct {
		query string
		want  []int64
	}{
		{"", descending[:10]},
		{"?desc=true&limit=3", descending[:3]},
		{"?desc=false", ascending[:10]},
		{"?desc=false&limit=5&offset=30", ascending[30:34]},
		{"?offset=30&limit=100", descending[30:]},
		{"?offset=34", []int64{}},
		{"?offset=99999999999999999999", []int64{}},
		{"?limit=1&limit=2", descending[:2]},
	} {
		if diff := cmp.Diff(tc.want, ids(c.list("/api/v1/sequences/1/detections"+tc.query))); diff != "" {
			t.Errorf("%s: %s", tc.query, diff)
		}
	}
}

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

func TestCamerasHideWhatIsNotTrustable(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	for _, tc := range []struct {
		login, query string
		want         []int64
	}{
		{"org-2", "", []int64{1, 3, 4, 5}},
		{"org-2", "?include_non_trustable=true", []int64{1, 2, 3, 4, 5}},
		{"org-3", "?include_non_trustable=1", []int64{6, 7}},
		{"admin", "?include_non_trustable=false", []int64{1, 3, 4, 5, 6, 7, 8}},
		{"admin", "?include_non_trustable=true", []int64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"org-1", "", []int64{}},
	} {
		if diff := cmp.Diff(tc.want, ids(platform.as(tc.login).list("/api/v1/cameras/"+tc.query))); diff != "" {
			t.Errorf("%s %s: %s", tc.login, tc.query, diff)
		}
	}
}

func TestDetectionListing(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	all := ids(platform.as("admin").list("/api/v1/detections/"))
	if len(all) != 265 || !slices.IsSorted(all) {
		t.Errorf("%d detections, sorted %v; want the 265 recorded ones by id", len(all), slices.IsSorted(all))
	}
	bravo := platform.as("org-3").list("/api/v1/detections/")
	for _, d := range bravo {
		if camera := d["camera_id"].(float64); camera != 6 && camera != 7 {
			t.Errorf("organization 3 sees a detection of camera %v", camera)
		}
	}
	if len(bravo) == 0 || len(bravo) == len(all) {
		t.Errorf("organization 3 sees %d of %d detections", len(bravo), len(all))
	}
}

// A list of more than listBuffer bytes streams; it must be the same list.
func TestLongListingStreams(t *testing.T) {
	const rows = 6000
	w := worldOf(store.Source{})
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	for _, s := range []int{1, 2} {
		must(t, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00"}`, s)))
	}
	start := time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)
	for i := 1; i <= rows; i++ { // ids of the two sequences alternate
		must(t, w.detection(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"pose_id":1,"sequence_id":%d,"bucket_key":"k","crop_bucket_key":null,"bbox":"[(0.1,0.1,0.2,0.2,0.5)]",`+
			`"others_bboxes":"[(0.709,0.648,0.742,0.682,0.261),(0.709,0.648,0.742,0.682,0.261)]","created_at":"%s"}`,
			i, 1+i%2, start.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05"))))
	}
	w.gone["k"] = true
	c := serveBundle(t, w.open(t), Options{}).as("org-2")
	got := c.get("/api/v1/detections/")
	if len(got.body) < listBuffer || got.header.Get("Content-Length") != "" || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d bytes with Content-Length %q: want more than %d, streamed", len(got.body), got.header.Get("Content-Length"), listBuffer)
	}
	var items []map[string]any
	must(t, json.Unmarshal(got.body, &items))
	for i, id := range ids(items) {
		if id != int64(i+1) {
			t.Fatalf("item %d is detection %d", i, id)
		}
	}
	if len(items) != rows {
		t.Errorf("%d items, want %d", len(items), rows)
	}
}

func TestLatestUnlabeled(t *testing.T) {
	now := &clock{at: time.Date(2026, 8, 7, 19, 0, 0, 0, time.UTC)}
	platform := serveBundle(t, recordedBundle(t), Options{Now: now.now})
	got := platform.as("admin").list("/api/v1/sequences/unlabeled/latest")
	started := ""
	for i, s := range got {
		if s["is_wildfire"] != nil || s["started_at"].(string) <= "2026-08-06T19:00:00" {
			t.Errorf("%v is labelled or old", s)
		}
		if i > 0 && s["started_at"].(string) > started {
			t.Errorf("%v is newer than the one before it", s)
		}
		started = s["started_at"].(string)
	}
	if len(got) < 3 {
		t.Errorf("%d sequences, want those of the last day", len(got))
	}
	if own := platform.as("org-4").list("/api/v1/sequences/unlabeled/latest"); len(own) >= len(got) || len(own) == 0 {
		t.Errorf("organization 4 sees %d of %d", len(own), len(got))
	}
	now.advance(30 * 24 * time.Hour)
	if later := platform.as("admin").list("/api/v1/sequences/unlabeled/latest"); len(later) != 0 {
		t.Errorf("a month later: %v", ids(later))
	}
}

func TestTokensExpire(t *testing.T) {
	now := &clock{at: time.Date(2026, 8, 8, 0, 0, 0, 0, time.UTC)}
	c := serveBundle(t, recordedBundle(t), Options{Now: now.now, TokenLifetime: time.Hour}).as("org-2")
	now.advance(time.Hour - time.Second)
	if got := c.get("/api/v1/login/validate"); got.status != http.StatusOK {
		t.Fatalf("within its lifetime: %s", got)
	}
	now.advance(time.Second)
	if got := c.get("/api/v1/login/validate"); got.status != http.StatusUnauthorized || !strings.Contains(string(got.body), "Token has expired.") {
		t.Errorf("after its lifetime: %s", got)
	}
}

func TestOwnAccountsReplaceTheDefaultOnes(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{Accounts: []Account{
		{Login: "everything", Password: DefaultPassword},
		{Login: "alpha", Password: DefaultPassword, OrganizationID: 2},
		{Login: "agent", Password: DefaultPassword, Scope: ScopeAgent, OrganizationID: 2},
	}})
	for login, want := range map[string]string{
		"everything": `{"sub":1,"scopes":["admin"],"organization_id":0}`,
		"alpha":      `{"sub":2,"scopes":["user"],"organization_id":2}`,
		"agent":      `{"sub":3,"scopes":["agent"],"organization_id":2}`,
	} {
		if got := string(platform.as(login).get("/api/v1/login/validate").body); got != want {
			t.Errorf("%s: %s, want %s", login, got, want)
		}
	}
	refused := platform.do(http.MethodPost, "/api/v1/login/creds", "application/x-www-form-urlencoded",
		url.Values{"username": {"admin"}, "password": {DefaultPassword}}.Encode())
	if refused.status != http.StatusUnauthorized {
		t.Errorf("the default account answers beside own ones: %s", refused)
	}
}

func TestDefaultAccountsCoverOrganizationsKnownByCamerasAlone(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":7,"name":"seven"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":5,"name":"c"}`)))
	accounts, err := DefaultAccounts(t.Context(), w.open(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []Account{
		{"admin", DefaultPassword, ScopeAdmin, 0},
		{"org-5", DefaultPassword, ScopeUser, 5},
		{"org-7", DefaultPassword, ScopeUser, 7},
	}
	if diff := cmp.Diff(want, accounts); diff != "" {
		t.Error(diff)
	}
}

func TestMultipartLogin(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	body := "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nadmin\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n" + DefaultPassword + "\r\n--x--\r\n"
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data; boundary=x", body); got.status != http.StatusOK {
		t.Errorf("multipart form: %s", got)
	}
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data", body); got.status != http.StatusBadRequest {
		t.Errorf("multipart form without boundary: %s", got)
	}
}

func TestMissingTrailingSlashRedirects(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	for path, want := range map[string]string{
		"/api/v1/organizations":                       "/api/v1/organizations/",
		"/api/v1/cameras?include_non_trustable=true":  "/api/v1/cameras/?include_non_trustable=true",
		"/api/v1/sequences/1/":                        "/api/v1/sequences/1",
		"/api/v1/sequences/1/detections/?limit=3&x=y": "/api/v1/sequences/1/detections?limit=3&x=y",
	} {
		got := c.get(path)
		if got.status != http.StatusTemporaryRedirect || got.header.Get("Location") != c.base+want || len(got.body) != 0 {
			t.Errorf("%s: %s to %q, want 307 to %s", path, got, got.header.Get("Location"), c.base+want)
		}
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
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "image/jpeg" ||
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
	if got := anonymous.get(rows[3]["url"].(string)); got.header.Get("Content-Type") != "image/png" {
		t.Errorf("PNG answered as %s", got.header.Get("Content-Type"))
	}
}

func TestOldPlatform(t *testing.T) {
	c := serveBundle(t, holedBundle(t), Options{OldPlatform: true}).as("org-2")
	const missing = `{"detail":"File cannot be found on the bucket storage"}`
	for _, query := range []string{"", "?desc=false&limit=3", "?desc=true&limit=3", "?desc=false&limit=5&offset=4"} {
		if got := c.get("/api/v1/sequences/1/detections" + query); got.status != http.StatusNotFound || string(got.body) != missing {
			t.Errorf("%s: %s, want 404 for the frame without image", query, got)
		}
	}
	if got := ids(c.list("/api/v1/sequences/1/detections?desc=false&limit=2")); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("smaller pages work: %v", got)
	}
	if got := ids(c.list("/api/v1/sequences/1/detections?desc=true&limit=2&offset=2")); !slices.Equal(got, []int64{5, 4}) {
		t.Errorf("offset is ignored: %v, want the start", got)
	}
	if got := c.get("/api/v1/sequences/1/detections?desc=true&limit=2&offset=-3"); got.status != http.StatusOK {
		t.Errorf("an unknown parameter is not validated: %s", got)
	}
	if row := c.list("/api/v1/sequences/1/detections?desc=false&limit=1&with_crop=true")[0]; slices.Contains(keys(row), "crop_url") {
		t.Errorf("crops did not exist: %v", row)
	}
	if got := c.get("/api/v1/detections/3/url"); got.status != http.StatusNotFound || string(got.body) != missing {
		t.Errorf("URL of a missing image: %s", got)
	}
	if got := c.get("/api/v1/detections/1/url"); got.status != http.StatusOK || strings.Contains(string(got.body), "crop_url") {
		t.Errorf("URL: %s", got)
	}
}

func TestOldPlatformAdministratorListsOwnOrganizationOnly(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{OldPlatform: true, Accounts: []Account{
		{Login: "bravo", Password: DefaultPassword, Scope: ScopeAdmin, OrganizationID: 3},
		{Login: "all", Password: DefaultPassword, Scope: ScopeAdmin},
	}})
	own := platform.as("bravo").list(fromDate + "2026-08-04&limit=1000")
	for _, s := range own {
		if camera := s["camera_id"].(float64); camera != 6 && camera != 7 {
			t.Errorf("sequence of camera %v", camera)
		}
	}
	if all := platform.as("all").list(fromDate + "2026-08-04&limit=1000"); len(all) != 13 || len(own) == 0 || len(own) == 13 {
		t.Errorf("%d of its own, %d for the one without organization; want some of 13, and 13", len(own), len(all))
	}
	if got := platform.as("bravo").get("/api/v1/sequences/1"); got.status != http.StatusOK {
		t.Errorf("single objects of others: %s", got)
	}
}

func TestSequenceOfAnUnknownCameraIsForAdministratorsOnly(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(t, w.sequence(json.RawMessage(`{"id":1,"camera_id":9,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00"}`)))
	must(t, w.detection(json.RawMessage(`{"id":1,"camera_id":9,"sequence_id":1,"bucket_key":"9-a.jpg","bbox":"[]","created_at":"2026-08-01T10:00:00"}`)))
	platform := serveBundle(t, w.open(t), Options{})
	user, admin := platform.as("org-2"), platform.as("admin")
	if got := user.list(fromDate + "2026-08-01"); len(got) != 0 {
		t.Errorf("a user lists it: %v", got)
	}
	if got := user.get("/api/v1/sequences/1/detections"); got.status != http.StatusForbidden {
		t.Errorf("a user reads it: %s", got)
	}
	rows := admin.list("/api/v1/sequences/1/detections")
	if got := (client{t: t}).get(rows[0]["url"].(string)); got.status != http.StatusOK {
		t.Errorf("its image: %s", got)
	}
}

// What older servers did not answer is not invented, and number literals stay as they were: else the digest of a bundle
// fetched from here would differ.
func TestDocumentsAreVerbatim(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c","lat":44.10}`)))
	must(t, w.sequence(json.RawMessage(`{"id":1,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00","max_conf":0.50,"future_field":7}`)))
	must(t, w.detection(json.RawMessage(`{"id":1,"camera_id":1,"sequence_id":1,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T10:00:00"}`)))
	c := serveBundle(t, w.open(t), Options{}).as("admin")
	for path, want := range map[string]string{
		fromDate + "2026-08-01":   `[{"id":1,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00","max_conf":0.50,"future_field":7}]`,
		"/api/v1/cameras/1":       `{"id":1,"organization_id":2,"name":"c","lat":44.10,"last_active_at":null,"last_image":null,"last_image_url":null}`,
		"/api/v1/organizations/2": `{"id":2,"name":"o","slack_hook":null,"telegram_id":null}`,
		"/api/v1/detections/1":    `{"id":1,"camera_id":1,"sequence_id":1,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T10:00:00"}`,
	} {
		if got := c.get(path); string(got.body) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", path, got.body, want)
		}
	}
	if got := c.get("/status").header; got.Get(SourceAPIHeader) != "" {
		t.Errorf("%s of a bundle that does not know: %q", SourceAPIHeader, got.Get(SourceAPIHeader))
	}
}

func TestLogHoldsNoSecretsAndUnknownRoutesLoudly(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := serveBundle(t, recordedBundle(t), Options{Log: log}).as("org-2")
	signed := c.list("/api/v1/sequences/1/detections?limit=1&api_key=hunter2")[0]["url"].(string)
	(client{t: t}).get(signed)
	c.get("/api/v1/alerts/unlabeled/latest")

	mu.Lock()
	defer mu.Unlock()
	text := out.String()
	u, err := url.Parse(signed)
	must(t, err)
	for _, secret := range []string{DefaultPassword, c.token, "Signature", u.Query().Get("Signature"), "hunter2"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "/api/v1/alerts/unlabeled/latest") || !strings.Contains(text, "limit=1") {
		t.Errorf("the log lacks what it should say:\n%s", text)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPanicsAndErrorsAnswer500(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	handler.routes = []route{
		{http.MethodGet, "/panic", nil, func(*server, *call) error { panic("document") }},
		{http.MethodGet, "/error", nil, func(*server, *call) error { return errors.New("index is damaged") }},
		{http.MethodGet, "/document", nil, func(_ *server, c *call) error { return c.document(json.RawMessage(`"text"`)) }},
		{http.MethodGet, "/list", nil, func(_ *server, c *call) error {
			answer := c.list()
			if err := answer.add(json.RawMessage(`{"id":1}`)); err != nil {
				return err
			}
			return answer.add(json.RawMessage(`[1]`))
		}},
	}
	c := serveHandler(t, handler)
	for _, path := range []string{"/panic", "/error", "/document", "/list"} {
		got := c.get(path)
		if got.status != http.StatusInternalServerError || string(got.body) != "Internal Server Error" ||
			got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", path, got)
		}
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

// An answer that fails after it has begun must not look like a whole one.
func TestErrorInAStreamCutsTheConnection(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	handler.routes = []route{{http.MethodGet, "/list", nil, func(_ *server, c *call) error {
		answer := c.list()
		item := json.RawMessage(`{"text":"` + strings.Repeat("x", listBuffer) + `"}`)
		if err := answer.add(item); err != nil {
			return err
		}
		return answer.add(json.RawMessage(`null`))
	}}}
	platform := httptest.NewServer(handler)
	t.Cleanup(platform.Close)
	resp, err := http.Get(platform.URL + "/list")
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("the answer was whole")
	}
}

func TestConcurrentReaders(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	c := platform.as("admin")
	want := map[string]string{}
	paths := []string{
		fromDate + "2026-08-04&limit=100", "/api/v1/sequences/29", "/api/v1/detections/539", "/api/v1/detections/",
		"/api/v1/cameras/", "/api/v1/organizations/",
	}
	for _, path := range paths {
		want[path] = string(c.get(path).body)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range paths {
				path := paths[(i+j)%len(paths)]
				if got := string(c.get(path).body); got != want[path] {
					t.Errorf("%s: another answer under load", path)
				}
				c.list("/api/v1/sequences/29/detections?limit=100")
			}
		})
	}
	group.Wait()
}

// open writes the world into a bundle of its own and opens it.
func (w *world) open(t testing.TB) *store.Bundle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle")
	must(t, w.write(path))
	return openBundle(t, path)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func keys(m map[string]any) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
