package load

import (
	"fmt"
	"net/http"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
)

// annotate generates a sequence's annotation from the detections that the target has, and writes it. It is the same for
// Run and Regenerate. ours says that the annotation there, if any, is now the generated one and no person's before, so
// that nothing needs another row of a detection.
//
// The decision is made on what the list showed, and made again on a fresh reading right before anything is replaced or
// removed. A person who saves in the instant between that reading and the write is not protected: the API has no
// conditional update.
func (r *run) annotate(t there, plan *detectionPlan, out *outcome) (ours bool, err error) {
	r.cfg.Progress("annotations", 0, 1)
	defer r.progressed("annotations")
	frames := framesOfRows(plan.detections)
	doc := annotate.Generate(frames, r.cfg.Thresholds)
	r.logAnnotation(out.id, frames, doc)
	// Of a document without boxes the API makes its own, from every row that it has.
	misled := len(doc.Tracks) == 0 && len(annotate.Generate(framesOfRows(plan.staying()), r.cfg.Thresholds).Tracks) > 0
	var (
		seen    = t.note
		current *annotation.SequenceAnnotation // what seen was read from; nil: a list
		fresh   = t.isNew                      // seen is no list's
		worked  bool                           // a person has, as one of the readings showed
		did     verdict                        // a write whose answer was lost
		last    error                          // of the write before
	)
	for attempt := 1; ; attempt++ {
		if t.IsManual {
			seen = seen.byHand()
		}
		worked = worked || seen.byPerson()
		verdict := decide(doc, seen, len(plan.duplicates) > 0, r.cfg)
		if verdict == leaveEqual && did != "" {
			verdict = did // the lost write has happened
			return !worked, out.annotated(verdict, seen, doc)
		}
		if misled && verdict.writes() {
			out.annotation = annotationNone
			return false, incomplete{errTwice}
		}
		if r.cfg.DryRun {
			return !worked && verdict.leavesOurs(seen), out.annotated(verdict, seen, doc)
		}
		if !fresh && (seen != nil && verdict.writes() || len(plan.removable) > 0) {
			if seen, current, err = r.reread(t); err != nil {
				out.annotation = annotationNone
				return false, err
			}
			fresh = true
			attempt--
			continue
		}
		if !verdict.writes() {
			return !worked && verdict.leavesOurs(seen), out.annotated(verdict, seen, doc)
		}
		if attempt > writeAttempts { // the last look was for what the write before has done
			out.annotation = annotationNone
			return false, last
		}
		err := r.write(verdict, t, seen, current, doc, plan, out)
		if err == nil {
			return !worked, out.annotated(verdict, seen, doc)
		}
		lost := answerLost(r.ctx, err)
		status := httpapi.Status(err)
		last = fmt.Errorf("%s its annotation: %w", verdict, err)
		if !lost && (attempt == writeAttempts || status != http.StatusConflict && status != http.StatusNotFound) {
			out.annotation = annotationNone
			return false, last
		}
		if lost {
			did = verdict
			if err := r.pause(attempt); err != nil {
				out.annotation = annotationNone
				return false, err
			}
		}
		if seen, current, err = r.reread(t); err != nil {
			out.annotation = annotationNone
			return false, err
		}
	}
}

// framesOfRows is what generation sees: rows are by recorded_at, then the platform's id, and one for each detection.
func framesOfRows(rows []annotation.Detection) []annotate.Frame {
	frames := make([]annotate.Frame, len(rows))
	for i, row := range rows {
		frames[i] = annotate.Frame{DetectionID: row.ID, Boxes: row.AlgoPredictions.Boxes()}
	}
	return frames
}

// reread reads the annotation of a sequence of the target anew.
func (r *run) reread(t there) (*note, *annotation.SequenceAnnotation, error) {
	current, err := r.annotationOf(t.ID, t.turn)
	if err != nil {
		return nil, nil, fmt.Errorf("read its annotation: %w", err)
	}
	return noteOf(current, r.dst.Redact), current, nil
}

