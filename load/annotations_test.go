package load_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// TestTheTargetsOwnGenerationAgrees is the oracle: the API generates from what it holds when it is sent a document
// without boxes, by code of its own. The older generation repeats a detection with several boxes; there the data have one
// box on each.
func TestTheTargetsOwnGenerationAgrees(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		for seed := range uint64(25) {
			random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's data
			w := newWorld(t, generation)
			bundle := &inMemory{}
			for id := range int64(3) {
				var boxes []string
				for range 1 + random.IntN(24) {
					n := 1
					if generation == annotation.Newest {
						n = random.IntN(4)
					}
					var list []string
					for range n {
						x, y := random.Float64()*.5, random.Float64()*.5
						list = append(list, fmt.Sprintf("(%.3f,%.3f,%.3f,%.3f,%.3f)", x, y,
							x+.01+random.Float64()*.4, y+.01+random.Float64()*.4, random.Float64()))
					}
					boxes = append(boxes, "["+strings.Join(list, ",")+"]")
				}
				bundle.add(41+id, noon, boxes...)
			}
			thresholds := annotate.Thresholds{
				Confidence: []float64{0, .3, .7}[random.IntN(3)], IoU: []float64{0, .1, .3, .6}[random.IntN(4)], MinClusterSize: 1 + random.IntN(3),
			}
			w.run(t, bundle, func(c *load.Config) {
				c.Thresholds, c.NoPredictions = thresholds, load.NoPredictionsEmpty
			})
			for _, ours := range w.api.Annotations() {
				if err := w.client.DeleteAnnotation(t.Context(), ours.ID); err != nil {
					t.Fatal(err)
				}
				_, err := w.client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
					SequenceID: ours.SequenceID, ProcessingStage: annotation.StageReadyToAnnotate, Thresholds: &thresholds,
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, theirs := range w.api.Annotations() {
					if theirs.SequenceID == ours.SequenceID {
						if diff := cmp.Diff(theirs.Tracks, ours.Tracks); diff != "" {
							t.Fatalf("seed %d, %+v: -the API's +ours\n%s", seed, thresholds, diff)
						}
					}
				}
			}
		}
	})
}

// boxless is one sequence without usable boxes: an empty row, a placeholder, a box that the API would refuse.
func boxless() *inMemory {
	bundle := &inMemory{}
	bundle.add(41, noon, "[]", "[(0,0,0,0,0)]", "[(.3,.1,.2,.2,.5)]")
	return bundle
}

const boxlessDetections = `sequence 41 of camera 7
  4100 at 12:00:00:
  4101 at 12:00:30:
  4102 at 12:01:00:
`

func TestNoPredictions(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		for _, c := range []struct {
			choice      load.NoPredictions
			state       string
			sequences   load.SequenceCounts
			annotations load.AnnotationCounts
			again       load.AnnotationCounts
			problem     string
		}{
			{
				choice: load.NoPredictionsFail, state: boxlessDetections, sequences: load.SequenceCounts{Total: 1, Failed: 1},
				annotations: load.AnnotationCounts{Failed: 1}, again: load.AnnotationCounts{Failed: 1},
				problem: "sequence 41: no usable boxes to annotate",
			},
			{
				choice: load.NoPredictionsSkip, state: boxlessDetections, sequences: load.SequenceCounts{Total: 1, Successful: 1, New: 1},
			},
			{
				choice: load.NoPredictionsEmpty, state: boxlessDetections + "  ready_to_annotate\n",
				sequences:   load.SequenceCounts{Total: 1, Successful: 1, New: 1},
				annotations: load.AnnotationCounts{Created: 1}, again: load.AnnotationCounts{Unchanged: 1},
			},
		} {
			t.Run(string(c.choice), func(t *testing.T) {
				w := newWorld(t, generation)
				choose := func(cfg *load.Config) { cfg.NoPredictions = c.choice }
				got := w.run(t, boxless(), choose)
				if got.Sequences != c.sequences || got.Annotations != c.annotations || got.BoxesLeftOut != 1 {
					t.Errorf("%+v, %+v, %d boxes left out", got.Sequences, got.Annotations, got.BoxesLeftOut)
				}
				if c.problem == "" && len(got.Problems) != 0 || c.problem != "" &&
					(len(got.Problems) != 1 || got.Problems[0].String() != c.problem || got.Problems[0].Class != store.Incomplete) {
					t.Errorf("problems = %v, want %q, incomplete", got.Problems, c.problem)
				}
				w.expect(t, "after the load", c.state)
				w.api.ResetCounters()
				if again := w.run(t, boxless(), choose); again.Annotations != c.again || w.api.Writes() != 0 {
					t.Errorf("again: %+v, %d writes", again.Annotations, w.api.Writes())
				}
			})
		}
	})
}

