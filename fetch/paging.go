package fetch

import (
	"fmt"
	"maps"
	"time"

	"pyrobundle/fetch/platform"
)

// pages describes a listing that is ordered by a time alone, without a tie-breaker, and read by offset: rows of equal times
// may change places between two pages, and rows that come or go move all that follow (E19, contract A.4).
type pages[T any] struct {
	size int // rows of a full page
	id   func(T) int64
	at   func(T) time.Time
	read func(offset, limit int) (platform.Page[T], error)
	take func(platform.Page[T]) (enough bool) // of each page; rows come more than once
}

// reading is how a listing was found while it was read.
type reading int

const (
	steady   reading = iota // each page continued the one before: every row was taken
	shifted                 // rows came or went: some may have been missed
	repeated                // the server does not know offset: it answers every page with the first
)

// unreadable are the rows of a listing that cannot be read: how many, and why the first.
type unreadable struct {
	rows  int
	first error
}

func (u *unreadable) add(rows ...error) {
	if u.rows == 0 && len(rows) > 0 {
		u.first = rows[0]
	}
	u.rows += len(rows)
}

// maxListed bounds a listing, in rows, so that one without end ends: no day has so many sequences, and a bundle takes no
// sequence of more detections.
const maxListed = 100_000

// readPages reads a listing to its end, or until enough was taken. Each page begins with the last rows of the page before,
// which prove, found again at its start, that nothing moved in between.
func readPages[T any](p pages[T]) (reading, error) {
	var before platform.Page[T]
	var overlap seam
	outcome := steady
	for offset := 0; ; {
		page, err := p.read(offset, p.size)
		if err != nil {
			return outcome, err
		}
		switch {
		case offset == 0:
		case p.same(page, before): // not than the first: a row that came in between would hide it
			return repeated, nil
		case !p.continues(page, overlap):
			outcome = shifted
		}
		if p.take(page) || page.Sent < p.size {
			return outcome, nil
		}
		if offset+page.Sent > maxListed {
			return outcome, fmt.Errorf("the listing does not end: more than %d rows were read", maxListed)
		}
		before, overlap = page, p.seam(page)
		offset += page.Sent - overlap.rows
	}
}

// seam is what two pages have in common: the rows of the last time on the first page, of which there may be more, and
// before them those of the time before, which are all of that time. If the second page begins with exactly these, in any
// order, the last time begins where it began, and nothing from there on can be missed.
type seam struct {
	rows  int            // that the second page repeats
	begin map[int64]bool // the ids that it must begin with
}

// seam chooses the rows that the next page repeats. Where equal times fill more than half of the page, the last row alone
// has to do. Rows that cannot be read have no time to compare.
func (p pages[T]) seam(page platform.Page[T]) seam {
	if len(page.Rows) < page.Sent {
		return seam{}
	}
	n := len(page.Rows)
	last := p.ties(page.Rows)
	if last <= p.size/2 {
		before := p.ties(page.Rows[:n-last])
		if rows := before + last; before > 0 && rows <= p.size/2 {
			return seam{rows, p.ids(page.Rows[n-rows : n-last])}
		}
	}
	return seam{1, p.ids(page.Rows[n-1:])}
}

// ties counts the rows at the end that have equal times.
func (p pages[T]) ties(rows []T) int {
	n := 0
	for n < len(rows) && p.at(rows[len(rows)-1-n]).Equal(p.at(rows[len(rows)-1])) {
		n++
	}
	return n
}

func (p pages[T]) ids(rows []T) map[int64]bool {
	ids := make(map[int64]bool, len(rows))
	for _, row := range rows {
		ids[p.id(row)] = true
	}
	return ids
}

// continues reports whether page begins with the rows that it must begin with.
func (p pages[T]) continues(page platform.Page[T], s seam) bool {
	return len(page.Rows) >= len(s.begin) && maps.Equal(p.ids(page.Rows[:len(s.begin)]), s.begin)
}

// same reports whether two pages hold the same rows.
func (p pages[T]) same(a, b platform.Page[T]) bool {
	return len(a.Rows) > 0 && maps.Equal(p.ids(a.Rows), p.ids(b.Rows))
}
