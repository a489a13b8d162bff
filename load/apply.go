package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
)

// writeAttempts bounds how often a write is made whose answer was lost and that was found not to have happened, first
// included. Each is preceded by two looks, which have the patience of httpapi.
const writeAttempts = 4

// createOrRecognise returns the target's sequence for want: the one found, after making sure that it is ours, or a new one.
func (r *run) createOrRecognise(want wanted, found found, out *outcome) (there, error) {
	if found.err != nil {
		return there{}, found.err
	}
	if found.lanes > 0 && !r.cfg.RepairForeign {
		return there{foreign: fmt.Sprintf("another tool has split it: %d further sequences of it are on the target", found.lanes)}, nil
	}
	have := found.sequence
	if have == nil {
		if len(want.detections) == 0 { // annotators could do nothing with it
			return there{}, incomplete{errNoFrames}
		}
		created, isNew, err := r.createSequence(want.sequence)
		if err != nil {
			return there{}, err
		}
		if isNew {
			out.action = actionCreate
			return there{known: *created, isNew: true}, nil
		}
		have = created
	}
	if err := agrees(want.sequence, have.Sequence); err != nil {
		return there{}, err
	}
	out.drift = drift(want.sequence, have.Sequence)
	return there{known: *have}, nil
}

// createSequence creates a sequence, unless it turns out to be there: outside the days that were looked at, or since then.
func (r *run) createSequence(want annotation.NewSequence) (sequence *known, isNew bool, err error) {
	if r.cfg.DryRun {
		return &known{Sequence: annotation.Sequence{SourceAPI: want.SourceAPI, AlertAPIID: want.AlertAPIID}}, true, nil
	}
	created, ours, err := once(r,
		func() (known, error) {
			s, err := r.dst.CreateSequence(r.ctx, want)
			return known{Sequence: s}, err
		},
		func() (*known, error) { return r.lookUp(want) },
	)
	switch {
	case httpapi.Status(err) == http.StatusConflict:
		return nil, false, fmt.Errorf("%w on the target, of another camera: %w; not touched", errAlien, err)
	case err != nil:
		return nil, false, fmt.Errorf("create the sequence: %w", err)
	}
	return &created, ours, nil
}

// lookUp finds a sequence that the list of its days did not show: by the platform's id where the target can, else among
// those of its camera.
func (r *run) lookUp(want annotation.NewSequence) (*known, error) {
	filters := []annotation.SequenceFilter{{CameraID: want.CameraID}}
	if r.dst.Generation() == annotation.Newest {
		filters = append([]annotation.SequenceFilter{{PlatformAlertID: want.AlertAPIID}}, filters...)
	}
	for _, filter := range filters {
		filter.SourceAPI, filter.Annotations = want.SourceAPI, true
		for s, err := range r.dst.Sequences(r.ctx, filter) {
			if err != nil {
				return nil, fmt.Errorf("look for the sequence: %w", err)
			}
			if s.AlertAPIID == want.AlertAPIID {
				return knownOf(s), nil
			}
		}
	}
	return nil, nil //nolint:nilnil // not there is an answer
}

// detectionsOf reads the target's rows of a sequence; a new one has none.
func (r *run) detectionsOf(t there) ([]annotation.Detection, error) {
	if t.isNew || t.foreign != "" {
		return nil, nil
	}
	rows, err := r.dst.Detections(r.ctx, t.ID)
	if err != nil {
		return nil, fmt.Errorf("list its detections: %w", err)
	}
	return rows, nil
}