// TestNoPredictionsWhereAnAnnotationIs: thresholds that leave no box, on a sequence that was annotated with others.
func TestNoPredictionsWhereAnAnnotationIs(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		strict := func(choice load.NoPredictions) func(*load.Config) {
			return func(c *load.Config) { c.NoPredictions, c.Thresholds.Confidence = choice, .9 }
		}
		t.Run("fail leaves it", func(t *testing.T) {
			w := newWorld(t, generation)
			w.loadMatrix(t)
			if got := w.run(t, matrixBundle(), strict(load.NoPredictionsFail)); got.Sequences.Failed != 1 {
				t.Errorf("%+v", got.Sequences)
			}
			w.expect(t, "after the load", whole)
		})
		t.Run("skip leaves it", func(t *testing.T) {
			w := newWorld(t, generation)
			w.loadMatrix(t)
			if got := w.run(t, matrixBundle(), strict(load.NoPredictionsSkip)); got.Sequences.Unchanged != 1 {
				t.Errorf("%+v", got.Sequences)
			}
			w.expect(t, "after the load", whole)
		})
		t.Run("empty posts it anew", func(t *testing.T) {
			w := newWorld(t, generation)
			w.loadMatrix(t)
			if got := w.run(t, matrixBundle(), strict(load.NoPredictionsEmpty)); got.Annotations.Updated != 1 {
				t.Errorf("%+v, problems %v", got.Annotations, got.Problems)
			}
			w.expect(t, "after the load", detection+"  ready_to_annotate\n")
		})
		t.Run("a person's is kept", func(t *testing.T) {
			w := newWorld(t, generation)
			w.loadMatrix(t)
			w.edit(t, review)
			for _, choice := range []load.NoPredictions{load.NoPredictionsFail, load.NoPredictionsEmpty, load.NoPredictionsSkip} {
				if got := w.run(t, matrixBundle(), strict(choice)); got.Annotations.KeptReviewed != 1 || got.Sequences.Failed != 0 {
					t.Errorf("%s: %+v, %+v", choice, got.Annotations, got.Sequences)
				}
			}
			w.expect(t, "after the load", reviewed)
		})
	})
}

func TestExistingKeepTouchesNone(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		got := w.run(t, matrixBundle(), func(c *load.Config) { c.Existing, c.Thresholds.Confidence = load.ExistingKeep, .55 })
		if got.Annotations.Unchanged != 1 || got.Sequences.Unchanged != 1 {
			t.Errorf("%+v, %+v", got.Annotations, got.Sequences)
		}
		w.expect(t, "after the load", whole)
	})
}

