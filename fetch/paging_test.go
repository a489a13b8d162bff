package fetch

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pyrobundle/fetch/platform"
)

// row is a row of a listing of the properties below.
type row struct {
	id int64
	at int // seconds
}

// table is a listing that changes between two pages, ordered as a database orders without a tie-breaker.
type table struct {
	rows []row
	next int64
}

func (tb *table) insert(t *rapid.T, at int) {
	if ties := len(slices.DeleteFunc(slices.Clone(tb.rows), func(r row) bool { return r.at != at })); ties >= 2 {
		return // groups of ties that fill more than half a page cannot be told from ones that moved
	}
	tb.next++
	tb.rows = append(tb.rows, row{tb.next, at})
}

func (tb *table) page(t *rapid.T, offset, limit int) platform.Page[row] {
	order := rapid.Permutation(tb.rows).Draw(t, "order of ties")
	slices.SortStableFunc(order, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	from := min(offset, len(order))
	to := min(from+limit, len(order))
	return platform.Page[row]{Rows: order[from:to], Sent: to - from}
}

func TestSteadyReadingHasEveryRowThatWasThereThroughout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 8
		tb := &table{}
		for _, at := range rapid.SliceOfN(rapid.IntRange(0, 15), 0, 45).Draw(t, "rows") {
			tb.insert(t, at)
		}
		throughout := map[int64]bool{}
		for _, r := range tb.rows {
			throughout[r.id] = true
		}
		taken := map[int64]bool{}
		pagesRead := 0
		outcome, err := readPages(pages[row]{
			size: size,
			id:   func(r row) int64 { return r.id },
			at:   func(r row) time.Time { return time.Unix(int64(r.at), 0) },
			read: func(offset, limit int) (platform.Page[row], error) {
				if pagesRead++; pagesRead > 1 {
					for range rapid.IntRange(0, 2).Draw(t, "changes") {
						if rapid.Bool().Draw(t, "insert") || len(tb.rows) == 0 {
							tb.insert(t, rapid.IntRange(0, 15).Draw(t, "at"))
							continue
						}
						i := rapid.IntRange(0, len(tb.rows)-1).Draw(t, "gone")
						delete(throughout, tb.rows[i].id)
						tb.rows = slices.Delete(tb.rows, i, i+1)
					}
				}
				return tb.page(t, offset, limit), nil
			},
			take: func(page platform.Page[row]) bool {
				for _, r := range page.Rows {
					taken[r.id] = true
				}
				return pagesRead > 100
			},
		})
		if err != nil || outcome != steady {
			return // it says that it may have missed something
		}
		for id := range throughout {
			if !taken[id] {
				t.Fatalf("row %d was there throughout and was missed", id)
			}
		}
	})
}

func TestUnchangedListingIsReadSteadilyWithoutNeedlessPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 8
		tb := &table{}
		for _, at := range rapid.SliceOfN(rapid.IntRange(0, 30), 0, 60).Draw(t, "rows") {
			tb.insert(t, at)
		}
		taken := map[int64]bool{}
		requests := 0
		outcome, err := readPages(pages[row]{
			size: size,
			id:   func(r row) int64 { return r.id },
			at:   func(r row) time.Time { return time.Unix(int64(r.at), 0) },
			read: func(offset, limit int) (platform.Page[row], error) {
				requests++
				return tb.page(t, offset, limit), nil
			},
			take: func(page platform.Page[row]) bool {
				for _, r := range page.Rows {
					taken[r.id] = true
				}
				return false
			},
		})
		if err != nil || outcome != steady || len(taken) != len(tb.rows) {
			t.Fatalf("outcome %v, %v, %d of %d rows", outcome, err, len(taken), len(tb.rows))
		}
		if most := len(tb.rows)/(size-size/2) + 1; requests > most {
			t.Fatalf("%d requests for %d rows, want at most %d", requests, len(tb.rows), most)
		}
	})
}
