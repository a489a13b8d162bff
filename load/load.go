// Package load is phase two: it replays a bundle into an annotation API, exactly once and never over a person's work.
//
// A run reads what the target has, plans what is missing, and applies it, a UTC day at a time and a sequence at a time;
// with Config.DryRun it stops at the plan. docs/loading.md says what becomes of everything that a run may find. Its
// neighbours: store holds what is replayed, annotate turns boxes into annotations, load/annotation speaks to the target.
// Regenerate does the last step alone for what a target already has; Restore puts back annotations that a run replaced.
package load

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// Sequences is what load replays; *store.Bundle is one. Sequences come by started_at.
type Sequences interface {
	Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error]
	StatImage(ctx context.Context, h store.Hash) (store.Image, error)
	ReadImage(ctx context.Context, h store.Hash) ([]byte, error)
}

// Target is what load needs of an annotation API; *annotation.Client is one.
type Target interface {
	BaseURL() string
	Generation() annotation.Generation
	Redact(text string) string // makes what it has said fit for a message
	Mask(text string) string   // takes nothing but secrets out of it

	Sequences(ctx context.Context, f annotation.SequenceFilter) iter.Seq2[annotation.Sequence, error]
	Sequence(ctx context.Context, id int64) (annotation.Sequence, error)
	CreateSequence(ctx context.Context, s annotation.NewSequence) (annotation.Sequence, error)
	RefreshTemporalScore(ctx context.Context, sourceAPI string, alertAPIID int64, t annotation.Temporal) error

	Detections(ctx context.Context, sequenceID int64) iter.Seq2[annotation.Detection, error]
	CreateDetection(ctx context.Context, d annotation.NewDetection) (annotation.Detection, error)
	DeleteDetection(ctx context.Context, id int64) error

	AnnotationOf(ctx context.Context, sequenceID int64) (*annotation.SequenceAnnotation, error)
	CreateAnnotation(ctx context.Context, a annotation.NewAnnotation) (annotation.SequenceAnnotation, error)
	UpdateAnnotation(ctx context.Context, id int64, u annotation.Update) (annotation.SequenceAnnotation, error)
	DeleteAnnotation(ctx context.Context, id int64) error
}

// Run replays the selected sequences of src into dst and returns what it did, also beside an error.
//
// Problems of single sequences never end it; they are in Result. What ends it: a refused login (httpapi.ErrUnauthorized),
// a target that answers no more (httpapi.ErrUnreachable), another run of this machine on the same target (ErrTargetBusy),
// a bundle that cannot be read, and ctx. Running again takes up whatever is left, and writes nothing where nothing is.
func Run(ctx context.Context, src Sequences, dst Target, cfg Config) (Result, error) {
	run, err := newRun(ctx, src, dst, cfg)
	if err != nil {
		return Result{}, err
	}
	surroundings := newSurroundings(dst, cfg.SourceAPI)
	for record, err := range src.Sequences(run.ctx, cfg.Query) {
		if err != nil {
			run.stop(fmt.Errorf("read the bundle: %w", err))
			break
		}
		found := surroundings.find(run.ctx, record) // what the target has of it, in that day or the ones beside it
		weight := min(weigh(record), recordMemory)
		if run.records.Acquire(run.ctx, weight) != nil { // only ctx ends that, and wait says so
			break
		}
		run.start(func() outcome {
			defer run.records.Release(weight)
			return run.sequence(record, found)
		})
	}
	return run.wait()
}

// sequence brings one sequence of the bundle to the target: create or recognise it, create the detections it lacks, read
// back what it has, annotate that.
func (r *run) sequence(record store.SequenceRecord, found found) outcome {
	out := outcome{id: record.Sequence.ID}
	want, err := r.want(record)
	if err != nil {
		return out.failed(err)
	}
	out.want(want)

	there, err := r.createOrRecognise(want, found, &out)
	if err != nil {
		return out.failed(err)
	}
	there.turn = httpapi.TurnOf(r.large)
	defer there.turn.End()
	before, err := r.detectionsOf(there)
	if err != nil {
		return out.failed(err)
	}
	plan := compare(want, there, before)
	if plan.foreign != "" && !r.cfg.RepairForeign {
		return out.leftAlone(plan)
	}
	after, err := r.createMissing(there, want, plan, &out)
	if err != nil {
		return out.withheld(err) // an annotation without some of its detections would have to be made again
	}
	if after.foreign != "" && !r.cfg.RepairForeign { // since we looked, another tool has begun with it
		return out.leftAlone(after)
	}
	refreshed := r.refreshTemporal(want, there, &out) // a sequence has a score also where it gets no annotation
	ours, annotated := r.annotate(there, &after, &out)
	var removed error
	if ours { // nothing refers to second rows of a detection any more
		removed = r.removeDuplicates(there, &after, &out)
	}
	return out.done(refreshed, annotated, removed)
}

// What single sequences end with.
var (
	errAlien    = errors.New("another sequence has this id") // DESIGN, promise 10
	errNoBoxes  = errors.New("no usable boxes to annotate")
	errNoFrames = errors.New("not created: it has no frame with an image")
	errTwice    = errors.New("no annotation without boxes: a detection has two rows on the target, which would generate boxes from both")
)