// TestTemporalScore: it is sent on creation and refreshed later, in the newer generation.
func TestTemporalScore(t *testing.T) {
	score := func(v float64) *float64 { return &v }
	version := "0.1.0"
	w := newWorld(t, annotation.Newest)
	bundle := matrixBundle()
	set := func(v *float64) {
		bundle.records[0].Sequence.TemporalModelScore, bundle.records[0].Sequence.TemporalModelVersion = v, &version
		if v == nil {
			bundle.records[0].Sequence.TemporalModelVersion = nil
		}
	}
	held := func() any {
		if s := w.api.Sequences()[0].TemporalScore; s != nil {
			return *s
		}
		return nil
	}
	for _, c := range []struct {
		name   string
		score  *float64
		writes int
		held   any
		counts load.SequenceCounts
	}{
		{"created unknown", nil, 5, nil, load.SequenceCounts{Total: 1, Successful: 1, New: 1}},
		{"scored since", score(.8), 1, .8, load.SequenceCounts{Total: 1, Successful: 1, Updated: 1}},
		{"the same", score(.8), 0, .8, load.SequenceCounts{Total: 1, Successful: 1, Unchanged: 1}},
		{"another", score(.9), 1, .9, load.SequenceCounts{Total: 1, Successful: 1, Updated: 1}},
		{"unknown again", nil, 0, .9, load.SequenceCounts{Total: 1, Successful: 1, Unchanged: 1}},
	} {
		w.api.ResetCounters()
		set(c.score)
		got := w.run(t, bundle)
		if w.api.Writes() != c.writes || held() != c.held || got.Sequences != c.counts {
			t.Errorf("%s: %d writes, score %v, %+v", c.name, w.api.Writes(), held(), got.Sequences)
		}
	}
	if got := *w.api.Sequences()[0].TemporalModelVersion; got != version {
		t.Errorf("model version = %q", got)
	}

	seed := newWorld(t, annotation.SeedEra)
	set(score(.8))
	seed.run(t, bundle)
	seed.api.ResetCounters()
	if got := seed.run(t, bundle); seed.api.Writes() != 0 || got.Sequences.Unchanged != 1 {
		t.Errorf("older generation: %d writes, %+v", seed.api.Writes(), got.Sequences)
	}
}

// TestRerunAsksLittle: at most list pages + days + Σ ⌈detections/100⌉, also where days are far apart or full.
func TestRerunAsksLittle(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := &inMemory{}
		days := []int{0, 1, 2, 9, 10, 40}
		id, listPages, detectionPages := int64(40), 0, 0
		for i, day := range days {
			n := 3
			if i == 1 {
				n = 430
			}
			listPages += (n + 99) / 100
			for j := range n {
				frames := 1
				if j == 0 {
					frames = 101
				}
				id++
				bundle.add(id, noon.AddDate(0, 0, day).Add(time.Duration(j)*time.Second), drifting(frames)...)
				detectionPages += (frames + 99) / 100
			}
		}
		w.run(t, bundle)
		w.api.ResetCounters()
		result := w.run(t, bundle)
		if w.api.Writes() != 0 || result.Sequences.Unchanged != result.Sequences.Total {
			t.Errorf("%d writes, %+v", w.api.Writes(), result.Sequences)
		}
		requests := 0
		for _, r := range w.api.Requests() {
			requests += r.Count
		}
		if bound := listPages + len(days) + detectionPages; requests > bound {
			t.Errorf("%d requests, want at most %d: %v", requests, bound, w.api.Requests())
		}
	})
}

