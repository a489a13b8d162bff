package torture

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

// badNetwork is what the tests call one: a fifth of all requests goes wrong, in every way there is. Of those who are asked to come
// back later, every third has to wait for it.
func badNetwork(seed uint64) faultproxy.Plan {
	return faultproxy.Plan{
		Seed: seed, Rate: 0.2, Stall: 300 * time.Millisecond, Delay: 20 * time.Millisecond, RetryAfter: []time.Duration{0, 0, time.Second},
	}
}

// patience is the --retry-for of the runs over bad networks: so short that some runs end with failures, which must then be an
// exact list.
const patience = "4s"

// maxRuns is how many runs over a bad network may take to bring everything across; one does almost always.
const maxRuns = 6

// fetchUntilWhole runs fetch until it says that everything is there. After each run what is missing is what the report names.
func fetchUntilWhole(t *testing.T, s *stage, more ...string) (runs int) {
	t.Helper()
	for runs = 1; ; runs++ {
		e := s.run(s.fetchArgs(append(more, "--retry-for", patience)...)...)
		if e.code == exitDone {
			s.expect(e, exitDone)
			break
		}
		s.expectMissingListed(e)
		s.verify()
		if runs == maxRuns {
			t.Fatalf("not complete after %d runs\n%s", runs, e)
		}
	}
	s.expectWhole()
	return runs
}

// expectMissingListed fails the test unless a fetch that ended with failures lists what the bundle lacks, and nothing that it has.
func (s *stage) expectMissingListed(e ended) {
	s.t.Helper()
	s.expect(e, exitFailures)
	report := e.report(s.t)
	missing, listed := s.missing(), report.failed()
	if len(listed) == 0 && !dayListed(report) {
		s.t.Errorf("it lists nothing that failed\n%s", e)
	}
	for id := range missing {
		if listed[id] == "" && !dayListed(report) {
			s.t.Errorf("sequence %d is not in the bundle, and the report does not say so\n%s", id, e)
		}
	}
	for id, reason := range listed {
		if !missing[id] {
			s.t.Errorf("sequence %d is in the bundle, and the report says that it is not: %s", id, reason)
		}
	}
}

// unread are the failures of which load does not know what the target has, by their words: such a sequence is listed, whole or not.
var unread = []string{
	"list the target's sequences", "look for the sequence", "list its detections", "read back its detections", "read its annotation",
	"whether it is there is not known",
}

// expectUnlikeListed fails the test unless a load lists the sequences that the target has not, or not whole, and nothing that it has
// and load could read; and ends with 3 if it lists any, else with 0.
func (s *stage) expectUnlikeListed(e ended, generation string) {
	s.t.Helper()
	report := e.report(s.t)
	unlike, listed := s.unlike(generation), report.failed()
	code := exitDone
	if len(listed) > 0 || dayListed(report) { // an import lists days
		code = exitFailures
	}
	s.expect(e, code)
	for id := range unlike {
		if listed[id] == "" {
			s.t.Errorf("sequence %d is not whole on the target, and the report does not say so\n%s", id, e)
		}
	}
	for id, reason := range listed {
		if !unlike[id] && !slices.ContainsFunc(unread, func(words string) bool { return strings.Contains(reason, words) }) {
			s.t.Errorf("sequence %d is whole on the target, and the report says that it is not: %s", id, reason)
		}
	}
}

// loadUntilWhole is the same of load.
func loadUntilWhole(t *testing.T, s *stage, generation string, args []string) (runs int) {
	t.Helper()
	for runs = 1; ; runs++ {
		e := s.run(args...)
		s.expectOnce()
		s.expectUnlikeListed(e, generation)
		if e.code == exitDone {
			break
		}
		if runs == maxRuns {
			t.Fatalf("not complete after %d runs\n%s", runs, e)
		}
	}
	s.expectLoaded(generation)
	return runs
}