// write does what was decided. What a person has worked on is saved before.
//
// A document without boxes makes the API generate by itself, from every row that it has: second rows of a detection go
// before.
func (r *run) write(v verdict, t there, seen *note, current *annotation.SequenceAnnotation, doc annotate.Document, plan *detectionPlan, out *outcome) error {
	if seen.byPerson() {
		if err := r.undo.save(t.Sequence, *current, doc); err != nil {
			return undoError{err}
		}
	}
	create := annotation.NewAnnotation{
		SequenceID: t.ID, Document: doc, ProcessingStage: annotation.StageReadyToAnnotate,
	}
	empty := len(doc.Tracks) == 0
	if empty {
		create.Thresholds = &r.cfg.Thresholds // the API is to come to the same
	}
	switch v {
	case replaceAnew:
		if err := r.dst.DeleteAnnotation(r.ctx, seen.id); err != nil && httpapi.Status(err) != http.StatusNotFound {
			return err
		}
		fallthrough
	case writeNew:
		if empty {
			if err := r.removeDuplicates(t, plan, out); err != nil {
				return err
			}
		}
		created, err := r.dst.CreateAnnotation(r.ctx, create)
		if err == nil && digestOf(created.Document) != digestOf(doc) {
			err = fmt.Errorf("the target made %d tracks of it, where %d were sent", len(created.Document.Tracks), len(doc.Tracks))
			if empty { // better none than one that the thresholds contradict
				if left := r.dst.DeleteAnnotation(r.ctx, created.ID); left != nil && httpapi.Status(left) != http.StatusNotFound {
					err = fmt.Errorf("%w; it is still there: %w", err, left)
				}
			}
		}
		return err
	default:
		_, err := r.dst.UpdateAnnotation(r.ctx, seen.id, annotation.Update{
			Document: doc, ProcessingStage: annotation.StageReadyToAnnotate,
		})
		return err
	}
}

// verdict is what is to become of a sequence's annotation.
type verdict string

const (
	writeNew    verdict = "create"      // there is none
	replace     verdict = "update"      // there is another
	replaceAnew verdict = "replace"     // there is another; an update without boxes would make the API generate with its own thresholds
	leaveEqual  verdict = "leave equal" // there is this one
	leaveKept   verdict = "leave kept"  // there is one that a person has worked on
	leaveTwice  verdict = "leave twice" // there is one that a person has worked on, in a sequence with second rows; see decide
	leaveAny    verdict = "leave any"   // there is one, and none is to be touched
	makeNone    verdict = "make none"   // no usable boxes, which is fine
	lackBoxes   verdict = "lack boxes"  // no usable boxes, which is a failure
)

func (v verdict) writes() bool { return v == writeNew || v == replace || v == replaceAnew }

// leavesOurs reports whether, nothing being written, no annotation refers to other rows than the generated one does.
func (v verdict) leavesOurs(seen *note) bool {
	return v.writes() || v == leaveEqual || (v == makeNone || v == lackBoxes) && seen == nil
}

// decide holds the rules of docs/loading.md, "The annotation". A person's work goes before everything but Overwrite.
//
// twice says that a detection has a second row. A later run removes it where no work shows, so work on such a sequence is
// overwritten only by what leaves it showing; else restore would find its rows gone.
func decide(doc annotate.Document, seen *note, twice bool, cfg Config) verdict {
	switch {
	case seen.byPerson() && cfg.Existing != ExistingOverwrite:
		return leaveKept
	case seen.byPerson() && twice && (!seen.lasting || len(doc.Tracks) == 0):
		return leaveTwice
	case seen != nil && cfg.Existing == ExistingKeep:
		return leaveAny
	}
	if len(doc.Tracks) == 0 {
		switch cfg.NoPredictions {
		case NoPredictionsSkip:
			return makeNone
		case NoPredictionsEmpty:
		default:
			return lackBoxes
		}
	}
	switch {
	case seen == nil:
		return writeNew
	case seen.says(doc):
		return leaveEqual
	case len(doc.Tracks) == 0:
		return replaceAnew
	default:
		return replace
	}
}

// annotated notes what became of the annotation, and returns an error where that is a failure of the sequence.
func (o *outcome) annotated(v verdict, seen *note, doc annotate.Document) error {
	switch v {
	case writeNew:
		o.annotation, o.document = annotationCreate, &doc
	case replace, replaceAnew:
		o.annotation, o.document = annotationUpdate, &doc
	case leaveKept:
		o.annotation, o.kept = annotationKept, "its annotation is kept: "+seen.worked
	case leaveTwice:
		o.annotation, o.kept = annotationKept, "its annotation is kept, though it was to be overwritten: "+seen.worked+"; a detection has two rows there, and restore may need both"
	case leaveEqual, leaveAny:
		o.annotation = annotationUnchanged
	case makeNone:
		o.annotation = annotationNone
	case lackBoxes:
		o.annotation = annotationNone
		if seen != nil {
			return incomplete{fmt.Errorf("%w; the annotation that it has stays", errNoBoxes)}
		}
		return incomplete{errNoBoxes}
	}
	if v.writes() {
		o.wrote()
	}
	return nil
}
