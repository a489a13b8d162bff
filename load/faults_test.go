package load_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

func is(r *http.Request, method, path string) bool {
	return r.Method == method && strings.HasPrefix(r.URL.Path, "/api/v1"+path)
}

// TestTimesReadInAnotherZoneAreStillFound: an importer sent times without a zone, and the server's process took them for
// its own, a day apart.
func TestTimesReadInAnotherZoneAreStillFound(t *testing.T) {
	for _, shift := range []time.Duration{-14 * time.Hour, 14 * time.Hour} {
		w := newWorld(t, annotation.SeedEra)
		w.loadMatrix(t)
		w.api.EditSequence(1, func(s *sandbox.SequenceRow) { s.RecordedAt = s.RecordedAt.Add(shift) })
		w.api.ResetCounters()
		w.run(t, matrixBundle())
		if n := w.api.RequestsTo("POST /api/v1/sequences/"); n != 0 {
			t.Errorf("%s: it was not recognised but created %d times", shift, n)
		}
	}
}

// TestASequenceWithoutImagesIsNotCreated: annotators could do nothing with it.
func TestASequenceWithoutImagesIsNotCreated(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := matrixBundle()
	for i := range bundle.records[0].Frames {
		bundle.records[0].Frames[i] = store.Frame{Key: bundle.records[0].Frames[i].Key, Problem: "gone", Permanent: true}
	}
	result := w.run(t, bundle)
	w.expect(t, "after the load", nothing)
	if result.Sequences.Failed != 1 || len(result.Problems) != 2 || result.Problems[0].Class != store.Incomplete ||
		result.Problems[0].String() != "sequence 41: 3 of 3 frames have no image in the bundle: gone" ||
		result.Problems[1].String() != "sequence 41: not created: it has no frame with an image" || result.Problems[1].Class != store.Incomplete {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
}

// TestE13_EveryCallIsTriedAgain: each route answers 503 the first time, before it acts.
func TestE13_EveryCallIsTriedAgain(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		var refused sync.Map
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if _, again := refused.LoadOrStore(r.Method+r.URL.Path, true); !again {
				http.Error(rw, "try later", http.StatusServiceUnavailable)
				return
			}
			api.ServeHTTP(rw, r)
		})
		w.run(t, matrixBundle())
		w.expect(t, "after the load", whole)
	})
}

// TestE11_AnAnnotationIsWithheldUntilAllDetectionsAreThere, and the next run completes it.
func TestE11_AnAnnotationIsWithheldUntilAllDetectionsAreThere(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "POST", "/detections/") {
				body, _ := io.ReadAll(r.Body) // of a test's own request
				if bytes.Contains(body, []byte("\r\n\r\n4101\r\n")) {
					rw.Header().Set("Content-Type", "application/json")
					rw.WriteHeader(http.StatusInternalServerError)
					_, _ = io.WriteString(rw, `{"detail":"Data was corrupted during upload"}`)
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, matrixBundle())
		if want := (load.SequenceCounts{Total: 1, Failed: 1}); result.Sequences != want {
			t.Errorf("sequences = %+v, want %+v", result.Sequences, want)
		}
		if want := (load.DetectionCounts{Total: 3, Created: 2, Failed: 1}); result.Detections != want {
			t.Errorf("detections = %+v, want %+v", result.Detections, want)
		}
		if len(w.api.Annotations()) != 0 || result.Annotations.Failed != 1 {
			t.Errorf("annotations: %v, counted %+v", w.api.Annotations(), result.Annotations)
		}
		if len(result.Problems) != 1 || result.Problems[0].Class != store.Failed ||
			!strings.HasPrefix(result.Problems[0].String(), "sequence 41: 1 of 3 detections not uploaded: detection 4101: POST /api/v1/detections/: 500") ||
			!strings.HasSuffix(result.Problems[0].Reason, "run load again to complete it") {
			t.Errorf("problems = %v", result.Problems)
		}

		w.intercept(nil)
		if again := w.run(t, matrixBundle()); again.Sequences.Updated != 1 || again.Annotations.Created != 1 {
			t.Errorf("again: %+v, %+v", again.Sequences, again.Annotations)
		}
		w.expect(t, "after the second load", whole)
	})
}

