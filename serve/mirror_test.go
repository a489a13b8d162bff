package serve

import (
	"fmt"
	"net/http"
	"testing"

	"pyrobundle/store"
)

// A client that mirrors everything it is shown, page by page, gets a bundle of the same digest.
func TestMirrorHasTheDigestOfWhatIsServed(t *testing.T) {
	for name, bundle := range map[string]*store.Bundle{"recorded": recordedBundle(t), "with a missing image": holedBundle(t)} {
		t.Run(name, func(t *testing.T) { WantSameDigestThroughHTTP(t, bundle) })
	}
}

// WantSameDigestThroughHTTP serves a bundle, mirrors it as an administrator, in small pages, and compares the digests. It is
// exported for the tests outside this package.
func WantSameDigestThroughHTTP(t *testing.T, bundle *store.Bundle) {
	t.Helper()
	stats, err := bundle.Stats(t.Context())
	must(t, err)
	if stats.Sequences == 0 || stats.Images == 0 {
		t.Fatalf("nothing to serve: %+v", stats)
	}
	mirror := mirrored(t, serveBundle(t, bundle, Options{}).as("admin"), stats.First, stats.Last)
	want, err := bundle.Digest(t.Context())
	must(t, err)
	got, err := mirror.Digest(t.Context())
	must(t, err)
	if got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// mirrored reads days of a platform over HTTP into a new bundle.
func mirrored(t *testing.T, c client, from, to store.Day) *store.Bundle {
	t.Helper()
	w := worldOf(store.Source{URL: c.base, API: c.get("/status").header.Get(SourceAPIHeader)})
	raw := func(path string) []byte {
		got := c.get(path)
		if got.status != http.StatusOK {
			t.Fatalf("GET %s: %s", path, got)
		}
		return got.body
	}
	must(t, each(raw("/api/v1/organizations/"), w.organization))
	must(t, each(raw("/api/v1/cameras/?include_non_trustable=true"), w.camera))
	for day := range store.Days(from, to) {
		for offset := 0; ; offset += 4 {
			page := raw(fmt.Sprintf("%s%s&limit=4&offset=%d", fromDate, day, offset))
			must(t, each(page, w.sequence))
			if string(page) == "[]" {
				break
			}
		}
	}
	w.images = map[string][]byte{}
	for _, id := range w.order {
		for offset := 0; ; offset += 7 {
			path := fmt.Sprintf("/api/v1/sequences/%d/detections?limit=7&offset=%d&desc=false", id, offset)
			page := raw(path)
			must(t, each(page, w.detection))
			if string(page) == "[]" {
				break
			}
			for _, row := range c.list(path) {
				key := row["bucket_key"].(string)
				if got := (client{t: t}).get(row["url"].(string)); got.status == http.StatusOK {
					w.images[key], w.png[key] = got.body, isPNG(got.body)
				} else {
					w.gone[key] = true
				}
			}
		}
	}
	return w.open(t)
}
