//go:build unix

package torture

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

// brake slows every answer of an API down once it is on, and counts the requests from then on, so that a signal finds a run in the
// middle of what it does.
type brake struct {
	on    atomic.Bool
	since atomic.Int64
}

func (b *brake) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.on.Load() {
			b.since.Add(1)
			timer := time.NewTimer(30 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
		}
		next.ServeHTTP(w, r)
	})
}

// requests is a condition: so many since the brake was put on.
func (b *brake) requests(n int64) func() bool { return func() bool { return b.since.Load() >= n } }

func (b *brake) put()     { b.since.Store(0); b.on.Store(true) }
func (b *brake) release() { b.on.Store(false) }

// TestASignalStopsAnImportInEitherPhase, and between the two: neither is then half done, and the next run completes both.
func TestASignalStopsAnImportInEitherPhase(t *testing.T) {
	t.Parallel()
	for when, at := range map[string]struct{ source, target int64 }{"in the first": {60, 0}, "between": {60, 3}, "in the second": {60, 60}} {
		for _, generation := range generations[:times(1, 2)] {
			t.Run(when+"/"+generation, func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				var source, target brake
				s.servePlatform(faultproxy.Plan{}, source.wrap)
				proxy := s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, target.wrap)
				source.put()
				target.put()
				e, took := s.interrupted(os.Interrupt, func() bool {
					return source.since.Load() >= at.source && target.since.Load() >= at.target
				}, s.importArgs())
				s.expectCutShort(e, took)
				s.expectIntactAfterKill()
				s.until(func() bool { return proxy.UnderWay() == 0 })
				s.expectOnce()
				if n := len(s.api.Sequences()); when == "in the first" && n > 0 {
					t.Errorf("%d sequences were loaded of a fetch that was cut short", n)
				}
				source.release()
				target.release()
				s.expect(s.run(s.importArgs()...), exitDone)
				s.expectWhole()
				s.expectLoaded(generation)
			})
		}
	}
}

// TestASignalStopsAnnotateAndRestore: no sequence is left without its annotation, what a person has done is on the target or in
// the undo file, and the next run completes the work.
func TestASignalStopsAnnotateAndRestore(t *testing.T) {
	t.Parallel()
	for _, generation := range generations[:times(1, 2)] {
		ready := func(t *testing.T) (*stage, *brake, *faultproxy.Proxy) {
			t.Helper()
			s, slow := newStage(t), &brake{}
			s.bundle = world
			proxy := s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, slow.wrap)
			s.expect(s.run(s.loadArgs()...), exitDone)
			return s, slow, proxy
		}
		t.Run("annotate/"+generation, func(t *testing.T) {
			t.Parallel()
			thresholds := []string{"--iou-threshold", "0.9", "--min-cluster-size", "2"}
			undisturbed, _, _ := ready(t)
			undisturbed.expect(undisturbed.run(undisturbed.annotateArgs(thresholds...)...), exitDone)
			s, slow, proxy := ready(t)
			annotations, before := len(s.api.Annotations()), fmt.Sprint(workOf(s.api))
			slow.put()
			e, took := s.interrupted(os.Interrupt, slow.requests(60), s.annotateArgs(thresholds...))
			s.expectCutShort(e, took)
			s.until(func() bool { return proxy.UnderWay() == 0 })
			s.expectOnce()
			if n := len(s.api.Annotations()); n != annotations {
				t.Errorf("%d annotations, want %d", n, annotations)
			}
			if fmt.Sprint(workOf(s.api)) == before {
				t.Error("the signal came before anything was done")
			}
			slow.release()
			s.expect(s.run(s.annotateArgs(thresholds...)...), exitDone)
			if got, want := fmt.Sprint(held(s.api)), fmt.Sprint(held(undisturbed.api)); got != want {
				t.Errorf("the target holds\n%s\nafter an undisturbed run:\n%s", cut(got), cut(want))
			}
		})
		t.Run("restore/"+generation, func(t *testing.T) {
			t.Parallel()
			s, slow, proxy := ready(t)
			work := s.annotateByHand()
			e := s.run(s.loadArgs("--existing", "overwrite", "--min-cluster-size", "2", "--undo-dir", filepath.Join(s.home, "undo"))...)
			undo := s.expect(e, exitDone).report(t).UndoFiles[0]
			replaced, saved := workOf(s.api), s.saved()
			restore := []string{"restore", undo, "--url-api-annotation", s.target.URL, "--json"}
			slow.put()
			e, took := s.interrupted(os.Interrupt, slow.requests(12), restore)
			s.expectCutShort(e, took)
			s.until(func() bool { return proxy.UnderWay() == 0 })
			s.expectOnce()
			back := 0
			for id, now := range workOf(s.api) {
				switch {
				case !saved[id] && now != replaced[id], saved[id] && now != replaced[id] && now != work[id]:
					t.Errorf("the annotation of sequence %d is neither what was restored nor what was there\n%s", id, now)
				case saved[id] && now == work[id]:
					back++
				}
			}
			if back == 0 || back == len(saved) {
				t.Errorf("%d of %d annotations were restored when the signal came", back, len(saved))
			}
			slow.release()
			s.expect(s.run(restore...), exitDone)
			for id, now := range workOf(s.api) {
				if saved[id] && now != work[id] {
					t.Errorf("the work on sequence %d was\n%s\nand came back as\n%s", id, work[id], now)
				}
			}
		})
	}
}

