package load

import (
	"crypto/sha256"
	"encoding/json"
	"testing"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
)

func trackOf(boxes ...annotate.TrackBox) annotate.Track {
	return annotate.Track{IsSmoke: true, FalsePositiveTypes: []string{}, Boxes: boxes}
}

var oneTrack = annotate.Document{Tracks: []annotate.Track{trackOf(annotate.TrackBox{DetectionID: 1, XYXYN: [4]float64{.1, .1, .2, .2}})}}

// asItIs redacts nothing.
func asItIs(text string) string { return text }

func TestWorkedOn(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*annotation.SequenceAnnotation)
		want   string
	}{
		"as generated":     {func(*annotation.SequenceAnnotation) {}, ""},
		"imported":         {func(a *annotation.SequenceAnnotation) { a.ProcessingStage = "imported" }, ""},
		"a later stage":    {func(a *annotation.SequenceAnnotation) { a.ProcessingStage = "seq_annotation_done" }, "it is at stage seq_annotation_done"},
		"an unknown stage": {func(a *annotation.SequenceAnnotation) { a.ProcessingStage = "under_annotation" }, "it is at stage under_annotation"},
		"contributors": {func(a *annotation.SequenceAnnotation) {
			a.Contributors = []annotation.Contributor{{ID: 1, Username: "ana"}}
		}, `contributors ["ana"]`},
		"missed smoke":        {func(a *annotation.SequenceAnnotation) { a.HasMissedSmoke = true }, "missed smoke is marked"},
		"unsure":              {func(a *annotation.SequenceAnnotation) { a.IsUnsure = true }, "it is marked unsure"},
		"smoke type":          {func(a *annotation.SequenceAnnotation) { a.Document.Tracks[0].SmokeType = text("wildfire") }, "types are chosen"},
		"false positive type": {func(a *annotation.SequenceAnnotation) { a.Document.Tracks[0].FalsePositiveTypes = []string{"antenna"} }, "types are chosen"},
		"no smoke":            {func(a *annotation.SequenceAnnotation) { a.Document.Tracks[0].IsSmoke = false }, "types are chosen"},
		"several": {func(a *annotation.SequenceAnnotation) {
			a.ProcessingStage, a.Contributors = "annotated", []annotation.Contributor{{ID: 1, Username: "ana"}, {ID: 2, Username: "bo"}}
		}, `it is at stage annotated, contributors ["ana" "bo"]`},
	} {
		t.Run(name, func(t *testing.T) {
			got := annotation.SequenceAnnotation{
				ProcessingStage: "ready_to_annotate", Document: annotate.Document{Tracks: []annotate.Track{trackOf()}},
			}
			c.change(&got)
			if traces := workedOn(got, asItIs); traces != c.want {
				t.Errorf("got %q, want %q", traces, c.want)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	ready := annotation.SequenceAnnotation{ID: 5, ProcessingStage: "ready_to_annotate", Document: oneTrack}
	equal := noteOf(&ready, asItIs)
	other := ready
	other.Document = annotate.Document{Tracks: []annotate.Track{trackOf(), trackOf()}}
	empty := ready
	empty.Document = annotate.Document{}
	imported := ready
	imported.ProcessingStage = "imported"
	reviewed := ready
	reviewed.ProcessingStage = "annotated"
	seenBy := ready
	seenBy.Contributors = []annotation.Contributor{{ID: 1, Username: "ana"}}

	for name, c := range map[string]struct {
		doc           annotate.Document
		seen          *note
		existing      Existing
		noPredictions NoPredictions
		want          verdict
	}{
		"none there":                            {oneTrack, nil, ExistingUpdate, NoPredictionsFail, writeNew},
		"none there, keep":                      {oneTrack, nil, ExistingKeep, NoPredictionsFail, writeNew},
		"the equal":                             {oneTrack, equal, ExistingUpdate, NoPredictionsFail, leaveEqual},
		"the equal, overwrite":                  {oneTrack, equal, ExistingOverwrite, NoPredictionsFail, leaveEqual},
		"another":                               {oneTrack, noteOf(&other, asItIs), ExistingUpdate, NoPredictionsFail, replace},
		"another, keep":                         {oneTrack, noteOf(&other, asItIs), ExistingKeep, NoPredictionsFail, leaveAny},
		"the equal, not yet ready":              {oneTrack, noteOf(&imported, asItIs), ExistingUpdate, NoPredictionsFail, replace},
		"reviewed":                              {oneTrack, noteOf(&reviewed, asItIs), ExistingUpdate, NoPredictionsFail, leaveKept},
		"reviewed, keep":                        {oneTrack, noteOf(&reviewed, asItIs), ExistingKeep, NoPredictionsFail, leaveKept},
		"reviewed, overwrite":                   {oneTrack, noteOf(&reviewed, asItIs), ExistingOverwrite, NoPredictionsFail, replace},
		"contributors, equal":                   {oneTrack, noteOf(&seenBy, asItIs), ExistingUpdate, NoPredictionsFail, leaveKept},
		"contributors, equal, overwrite":        {oneTrack, noteOf(&seenBy, asItIs), ExistingOverwrite, NoPredictionsFail, leaveEqual},
		"no boxes":                              {annotate.Document{}, nil, ExistingUpdate, NoPredictionsFail, lackBoxes},
		"no boxes, older there":                 {annotate.Document{}, equal, ExistingUpdate, NoPredictionsFail, lackBoxes},
		"no boxes, reviewed":                    {annotate.Document{}, noteOf(&reviewed, asItIs), ExistingUpdate, NoPredictionsFail, leaveKept},
		"no boxes, reviewed, overwrite":         {annotate.Document{}, noteOf(&reviewed, asItIs), ExistingOverwrite, NoPredictionsFail, lackBoxes},
		"no boxes, skip":                        {annotate.Document{}, nil, ExistingUpdate, NoPredictionsSkip, makeNone},
		"no boxes, skip, older there":           {annotate.Document{}, equal, ExistingUpdate, NoPredictionsSkip, makeNone},
		"no boxes, empty":                       {annotate.Document{}, nil, ExistingUpdate, NoPredictionsEmpty, writeNew},
		"no boxes, empty, older there":          {annotate.Document{}, equal, ExistingUpdate, NoPredictionsEmpty, replaceAnew},
		"no boxes, empty, empty there":          {annotate.Document{}, noteOf(&empty, asItIs), ExistingUpdate, NoPredictionsEmpty, leaveEqual},
		"no boxes, empty, keep":                 {annotate.Document{}, equal, ExistingKeep, NoPredictionsEmpty, leaveAny},
		"no boxes, empty, reviewed":             {annotate.Document{}, noteOf(&reviewed, asItIs), ExistingUpdate, NoPredictionsEmpty, leaveKept},
		"no boxes, empty, reviewed, overwrite":  {annotate.Document{}, noteOf(&reviewed, asItIs), ExistingOverwrite, NoPredictionsEmpty, replaceAnew},
		"boxes again where the empty one stood": {oneTrack, noteOf(&empty, asItIs), ExistingUpdate, NoPredictionsEmpty, replace},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(c.doc, c.seen, false, Config{Existing: c.existing, NoPredictions: c.noPredictions})
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestDecideBesideSecondRows: work is overwritten only by what leaves it showing.
func TestDecideBesideSecondRows(t *testing.T) {
	other := annotate.Document{Tracks: []annotate.Track{trackOf(), trackOf()}}
	seenBy := noteOf(&annotation.SequenceAnnotation{
		ProcessingStage: "annotated", Document: oneTrack, Contributors: []annotation.Contributor{{ID: 1, Username: "ana"}},
	}, asItIs)
	unsure := noteOf(&annotation.SequenceAnnotation{ProcessingStage: "ready_to_annotate", Document: oneTrack, IsUnsure: true}, asItIs)
	machine := noteOf(&annotation.SequenceAnnotation{ProcessingStage: "ready_to_annotate", Document: oneTrack}, asItIs)
	for name, c := range map[string]struct {
		doc      annotate.Document
		seen     *note
		existing Existing
		want     verdict
	}{
		"contributors, update":           {other, seenBy, ExistingUpdate, leaveKept},
		"contributors, overwrite":        {other, seenBy, ExistingOverwrite, replace},
		"contributors, overwrite, empty": {annotate.Document{}, seenBy, ExistingOverwrite, leaveTwice},
		"unsure, overwrite":              {other, unsure, ExistingOverwrite, leaveTwice},
		"a machine's, overwrite, empty":  {annotate.Document{}, machine, ExistingOverwrite, replaceAnew},
		"a machine's, keep":              {other, machine, ExistingKeep, leaveAny},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decide(c.doc, c.seen, true, Config{Existing: c.existing, NoPredictions: NoPredictionsEmpty}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestDigestOfTreatsNullListsAsEmptyOnes(t *testing.T) {
	null := annotate.Document{Tracks: []annotate.Track{{IsSmoke: true}}}
	empty := annotate.Document{Tracks: []annotate.Track{{IsSmoke: true, FalsePositiveTypes: []string{}, Boxes: []annotate.TrackBox{}}}}
	if digestOf(null) != digestOf(empty) {
		t.Error("they differ")
	}
	if digestOf(null) == digestOf(annotate.Document{}) {
		t.Error("a document without tracks equals one with")
	}
}

// TestDigestIsThatOfTheDocumentsJSON: undo files hold digests, which any later version has to come to as well.
func TestDigestIsThatOfTheDocumentsJSON(t *testing.T) {
	chosen := "<wildfire>"
	for name, doc := range map[string]annotate.Document{
		"no tracks": {}, "one": oneTrack,
		"several": {Tracks: []annotate.Track{oneTrack.Tracks[0], {SmokeType: &chosen, FalsePositiveTypes: []string{"sky"}}, trackOf()}},
	} {
		encoded, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if got := digestOf(doc); got != sha256.Sum256(encoded) {
			t.Errorf("%s: digest %x is not that of %s", name, got, encoded)
		}
	}
}

// TestWhatTheListShowedStaysAsItWas: the next days of a bundle are looked up while sequences of this one are still loaded, and
// read, and count, what the list showed of them.
func TestWhatTheListShowedStaysAsItWas(t *testing.T) {
	cfg, err := Config{DryRun: true, Thresholds: annotate.Thresholds{MinClusterSize: 1}}.checked()
	if err != nil {
		t.Fatal(err)
	}
	listed := &note{id: 1, ready: true}
	byHand := there{known: known{Sequence: annotation.Sequence{ID: 7, IsManual: true}, note: listed}}
	var out outcome
	if _, err := (&run{ctx: t.Context(), cfg: cfg}).annotate(byHand, &detectionPlan{}, &out); err != nil || out.annotation != annotationKept {
		t.Errorf("%q, %v", out.annotation, err)
	}
	if *listed != (note{id: 1, ready: true}) {
		t.Errorf("the list's note is now %+v", *listed)
	}
}