// createMissing uploads what plan says is missing and reads back what the target then has. An error means that the
// sequence is not whole.
func (r *run) createMissing(t there, want wanted, plan detectionPlan, out *outcome) (detectionPlan, error) {
	out.detections.Existing = int64(plan.present)
	out.missing = len(plan.missing)
	switch {
	case len(plan.missing) == 0:
		return plan, nil
	case r.cfg.DryRun:
		out.detections.Created = int64(len(plan.missing))
		if !t.isNew {
			out.wrote()
		}
		return compare(want, t, slices.Concat(plan.detections, plan.duplicates, standIns(plan.missing))), nil
	}
	r.cfg.Progress("uploads", 0, int64(len(plan.missing)))
	// Only as many sequences upload at once as fill the slots twice, in order of arrival: they end one after the other, and
	// while one is read back and annotated, the next ones keep the slots full.
	share := int64(min(len(plan.missing), r.cfg.Workers))
	if err := r.uploading.Acquire(r.ctx, share); err != nil {
		return plan, err
	}
	var (
		mu    sync.Mutex
		first error // by order of the detections, so that reports are stable
		at    = len(plan.missing)
		group errgroup.Group
	)
	group.SetLimit(r.cfg.Workers)
	for i, d := range plan.missing {
		group.Go(func() error {
			size, ours, err := r.upload(t, d)
			r.logDetection(out.id, d, size, ours, err)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				out.detections.Failed++
				if i < at || endsRun(err) {
					first, at = fmt.Errorf("detection %d: %w", d.id, err), i
				}
			case ours:
				out.detections.Created++
				out.images++
				out.imageBytes += size
				out.wrote()
			default:
				out.detections.Existing++
			}
			r.cfg.Progress("uploads", 1, 0)
			if endsRun(err) || r.ctx.Err() != nil {
				return err
			}
			return nil
		})
	}
	_ = group.Wait() // first has it
	r.uploading.Release(share)
	if first != nil {
		return plan, fmt.Errorf("%d of %d detections not uploaded: %w; run load again to complete it",
			out.detections.Failed, len(want.detections), first)
	}
	rows, err := r.dst.Detections(r.ctx, t.ID)
	if err != nil {
		return plan, fmt.Errorf("read back its detections: %w", err)
	}
	after := compare(want, t, rows)
	if len(after.missing) > 0 {
		return after, fmt.Errorf("%d of %d detections are not there after their upload, detection %d first; run load again to complete it",
			len(after.missing), len(want.detections), after.missing[0].id)
	}
	return after, nil
}

// standIns are what the missing detections would be on the target, for a dry run; see Planned.Document for their ids.
func standIns(missing []wantedDetection) []annotation.Detection {
	rows := make([]annotation.Detection, len(missing))
	for i, d := range missing {
		rows[i] = annotation.Detection{
			ID: -d.id, AlertAPIID: d.id, RecordedAt: annotation.Time{Time: microseconds(d.recordedAt)},
			AlgoPredictions: annotate.Predict(d.own),
		}
		if len(d.others) > 0 {
			others := annotate.Predict(d.others)
			rows[i].OthersBBoxes = &others
		}
	}
	return rows
}

// upload creates one detection with its image. ours is false where it turned out to be there without this run's doing.
func (r *run) upload(t there, d wantedDetection) (size int64, ours bool, err error) {
	if err := r.ctx.Err(); err != nil {
		return 0, false, err
	}
	stat, err := r.src.StatImage(r.ctx, d.image)
	if err != nil {
		return 0, false, fmt.Errorf("find its image: %w", err)
	}
	held := max(1, min(stat.Size, imageMemory))
	if err := r.images.Acquire(r.ctx, held); err != nil {
		return 0, false, err
	}
	defer r.images.Release(held)
	image, err := r.src.ReadImage(r.ctx, d.image)
	if err != nil {
		return 0, false, fmt.Errorf("read its image: %w", err)
	}
	upload, err := newDetection(d, t.ID, image)
	if err != nil {
		return 0, false, err
	}
	_, ours, err = once(r,
		func() (annotation.Detection, error) {
			select {
			case r.uploads <- struct{}{}:
				defer func() { <-r.uploads }()
			case <-r.ctx.Done():
				return annotation.Detection{}, r.ctx.Err()
			}
			return r.dst.CreateDetection(r.ctx, upload)
		},
		func() (*annotation.Detection, error) {
			rows, err := r.dst.Detections(r.ctx, t.ID)
			if err != nil {
				return nil, fmt.Errorf("look for the detection: %w", err)
			}
			if i := slices.IndexFunc(rows, func(row annotation.Detection) bool { return row.AlertAPIID == d.id }); i >= 0 {
				return &rows[i], nil
			}
			return nil, nil //nolint:nilnil // not there is an answer
		},
	)
	if httpapi.Status(err) == http.StatusConflict {
		if _, gone := r.dst.Sequence(r.ctx, t.ID); httpapi.Status(gone) == http.StatusNotFound {
			err = fmt.Errorf("its sequence was removed from the target meanwhile: %w", err)
		}
	}
	return int64(len(image)), ours, err
}

