package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// listing is what the platform lists of a sequence's detections within a limit.
type listing struct {
	rows    []platform.Detection // ascending by created_at, then id
	toEnd   bool                 // the listing was read to its end and nothing cut off: a wider limit would bring nothing
	missing []string             // why rows within the limit are not there and cannot be had
}

// Errors of a listing that its readers tell apart.
var (
	errGone      = errors.New("the platform does not have the sequence any more")
	errNoOffset  = errors.New("the platform does not know offset")
	errUnsettled = fmt.Errorf("its detections changed each of the %d times they were listed", maxReadings)
)

// listDetections reads a sequence's detections until limit frames with boxes are met (0: all) or the listing ends.
//
// The limit counts distinct bucket keys that have a row with a box of its own. All rows of these frames are kept, whatever
// their number (E7), and continuity rows (no box) up to the next frame are kept and do not count (E36).
func (r *run) listDetections(ctx context.Context, s store.Sequence, limit int, order store.Order, memory *portion) (listing, error) {
	l := &lister{
		src: r.src, sequence: s, limit: limit, descending: order == store.Descending && limit > 0, memory: memory,
		rows: map[int64]platform.Detection{},
	}
	read, err := l.readSteadily(ctx)
	switch {
	case errors.Is(err, errNoOffset) || read == repeated:
		return l.bothEnds(ctx)
	case err != nil:
		return listing{}, err
	}
	result := l.within()
	result.missing = l.unlisted()
	if count := s.DetectionsCount; result.toEnd && count != nil && len(l.rows)+l.holes < *count {
		result.missing = append(result.missing, fmt.Sprintf("the platform counts %d detections and lists %d", *count, len(l.rows)))
	}
	return result, nil
}

// lister reads the detections of one sequence.
type lister struct {
	src        Source
	sequence   store.Sequence
	limit      int
	descending bool
	memory     *portion

	rows       map[int64]platform.Detection
	bytes      int64 // of the rows' documents
	ended      bool  // the listing's end was reached
	holes      int   // rows that cannot be listed
	unreadable unreadable
	splitting  bool // a page was refused for an image that is gone
}

// readSteadily reads pages until nothing moved while they were read. What an earlier reading showed stays: the union is
// what the platform had.
func (l *lister) readSteadily(ctx context.Context) (reading, error) {
	for i := range maxReadings {
		l.ended, l.holes, l.unreadable = false, 0, unreadable{}
		read, err := readPages(pages[platform.Detection]{
			size: platform.MaxDetectionsPage,
			id:   func(d platform.Detection) int64 { return d.ID },
			at:   func(d platform.Detection) time.Time { return d.CreatedAt.Time },
			read: func(offset, limit int) (platform.Page[platform.Detection], error) {
				return l.page(ctx, offset, limit)
			},
			take: l.take,
		})
		if err != nil || read == repeated {
			return read, err
		}
		counted := l.sequence.DetectionsCount
		enough := !l.ended || counted == nil || len(l.rows)+l.holes >= *counted
		switch {
		case read == steady && enough, counted != nil && l.ended && enough:
			return steady, nil
		case read == steady && i > 0:
			return steady, nil // fewer rows than counted, twice: that is how the platform has it
		}
	}
	return shifted, errUnsettled
}

func (l *lister) take(page platform.Page[platform.Detection]) (enough bool) {
	l.unreadable.add(page.Unreadable...)
	for _, row := range page.Rows {
		l.bytes += int64(len(row.Document) - len(l.rows[row.ID].Document))
		l.rows[row.ID] = row
	}
	if page.Sent < platform.MaxDetectionsPage {
		l.ended = true
	}
	return l.limit > 0 && countFrames(maps.Values(l.rows)) > l.limit
}

