package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestPlainProgressPrintsALineEvery30SecondsAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		app := newApp(&bytes.Buffer{}, &out, lookup(nil), time.Now)
		progress := app.display(outputFlags{}, "fetch", "sequences")
		progress.add("days", 1, 4)
		progress.add("sequences", 3, 10)
		progress.add("images", 10, 100)
		progress.add("bytes", 3_000_000, 0)
		time.Sleep(61 * time.Second) // fake time
		progress.add("days", 3, 0)
		progress.add("sequences", 7, 0)
		progress.add("images", 90, 0)
		progress.finish()
		want := `fetch: 8%, days 1/4, sequences 3/10, images 10/100, 3.00 MB, 100 kB/s, about 6m10s left after 30s
fetch: 8%, days 1/4, sequences 3/10, images 10/100, 3.00 MB, 247 B/s, about 1h34m left after 1m00s
fetch: days 4/4, sequences 10/10, images 100/100, 3.00 MB, 49.2 kB/s after 1m01s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestPlainProgressOfNothingIsSilent(t *testing.T) {
	var out bytes.Buffer
	app := newApp(&bytes.Buffer{}, &out, lookup(nil), noon)
	app.display(outputFlags{}, "fetch", "images").finish()
	if out.Len() > 0 {
		t.Errorf("got %q, want nothing", &out)
	}
}

func TestBarsOnlyWhereTheyAreWanted(t *testing.T) {
	xterm := map[string]string{"TERM": "xterm"}
	for _, test := range []struct {
		name     string
		terminal bool
		env      map[string]string
		flags    outputFlags
		bar      bool
	}{
		{"terminal", true, xterm, outputFlags{}, true},
		{"no terminal", false, xterm, outputFlags{}, false},
		{"dumb terminal", true, map[string]string{"TERM": "dumb"}, outputFlags{}, false},
		{"nameless terminal", true, nil, outputFlags{}, !needsTerm},
		{"NO_COLOR", true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, outputFlags{}, false},
		{"empty NO_COLOR", true, map[string]string{"TERM": "xterm", "NO_COLOR": ""}, outputFlags{}, true},
		{"--no-progress", true, xterm, outputFlags{noProgress: true}, false},
		{"--json", true, xterm, outputFlags{json: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out lockedBuffer
			app := newApp(&bytes.Buffer{}, &out, lookup(test.env), noon)
			app.stderr.terminal = test.terminal
			progress := app.display(test.flags, "load", "uploads")
			defer progress.finish()
			if _, isBar := progress.(*bars); isBar != test.bar {
				t.Errorf("got %T", progress)
			}
		})
	}
}

func TestBarsAreDrawnFiveTimesASecondAtMostAndLeaveALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown := newTerminal(80)
		app := newApp(&bytes.Buffer{}, shown, lookup(map[string]string{"TERM": "xterm"}), time.Now)
		app.stderr.terminal = true
		progress := app.display(outputFlags{}, "fetch", "sequences")
		progress.add("days", 2, 2)
		progress.add("sequences", 0, 1000)
		time.Sleep(5 * time.Millisecond) // fake time
		for range 1000 {
			progress.add("sequences", 1, 0)
			progress.add("images", 5, 5)
			progress.add("bytes", 50_000, 0)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		want := `fetch [==========================================>] 100%  5.00 MB/s  ETA 0s
