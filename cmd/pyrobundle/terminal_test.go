package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cheggaaa/pb/v3"
)

// terminal is as much of a terminal as progress needs: it wraps and scrolls, knows the sequences that screen uses and panics
// on any other, and on a change of its width wraps its lines anew, as nearly all terminals do.
type terminal struct {
	columns int
	lines   []terminalLine // all of them, those that have scrolled away too
	row     int            // of the cursor
	column  int
	escape  string // begun, not ended
	frames  int    // times that bars were drawn over others
}

// terminalLine is a row of cells. A wrapped one goes on in the next.
type terminalLine struct {
	cells   []rune
	wrapped bool
}

func newTerminal(columns int) *terminal {
	return &terminal{columns: columns, lines: make([]terminalLine, 1)}
}

// Write shows p. A line feed returns too, as behind a terminal device.
func (t *terminal) Write(p []byte) (int, error) {
	for _, r := range string(p) {
		switch {
		case t.escape != "":
			t.escape += string(r)
			if r != '[' && (r < '0' || r > '9') {
				t.obey(t.escape)
				t.escape = ""
			}
		case r == '\x1b':
			t.escape = string(r)
		case r == '\r':
			t.column = 0
		case r == '\n':
			t.feed(false)
			t.column = 0
		default:
			t.put(r)
		}
	}
	return len(p), nil
}

func (t *terminal) put(r rune) {
	if t.column+pb.CellCount(string(r)) > t.columns {
		t.feed(true)
		t.column = 0
	}
	line := &t.lines[t.row]
	for len(line.cells) <= t.column {
		line.cells = append(line.cells, ' ')
	}
	line.cells[t.column] = r
	t.column += pb.CellCount(string(r))
}

func (t *terminal) feed(wrapped bool) {
	t.lines[t.row].wrapped = wrapped
	t.row++
	if t.row == len(t.lines) {
		t.lines = append(t.lines, terminalLine{})
	}
}

func (t *terminal) obey(sequence string) {
	switch last := sequence[len(sequence)-1]; {
	case sequence == clearRest:
		t.lines = t.lines[:t.row+1]
		t.cut()
	case sequence == clearRight:
		t.cut()
	case last == 'A':
		n, err := strconv.Atoi(sequence[2 : len(sequence)-1])
		if err != nil {
			panic(err)
		}
		t.row = max(0, t.row-n)
		t.frames++
	default:
		panic(fmt.Sprintf("sequence %q is not known", sequence))
	}
}

func (t *terminal) cut() {
	line := &t.lines[t.row]
	line.cells, line.wrapped = line.cells[:min(len(line.cells), t.column)], false
}

// resize wraps all lines anew; the cursor stays at its place in its line.
func (t *terminal) resize(columns int) {
	var lines []terminalLine
	row, column := 0, 0
	for i := 0; i < len(t.lines); {
		var whole []rune
		cursor := -1
		for {
			line := t.lines[i]
			if i == t.row {
				cursor = len(whole) + t.column
			}
			whole = append(whole, line.cells...)
			i++
			if !line.wrapped || i == len(t.lines) {
				break
			}
		}
		if cursor >= 0 {
			row, column = len(lines)+cursor/columns, cursor%columns
		}
		for len(whole) > columns {
			lines = append(lines, terminalLine{cells: whole[:columns], wrapped: true})
			whole = whole[columns:]
		}
		lines = append(lines, terminalLine{cells: whole})
	}
	for row >= len(lines) {
		lines = append(lines, terminalLine{})
	}
	t.columns, t.lines, t.row, t.column = columns, lines, row, column
}

// text is everything that was written and not overwritten, without blanks at the ends; wrapped lines are one.
func (t *terminal) text() string {
	var b strings.Builder
	for _, line := range t.lines {
		b.WriteString(string(line.cells))
		if !line.wrapped {
			b.WriteByte('\n')
		}
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}
