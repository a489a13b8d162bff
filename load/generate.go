package load

import (
	"fmt"
	"net/http"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
)

// annotate generates a sequence's annotation from the detections that the target has, and writes it. It is the same for
// Run and Regenerate. ours says that the annotation there, if any, is now the generated one, so that no other row of a
// detection is referred to.
//
// The decision is made on what the list showed, and made again on a fresh reading right before anything is replaced. A
// person who saves in the instant between that reading and the write is not protected: the API has no conditional
// update.
func (r *run) annotate(t there, rows []annotation.Detection, out *outcome) (ours bool, err error) {
	r.cfg.Progress("annotations", 0, 1)
	defer r.cfg.Progress("annotations", 1, 0)
	frames := framesOfRows(rows)
	doc := annotate.Generate(frames, r.cfg.Thresholds)
	r.logAnnotation(out.id, frames, doc)
	var (
		seen    = t.note
		current *annotation.SequenceAnnotation // what seen was read from; nil: a list
		did     verdict                        // a write whose answer was lost
	)
	for attempt := 1; ; attempt++ {
		verdict := decide(doc, seen, r.cfg)
		if verdict == leaveEqual && did != "" {
			verdict = did // the lost write has happened
			return true, out.annotated(verdict, seen, doc)
		}
		if !verdict.writes() || r.cfg.DryRun {
			return verdict.leavesOurs(seen), out.annotated(verdict, seen, doc)
		}
		if seen != nil && current == nil {
			if seen, current, err = r.reread(t); err != nil {
				out.annotation = annotationNone
				return false, err
			}
			attempt--
			continue
		}
		err := r.write(verdict, t, seen, current, doc)
		if err == nil {
			return true, out.annotated(verdict, seen, doc)
		}
		lost := answerLost(r.ctx, err)
		status := httpapi.Status(err)
		if attempt == writeAttempts || !lost && status != http.StatusConflict && status != http.StatusNotFound {
			out.annotation = annotationNone
			return false, fmt.Errorf("%s its annotation: %w", verdict, err)
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

// reread reads the annotation of a sequence anew.
func (r *run) reread(t there) (*note, *annotation.SequenceAnnotation, error) {
	current, err := r.dst.AnnotationOf(r.ctx, t.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("read its annotation: %w", err)
	}
	return noteOf(current), current, nil
}

// write does what was decided. What a person has worked on is saved before.
func (r *run) write(v verdict, t there, seen *note, current *annotation.SequenceAnnotation, doc annotate.Document) error {
	if seen != nil && seen.worked != "" {
		if err := r.undo.save(t.Sequence, *current, doc); err != nil {
			return undoError{err}
		}
	}
	create := annotation.NewAnnotation{
		SequenceID: t.ID, Document: doc, ProcessingStage: annotation.StageReadyToAnnotate,
	}
	if len(doc.Tracks) == 0 {
		create.Thresholds = &r.cfg.Thresholds // the API generates by itself then, and is to come to the same
	}
	switch v {
	case replaceAnew:
		if err := r.dst.DeleteAnnotation(r.ctx, seen.id); err != nil && httpapi.Status(err) != http.StatusNotFound {
			return err
		}
		fallthrough
	case writeNew:
		created, err := r.dst.CreateAnnotation(r.ctx, create)
		if err == nil && digestOf(created.Document) != digestOf(doc) {
			return fmt.Errorf("the target made %d tracks of it, where %d were sent", len(created.Document.Tracks), len(doc.Tracks))
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
	leaveAny    verdict = "leave any"   // there is one, and none is to be touched
	makeNone    verdict = "make none"   // no usable boxes, which is fine
	lackBoxes   verdict = "lack boxes"  // no usable boxes, which is a failure
)

func (v verdict) writes() bool { return v == writeNew || v == replace || v == replaceAnew }

// leavesOurs reports whether, nothing being written, no annotation refers to other rows than the generated one does.
func (v verdict) leavesOurs(seen *note) bool {
	return v.writes() || v == leaveEqual || v == makeNone && seen == nil
}

// decide holds the rules of docs/loading.md, "The annotation". A person's work goes before everything but Overwrite.
func decide(doc annotate.Document, seen *note, cfg Config) verdict {
	if seen != nil {
		reviewed := seen.worked != ""
		switch {
		case reviewed && cfg.Existing != ExistingOverwrite:
			return leaveKept
		case cfg.Existing == ExistingKeep:
			return leaveAny
		}
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
	case leaveEqual, leaveAny:
		o.annotation = annotationUnchanged
	case makeNone:
		o.annotation = annotationNone
	case lackBoxes:
		o.annotation = annotationNone
		return incomplete{errNoBoxes}
	}
	if v.writes() {
		o.wrote()
	}
	return nil
}
