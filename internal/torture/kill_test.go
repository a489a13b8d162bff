package torture

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load/annotation"
)

// killer kills a process at a request that it makes, or a moment later. Counted in requests the instants are spread over a
// whole run, however fast the machine is; the moment spreads them over what happens between two requests.
type killer struct {
	left   atomic.Int64
	moment atomic.Int64 // nanoseconds
	victim atomic.Pointer[process]
}

// watch puts the killer before an API.
func (k *killer) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.left.Add(-1) == 0 {
			if p := k.victim.Load(); p != nil {
				time.AfterFunc(time.Duration(k.moment.Load()), p.kill)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// run runs the program and kills it at the n-th request from now, moment later. It may end before.
func (k *killer) run(s *stage, n int, moment time.Duration, args []string) ended {
	s.t.Helper()
	k.moment.Store(int64(moment))
	p := s.start(args...)
	k.victim.Store(p)
	k.left.Store(int64(n))
	e := p.wait()
	k.victim.Store(nil)
	return e
}

// instant draws one: anywhere in a run of so many requests, up to 15 ms after a request. A sixth strikes before any: while
// the program starts, opens and creates files.
func instant(dice *rand.Rand, requests int) (n int, moment time.Duration) {
	if dice.IntN(6) == 0 {
		return 1, time.Duration(dice.Int64N(int64(30 * time.Millisecond)))
	}
	return 1 + dice.IntN(requests), time.Duration(dice.Int64N(int64(15 * time.Millisecond)))
}

// killed counts runs that were killed, for the log: instants drawn near the end may come too late.
func wasKilled(t *testing.T, s *stage, e ended) bool {
	t.Helper()
	switch e.code {
	case -1:
		return true
	case exitDone:
		return false
	}
	t.Fatalf("killed or not, it cannot end like this\n%s", e)
	return false
}

// expectIntactAfterKill verifies what a killed writer left. One that was killed while it created the bundle leaves a
// directory that is none yet; the next run completes it.
func (s *stage) expectIntactAfterKill() {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(s.bundle, "manifest.json")); err != nil {
		e := s.run("verify", "--bundle", s.bundle)
		if e.code != exitDamaged && e.code != exitError {
			s.t.Fatalf("a bundle half created: exit %d\n%s", e.code, e)
		}
		return
	}
	s.verify()
}

// TestKilledFetchLosesNothing: fetch is killed again and again, at any instant. After each kill every byte of the bundle
// verifies, and the run that is let live leaves what an undisturbed one would have.
func TestKilledFetchLosesNothing(t *testing.T) {
	t.Parallel()
	const requests = 460
	for round := range times(3, 120) {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(uint64(round), 1))
			s := newStage(t)
			var k killer
			s.servePlatform(faultproxy.Plan{}, k.watch)
			kills := 0
			for range 3 {
				n, moment := instant(dice, requests)
				if wasKilled(t, s, k.run(s, n, moment, s.fetchArgs())) {
					kills++
				}
				s.expectIntactAfterKill()
			}
			s.expect(s.run(s.fetchArgs()...), exitDone)
			s.expectWhole()
			t.Logf("%d kills", kills)
		})
	}
}

// TestKilledLoadLeavesEverythingExactlyOnce: load is killed again and again, at any instant. What is then on the target is
// never there twice, and the run that is let live leaves what an undisturbed one would have, on both generations.
func TestKilledLoadLeavesEverythingExactlyOnce(t *testing.T) {
	t.Parallel()
	const requests = 560
	for round := range times(2, 100) {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/round %d", generation, round), func(t *testing.T) {
				t.Parallel()
				dice := rand.New(rand.NewPCG(uint64(round), 2))
				s := newStage(t)
				s.bundle = world
				var k killer
				s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, k.watch)
				for range 3 {
					n, moment := instant(dice, requests)
					wasKilled(t, s, k.run(s, n, moment, s.loadArgs()))
					s.expectOnce()
				}
				s.expect(s.run(s.loadArgs()...), exitDone)
				s.expectLoaded(generation)
			})
		}
	}
}

