package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// growth is how much more than at the smallest size a larger one may take.
type growth struct {
	memory, late float64 // anonymous resident memory: what nine looks in ten saw, and what ninety-nine in a hundred did
	noise        int64   // bytes on top of the first, by which one run differs from the next of the same size
	lateNoise    int64   // the same of the second, of which some looks meet a collector that lags behind
	time         float64 // the program's own processor time for each sequence; 0: not judged
}

// scaleLooks is how often a phase must have been looked at for its memory to say something: into 40 ms of its processor time. By the
// clock a short phase on a busy machine takes long, too, and is over all the same before it was seen at work.
const scaleLooks = 4

// The worlds of TestScale: frames of a sequence, bytes of an image, sequences of a day.
const (
	scaleFrames, scaleImage, scaleDay = 3, 700, 100
	firstOfScale                      = "2020-01-01"
)

// constant is what is promised from a thousand sequences to a hundred thousand.
//
// The noise is what five equal runs of each phase differed by: up to a megabyte, because the collector begins when a heap has
// doubled, wherever that finds the run. What ninety-nine looks in a hundred see may differ by more, a whole heap of 4 MB that the
// collector has not looked at yet; it is judged all the same, because nine in ten do not see what grows in the last tenth of a run.
// The most that a single look sees is not: in a verify of 100,000 sequences one of two thousand collections comes late by 10 MB.
func constant() growth {
	return growth{memory: 1.10, noise: 1 << 20, late: 1.25, lateNoise: 4 << 20, time: 1.15}
}

// gross is what no run may exceed even on a busy machine, at sizes that take seconds. A sequence that is kept costs 6 kB: a thousand of
// them show.
func gross() growth {
	return growth{memory: 1.15, noise: 2 << 20, late: 1.50, lateNoise: 4 << 20}
}

// phase is a run of the program over one world.
type phase struct {
	name      string
	memory    memory
	processor time.Duration
}

// TestScale prints a table of memory and time by the number of sequences, and fails where they grow by more than promised.
// It runs with PYROBUNDLE_SCALE=1, for 1,000 and 10,000 sequences, or with the numbers, as PYROBUNDLE_SCALE=1000,100000.
//
// Time is the program's own, user and system: platform and target answer from the test's process, on the same machine. The
// target of the sandbox looks through all its rows at every request, so that wall-clock time is its as much as the program's.
func TestScale(t *testing.T) {
	wanted := os.Getenv("PYROBUNDLE_SCALE")
	if wanted == "" {
		t.Skip("PYROBUNDLE_SCALE is not set")
	}
	if wanted == "1" {
		wanted = "1000,10000"
	}
	var sizes []int
	for word := range strings.SplitSeq(wanted, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < scaleDay {
			t.Fatalf("PYROBUNDLE_SCALE=%s: %q is no number of sequences from %d on", wanted, word, scaleDay)
		}
		if len(sizes) > 0 && n <= sizes[len(sizes)-1] {
			t.Fatalf("PYROBUNDLE_SCALE=%s: name the sizes from the smallest on", wanted)
		}
		sizes = append(sizes, n)
	}
	for _, grown := range scaleUp(t, sizes).grown(constant()) {
		t.Error(grown)
	}
}

// TestNothingIsKeptOfEverySequence is TestScale for every test run: small, and so generous that only what keeps something of
// every sequence in memory fails it.
func TestNothingIsKeptOfEverySequence(t *testing.T) {
	if runtime.GOOS != "linux" || raceEnabled {
		t.Skip("memory is looked at in /proc, and says nothing under the race detector")
	}
	t.Parallel()
	s := scaleUp(t, []int{500, 1500})
	for _, grown := range s.grown(gross()) {
		t.Error(grown)
	}
	for _, phases := range s.phases {
		for _, p := range phases {
			if p.memory.looks < scaleLooks && (p.name == "fetch" || p.name == "load") { // the others may be over too soon
				t.Errorf("%s was seen at work %d times in %s of processor time", p.name, p.memory.looks, p.processor)
			}
		}
	}
}

// scale is what the phases took at each size.
type scale struct {
	sizes  []int     // of sequences, from the smallest on
	phases [][]phase // by size
}

// scaleUp runs every phase over a world of each size.
func scaleUp(t *testing.T, sizes []int) scale {
	t.Helper()
	s := scale{sizes: sizes}
	for _, n := range sizes {
		phases := scaled(t, n)
		t.Logf("%d sequences: %+v", n, phases)
		s.phases = append(s.phases, phases)
	}
	t.Log("\n" + s.table())
	return s
}

