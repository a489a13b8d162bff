package serve

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

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
	if got := c.get("/api/v1/sequences/1/detections?desc=true&limit=2&with_crop=maybe"); got.status != http.StatusOK {
		t.Errorf("nor is with_crop: %s", got)
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

func keys(m map[string]any) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
