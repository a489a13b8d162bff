package load

import (
	"fmt"
	"sort"
	"strconv"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// Result is what a Run did, or with DryRun would have done. A sequence that an interruption cut short is in none of
// Sequences; the detections created for it are in Detections.
type Result struct {
	Sequences    SequenceCounts
	Detections   DetectionCounts
	Images       int64 // uploaded
	ImageBytes   int64
	Annotations  AnnotationCounts
	Foreign      int64           // sequences left alone because another tool loaded them; they count as unchanged
	BoxesLeftOut int64           // boxes that the target would refuse; their frames were loaded without them
	Plan         []Planned       // with DryRun, by sequence id; Config.BriefPlan has it without documents
	Kept         []store.Problem // annotations that a person has worked on, with what was found; no problems
	UndoFile     string          // where replaced annotations were saved; "" where none was
	Drift        []store.Problem // metadata that changed since a sequence was loaded and cannot be updated; no problems
	Problems     []store.Problem // by sequence id
}

// SequenceCounts add up: Total is Successful and Failed; Successful is New, Updated and Unchanged.
type SequenceCounts struct{ Total, Successful, Failed, New, Updated, Unchanged int64 }

// DetectionCounts are of frames: Total is what the bundle has images for. It is more than the rest together where a
// sequence was not gone through to its end: interrupted, failed, or left to another tool.
type DetectionCounts struct{ Total, Created, Existing, Failed int64 }

// AnnotationCounts has each sequence at most once.
type AnnotationCounts struct{ Created, Updated, Unchanged, KeptReviewed, Failed int64 }

// Planned is one sequence of a dry run.
type Planned struct {
	SequenceID int64  `json:"sequence_id"`
	Action     string `json:"action"`     // create, complete, unchanged, foreign, failed
	Detections int    `json:"detections"` // to be created
	Annotation string `json:"annotation"` // create, update, unchanged, kept_reviewed, withheld, none

	// Document is what would be written. A detection that the target does not have yet has no id there: it stands with
	// the platform's id, negated.
	Document *annotate.Document `json:"document,omitempty"`
}

// What becomes of a sequence and of its annotation, under the names of the plan.
const (
	actionCreate    = "create"
	actionComplete  = "complete"
	actionUnchanged = "unchanged"
	actionForeign   = "foreign"
	actionFailed    = "failed"

	annotationCreate    = "create"
	annotationUpdate    = "update"
	annotationUnchanged = "unchanged"
	annotationKept      = "kept_reviewed"
	annotationWithheld  = "withheld"
	annotationNone      = "none"
)

// outcome is what became of one sequence. Its owner fills it; the run adds it to the Result in one piece.
type outcome struct {
	id         int64 // the platform's
	ended      bool  // not cut short
	failure    bool
	action     string // "" until known; then actionCreate or, once something was written, actionComplete
	annotation string // "" where it did not come to that
	document   *annotate.Document

	detections   DetectionCounts
	missing      int // detections to be created
	images       int64
	imageBytes   int64
	boxesLeftOut int64
	problems     []store.Problem
	kept, drift  string
	err          error // what ended it, for the run to look at: one that ends the run before others
}

func (o *outcome) problem(class store.Class, reason string) {
	o.problems = append(o.problems, store.Problem{
		Class: class, Kind: "sequence", ID: strconv.FormatInt(o.id, 10), SequenceID: o.id, Reason: reason,
	})
}

// want notes what the bundle cannot give.
func (o *outcome) want(w wanted) {
	o.detections.Total = int64(len(w.detections))
	o.boxesLeftOut = int64(w.boxesLeftOut)
	lacks := func(class store.Class, l lack) {
		if l.frames > 0 {
			o.problem(class, fmt.Sprintf("%d of %d frames have no image in the bundle: %s",
				l.frames, w.gone.frames+w.absent.frames+len(w.detections), l.reason))
		}
	}
	lacks(store.Failed, w.absent)
	lacks(store.Incomplete, w.gone)
}

// wrote notes a change of a sequence that was there before.
func (o *outcome) wrote() {
	if o.action != actionCreate {
		o.action = actionComplete
	}
}

// done ends a sequence that was gone through. It has failed where one of the steps has; each of them is told.
func (o outcome) done(steps ...error) outcome {
	o.ended = true
	if o.action == "" {
		o.action = actionUnchanged
	}
	for _, err := range steps {
		if err != nil {
			o = o.failed(err)
		}
	}
	return o
}

func (o outcome) failed(err error) outcome {
	o.ended, o.failure = true, true
	if o.err == nil || endsRun(err) {
		o.err = err
	}
	o.problem(classOf(err), err.Error())
	return o
}

// withheld is failed, before it came to the annotation.
func (o outcome) withheld(err error) outcome {
	o.annotation = annotationWithheld
	return o.failed(err)
}

// leftAlone is done, with a word to the user: nothing that another run of load could do would change it.
func (o outcome) leftAlone(plan detectionPlan) outcome {
	o.detections.Existing = int64(plan.present) - o.detections.Created
	o.problem(store.Incomplete, "another tool's, left alone: "+plan.foreign)
	o.action = actionForeign
	return o.done()
}

// add counts an outcome.
func (r *Result) add(o outcome, cfg Config) {
	r.Detections.Total += o.detections.Total
	r.Detections.Created += o.detections.Created
	r.Detections.Existing += o.detections.Existing
	r.Detections.Failed += o.detections.Failed
	r.Images += o.images
	r.ImageBytes += o.imageBytes
	r.BoxesLeftOut += o.boxesLeftOut
	switch o.annotation {
	case annotationCreate:
		r.Annotations.Created++
	case annotationUpdate:
		r.Annotations.Updated++
	case annotationUnchanged:
		r.Annotations.Unchanged++
	case annotationKept:
		r.Annotations.KeptReviewed++
	}
	if !o.ended {
		return
	}
	r.Sequences.Total++
	switch {
	case o.failure:
		r.Sequences.Failed++
		if o.annotation == annotationWithheld || o.annotation == annotationNone {
			r.Annotations.Failed++
		}
		o.action = actionFailed
	default:
		r.Sequences.Successful++
		switch o.action {
		case actionCreate:
			r.Sequences.New++
		case actionComplete:
			r.Sequences.Updated++
		default:
			r.Sequences.Unchanged++
		}
	}
	if o.action == actionForeign {
		r.Foreign++
	}
	r.Problems = append(r.Problems, o.problems...)
	if o.kept != "" {
		r.Kept = append(r.Kept, o.note("sequence", o.kept))
	}
	if o.drift != "" {
		r.Drift = append(r.Drift, o.note("sequence", o.drift))
	}
	if cfg.DryRun {
		planned := Planned{
			SequenceID: o.id, Action: o.action, Detections: o.missing,
			Annotation: orDefault(o.annotation, annotationNone), Document: o.document,
		}
		if cfg.BriefPlan {
			planned.Document = nil
		}
		r.Plan = append(r.Plan, planned)
	}
}

func (o *outcome) note(kind, reason string) store.Problem {
	return store.Problem{Kind: kind, ID: strconv.FormatInt(o.id, 10), SequenceID: o.id, Reason: reason}
}

// sort orders what concurrent workers brought in any order.
func (r *Result) sort() {
	sort.SliceStable(r.Plan, func(i, j int) bool { return r.Plan[i].SequenceID < r.Plan[j].SequenceID })
	for _, list := range [][]store.Problem{r.Kept, r.Drift, r.Problems} {
		sort.SliceStable(list, func(i, j int) bool { return list[i].SequenceID < list[j].SequenceID })
	}
}