// TestE12_ASequenceOfOneDetectionFailsLikeAnyOther.
func TestE12_ASequenceOfOneDetectionFailsLikeAnyOther(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	bundle.add(41, noon, "[(.1,.1,.3,.3,.5)]")
	clear(bundle.images)
	result := w.run(t, bundle)
	if result.Sequences.Failed != 1 || len(result.Problems) != 1 ||
		!strings.Contains(result.Problems[0].Reason, "1 of 1 detections not uploaded: detection 4100: find its image: not in the bundle") {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
	if n := len(w.api.Annotations()); n != 0 {
		t.Errorf("%d annotations", n)
	}
}

// TestE10_OneFailureIsCountedAndTheOthersAreDone.
func TestE10_OneFailureIsCountedAndTheOthersAreDone(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	bundle.add(41, noon, drifting(2)...)
	bundle.add(42, noon, drifting(2)...).Camera = nil
	bundle.add(43, noon, drifting(2)...)
	result := w.run(t, bundle)
	if want := (load.SequenceCounts{Total: 3, Successful: 2, Failed: 1, New: 2}); result.Sequences != want {
		t.Errorf("sequences = %+v, want %+v", result.Sequences, want)
	}
	if len(result.Problems) != 1 || result.Problems[0].SequenceID != 42 || result.Problems[0].Class != store.Failed {
		t.Errorf("problems = %v", result.Problems)
	}
}

// TestE16_OneLoginIsEnough, and an expired token is replaced in mid-run (G8).
func TestE16_OneLoginIsEnough(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	for i := range int64(8) {
		bundle.add(41+i, noon, drifting(3)...)
	}
	w.run(t, bundle)
	if n := w.api.RequestsTo("POST /api/v1/auth/login"); n != 0 {
		t.Errorf("%d logins beside the one of Dial", n)
	}
	w.api.ExpireTokens()
	w.run(t, bundle)
	if n := w.api.RequestsTo("POST /api/v1/auth/login"); n != 1 {
		t.Errorf("%d logins after the token expired, want 1", n)
	}
}

// TestE20_ASequenceThatHasGrownIsCompleted: a live sequence was loaded when it was short.
func TestE20_ASequenceThatHasGrownIsCompleted(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		short, long := &inMemory{}, &inMemory{}
		short.add(41, noon, drifting(3)...)
		long.add(41, noon, drifting(8)...).Sequence.LastSeenAt.Time = noon.Add(time.Hour)
		w.run(t, short)
		result := w.run(t, long)
		if result.Sequences.Updated != 1 || result.Detections.Created != 5 || result.Annotations.Updated != 1 {
			t.Errorf("%+v, %+v, %+v", result.Sequences, result.Detections, result.Annotations)
		}
		if boxes := len(w.api.Annotations()[0].Tracks[0].Boxes); boxes != 8 {
			t.Errorf("the annotation has %d boxes, want 8", boxes)
		}
		if len(result.Drift) != 1 || !strings.HasPrefix(result.Drift[0].String(), "sequence 41: last_seen_at is ") {
			t.Errorf("drift = %v", result.Drift)
		}
		if narrow := w.run(t, short); narrow.Sequences.Unchanged != 1 {
			t.Errorf("a narrower bundle changed it: %+v", narrow.Sequences)
		}
	})
}

// TestE22_OtherThresholdsUpdateWithoutSendingThem: the API answers 500 to a PATCH with thresholds.
func TestE22_OtherThresholdsUpdateWithoutSendingThem(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		for name, run := range map[string]func(...func(*load.Config)) load.Result{
			"load":     func(c ...func(*load.Config)) load.Result { return w.run(t, matrixBundle(), c...) },
			"annotate": func(c ...func(*load.Config)) load.Result { return w.regenerate(t, c...) },
		} {
			result := run(func(c *load.Config) { c.Thresholds.Confidence = .55 })
			if result.Annotations.Updated != 1 || len(w.api.Annotations()[0].Tracks[0].Boxes) != 1 {
				t.Errorf("%s: %+v, %+v", name, result.Annotations, w.api.Annotations()[0].Tracks)
			}
			if result = run(); result.Annotations.Updated != 1 {
				t.Errorf("%s back: %+v", name, result.Annotations)
			}
			w.expect(t, name, whole)
		}
	})
}

// TestE23_AFailedLookIsNeverTakenForNothing: not of the sequences, the detections, or the annotation.
func TestE23_AFailedLookIsNeverTakenForNothing(t *testing.T) {
	for name, path := range map[string]string{
		"sequences": "/sequences/", "detections": "/detections/", "annotation": "/annotations/sequences/",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.SeedEra)
			w.loadMatrix(t)
			w.edit(t, func(a *sandbox.AnnotationRow) { a.Stage = "imported" }) // so that the annotation is to be updated
			before := w.state()
			w.api.ResetCounters()
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if is(r, "GET", path) {
					http.Error(rw, "Traceback", http.StatusInternalServerError)
					return
				}
				api.ServeHTTP(rw, r)
			})
			result := w.run(t, matrixBundle())
			if result.Sequences.Failed != 1 || len(result.Problems) != 1 || result.Problems[0].Class != store.Failed {
				t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
			}
			w.intercept(nil)
			w.expect(t, "after the load", before)
			if n := w.api.Writes(); n != 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// TestE26_ASplitSequenceIsLeftAlone even where its first lane is not there: adding it would show the same smoke twice.
func TestE26_ASplitSequenceIsLeftAlone(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.addLane(t)
		w.api.ResetCounters()
		result := w.run(t, matrixBundle())
		if result.Foreign != 1 || w.api.Writes() != 0 || len(result.Problems) != 1 || result.Problems[0].Class != store.Incomplete {
			t.Errorf("foreign %d, %d writes, problems %v", result.Foreign, w.api.Writes(), result.Problems)
		}
		if insisted := w.run(t, matrixBundle(), func(c *load.Config) { c.RepairForeign = true }); insisted.Sequences.New != 1 {
			t.Errorf("insisted: %+v", insisted.Sequences)
		}
	})
}

// TestALaneAddedByHandIsNoSplit: an annotator who adds an object does not make the sequence another tool's.
func TestALaneAddedByHandIsNoSplit(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	w.addLane(t)
	w.api.EditSequence(2, func(s *sandbox.SequenceRow) { s.IsManual = true })
	if result := w.run(t, matrixBundle()); result.Foreign != 0 || result.Sequences.Unchanged != 1 {
		t.Errorf("foreign %d, %+v", result.Foreign, result.Sequences)
	}
}

// TestRepairForeignCompletesAndRemovesNothing.
func TestRepairForeignCompletesAndRemovesNothing(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.api.EditDetection(w.detection(t, 4101), func(d *sandbox.DetectionRow) { d.Predictions, d.Others = nil, d.Predictions })
		w.drop(t, 4102)
		w.dropAnnotation(t)
		result := w.run(t, matrixBundle(), func(c *load.Config) { c.RepairForeign = true })
		if result.Foreign != 0 || result.Sequences.Updated != 1 || result.Detections.Created != 1 {
			t.Errorf("foreign %d, %+v, %+v", result.Foreign, result.Sequences, result.Detections)
		}
		w.expect(t, "after the repair", otherBoxesRegenerated)
	})
}