// grown says which phases take more than they may, compared with the smallest size at which the phase took long enough to be
// looked at: so no growth hides in many small steps.
func (s scale) grown(most growth) (out []string) {
	for j := range s.phases[0] {
		base := -1
		for i, n := range s.sizes {
			p := s.phases[i][j]
			if p.memory.looks < scaleLooks {
				continue
			}
			if base < 0 {
				base = i
				continue
			}
			times := float64(p.processor) / float64(n) / (float64(s.phases[base][j].processor) / float64(s.sizes[base]))
			if most.time > 0 && times > most.time {
				out = append(out, fmt.Sprintf("%s: a sequence of %d takes %.2f times the time of one of %d", p.name, n, times, s.sizes[base]))
			}
			least := s.phases[base][j].memory
			if may := int64(most.memory*float64(least.steady)) + most.noise; p.memory.steady > may {
				out = append(out, fmt.Sprintf("%s: %d sequences take %d bytes of memory, %d took %d", p.name, n, p.memory.steady, s.sizes[base], least.steady))
			}
			if may := int64(most.late*float64(least.late)) + most.lateNoise; p.memory.late > may {
				out = append(out, fmt.Sprintf("%s: %d sequences take %d bytes of memory in the end, %d took %d", p.name, n, p.memory.late, s.sizes[base], least.late))
			}
		}
	}
	return out
}

// TestGrowthIsNoticed: also in steps of which none is large, in the last moments of a run, and where the smallest run was over
// before it was looked at.
func TestGrowthIsNoticed(t *testing.T) {
	t.Parallel()
	const mb, long, short = 1_000_000, 100, 2
	took := func(steady, late float64, looks int) []phase {
		return []phase{{"fetch", memory{steady: int64(steady * mb), late: int64(late * mb), looks: looks}, time.Second}}
	}
	for name, c := range map[string]struct {
		phases [][]phase
		grown  int
	}{
		"constant":             {[][]phase{took(13.9, 16, long), took(15.0, 17, long), took(15.8, 17, long)}, 0},
		"small steps":          {[][]phase{took(14, 16, long), took(16, 17, long), took(18, 18, long)}, 1},
		"in the end":           {[][]phase{took(14, 16, long), took(14, 16, long), took(14, 30, long)}, 1},
		"smallest is short":    {[][]phase{took(2, 2, short), took(14, 16, long), took(18, 18, long)}, 1},
		"all but one is short": {[][]phase{took(2, 2, short), took(3, 3, short), took(18, 18, long)}, 0},
	} {
		s := scale{sizes: []int{1000, 10_000, 100_000}, phases: c.phases}
		for i, n := range s.sizes { // the same for each
			s.phases[i][0].processor = time.Duration(n) * time.Millisecond
		}
		if got := s.grown(constant()); len(got) != c.grown {
			t.Errorf("%s: %q, want %d", name, got, c.grown)
		}
	}
	slower := scale{sizes: []int{1000, 10_000}, phases: [][]phase{took(14, 16, long), took(14, 16, long)}}
	slower.phases[1][0].processor = 12 * time.Second
	if got := slower.grown(constant()); len(got) != 1 {
		t.Errorf("a sequence takes 1.2 times the time: %q", got)
	}
}

// scaled runs every phase over a world of n sequences.
func scaled(t *testing.T, n int) (phases []phase) {
	t.Helper()
	s := newStage(t)
	s.measure, s.limit = true, 6*time.Hour
	big := filepath.Join(s.home, "world.bundle")
	days := n / scaleDay
	s.must(sandbox.WriteBundle(t.Context(), big, sandbox.WorldOptions{
		Sequences: n, Days: days, Frames: scaleFrames, ImageBytes: scaleImage, FirstDay: firstOfScale,
	}))
	s.serveBundle(big, serve.Options{}, faultproxy.Plan{})
	s.serveTarget(sandbox.AnnotationOptions{DiscardImages: true}, faultproxy.Plan{})
	until := store.DayOf(store.Day(firstOfScale).Start().AddDate(0, 0, max(days, 5)-1))
	run := func(name string, args ...string) {
		t.Helper()
		e := s.expect(s.run(args...), exitDone)
		phases = append(phases, phase{name, e.memory, e.processor})
	}
	again := func(name string, args ...string) { // the quicker of two runs, which change nothing: others use the machine, too
		t.Helper()
		run(name, args...)
		run(name, args...)
		last := len(phases) - 1
		if phases[last].processor < phases[last-1].processor {
			phases[last-1] = phases[last]
		}
		phases = phases[:last]
	}
	fetch := s.fetchArgs("--date-from", firstOfScale, "--date-end", string(until))
	run("fetch", fetch...)
	again("fetch again", fetch...)
	again("verify", "verify", "--read-data", "--bundle", s.bundle)
	again("inspect", "inspect", "--bundle", s.bundle)
	again("digest", "digest", "--bundle", s.bundle)
	run("load", s.loadArgs()...)
	again("load again", s.loadArgs()...)
	return phases
}

// table is the table of docs/performance.md.
func (s scale) table() string {
	var b strings.Builder
	fmt.Fprint(&b, "|  |")
	for _, n := range s.sizes {
		fmt.Fprintf(&b, " %d: MB | ms each |", n)
	}
	fmt.Fprint(&b, "\n| --- |"+strings.Repeat(" ---: | ---: |", len(s.sizes))+"\n")
	for j := range s.phases[0] {
		fmt.Fprintf(&b, "| %s |", s.phases[0][j].name)
		for i, n := range s.sizes {
			p := s.phases[i][j]
			mb := fmt.Sprintf("%.1f", float64(p.memory.steady)/1e6)
			if p.memory.looks < scaleLooks {
				mb = "–"
			}
			fmt.Fprintf(&b, " %s | %.3f |", mb, float64(p.processor)/float64(time.Millisecond)/float64(n))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
