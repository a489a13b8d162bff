package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// sample is deterministic content for a bundle: cameras, organizations, sequences with frames. Sequences differ in every respect
// that the format distinguishes.
type sample struct {
	organizations []Organization
	cameras       []Camera
	sequences     []SequenceRecord
	images        map[string][]byte // by bucket key
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// newSample makes n sequences of frames images each, every image of size bytes.
func newSample(n, frames, size int) *sample {
	s := &sample{images: map[string][]byte{}}
	for id := 1; id <= 2; id++ {
		s.organizations = append(s.organizations, must(ParseOrganization(fmt.Appendf(nil,
			`{"id":%d,"name":"SDIS %d é","telegram_id":"-100%d","slack_hook":"https://hooks.example/T0/B0/x"}`, id, id, id))))
	}
	for id := 1; id <= 3; id++ {
		s.cameras = append(s.cameras, must(ParseCamera(fmt.Appendf(nil,
			`{"elevation":350.0,"lat":44.1,"lon":4.02,"organization_id":%d,"name":"tower-%02d","angle_of_view":54.2,"is_trustable":true,"id":%d,`+
				`"last_active_at":"2026-11-23T01:09:42.608905","last_image":"x.jpg","created_at":"2026-11-23T01:09:42",`+
				`"poses":[{"azimuth":359.6,"patrol_id":0,"active":true,"id":1,"camera_id":%d,"image_url":null}],"last_image_url":"http://s.test/x?Signature=x"}`,
			1+id%2, id, id, id))))
	}
	for i := range n {
		s.sequences = append(s.sequences, s.sequence(int64(i+1), frames, size))
	}
	return s
}

func (s *sample) sequence(id int64, frames, size int) SequenceRecord {
	camera := s.cameras[int(id)%len(s.cameras)]
	organization := s.organizations[camera.OrganizationID-1]
	start := time.Date(2026, 7, 1, 22, 0, 0, 123456000, time.UTC).Add(time.Duration(id) * 47 * time.Minute)
	stamp := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000") }
	r := SequenceRecord{
		Sequence: must(ParseSequence(fmt.Appendf(nil,
			`{"camera_id":%d,"pose_id":null,"camera_azimuth":120.40,"is_wildfire":null,"started_at":"%s","last_seen_at":"%s","max_conf":0.5,"id":%d}`,
			camera.ID, stamp(start), stamp(start.Add(time.Minute)), id))),
		Camera: &camera, Organization: &organization,
		Coverage: Coverage{FetchedAt: start.Add(time.Hour), Limit: 30, Order: Ascending, Complete: true, Exhausted: true},
	}
	for f := range frames {
		at := start.Add(time.Duration(f) * 30 * time.Second)
		key := fmt.Sprintf("%d-%s-%08x.jpg", camera.ID, at.Format("20060102150405"), id*1000+int64(f))
		data := imageBytes(uint64(id)<<20|uint64(f), size)
		s.images[key] = data
		r.Frames = append(r.Frames, Frame{Key: key, Image: hashOf(data)})
		r.Detections = append(r.Detections, must(ParseDetection(fmt.Appendf(nil,
			`{"id":%d,"camera_id":%d,"pose_id":1,"sequence_id":%d,"bucket_key":"%s","bbox":"[(.1,.1,.2,.2,.%d)]","others_bboxes":null,"created_at":"%s","url":"http://s.test/%s?X-Amz-Signature=secret"}`,
			id*1000+int64(f), camera.ID, id, key, 1+f%9, stamp(at), key))))
	}
	return r
}

// put writes everything, in the order of a fetch.
func (s *sample) put(t testing.TB, w *Writer) {
	t.Helper()
	ctx := t.Context()
	if err := s.putTo(ctx, w); err != nil {
		t.Fatal(err)
	}
}

func (s *sample) putTo(ctx context.Context, w *Writer) error {
	if err := w.PutOrganizations(ctx, s.organizations); err != nil {
		return err
	}
	if err := w.PutCameras(ctx, s.cameras); err != nil {
		return err
	}
	for _, r := range s.sequences {
		for _, f := range r.Frames {
			if _, err := w.PutImage(ctx, r.OrganizationID(), f.Key, JPEG, s.images[f.Key]); err != nil {
				return err
			}
		}
		if err := w.PutSequence(ctx, r); err != nil {
			return err
		}
		if err := w.PutDay(ctx, DayRecord{Day: DayOf(r.Sequence.StartedAt.Time), ListedAt: time.Date(2026, 7, 5, 0, 0, 0, 0, time.UTC), Sequences: 1, Complete: true}); err != nil {
			return err
		}
	}
	return w.PutProblem(ctx, Problem{Class: Failed, Kind: "image", ID: "7-x.jpg", SequenceID: 7, Reason: "GET http://u:p@s.test/x?X-Amz-Signature=secret: 503"})
}

// imageBytes is reproducible noise: as incompressible as a JPEG.
func imageBytes(seed uint64, size int) []byte {
	data := make([]byte, size)
	x := seed*0x9E3779B97F4A7C15 + 1
	for i := range data {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		data[i] = byte(x >> 32)
	}
	return data
}

func hashOf(data []byte) Hash { return sha256.Sum256(data) }

func testSource() Source { return Source{URL: "https://alertapi.example", API: "pyronear_french"} }

// build writes a bundle and returns its path.
func (s *sample) build(t testing.TB, o WriteOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.bundle")
	w := openWriterForTest(t, path, o)
	s.put(t, w)
	closeWriter(t, w)
	return path
}

func openWriterForTest(t testing.TB, path string, o WriteOptions) *Writer {
	t.Helper()
	if o.Source == (Source{}) {
		o.Source = testSource()
	}
	if o.renewAfter == 0 {
		o.renewAfter = 50 // pages: in most tests more than once
	}
	w, err := OpenWriter(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // where the test has not
	return w
}

func closeWriter(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// alterIndex changes a bundle's index behind its back.
func alterIndex(t testing.TB, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(path, indexName), fileMode, indexOptions(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func openForTest(t testing.TB, path string) *Bundle {
	t.Helper()
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // it was only read
	return b
}

func verifyAll(t testing.TB, b *Bundle) Report {
	t.Helper()
	report, err := b.Verify(t.Context(), VerifyOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustBeSound(t testing.TB, path string) {
	t.Helper()
	b := openForTest(t, path)
	if report := verifyAll(t, b); len(report.Findings) > 0 {
		t.Fatalf("verify %s: %+v", path, report.Findings)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func digestOf(t testing.TB, path string) Hash {
	t.Helper()
	b := openForTest(t, path)
	d, err := b.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}
