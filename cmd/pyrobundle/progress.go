package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
)

// screen is stderr, shared by log lines and a progress bar: a line clears the bar, which draws itself again below.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	drawn bool // a bar stands on the last line
}

const clearLine = "\r\x1b[K"

// Write writes whole lines.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	return s.out.Write(p)
}

// clear removes the bar from the last line; s.mu is held.
func (s *screen) clear() {
	if s.drawn {
		_, _ = io.WriteString(s.out, clearLine) // a bar that cannot be drawn is no reason to stop
		s.drawn = false
	}
}

// barWriter is the screen as the bar sees it.
type barWriter struct{ screen *screen }

// Write draws the bar over itself.
func (b barWriter) Write(p []byte) (int, error) {
	b.screen.mu.Lock()
	defer b.screen.mu.Unlock()
	b.screen.drawn = true
	return b.screen.out.Write(p)
}

// progress shows how far a stage is. add takes deltas and may be called concurrently; finish ends every output.
type progress interface {
	add(unit string, done, expected int64)
	finish()
}

// progress begins a stage. It shows a bar on a terminal that wants one, otherwise plain lines: pb writes one endless line
// elsewhere. unit is what the bar measures; the other units stand beside it.
func (a *app) progress(o outputFlags, log *slog.Logger, stage, unit string) progress {
	return &timed{progress: a.display(o, stage, unit), log: log, stage: stage, started: a.now(), now: a.now}
}

// timed logs how long a stage took.
type timed struct {
	progress
	log     *slog.Logger
	stage   string
	started time.Time
	now     func() time.Time
}

func (t *timed) finish() {
	t.progress.finish()
	t.log.Debug("stage ended", "stage", t.stage, "ms", t.now().Sub(t.started).Milliseconds())
}

func (a *app) display(o outputFlags, stage, unit string) progress {
	tally := &tally{stage: stage, main: unit, started: a.now(), now: a.now}
	noColor, _ := a.lookupEnv("NO_COLOR")
	kind, _ := a.lookupEnv("TERM")
	if !a.terminal || o.noProgress || o.json || noColor != "" || kind == "dumb" {
		return newLines(a.stderr, tally)
	}
	return newBar(a.stderr, tally)
}

// tally sums up the deltas of a stage.
type tally struct {
	mu      sync.Mutex
	stage   string
	main    string
	order   []string // units as they came
	done    map[string]int64
	want    map[string]int64
	started time.Time
	now     func() time.Time
}

func (t *tally) add(unit string, done, expected int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done, t.want = map[string]int64{}, map[string]int64{}
	}
	if _, known := t.done[unit]; !known {
		t.order = append(t.order, unit)
	}
	t.done[unit] += done
	t.want[unit] += expected
}

// counts renders all units but the one left out.
func (t *tally) counts(except string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for _, unit := range t.order {
		switch done, want := t.done[unit], t.want[unit]; {
		case unit == except:
		case unit == "bytes":
			parts = append(parts, humanBytes(done))
		case want > 0:
			parts = append(parts, fmt.Sprintf("%s %d/%d", unit, done, want))
		default:
			parts = append(parts, fmt.Sprintf("%s %d", unit, done))
		}
	}
	return strings.Join(parts, ", ")
}

func (t *tally) mainUnit() (done, want int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[t.main], t.want[t.main]
}

// line is one plain progress line.
func (t *tally) line() string {
	return fmt.Sprintf("%s: %s after %s", t.stage, t.counts(""), t.now().Sub(t.started).Round(time.Second))
}

// lines prints a plain line every 30 s and at the end.
type lines struct {
	*tally
	out  io.Writer
	stop chan struct{}
	done sync.WaitGroup
}

const lineInterval = 30 * time.Second // often enough to see that it lives, seldom enough for a log file

func newLines(out io.Writer, t *tally) *lines {
	l := &lines{tally: t, out: out, stop: make(chan struct{})}
	l.done.Go(func() {
		ticker := time.NewTicker(lineInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = fmt.Fprintln(l.out, t.line())
			case <-l.stop:
				return
			}
		}
	})
	return l
}

func (l *lines) finish() {
	close(l.stop)
	l.done.Wait()
	if l.counts("") != "" {
		_, _ = fmt.Fprintln(l.out, l.line())
	}
}

// bar draws with pb, at most five times a second.
type bar struct {
	*tally
	screen *screen
	pb     *pb.ProgressBar
}

const barTemplate = `{{string . "stage"}} {{counters . }} {{bar . }} {{speed . "%s/s" ""}} {{rtime . "ETA %s" "in %s" "ETA ?"}} {{string . "others"}}`

func newBar(s *screen, t *tally) *bar {
	b := &bar{tally: t, screen: s}
	b.pb = pb.ProgressBarTemplate(barTemplate).New(0).
		SetRefreshRate(200*time.Millisecond).
		SetWriter(barWriter{screen: s}).
		Set(pb.Terminal, true). // the writer is one, though pb cannot see it
		Set(pb.CleanOnFinish, true).
		Set("stage", t.stage+": "+t.main).
		Start()
	return b
}

func (b *bar) add(unit string, done, expected int64) {
	b.tally.add(unit, done, expected)
	current, total := b.mainUnit()
	b.pb.SetTotal(total).SetCurrent(current)
	b.pb.Set("others", b.counts(b.main))
}

func (b *bar) finish() {
	b.pb.Finish()
	b.screen.mu.Lock()
	b.screen.clear()
	b.screen.mu.Unlock()
	_, _ = fmt.Fprintln(b.screen, b.line())
}

// humanBytes writes a size with three digits and a unit of powers of 1000, as disks are sold.
func humanBytes(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	x, i := float64(n), 0
	for x >= 999.5 && i < len(units)-1 {
		x, i = x/1000, i+1
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%d B", n)
	case x < 9.995:
		return fmt.Sprintf("%.2f %s", x, units[i])
	case x < 99.95:
		return fmt.Sprintf("%.1f %s", x, units[i])
	}
	return fmt.Sprintf("%.0f %s", x, units[i])
}
