package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// table aligns columns by what a terminal shows of them: a Chinese or Japanese character is two cells wide. The last cell of a
// row is as long as it likes.
//
// Widths are taken from the rows of a section that come first; the rest follows as it comes, so that memory does not grow with
// the number of rows.
type table struct {
	out    *bufio.Writer
	waits  [][]string // rows whose widths are still counted
	widths []int      // cells
	sized  bool       // the section's widths have been counted
}

const (
	tableGap  = 2    // blanks between columns
	tableHead = 1000 // rows that decide how wide columns are
)

func newTable(out io.Writer) *table { return &table{out: bufio.NewWriter(out)} }

// row adds a row; flush reports errors.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = oneLine(fmt.Sprint(cell))
	}
	if t.sized {
		t.write(texts)
		return
	}
	t.waits = append(t.waits, texts)
	if len(t.waits) == tableHead {
		t.size()
	}
}

// section begins a part whose columns are aligned by themselves, after a blank line.
func (t *table) section() {
	t.size()
	_ = t.out.WriteByte('\n') // flush reports errors
	t.widths, t.sized = nil, false
}

// size counts the widths and writes the rows that waited for it.
func (t *table) size() {
	for _, row := range t.waits {
		for i, cell := range row[:max(0, len(row)-1)] {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], runewidth.StringWidth(cell))
		}
	}
	for _, row := range t.waits {
		t.write(row)
	}
	t.waits, t.sized = nil, true
}

func (t *table) write(row []string) {
	for i, cell := range row {
		_, _ = t.out.WriteString(cell) // flush reports errors
		if i == len(row)-1 {
			break
		}
		blanks := tableGap
		if i < len(t.widths) {
			blanks += max(0, t.widths[i]-runewidth.StringWidth(cell))
		}
		_, _ = t.out.WriteString(strings.Repeat(" ", blanks))
	}
	_ = t.out.WriteByte('\n')
}

func (t *table) flush() error {
	t.size()
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// oneLine keeps a message on its line. Bundles come from strangers: what would steer a terminal, or turn the direction of
// writing, is replaced.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