// removeDuplicates removes later rows of detections that the older generation made twice, when a POST whose answer was
// lost was made again (contract E14). It is for sequences whose annotation refers to the earlier rows alone.
func (r *run) removeDuplicates(t there, plan detectionPlan, out *outcome) error {
	for _, row := range removable(plan.detections, plan.duplicates) {
		if !r.cfg.DryRun {
			err := r.dst.DeleteDetection(r.ctx, row.ID)
			if err != nil && httpapi.Status(err) != http.StatusNotFound {
				return fmt.Errorf("remove the second row of detection %d: %w", row.AlertAPIID, err)
			}
		}
		if !t.isNew {
			out.wrote()
		}
	}
	return nil
}

// refreshTemporal brings a newer verdict of the temporal model to a sequence that was there before.
func (r *run) refreshTemporal(want wanted, t there, out *outcome) error {
	if t.isNew || r.dst.Generation() != annotation.Newest {
		return nil
	}
	fresh, stale := staleTemporal(want.temporal, t.Temporal)
	if !stale {
		return nil
	}
	out.wrote()
	if r.cfg.DryRun {
		return nil
	}
	if err := r.dst.RefreshTemporalScore(r.ctx, t.SourceAPI, t.AlertAPIID, fresh); err != nil {
		return fmt.Errorf("refresh its temporal score: %w", err)
	}
	return nil
}

// once does a write that must not happen twice, and whose answer may be lost on the way (contract G9): it never repeats
// it blindly, but looks whether it has happened, waits, and looks again. A 409 is resolved by looking, too (E34).
//
// ours is false where what was to be written is there without a write of this run having possibly made it. An error is
// the last write's, or says why it could not be looked.
func once[T any](r *run, write func() (T, error), look func() (*T, error)) (value T, ours bool, err error) {
	for attempt := 1; ; attempt++ {
		value, err = write()
		if err == nil {
			return value, true, nil
		}
		conflict, lost := httpapi.Status(err) == http.StatusConflict, answerLost(r.ctx, err)
		if !conflict && !lost {
			return value, false, err
		}
		ours = ours || lost
		seen, lookErr := look()
		if seen == nil && lookErr == nil && lost {
			if err := r.pause(attempt); err != nil {
				return value, false, err
			}
			seen, lookErr = look()
		}
		switch {
		case lookErr != nil:
			return value, false, fmt.Errorf("%w; whether it happened is not known: %w", err, lookErr)
		case seen != nil:
			return *seen, ours, nil
		case conflict || attempt == writeAttempts:
			return value, false, err
		}
	}
}

// answerLost reports whether a write may have happened although it returned err.
func answerLost(ctx context.Context, err error) bool {
	if ctx.Err() != nil || endsRun(err) {
		return false
	}
	var answer *httpapi.Error
	return errors.As(err, &answer) && answer.Ambiguous
}

// pause gives a write the time to appear.
func (r *run) pause(attempt int) error {
	timer := time.NewTimer(r.cfg.Patience << (attempt - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}