// TestABadNetworkLosesNothing: a fifth of all requests to both APIs fails, in every way there is. What arrives is everything,
// exactly once; what does not is listed, and the next run brings it.
func TestABadNetworkLosesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(times(1, 40)) {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/seed %d", generation, seed), func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				source := s.servePlatform(badNetwork(seed))
				target := s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, badNetwork(seed+1000))

				fetches := fetchUntilWhole(t, s)
				loads := loadUntilWhole(t, s, generation, s.loadArgs("--retry-for", patience))
				t.Logf("%d runs of fetch over %d requests, %d of load over %d; faults %v, %v",
					fetches, source.Requests(), loads, target.Requests(), source.Counts(), target.Counts())
				if faults := sum(source.Counts()); faults < source.Requests()/10 {
					t.Errorf("only %d of %d requests met a fault", faults, source.Requests())
				}

				source.Heal()
				target.Heal()
				before := s.api.Writes()
				again := s.expect(s.run(s.fetchArgs()...), exitDone).report(t)
				if again.Images.Downloaded != 0 || again.Sequences.Unchanged != worldSequences {
					t.Errorf("fetching again: %+v", again)
				}
				s.expect(s.run(s.loadArgs()...), exitDone)
				if n := s.api.Writes() - before; n != 0 {
					t.Errorf("loading again wrote %d times", n)
				}
			})
		}
	}
}

// TestABadNetworkLosesNothingOfAnImport is the same for both phases in one command.
func TestABadNetworkLosesNothingOfAnImport(t *testing.T) {
	t.Parallel()
	for seed := range uint64(times(1, 20)) {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/seed %d", generation, seed), func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				s.servePlatform(badNetwork(seed + 2000))
				s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, badNetwork(seed+3000))
				loadUntilWhole(t, s, generation, s.importArgs("--retry-for", patience))
				s.expectWhole()
			})
		}
	}
}

// TestEachFaultAlone: each fault strikes every third request, so that a protection that is missing shows under its name.
func TestEachFaultAlone(t *testing.T) {
	t.Parallel()
	faults := faultproxy.All()
	if !long() { // a few that others would not stand in for
		faults = []faultproxy.Fault{faultproxy.DropAnswer, faultproxy.FlipBytes, faultproxy.ExpireToken}
	}
	for _, fault := range faults {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/%s", fault, generation), func(t *testing.T) {
				t.Parallel()
				plan := faultproxy.Plan{
					Seed: 7, Rate: 0.33, Faults: []faultproxy.Fault{fault}, Stall: 300 * time.Millisecond, TokenUses: 25,
				}
				if fault == faultproxy.Refuse { // it strikes all that is under way, not one request: a host that is down most of the time is dead
					plan.Rate = 0.1
				}
				s := newStage(t)
				source := s.servePlatform(plan)
				plan.Seed++
				s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, plan)
				// A token given twice in one second is the same: requests under way with the first use up the second.
				// With few of them the proxy never refuses a token that has just been given, which ends a run.
				workers := "16"
				if fault == faultproxy.ExpireToken {
					workers = "4"
				}
				fetchUntilWhole(t, s, "--max-workers", workers)
				loadUntilWhole(t, s, generation, s.loadArgs("--retry-for", patience, "--max-workers", workers))
				if source.Counts()[fault] == 0 {
					t.Errorf("the fault never happened: %v", source.Counts())
				}
			})
		}
	}
}

// TestTooManyFaultsAreAnExactList: half of all requests fails for so long that some sequences stay away. They are those that
// the reports name, and a run over a healed network completes the work.
func TestTooManyFaultsAreAnExactList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(times(1, 10)) {
		for _, generation := range generations {
			t.Run(fmt.Sprintf("%s/seed %d", generation, seed), func(t *testing.T) {
				t.Parallel()
				plan := faultproxy.Plan{
					Seed: seed, Rate: 0.6, Stall: 100 * time.Millisecond, Match: behindLogin,
					Faults: []faultproxy.Fault{
						faultproxy.InternalServerError, faultproxy.DropAnswer, faultproxy.Reset, faultproxy.CutJSON,
						faultproxy.GatewayTimeoutAfter, faultproxy.FlipBytes, faultproxy.Truncate,
					},
				}
				s := newStage(t)
				source := s.servePlatform(plan)
				target := s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, plan)

				s.expectMissingListed(s.run(s.fetchArgs("--retry-for", "1s")...))
				source.Heal()
				s.expect(s.run(s.fetchArgs()...), exitDone)
				s.expectWhole()

				e := s.run(s.loadArgs("--retry-for", "1s")...)
				s.expectUnlikeListed(e, generation)
				s.expectOnceOrListed(e.report(t).failed())
				target.Heal()
				s.expect(s.run(s.loadArgs()...), exitDone)
				s.expectLoaded(generation)
			})
		}
	}
}