// TestKilledImportLosesNothing is the same for both phases in one command.
func TestKilledImportLosesNothing(t *testing.T) {
	t.Parallel()
	const requests = 1020
	for round := range times(1, 60) {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/round %d", generation, round), func(t *testing.T) {
				t.Parallel()
				dice := rand.New(rand.NewPCG(uint64(round), 3))
				s := newStage(t)
				var k killer
				s.servePlatform(faultproxy.Plan{}, k.watch)
				s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, k.watch)
				for range 3 {
					n, moment := instant(dice, requests)
					wasKilled(t, s, k.run(s, n, moment, s.importArgs()))
					s.expectIntactAfterKill()
					s.expectOnce()
				}
				s.expect(s.run(s.importArgs()...), exitDone)
				s.expectWhole()
				s.expectLoaded(generation)
			})
		}
	}
}

// TestKilledAnnotateLeavesOneAnnotationEach: annotate, with thresholds that change every annotation, is killed again and
// again. No sequence is ever without its annotation, and in the end each is what an undisturbed run writes.
func TestKilledAnnotateLeavesOneAnnotationEach(t *testing.T) {
	t.Parallel()
	thresholds := []string{"--iou-threshold", "0.9", "--min-cluster-size", "2"}
	const requests = 130
	for _, generation := range generations {
		t.Run(generation, func(t *testing.T) {
			t.Parallel()
			undisturbed := newStage(t)
			undisturbed.bundle = world
			undisturbed.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{})
			undisturbed.expect(undisturbed.run(undisturbed.loadArgs()...), exitDone)
			undisturbed.expect(undisturbed.run(undisturbed.annotateArgs(thresholds...)...), exitDone)
			want := held(undisturbed.api)
			for round := range times(1, 60) {
				t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
					t.Parallel()
					dice := rand.New(rand.NewPCG(uint64(round), 4))
					s := newStage(t)
					s.bundle = world
					var k killer
					s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, k.watch)
					s.expect(s.run(s.loadArgs()...), exitDone)
					annotations := len(s.api.Annotations())
					for range 3 {
						n, moment := instant(dice, requests)
						wasKilled(t, s, k.run(s, n, moment, s.annotateArgs(thresholds...)))
						s.expectOnce()
						if n := len(s.api.Annotations()); n != annotations {
							t.Errorf("%d annotations, want %d", n, annotations)
						}
					}
					s.expect(s.run(s.annotateArgs(thresholds...)...), exitDone)
					got := held(s.api)
					for id := range want {
						if got[id] != want[id] {
							t.Errorf("sequence %d:\n%s\nafter an undisturbed run:\n%s", id, cut(got[id]), cut(want[id]))
						}
					}
				})
			}
		})
	}
}

// TestUndisturbedLoadIsWhatTheTargetWouldGenerate: the state that all runs here are compared with has, on every sequence, the
// annotation that the target's own generator makes of its detections.
func TestUndisturbedLoadIsWhatTheTargetWouldGenerate(t *testing.T) {
	t.Parallel()
	for _, generation := range generations {
		t.Run(generation, func(t *testing.T) {
			t.Parallel()
			api, err := loadedTarget(generation)
			if err != nil {
				t.Fatal(err)
			}
			want := held(api)
			server := httptest.NewServer(api)
			defer server.Close()
			client, err := annotation.Dial(t.Context(), annotation.Config{BaseURL: server.URL, Login: "admin", Password: "admin12345"})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			rows := api.Annotations()
			if len(rows) != worldSequences-1 { // all but SequenceBoxless
				t.Errorf("%d annotations of %d sequences", len(rows), worldSequences)
			}
			for _, row := range rows {
				if err := client.DeleteAnnotation(t.Context(), row.ID); err != nil {
					t.Fatal(err)
				}
				if _, err := client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
					SequenceID: row.SequenceID, ProcessingStage: annotation.StageReadyToAnnotate,
				}); err != nil {
					t.Fatal(err)
				}
			}
			for id, text := range held(api) {
				// Rows of equal time: the target takes them by row, which uploads side by side give by chance, load by the
				// platform's id. Package load compares the two where they must agree.
				if text != want[id] && id != sandbox.SequenceSharedFrames {
					t.Errorf("sequence %d, generated by the target:\n%s\nby load:\n%s", id, cut(text), cut(want[id]))
				}
			}
		})
	}
}
