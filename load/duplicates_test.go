package load_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// secondRow makes another row of a detection of sequence 41, as a POST that was repeated blindly does in the older
// generation, and returns its id.
func (w *world) secondRow(t *testing.T, alert int64, boxes ...annotate.Box) int64 {
	t.Helper()
	frame := alert - 4100
	row, err := w.client.CreateDetection(t.Context(), annotation.NewDetection{
		SequenceID: 1, AlertAPIID: alert, RecordedAt: noon.Add(time.Duration(frame) * 30 * time.Second),
		Predictions: annotate.Predict(boxes), Image: []byte("\xff\xd8\xff\xe0again"), FileName: "again.jpg", ContentType: "image/jpeg",
	})
	if err != nil {
		t.Fatal(err)
	}
	return row.ID
}

var (
	boxOf4100 = annotate.Box{X1: .1, Y1: .1, X2: .3, Y2: .3, Confidence: .5}
	boxOf4101 = annotate.Box{X1: .12, Y1: .1, X2: .32, Y2: .3, Confidence: .6}
)

// track is a document of one box.
func track(detection int64, box [4]float64) annotate.Document {
	return annotate.Document{Tracks: []annotate.Track{{IsSmoke: true, Boxes: []annotate.TrackBox{{DetectionID: detection, XYXYN: box}}}}}
}

// twiceAndReviewed is the matrix's sequence with a second row of detection 4101, to which a person's work refers.
func twiceAndReviewed(t *testing.T, work func(*sandbox.AnnotationRow)) *world {
	t.Helper()
	w := newWorld(t, annotation.SeedEra)
	w.loadMatrix(t)
	w.dropAnnotation(t)
	second := w.secondRow(t, 4101, boxOf4101)
	_, err := w.client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
		SequenceID: 1, ProcessingStage: annotation.StageReadyToAnnotate, Document: track(second, boxOf4101.XYXYN()),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.edit(t, work)
	return w
}

// TestOverwriteKeepsTheRowsThatRestoreNeeds: also over later runs of any kind.
func TestOverwriteKeepsTheRowsThatRestoreNeeds(t *testing.T) {
	w := twiceAndReviewed(t, func(a *sandbox.AnnotationRow) {
		a.Stage, a.Contributors, a.Tracks[0].SmokeType = "annotated", []string{"ana"}, "wildfire"
	})
	undo := w.overwrite(t).UndoFile
	if undo == "" {
		t.Fatal("nothing was overwritten")
	}
	w.overwrite(t)
	w.loadMatrix(t)
	if n := len(w.api.Detections(0)); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
	if notes, err := load.Restore(t.Context(), w.client, undo, nil); err != nil || len(notes) != 0 {
		t.Errorf("restore: %v, %v", notes, err)
	}
	if got := w.api.Annotations()[0]; got.Stage != "annotated" || got.Tracks[0].SmokeType != "wildfire" {
		t.Errorf("after restore: %+v", got)
	}
}

// TestWorkThatWouldLeaveNoTraceIsNotOverwrittenBesideASecondRow: a later run would take the rows for nobody's, and remove
// what restore needs.
func TestWorkThatWouldLeaveNoTraceIsNotOverwrittenBesideASecondRow(t *testing.T) {
	for name, c := range map[string]struct {
		work   func(*sandbox.AnnotationRow)
		change func(*load.Config)
	}{
		"without contributors": {func(a *sandbox.AnnotationRow) { a.Unsure = true }, func(*load.Config) {}},
		"by an empty one, which is posted anew": {
			func(a *sandbox.AnnotationRow) { a.Contributors = []string{"ana"} },
			func(c *load.Config) { c.NoPredictions, c.Thresholds.Confidence = load.NoPredictionsEmpty, .9 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := twiceAndReviewed(t, c.work)
			w.api.ResetCounters()
			result := w.run(t, matrixBundle(), func(cfg *load.Config) { cfg.Existing = load.ExistingOverwrite; c.change(cfg) })
			if result.Annotations.KeptReviewed != 1 || w.api.Writes() != 0 || len(result.Kept) != 1 ||
				!strings.Contains(result.Kept[0].Reason, "a detection has two rows there") {
				t.Errorf("%+v, %d writes, kept %v", result.Annotations, w.api.Writes(), result.Kept)
			}
		})
	}
}

// TestAPersonWhoBeginsMeanwhileKeepsTheRows: the list showed the equal annotation of a machine.
func TestAPersonWhoBeginsMeanwhileKeepsTheRows(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	w.loadMatrix(t)
	w.secondRow(t, 4101, boxOf4101)
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "GET", "/detections/") { // after the list, before the reading
			w.api.EditAnnotation(1, review)
		}
		api.ServeHTTP(rw, r)
	})
	if result := w.run(t, matrixBundle()); result.Annotations.KeptReviewed != 1 || len(w.api.Detections(0)) != 4 {
		t.Errorf("%+v, %d rows, want 4", result.Annotations, len(w.api.Detections(0)))
	}
}