// expectOnceOrListed allows a second row of a detection where its sequence is listed as failed: the older generation has no
// constraint, and a run that could not read back does not know better. The next run removes it.
func (s *stage) expectOnceOrListed(listed map[int64]string) {
	s.t.Helper()
	platformID := map[int64]int64{}
	for _, q := range s.api.Sequences() {
		platformID[q.ID] = q.AlertAPIID
	}
	seen := map[[2]int64]bool{}
	for _, d := range s.api.Detections(0) {
		key := [2]int64{d.SequenceID, d.AlertAPIID}
		if id := platformID[d.SequenceID]; seen[key] && listed[id] == "" {
			s.t.Errorf("detection %d of sequence %d is on the target twice, and the report does not list the sequence", d.AlertAPIID, id)
		}
		seen[key] = true
	}
}

// behindLogin matches what a run does after it has begun: to be refused everything at once is another test.
func behindLogin(r *http.Request) bool {
	path := r.URL.Path
	return !strings.Contains(path, "/login") && !strings.HasSuffix(path, "/cameras/") && !strings.HasSuffix(path, "/organizations/") &&
		!strings.HasSuffix(path, "/openapi.json") && r.URL.Query().Get("size") != "1"
}

func dayListed(r report) bool {
	for _, p := range r.Problems {
		if p.Kind == "day" {
			return true
		}
	}
	return false
}

func sum(counts map[faultproxy.Fault]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// TestADeadServerEndsTheRunInBoundedTimeWithOneMessage: it dies in the middle of the run and never comes back.
func TestADeadServerEndsTheRunInBoundedTimeWithOneMessage(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, e ended) {
		t.Helper()
		if e.took > 30*time.Second {
			t.Errorf("it took %s to notice", e.took)
		}
		if n := strings.Count(e.stderr, "pyrobundle: "); n != 1 {
			t.Errorf("%d last words, want 1\n%s", n, e)
		}
		if n := strings.Count(e.stderr, "not answer"); n > 3 { // one message; sequences cut short at that moment may name it
			t.Errorf("the dead server is mentioned %d times\n%s", n, e)
		}
		reasons := map[string]bool{}
		for line := range strings.Lines(e.stderr) {
			if rest, ok := strings.CutPrefix(line, "failed: sequence "); ok {
				_, reason, _ := strings.Cut(rest, ": ")
				reasons[reason] = true
			}
		}
		// Two requests give up, each for all that waits for it, before the third finds that it is not they; and those whose jitter
		// chose short waits only, so that they gave up before the silence meant anything.
		if len(reasons) > 4 {
			t.Errorf("%d requests failed on their own\n%s", len(reasons), e)
		}
	}
	t.Run("platform", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		s.servePlatform(faultproxy.Plan{}, after(60, func() { s.platform.Down() }))
		check(t, s.expect(s.run(s.fetchArgs("--retry-for", "2s")...), exitError))
		s.verify()
		s.must(s.platform.Up())
		s.expect(s.run(s.fetchArgs()...), exitDone)
		s.expectWhole()
	})
	for _, generation := range generations {
		t.Run("target "+generation, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.bundle = world
			s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, after(120, func() { s.target.Down() }))
			check(t, s.expect(s.run(s.loadArgs("--retry-for", "2s")...), exitError))
			s.must(s.target.Up())
			s.expect(s.run(s.loadArgs()...), exitDone)
			s.expectLoaded(generation)
		})
	}
	// A gateway before it lives, and answers for it.
	t.Run("platform behind a gateway", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		var dead gateway
		s.servePlatform(faultproxy.Plan{}, after(20, dead.close), dead.wrap)
		check(t, s.expect(s.run(s.fetchArgs("--retry-for", "2s")...), exitError))
		s.verify()
		dead.open()
		s.expect(s.run(s.fetchArgs()...), exitDone)
		s.expectWhole()
	})
	for _, generation := range generations {
		t.Run("target behind a gateway "+generation, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.bundle = world
			var dead gateway
			s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, after(60, dead.close), dead.wrap)
			check(t, s.expect(s.run(s.loadArgs("--retry-for", "2s")...), exitError))
			dead.open()
			s.expect(s.run(s.loadArgs()...), exitDone)
			s.expectLoaded(generation)
		})
	}
	// A captive portal answers in its place, and is of no use to anybody.
	t.Run("platform behind a portal", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		portal := gateway{status: http.StatusOK}
		s.servePlatform(faultproxy.Plan{}, after(20, portal.close), portal.wrap)
		e := s.expect(s.run(s.fetchArgs("--retry-for", "2s")...), exitError)
		if n := strings.Count(e.stderr, "no useful answer"); n > 3 || !strings.Contains(e.stderr, "an HTML page") {
			t.Errorf("the portal is mentioned %d times\n%s", n, e)
		}
		// So many give up before the look that proves it, and on a busy machine as many again: an answer that was still on its
		// way when the portal closed counts in its favour.
		if n := strings.Count(e.stderr, "failed: "); n >= 2*20 {
			t.Errorf("%d requests failed on their own\n%s", n, e)
		}
		s.verify()
		portal.open()
		s.expect(s.run(s.fetchArgs()...), exitDone)
		s.expectWhole()
	})
	t.Run("from the beginning", func(t *testing.T) {
		t.Parallel()
		s := newStage(t)
		s.servePlatform(faultproxy.Plan{})
		s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
		s.platform.Down()
		s.target.Down()
		check(t, s.expect(s.run(s.fetchArgs("--retry-for", "2s")...), exitError))
		s.bundle = world
		check(t, s.expect(s.run(s.loadArgs("--retry-for", "2s")...), exitError))
	})
}

