package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// progress shows how far a stage is. add takes deltas and may be called concurrently; finish ends every output.
type progress interface {
	add(unit string, done, expected int64)
	finish()
}

// progress begins a stage. It shows a bar on a terminal that wants one, otherwise plain lines: a bar is noise in a file.
// unit is what the bar measures; the other units stand below it.
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
	tally := newTally(stage, unit, a.now)
	if a.wantsBars(o) {
		return newBars(a.stderr, tally)
	}
	return newLines(a.stderr, tally)
}

// wantsBars reports whether something that redraws itself is welcome on stderr. A console of Windows has no TERM; elsewhere
// nothing is known of a terminal without one.
func (a *app) wantsBars(o outputFlags) bool {
	noColor, _ := a.lookupEnv("NO_COLOR") // https://no-color.org: set and not empty
	kind, _ := a.lookupEnv("TERM")
	return a.stderr.terminal && !o.noProgress && !o.json && noColor == "" && kind != "dumb" && (kind != "" || !needsTerm)
}

// countedSequences is p's add for a stage whose number of sequences is known from the start: what the stage says to expect
// of them as it goes along is part of that.
func countedSequences(p progress, total int64) func(unit string, done, expected int64) {
	const counted = "sequences"
	p.add(counted, 0, total)
	return func(unit string, done, expected int64) {
		if unit == counted {
			expected = 0
		}
		p.add(unit, done, expected)
	}
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
				_, _ = fmt.Fprintln(l.out, t.standing().line()) // an error of stderr has nowhere to be told
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
	l.sayLast(l.out)
}
