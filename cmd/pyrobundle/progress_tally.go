package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
)

// tally sums up the deltas of a stage and knows how fast it goes.
type tally struct {
	stage   string
	main    string // the unit that the stage is measured by
	started time.Time
	now     func() time.Time

	mu     sync.Mutex
	counts []count // in the order in which the units came
	ahead  pace    // of the main unit
	files  pace    // of images or uploads
	rate   pace    // of what is told as a rate
}

// count is how much of a unit is done, and how much of it is known to be there.
type count struct {
	unit       string
	done, want int64
}

func newTally(stage, main string, now func() time.Time) *tally {
	t := &tally{stage: stage, main: main, now: now, started: now()}
	t.ahead = pace{memory: 30 * time.Second} // sequences differ in size
	t.files = pace{memory: 10 * time.Second}
	t.rate = pace{memory: 5 * time.Second} // a link that slows down is to be seen
	return t
}

func (t *tally) add(unit string, done, expected int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.counts {
		if c := &t.counts[i]; c.unit == unit {
			c.done += done
			c.want += expected
			return
		}
	}
	t.counts = append(t.counts, count{unit: unit, done: done, want: expected})
}

// of returns the count of a unit; t.mu is held.
func (t *tally) of(unit string) (count, bool) {
	for _, c := range t.counts {
		if c.unit == unit {
			return c, true
		}
	}
	return count{unit: unit}, false
}

// standing is how far a stage is at one moment.
type standing struct {
	stage   string
	counts  []count
	elapsed time.Duration
	share   float64       // done, 0 to 1; negative: not known
	rate    string        // such as 5.10 MB/s; empty: not known
	left    time.Duration // negative: not known
}

// settled is how long a stage runs before it says how long it will take.
const settled = 2 * time.Second

// standing says how far the stage is now. It is to be asked by one goroutine, for it samples the speed.
func (t *tally) standing() standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	s := standing{
		stage: t.stage, counts: append([]count(nil), t.counts...), elapsed: now.Sub(t.started), share: -1, left: -1,
	}
	rated := t.rated()
	rate := t.rate.sample(s.elapsed, rated.done)
	if rate > 0 {
		s.rate = perSecond(rated.unit, rate)
	}
	main, _ := t.of(t.main)
	ahead := t.ahead.sample(s.elapsed, main.done)
	files := t.fileCount()
	abreast := t.files.sample(s.elapsed, files.done)
	total := t.total(main)
	if total <= 0 {
		return s
	}
	s.share = min(1, float64(main.done)/total)
	if ahead == 0 || s.elapsed < settled {
		return s
	}
	left := max(0, total-float64(main.done)) / ahead
	if abreast > 0 { // at the end a few sequences have most of the images that are left
		left = max(left, float64(files.want-files.done)/abreast)
	}
	if left < longest.Seconds() {
		s.left = time.Duration(left * float64(time.Second))
	}
	return s
}

// longest is what is worth telling: beyond it a stage stands still rather than taking its time.
const longest = 100 * time.Hour

// total is how much there will be of the main unit, 0 if that cannot be known. While days are still being listed, the days
// to come are taken to be like those that were. t.mu is held.
func (t *tally) total(main count) float64 {
	total := float64(main.want)
	if days, listing := t.of("days"); listing && t.main != "days" {
		if days.done == 0 {
			return 0
		}
		total *= float64(days.want) / float64(days.done)
	}
	return total
}

// fileCount is the count of images, however they are called; t.mu is held.
func (t *tally) fileCount() count {
	if c, there := t.of("images"); there {
		return c
	}
	c, _ := t.of("uploads")
	return c
}

// rated is the count whose speed says most: bytes, or what is sent over the network one by one, or else the main unit; t.mu is
// held.
func (t *tally) rated() count {
	for _, unit := range []string{"bytes", "uploads"} {
		if c, there := t.of(unit); there {
			return c
		}
	}
	c, _ := t.of(t.main)
	return c
}

// last is the standing at the end, with the speed of the whole stage.
func (t *tally) last() standing {
	s := t.standing()
	s.share, s.left, s.rate = -1, -1, ""
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.rated(); s.elapsed >= time.Second && c.done > 0 {
		s.rate = perSecond(c.unit, float64(c.done)/s.elapsed.Seconds())
	}
	return s
}

// sayLast prints the last line of a stage in which anything has happened.
func (t *tally) sayLast(out io.Writer) {
	if s := t.last(); len(s.counts) > 0 {
		_, _ = fmt.Fprintln(out, s.line()) // an error of stderr has nowhere to be told
	}
}

// line is one plain progress line.
func (s standing) line() string {
	var parts []string
	if s.share >= 0 {
		parts = append(parts, fmt.Sprintf("%.0f%%", 100*s.share))
	}
	for _, c := range s.counts {
		parts = append(parts, c.String())
	}
	if s.rate != "" {
		parts = append(parts, s.rate)
	}
	if s.left >= 0 {
		parts = append(parts, "about "+brief(s.left)+" left")
	}
	return fmt.Sprintf("%s: %s after %s", s.stage, strings.Join(parts, ", "), elapsed(s.elapsed))
}

// String is the count in words: images 812/1010, or 203 MB.
func (c count) String() string {
	switch {
	case c.unit == "bytes" && c.want > 0:
		return humanBytes(c.done) + " of " + humanBytes(c.want)
	case c.unit == "bytes":
		return humanBytes(c.done)
	case c.want > 0:
		return fmt.Sprintf("%s %d/%d", c.unit, c.done, c.want)
	}
	return fmt.Sprintf("%s %d", c.unit, c.done)
}

// pace is a speed in units per second, smoothed: what was longer ago than memory hardly counts.
type pace struct {
	memory time.Duration

	at     time.Duration // of the last sample, since the stage began
	done   int64
	speed  float64
	weight float64 // of all samples so far, towards 1
}

// sample takes the count at a moment and returns the speed, 0 while there is none.
func (p *pace) sample(at time.Duration, done int64) float64 {
	if dt := (at - p.at).Seconds(); dt > 0 {
		share := 1 - math.Exp(-dt/p.memory.Seconds())
		p.speed += share * (float64(done-p.done)/dt - p.speed)
		p.weight += share * (1 - p.weight)
		p.at, p.done = at, done
	}
	if p.weight == 0 || p.speed <= 0 {
		return 0
	}
	return p.speed / p.weight
}

// perSecond writes a speed with three digits.
func perSecond(unit string, speed float64) string {
	switch {
	case unit == "bytes":
		return humanBytes(int64(speed)) + "/s"
	case speed < 9.995:
		return fmt.Sprintf("%.2f %s/s", speed, unit)
	case speed < 99.95:
		return fmt.Sprintf("%.1f %s/s", speed, unit)
	}
	return fmt.Sprintf("%.0f %s/s", speed, unit)
}

// brief writes a length of time with its two largest units: 45s, 2m10s, 1h02m.
func brief(d time.Duration) string {
	d = d.Round(time.Second)
	hours, minutes, seconds := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case hours > 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%02ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}

// elapsed is brief, but tells short stages more exactly.
func elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return brief(d)
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