// page reads one page. Where nothing of it can be read the sequence may have gone since the page before: errGone.
func (l *lister) page(ctx context.Context, offset, limit int) (platform.Page[platform.Detection], error) {
	page, err := l.part(ctx, offset, limit)
	if err == nil && page.Sent > 0 && len(page.Rows)+len(page.Unreadable) == 0 {
		err = l.exists(ctx)
	}
	return page, err
}

// part reads a page or a part of one. Servers before July 2026 answer 404 for a whole page when the image of one of its rows
// is gone (contract A.4): such a page is read in halves, down to the row itself, which is a hole.
func (l *lister) part(ctx context.Context, offset, limit int) (platform.Page[platform.Detection], error) {
	page, err := l.ask(ctx, offset, limit, l.descending)
	if !errors.Is(err, platform.ErrMissing) {
		return page, err
	}
	if !l.splitting {
		if err := l.mayBeSplit(ctx, err); err != nil {
			return page, err
		}
		l.splitting = true
	}
	if limit == 1 {
		l.holes++
		return platform.Page[platform.Detection]{Sent: 1}, nil
	}
	page, err = l.part(ctx, offset, limit/2)
	if err != nil || page.Sent < limit/2 {
		return page, err
	}
	rest, err := l.part(ctx, offset+limit/2, limit-limit/2)
	page.Rows = append(page.Rows, rest.Rows...)
	page.Sent += rest.Sent
	page.Unreadable = append(page.Unreadable, rest.Unreadable...)
	return page, err
}

// mayBeSplit finds out what a 404 means: errGone where the sequence is gone, errNoOffset where smaller pages cannot be
// read one after the other, the error itself where neither explains it.
func (l *lister) mayBeSplit(ctx context.Context, refusal error) error {
	if err := l.exists(ctx); err != nil {
		return err
	}
	const farBeyond = 1_000_000 // rows; where offset is known there is nothing, where it is not there is the first row
	page, err := l.ask(ctx, farBeyond, 1, l.descending)
	switch {
	case errors.Is(err, platform.ErrMissing), err == nil && page.Sent > 0:
		return errNoOffset
	case err != nil:
		return refusal
	}
	return nil
}

// exists returns errGone where the platform does not have the sequence any more.
func (l *lister) exists(ctx context.Context) error {
	_, err := l.src.Sequence(ctx, l.sequence.ID)
	if errors.Is(err, platform.ErrMissing) {
		return errGone
	}
	return err
}

// ask asks for one page, within the sequence's portion of memory: a page that is too large for a share is asked for again
// when it is the sequence's turn.
func (l *lister) ask(ctx context.Context, offset, limit int, descending bool) (page platform.Page[platform.Detection], err error) {
	switch {
	case l.bytes > maxListing:
		return page, errListing
	case l.bytes > l.memory.share:
		if err := l.memory.wait(ctx); err != nil {
			return page, err
		}
	}
	q := platform.DetectionsQuery{
		SequenceID: l.sequence.ID, Limit: limit, Offset: offset, Descending: descending, MaxBytes: l.memory.page(),
	}
	page, err = l.src.Detections(ctx, q)
	if q.MaxBytes == 0 || !errors.Is(err, httpapi.ErrTooLarge) {
		return page, err
	}
	if err := l.memory.wait(ctx); err != nil {
		return page, err
	}
	q.MaxBytes = l.memory.page()
	return l.src.Detections(ctx, q)
}