// gateway answers with a page while it is closed, 502 by itself: the server behind it is dead.
type gateway struct {
	closed atomic.Bool
	status int
}

func (g *gateway) close() { g.closed.Store(true) }
func (g *gateway) open()  { g.closed.Store(false) }

func (g *gateway) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.closed.Load() {
			next.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the client may meet a connection that closes while it writes
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(cmp.Or(g.status, http.StatusBadGateway))
		_, _ = io.WriteString(w, "<html><head><title>502 Bad Gateway</title></head></html>")
	})
}

// after calls do once the handler has answered n requests; what then arrives may or may not be answered.
func after(n int, do func()) func(http.Handler) http.Handler {
	var mu sync.Mutex
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			n--
			now := n == 0
			mu.Unlock()
			if now {
				go do()
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestRetryAfterIsRespected: listings and images answer 429 or 503 once with Retry-After: 1, and are not asked for again before.
func TestRetryAfterIsRespected(t *testing.T) {
	t.Parallel()
	const wait = time.Second // twice the longest first back-off
	type asked struct{ refused, again time.Time }
	var mu sync.Mutex
	first := map[string]*asked{}
	refuseOnce := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			query.Del("Signature")
			query.Del("Expires")
			key := r.URL.Path + "?" + query.Encode()
			mu.Lock()
			seen := first[key]
			if seen == nil && r.Method == http.MethodGet && behindLogin(r) && len(first) < 12 {
				status := []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[len(first)%2]
				first[key] = &asked{refused: time.Now()}
				mu.Unlock()
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
				return
			}
			if seen != nil && seen.again.IsZero() {
				seen.again = time.Now()
			}
			mu.Unlock()
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t)
	s.servePlatform(faultproxy.Plan{}, refuseOnce)
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, refuseOnce)
	s.expect(s.run(s.importArgs("--sequence-list", "101,105")...), exitDone)
	mu.Lock()
	defer mu.Unlock()
	if len(first) < 10 {
		t.Errorf("only %d paths were refused", len(first))
	}
	for key, at := range first {
		if waited := at.again.Sub(at.refused); waited < wait {
			t.Errorf("%s was asked again after %s, in spite of Retry-After: 1", key, waited)
		}
	}
}
