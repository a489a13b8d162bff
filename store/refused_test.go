package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestRefusedIsToldFromWhatEndsAWriter: callers go on with the others after ErrRefused, so the Writer must be able to.
func TestRefusedIsToldFromWhatEndsAWriter(t *testing.T) {
	ctx := t.Context()
	w := openWriterForTest(t, t.TempDir(), WriteOptions{})
	defer closeWriter(t, w)
	s := newSample(2, 2, 50)
	s.put(t, w)
	record := s.sequences[0]
	document := func(text string, args ...any) json.RawMessage { return json.RawMessage(fmt.Sprintf(text, args...)) }
	with := func(change func(r *SequenceRecord)) error {
		r := record
		r.Detections, r.Frames = append([]Detection(nil), r.Detections...), append([]Frame(nil), r.Frames...)
		change(&r)
		return w.PutSequence(ctx, r)
	}
	many := make([]Detection, maxDetections-1)
	for i := range many {
		many[i] = record.Detections[0]
		many[i].ID = int64(10_000_000 + i)
		many[i].Document = document(`{"id":%d,"bucket_key":"k","created_at":"2026-01-01T00:00:00"}`, many[i].ID)
	}
	for name, err := range map[string]error{
		"a key that is too long": with(func(r *SequenceRecord) { r.Frames[0].Key = strings.Repeat("k", maxKey+1) }),
		"a key that is signed":   with(func(r *SequenceRecord) { r.Frames[0].Key = "a?X-Amz-Signature=0" }),
		"a signed known field": with(func(r *SequenceRecord) {
			r.Sequence.Document = document(`{"id":%d,"camera_id":1,"started_at":"2026-01-01T00:00:00","is_wildfire":"signature=0"}`, r.Sequence.ID)
		}),
		"a document that is too large": with(func(r *SequenceRecord) {
			r.Detections[0].Document = document(`{"id":1,"note":"%s"}`, strings.Repeat("n", maxDocument))
		}),
		"no document":             with(func(r *SequenceRecord) { r.Sequence.Document = nil }),
		"another camera":          with(func(r *SequenceRecord) { c := *r.Camera; c.Document = document(`{"id":77}`); r.Camera = &c }),
		"more rows than are read": with(func(r *SequenceRecord) { r.Detections = append(many, many[:2]...) }),
		"more rows together":      with(func(r *SequenceRecord) { r.Detections, r.Frames = many, nil }),
		"a camera":                w.PutCameras(ctx, []Camera{*record.Camera, {ID: 9, Document: document(`{"id":9,"name":"signature=0"}`)}}),
		"an organization":         w.PutOrganizations(ctx, []Organization{{ID: 9, Document: document(`{"id":9,"name":"x-amz-0"}`)}}),
		"no image":                w.PutContent(ctx, 1, "k", JPEG, Content{}),
		"an image without a key":  w.PutContent(ctx, 1, "", JPEG, NewContent([]byte("x"))),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", name, err)
		}
	}
	held, err := w.Sequence(ctx, record.Sequence.ID)
	if err != nil || len(held.Detections) != 2 {
		t.Errorf("%d detections, %v: what was held is not as it was", len(held.Detections), err)
	}
	if err := w.PutSequence(ctx, s.sequences[1]); err != nil {
		t.Errorf("after refusals: %v", err)
	}
	missing := record
	missing.Frames = []Frame{{Key: "k", Image: Hash{1}}}
	if err := w.PutSequence(ctx, missing); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("an image that is not there: got %v, want no ErrRefused: it may come yet", err)
	}
}

func TestProblemIsRecordedWhateverItsID(t *testing.T) {
	ctx := t.Context()
	w := openWriterForTest(t, t.TempDir(), WriteOptions{})
	defer closeWriter(t, w)
	for name, test := range map[string]struct{ id, want string }{
		"plain":             {"41/1-20260801080000-0a1b2c3d.jpg", "41/1-20260801080000-0a1b2c3d.jpg"},
		"other characters":  {"41/tour n° 3.jpg", "41/tour n° 3.jpg"},
		"too long":          {"41/" + strings.Repeat("k", 2000), "41/" + strings.Repeat("k", 197) + "#"},
		"a URL":             {"41/https://storage.example/1.jpg", "41/https#"},
		"a signed key":      {"41/1.jpg?X-Amz-Signature=SECRET", "41/1.jpg#"},
		"a key of a secret": {"x-amz-SECRET", "#"},
		"no text":           {"41/\xff\xfe", "41/#"},
	} {
		t.Run(name, func(t *testing.T) {
			id := ProblemID("image", test.id)
			if ProblemID("image", id) != id || !strings.HasPrefix(id, test.want) || strings.Contains(id, "SECRET") {
				t.Errorf("id %q, want %q", id, test.want)
			}
			recorded := func() (ids []string) {
				for p, err := range w.Problems(ctx) {
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, p.ID)
				}
				return ids
			}
			if err := w.PutProblem(ctx, Problem{Class: Failed, Kind: "image", ID: test.id, Reason: "503"}); err != nil {
				t.Fatal(err)
			}
			if got := recorded(); len(got) != 1 || got[0] != id {
				t.Errorf("on record %q, want %q", got, id)
			}
			if err := w.ClearProblem(ctx, "image", test.id); err != nil || len(recorded()) > 0 {
				t.Errorf("%v, on record %q after it was cleared", err, recorded())
			}
		})
	}
	if a, b := ProblemID("image", strings.Repeat("k", 2000)), ProblemID("image", strings.Repeat("k", 2001)); a == b {
		t.Errorf("two ids are recorded as one: %q", a)
	}
}