// bothEnds reads what a server without offset can show: the longest page from the end asked for, and unless that meets the
// limit the longest from the other end, at most 200 rows. What may lie between them is missing: the frames behind it fill up
// the limit in its place.
func (l *lister) bothEnds(ctx context.Context) (listing, error) {
	clear(l.rows)
	l.bytes, l.holes, l.unreadable = 0, 0, unreadable{}
	near, whole, err := l.longestPage(ctx, l.descending)
	if err != nil {
		return listing{}, err
	}
	met := l.take(near)
	if !whole && !met {
		far, all, err := l.longestPage(ctx, !l.descending)
		if err != nil {
			return listing{}, err
		}
		l.take(far)
		whole = all || len(l.rows) < len(near.Rows)+len(far.Rows) // a row that both ends showed: nothing lies between them
	}
	count := l.sequence.DetectionsCount
	l.ended = whole || count != nil && len(l.rows) >= *count
	result := l.within()
	result.missing = l.unlisted()
	if !l.ended && !met {
		total := "an unknown number"
		if count != nil {
			total = fmt.Sprint(*count)
		}
		result.missing = append(result.missing,
			fmt.Sprintf("the platform cannot list beyond a first page from either end: %d of %s detections", len(l.rows), total))
	}
	return result, nil
}

// longestPage reads the longest page from one end that the server does not refuse for an image that is gone; complete
// says that it holds every row.
func (l *lister) longestPage(ctx context.Context, descending bool) (longest platform.Page[platform.Detection], complete bool, err error) {
	const all = platform.MaxDetectionsPage
	longest, err = l.ask(ctx, 0, all, descending)
	if err == nil {
		return longest, longest.Sent < all, nil
	}
	for low, high := 0, all; errors.Is(err, platform.ErrMissing) && high-low > 1; {
		middle := (low + high) / 2
		page, pageErr := l.ask(ctx, 0, middle, descending)
		switch {
		case pageErr == nil:
			longest, low = page, middle
		case errors.Is(pageErr, platform.ErrMissing):
			high = middle
		default:
			return longest, false, pageErr
		}
	}
	if errors.Is(err, platform.ErrMissing) {
		err = nil
	}
	if err == nil && longest.Sent == 0 {
		err = l.exists(ctx)
	}
	return longest, false, err
}

// unlisted says which rows there are that could not be had.
func (l *lister) unlisted() []string {
	var missing []string
	if l.holes > 0 {
		missing = append(missing, fmt.Sprintf("%d detections cannot be listed: the platform answers 404 for them, their image is gone", l.holes))
	}
	if l.unreadable.rows > 0 {
		missing = append(missing, fmt.Sprintf("%d detections cannot be read, the first: %v", l.unreadable.rows, l.unreadable.first))
	}
	return missing
}

// within cuts the rows off before the first frame with boxes beyond the limit, in the direction asked for. Other rows of
// the counted frames that follow later stay.
func (l *lister) within() listing {
	rows := slices.SortedFunc(maps.Values(l.rows), func(a, b platform.Detection) int {
		if l.descending {
			a, b = b, a
		}
		return compareDetections(a.Detection, b.Detection)
	})
	kept := rows
	counted := map[string]bool{}
	for i, row := range rows {
		if !hasBox(row.Detection) || counted[row.BucketKey] {
			continue
		}
		if l.limit > 0 && len(counted) == l.limit {
			kept = rows[:i:i]
			for _, later := range rows[i:] {
				if counted[later.BucketKey] {
					kept = append(kept, later)
				}
			}
			break
		}
		counted[row.BucketKey] = true
	}
	result := listing{toEnd: l.ended && len(kept) == len(rows)}
	result.rows = slices.SortedFunc(slices.Values(kept), func(a, b platform.Detection) int {
		return compareDetections(a.Detection, b.Detection)
	})
	return result
}

// compareDetections orders rows by created_at, then id.
func compareDetections(a, b store.Detection) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt.Time), cmp.Compare(a.ID, b.ID))
}

// countFrames counts the frames that have a row with a box.
func countFrames(rows func(yield func(platform.Detection) bool)) int {
	frames := map[string]bool{}
	for row := range rows {
		if hasBox(row.Detection) {
			frames[row.BucketKey] = true
		}
	}
	return len(frames)
}

// hasBox reports whether a row has a box of its own; a continuity row's is "[]" (contract A.5). What the box is, load says.
func hasBox(d store.Detection) bool {
	return d.BBox != nil && strings.ContainsAny(*d.BBox, "0123456789")
}
