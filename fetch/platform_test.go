package fetch_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
)

// fakePlatform is a platform that a test can change while it is read: what serve, which answers a finished bundle, cannot do.
// Its storage is another host, which refuses our token.
type fakePlatform struct {
	api, storage *httptest.Server

	mu            sync.Mutex
	organizations []map[string]any
	cameras       []map[string]any
	sequences     []map[string]any
	detections    map[int64][]map[string]any // by sequence, in the order of upload
	images        map[string][]byte          // by key
	requests      []string                   // path?query of the API, "image <key>" of the storage
	urls          int                        // signed so far

	scope        string
	organization int64
	noOffset     bool                                                     // as servers before June 2026
	checksImages bool                                                     // as servers before July 2026: 404 for a page with an image that is gone
	staleURLs    bool                                                     // listings sign URLs that have expired
	rate         httpapi.Limiter                                          // of our downloads; nil: unlimited
	before       func(w http.ResponseWriter, r *http.Request) (done bool) // sees each request of either host first
}

const (
	fakeLogin    = "sdis-07"
	fakePassword = "correct horse"
	adminLogin   = "admin"
	hookSecret   = "https://hooks.example/T0KEN"
)

func newFakePlatform(t *testing.T) *fakePlatform {
	t.Helper()
	p := &fakePlatform{
		detections:   map[int64][]map[string]any{},
		images:       map[string][]byte{},
		scope:        "user",
		organization: 2,
		organizations: []map[string]any{
			{"id": 2, "name": "org-alpha", "telegram_id": "12345", "slack_hook": hookSecret},
			{"id": 3, "name": "org-bravo", "telegram_id": nil, "slack_hook": nil},
		},
	}
	p.camera(1, 2)
	p.camera(2, 2)
	p.camera(6, 3)
	p.storage = httptest.NewServer(http.HandlerFunc(p.serveImage))
	p.api = httptest.NewServer(http.HandlerFunc(p.serveAPI))
	t.Cleanup(p.storage.Close)
	t.Cleanup(p.api.Close)
	return p
}

func (p *fakePlatform) camera(id, organization int64) {
	p.cameras = append(p.cameras, map[string]any{
		"id": id, "organization_id": organization, "name": fmt.Sprintf("tower-%02d", id), "lat": 44.1, "lon": 4.02,
		"angle_of_view": 54.2, "elevation": 350.0, "is_trustable": true, "last_active_at": "2026-08-01T00:00:00", "poses": []any{},
		"last_image_url": "https://storage.example/x.jpg?X-Amz-Signature=LEAK", "created_at": "2026-01-01T00:00:00",
	})
}

// started is when the first sequence of a day starts; the others follow a minute apart.
func started(day string, minute int) time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return t.Add(8*time.Hour + time.Duration(minute)*time.Minute)
}

