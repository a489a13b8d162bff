package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// many is a sequence of n detections from a number on, each with a key of its own and no image.
func many(t *testing.T, from, n int) SequenceRecord {
	t.Helper()
	r := newSample(1, 1, 300).sequences[0]
	r.Detections, r.Frames = nil, nil
	for i := from; i < from+n; i++ {
		r.Detections = append(r.Detections, must(ParseDetection(fmt.Appendf(nil,
			`{"id":%d,"camera_id":%d,"bucket_key":"k%d","created_at":"2026-07-01T00:00:00"}`, i+1, r.Sequence.CameraID, i))))
	}
	return r
}

// TestSequenceThatOutgrowsTheFormatIsRefused: joined with what is stored, it would be one that nobody can read again.
func TestSequenceThatOutgrowsTheFormatIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	if err := w.PutSequence(t.Context(), many(t, 0, 60_000)); err != nil {
		t.Fatal(err)
	}
	if err := w.PutSequence(t.Context(), many(t, 60_000, 60_000)); !errors.Is(err, ErrRefused) {
		t.Errorf("120,000 detections in two halves: %v, want %v", err, ErrRefused)
	}
	if err := w.PutSequence(t.Context(), many(t, 60_000, 40_000)); err != nil {
		t.Errorf("100,000 detections: %v", err)
	}
	closeWriter(t, w)
	mustBeSound(t, path)
	r, err := openForTest(t, path).Sequence(t.Context(), 1)
	if err != nil || len(r.Detections) != maxDetections {
		t.Errorf("%d detections, %v", len(r.Detections), err)
	}
}

// TestMergeRefusesASequenceThatOutgrowsTheFormat: each bundle has a half of it.
func TestMergeRefusesASequenceThatOutgrowsTheFormat(t *testing.T) {
	t.Parallel()
	var from []string
	for _, start := range []int{0, 60_000} {
		w := openWriterForTest(t, filepath.Join(t.TempDir(), "b"), WriteOptions{})
		if err := w.PutSequence(t.Context(), many(t, start, 60_000)); err != nil {
			t.Fatal(err)
		}
		closeWriter(t, w)
		from = append(from, w.Path())
	}
	path := filepath.Join(t.TempDir(), "merged")
	if _, err := Merge(t.Context(), path, from, MergeOptions{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "sequence 1") {
		t.Errorf("%v, want %v that names the sequence", err, ErrRefused)
	}
	mustBeSound(t, path)
}

// TestRefusedSequenceLeavesTheWriterAtWork: what others put at that moment is not refused with it.
func TestRefusedSequenceLeavesTheWriterAtWork(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	s := newSample(2, 1, 300)
	large := s.sequences[0]
	f := large.Frames[0]
	// Under an organization that is not the camera's: to its own the key is new, so there is something to write before the record.
	if _, err := w.PutImage(t.Context(), 0, f.Key, JPEG, s.images[f.Key]); err != nil {
		t.Fatal(err)
	}
	note := strings.Repeat("a b ", 1<<17)
	for i := range 130 {
		large.Detections = append(large.Detections, must(ParseDetection(fmt.Appendf(nil,
			`{"id":%d,"bucket_key":%q,"created_at":"2026-07-01T00:00:00","note":%q}`, 100_000+i, f.Key, note))))
	}
	if err := w.PutSequence(t.Context(), large); !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want %v", err, ErrRefused)
	}
	s.put(t, w)
	closeWriter(t, w)
	mustBeSound(t, path)
}

// TestLongProblemOfAFrameIsCut: it may hold what a server answered, and the record must stay readable.
func TestLongProblemOfAFrameIsCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	r := newSample(1, 1, 300).sequences[0]
	r.Frames = []Frame{{Key: r.Frames[0].Key, Problem: strings.Repeat("<é>", maxDocument)}}
	if err := w.PutSequence(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	mustBeSound(t, path)
}

// TestDeepDocumentCostsNothing: a few kilobytes of nested arrays around a long text would be read once for each level.
func TestDeepDocumentCostsNothing(t *testing.T) {
	t.Parallel()
	path := newSample(1, 1, 300).build(t, WriteOptions{})
	deep := `{"id":1,"x":` + strings.Repeat("[", 9900) + `"` + strings.Repeat("a", 900_000) + `"` + strings.Repeat("]", 9900) + `}`
	edit(t, path, func(tx *txn) error { return tx.put(bucketCameras, idKey(1), []byte(deep)) })
	b := openForTest(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // canonical JSON of it takes longer
	defer cancel()
	if _, err := b.Digest(ctx); !errors.Is(err, ErrCorrupt) {
		t.Errorf("digest: %v, want %v", err, ErrCorrupt)
	}
	unreadable := 0
	for d, err := range Diff(ctx, b, b, DiffOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Sign == Unreadable {
			unreadable++
		}
	}
	if unreadable != 1 {
		t.Errorf("diff finds %d unreadable objects, want the camera", unreadable)
	}
}

// TestDigestAndDiffEndWithTheirContext: also within one sequence.
func TestDigestAndDiffEndWithTheirContext(t *testing.T) {
	t.Parallel()
	w := openWriterForTest(t, filepath.Join(t.TempDir(), "b"), WriteOptions{})
	r := many(t, 0, 3)
	if err := w.PutSequence(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	b := openForTest(t, w.Path())
	record, err := b.Sequence(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &comparison{ctx: ctx}
	if _, _, err := d.detections(record.Detections, record.Detections[1:]); !errors.Is(err, context.Canceled) {
		t.Errorf("diff of detections: %v, want %v", err, context.Canceled)
	}
	if _, err := b.Digest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("digest: %v, want %v", err, context.Canceled)
	}
}
