package torture

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memory is a process's own: anonymous and resident, in bytes. A mapped index is not in it: that is the kernel's to give
// and take.
type memory struct {
	most   int64
	late   int64 // ninety-nine looks in a hundred saw less: with the last tenth of a run, without single moments
	steady int64 // nine looks in ten saw less: without the moments in which the collector lags behind a busy machine
	looks  int   // into how many hundredths of a second of the process's own processor time, but for its start
}

// startTicks are the hundredths of a second in which a process has only begun: what it takes then says nothing of its work.
const startTicks = 2

// look is one at a process that runs.
type look struct {
	ticks int64 // hundredths of a second of its own processor time until then, as Linux counts
	bytes int64
}

// watchMemory looks at a process's memory every 5 ms until stop is closed.
func watchMemory(pid int, stop <-chan struct{}) memory {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	var s sight
	for {
		ticks, atWork := processorTicks(pid)
		if bytes, ok := ownMemory(pid); ok && atWork {
			s.add(look{ticks: ticks, bytes: bytes})
		}
		select {
		case <-stop:
			return s.memory()
		case <-ticker.C:
		}
	}
}

// sight is what looks saw: the most of each tick. On a busy machine a process waits for long, and counting each look at it meanwhile
// would count again and again what it has not done yet.
type sight struct {
	most   int64
	byTick map[int64]int64 // bytes
}

func (s *sight) add(l look) {
	s.most = max(s.most, l.bytes)
	if l.ticks < startTicks {
		return
	}
	if s.byTick == nil {
		s.byTick = map[int64]int64{}
	}
	s.byTick[l.ticks] = max(s.byTick[l.ticks], l.bytes)
}

func (s *sight) memory() memory {
	m := memory{most: s.most, looks: len(s.byTick)}
	if m.looks > 0 {
		seen := slices.Sorted(maps.Values(s.byTick))
		m.steady, m.late = seen[(m.looks-1)*9/10], seen[(m.looks-1)*99/100]
	}
	return m
}

// TestAProcessThatWaitsIsNotLookedAtForLong is named after a run of 14 ms on a busy machine: four of five looks saw it before it had
// begun, and the same run at thrice the size seemed to take four times the memory.
func TestAProcessThatWaitsIsNotLookedAtForLong(t *testing.T) {
	t.Parallel()
	const mb = 1_000_000
	var starved sight
	for _, l := range []look{{0, mb}, {0, mb}, {1, mb}, {1, mb}, {1, 2 * mb}} {
		starved.add(l)
	}
	if got, want := starved.memory(), (memory{most: 2 * mb}); got != want {
		t.Errorf("a run that hardly began: %+v, want %+v", got, want)
	}
	var waiting sight
	for range 100 {
		waiting.add(look{2, mb})
	}
	for i := range int64(9) {
		waiting.add(look{3 + i, 5 * mb})
	}
	if got, want := waiting.memory(), (memory{most: 5 * mb, late: 5 * mb, steady: 5 * mb, looks: 10}); got != want {
		t.Errorf("a run that waited before it worked: %+v, want %+v", got, want)
	}
}

// ownMemory is a process's anonymous resident memory, if it runs.
func ownMemory(pid int) (bytes int64, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false // it has ended, and nobody has waited for it yet
}

// processorTicks is what a process has used of the processors so far, user and system.
func processorTicks(pid int) (ticks int64, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	end := strings.LastIndexByte(string(data), ')') // of the name, which may have spaces
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return user + system, err == nil
}