// TestE30_ADryRunTakesTheSameWay: it reads, compares and generates as a run does, and the plan comes true.
func TestE30_ADryRunTakesTheSameWay(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := matrixBundle()
		dry := w.run(t, bundle, func(c *load.Config) { c.DryRun = true })
		if len(dry.Plan) != 1 || dry.Plan[0].Document == nil {
			t.Fatalf("plan = %+v", dry.Plan)
		}
		boxes := dry.Plan[0].Document.Tracks[0].Boxes
		if len(boxes) != 2 || boxes[0].DetectionID != -4100 || boxes[1].DetectionID != -4101 {
			t.Errorf("boxes = %v, want those of detections 4100 and 4101, which have no ids yet", boxes)
		}
		wet := w.run(t, bundle)
		if wet.Sequences != dry.Sequences || wet.Annotations != dry.Annotations || wet.Detections != dry.Detections {
			t.Errorf("planned %+v, %+v, %+v; done %+v, %+v, %+v", dry.Sequences, dry.Annotations, dry.Detections,
				wet.Sequences, wet.Annotations, wet.Detections)
		}
	})
}

// TestADryRunFromListingsNeedsNoImages: import --dry-run has rows without images, and reads no image.
func TestADryRunFromListingsNeedsNoImages(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := matrixBundle()
	clear(bundle.images)
	for i := range bundle.records[0].Frames {
		bundle.records[0].Frames[i].Image = store.Hash{}
	}
	dry := w.run(t, bundle, func(c *load.Config) { c.DryRun, c.AssumeImages = true, true })
	if len(dry.Plan) != 1 || dry.Plan[0].Detections != 3 || dry.Plan[0].Annotation != "create" || len(dry.Problems) != 0 {
		t.Errorf("plan %+v, problems %v", dry.Plan, dry.Problems)
	}
	if _, err := load.Run(t.Context(), bundle, w.client, func() load.Config {
		c := w.config()
		c.AssumeImages = true
		return c
	}()); err == nil {
		t.Error("images were assumed in a run that writes")
	}
}

// An image that is proven gone is no image that a fetch would bring: import --dry-run plans without it, as import loads without it.
func TestADryRunFromListingsAssumesNoImagesThatAreGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone       []int // frames whose image is proven gone
		sequence   bool  // is gone from the platform, and has no image
		detections int
		problems   []string
	}{
		"an image": {[]int{1}, false, 2, []string{"1 of 3 frames have no image in the bundle: 404 from the storage"}},
		"all images": {[]int{0, 1, 2}, false, 0, []string{
			"3 of 3 frames have no image in the bundle: 404 from the storage", "not created: it has no frame with an image",
		}},
		"the sequence": {nil, true, 0, []string{
			"3 of 3 frames have no image in the bundle: its sequence is gone from the platform", "not created: it has no frame with an image",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			bundle := matrixBundle()
			record := &bundle.records[0]
			record.Coverage.Gone = c.sequence
			for i := range record.Frames {
				record.Frames[i].Image = store.Hash{}
			}
			for _, i := range c.gone {
				record.Frames[i].Problem, record.Frames[i].Permanent = "404 from the storage", true
			}
			dry := w.run(t, bundle, func(c *load.Config) { c.DryRun, c.AssumeImages = true, true })
			var reasons []string
			for _, p := range dry.Problems {
				reasons = append(reasons, p.Reason)
				if p.Class != store.Incomplete {
					t.Errorf("%s: %s, want incomplete", p.Reason, p.Class)
				}
			}
			if dry.Plan[0].Detections != c.detections || !slices.Equal(reasons, c.problems) {
				t.Errorf("plan %+v, problems %q, want %d detections, %q", dry.Plan, reasons, c.detections, c.problems)
			}
		})
	}
}

