//go:build unix

package torture

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

// soon is what "within a second" means to a test on a busy machine: the second, and as much again for the scheduler.
func soon() time.Duration {
	if raceEnabled {
		return 4 * time.Second
	}
	return 2 * time.Second
}

// interrupted runs the program, sends it a signal as soon as started says so, and returns how it ended and how long after.
func (s *stage) interrupted(sig os.Signal, started func() bool, args []string) (e ended, after time.Duration) {
	s.t.Helper()
	return s.start(args...).signalled(sig, started)
}

// signalled sends the process a signal as soon as started says so, and returns how it ended and how long after.
func (p *process) signalled(sig os.Signal, started func() bool) (e ended, after time.Duration) {
	p.s.t.Helper()
	p.s.until(started)
	sent := time.Now()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.s.t.Fatal(err)
	}
	e = p.wait()
	return e, time.Since(sent)
}

// expectCutShort fails the test unless the run stopped soon after the signal, and its report says that it was cut short and
// blames no sequence for it.
func (s *stage) expectCutShort(e ended, took time.Duration) {
	s.t.Helper()
	s.expect(e, exitInterrupted)
	if took > soon() {
		s.t.Errorf("it took %s to stop", took)
	}
	r := e.report(s.t)
	if r.Error == "" {
		s.t.Errorf("the report does not say that the run was cut short\n%s", e)
	}
	for id, reason := range r.failed() {
		if strings.Contains(reason, "context canceled") {
			s.t.Errorf("sequence %d counts as failed because of the signal: %s", id, reason)
		}
	}
	if !strings.Contains(e.stderr, "pyrobundle: interrupted; run it again to go on") {
		s.t.Errorf("it does not say what happened\n%s", e)
	}
}

// slowly delays every answer, so that a signal finds many requests in flight.
func slowly(d time.Duration) faultproxy.Plan {
	return faultproxy.Plan{Rate: 1, Faults: []faultproxy.Fault{faultproxy.Delay}, Delay: d}
}

// TestASignalStopsWithinASecondAtAConsistentPoint: the report is printed, the exit code is 130, the bundle verifies, nothing
// is on the target twice, and the next run completes the work.
func TestASignalStopsWithinASecondAtAConsistentPoint(t *testing.T) {
	t.Parallel()
	signals := map[string]os.Signal{"SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM}
	for name, sig := range signals {
		short := map[string][]int{"SIGINT": {60}, "SIGTERM": {3}}[name]
		for _, requests := range times2(short, []int{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233}) {
			t.Run(fmt.Sprintf("fetch/%s at request %d", name, requests), func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				proxy := s.servePlatform(slowly(30 * time.Millisecond))
				e, took := s.interrupted(sig, func() bool { return proxy.Requests() >= requests }, s.fetchArgs())
				s.expect(e, exitInterrupted)
				if requests > 10 { // before, it has not even begun
					s.expectCutShort(e, took)
				}
				s.expectIntactAfterKill()
				proxy.Heal()
				s.expect(s.run(s.fetchArgs()...), exitDone)
				s.expectWhole()
			})
			for _, generation := range generations {
				t.Run(fmt.Sprintf("load/%s/%s at request %d", generation, name, requests), func(t *testing.T) {
					t.Parallel()
					s := newStage(t)
					s.bundle = world
					proxy := s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, slowly(30*time.Millisecond))
					e, took := s.interrupted(sig, func() bool { return proxy.Requests() >= requests }, s.loadArgs())
					s.expect(e, exitInterrupted)
					if requests > 10 {
						s.expectCutShort(e, took)
					}
					s.until(func() bool { return proxy.UnderWay() == 0 }) // what the target still does, nobody can know a moment later
					s.expectOnce()
					proxy.Heal()
					s.expect(s.run(s.loadArgs()...), exitDone)
					s.expectLoaded(generation)
				})
			}
		}
	}
}

func times2[T any](short, full T) T {
	if long() {
		return full
	}
	return short
}