// TestRepairForeignRemovesNoSecondRow either.
func TestRepairForeignRemovesNoSecondRow(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	w.loadMatrix(t)
	w.secondRow(t, 4101, boxOf4101)
	w.addLane(t)
	rows := len(w.api.Detections(0))
	w.run(t, matrixBundle(), func(c *load.Config) { c.RepairForeign = true })
	if n := len(w.api.Detections(0)); n != rows {
		t.Errorf("%d rows, want %d", n, rows)
	}
}

// TestAnEmptyAnnotationIsNotFilledFromASecondRow: the API generates by itself for a document without boxes, and two rows of
// one detection are two boxes to it.
func TestAnEmptyAnnotationIsNotFilledFromASecondRow(t *testing.T) {
	single := &inMemory{}
	single.add(41, noon, "[(.1,.1,.3,.3,.5)]", "[]")
	empty := func(c *load.Config) { c.NoPredictions, c.Thresholds.MinClusterSize = load.NoPredictionsEmpty, 2 }
	skip := func(c *load.Config) { c.NoPredictions, c.Thresholds.MinClusterSize = load.NoPredictionsSkip, 2 }

	t.Run("which goes first", func(t *testing.T) {
		for _, annotated := range []bool{false, true} {
			w := newWorld(t, annotation.SeedEra)
			w.run(t, single, skip)
			w.secondRow(t, 4100, boxOf4100)
			if annotated { // by the API itself, from both rows
				_, err := w.client.CreateAnnotation(t.Context(), annotation.NewAnnotation{SequenceID: 1, ProcessingStage: annotation.StageReadyToAnnotate})
				if err != nil {
					t.Fatal(err)
				}
			}
			if result := w.run(t, single, empty); result.Sequences.Updated != 1 || len(w.api.Detections(0)) != 2 || len(w.api.Annotations()[0].Tracks) != 0 {
				t.Errorf("annotated %v: %+v, problems %v, %d rows", annotated, result.Sequences, result.Problems, len(w.api.Detections(0)))
			}
			w.api.ResetCounters()
			if again := w.run(t, single, empty); again.Sequences.Unchanged != 1 || w.api.Writes() != 0 {
				t.Errorf("again: %+v, %d writes", again.Sequences, w.api.Writes())
			}
		}
	})
	for name, run := range map[string]func(*world) load.Result{
		"which has to stay": func(w *world) load.Result { return w.run(t, single, empty) },
		"in annotate":       func(w *world) load.Result { return w.regenerate(t, empty) },
		"in a dry run":      func(w *world) load.Result { return w.run(t, single, empty, func(c *load.Config) { c.DryRun = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.SeedEra)
			w.run(t, single, skip)
			w.secondRow(t, 4100, boxOf4101) // no copy: another box
			w.api.ResetCounters()
			result := run(w)
			if result.Sequences.Failed != 1 || w.api.Writes() != 0 || len(result.Problems) != 1 || result.Problems[0].Class != store.Incomplete ||
				!strings.Contains(result.Problems[0].Reason, "a detection has two rows on the target") {
				t.Errorf("%+v, %d writes, problems %v", result.Sequences, w.api.Writes(), result.Problems)
			}
		})
	}
	t.Run("nor is one left that the thresholds contradict", func(t *testing.T) {
		w := newWorld(t, annotation.SeedEra)
		w.run(t, single, skip)
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "POST", "/annotations/sequences/") { // somebody adds a row in the last instant
				w.intercept(nil)
				w.secondRow(t, 4100, boxOf4100)
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, single, empty)
		if result.Sequences.Failed != 1 || len(w.api.Annotations()) != 0 ||
			!strings.Contains(result.Problems[0].Reason, "the target made 1 tracks of it, where 0 were sent") {
			t.Errorf("%+v, problems %v, annotations %v", result.Sequences, result.Problems, w.api.Annotations())
		}
		if again := w.run(t, single, empty); again.Sequences.Updated != 1 {
			t.Errorf("again: %+v, problems %v", again.Sequences, again.Problems)
		}
	})
}

// TestSecondRowsGoWhereThereIsNoAnnotation: a sequence without usable boxes never gets one that could refer to them.
func TestSecondRowsGoWhereThereIsNoAnnotation(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	w.run(t, boxless())
	w.secondRow(t, 4101)
	if rows := w.api.Detections(1); len(rows) != 4 {
		t.Fatalf("%d rows, want 4", len(rows))
	}
	result := w.run(t, boxless())
	if rows := w.api.Detections(1); len(rows) != 3 || len(result.Problems) != 1 || result.Problems[0].Reason != "no usable boxes to annotate" {
		t.Errorf("%d rows, problems %v, want 3 rows and what the sequence lacks", len(rows), result.Problems)
	}
}

// TestAnAnnotationThatStaysIsMentioned: without usable boxes there is nothing to replace it by.
func TestAnAnnotationThatStaysIsMentioned(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	result := w.run(t, matrixBundle(), func(c *load.Config) { c.Thresholds.Confidence = .99 })
	if len(result.Problems) != 1 || result.Problems[0].Reason != "no usable boxes to annotate; the annotation that it has stays" {
		t.Errorf("problems %v", result.Problems)
	}
}
