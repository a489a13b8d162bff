package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"pyrobundle/store"
)

// calendar counts sequences by day.
type calendar struct {
	days map[store.Day]*dayCount
	lost int64 // sequences on days beyond maxDays
}

// maxDays bounds the calendar's memory; the page shows fewer.
const maxDays = 366 * 30

// monthsShown is what a page has of it: the last ones.
const monthsShown = 36

type dayCount struct {
	sequences int64
	listed    bool // its listing was read
	complete  bool // to the end
}

func newCalendar() calendar { return calendar{days: map[store.Day]*dayCount{}} }

func (c *calendar) day(d store.Day) *dayCount {
	if c.days[d] == nil {
		if len(c.days) == maxDays {
			return nil
		}
		c.days[d] = &dayCount{}
	}
	return c.days[d]
}

func (c *calendar) sequence(d store.Day) {
	if day := c.day(d); day != nil {
		day.sequences++
		return
	}
	c.lost++
}

// listed adds a listing of the day; several accounts may have one each.
func (c *calendar) listed(d store.Day, complete bool) {
	if day := c.day(d); day != nil {
		day.complete = complete && (day.complete || !day.listed)
		day.listed = true
	}
}

// month is a leaf of the calendar.
type month struct {
	Title  string
	Height int
	Cells  []dayCell
}

type dayCell struct {
	X, Y   int
	Day    int
	Class  string // h1 to h5 by number of sequences; none, unlisted; with "part" where the listing was not read to its end
	Anchor string // of the day's sequences; empty: it has none
	Title  string
}

const (
	cellSize   = 26 // of a day, in units of the drawing
	cellStride = 29
)

// months draws the months that have a sequence or a listing, the last monthsShown of them.
func (c *calendar) months() (leaves []month, left int) {
	var most int64 = 1
	with := map[string]bool{}
	for d, count := range c.days {
		most = max(most, count.sequences)
		with[string(d[:7])] = true
	}
	names := slices.Sorted(maps.Keys(with))
	if left = len(names) - monthsShown; left > 0 {
		names = names[left:]
	}
	for _, name := range names {
		first, err := time.Parse("2006-01", name)
		if err != nil {
			continue // a year of five digits is nobody's
		}
		leaves = append(leaves, c.month(first, most))
	}
	return leaves, max(left, 0)
}

func (c *calendar) month(first time.Time, most int64) month {
	leaf := month{Title: first.Format("January 2006")}
	row := 0
	for t := first; t.Month() == first.Month(); t = t.AddDate(0, 0, 1) {
		column := (int(t.Weekday()) + 6) % 7 // weeks begin on Monday
		if column == 0 && t.Day() > 1 {
			row++
		}
		leaf.Cells = append(leaf.Cells, c.cell(store.DayOf(t), t, column*cellStride, row*cellStride, most))
	}
	leaf.Height = row*cellStride + cellSize
	return leaf
}

func (c *calendar) cell(d store.Day, t time.Time, x, y int, most int64) dayCell {
	cell := dayCell{X: x, Y: y, Day: t.Day(), Class: "unlisted", Title: string(d) + ": its listing is not in the bundle"}
	count := c.days[d]
	if count == nil {
		return cell
	}
	if count.listed {
		cell.Class, cell.Title = "none", string(d)+": no sequences"
	}
	if count.sequences > 0 {
		cell.Class = fmt.Sprintf("h%d", heat(count.sequences, most))
		cell.Anchor = dayAnchor(d)
		cell.Title = fmt.Sprintf("%s: %s", d, plural(int(count.sequences), "sequence"))
	}
	if !count.complete && count.listed {
		cell.Class += " part"
		cell.Title += "; its listing was not read to the end"
	}
	return cell
}

// heat is the shade of a count, 1 to 5, the greatest has 5. The root lets days of few be told apart beside one of many.
func heat(n, most int64) int {
	if most <= 1 {
		return 3
	}
	return 1 + int(math.Round(4*math.Sqrt(float64(n-1)/float64(most-1))))
}

func dayAnchor(d store.Day) string { return "d" + string(d) }
