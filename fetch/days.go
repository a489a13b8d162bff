package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
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
	var unreadable []error
	read := steady
	var err error
	listed := sync.OnceFunc(func() { r.progressed(ctx, "days") })
	defer listed()
	for range maxReadings {
		unreadable = nil
		read, err = r.readDay(ctx, day, func(page platform.Page[store.Sequence]) {
			unreadable = append(unreadable, page.Unreadable...)
			r.expect(day, page.Rows, seen)
			listed()
			for _, sequence := range page.Rows {
				if store.DayOf(sequence.StartedAt.Time) != day {
					unreadable = append(unreadable, fmt.Errorf("sequence %d started on another day, at %s",
						sequence.ID, sequence.StartedAt.UTC().Format(time.RFC3339)))
					continue
				}
				if !seen[sequence.ID] {
					seen[sequence.ID] = true
					r.claim(sequence.ID)
					r.choose(sequence, found)
				}
			}
		})
		if err != nil || read == steady {
			break
		}
	}
	switch {
	case err != nil && endsRun(ctx, err):
		return err
	case err != nil:
	case read != steady:
		err = fmt.Errorf("its listing changed each of the %d times it was read", maxReadings)
	case len(unreadable) > 0:
		err = fmt.Errorf("%d rows of its listing cannot be read, the first: %w", len(unreadable), unreadable[0])
	}
	if err != nil {
		return errors.Join(r.report(ctx, r.dayProblem(day, err.Error())), r.putDay(ctx, day, len(seen), false))
	}
	if err := r.solved(ctx, "day", r.dayID(day)); err != nil {
		return err
	}
	r.tally.count(func(result *Result) { result.Days++ })
	if err := r.findGone(ctx, day, seen); err != nil {
		return err
	}
	ended := r.cfg.Now().After(day.Start().AddDate(0, 0, 1).Add(live))
	return r.putDay(ctx, day, len(seen), ended)
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
	news := 0
	for _, s := range page {
		if !seen[s.ID] && store.DayOf(s.StartedAt.Time) == day && (r.selected == nil || r.selected[s.ID]) {
			news++
		}
	}
	if r.cfg.MaxSequences > 0 {
		r.mu.Lock()
		news = min(news, r.cfg.MaxSequences-r.taken)
		r.mu.Unlock()
	}
	r.cfg.Progress("sequences", 0, int64(news))
}

// choose hands over a listed sequence if it is among those asked for.
func (r *run) choose(s store.Sequence, found visit) {
	if r.selected != nil && !r.selected[s.ID] {
		return
	}
	r.mu.Lock()
	if r.selected != nil {
		r.shown[s.ID] = true
	}
	full := r.cfg.MaxSequences > 0 && r.taken >= r.cfg.MaxSequences
	if !full {
		r.taken++
	}
	r.mu.Unlock()
	if full {
		r.tally.count(func(result *Result) { result.LeftOut++ })
		return
	}
	found(s)
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
// by itself (another organization's, or filtered), so the platform is asked for each.
func (r *run) findGone(ctx context.Context, day store.Day, seen map[int64]bool) error {
	if r.have == nil || r.filtered() {
		return nil
	}
	var absent []int64
	for summary, err := range r.have.Summaries(ctx, store.Query{From: day, To: day}) {
		if err != nil {
			return err
		}
		if !seen[summary.ID] && !summary.Coverage.Gone && r.mayList(summary) {
			absent = append(absent, summary.ID)
		}
	}
	for _, id := range absent {
		_, err := r.src.Sequence(ctx, id)
		switch {
		case err != nil && endsRun(ctx, err):
			return err
		case httpapi.Status(err) == http.StatusNotFound:
			if err := r.markGone(ctx, id); err != nil {
				return err
			}
		case err != nil && httpapi.Status(err) != http.StatusForbidden:
			r.cfg.Log.Warn("a sequence is missing from its day's listing, and whether it is gone could not be asked",
				"sequence", strconv.FormatInt(id, 10), "error", err)
		}
	}
	return nil
}

// filtered reports whether the listings may hide sequences of low confidence (contract A.3). Only three classes of danger
// surely hide nothing.
func (r *run) filtered() bool {
	return !slices.Contains([]string{"moderate", "high", "very_high", "extreme"}, r.cfg.RiskScore) && !r.administrator()
}

func (r *run) administrator() bool { return r.src.Scope() == platform.ScopeAdmin }

// mayList reports whether the account's listings show sequences of that organization.
func (r *run) mayList(s store.Summary) bool {
	return r.administrator() || s.OrganizationID == r.src.OrganizationID()
}
