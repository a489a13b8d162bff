package fetch

import (
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
	repeated                // the server does not know offset: it answers every one with its first page
)

// readPages reads a listing to its end, or until enough was taken. Each page begins with the rows that tie with the last
// one of the page before: found again at its start, they prove that nothing moved in between, and ties that changed places
// are in one page or the other.
func readPages[T any](p pages[T]) (reading, error) {
	var first, last platform.Page[T]
	outcome := steady
	for offset, overlap := 0, 0; ; {
		page, err := p.read(offset, p.size)
		if err != nil {
			return outcome, err
		}
		switch {
		case offset == 0:
			first = page
		case p.same(page, first):
			return repeated, nil
		case !p.continues(page, last, overlap):
			outcome = shifted
		}
		if p.take(page) || page.Sent < p.size {
			return outcome, nil
		}
		offset, overlap = offset+page.Sent, p.ties(page)
		offset -= overlap
		last = page
	}
}

// ties counts the rows at a page's end that the next page begins with: those of equal time, or the last one alone where
// they fill more than half of the page. Rows that cannot be read have no time to compare.
func (p pages[T]) ties(page platform.Page[T]) int {
	if len(page.Rows) < page.Sent {
		return 0
	}
	n := 1
	end := p.at(page.Rows[len(page.Rows)-1])
	for n < len(page.Rows) && p.at(page.Rows[len(page.Rows)-1-n]).Equal(end) {
		n++
	}
	if n > p.size/2 {
		return 1
	}
	return n
}

// continues reports whether page begins with the overlap last rows of the page before, in any order.
func (p pages[T]) continues(page, before platform.Page[T], overlap int) bool {
	if overlap == 0 {
		return true
	}
	if len(page.Rows) < overlap {
		return false
	}
	expected := before.Rows[len(before.Rows)-overlap:]
	end := p.at(expected[0])
	there := map[int64]bool{}
	for _, row := range page.Rows {
		if !p.at(row).Equal(end) {
			break
		}
		there[p.id(row)] = true
	}
	for _, row := range expected {
		if !there[p.id(row)] {
			return false
		}
	}
	return true
}

// same reports whether two pages hold the same rows.
func (p pages[T]) same(a, b platform.Page[T]) bool {
	if len(a.Rows) == 0 || len(a.Rows) != len(b.Rows) {
		return false
	}
	ids := make(map[int64]bool, len(a.Rows))
	for _, row := range a.Rows {
		ids[p.id(row)] = true
	}
	for _, row := range b.Rows {
		if !ids[p.id(row)] {
			return false
		}
	}
	return true
}