days 2/2  sequences 1000/1000  images 5000/5000  50.0 MB
`
		if diff := cmp.Diff(want, shown.text()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if shown.frames > 50 || shown.frames < 40 {
			t.Errorf("drawn %d times in ten seconds, want some 50", shown.frames)
		}
		progress.finish()
		if diff := cmp.Diff("fetch: days 2/2, sequences 1000/1000, images 5000/5000, 50.0 MB, 5.00 MB/s after 10s\n", shown.text()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// A flood of log lines draws the bars again now and then, not after each.
func TestBarsAreNotDrawnAfterEveryLogLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		app := newApp(&bytes.Buffer{}, &out, lookup(map[string]string{"TERM": "xterm"}), time.Now)
		app.stderr.terminal = true
		progress := app.display(outputFlags{}, "load", "sequences")
		log := app.logger(outputFlags{loglevel: "info"})
		progress.add("sequences", 0, 1000)
		for range 1000 {
			time.Sleep(time.Millisecond) // fake time
			progress.add("sequences", 1, 0)
			log.Info("uploaded")
		}
		progress.finish()
		if n := strings.Count(out.String(), "load ["); n > 60 || n < 40 {
			t.Errorf("drawn %d times among 1000 lines in a second, want some 50", n)
		}
	})
}

// Whatever interleaves, a log line is whole and stands alone on its line.
func TestLogLinesAboveABarAreUnbroken(t *testing.T) {
	shown := newTerminal(300)
	app := newApp(&bytes.Buffer{}, shown, lookup(map[string]string{"TERM": "xterm"}), time.Now)
	app.stderr.terminal = true
	progress := app.display(outputFlags{}, "load", "uploads")
	log := app.logger(outputFlags{loglevel: "info"})
	var work sync.WaitGroup
	for worker := range 8 {
		work.Go(func() {
			for i := range 50 {
				progress.add("uploads", 1, 1)
				log.Info("uploaded", "worker", worker, "i", i)
			}
		})
	}
	work.Wait()
	progress.finish()

	seen := 0
	for line := range strings.Lines(shown.text()) {
		if strings.Contains(line, "msg=uploaded") {
			seen++
			if !strings.HasPrefix(line, "time=") || strings.Count(line, "time=") != 1 {
				t.Fatalf("broken line %q", line)
			}
		}
	}
	if seen != 400 {
		t.Errorf("%d whole log lines, want 400", seen)
	}
	if want := "load: uploads 400/400"; !strings.Contains(shown.text(), want) {
		t.Errorf("the last line lacks %q", want)
	}
}

func TestFrameFitsEveryTerminal(t *testing.T) {
	full := standing{
		stage:  "fetch",
		counts: []count{{"days", 7, 7}, {"sequences", 41, 112}, {"images", 812, 1010}, {"bytes", 203e6, 0}},
		share:  0.366, rate: "5.10 MB/s", left: 130 * time.Second, elapsed: 75 * time.Second,
	}
	unknown := full
	unknown.share, unknown.left = -1, -1
	bars := &bars{bar: newBar()}
	for _, test := range []struct {
		name           string
		standing       standing
		columns, lines int
		want           []string
	}{
		{"200 columns", full, 200, 50, []string{
			"fetch [=======================>----------------------------------------]  37%  5.10 MB/s  ETA 2m10s",
			"days 7/7  sequences 41/112  images 812/1010  203 MB",
		}},
		{"80 columns", full, 80, 24, []string{
			"fetch [===============>---------------------------]  37%  5.10 MB/s  ETA 2m10s",
			"days 7/7  sequences 41/112  images 812/1010  203 MB",
		}},
		{"40 columns", full, 40, 24, []string{"fetch [=====>--------]  37%  ETA 2m10s", "images 812/1010  203 MB"}},
		{"20 columns", full, 20, 24, []string{"fetch  37% ETA 2m10s"[:19], "203 MB"}},
		{"3 lines", full, 40, 3, []string{"fetch [=====>--------]  37%  ETA 2m10s"}},
		{"one line", full, 80, 1, nil},
		{"one column", full, 1, 24, nil},
		{"nothing known yet", standing{stage: "load", share: -1, left: -1, elapsed: 3 * time.Second}, 80, 24, []string{"load  3s"}},
		{"how many is not known", unknown, 80, 24, []string{"fetch  1m15s  5.10 MB/s", "days 7/7  sequences 41/112  images 812/1010  203 MB"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, bars.frame(test.standing, test.columns, test.lines)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestFrameIsNeverWiderThanTheTerminal(t *testing.T) {
	bars := &bars{bar: newBar()}
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(0, 250).Draw(t, "columns")
		s := standing{
			stage: rapid.SampledFrom([]string{"fetch", "load", "verify", "a stage of a long name"}).Draw(t, "stage"),
			share: rapid.Float64Range(-0.1, 1).Draw(t, "share"), rate: rapid.SampledFrom([]string{"", "12.3 uploads/s"}).Draw(t, "rate"),
			left: time.Duration(rapid.Int64Range(-1, int64(longest)).Draw(t, "left")),
		}
		for _, unit := range []string{"days", "sequences", "images", "bytes"} {
			s.counts = append(s.counts, count{unit, rapid.Int64Range(0, 1e12).Draw(t, "done"), rapid.Int64Range(0, 1e12).Draw(t, "want")})
		}
		for _, line := range bars.frame(s, columns, 24) {
			if len(line) >= columns || strings.ContainsAny(line, "\n\r\x1b") {
				t.Fatalf("%q for %d columns", line, columns)
			}
		}
	})
}

// The estimate of a fetch takes the days that are not listed yet to be like those that are.
func TestShareExtrapolatesDaysToCome(t *testing.T) {
	at := noon()
	tally := newTally("fetch", "sequences", func() time.Time { return at })
	tally.add("days", 0, 10)
	if s := tally.standing(); s.share >= 0 {
		t.Errorf("share %v before any day is listed, want none", s.share)
	}
	tally.add("days", 4, 0)
	tally.add("sequences", 0, 400)
	for range 100 {
		at = at.Add(time.Second)
		tally.add("sequences", 1, 0)
		tally.standing()
	}
	s := tally.standing()
	if s.share != 0.1 {
		t.Errorf("share %v with 100 of 400 sequences in 4 of 10 days, want 0.1", s.share)
	}
	if s.left.Round(time.Second) != 900*time.Second {
		t.Errorf("%v left for 900 sequences at one a second, want 15m", s.left)
	}
}

func TestPaceFollowsTheLastSamples(t *testing.T) {
	p := pace{memory: 5 * time.Second}
	at, done := time.Duration(0), int64(0)
	run := func(seconds int, perSecond int64) (speed float64) {
		for range seconds {
			at, done = at+time.Second, done+perSecond
			speed = p.sample(at, done)
		}
		return speed
	}
	for _, step := range []struct {
		seconds   int
		perSecond int64
		least     float64
		most      float64
	}{{1, 100, 99.9, 100.1}, {30, 100, 99.9, 100.1}, {30, 10, 9.9, 10.5}, {60, 0, 0, 0.001}} {
		if got := run(step.seconds, step.perSecond); got < step.least || got > step.most {
			t.Errorf("%d s at %d/s: %v", step.seconds, step.perSecond, got)
		}
	}
}

func TestCountedAddsNothingToWhatIsKnown(t *testing.T) {
	tally := newTally("load", "sequences", noon)
	add := countedSequences(&lines{tally: tally}, 12)
	for range 5 {
		add("sequences", 0, 1)
		add("uploads", 0, 3)
		add("sequences", 1, 0)
	}
	if diff := cmp.Diff([]count{{"sequences", 5, 12}, {"uploads", 0, 15}}, tally.counts, cmp.AllowUnexported(count{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0ms", 38 * time.Millisecond: "38ms", 2149 * time.Millisecond: "2.1s", 75 * time.Second: "1m15s"} {
		if got := elapsed(d); got != want {
			t.Errorf("elapsed(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1499 * time.Millisecond: "1s", 59600 * time.Millisecond: "1m00s", 130 * time.Second: "2m10s", 3720 * time.Second: "1h02m", 90 * time.Hour: "90h00m",
	} {
		if got := brief(d); got != want {
			t.Errorf("brief(%v) = %q, want %q", d, got, want)
		}
	}
}