// TestRegenerateSelects by day, source, camera, organization and id.
func TestRegenerateSelects(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	bundle.add(40, time.Date(2026, 7, 31, 23, 59, 59, 999999000, time.UTC), drifting(2)...)
	bundle.add(41, time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC), drifting(2)...)
	bundle.add(42, time.Date(2026, 8, 2, 23, 59, 59, 999999000, time.UTC), drifting(2)...)
	bundle.add(43, time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC), drifting(2)...)
	w.run(t, bundle)
	for name, c := range map[string]struct {
		change func(*load.Config)
		want   int64
	}{
		"two days":           {func(c *load.Config) { c.Query.To = "2026-08-02" }, 2},
		"one day":            {func(*load.Config) {}, 1},
		"to today":           {func(c *load.Config) { c.Query.From, c.Query.To = "2026-08-02", "" }, 2},
		"every source":       {func(c *load.Config) { c.SourceAPI = "" }, 1},
		"another source":     {func(c *load.Config) { c.SourceAPI = "api_cenia" }, 0},
		"a camera":           {func(c *load.Config) { c.Query.CameraID = 7 }, 1},
		"another camera":     {func(c *load.Config) { c.Query.CameraID = 8 }, 0},
		"an organization":    {func(c *load.Config) { c.Query.OrganizationID = 2 }, 1},
		"another one":        {func(c *load.Config) { c.Query.OrganizationID = 3 }, 0},
		"ids":                {func(c *load.Config) { c.Query.To, c.Query.IDs = "2026-08-03", []int64{43, 40} }, 1},
		"nothing there":      {func(c *load.Config) { c.Query.From, c.Query.To = "2025-01-01", "2025-01-03" }, 0},
		"days the wrong way": {func(c *load.Config) { c.Query.To = "2026-07-01" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.regenerate(t, func(cfg *load.Config) { cfg.DryRun = true; c.change(cfg) }); got.Sequences.Total != c.want {
				t.Errorf("%d sequences, want %d", got.Sequences.Total, c.want)
			}
		})
	}
	if _, err := load.Regenerate(t.Context(), w.client, w.config()); err == nil {
		t.Error("a range without beginning was accepted")
	}
	got := w.regenerate(t, func(c *load.Config) { c.Query.IDs = []int64{41, 43, 999} }) // 43 is of another day
	want := []string{"sequence 43: not on the target in the days asked for", "sequence 999: not on the target in the days asked for"}
	var named []string
	for _, p := range got.Problems {
		named = append(named, p.String())
	}
	if !slices.Equal(named, want) || got.Sequences.Total != 1 {
		t.Errorf("%d sequences, problems %q, want 1 and %q", got.Sequences.Total, named, want)
	}
}

// TestAFailedDayOfRegenerateIsNamed, and the other days are done.
func TestAFailedDayOfRegenerateIsNamed(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	bundle.add(41, noon, drifting(2)...)
	bundle.add(42, noon.AddDate(0, 0, 1), drifting(2)...)
	w.run(t, bundle)
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "GET", "/sequences/") && strings.HasPrefix(r.URL.Query().Get("recorded_at_gte"), "2026-08-01") {
			http.Error(rw, "Traceback", http.StatusInternalServerError)
			return
		}
		api.ServeHTTP(rw, r)
	})
	got := w.regenerate(t, func(c *load.Config) { c.Query.To = "2026-08-02" })
	if got.Sequences.Total != 1 || len(got.Problems) != 1 || got.Problems[0].Kind != "day" || got.Problems[0].ID != "2026-08-01" {
		t.Errorf("%+v, problems %v", got.Sequences, got.Problems)
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	for name, c := range map[string]struct {
		change func(*load.Config)
		want   string
	}{
		"source":         {func(c *load.Config) { c.SourceAPI = "elsewhere" }, `source "elsewhere": want one of`},
		"no source":      {func(c *load.Config) { c.SourceAPI = "" }, `source ""`},
		"thresholds":     {func(c *load.Config) { c.Thresholds.IoU = 2 }, "2"},
		"limit":          {func(c *load.Config) { c.Limit = -1 }, "limit -1"},
		"workers":        {func(c *load.Config) { c.Workers = -1 }, "workers -1"},
		"order":          {func(c *load.Config) { c.Order = "up" }, `order "up"`},
		"detection time": {func(c *load.Config) { c.DetectionTime = "now" }, `detection time "now"`},
		"existing":       {func(c *load.Config) { c.Existing = "burn" }, `existing "burn"`},
		"no predictions": {func(c *load.Config) { c.NoPredictions = "guess" }, `no predictions "guess"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.config()
			c.change(&cfg)
			if _, err := load.Run(t.Context(), matrixBundle(), w.client, cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q", err, c.want)
			}
		})
	}
	if n := len(w.api.Requests()); n != 0 {
		t.Errorf("requests were sent: %v", w.api.Requests())
	}
}
