package load

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// run is one Run or Regenerate: what it works with, what bounds it, and what it has done so far.
type run struct {
	ctx  context.Context
	stop context.CancelCauseFunc // ends the run; the first cause is what it returns
	src  Sequences               // nil in Regenerate
	dst  Target
	cfg  Config
	undo *undoLog

	sequences chan struct{}       // a slot for each sequence in flight
	uploading *semaphore.Weighted // uploads in flight or next in turn; see createMissing
	uploads   chan struct{}       // a slot for each upload in flight
	images    *semaphore.Weighted // bytes of images held
	records   *semaphore.Weighted // bytes of the bundle's records held
	large     chan struct{}       // a slot for each sequence in flight that has many rows on the target, or a large annotation
	workers   sync.WaitGroup
	unlock    func() error

	mu     sync.Mutex
	result Result
}

// newRun checks the configuration and, where it is to write, takes the target's lock.
func newRun(ctx context.Context, src Sequences, dst Target, cfg Config) (*run, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if src != nil || cfg.SourceAPI != "" {
		if err := checkSource(cfg.SourceAPI); err != nil {
			return nil, err
		}
	}
	unlock := func() error { return nil }
	if !cfg.DryRun {
		if unlock, err = lockTarget(cfg, dst.BaseURL()); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	return &run{
		ctx: ctx, stop: stop, src: src, dst: dst, cfg: cfg, undo: newUndoLog(cfg, dst),
		sequences: make(chan struct{}, cfg.Workers), uploads: make(chan struct{}, cfg.Workers),
		uploading: semaphore.NewWeighted(2 * int64(cfg.Workers)),
		images:    semaphore.NewWeighted(imageMemory), records: semaphore.NewWeighted(recordMemory),
		large: make(chan struct{}, 1), unlock: unlock,
	}, nil
}

// start does work, that of one sequence, beside others, once there is a slot for it.
func (r *run) start(work func() outcome) {
	select {
	case r.sequences <- struct{}{}:
	case <-r.ctx.Done():
		return
	}
	r.cfg.Progress("sequences", 0, 1)
	r.workers.Go(func() {
		defer func() { <-r.sequences }()
		out := work()
		switch {
		case endsRun(out.err):
			out.ended = false
			r.stop(out.err)
		case out.failure && r.ctx.Err() != nil:
			out.ended = false // cut short, not failed
		}
		r.mu.Lock()
		r.result.add(out, r.cfg)
		r.mu.Unlock()
		if out.ended {
			r.cfg.Progress("sequences", 1, 0)
			r.log(out)
		}
	})
}

// progressed counts one of a unit, unless it was cut short.
func (r *run) progressed(unit string) {
	if r.ctx.Err() == nil {
		r.cfg.Progress(unit, 1, 0)
	}
}

// wait lets the sequences in flight end and returns what was done, and why the run ended if it was not by itself.
func (r *run) wait() (Result, error) {
	r.workers.Wait()
	err := context.Cause(r.ctx)
	r.stop(nil)
	r.result.UndoFile = r.undo.path()
	err = errors.Join(err, r.undo.close(), r.unlock())
	r.result.sort()
	return r.result, err
}

func (r *run) log(out outcome) {
	r.cfg.Log.Debug("sequence", "id", out.id, "action", orDefault(out.action, actionFailed),
		"annotation", out.annotation, "detections_created", out.detections.Created)
}

// logDetection says at debug what became of one upload, as the guide's debug mode promises.
func (r *run) logDetection(sequence int64, d wantedDetection, size int64, ours bool, err error) {
	attrs := []any{
		"sequence", sequence, "detection", d.id, "recorded_at", annotation.FormatTime(d.recordedAt),
		"boxes", len(d.own), "boxes_beside", len(d.others),
	}
	switch {
	case err != nil:
		r.cfg.Log.Debug("detection not uploaded", append(attrs, "error", err)...)
	case ours:
		r.cfg.Log.Debug("detection uploaded", append(attrs, "bytes", size)...)
	default:
		r.cfg.Log.Debug("detection was there already", attrs...)
	}
}

// logAnnotation says at debug what generation made of a sequence's boxes.
func (r *run) logAnnotation(sequence int64, frames []annotate.Frame, doc annotate.Document) {
	boxes := 0
	for _, frame := range frames {
		boxes += len(frame.Boxes)
	}
	tracks := make([]int, len(doc.Tracks))
	for i, track := range doc.Tracks {
		tracks[i] = len(track.Boxes)
	}
	r.cfg.Log.Debug("annotation generated", "sequence", sequence, "detections", len(frames), "boxes", boxes, "boxes_of_tracks", tracks)
}

// endsRun tells what is about the target as a whole from what is about one sequence.
func endsRun(err error) bool {
	return errors.Is(err, httpapi.ErrUnauthorized) || errors.Is(err, httpapi.ErrUnreachable)
}

// incomplete marks a failure that is proven permanent (DESIGN, promise 1).
type incomplete struct{ error }

func (e incomplete) Unwrap() error { return e.error }

func classOf(err error) store.Class {
	if errors.As(err, new(incomplete)) {
		return store.Incomplete
	}
	return store.Failed
}
