package load_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// state is everything that the target holds under the platform's ids, so that it can be written down beforehand. The
// matrix test compares it whole.
func (w *world) state() string {
	var b strings.Builder
	alert := map[int64]int64{}
	for _, d := range w.api.Detections(0) {
		alert[d.ID] = d.AlertAPIID
	}
	for _, s := range w.api.Sequences() {
		fmt.Fprintf(&b, "sequence %d of camera %d\n", s.AlertAPIID, s.CameraID)
		detections := w.api.Detections(s.ID)
		slices.SortFunc(detections, func(x, y sandbox.DetectionRow) int { return int(x.AlertAPIID - y.AlertAPIID) })
		for _, d := range detections {
			fmt.Fprintf(&b, "  %d at %s:", d.AlertAPIID, d.RecordedAt.Format("15:04:05"))
			for _, p := range d.Predictions {
				fmt.Fprintf(&b, " %v", p.Box)
			}
			for _, p := range d.Others {
				fmt.Fprintf(&b, " other %v", p.Box)
			}
			b.WriteByte('\n')
		}
		for _, a := range w.api.Annotations() {
			if a.SequenceID != s.ID {
				continue
			}
			fmt.Fprintf(&b, "  %s", a.Stage)
			for _, name := range a.Contributors {
				fmt.Fprintf(&b, " by %s", name)
			}
			b.WriteByte('\n')
			for _, track := range a.Tracks {
				fmt.Fprintf(&b, "    smoke %v%s:", track.IsSmoke, track.SmokeType)
				for _, box := range track.Boxes {
					fmt.Fprintf(&b, " %d %v", alert[box.DetectionID], box.Box)
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

// matrixBundle is one sequence of three frames, the last without a box.
func matrixBundle() *inMemory {
	bundle := &inMemory{}
	bundle.add(41, noon, "[(.1,.1,.3,.3,.5)]", "[(.12,.1,.32,.3,.6)]", "[]")
	return bundle
}

// What the target may hold, before and after.
const (
	nothing   = ""
	detection = `sequence 41 of camera 7
  4100 at 12:00:00: [0.1 0.1 0.3 0.3]
  4101 at 12:00:30: [0.12 0.1 0.32 0.3]
  4102 at 12:01:00:
`
	whole = detection + `  ready_to_annotate
    smoke true: 4100 [0.1 0.1 0.3 0.3] 4101 [0.12 0.1 0.32 0.3]
`
	half = `sequence 41 of camera 7
  4101 at 12:00:30: [0.12 0.1 0.32 0.3]
`
	halfAnnotated = half + `  ready_to_annotate
    smoke true: 4101 [0.12 0.1 0.32 0.3]
`
	unannotated = detection
	stale       = detection + `  imported
    smoke true: 4101 [0.12 0.1 0.32 0.3]
`
	otherBoxes = `sequence 41 of camera 7
  4100 at 12:00:00: [0.1 0.1 0.3 0.3]
  4101 at 12:00:30: other [0.12 0.1 0.32 0.3]
  4102 at 12:01:00:
`
	otherBoxesAnnotated = otherBoxes + `  ready_to_annotate
    smoke true: 4100 [0.1 0.1 0.3 0.3] 4101 [0.12 0.1 0.32 0.3]
`
	otherBoxesRegenerated = otherBoxes + `  ready_to_annotate
    smoke true: 4100 [0.1 0.1 0.3 0.3]
`
	split = whole + `sequence 1000041001 of camera 7
  4101 at 12:00:30: [0.7 0.7 0.8 0.8]
`
	splitAnnotated = split + `  ready_to_annotate
    smoke true: 4101 [0.7 0.7 0.8 0.8]
`
	reviewed = detection + `  seq_annotation_done by ana
    smoke truewildfire: 4100 [0.1 0.1 0.3 0.3]
`
	reviewedHalf = half + `  ready_to_annotate by ana
    smoke true: 4101 [0.12 0.1 0.32 0.3]
`
	reviewedHalfCompleted = detection + `  ready_to_annotate by ana
    smoke true: 4101 [0.12 0.1 0.32 0.3]
`
	alien = `sequence 41 of camera 8
`
)

// TestWhatMayBeFound is the matrix of what a run may find and what it may be asked for, in both generations, with the
// exact state of the target afterwards.
func TestWhatMayBeFound(t *testing.T) {
	type counts struct {
		sequences   load.SequenceCounts
		annotations load.AnnotationCounts
		foreign     int64
	}
	var (
		isNew     = load.SequenceCounts{Total: 1, Successful: 1, New: 1}
		updated   = load.SequenceCounts{Total: 1, Successful: 1, Updated: 1}
		unchanged = load.SequenceCounts{Total: 1, Successful: 1, Unchanged: 1}
		failed    = load.SequenceCounts{Total: 1, Failed: 1}

		created    = load.AnnotationCounts{Created: 1}
		replaced   = load.AnnotationCounts{Updated: 1}
		same       = load.AnnotationCounts{Unchanged: 1}
		kept       = load.AnnotationCounts{KeptReviewed: 1}
		unanswered = load.AnnotationCounts{Failed: 1}
	)
	for _, c := range []struct {
		name     string
		prepare  func(t *testing.T, w *world)
		found    string
		loaded   string // the state after load
		load     counts
		again    counts // of a second load, which never writes
		redone   string // the state after annotate, of what was found
		annotate counts
		plan     []load.Planned // of a dry run; documents are left out
	}{
		{
			name: "nothing", prepare: func(*testing.T, *world) {}, found: nothing,
			loaded: whole, load: counts{isNew, created, 0}, again: counts{unchanged, same, 0},
			redone: nothing, annotate: counts{},
			plan: []load.Planned{{SequenceID: 41, Action: "create", Detections: 3, Annotation: "create"}},
		},
		{
			name: "half", found: half,
			prepare: func(t *testing.T, w *world) { w.loadMatrix(t); w.drop(t, 4100, 4102); w.dropAnnotation(t) },
			loaded:  whole, load: counts{updated, created, 0}, again: counts{unchanged, same, 0},
			redone: halfAnnotated, annotate: counts{updated, created, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "complete", Detections: 2, Annotation: "create"}},
		},
		{
			name: "all but the annotation", found: unannotated,
			prepare: func(t *testing.T, w *world) { w.loadMatrix(t); w.dropAnnotation(t) },
			loaded:  whole, load: counts{updated, created, 0}, again: counts{unchanged, same, 0},
			redone: whole, annotate: counts{updated, created, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "complete", Annotation: "create"}},
		},
		{
			name: "all", found: whole, prepare: func(t *testing.T, w *world) { w.loadMatrix(t) },
			loaded: whole, load: counts{unchanged, same, 0}, again: counts{unchanged, same, 0},
			redone: whole, annotate: counts{unchanged, same, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "unchanged", Annotation: "unchanged"}},
		},
		{
			name: "all, another machine's annotation", found: stale,
			prepare: func(t *testing.T, w *world) {
				w.loadMatrix(t)
				w.edit(t, func(a *sandbox.AnnotationRow) { a.Stage, a.Tracks[0].Boxes = "imported", a.Tracks[0].Boxes[1:] })
			},
			loaded: whole, load: counts{updated, replaced, 0}, again: counts{unchanged, same, 0},
			redone: whole, annotate: counts{updated, replaced, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "complete", Annotation: "update"}},
		},
		{
			name: "foreign: other boxes", found: otherBoxesAnnotated,
			prepare: func(t *testing.T, w *world) {
				w.loadMatrix(t)
				w.api.EditDetection(w.detection(t, 4101), func(d *sandbox.DetectionRow) { d.Predictions, d.Others = nil, d.Predictions })
			},
			loaded: otherBoxesAnnotated, load: counts{unchanged, load.AnnotationCounts{}, 1}, again: counts{unchanged, load.AnnotationCounts{}, 1},
			redone: otherBoxesRegenerated, annotate: counts{updated, replaced, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "foreign", Annotation: "none"}},
		},
		{
			name: "foreign: split", found: split,
			prepare: func(t *testing.T, w *world) { w.loadMatrix(t); w.addLane(t) },
			loaded:  split, load: counts{unchanged, load.AnnotationCounts{}, 1}, again: counts{unchanged, load.AnnotationCounts{}, 1},
			redone: splitAnnotated,
			annotate: counts{
				load.SequenceCounts{Total: 2, Successful: 2, Updated: 1, Unchanged: 1},
				load.AnnotationCounts{Created: 1, Unchanged: 1},
				0,
			},
			plan: []load.Planned{{SequenceID: 41, Action: "foreign", Annotation: "none"}},
		},
		{
			name: "reviewed", found: reviewed,
			prepare: func(t *testing.T, w *world) { w.loadMatrix(t); w.edit(t, review) },
			loaded:  reviewed, load: counts{unchanged, kept, 0}, again: counts{unchanged, kept, 0},
			redone: reviewed, annotate: counts{unchanged, kept, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "unchanged", Annotation: "kept_reviewed"}},
		},
		{
			name: "half, reviewed", found: reviewedHalf,
			prepare: func(t *testing.T, w *world) {
				w.loadMatrix(t)
				w.edit(t, func(a *sandbox.AnnotationRow) {
					a.Contributors, a.Tracks[0].Boxes = []string{"ana"}, a.Tracks[0].Boxes[1:]
				})
				w.drop(t, 4100, 4102)
			},
			loaded: reviewedHalfCompleted, load: counts{updated, kept, 0}, again: counts{unchanged, kept, 0},
			redone: reviewedHalf, annotate: counts{unchanged, kept, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "complete", Detections: 2, Annotation: "kept_reviewed"}},
		},
		{
			name: "another platform's sequence", found: alien, prepare: func(t *testing.T, w *world) { w.prepareAlien(t) },
			loaded: alien, load: counts{failed, load.AnnotationCounts{}, 0}, again: counts{failed, load.AnnotationCounts{}, 0},
			redone: alien, annotate: counts{failed, unanswered, 0},
			plan: []load.Planned{{SequenceID: 41, Action: "failed", Annotation: "none"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
				prepared := func(t *testing.T) *world {
					w := newWorld(t, generation)
					c.prepare(t, w)
					w.expect(t, "found", c.found)
					w.api.ResetCounters()
					return w
				}
				check := func(t *testing.T, got load.Result, want counts) {
					t.Helper()
					consistent(t, got)
					if diff := cmp.Diff(want, counts{got.Sequences, got.Annotations, got.Foreign}, cmp.AllowUnexported(counts{})); diff != "" {
						t.Errorf("-want +got\n%s\nproblems: %v", diff, got.Problems)
					}
				}
				t.Run("load, load again", func(t *testing.T) {
					w := prepared(t)
					check(t, w.run(t, matrixBundle()), c.load)
					w.expect(t, "after load", c.loaded)
					w.api.ResetCounters()
					check(t, w.run(t, matrixBundle()), c.again)
					w.expect(t, "after a second load", c.loaded)
					if n := w.api.Writes(); n != 0 {
						t.Errorf("the second load wrote %d times", n)
					}
				})
				t.Run("annotate", func(t *testing.T) {
					w := prepared(t)
					check(t, w.regenerate(t), c.annotate)
					w.expect(t, "after annotate", c.redone)
					w.api.ResetCounters()
					w.regenerate(t)
					w.expect(t, "after a second annotate", c.redone)
					if n := w.api.Writes(); n != 0 {
						t.Errorf("the second annotate wrote %d times", n)
					}
				})
				t.Run("dry run", func(t *testing.T) {
					w := prepared(t)
					dry := w.run(t, matrixBundle(), func(c *load.Config) { c.DryRun = true })
					check(t, dry, c.load) // what would be
					w.expect(t, "after a dry run", c.found)
					if n := w.api.Writes(); n != 0 {
						t.Errorf("the dry run wrote %d times", n)
					}
					for i := range dry.Plan {
						writes := dry.Plan[i].Annotation == "create" || dry.Plan[i].Annotation == "update"
						if (dry.Plan[i].Document != nil) != writes {
							t.Errorf("document of a plan %+v", dry.Plan[i])
						}
						dry.Plan[i].Document = nil
					}
					if diff := cmp.Diff(c.plan, dry.Plan); diff != "" {
						t.Errorf("plan: -want +got\n%s", diff)
					}
				})
			})
		})
	}
}

