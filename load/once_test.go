package load_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
)

// committedAndLost lets the API act and takes its answer away.
func committedAndLost(r *http.Request, api http.Handler) {
	api.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// TestE14_RetryAfterLostAnswerMakesNoSecondRow: of every write, the answer is lost once, after the API has acted.
func TestE14_RetryAfterLostAnswerMakesNoSecondRow(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := matrixBundle()
		var lost sync.Map
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if r.Method == http.MethodGet {
				api.ServeHTTP(rw, r)
				return
			}
			body, _ := io.ReadAll(r.Body) // of a test's own request
			r.Body = io.NopCloser(bytes.NewReader(body))
			key := r.Method + r.URL.Path
			if is(r, "POST", "/detections/") {
				_, rest, _ := strings.Cut(string(body), `name="alert_api_id"`)
				key += rest[:20]
			}
			if _, again := lost.LoadOrStore(key, true); !again {
				committedAndLost(r, api)
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, bundle)
		w.expect(t, "after the load", whole)
		if want := (load.SequenceCounts{Total: 1, Successful: 1, New: 1}); result.Sequences != want {
			t.Errorf("sequences = %+v, want %+v", result.Sequences, want)
		}
		if want := (load.DetectionCounts{Total: 3, Created: 3}); result.Detections != want {
			t.Errorf("detections = %+v, want %+v", result.Detections, want)
		}
		if result.Annotations.Created != 1 {
			t.Errorf("annotations = %+v, want 1 created", result.Annotations)
		}
		if n := len(w.api.Detections(0)); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
	})
}

// TestE14_ASlowCommitIsWaitedFor: the row is not there at the first look, and is at the second.
func TestE14_ASlowCommitIsWaitedFor(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	var (
		mu      sync.Mutex
		held    *http.Request // the upload that hangs in the server
		uploads int
	)
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		if is(r, "POST", "/detections/") {
			body, _ := io.ReadAll(r.Body) // of a test's own request
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte("\r\n\r\n4101\r\n")) {
				if uploads++; uploads == 1 {
					held = r.Clone(context.WithoutCancel(r.Context()))
					panic(http.ErrAbortHandler)
				}
			}
		}
		api.ServeHTTP(rw, r)
		if is(r, "GET", "/detections/") && held != nil {
			api.ServeHTTP(httptest.NewRecorder(), held)
			held = nil
		}
	})
	w.run(t, matrixBundle())
	w.expect(t, "after the load", whole)
	if uploads != 1 {
		t.Errorf("detection 4101 was uploaded %d times", uploads)
	}
}

// TestE14_ALostAnswerToAnUpdateIsLookedFor: the update is not repeated, because it has happened.
func TestE14_ALostAnswerToAnUpdateIsLookedFor(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.api.ResetCounters()
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if r.Method == http.MethodPatch {
				committedAndLost(r, api)
			}
			api.ServeHTTP(rw, r)
		})
		result := w.run(t, matrixBundle(), func(c *load.Config) { c.Thresholds.Confidence = .55 })
		if result.Annotations.Updated != 1 || result.Sequences.Updated != 1 || w.api.Writes() != 1 {
			t.Errorf("%+v, %+v, %d writes", result.Annotations, result.Sequences, w.api.Writes())
		}
	})
}

// TestE14_ASlowCommitOfTheOlderGenerationIsRepairedAtOnce: the answer is lost, the row appears only after both looks, so
// the detection is made again; reading back shows two rows, and the later one goes.
func TestE14_ASlowCommitOfTheOlderGenerationIsRepairedAtOnce(t *testing.T) {
	w := newWorld(t, annotation.SeedEra)
	var (
		mu   sync.Mutex
		held []byte // the body of the upload that hangs in the server
		head http.Header
	)
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		if !is(r, "POST", "/detections/") {
			api.ServeHTTP(rw, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // of a test's own request
		if bytes.Contains(body, []byte("\r\n\r\n4101\r\n")) {
			if head == nil {
				held, head = body, r.Header.Clone()
				panic(http.ErrAbortHandler)
			}
			if held != nil {
				late := httptest.NewRequest(http.MethodPost, r.URL.Path, bytes.NewReader(held))
				late.Header = head
				api.ServeHTTP(httptest.NewRecorder(), late)
				held = nil
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		api.ServeHTTP(rw, r)
	})
	w.run(t, matrixBundle())
	w.expect(t, "after the load", whole)
	if n := w.api.RequestsTo("DELETE /api/v1/detections/{detection_id}"); n != 1 {
		t.Errorf("%d rows removed, want the second one", n)
	}
}

// TestE14_SecondRowsOfAnEarlierToolAreRemoved, unless the annotation of a person may refer to them.
func TestE14_SecondRowsOfAnEarlierToolAreRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		reviewed bool
		rows     int
	}{
		"the API's own annotation refers to both": {false, 3},
		"a person's annotation":                   {true, 4},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.SeedEra)
			w.loadMatrix(t)
			w.dropAnnotation(t)
			sequence := w.api.Sequences()[0].ID
			_, err := w.client.CreateDetection(t.Context(), annotation.NewDetection{
				SequenceID: sequence, AlertAPIID: 4101, RecordedAt: noon.Add(30 * time.Second),
				Predictions: annotate.Predict([]annotate.Box{{X1: .12, Y1: .1, X2: .32, Y2: .3, Confidence: .6}}),
				Image:       []byte("\xff\xd8\xff\xe07-41-1.jpg"), FileName: "again.jpg", ContentType: "image/jpeg",
			})
			if err != nil {
				t.Fatal(err)
			}
			created, err := w.client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
				SequenceID: sequence, ProcessingStage: annotation.StageReadyToAnnotate,
			})
			if err != nil {
				t.Fatal(err)
			}
			if boxes := len(created.Document.Tracks[0].Boxes); boxes != 3 {
				t.Fatalf("the API's own annotation has %d boxes, want 3, two of them of one detection", boxes)
			}
			if c.reviewed {
				w.edit(t, review)
			}
			w.run(t, matrixBundle())
			if n := len(w.api.Detections(0)); n != c.rows {
				t.Errorf("%d rows, want %d", n, c.rows)
			}
			if !c.reviewed {
				w.expect(t, "after the load", whole)
			}
			w.api.ResetCounters()
			w.run(t, matrixBundle())
			if n := w.api.Writes(); n != 0 {
				t.Errorf("the second load wrote %d times", n)
			}
		})
	}
}
