package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// maxReadings is how often a listing that changes while it is read is read. A day's rows change by the minute at most and a
// page takes seconds, so a fourth disturbance in a row is no coincidence.
const maxReadings = 4

// listers is how many days are listed at once; sequences follow each other closely enough with a few. Where only the first
// so many sequences are wanted, the days are listed in their order: which ones they are must not depend on chance (E4).
func (r *run) listers() int {
	if r.cfg.MaxSequences > 0 {
		return 1
	}
	return min(4, r.cfg.Workers)
}

// listDays lists the days asked for, and those whose listing failed before, and hands over their sequences.
func (r *run) listDays(ctx context.Context, found visit) error {
	days := append(r.cfg.days(), r.dueDays()...)
	r.cfg.Progress("days", 0, int64(len(days)))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.listers())
	for _, day := range days {
		group.Go(func() error {
			return r.listDay(groupCtx, day, found)
		})
	}
	return group.Wait()
}

// listDay reads a day's listing until it holds still (E19) and hands over each of its sequences once. A listing that fails
// is a problem of its own; the sequences read until then are fetched all the same (E1).
func (r *run) listDay(ctx context.Context, day store.Day, found visit) error {
	seen := map[int64]bool{}
	var bad unreadable
	read, whole := steady, true
	var err error
	listed := sync.OnceFunc(func() { r.progressed(ctx, "days") })
	defer listed()
	for range maxReadings {
		bad = unreadable{}
		read, err = r.readDay(ctx, day, func(page platform.Page[store.Sequence]) {
			bad.add(page.Unreadable...)
			r.expect(day, page.Rows, seen)
			listed()
			for _, sequence := range page.Rows {
				if store.DayOf(sequence.StartedAt.Time) != day {
					bad.add(fmt.Errorf("sequence %d started on another day, at %s",
						sequence.ID, sequence.StartedAt.UTC().Format(time.RFC3339)))
					continue
				}
				if !seen[sequence.ID] {
					seen[sequence.ID] = true
					r.notice(sequence)
					whole = r.choose(sequence, found) && whole
				}
			}
		})
		if err != nil || read != shifted {
			break
		}
	}
	switch {
	case err != nil && endsRun(ctx, err):
		return err
	case err != nil:
	case read == shifted:
		err = fmt.Errorf("its listing changed each of the %d times it was read", maxReadings)
	case read == repeated:
		err = fmt.Errorf("the platform answers every page of its listing with the first: no more than %d sequences can be listed", len(seen))
	case bad.rows > 0:
		err = fmt.Errorf("%d rows of its listing cannot be read, the first: %w", bad.rows, bad.first)
	default:
		return r.dayListed(ctx, day, seen, whole)
	}
	return r.dayFailed(ctx, day, len(seen), err)
}

// dayListed settles a day whose listing was read to its end. A run that left some of it out says nothing of the day: what
// failed of it before is not made good.
func (r *run) dayListed(ctx context.Context, day store.Day, seen map[int64]bool, whole bool) error {
	r.tally.count(func(result *Result) { result.Days++ })
	unasked, err := r.findGone(ctx, day, seen)
	switch {
	case err != nil:
		return err
	case len(unasked) > 0:
		return r.dayFailed(ctx, day, len(seen), fmt.Errorf("%d sequences of the bundle are missing from its listing, and the platform does not say whether they are gone, the first: %w",
			len(unasked), unasked[0]))
	case !whole:
		return nil
	}
	if err := r.settleDay(ctx, day); err != nil {
		return err
	}
	ended := r.cfg.Now().After(day.End().Add(live))
	return r.putDay(ctx, day, len(seen), ended)
}

func (r *run) dayFailed(ctx context.Context, day store.Day, sequences int, reason error) error {
	return errors.Join(r.report(ctx, r.dayProblem(day, reason.Error())), r.putDay(ctx, day, sequences, false))
}

func (r *run) readDay(ctx context.Context, day store.Day, take func(platform.Page[store.Sequence])) (reading, error) {
	return readPages(pages[store.Sequence]{
		size: platform.MaxSequencesPage,
		id:   func(s store.Sequence) int64 { return s.ID },
		at:   func(s store.Sequence) time.Time { return s.StartedAt.Time },
		read: func(offset, limit int) (platform.Page[store.Sequence], error) {
			return r.src.Sequences(ctx, platform.SequencesQuery{
				Day: day, RiskScore: r.cfg.RiskScore, Limit: limit, Offset: offset,
			})
		},
		take: func(page platform.Page[store.Sequence]) bool {
			take(page)
			return false
		},
	})
}