func (w *world) expect(t *testing.T, when, want string) {
	t.Helper()
	if diff := cmp.Diff(want, w.state()); diff != "" {
		t.Fatalf("%s: -want +got\n%s", when, diff)
	}
}

func (w *world) loadMatrix(t *testing.T) { t.Helper(); w.run(t, matrixBundle()) }

func (w *world) prepareAlien(t *testing.T) {
	t.Helper()
	_, err := w.client.CreateSequence(t.Context(), annotation.NewSequence{
		SourceAPI: "pyronear_french", AlertAPIID: 41, CameraID: 8, CameraName: "ardeche", OrganisationID: 3,
		OrganisationName: "another", RecordedAt: noon, LastSeenAt: noon,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// addLane adds what an importer splits off a sequence.
func (w *world) addLane(t *testing.T) {
	t.Helper()
	lane := annotation.NewSequence{
		SourceAPI: "pyronear_french", AlertAPIID: 1_000_041_001, CameraID: 7, CameraName: "brison-01", OrganisationID: 2,
		OrganisationName: "sdis-07", RecordedAt: noon.Add(30 * time.Second), LastSeenAt: noon.Add(time.Minute),
	}
	if w.client.Generation() == annotation.Newest {
		platform := int64(41)
		lane.PlatformAlertID = &platform
	}
	created, err := w.client.CreateSequence(t.Context(), lane)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.CreateDetection(t.Context(), annotation.NewDetection{
		SequenceID: created.ID, AlertAPIID: 4101, RecordedAt: noon.Add(30 * time.Second), Image: []byte("\xff\xd8\xff"),
		Predictions: annotate.Predict([]annotate.Box{{X1: .7, Y1: .7, X2: .8, Y2: .8, Confidence: .5}}),
		FileName:    "lane.jpg", ContentType: "image/jpeg",
	})
	if err != nil {
		t.Fatal(err)
	}
}

// detection returns the target's id of a detection of sequence 41.
func (w *world) detection(t *testing.T, alert int64) int64 {
	t.Helper()
	for _, d := range w.api.Detections(0) {
		if d.AlertAPIID == alert {
			return d.ID
		}
	}
	t.Fatalf("no detection %d", alert)
	return 0
}

func (w *world) drop(t *testing.T, alerts ...int64) {
	t.Helper()
	for _, alert := range alerts {
		if err := w.client.DeleteDetection(t.Context(), w.detection(t, alert)); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) dropAnnotation(t *testing.T) {
	t.Helper()
	for _, a := range w.api.Annotations() {
		if err := w.client.DeleteAnnotation(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// edit changes the first annotation.
func (w *world) edit(t *testing.T, change func(*sandbox.AnnotationRow)) {
	t.Helper()
	all := w.api.Annotations()
	if len(all) == 0 || !w.api.EditAnnotation(all[0].ID, change) {
		t.Fatal("no annotation to edit")
	}
}

// review is what a person leaves behind.
func review(a *sandbox.AnnotationRow) {
	a.Stage, a.Contributors = "seq_annotation_done", []string{"ana"}
	a.Tracks[0].SmokeType, a.Tracks[0].Boxes = "wildfire", a.Tracks[0].Boxes[:1]
}

func (w *world) regenerate(t *testing.T, change ...func(*load.Config)) load.Result {
	t.Helper()
	cfg := w.config()
	cfg.Query = store.Query{From: "2026-08-01", To: "2026-08-01"}
	for _, c := range change {
		c(&cfg)
	}
	result, err := load.Regenerate(t.Context(), w.client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, result)
	return result
}
