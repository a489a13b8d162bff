package torture

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// servePlatformAndStorage serves the world as a platform whose images lie on another host: another port, which is another origin to
// the program. It returns the storage.
func (s *stage) servePlatformAndStorage(wrap ...func(http.Handler) http.Handler) *faultproxy.Server {
	s.t.Helper()
	bundle, err := store.Open(world)
	s.must(err)
	s.t.Cleanup(func() { _ = bundle.Close() })
	api := serve.New(bundle, serve.Options{})
	images := api
	for _, w := range wrap {
		images = w(images)
	}
	_, storage := s.listen(images, faultproxy.Plan{})
	_, s.platform = s.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/storage/") {
			s.t.Errorf("the platform was asked for %s, which lies on the storage", r.URL.Path)
		}
		r.Host = strings.TrimPrefix(storage.URL, "http://") // signed URLs lead to the host by which it was asked
		api.ServeHTTP(w, r)
	}), faultproxy.Plan{})
	return storage
}

// mostLinesOfAHost is how many images a run may name that a dead host has not given: as many as fail in a row before the run
// ends (package fetch), and those under way that gave up before the host was known to be dead.
const mostLinesOfAHost = 32 + 16

// TestADeadStorageEndsTheRunInBoundedTimeWithFewLines: the platform lives, the host of its images does not, from the beginning or
// from the middle on, by itself or behind a gateway. The run does not try one image after the other: it ends, says which host it
// is, and names few images. What was done stays, and the next run completes it.
func TestADeadStorageEndsTheRunInBoundedTimeWithFewLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers int // of the storage, before it dies
		gateway bool
	}{"from the beginning": {}, "midway": {60, false}, "behind a gateway": {0, true}, "behind a gateway midway": {60, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			var storage *faultproxy.Server
			var dead gateway
			die, revive := func() { storage.Down() }, func() { s.must(storage.Up()) }
			if c.gateway {
				die, revive = dead.close, dead.open
			}
			storage = s.servePlatformAndStorage(after(c.answers, func() { die() }), dead.wrap)
			if c.answers == 0 {
				die()
			}
			e := s.expect(s.run(s.fetchArgs("--retry-for", "2s")...), exitError)
			if e.took > 30*time.Second {
				t.Errorf("it took %s to notice", e.took)
			}
			last := e.stderr[strings.LastIndex(strings.TrimSuffix(e.stderr, "\n"), "\n")+1:]
			if !strings.HasPrefix(last, "pyrobundle: ") || !strings.Contains(last, "host "+storage.URL+" has not answered") {
				t.Errorf("its last words are not that %s does not answer\n%s", storage.URL, e)
			}
			if n := strings.Count(e.stderr, "\n"); n > mostLinesOfAHost {
				t.Errorf("%d lines about one host\n%s", n, e)
			}
			if r := e.report(t); c.answers > 0 && (r.Images.Downloaded == 0 || r.Sequences.Successful == 0) {
				t.Errorf("nothing was kept of what the storage gave before\n%s", e)
			}
			s.verify()
			revive()
			s.expect(s.run(s.fetchArgs()...), exitDone)
			s.expectWhole()
		})
	}
	t.Run("for few images", func(t *testing.T) { // fewer than end a run
		t.Parallel()
		s := newStage(t)
		storage := s.servePlatformAndStorage()
		storage.Down()
		e := s.expect(s.run(s.fetchArgs("--retry-for", "2s", "--sequence-list", "101,105")...), exitFailures)
		if e.took > 30*time.Second {
			t.Errorf("it took %s to notice", e.took)
		}
		r := e.report(t)
		if failed := r.failed(); r.Images.Failed == 0 || failed[101] == "" || failed[105] == "" || len(failed) != 2 {
			t.Errorf("%d images failed, of sequences %v\n%s", r.Images.Failed, failed, e)
		}
		s.must(storage.Up())
		s.expect(s.run(s.fetchArgs()...), exitDone)
		s.expectWhole()
	})
}