func wire(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999") }

// sequence adds a sequence of frames with one box each, 30 s apart.
func (p *fakePlatform) sequence(id, camera int64, at time.Time, frames int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sequences = append(p.sequences, map[string]any{
		"id": id, "camera_id": camera, "pose_id": 1, "camera_azimuth": 120.4, "is_wildfire": nil, "sequence_azimuth": nil,
		"cone_angle": nil, "started_at": wire(at), "last_seen_at": wire(at), "max_conf": 0.8, "temporal_model_score": nil,
		"temporal_model_version": nil, "temporal_api_version": nil, "is_validated": false, "detections_count": 0,
	})
	for i := range frames {
		p.row(id, at.Add(time.Duration(i)*30*time.Second), "", "[(0.1,0.2,0.3,0.4,0.5)]")
	}
}

// row adds a detection; key empty: a new frame. It returns the key. Callers hold mu.
func (p *fakePlatform) row(sequence int64, at time.Time, key, bbox string) string {
	doc := p.find(sequence)
	id := sequence*10_000 + int64(len(p.detections[sequence])) + 1
	if key == "" {
		data := picture(id)
		hash := sha256.Sum256(data)
		key = fmt.Sprintf("%v-%s-%s.jpg", doc["camera_id"], at.Format("20060102150405"), hex.EncodeToString(hash[:4]))
		p.images[key] = data
	}
	p.detections[sequence] = append(p.detections[sequence], map[string]any{
		"id": id, "camera_id": doc["camera_id"], "pose_id": 1, "sequence_id": sequence, "bucket_key": key, "crop_bucket_key": nil,
		"bbox": bbox, "others_bboxes": nil, "created_at": wire(at), "recorded_at": wire(at.Add(-2 * time.Second)),
	})
	doc["detections_count"] = len(p.detections[sequence])
	doc["last_seen_at"] = wire(at)
	return key
}

// grow adds a frame behind the last one.
func (p *fakePlatform) grow(sequence int64, at time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.row(sequence, at, "", "[(0.1,0.2,0.3,0.4,0.5)]")
}

func (p *fakePlatform) remove(sequence int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sequences = slices.DeleteFunc(p.sequences, func(s map[string]any) bool { return s["id"] == sequence })
}

func (p *fakePlatform) find(id int64) map[string]any {
	for _, s := range p.sequences {
		if s["id"] == id {
			return s
		}
	}
	return nil
}

func (p *fakePlatform) set(id int64, field string, value any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.find(id)[field] = value
}

// keys are a sequence's distinct keys in order.
func (p *fakePlatform) keys(sequence int64) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []string
	for _, d := range p.detections[sequence] {
		if key := d["bucket_key"].(string); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// picture draws a JPEG that differs by seed.
func picture(seed int64) []byte {
	img := image.NewGray(image.Rect(0, 0, 16, 16))
	for i := range img.Pix {
		img.SetGray(i%16, i/16, color.Gray{Y: uint8(seed>>(i%24)) ^ uint8(i)})
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		panic(err)
	}
	return append(out.Bytes(), fmt.Sprint(seed)...) // distinct even where the pixels are not
}

// asked counts the requests whose text contains part, and forgets all.
func (p *fakePlatform) asked(part string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (p *fakePlatform) forgetRequests() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

func (p *fakePlatform) intercept(before func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = before
}

func (p *fakePlatform) enter(w http.ResponseWriter, r *http.Request, name string) (done bool) {
	p.mu.Lock()
	p.requests = append(p.requests, name)
	before := p.before
	p.mu.Unlock()
	return before != nil && before(w, r)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func detail(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]string{"detail": text})
}

func (p *fakePlatform) serveAPI(w http.ResponseWriter, r *http.Request) {
	if p.enter(w, r, r.URL.RequestURI()) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/api/v1")
	if path == "/login/creds" {
		user := r.FormValue("username")
		if r.Method != http.MethodPost || user != fakeLogin && user != adminLogin || r.FormValue("password") != fakePassword {
			detail(w, http.StatusUnauthorized, "Invalid credentials.")
			return
		}
		answer(w, http.StatusOK, map[string]string{"access_token": "token-of-" + user, "token_type": "bearer"})
		return
	}
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
	if user != fakeLogin && user != adminLogin {
		detail(w, http.StatusUnauthorized, "Not authenticated")
		return
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case path == "/login/validate":
		scope, organization := p.scope, p.organization
		if user == adminLogin {
			scope, organization = "admin", 1
		}
		answer(w, http.StatusOK, map[string]any{"sub": 2, "scopes": []string{scope}, "organization_id": organization})
	case path == "/cameras/":
		answer(w, http.StatusOK, slices.DeleteFunc(slices.Clone(p.cameras), func(c map[string]any) bool {
			return c["is_trustable"] == false && r.FormValue("include_non_trustable") != "true" || !p.visible(c["organization_id"].(int64))
		}))
	case path == "/organizations/" && user == adminLogin:
		answer(w, http.StatusOK, p.organizations)
	case path == "/organizations/":
		detail(w, http.StatusForbidden, "Incompatible token scope.")
	case path == "/sequences/all/fromdate":
		p.listSequences(w, r)
	case len(parts) == 2 && parts[0] == "sequences":
		if doc := p.find(number(parts[1])); doc == nil {
			detail(w, http.StatusNotFound, "Table Sequence has no corresponding entry.")
		} else if !p.visible(p.organizationOf(doc)) {
			detail(w, http.StatusForbidden, "Access forbidden.")
		} else {
			answer(w, http.StatusOK, doc)
		}
	case len(parts) == 3 && parts[0] == "sequences" && parts[2] == "detections":
		p.listDetections(w, r, number(parts[1]))
	case len(parts) == 3 && parts[0] == "detections" && parts[2] == "url":
		p.signAgain(w, number(parts[1]))
	default:
		detail(w, http.StatusNotFound, "Not Found")
	}
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func (p *fakePlatform) visible(organization int64) bool {
	return p.scope == "admin" || organization == p.organization
}

func (p *fakePlatform) organizationOf(sequence map[string]any) int64 {
	for _, c := range p.cameras {
		if c["id"] == sequence["camera_id"] {
			return c["organization_id"].(int64)
		}
	}
	return p.organization // as a camera that is hidden
}

func (p *fakePlatform) listSequences(w http.ResponseWriter, r *http.Request) {
	var found []map[string]any
	for _, s := range p.sequences {
		if strings.HasPrefix(s["started_at"].(string), r.FormValue("from_date")) && p.visible(p.organizationOf(s)) {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b map[string]any) int {
		return cmp.Compare(b["started_at"].(string), a["started_at"].(string))
	})
	answer(w, http.StatusOK, page(found, r.FormValue("offset"), r.FormValue("limit"), "15"))
}

func page[T any](rows []T, offset, limit, standard string) []T {
	from := min(int(number(offset)), len(rows))
	to := min(from+int(number(cmp.Or(limit, standard))), len(rows))
	return append([]T{}, rows[from:to]...)
}

func (p *fakePlatform) listDetections(w http.ResponseWriter, r *http.Request, id int64) {
	doc := p.find(id)
	switch limit := number(r.FormValue("limit")); {
	case doc == nil:
		detail(w, http.StatusNotFound, "Table Sequence has no corresponding entry.")
		return
	case limit < 1 || limit > 100:
		detail(w, http.StatusUnprocessableEntity, "less_than_equal")
		return
	}
	rows := slices.Clone(p.detections[id])
	descending := r.FormValue("desc") != "false"
	slices.SortStableFunc(rows, func(a, b map[string]any) int {
		if descending {
			a, b = b, a
		}
		return cmp.Compare(a["created_at"].(string), b["created_at"].(string))
	})
	offset := r.FormValue("offset")
	if p.noOffset {
		offset = "0"
	}
	rows = page(rows, offset, r.FormValue("limit"), "10")
	for i, row := range rows {
		key := row["bucket_key"].(string)
		if _, there := p.images[key]; p.checksImages && !there {
			detail(w, http.StatusNotFound, "File cannot be found on the bucket storage")
			return
		}
		rows[i] = maps.Clone(row)
		rows[i]["url"] = p.sign(key, p.staleURLs)
		rows[i]["crop_url"] = nil
	}
	answer(w, http.StatusOK, rows)
}

func (p *fakePlatform) signAgain(w http.ResponseWriter, id int64) {
	for _, row := range p.detections[id/10_000] {
		if row["id"] == id {
			answer(w, http.StatusOK, map[string]any{"url": p.sign(row["bucket_key"].(string), false), "crop_url": nil})
			return
		}
	}
	detail(w, http.StatusNotFound, "Table Detection has no corresponding entry.")
}

func (p *fakePlatform) sign(key string, stale bool) string {
	p.urls++
	url := fmt.Sprintf("%s/bucket-2/%s?X-Amz-Signature=c0ffee%d", p.storage.URL, key, p.urls)
	if stale {
		url += "&stale=1"
	}
	return url
}

func (p *fakePlatform) serveImage(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/bucket-2/")
	if p.enter(w, r, "image "+key) {
		return
	}
	p.mu.Lock()
	data, there := p.images[key]
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/xml")
	switch {
	case r.Header.Get("Authorization") != "":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>")
	case r.FormValue("X-Amz-Signature") == "" || r.FormValue("stale") != "":
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
	case !there:
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
	default:
		w.Header().Set("Content-Type", "image/jpeg")
		_, _ = w.Write(data)
	}
}

// dial logs in as the organization's user, with an administrator for the organizations' names.
func (p *fakePlatform) dial(t *testing.T) *platform.Client {
	t.Helper()
	client, err := platform.Dial(t.Context(), p.config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (p *fakePlatform) config() platform.Config {
	return platform.Config{
		BaseURL: p.api.URL,
		Account: platform.Account{Login: fakeLogin, Password: fakePassword},
		Admin:   platform.Account{Login: adminLogin, Password: fakePassword},
		Rate:    p.rate,
		Retry:   httpapi.Retry{Attempts: 2, Base: time.Millisecond, Max: 5 * time.Millisecond, For: 5 * time.Second},
	}
}
