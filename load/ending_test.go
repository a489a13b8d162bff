package load_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
)

// TestTwoMachinesAtOnce: the newer generation keeps them from making anything twice; with the older one a run after them
// does.
func TestTwoMachinesAtOnce(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := &inMemory{}
		for i := range int64(12) {
			bundle.add(41+i, noon.Add(time.Duration(i)*time.Minute), drifting(9)...)
		}
		var group sync.WaitGroup
		for range 2 {
			cfg := w.config()
			cfg.StateDir = t.TempDir() // another machine's
			group.Go(func() {
				result, err := load.Run(t.Context(), bundle, w.client, cfg)
				if err != nil {
					t.Error(err)
				}
				consistent(t, result)
			})
		}
		group.Wait()
		w.run(t, bundle)
		if n := len(w.api.Detections(0)); n != 12*9 {
			t.Errorf("%d detections, want %d", n, 12*9)
		}
		if n := len(w.api.Sequences()); n != 12 {
			t.Errorf("%d sequences, want 12", n)
		}
		w.api.ResetCounters()
		if w.run(t, bundle); w.api.Writes() != 0 {
			t.Errorf("%d writes when nothing was left to do", w.api.Writes())
		}
	})
}

// TestASecondRunOfThisMachineIsRefused while the first one lasts, and not after it.
func TestASecondRunOfThisMachineIsRefused(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "POST", "/sequences/") {
			once.Do(func() { close(reached); <-release })
		}
		api.ServeHTTP(rw, r)
	})
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := load.Run(t.Context(), matrixBundle(), w.client, w.config()); err != nil {
			t.Error(err)
		}
	})
	<-reached
	if _, err := load.Run(t.Context(), matrixBundle(), w.client, w.config()); !errors.Is(err, load.ErrTargetBusy) {
		t.Errorf("second run: error = %v, want ErrTargetBusy", err)
	}
	undo := filepath.Join(t.TempDir(), "undo.jsonl")
	header := fmt.Sprintf(`{"format":"pyrobundle-undo/1","target":%q}`+"\n", w.client.BaseURL())
	if err := os.WriteFile(undo, []byte(header), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load.Restore(t.Context(), w.client, undo, nil); !errors.Is(err, load.ErrTargetBusy) {
		t.Errorf("restore beside it: error = %v, want ErrTargetBusy", err)
	}
	dry := w.config()
	dry.DryRun = true
	if _, err := load.Run(t.Context(), matrixBundle(), w.client, dry); err != nil {
		t.Errorf("dry run beside it: %v", err)
	}
	close(release)
	first.Wait()
	w.run(t, matrixBundle())
}

// TestCancelledRunStopsAtOnceAndTheNextCompletes.
func TestCancelledRunStopsAtOnceAndTheNextCompletes(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := &inMemory{}
		for i := range int64(20) {
			bundle.add(41+i, noon.Add(time.Duration(i)*time.Minute), drifting(6)...)
		}
		goroutines := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var uploads atomic.Int64
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if is(r, "POST", "/detections/") {
				switch n := uploads.Add(1); {
				case n == 40:
					cancel()
				case n > 40:
					_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that we leave
					<-r.Context().Done()               // a server that hangs
					return
				}
			}
			api.ServeHTTP(rw, r)
		})
		var told atomic.Int64 // uploads, by the progress
		cfg := w.config()
		cfg.Progress = func(unit string, done, _ int64) {
			if unit == "uploads" {
				told.Add(done)
			}
		}
		started := time.Now()
		result, err := load.Run(ctx, bundle, w.client, cfg)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want context.Canceled", err)
		}
		if took := time.Since(started); took > 30*time.Second { // the machine may be busy; the server hangs for good
			t.Errorf("it took %s", took)
		}
		consistent(t, result)
		if result.Sequences.Failed != 0 || len(result.Problems) != 0 || result.Detections.Created == 0 {
			t.Errorf("what was done: %+v, %+v, problems %v", result.Sequences, result.Detections, result.Problems)
		}
		if n := told.Load(); n > result.Detections.Created {
			t.Errorf("the progress counts %d uploads, %d were made", n, result.Detections.Created)
		}
		w.client.Close()
		for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines+4 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) // the server's connections end by themselves
		}
		if n := runtime.NumGoroutine(); n > goroutines+4 { // the server's own
			t.Errorf("%d goroutines, %d before", n, goroutines)
		}

		w.intercept(nil)
		if again := w.run(t, bundle); again.Sequences.Failed != 0 {
			t.Errorf("again: %+v, problems %v", again.Sequences, again.Problems)
		}
		if n := len(w.api.Detections(0)); n != 20*6 {
			t.Errorf("%d detections, want %d", n, 20*6)
		}
		if n := len(w.api.Annotations()); n != 20 {
			t.Errorf("%d annotations, want 20", n)
		}
	})
}

// TestARefusedLoginEndsTheRun with one error, and counts nothing as failed.
func TestARefusedLoginEndsTheRun(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	bundle := &inMemory{}
	for i := range int64(20) {
		bundle.add(41+i, noon, drifting(3)...)
	}
	w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		if is(r, "POST", "/detections/") {
			w.api.AddUser("admin", "another password now")
			w.api.ExpireTokens()
		}
		api.ServeHTTP(rw, r)
	})
	result, err := load.Run(t.Context(), bundle, w.client, w.config())
	if !errors.Is(err, httpapi.ErrUnauthorized) {
		t.Errorf("error = %v, want ErrUnauthorized", err)
	}
	if result.Sequences.Failed != 0 || len(result.Problems) != 0 {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
	if strings.Contains(fmt.Sprint(err), "\n") || strings.Contains(fmt.Sprint(err), "admin12345") {
		t.Errorf("error = %q", err)
	}
}

// TestADeadTargetEndsTheRunWithOneMessage.
func TestADeadTargetEndsTheRunWithOneMessage(t *testing.T) {
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
	server := httptest.NewServer(api)
	client, err := annotation.Dial(t.Context(), annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: "admin12345",
		Retry: httpapi.Retry{Attempts: 2, For: 50 * time.Millisecond, Base: time.Millisecond, Max: time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server.Close()
	bundle := &inMemory{}
	for i := range int64(50) {
		bundle.add(41+i, noon.AddDate(0, 0, int(i)), drifting(3)...)
	}
	result, err := load.Run(t.Context(), bundle, client, load.Config{
		SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{MinClusterSize: 1}, StateDir: t.TempDir(),
	})
	if !errors.Is(err, httpapi.ErrUnreachable) || strings.Contains(fmt.Sprint(err), "\n") {
		t.Errorf("error = %v, want ErrUnreachable, one line", err)
	}
	if len(result.Problems) > 2 {
		t.Errorf("%d problems, first %v", len(result.Problems), result.Problems[0])
	}
}
