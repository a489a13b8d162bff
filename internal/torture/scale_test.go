package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// What stays constant from a thousand sequences to a hundred thousand.
const (
	scaleMemory = 1.10    // anonymous resident memory, against the run with fewer sequences
	scaleNoise  = 2 << 20 // bytes of memory that say nothing: below a heap of 4 MB the collector does not even look
	scaleTime   = 1.15    // the program's own processor time per sequence, likewise

	scaleLook = 100 * time.Millisecond // a shorter phase is over before its memory was looked at
)

// The worlds of TestScale: frames of a sequence, bytes of an image, sequences of a day.
const (
	scaleFrames, scaleImage, scaleDay = 3, 700, 100
	firstOfScale                      = "2020-01-01"
)

// phase is a run of the program over one world.
type phase struct {
	name      string
	memory    int64 // bytes
	processor time.Duration
	wall      time.Duration
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
	var table [][]phase
	for word := range strings.SplitSeq(wanted, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < scaleDay {
			t.Fatalf("PYROBUNDLE_SCALE=%s: %q is no number of sequences from %d on", wanted, word, scaleDay)
		}
		phases := scaled(t, n)
		t.Logf("%d sequences: %+v", n, phases)
		sizes, table = append(sizes, n), append(table, phases)
	}
	t.Log("\n" + scaleTable(sizes, table))
	for i := 1; i < len(sizes); i++ {
		for j, big := range table[i] {
			small := table[i-1][j]
			allowed := max(int64(scaleMemory*float64(small.memory)), small.memory+scaleNoise)
			if big.memory > allowed && small.wall >= scaleLook {
				t.Errorf("%s: %d sequences take %d bytes of memory, %d took %d", big.name, sizes[i], big.memory, sizes[i-1], small.memory)
			}
			perBig, perSmall := float64(big.processor)/float64(sizes[i]), float64(small.processor)/float64(sizes[i-1])
			if perBig/perSmall > scaleTime {
				t.Errorf("%s: a sequence of %d takes %.2f times the time of one of %d", big.name, sizes[i], perBig/perSmall, sizes[i-1])
			}
		}
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
		phases = append(phases, phase{name, e.memory.steady, e.processor, e.took})
	}
	fetch := s.fetchArgs("--date-from", firstOfScale, "--date-end", string(until))
	run("fetch", fetch...)
	run("fetch again", fetch...)
	run("verify", "verify", "--read-data", "--bundle", s.bundle)
	run("inspect", "inspect", "--bundle", s.bundle)
	run("digest", "digest", "--bundle", s.bundle)
	run("load", s.loadArgs()...)
	run("load again", s.loadArgs()...)
	return phases
}

// scaleTable is the table of docs/performance.md.
func scaleTable(sizes []int, table [][]phase) string {
	var b strings.Builder
	fmt.Fprint(&b, "|  |")
	for _, n := range sizes {
		fmt.Fprintf(&b, " %d: MB | ms each |", n)
	}
	fmt.Fprint(&b, "\n| --- |"+strings.Repeat(" ---: | ---: |", len(sizes))+"\n")
	for j := range table[0] {
		fmt.Fprintf(&b, "| %s |", table[0][j].name)
		for i, n := range sizes {
			p := table[i][j]
			mb := fmt.Sprintf("%.0f", float64(p.memory)/1e6)
			if p.wall < scaleLook {
				mb = "–"
			}
			fmt.Fprintf(&b, " %s | %.3f |", mb, float64(p.processor)/float64(time.Millisecond)/float64(n))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
