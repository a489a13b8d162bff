package torture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/httpapi"
	page "pyrobundle/internal/report"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// ours are the goroutines that run code of the program, by their stacks; those of the test and of its servers are not
// among them. A transport's own goroutines are: they belong to connections that nobody closed.
func ours() (stacks []string) {
	buffer := make([]byte, 8<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	for _, stack := range strings.Split(string(buffer), "\n\n") {
		for _, part := range []string{
			"pyrobundle/fetch.", "pyrobundle/fetch/platform.", "pyrobundle/load.", "pyrobundle/load/annotation.", "pyrobundle/store.",
			"pyrobundle/internal/report.", "pyrobundle/internal/httpapi.", "net/http.(*persistConn)", "net/http.(*Transport)",
		} {
			if strings.Contains(stack, part) && !strings.Contains(stack, "pyrobundle/serve.") && !strings.Contains(stack, "pyrobundle/internal/faultproxy.") {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}

// expectNoGoroutines waits for what ends by itself (a connection being closed) and fails if anything stays.
func expectNoGoroutines(t *testing.T) {
	t.Helper()
	var left []string
	for range 300 {
		if left = ours(); len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines survive:\n%s", len(left), strings.Join(left, "\n\n"))
}

// TestNoGoroutineSurvivesARun: of fetch, load and verify, in process, whether they end by themselves, over a bad network, by a
// cancelled context or by a dead server. It is not parallel to others, whose goroutines would be in its way.
func TestNoGoroutineSurvivesARun(t *testing.T) {
	account := platform.Account{Login: "admin", Password: serve.DefaultPassword}
	for _, way := range []string{"to the end", "bad network", "cancelled", "dead server"} {
		t.Run(way, func(t *testing.T) {
			expectNoGoroutines(t)
			plan := faultproxy.Plan{}
			if way == "bad network" {
				plan = badNetwork(11)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newStage(t)
			// ends cuts a phase short after so many requests.
			ends := func(n int, server **faultproxy.Server) func(http.Handler) http.Handler {
				return after(n, func() {
					switch way {
					case "cancelled":
						cancel()
					case "dead server":
						(*server).Down()
					}
				})
			}
			retry := httpapi.Retry{For: 2 * time.Second, Base: 50 * time.Millisecond}
			s.servePlatform(plan, ends(80, &s.platform))
			client, err := platform.Dial(ctx, platform.Config{BaseURL: s.platform.URL, Account: account, Admin: account, Transport: httpapi.NewTransport(), Retry: retry})
			s.must(err)
			writer, err := store.OpenWriter(ctx, filepath.Join(s.home, "b"), store.WriteOptions{Source: client.Source()})
			s.must(err)
			_, err = fetch.Run(ctx, client, writer, fetch.Config{
				From: firstDay, To: lastDay, Order: store.Ascending, RiskScore: "extreme", Workers: 16, Organizations: true,
			})
			expectEnd(t, way, err)
			s.must(writer.Close())
			client.Close()

			ctx, cancel = context.WithCancel(t.Context())
			defer cancel()
			s.serveTarget(sandbox.AnnotationOptions{}, plan, ends(150, &s.target))
			target, err := annotation.Dial(ctx, annotation.Config{
				BaseURL: s.target.URL, Login: "admin", Password: "admin12345", Transport: httpapi.NewTransport(), Retry: retry,
			})
			s.must(err)
			bundle, err := store.Open(world)
			s.must(err)
			_, err = load.Run(ctx, bundle, target, load.Config{
				SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1}, Order: store.Ascending,
				Workers: 16, StateDir: s.home, Patience: 100 * time.Millisecond,
			})
			expectEnd(t, way, err)
			target.Close()
			_, err = bundle.Verify(t.Context(), store.VerifyOptions{ReadData: true})
			s.must(err)
			s.must(bundle.Close())
			s.must(s.platform.Close())
			s.must(s.target.Close())
			expectNoGoroutines(t)
		})
	}
}

// expectEnd checks that a phase ended in the way that it was to.
func expectEnd(t *testing.T, way string, err error) {
	t.Helper()
	switch way {
	case "cancelled":
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("ended with %v", err)
		}
	case "dead server":
		if !errors.Is(err, httpapi.ErrUnreachable) {
			t.Fatalf("ended with %v", err)
		}
	default:
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoGoroutineSurvivesTheOthers: annotate, restore, report, merge, diff, pack and unpack, in process, whether they end by
// themselves, are cancelled midway, or what they write to or read from breaks off. Those of the streams of pack and unpack, and of serve,
// are package main's.
func TestNoGoroutineSurvivesTheOthers(t *testing.T) {
	expectNoGoroutines(t)
	bundle, err := store.Open(world)
	s := newStage(t)
	s.must(err)
	defer func() { s.must(bundle.Close()) }()
	var archive bytes.Buffer
	_, err = bundle.Pack(t.Context(), &archive, store.PackOptions{})
	s.must(err)
	whole, gone := archive.Bytes(), errors.New("gone")
	thresholds := annotate.Thresholds{IoU: 0.3, MinClusterSize: 1}
	for name, run := range map[string]func(ctx context.Context, dir string, midway func()) error{
		"report": func(ctx context.Context, _ string, midway func()) error {
			_, err := page.Write(ctx, io.Discard, bundle, page.Options{Thresholds: thresholds, Workers: 4, Progress: func(string, int64, int64) { midway() }})
			return err
		},
		"report to a full disk": func(ctx context.Context, _ string, midway func()) error {
			_, err := page.Write(ctx, &breaking{left: 1 << 16, midway: midway, err: gone}, bundle, page.Options{Thresholds: thresholds, Workers: 4})
			return err
		},
		"merge": func(ctx context.Context, dir string, midway func()) error {
			_, err := store.Merge(ctx, filepath.Join(dir, "merged"), []string{world, world}, store.MergeOptions{Progress: func(int64, int64) { midway() }})
			return err
		},
		"diff": func(ctx context.Context, _ string, midway func()) error {
			for _, err := range store.Diff(ctx, bundle, bundle, store.DiffOptions{ReadData: true, Progress: func(int64, int64) { midway() }}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"pack": func(ctx context.Context, dir string, midway func()) error {
			_, err := bundle.PackFile(ctx, filepath.Join(dir, "packed.tar"), store.PackOptions{SplitSize: 1 << 17, Progress: func(int64, int64) { midway() }})
			return err
		},
		"pack to a full disk": func(ctx context.Context, _ string, midway func()) error {
			_, err := bundle.Pack(ctx, &breaking{left: 1 << 17, midway: midway, err: gone}, store.PackOptions{})
			return err
		},
		"unpack": func(ctx context.Context, dir string, midway func()) error {
			_, err := store.Unpack(ctx, bytes.NewReader(whole), filepath.Join(dir, "unpacked"), store.UnpackOptions{Progress: func(int64, int64) { midway() }})
			return err
		},
		"unpack of a stream that breaks off": func(ctx context.Context, dir string, midway func()) error {
			broken := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), &breaking{midway: midway, err: gone})
			_, err := store.Unpack(ctx, broken, filepath.Join(dir, "unpacked"), store.UnpackOptions{})
			return err
		},
		"unpack of half a stream": func(ctx context.Context, dir string, midway func()) error {
			midway()
			_, err := store.Unpack(ctx, bytes.NewReader(whole[:len(whole)/2]), filepath.Join(dir, "unpacked"), store.UnpackOptions{})
			return err
		},
	} {
		for _, cancelled := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			midway := func() {}
			if cancelled {
				midway = cancel
			}
			err := run(ctx, t.TempDir(), midway)
			cancel()
			breaks := strings.Contains(name, " ") // each of these has a stream that does not last
			if (err == nil) != (!cancelled && !breaks) || err != nil && !breaks && !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled: %v; it ended with %v", name, cancelled, err)
			}
			expectNoGoroutines(t)
		}
	}
}

// breaking is a stream that breaks off after some bytes.
type breaking struct {
	left   int
	midway func() // called with every use of it
	err    error
}

func (b *breaking) Write(p []byte) (int, error) {
	b.midway()
	if len(p) > b.left {
		return b.left, b.err
	}
	b.left -= len(p)
	return len(p), nil
}

func (b *breaking) Read([]byte) (int, error) {
	b.midway()
	return 0, b.err
}

// TestNoGoroutineSurvivesAnnotateAndRestore, in the ways of TestNoGoroutineSurvivesARun.
func TestNoGoroutineSurvivesAnnotateAndRestore(t *testing.T) {
	for _, way := range []string{"to the end", "cancelled", "dead server"} {
		t.Run(way, func(t *testing.T) {
			expectNoGoroutines(t)
			s := newStage(t)
			s.bundle = world
			t.Setenv("XDG_STATE_HOME", s.home) // of restore's lock
			var left atomic.Int64              // requests until the run is cut short
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if left.Add(-1) == 0 {
						switch way {
						case "cancelled":
							cancel()
						case "dead server":
							go s.target.Down()
						}
					}
					next.ServeHTTP(w, r)
				})
			})
			s.expect(s.run(s.loadArgs()...), exitDone)
			s.annotateByHand()
			undo := s.expect(s.run(s.loadArgs("--existing", "overwrite", "--min-cluster-size", "2")...), exitDone).report(t).UndoFiles[0]
			dial := func() *annotation.Client {
				client, err := annotation.Dial(t.Context(), annotation.Config{
					BaseURL: s.target.URL, Login: "admin", Password: "admin12345", Transport: httpapi.NewTransport(),
					Retry: httpapi.Retry{For: time.Second, Base: 50 * time.Millisecond},
				})
				s.must(err)
				return client
			}
			client := dial()
			left.Store(20)
			_, err := load.Restore(ctx, client, undo, nil)
			if (err == nil) != (way == "to the end") {
				t.Errorf("restore ended with %v", err)
			}
			client.Close()
			expectNoGoroutines(t)

			s.must(s.target.Up())
			ctx, cancel = context.WithCancel(t.Context())
			defer cancel()
			client = dial()
			left.Store(40)
			_, err = load.Regenerate(ctx, client, load.Config{
				Query: store.Query{From: firstDay, To: lastDay}, Thresholds: annotate.Thresholds{IoU: 0.9, MinClusterSize: 1}, Workers: 16, StateDir: s.home,
				Patience: 100 * time.Millisecond,
			})
			expectEnd(t, way, err)
			client.Close()
			s.must(s.target.Close())
			expectNoGoroutines(t)
		})
	}
}
