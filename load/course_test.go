package load_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// TestTheScoreOfASequenceWithoutBoxesIsRefreshed, though it gets no annotation.
func TestTheScoreOfASequenceWithoutBoxesIsRefreshed(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.run(t, boxless())
	score := .8
	scored := boxless()
	scored.records[0].Sequence.TemporalModelScore = &score
	w.run(t, scored)
	if got := w.api.Sequences()[0].TemporalScore; got == nil || *got != .8 {
		t.Errorf("score = %v, want .8", got)
	}
}

// TestAFailedRefreshIsToldBesideMissingBoxes: one is worth another try, the other is not.
func TestAFailedRefreshIsToldBesideMissingBoxes(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.run(t, boxless())
	score := .8
	scored := boxless()
	scored.records[0].Sequence.TemporalModelScore = &score
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "PATCH", "/sequences/temporal-score") {
			http.Error(rw, "Traceback", http.StatusInternalServerError)
			return
		}
		api.ServeHTTP(rw, r)
	})
	result := w.run(t, scored)
	if result.Sequences.Failed != 1 || len(result.Problems) != 2 ||
		result.Problems[0].Class != store.Failed || !strings.HasPrefix(result.Problems[0].Reason, "refresh its temporal score: ") ||
		result.Problems[1].Class != store.Incomplete || result.Problems[1].Reason != "no usable boxes to annotate" {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
}

// TestUploadsCutShortAreNoFailures: neither by Ctrl-C nor by a target that is gone.
func TestUploadsCutShortAreNoFailures(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc, w *world){
		"Ctrl-C": func(cancel context.CancelFunc, _ *world) { cancel() },
		"a refused login": func(_ context.CancelFunc, w *world) {
			w.api.AddUser("admin", "another password now")
			w.api.ExpireTokens()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			bundle := &inMemory{}
			for i := range int64(20) {
				bundle.add(41+i, noon.Add(time.Duration(i)*time.Minute), drifting(6)...)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var uploads atomic.Int64
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if is(r, "POST", "/detections/") {
					switch n := uploads.Add(1); {
					case n == 40:
						end(cancel, w)
					case n > 40 && ctx.Err() != nil:
						_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that we leave
						<-r.Context().Done()
						return
					}
				}
				api.ServeHTTP(rw, r)
			})
			result, err := load.Run(ctx, bundle, w.client, w.config())
			if err == nil || result.Detections.Failed != 0 || result.Detections.Created == 0 {
				t.Errorf("nothing has failed, but %+v; error %v", result.Detections, err)
			}
		})
	}
}

// TestE34_AnotherToolsDetectionBehindA409IsForeign: the other tool uploads it with other boxes while this run is at it.
func TestE34_AnotherToolsDetectionBehindA409IsForeign(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	var once atomic.Bool
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "POST", "/detections/") {
			body, _ := io.ReadAll(r.Body) // of a test's own request
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte("\r\n\r\n4101\r\n")) && once.CompareAndSwap(false, true) {
				twin := r.Clone(r.Context())
				twin.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte("[0.12,"), []byte("[0.13,"))))
				api.ServeHTTP(httptest.NewRecorder(), twin)
			}
		}
		api.ServeHTTP(rw, r)
	})
	result := w.run(t, matrixBundle())
	if result.Foreign != 1 || len(w.api.Annotations()) != 0 || len(result.Problems) != 1 ||
		!strings.HasPrefix(result.Problems[0].Reason, "another tool's, left alone: detection 4101 is there with other boxes") {
		t.Errorf("foreign %d, %d annotations, problems %v", result.Foreign, len(w.api.Annotations()), result.Problems)
	}
	if want := (load.DetectionCounts{Total: 3, Created: 2, Existing: 1}); result.Detections != want {
		t.Errorf("detections = %+v, want %+v", result.Detections, want)
	}
}

