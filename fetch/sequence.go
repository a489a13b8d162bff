package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pyrobundle/store"
)

// draft is a sequence on its way into the bundle.
type draft struct {
	record   store.SequenceRecord
	held     *store.SequenceRecord // as the bundle has it; nil: not at all
	listed   bool                  // the platform's detections were listed
	urls     map[int64]string      // presigned URLs by detection, of this listing: secrets
	problems []store.Problem       // what this sequence lacks
}

// sequence brings one sequence up to date: detections, then images, then the commit.
func (r *run) sequence(ctx context.Context, listed store.Sequence) error {
	memory := r.portion()
	defer memory.end()
	held, err := r.held(ctx, listed.ID, memory)
	if err != nil {
		return err
	}
	d := r.begin(listed, held)
	if !r.upToDate(listed, held) {
		err := r.list(ctx, d, memory)
		switch {
		case err == nil:
		case errors.Is(err, errGone):
			return r.vanished(ctx, listed.ID)
		case endsRun(ctx, err):
			return err
		default:
			return r.failed(ctx, listed.ID, err)
		}
	}
	if r.cfg.DryRun {
		return r.foresee(ctx, d)
	}
	if err := r.fetchImages(ctx, d); err != nil {
		return err
	}
	return r.commit(ctx, d)
}

// failed counts and records a sequence that could not be brought up to date. What is held of it stays.
func (r *run) failed(ctx context.Context, id int64, reason error) error {
	r.tally.count(func(result *Result) {
		result.Sequences.Total++
		result.Sequences.Failed++
	})
	return r.report(ctx, r.sequenceProblem(store.Failed, id, reason.Error()))
}

// begin starts from what is held, under the platform's newest document.
func (r *run) begin(listed store.Sequence, held *store.SequenceRecord) *draft {
	d := &draft{held: held}
	if held != nil {
		d.record = *held
		d.record.Detections = slices.Clone(held.Detections)
		d.record.Frames = slices.Clone(held.Frames)
	}
	d.record.Sequence = listed
	d.record.Coverage.Gone = false
	r.directory.attach(&d.record)
	return d
}

// list adds the platform's detections to the draft. What is held and not listed any more stays: a mirror that is asked
// for less, or of which something was deleted, loses nothing.
func (r *run) list(ctx context.Context, d *draft, memory *portion) error {
	limit := r.cfg.Limit
	if d.held != nil && (d.held.Coverage.Order == r.cfg.Order || d.held.Coverage.Limit == 0) { // all is all from either end
		limit = wider(limit, d.held.Coverage.Limit)
	}
	listing, err := r.listDetections(ctx, d.record.Sequence, limit, r.cfg.Order, memory)
	if err != nil {
		return err
	}
	d.listed = true
	d.urls = make(map[int64]string, len(listing.rows))
	at := make(map[int64]int, len(d.record.Detections))
	for i, row := range d.record.Detections {
		at[row.ID] = i
	}
	for _, row := range listing.rows {
		d.urls[row.ID] = row.URL
		if i, known := at[row.ID]; known {
			if !d.record.Detections[i].SameAs(row.Detection) {
				d.record.Detections[i] = row.Detection
			}
			continue
		}
		d.record.Detections = append(d.record.Detections, row.Detection)
	}
	slices.SortFunc(d.record.Detections, compareDetections)
	d.frame()
	if len(listing.missing) > 0 {
		d.problems = append(d.problems,
			r.sequenceProblem(store.Incomplete, d.record.Sequence.ID, strings.Join(listing.missing, "; ")))
	}
	now := r.cfg.Now().UTC()
	d.record.Coverage = store.Coverage{
		FetchedAt: now,
		Limit:     limit,
		Order:     r.cfg.Order,
		Complete:  len(listing.missing) == 0,
		Exhausted: listing.toEnd && len(listing.missing) == 0,
		Live:      now.Sub(d.record.Sequence.LastSeenAt.Time) < live,
	}
	return nil
}