// TestE34_A409IsResolvedByLooking.
func TestE34_A409IsResolvedByLooking(t *testing.T) {
	t.Run("somebody uploads the same detection meanwhile", func(t *testing.T) {
		w := newWorld(t, annotation.Newest)
		var once atomic.Bool
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "POST", "/detections/") && once.CompareAndSwap(false, true) {
				body, _ := io.ReadAll(r.Body) // of a test's own request
				twin := r.Clone(r.Context())
				twin.Body = io.NopCloser(bytes.NewReader(body))
				api.ServeHTTP(httptest.NewRecorder(), twin)
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, matrixBundle())
		if want := (load.DetectionCounts{Total: 3, Created: 2, Existing: 1}); result.Detections != want {
			t.Errorf("detections = %+v, want %+v", result.Detections, want)
		}
		w.expect(t, "after the load", whole)
	})
	t.Run("the sequence is removed meanwhile", func(t *testing.T) {
		eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
			w := newWorld(t, generation)
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if is(r, "POST", "/detections/") {
					gone := httptest.NewRequest(http.MethodDelete, "/api/v1/sequences/1?force=true", http.NoBody)
					gone.Header = http.Header{"Authorization": r.Header["Authorization"]}
					api.ServeHTTP(httptest.NewRecorder(), gone)
				}
				api.ServeHTTP(rw, r)
			})
			result := w.run(t, matrixBundle())
			if len(result.Problems) != 1 || !strings.Contains(result.Problems[0].Reason, "its sequence was removed from the target meanwhile") {
				t.Errorf("problems = %v", result.Problems)
			}
		})
	})
	t.Run("the sequence lies outside the days looked at", func(t *testing.T) {
		eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
			w := newWorld(t, generation)
			w.loadMatrix(t)
			w.api.EditSequence(1, func(s *sandbox.SequenceRow) { s.RecordedAt = noon.AddDate(0, 0, -9) })
			result := w.run(t, matrixBundle())
			if result.Sequences.Unchanged != 1 || len(result.Drift) != 1 || !strings.Contains(result.Drift[0].Reason, "recorded_at is ") {
				t.Errorf("%+v, drift %v, problems %v", result.Sequences, result.Drift, result.Problems)
			}
		})
	})
	t.Run("another camera's sequence outside the days looked at", func(t *testing.T) {
		eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
			w := newWorld(t, generation)
			w.prepareAlien(t)
			w.api.EditSequence(1, func(s *sandbox.SequenceRow) { s.RecordedAt = noon.AddDate(0, 0, -9) })
			result := w.run(t, matrixBundle())
			if result.Sequences.Failed != 1 || !strings.Contains(result.Problems[0].Reason, "another sequence has this id") {
				t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
			}
		})
	})
	t.Run("somebody annotates meanwhile", func(t *testing.T) {
		eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
			w := newWorld(t, generation)
			var once atomic.Bool
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if is(r, "POST", "/annotations/sequences/") && once.CompareAndSwap(false, true) {
					body, _ := io.ReadAll(r.Body) // of a test's own request
					twin := r.Clone(r.Context())
					twin.Body = io.NopCloser(bytes.NewReader(body))
					api.ServeHTTP(httptest.NewRecorder(), twin)
					w.api.EditAnnotation(1, review)
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				api.ServeHTTP(rw, r)
			})
			result := w.run(t, matrixBundle())
			if result.Annotations.KeptReviewed != 1 {
				t.Errorf("annotations = %+v", result.Annotations)
			}
			w.expect(t, "after the load", reviewed)
		})
	})
}

// TestAPersonWhoBeginsMeanwhileIsNotOverwritten: the list showed a machine's annotation, the reading right before the
// update shows a person's.
func TestAPersonWhoBeginsMeanwhileIsNotOverwritten(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "GET", "/detections/") { // after the list, before the reading
				w.api.EditAnnotation(1, review)
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, matrixBundle(), func(c *load.Config) { c.Thresholds.Confidence = .55 })
		if result.Annotations.KeptReviewed != 1 {
			t.Errorf("annotations = %+v", result.Annotations)
		}
		w.expect(t, "after the load", reviewed)
		if len(result.Kept) != 1 || !strings.Contains(result.Kept[0].Reason, `stage seq_annotation_done, contributors ["ana"]`) {
			t.Errorf("kept = %v", result.Kept)
		}
	})
}
