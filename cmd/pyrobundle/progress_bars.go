package main

import (
	"strings"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
)

// bars draw a stage on a terminal: a bar with speed and time left, the counts below it.
//
//	fetch [===========>--------------------]  37%  5.10 MB/s  ETA 2m10s
//	days 7/7  sequences 41/112  images 812/1010  203 MB
//
// pb draws the bar; the rhythm and the place are the screen's, for pb would measure another terminal than stderr's and
// knows nothing of log lines.
type bars struct {
	*tally
	screen *screen
	bar    *pb.ProgressBar
	stop   chan struct{}
	done   sync.WaitGroup
}

// newBar returns a bar that is drawn when it is asked for.
func newBar() *pb.ProgressBar { return pb.New64(shares).Set(pb.Static, true).Set(pb.Color, false) }

const redrawInterval = 200 * time.Millisecond // five times a second: smooth enough to read, nothing for a slow line to carry

func newBars(s *screen, t *tally) *bars {
	b := &bars{
		tally:  t,
		screen: s,
		bar:    newBar(),
		stop:   make(chan struct{}),
	}
	resumed, forget := notifyResumed()
	b.done.Go(func() {
		defer forget()
		ticker := time.NewTicker(redrawInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				columns, height := s.sizeOf()
				s.draw(b.frame(t.standing(), columns, height), columns)
			case <-resumed:
				s.leave() // what the shell has written meanwhile stands where the bar was
			case <-b.stop:
				return
			}
		}
	})
	return b
}

func (b *bars) finish() {
	close(b.stop)
	b.done.Wait()
	b.screen.draw(nil, 0)
	b.sayLast(b.screen)
}

const (
	shares   = 1000 // steps of a bar
	widest   = 100  // cells: beyond that the eye has to travel
	roomy    = 64   // cells from which on there is room for the speed beside a bar
	barely   = 32   // cells from which on there is room for a bar at all
	minLines = 4    // of a terminal that has room for two lines and something else
)

// frame renders the lines for a terminal of so many columns and lines; the last column stays free, for some terminals wrap a
// line that fills it.
func (b *bars) frame(s standing, columns, height int) []string {
	width := min(columns-1, widest)
	if width < 1 || height < 2 {
		return nil
	}
	frame := []string{b.headline(s, width)}
	if counts := s.below(width); counts != "" && height >= minLines {
		frame = append(frame, counts)
	}
	return frame
}

func (b *bars) headline(s standing, width int) string {
	if s.share < 0 {
		return pb.StripString(strings.TrimRight(s.stage+"  "+brief(s.elapsed)+"  "+s.rate, " "), width)
	}
	left := "ETA -"
	if s.left >= 0 {
		left = "ETA " + brief(s.left)
	}
	template := `{{string . "stage"}}{{percent . " %3.0f%%"}} {{string . "left"}}`
	switch {
	case width >= roomy:
		template = `{{string . "stage"}} {{bar . "[" "=" ">" "-" "]"}}{{percent . " %3.0f%%"}}  {{string . "rate"}}  {{string . "left"}}`
	case width >= barely:
		template = `{{string . "stage"}} {{bar . "[" "=" ">" "-" "]"}}{{percent . " %3.0f%%"}}  {{string . "left"}}`
	}
	// Fields of one width keep the bar from jumping about.
	b.bar.SetTemplateString(template).SetWidth(width).SetCurrent(int64(s.share*shares)).
		Set("stage", s.stage).Set("rate", padded(s.rate, 9)).Set("left", padded(left, 10))
	return strings.TrimRight(pb.StripString(b.bar.String(), width), " ")
}

// below renders the counts. Where there is not room for all of them, the coarser ones are left out.
func (s standing) below(width int) string {
	for first := range s.counts {
		parts := make([]string, 0, len(s.counts))
		for _, c := range s.counts[first:] {
			parts = append(parts, c.String())
		}
		if text := strings.Join(parts, "  "); len(text) <= width {
			return text
		}
	}
	return ""
}

func padded(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }
