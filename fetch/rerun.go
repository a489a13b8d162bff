package fetch

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// recall takes up what earlier runs left: their failures are tried again whatever days this run is asked for, and with
// RetryIncomplete what was incomplete too.
func (r *run) recall(ctx context.Context) error {
	for id := range r.damaged {
		if !r.onlyNamed(ctx, id) {
			r.due[id] = true
		}
	}
	if r.cfg.DryRun {
		var err error
		if r.imageBytes, err = r.meanImage(ctx); err != nil {
			return err
		}
	}
	if r.have == nil {
		return nil
	}
	for day, err := range r.have.Days(ctx) {
		if err != nil {
			return err
		}
		if day.OrganizationID == r.listedOrganization() {
			r.listed[day.Day] = day
		}
	}
	for p, err := range r.have.Problems(ctx) {
		if err != nil {
			return err
		}
		r.ledger.add(p)
		if day, organization, ok := failedDay(p); ok {
			r.failedDays[day] = append(r.failedDays[day], organization)
		}
		if p.SequenceID != 0 && (p.Class == store.Failed || r.cfg.RetryIncomplete) {
			r.due[p.SequenceID] = true
		}
	}
	return nil
}

// onlyNamed reports whether there is nothing of a damaged sequence but its id: what is lost is put on record when the bundle is
// opened, like a failure, so that only a damaged key can have named another one.
func (r *run) onlyNamed(ctx context.Context, id int64) bool {
	if r.have == nil {
		return false
	}
	_, err := r.have.Sequence(ctx, id)
	return errors.Is(err, store.ErrNotFound)
}

// dueDays are days outside of those asked for whose listing failed before, this account's or, for an administrator, anyone's.
func (r *run) dueDays() []store.Day {
	var days []store.Day
	for day, organizations := range r.failedDays {
		due := r.administrator() || slices.ContainsFunc(organizations, r.lists)
		if due && (day < r.cfg.From || day > r.cfg.To) {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return days
}

// revisit hands over the sequences that are due and that no listing brought up.
func (r *run) revisit(ctx context.Context, found visit) error {
	r.mu.Lock()
	due := slices.Sorted(maps.Keys(r.due))
	r.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.listers())
	for _, id := range due {
		if r.selected != nil && !r.selected[id] {
			continue
		}
		group.Go(func() error {
			sequence, err := r.src.Sequence(ctx, id)
			foreign := httpapi.Status(err) == http.StatusForbidden && !r.damaged[id]
			r.mu.Lock()
			r.foreign[id], r.shown[id] = foreign, !foreign
			r.mu.Unlock()
			switch {
			case err == nil:
				r.cfg.Progress("sequences", 0, 1)
				found(sequence)
				return nil
			case endsRun(ctx, err):
				return err
			case errors.Is(err, platform.ErrMissing):
				return r.vanished(ctx, id)
			case foreign:
				return nil
			}
			return r.failed(ctx, id, err)
		})
	}
	return group.Wait()
}

// vanished settles a sequence that failed before and that the platform does not have any more.
func (r *run) vanished(ctx context.Context, id int64) error {
	held, err := r.read(ctx, id)
	if err != nil {
		return err
	}
	reason := "gone from the platform before it was fetched"
	if held != nil {
		reason = "gone from the platform before it was fetched whole"
	}
	if held != nil && !held.Coverage.Gone {
		if err := r.markGone(ctx, id); err != nil {
			return err
		}
	}
	return r.settle(ctx, id, []store.Problem{r.sequenceProblem(store.Incomplete, id, reason)})
}

func (r *run) markGone(ctx context.Context, id int64) error {
	r.cfg.Log.Info("the platform does not have the sequence any more; the bundle keeps it", "sequence", id)
	r.tally.count(func(result *Result) { result.Gone++ })
	if r.dst == nil {
		return nil
	}
	return r.dst.MarkGone(ctx, id, true)
}

// onRecord reports whether a problem of that class concerns the sequence.
func (r *run) onRecord(id int64, class store.Class) bool {
	return slices.ContainsFunc(r.ledger.of(id), func(p store.Problem) bool { return p.Class == class })
}

// framesSettled reports whether every frame has its image or is known to have none.
func framesSettled(record *store.SequenceRecord) bool {
	return !slices.ContainsFunc(record.Frames, func(f store.Frame) bool { return f.Image.IsZero() && !f.Permanent })
}

// upToDate reports whether the platform's detections need not be listed again: what is held covers what is asked for, and
// nothing says that rows were added since.
func (r *run) upToDate(listed store.Sequence, held *store.SequenceRecord) bool {
	switch {
	case held == nil, r.damaged[listed.ID], held.Coverage.Live:
		return false
	case r.onRecord(listed.ID, store.Failed):
		return false
	case r.onRecord(listed.ID, store.Incomplete):
		if r.cfg.RetryIncomplete || !framesSettled(held) {
			return false
		}
	case !held.Coverage.Complete:
		return false
	}
	return covers(held.Coverage, r.cfg.Limit, r.cfg.Order) && !listed.GrewSince(held.Sequence)
}

// concerns reports whether a problem on record is this run's to report: not another account's, nor of sequences that were
// not asked for.
func (r *run) concerns(p store.Problem) bool {
	if _, organization, ok := failedDay(p); ok {
		return r.lists(organization)
	}
	return p.SequenceID == 0 || !r.foreign[p.SequenceID] && (r.selected == nil || r.selected[p.SequenceID])
}

// covers reports whether a fetch of that coverage has what limit and order ask for.
func covers(c store.Coverage, limit int, order store.Order) bool {
	return c.Exhausted || c.Limit == 0 || c.Order == order && wider(c.Limit, limit) == c.Limit
}

// wider returns the larger of two limits; 0, no limit, is the largest.
func wider(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
