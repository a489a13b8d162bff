package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"pyrobundle/store"
)

// benchWorld has one day of sequences with frames of about 250 kB each, all different.
func benchWorld(b *testing.B, sequences, frames int) client {
	b.Helper()
	w := worldOf(store.Source{})
	must(b, w.organization(json.RawMessage(`{"id":2,"name":"o"}`)))
	must(b, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	w.images = map[string][]byte{}
	noise := rand.NewChaCha8([32]byte{1})
	id := 0
	for s := 1; s <= sequences; s++ {
		must(b, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T%02d:%02d:00","last_seen_at":"2026-08-01T23:59:00"}`, s, s/60, s%60)))
		for f := range frames {
			id++
			key := fmt.Sprintf("1-20260801100000-%08x.jpg", id)
			must(b, w.detection(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"pose_id":1,"sequence_id":%d,"bucket_key":"%s","crop_bucket_key":null,"bbox":"[(0.1,0.1,0.2,0.2,0.5)]",`+
				`"others_bboxes":null,"created_at":"2026-08-01T10:%02d:%02d"}`, id, s, key, f/60, f%60)))
			data := make([]byte, 250_000)
			_, _ = noise.Read(data)
			w.images[key] = append(picture(key, store.JPEG), data...)
		}
	}
	return serveBundle(b, w.open(b), Options{}).as("org-2")
}

// BenchmarkImages downloads signed URLs, 16 at once.
func BenchmarkImages(b *testing.B) {
	c := benchWorld(b, 10, 30)
	var urls []string
	for s := 1; s <= 10; s++ {
		for _, row := range c.list(fmt.Sprintf("/api/v1/sequences/%d/detections?limit=100", s)) {
			urls = append(urls, row["url"].(string))
		}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	b.SetBytes(250_000)
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := rand.Int(); p.Next(); i++ {
			resp, err := (&http.Client{Transport: transport}).Get(urls[i%len(urls)])
			if err != nil {
				b.Error(err)
				return
			}
			n, err := io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err != nil || n < 250_000 || resp.StatusCode != http.StatusOK {
				b.Errorf("%d: %d bytes, %v", resp.StatusCode, n, err)
				return
			}
		}
	})
}

// BenchmarkDetections asks for pages of 30 detections.
func BenchmarkDetections(b *testing.B) {
	c := benchWorld(b, 10, 30)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if got := c.get(fmt.Sprintf("/api/v1/sequences/%d/detections?limit=100", 1+i%10)); got.status != http.StatusOK {
			b.Fatal(got)
		}
	}
}

// BenchmarkListing asks for a day of 300 sequences of 30 detections.
func BenchmarkListing(b *testing.B) {
	w := worldOf(store.Source{})
	must(b, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	id := 0
	for s := 1; s <= 300; s++ {
		must(b, w.sequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":"2026-08-01T%02d:%02d:00","last_seen_at":"2026-08-01T23:59:00"}`, s, s/60, s%60)))
		for f := range 30 {
			id++
			key := fmt.Sprintf("1-20260801100000-%08x.jpg", id)
			w.gone[key] = true
			must(b, w.detection(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"pose_id":1,"sequence_id":%d,"bucket_key":"%s","crop_bucket_key":null,"bbox":"[(0.1,0.1,0.2,0.2,0.5)]",`+
				`"others_bboxes":null,"created_at":"2026-08-01T10:%02d:%02d"}`, id, s, key, f/60, f%60)))
		}
	}
	c := serveBundle(b, w.open(b), Options{}).as("org-2")
	b.ResetTimer()
	for b.Loop() {
		if got := c.list(fromDate + "2026-08-01&limit=1000"); len(got) != 300 {
			b.Fatal(len(got))
		}
	}
}