// TestASignalEndsEveryWait: whatever the program waits for (a server that does not answer, one that asks for patience, an
// answer that stalls), a signal ends it.
func TestASignalEndsEveryWait(t *testing.T) {
	t.Parallel()
	waits := map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"Retry-After": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "100")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("["))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	}
	for name, wait := range waits {
		hang := func(begin int64) (func(http.Handler) http.Handler, *atomic.Int64) {
			var requests atomic.Int64
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) > begin {
						wait(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			}, &requests
		}
		t.Run("fetch/"+name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			wrap, requests := hang(50)
			s.servePlatform(faultproxy.Plan{}, wrap)
			e, took := s.interrupted(os.Interrupt, func() bool { return requests.Load() > 54 }, s.fetchArgs())
			if s.expect(e, exitInterrupted); took > soon() {
				t.Errorf("it took %s to stop", took)
			}
			s.verify()
		})
		t.Run("load/"+name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.bundle = world
			wrap, requests := hang(50)
			s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, wrap)
			e, took := s.interrupted(os.Interrupt, func() bool { return requests.Load() > 54 }, s.loadArgs())
			if s.expect(e, exitInterrupted); took > soon() {
				t.Errorf("it took %s to stop", took)
			}
			s.expectOnce()
		})
	}
}

// TestASecondSignalEndsAtOnce: the first is waiting for something (here it is kept from ending by a stdout that nobody
// reads); the second ends the process without further ado. Where a script had put the run into the background, it did not.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, background := range map[string]bool{"in the foreground": false, "in the background of a script": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.background = background
			proxy := s.servePlatform(slowly(30 * time.Millisecond))
			reader, writer, err := os.Pipe()
			s.must(err)
			defer func() { _ = reader.Close() }()
			s.must(fill(writer))
			p := s.startWith(writer, s.fetchArgs()...)
			s.must(writer.Close())
			s.until(func() bool { return proxy.Requests() >= 60 })
			s.must(p.cmd.Process.Signal(os.Interrupt))
			ended := make(chan ended, 1)
			go func() { ended <- p.wait() }()
			select {
			case e := <-ended:
				t.Fatalf("it ended although its report could not be written\n%s", e)
			case <-time.After(1500 * time.Millisecond):
			}
			sent := time.Now()
			s.must(p.cmd.Process.Signal(os.Interrupt))
			e := <-ended
			if took := time.Since(sent); e.code != exitInterrupted || took > soon() {
				t.Errorf("exit %d, %s after the second signal\n%s", e.code, took, e)
			}
			s.verify()
		})
	}
}

// TestASignalThatComesTwiceIsOne: timeout of GNU coreutils sends it to its child, and at once to the group that both are of. The second
// one took the report with it. Of two kinds here, so that the system does not make one of them.
func TestASignalThatComesTwiceIsOne(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := newStage(t)
		proxy := s.servePlatform(slowly(30 * time.Millisecond))
		p := s.start(s.fetchArgs()...)
		s.until(func() bool { return proxy.Requests() >= 60 })
		sent := time.Now()
		s.must(p.cmd.Process.Signal(os.Interrupt))
		s.must(p.cmd.Process.Signal(syscall.SIGTERM))
		apart := time.Since(sent)
		e := p.wait()
		if apart > 50*time.Millisecond {
			continue // a busy machine let them be two
		}
		s.expectCutShort(e, time.Since(sent))
		s.verify()
		return
	}
	t.Skip("two signals never left here within a moment")
}

// fill makes a pipe so full that the next write to it waits. It asks the pipe itself: a deadline may pass on a busy machine
// before anything was written.
func fill(w *os.File) error {
	conn, err := w.SyscallConn()
	if err != nil {
		return err
	}
	page := make([]byte, 4096)
	var failed error
	if err := conn.Write(func(fd uintptr) bool {
		for failed == nil {
			_, failed = syscall.Write(int(fd), page)
		}
		return true
	}); err != nil {
		return err
	}
	if errors.Is(failed, syscall.EAGAIN) {
		return nil
	}
	return failed
}
