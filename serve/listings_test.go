package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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
		{"very low risk keeps 0.6 and more", "org-2", "2026-08-01&limit=1000&risk_score=very_low", []int64{47, 39, 27, 6, 5, 14, 38}},
		{"administrators see every organization", "admin", "2026-08-01&limit=1000&risk_score=extreme", []int64{47, 39, 27, 6, 5, 33, 14, 38}},
		{"midnight is a date", "org-2", "2026-08-01T00:00:00&limit=2", []int64{47, 39}},
		{"limit and offset", "org-2", "2026-08-01&limit=2&offset=3", []int64{6, 5}},
		{"a limit beyond everything", "org-2", "2026-08-01&limit=100000&offset=5", []int64{14, 38}},
		{"a sequence over midnight belongs to the day it started on", "org-2", "2026-08-06&limit=1", []int64{20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := platform.as(tc.login)
			c.t = t
			if diff := cmp.Diff(tc.want, ids(c.list(fromDate+tc.query))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRiskScoreFiltersByConfidence(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	user := platform.as("org-2")
	all := user.list(fromDate + "2026-08-04&limit=1000")
	for class, threshold := range map[string]float64{"very_low": 0.6, "low": 0.45, "moderate": 0, "extreme": 0} {
		want := slices.DeleteFunc(slices.Clone(all), func(s map[string]any) bool {
			conf, ok := s["max_conf"].(float64)
			return ok && conf < threshold
		})
		got := user.list(fromDate + "2026-08-04&limit=1000&risk_score=" + class)
		if diff := cmp.Diff(ids(want), ids(got)); diff != "" {
			t.Errorf("%s: %s", class, diff)
		}
		if class == "very_low" && len(got) == len(all) {
			t.Error("the recorded day has nothing below 0.6: the test shows nothing")
		}
	}
	if got := platform.as("admin").list(fromDate + "2026-08-04&limit=1000&risk_score=very_low"); len(got) != 13 {
		t.Errorf("an administrator's listing is filtered: %d of 13", len(got))
	}
}

// riskWorld has four sequences of organization 2 on a day: of max_conf 0.3, 0.5 and 0.9, and the newest without any.
func riskWorld(t *testing.T) *world {
	t.Helper()
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	for i, conf := range []string{"0.3", "0.5", "0.9", "null"} {
		must(t, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T10:0%d:00","last_seen_at":"2026-08-01T11:00:00","is_wildfire":null,"max_conf":%s}`, i+1, i, conf)))
	}
	return w
}

// Contract A.2, A.3: what has no max_conf is kept; an administrator's listing is filtered on an old platform only, and not
// for one who belongs to no organization.
func TestRiskFilter(t *testing.T) {
	bundle := riskWorld(t).open(t)
	accounts := []Account{
		{Login: "user", Password: DefaultPassword, OrganizationID: 2},
		{Login: "admin", Password: DefaultPassword, Scope: ScopeAdmin, OrganizationID: 2},
		{Login: "all", Password: DefaultPassword, Scope: ScopeAdmin},
	}
	now := func() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }
	everything := []int64{4, 3, 2, 1}
	for _, tc := range []struct {
		login, class string
		old          bool
		want         []int64
	}{
		{"user", "very_low", false, []int64{4, 3}},
		{"user", "low", false, []int64{4, 3, 2}},
		{"user", "moderate", false, everything},
		{"admin", "very_low", false, everything},
		{"user", "very_low", true, []int64{4, 3}},
		{"admin", "very_low", true, []int64{4, 3}},
		{"all", "very_low", true, everything},
	} {
		c := serveBundle(t, bundle, Options{Accounts: accounts, OldPlatform: tc.old, Now: now}).as(tc.login)
		for _, path := range []string{fromDate + "2026-08-01&risk_score=", "/api/v1/sequences/unlabeled/latest?risk_score="} {
			if diff := cmp.Diff(tc.want, ids(c.list(path+tc.class))); diff != "" {
				t.Errorf("%s, old platform %v, %s%s: %s", tc.login, tc.old, path, tc.class, diff)
			}
		}
	}
}

func TestLatestUnlabeledAreFifteenAtMost(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	for i := 1; i <= 20; i++ {
		must(t, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T10:%02d:00","last_seen_at":"2026-08-01T11:00:00"}`, i, i)))
	}
	now := func() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }
	got := ids(serveBundle(t, w.open(t), Options{Now: now}).as("org-2").list("/api/v1/sequences/unlabeled/latest"))
	if want := []int64{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6}; !slices.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
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