// expect tells the progress of a page's sequences before they are handed over one by one, which takes as long as fetching
// them: with the days that are listed, this is what an estimate can be made of.
func (r *run) expect(day store.Day, page []store.Sequence, seen map[int64]bool) {
	r.mu.Lock()
	news, again := 0, 0
	for _, s := range page {
		switch {
		case seen[s.ID] || store.DayOf(s.StartedAt.Time) != day || r.selected != nil && !r.selected[s.ID]:
		case r.due[s.ID]:
			again++
		default:
			news++
		}
	}
	if r.cfg.MaxSequences > 0 {
		news = min(news, max(0, r.cfg.MaxSequences-r.taken))
	}
	r.mu.Unlock()
	r.cfg.Progress("sequences", 0, int64(news+again))
}

// notice learns from a listed sequence whether the listings of an administrator show other organizations than his own: on
// servers before 2026-07-23 they do not (contract A.2).
func (r *run) notice(s store.Sequence) {
	camera := r.directory.cameras[s.CameraID]
	if r.administrator() && camera != nil && camera.OrganizationID != r.src.OrganizationID() {
		r.seesOthers.Store(true)
	}
}

// choose hands over a listed sequence if it is among those asked for, and reports whether it is. What is due is tried again
// beside MaxSequences.
func (r *run) choose(s store.Sequence, found visit) (chosen bool) {
	if r.selected != nil && !r.selected[s.ID] {
		return false
	}
	r.mu.Lock()
	if r.selected != nil {
		r.shown[s.ID] = true
	}
	due := r.due[s.ID]
	delete(r.due, s.ID)
	full := !due && r.cfg.MaxSequences > 0 && r.taken >= r.cfg.MaxSequences
	if !due && !full {
		r.taken++
	}
	r.mu.Unlock()
	if full {
		r.tally.count(func(result *Result) { result.LeftOut++ })
		return false
	}
	found(s)
	return true
}

// selection is how many of MaxSequences were taken, and which of the sequences asked for this run says nothing of: neither a
// listing nor what was due brought them up, or they are another organization's.
func (r *run) selection() (taken int, unshown []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.selected {
		if !r.shown[id] {
			unshown = append(unshown, id)
		}
	}
	slices.Sort(unshown)
	return r.taken - r.cfg.Taken, unshown
}

// settleDay strikes off what failed of a day, now that a listing has brought up all that the account's listings show.
func (r *run) settleDay(ctx context.Context, day store.Day) error {
	for _, organization := range append(r.failedDays[day], r.listedOrganization()) {
		if !r.lists(organization) {
			continue
		}
		if err := r.solved(ctx, "day", dayID(day, organization)); err != nil {
			return err
		}
	}
	return nil
}

// putDay records the listing. A record that would only repeat the last one is not written: a rerun with nothing new
// leaves the bundle as it is.
func (r *run) putDay(ctx context.Context, day store.Day, sequences int, complete bool) error {
	if r.dst == nil {
		return nil
	}
	record := store.DayRecord{
		Day: day, OrganizationID: r.listedOrganization(), ListedAt: r.cfg.Now().UTC(), Sequences: sequences, Complete: complete,
	}
	before := r.listed[day]
	before.ListedAt = record.ListedAt
	if before == record {
		return nil
	}
	return r.dst.PutDay(ctx, record)
}

// findGone marks the sequences of a day that the bundle holds and its whole listing did not show. Being absent is no proof
// by itself (another organization's, or filtered), so the platform is asked for each. unasked are the questions that failed.
func (r *run) findGone(ctx context.Context, day store.Day, seen map[int64]bool) (unasked []error, err error) {
	if r.have == nil || r.filtered() {
		return nil, nil
	}
	var absent []int64
	for summary, err := range r.have.Summaries(ctx, store.Query{From: day, To: day}) {
		if err != nil {
			return nil, err
		}
		if !seen[summary.ID] && !summary.Coverage.Gone && r.lists(summary.OrganizationID) {
			absent = append(absent, summary.ID)
		}
	}
	for _, id := range absent {
		_, err := r.src.Sequence(ctx, id)
		switch {
		case err != nil && endsRun(ctx, err):
			return nil, err
		case errors.Is(err, platform.ErrMissing):
			if err := r.markGone(ctx, id); err != nil {
				return nil, err
			}
		case err != nil && httpapi.Status(err) != http.StatusForbidden:
			unasked = append(unasked, err)
		}
	}
	return unasked, nil
}

// filtered reports whether the listings may hide sequences of low confidence (contract A.3). Only some classes of danger
// surely hide nothing, and the listings of an administrator who sees everything.
func (r *run) filtered() bool {
	return !slices.Contains([]string{"moderate", "high", "very_high", "extreme"}, r.cfg.RiskScore) && !r.seesOthers.Load()
}

func (r *run) administrator() bool { return r.src.Scope() == platform.ScopeAdmin }

// lists reports whether the account's listings show the sequences of an organization; 0 stands for an administrator's
// listing. Of another organization an administrator has to be shown one first.
func (r *run) lists(organization int64) bool {
	return organization == r.src.OrganizationID() || organization == r.listedOrganization() || r.seesOthers.Load()
}