// TestASignalStopsARepair: nothing is damaged beyond what was, and the next repair completes it.
func TestASignalStopsARepair(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var slow brake
	s.servePlatform(faultproxy.Plan{}, slow.wrap)
	s.expect(s.run(s.fetchArgs()...), exitDone)
	shard := filepath.Join(s.bundle, "images", "000001.tar")
	for i, member := range members(t, shard) {
		if i%3 == 0 {
			flip(t, shard, member[0]+member[1]/2)
		}
	}
	damaged := map[string]bool{}
	for _, f := range s.findings() {
		damaged[f.Object] = true
	}
	slow.put()
	e, took := s.interrupted(os.Interrupt, slow.requests(60), s.fetchArgs("--repair"))
	s.expectCutShort(e, took)
	left := s.findings()
	for _, f := range left {
		if !damaged[f.Object] {
			t.Errorf("%s is damaged after the signal, and was not before: %s", f.Object, f.Reason)
		}
	}
	if len(left) == 0 || len(left) >= len(damaged) {
		t.Errorf("%d findings of %d were left when the signal came", len(left), len(damaged))
	}
	slow.release()
	s.expect(s.run(s.fetchArgs("--repair")...), exitDone)
	s.expectWhole()
}

// TestASignalStopsWhatWorksOnTheDisk: verify --read-data, merge, pack and unpack of a bundle with large images. What was there is
// untouched, what is half written has no name yet or is intact, and the next run completes it.
func TestASignalStopsWhatWorksOnTheDisk(t *testing.T) {
	t.Parallel()
	const imageBytes = 250 << 10 // 70 MB in all
	s := newStage(t)
	s.must(sandbox.WriteBundle(t.Context(), s.bundle, sandbox.WorldOptions{ImageBytes: imageBytes, FirstDay: firstDay}))
	in := func(name string) string { return filepath.Join(s.home, name) }
	archive, merged, packed, unpacked := in("whole.tar"), in("merged.bundle"), in("packed.tar"), in("unpacked.bundle")
	s.expect(s.run("pack", "--bundle", s.bundle, "-o", archive), exitDone)
	before, digest := treeSum(t, s.bundle), s.digest()
	same := func(dir string) {
		t.Helper()
		copied := *s
		copied.bundle = dir
		copied.verify()
		if got := copied.digest(); got != digest {
			t.Errorf("%s has digest %s, want %s", dir, got, digest)
		}
	}
	const enough = 4 << 20 // bytes written or read: it is under way
	for _, c := range []struct {
		args     []string
		writes   string // the file that grows; empty: it only reads
		consist  func()
		complete func()
	}{
		{args: []string{"verify", "--read-data", "--bundle", s.bundle}, consist: func() {}, complete: func() {}},
		{
			args: []string{"merge", "-o", merged, s.bundle}, writes: filepath.Join(merged, "images", "000001.tar"),
			consist:  func() { s.expect(s.run("verify", "--read-data", "--bundle", merged), exitDone) },
			complete: func() { same(merged) },
		},
		{
			args: []string{"pack", "--bundle", s.bundle, "-o", packed}, writes: packed + ".part",
			consist: func() { s.expectNone(packed) },
			complete: func() {
				got, err := os.ReadFile(packed)
				s.must(err)
				want, err := os.ReadFile(archive)
				s.must(err)
				if !bytes.Equal(got, want) {
					t.Error("the archive is another than that of an undisturbed pack")
				}
			},
		},
		{
			args: []string{"unpack", archive, "-o", unpacked}, writes: filepath.Join(unpacked+".unpacking", "images", "000001.tar"),
			consist:  func() { s.expectNone(unpacked) },
			complete: func() { same(unpacked) },
		},
	} {
		if c.writes == "" && runtime.GOOS != "linux" { // nothing tells from outside how far it is
			continue
		}
		var e ended
		var took time.Duration
		for range 10 { // one may be done before the signal reaches it
			s.must(os.RemoveAll(merged))
			s.must(os.RemoveAll(packed))
			s.must(os.RemoveAll(unpacked))
			p := s.start(c.args...)
			e, took = p.signalled(os.Interrupt, func() bool { return p.moved(c.writes) >= enough })
			if e.code != exitDone {
				break
			}
		}
		if s.expect(e, exitInterrupted); took > soon() {
			t.Errorf("%s: it took %s to stop", c.args[0], took)
		}
		if !strings.Contains(e.stderr, "pyrobundle: interrupted; run it again to go on") {
			t.Errorf("it does not say what happened\n%s", e)
		}
		c.consist()
		s.expect(s.run(c.args...), exitDone)
		c.complete()
		if treeSum(t, s.bundle) != before {
			t.Errorf("%s has written to the bundle that it reads", c.args[0])
		}
	}
}

// expectNone fails the test if there is anything at path.
func (s *stage) expectNone(path string) {
	s.t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		s.t.Errorf("%s is there, half written: %v", path, err)
	}
}

// moved is how many bytes a file has or, where none is named, how many the process has read; a process that is gone has read all.
func (p *process) moved(file string) int64 {
	if file != "" {
		for _, name := range []string{file, file + ".part"} {
			if info, err := os.Stat(name); err == nil {
				return info.Size()
			}
		}
		return 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/io")
	if err != nil {
		return 1 << 62
	}
	rest, _, _ := strings.Cut(strings.TrimPrefix(string(data), "rchar: "), "\n")
	n, err := strconv.ParseInt(rest, 10, 64)
	p.s.must(err)
	return n
}