// TestFramesWithoutImageAreOfTheClassOfTheirImages: those that a fetch may still bring are worth another try.
func TestFramesWithoutImageAreOfTheClassOfTheirImages(t *testing.T) {
	gone := store.Frame{Problem: "404 from the storage", Permanent: true}
	failed := store.Frame{Problem: "503 after 6 attempts"}
	for name, c := range map[string]struct {
		frames []store.Frame // in place of the bundle's; one with nothing stays
		want   []string
	}{
		"gone":   {[]store.Frame{gone, {}, {}}, []string{"incomplete: 1 of 3 frames have no image in the bundle: 404 from the storage"}},
		"failed": {[]store.Frame{{}, failed, {}}, []string{"failed: 1 of 3 frames have no image in the bundle: 503 after 6 attempts; fetch again to get them"}},
		"none":   {[]store.Frame{{}, {}, {}}, nil},
		"of both": {[]store.Frame{{}, failed, gone}, []string{
			"failed: 1 of 3 frames have no image in the bundle: 503 after 6 attempts; fetch again to get them",
			"incomplete: 1 of 3 frames have no image in the bundle: 404 from the storage",
		}},
		"all, one of them failed": {[]store.Frame{gone, gone, failed}, []string{
			"failed: 1 of 3 frames have no image in the bundle: 503 after 6 attempts; fetch again to get them",
			"incomplete: 2 of 3 frames have no image in the bundle: 404 from the storage",
			"failed: not created: it has no frame with an image",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			bundle := matrixBundle()
			for i, frame := range c.frames {
				if frame.Problem != "" {
					frame.Key = bundle.records[0].Frames[i].Key
					bundle.records[0].Frames[i] = frame
				}
			}
			var got []string
			for _, p := range w.run(t, bundle).Problems {
				got = append(got, string(p.Class)+": "+p.Reason)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("problems = %q, want %q", got, c.want)
			}
		})
	}
}

// A sequence that the platform lost before all of its images had come is not tried again by any fetch, so a load that called the
// rest failed would fail for ever.
func TestFramesOfASequenceThatIsGoneAreIncomplete(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := matrixBundle()
	record := &bundle.records[0]
	record.Coverage.Gone = true
	record.Frames[0] = store.Frame{Key: record.Frames[0].Key, Problem: "503 after 6 attempts"}
	want := "1 of 3 frames have no image in the bundle: its sequence is gone from the platform"
	got := w.run(t, bundle)
	if len(got.Problems) != 1 || got.Problems[0].Class != store.Incomplete || got.Problems[0].Reason != want {
		t.Errorf("problems = %+v, want one, incomplete: %s", got.Problems, want)
	}
	if got.Sequences.Successful == 0 || got.Sequences.Failed != 0 {
		t.Errorf("sequences %+v: the others of its frames are loaded", got.Sequences)
	}
}

// TestABriefPlanHoldsNoDocuments: they take memory with the size of the data.
func TestABriefPlanHoldsNoDocuments(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	for _, brief := range []bool{false, true} {
		dry := w.run(t, matrixBundle(), func(c *load.Config) { c.DryRun, c.BriefPlan = true, brief })
		if len(dry.Plan) != 1 || (dry.Plan[0].Document == nil) != brief || dry.Plan[0].Annotation != "create" {
			t.Errorf("brief %v: plan = %+v", brief, dry.Plan)
		}
	}
}

// TestALargeImageThatTheTargetRefusesCostsOneDetection: from 8 MiB on, the API answers 500 to an image, every time.
func TestALargeImageThatTheTargetRefusesCostsOneDetection(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := matrixBundle()
		large := bundle.records[0].Frames[1].Image
		bundle.images[large] = append(bundle.images[large], make([]byte, 8<<20)...)
		bundle.add(42, noon.Add(time.Hour), drifting(3)...)
		result := w.run(t, bundle)
		if want := (load.DetectionCounts{Total: 6, Created: 5, Failed: 1}); result.Detections != want {
			t.Errorf("detections = %+v, want %+v", result.Detections, want)
		}
		if want := (load.SequenceCounts{Total: 2, Successful: 1, Failed: 1, New: 1}); result.Sequences != want {
			t.Errorf("sequences = %+v, want %+v", result.Sequences, want)
		}
		if len(result.Problems) != 1 || !strings.HasPrefix(result.Problems[0].Reason, "1 of 3 detections not uploaded: detection 4101: POST /api/v1/detections/: 500") {
			t.Errorf("problems = %v", result.Problems)
		}
	})
}

// TestALaneAddedByHandKeepsItsAnnotation: its boxes are a person's, although no other trace of that person is left.
func TestALaneAddedByHandKeepsItsAnnotation(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	w.addLane(t)
	w.api.EditSequence(2, func(s *sandbox.SequenceRow) { s.IsManual = true })
	drawn := track(w.api.Detections(2)[0].ID, [4]float64{.5, .5, .9, .9})
	_, err := w.client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
		SequenceID: 2, ProcessingStage: annotation.StageReadyToAnnotate, Document: drawn,
	})
	if err != nil {
		t.Fatal(err)
	}
	before := w.state()
	if got := w.regenerate(t); got.Annotations.KeptReviewed != 1 || got.Annotations.Unchanged != 1 {
		t.Errorf("%+v", got.Annotations)
	}
	w.expect(t, "after annotate", before)
}
