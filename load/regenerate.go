package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// Regenerate annotates what the target already has, recorded on cfg.Query's days, from its own detections: the last step
// of Run alone, under the same rules. There is no bundle; cfg.Query's camera, organization and ids (the platform's)
// restrict it, and an empty cfg.SourceAPI takes every source.
//
// A sequence that another tool has loaded or split is annotated like any other: every one of them from what it holds.
func Regenerate(ctx context.Context, dst Target, cfg Config) (Result, error) {
	if cfg.Query.From == "" {
		return Result{}, errors.New("annotate what the target has: want a first day")
	}
	last := orDefault(cfg.Query.To, store.DayOf(time.Now()))
	run, err := newRun(ctx, nil, dst, cfg)
	if err != nil {
		return Result{}, err
	}
	for range store.Days(cfg.Query.From, last) {
		run.cfg.Progress("days", 0, 1)
	}
	absent := map[int64]bool{} // of those asked for by their ids
	for _, id := range cfg.Query.IDs {
		absent[id] = true
	}
	whole := true
	for day := range store.Days(cfg.Query.From, last) {
		if run.ctx.Err() != nil {
			break
		}
		whole = run.regenerateDay(day, absent) && whole
		run.progressed("days")
	}
	if whole {
		run.absent(absent)
	}
	return run.wait()
}

// regenerateDay starts the sequences of one day, and takes them off those that are absent; whole says that all of the day were
// listed. Writing annotations moves no sequence in the list that is being read.
func (r *run) regenerateDay(day store.Day, absent map[int64]bool) (whole bool) {
	filter := annotation.SequenceFilter{
		SourceAPI: r.cfg.SourceAPI, CameraID: r.cfg.Query.CameraID, Annotations: true,
		From: day.Start(), To: day.End().Add(-time.Microsecond),
	}
	for sequence, err := range r.dst.Sequences(r.ctx, filter) {
		if err != nil {
			err = fmt.Errorf("list the target's sequences of %s: %w", day, err)
			if endsRun(err) {
				r.stop(err)
			} else if r.ctx.Err() == nil {
				r.dayFailed(day, err)
			}
			return false
		}
		if r.selected(sequence) {
			delete(absent, sequence.AlertAPIID)
			known := knownOf(sequence, r.dst.Redact)
			r.start(func() outcome { return r.regenerate(known) })
		}
	}
	return r.ctx.Err() == nil
}

// absent names what was asked for by its id and is not there.
func (r *run) absent(ids map[int64]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		r.result.Problems = append(r.result.Problems, store.Problem{
			Class: store.Incomplete, Kind: "sequence", ID: strconv.FormatInt(id, 10), SequenceID: id,
			Reason: "not on the target in the days asked for",
		})
	}
}

func (r *run) selected(s annotation.Sequence) bool {
	q := r.cfg.Query
	return (q.OrganizationID == 0 || q.OrganizationID == s.OrganisationID) &&
		(len(q.IDs) == 0 || slices.Contains(q.IDs, s.AlertAPIID))
}

// regenerate annotates one sequence of the target.
func (r *run) regenerate(k *known) outcome {
	out := outcome{id: k.AlertAPIID}
	t := there{known: *k, turn: httpapi.TurnOf(r.large)}
	defer t.turn.End()
	rows, err := r.detectionsOf(t)
	if err != nil {
		return out.failed(err)
	}
	var plan detectionPlan // with nothing to be removed: there is no bundle that would say what is right
	plan.detections, plan.duplicates = oncePerDetection(rows)
	out.detections.Total, out.detections.Existing = int64(len(plan.detections)), int64(len(plan.detections))
	_, err = r.annotate(t, &plan, &out)
	return out.done(err)
}

// dayFailed records a day whose sequences could not be listed; how many they are is not known.
func (r *run) dayFailed(day store.Day, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Problems = append(r.result.Problems, store.Problem{
		Class: store.Failed, Kind: "day", ID: string(day), Reason: err.Error(),
	})
}