// frame gives each bucket key its frame, in the order of the detections; what is known of a frame stays.
func (d *draft) frame() {
	known := make(map[string]store.Frame, len(d.record.Frames))
	for _, frame := range d.record.Frames {
		known[frame.Key] = frame
	}
	frames := make([]store.Frame, 0, len(known))
	placed := make(map[string]bool, len(known))
	for _, row := range d.record.Detections {
		if placed[row.BucketKey] {
			continue
		}
		placed[row.BucketKey] = true
		frame, ok := known[row.BucketKey]
		if !ok {
			frame = store.Frame{Key: row.BucketKey}
		}
		frames = append(frames, frame)
	}
	for _, frame := range d.record.Frames { // of no detection any more
		if !placed[frame.Key] {
			frames = append(frames, frame)
		}
	}
	d.record.Frames = frames
}

// rowsByKey are the ids of the detections that share a frame.
func (d *draft) rowsByKey() map[string][]int64 {
	rows := make(map[string][]int64, len(d.record.Frames))
	for _, row := range d.record.Detections {
		rows[row.BucketKey] = append(rows[row.BucketKey], row.ID)
	}
	return rows
}

// commit writes the sequence if anything about it is new, and what it lacks.
func (r *run) commit(ctx context.Context, d *draft) error {
	failed := slices.ContainsFunc(d.problems, func(p store.Problem) bool { return p.Class == store.Failed })
	if failed {
		d.record.Coverage.Complete = false
	}
	id := d.record.Sequence.ID
	changed := d.changed()
	if changed && !d.listed { // all that is held is as of now: the document says that its detections are the same
		d.record.Coverage.FetchedAt = r.cfg.Now().UTC()
	}
	if err := r.reportAll(ctx, d.problems); err != nil { // before the commit: killed in between, the next run tries again
		return err
	}
	if changed || d.held.Coverage != d.stamped() || r.damaged[id] {
		switch err := r.dst.PutSequence(ctx, d.record); {
		case errors.Is(err, store.ErrRefused): // for what it says: the others are none the worse for it
			return r.failed(ctx, id, err)
		case err != nil:
			return fmt.Errorf("commit sequence %d: %w", id, err)
		}
	}
	if d.listed {
		if err := r.solvedBut(ctx, id, d.problems); err != nil {
			return err
		}
	}
	r.account(d, changed, failed)
	return nil
}

// changed reports whether the draft says anything that the bundle does not.
func (d *draft) changed() bool {
	return d.held == nil ||
		!d.held.Sequence.SameAs(d.record.Sequence) ||
		!slices.EqualFunc(d.held.Detections, d.record.Detections, func(a, b store.Detection) bool {
			return a.ID == b.ID && a.SameAs(b)
		}) ||
		!slices.Equal(d.held.Frames, d.record.Frames) ||
		unloadable(d.held) != unloadable(&d.record)
}

// stamped is the draft's coverage with the held time: to have looked again is nothing new.
func (d *draft) stamped() store.Coverage {
	coverage := d.record.Coverage
	coverage.FetchedAt = d.held.Coverage.FetchedAt
	return coverage
}

func (r *run) account(d *draft, changed, failed bool) {
	id := d.record.Sequence.ID
	reason := unloadable(&d.record)
	became := "unchanged"
	r.tally.count(func(result *Result) {
		sequences := &result.Sequences
		sequences.Total++
		switch {
		case failed:
			sequences.Failed++
			became = "failed"
		case d.held == nil:
			sequences.New++
			became = "new"
		case changed:
			sequences.Updated++
			became = "updated"
		default:
			sequences.Unchanged++
		}
		if !failed {
			sequences.Successful++
		}
		result.Detections += int64(len(d.record.Detections))
		if reason != "" {
			result.Unloadable = JoinUnloadable(result.Unloadable, Unloadable{Reason: reason, Sequences: 1, IDs: []int64{id}})
		}
	})
	if changed && !failed {
		r.cfg.Completed(d.record.Sequence)
	}
	r.cfg.Log.Debug("sequence", "id", id, "fetch", became, "listed", d.listed,
		"detections", len(d.record.Detections), "frames", len(d.record.Frames), "problems", len(d.problems))
}
