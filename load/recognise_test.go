package load_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// losesTheFirst answers 502 to the first request to a route, before the API sees it: for all that a client can tell, it may
// have acted.
func (w *world) losesTheFirst(method, path string) {
	var lost atomic.Bool
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, method, path) && lost.CompareAndSwap(false, true) {
			http.Error(rw, "bad gateway", http.StatusBadGateway)
			return
		}
		api.ServeHTTP(rw, r)
	})
}

// daysOff moves the first n sequences of the target out of the days that a run looks at.
func (w *world) daysOff(n int64, days int) {
	for id := range n {
		w.api.EditSequence(id+1, func(s *sandbox.SequenceRow) { s.RecordedAt = s.RecordedAt.AddDate(0, 0, days) })
	}
}

// TestALostAnswerMakesNoAlienOurs: what is found after it may have been there all along, and be another organization's.
func TestALostAnswerMakesNoAlienOurs(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		for _, days := range []int{0, -9} {
			w := newWorld(t, generation)
			_, err := w.client.CreateSequence(t.Context(), annotation.NewSequence{
				SourceAPI: "pyronear_french", AlertAPIID: 41, CameraID: 7, CameraName: "brison-01", OrganisationID: 3,
				OrganisationName: "another", RecordedAt: noon.AddDate(0, 0, 3), LastSeenAt: noon,
			})
			if err != nil {
				t.Fatal(err)
			}
			w.daysOff(1, days)
			w.losesTheFirst(http.MethodPost, "/sequences/")
			result := w.run(t, matrixBundle())
			if result.Sequences.Failed != 1 || !strings.Contains(result.Problems[0].Reason, "another sequence has this id on the target: organization 3, not 2") {
				t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
			}
			if len(w.api.Detections(0)) != 0 || len(w.api.Annotations()) != 0 {
				t.Error("something was written to it")
			}
		}
	})
}

// TestALostAnswerDoublesNoRows: what is found after it has its detections listed like any other. The older generation would
// take every row twice.
func TestALostAnswerDoublesNoRows(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.edit(t, review)
		w.daysOff(1, -9)
		w.losesTheFirst(http.MethodPost, "/sequences/")
		result := w.run(t, matrixBundle())
		if n := len(w.api.Detections(0)); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
		if result.Sequences.Unchanged != 1 || result.Annotations.KeptReviewed != 1 || result.Detections.Existing != 3 {
			t.Errorf("%+v, %+v, %+v", result.Sequences, result.Annotations, result.Detections)
		}
	})
}

// TestE23_AFailedLookAfterA409SaysSo, and not that the sequence is another one.
func TestE23_AFailedLookAfterA409SaysSo(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.daysOff(1, -9)
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "GET", "/sequences/") && r.URL.Query().Get("include_annotation") == "" {
				http.Error(rw, "Traceback", http.StatusInternalServerError)
				return
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, matrixBundle())
		if len(result.Problems) != 1 || result.Problems[0].Class != store.Failed ||
			strings.Contains(result.Problems[0].Reason, "another sequence has this id") ||
			!strings.Contains(result.Problems[0].Reason, "whether it is there is not known: look for the sequence: GET /api/v1/sequences/: 500") {
			t.Errorf("problems = %v", result.Problems)
		}
	})
}

// TestE26_ASplitSequenceOutsideTheDaysIsLeftAlone: the look after a 409 sees the lanes, too.
func TestE26_ASplitSequenceOutsideTheDaysIsLeftAlone(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.addLane(t)
		w.drop(t, 4102)
		w.daysOff(2, 3)
		before := w.state()
		result := w.run(t, matrixBundle())
		if result.Foreign != 1 || result.Detections.Created != 0 {
			t.Errorf("foreign %d, %+v, %+v", result.Foreign, result.Sequences, result.Detections)
		}
		w.expect(t, "after the load", before)
		if insisted := w.run(t, matrixBundle(), func(c *load.Config) { c.RepairForeign = true }); insisted.Detections.Created != 1 {
			t.Errorf("insisted: %+v, problems %v", insisted.Detections, insisted.Problems)
		}
	})
}

// TestALookAfterALostAnswerIsShort: a sequence that this run made is among those of its camera of the same days. Only where
// the target has refused it, all of the camera's are gone through.
func TestALookAfterALostAnswerIsShort(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	history := &inMemory{}
	for i := range 250 {
		history.add(int64(1000+i), noon.AddDate(0, 0, -10-i), "[(.1,.1,.3,.3,.5)]")
	}
	w.run(t, history)
	w.losesTheFirst(http.MethodPost, "/sequences/")
	w.api.ResetCounters()
	if result := w.run(t, matrixBundle()); result.Sequences.New != 1 {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
	if n := w.api.RequestsTo("GET /api/v1/sequences/"); n != 3 { // the days, and two looks
		t.Errorf("%d lists of sequences, want 3", n)
	}
}

// TestE30_ADryRunSeesWhatWouldBeRefused: in the newer generation, which can be asked by the platform's id.
func TestE30_ADryRunSeesWhatWouldBeRefused(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *world){
		"another camera's": func(t *testing.T, w *world) { t.Helper(); w.prepareAlien(t) },
		"ours":             func(t *testing.T, w *world) { t.Helper(); w.loadMatrix(t) },
		"split":            func(t *testing.T, w *world) { t.Helper(); w.loadMatrix(t); w.addLane(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			prepare(t, w)
			w.daysOff(int64(len(w.api.Sequences())), -9)
			w.api.ResetCounters()
			dry := w.run(t, matrixBundle(), func(c *load.Config) { c.DryRun = true })
			if n := w.api.Writes(); n != 0 {
				t.Errorf("%d writes", n)
			}
			wet := w.run(t, matrixBundle())
			if dry.Sequences != wet.Sequences || dry.Foreign != wet.Foreign || dry.Annotations != wet.Annotations {
				t.Errorf("planned %+v, %d foreign, %+v; done %+v, %d foreign, %+v",
					dry.Sequences, dry.Foreign, dry.Annotations, wet.Sequences, wet.Foreign, wet.Annotations)
			}
		})
	}
}

// TestRowsOfOneTimeAreNotMissed: the API orders lists by a time alone, and rows of one time change places from page to page.
// A row that is missed would be made a second time in the older generation.
func TestRowsOfOneTimeAreNotMissed(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		var ticks atomic.Int64
		w := newWorldOf(t, sandbox.AnnotationOptions{
			Generation: string(generation), ShuffleTies: true,
			Now: func() time.Time { return noon.Add(time.Duration(ticks.Add(1)/40) * time.Microsecond) },
		})
		bundle := &inMemory{}
		for i := range int64(130) {
			frames := 1
			if i%40 == 0 {
				frames = 230
			}
			bundle.add(41+i, noon.Add(time.Duration(i)*time.Second), drifting(frames)...)
		}
		first := w.run(t, bundle)
		if first.Sequences.New != 130 || len(first.Problems) != 0 {
			t.Errorf("%+v, problems %v", first.Sequences, first.Problems)
		}
		rows := len(w.api.Detections(0))
		for range 3 {
			w.api.ResetCounters()
			if again := w.run(t, bundle); w.api.Writes() != 0 || again.Sequences.Unchanged != 130 {
				t.Errorf("again: %d writes, %+v, problems %v", w.api.Writes(), again.Sequences, again.Problems)
			}
		}
		if n := len(w.api.Detections(0)); n != rows || int64(n) != first.Detections.Total {
			t.Errorf("%d rows, want %d", n, first.Detections.Total)
		}
	})
}
