package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"
)

// screen is stderr, shared by log lines and progress bars: the lines scroll by, the bars stay below them.
//
// The cursor always stands at the beginning of the line below the bars. Whatever comes unannounced, a panic of any
// goroutine, the shell after the process was killed, the ^C that a terminal echoes, begins on a line of its own.
type screen struct {
	out      io.Writer
	terminal bool // that understands escape sequences
	sizeOf   func() (columns, lines int)
	ours     func() bool // to draw on, rather than the shell's that put us into the background

	mu       sync.Mutex
	within   bool      // the last text did not end its line: nothing can be drawn there
	frame    []string  // the bars
	drawn    bool      // the frame stands on the terminal
	columns  int       // of the terminal when it was drawn
	restored time.Time // when the frame was last drawn again below a line
}

func newScreen(out io.Writer) *screen {
	s := &screen{
		out:    out,
		sizeOf: func() (int, int) { return usualColumns, usualLines },
		ours:   func() bool { return true },
	}
	if file, isFile := out.(*os.File); isFile && isTerminal(file) {
		s.terminal = understandsEscapes(file)
		s.sizeOf = func() (int, int) { return sizeOf(file) }
		s.ours = func() bool { return inForeground(file) }
	}
	return s
}

func isTerminal(w io.Writer) bool {
	file, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// A terminal of unknown size is taken for the smallest usual one.
const (
	usualColumns = 80
	usualLines   = 24
)

// sizeOf returns a terminal's columns and lines now; a window may change at any time.
func sizeOf(terminal *os.File) (columns, lines int) {
	columns, lines, err := term.GetSize(int(terminal.Fd()))
	if err != nil || columns <= 0 || lines <= 0 {
		return usualColumns, usualLines
	}
	return columns, lines
}

// floodInterval is how often bars are drawn again below log lines: often enough not to flicker with the lines of --loglevel
// debug, seldom enough for a slow line to carry.
const floodInterval = redrawInterval / 10

const (
	clearRest  = "\x1b[J" // from the cursor to the end of the screen
	clearRight = "\x1b[K" // from the cursor to the end of the line
)

// Write writes whole lines above the bars. They are drawn again below it at once, but not in a flood of lines: there the next
// redrawing shows them.
func (s *screen) Write(p []byte) (int, error) { return s.writeAbove(s.out, p) }

// results is standard output where it is a terminal too: its lines stand above the bars like those of standard error.
type results struct {
	*screen
	out io.Writer
}

// Write writes results.
func (r results) Write(p []byte) (int, error) { return r.writeAbove(r.out, p) }

func (s *screen) writeAbove(out io.Writer, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	s.within = p[len(p)-1] != '\n'
	if s.drawn {
		_, _ = io.WriteString(s.out, s.back()+clearRest) // a bar that cannot be drawn is no reason to stop
		s.drawn = false
	}
	n, err := out.Write(p)
	columns, _ := s.sizeOf()
	if now := time.Now(); len(s.frame) > 0 && !s.within && columns == s.columns && now.Sub(s.restored) >= floodInterval {
		_, _ = io.WriteString(s.out, strings.Join(s.frame, "\n")+"\n")
		s.restored, s.drawn = now, true
	}
	return n, err
}

// draw puts bars, made for a terminal of so many columns, in the place of those before; none removes them. Equal ones are
// left alone.
func (s *screen) draw(frame []string, columns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ours() {
		s.frame, s.drawn = nil, false
		return
	}
	if s.within || (s.drawn && columns == s.columns && slices.Equal(frame, s.frame)) {
		return
	}
	var text bytes.Buffer
	if s.drawn {
		text.WriteString(s.back())
	}
	for _, line := range frame {
		text.WriteString(line + clearRight + "\n") // over the old one: nothing flickers
	}
	if s.drawn {
		text.WriteString(clearRest)
	}
	s.frame, s.drawn, s.columns = frame, len(frame) > 0, columns
	_, _ = s.out.Write(text.Bytes())
}

// leave lets the bars stand where they are; the next ones are drawn where the cursor is.
func (s *screen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame, s.drawn = nil, false
}

// back moves the cursor to the beginning of the bars; s.mu is held. A terminal that has become narrower has wrapped them,
// which is what nearly all terminals do, and is the case where guessing wrong leaves no rubbish behind.
func (s *screen) back() string {
	columns, _ := s.sizeOf()
	rows := 0
	for _, line := range s.frame {
		rows++
		if columns < s.columns {
			rows += (pb.CellCount(line) - 1) / columns
		}
	}
	if rows == 0 {
		return ""
	}
	return "\r\x1b[" + strconv.Itoa(rows) + "A"
}
