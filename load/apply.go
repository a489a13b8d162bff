package load

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
)

// detectionsOf reads the target's rows of a sequence; a new one has none, and one that is left alone is not asked for.
func (r *run) detectionsOf(t there) ([]annotation.Detection, error) {
	if t.isNew || t.ID == 0 {
		return nil, nil
	}
	rows, err := r.rowsOf(t.ID, t.turn)
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
	if err := r.uploadAll(t, plan.missing, out); err != nil {
		return plan, fmt.Errorf("%d of %d detections not uploaded: %w; run load again to complete it",
			out.detections.Failed, len(want.detections), err)
	}
	rows, err := r.rowsOf(t.ID, t.turn)
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

// uploadAll uploads missing detections side by side. Its error is that of the first in their order, so that reports are
// stable, or one that ends the run.
func (r *run) uploadAll(t there, missing []wantedDetection, out *outcome) error {
	r.cfg.Progress("uploads", 0, int64(len(missing)))
	// Only as many sequences upload at once as fill the slots twice, in order of arrival: they end one after the other, and
	// while one is read back and annotated, the next ones keep the slots full.
	share := int64(min(len(missing), r.cfg.Workers))
	if err := r.uploading.Acquire(r.ctx, share); err != nil {
		return err
	}
	defer r.uploading.Release(share)
	var (
		mu    sync.Mutex
		first error
		at    int // the place of first
		slots = make(chan struct{}, r.cfg.Workers)
		group sync.WaitGroup
	)
	for i, d := range missing {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			size, ours, err := r.upload(t, d)
			r.logDetection(out.id, d, size, ours, err)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				if r.ctx.Err() == nil && !endsRun(err) { // else it was cut short, not failed
					out.detections.Failed++
				}
				if first == nil || endsRun(err) || i < at && !endsRun(first) {
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
			r.progressed("uploads")
		})
	}
	group.Wait()
	return first
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
	_, how, err := once(r,
		func() (annotation.Detection, error) {
			select {
			case r.uploads <- struct{}{}:
				defer func() { <-r.uploads }()
			case <-r.ctx.Done():
				return annotation.Detection{}, r.ctx.Err()
			}
			return r.dst.CreateDetection(r.ctx, upload)
		},
		func(bool) (*annotation.Detection, error) {
			for row, err := range r.dst.Detections(r.ctx, t.ID) {
				switch {
				case err != nil:
					return nil, fmt.Errorf("look for the detection: %w", err)
				case row.AlertAPIID == d.id:
					return &row, nil
				}
			}
			return nil, nil //nolint:nilnil // not there is an answer
		},
	)
	if httpapi.Status(err) == http.StatusConflict {
		if _, gone := r.dst.Sequence(r.ctx, t.ID); httpapi.Status(gone) == http.StatusNotFound {
			err = fmt.Errorf("its sequence was removed from the target meanwhile: %w", err)
		}
	}
	return int64(len(image)), how != wasThere, err
}

// removeDuplicates removes later rows of detections that the older generation made twice, when a POST whose answer was
// lost was made again (contract E14). It is for sequences that nobody has worked on, and where no annotation refers to
// those rows.
func (r *run) removeDuplicates(t there, plan *detectionPlan, out *outcome) error {
	for len(plan.removable) > 0 {
		row := plan.removable[0]
		if !r.cfg.DryRun {
			err := r.dst.DeleteDetection(r.ctx, row.ID)
			if err != nil && httpapi.Status(err) != http.StatusNotFound {
				return fmt.Errorf("remove the second row of detection %d: %w", row.AlertAPIID, err)
			}
		}
		if !t.isNew {
			out.wrote()
		}
		plan.removable = plan.removable[1:]
		plan.duplicates = slices.DeleteFunc(plan.duplicates, func(d annotation.Detection) bool { return d.ID == row.ID })
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
