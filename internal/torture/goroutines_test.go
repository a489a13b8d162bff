package torture

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/httpapi"
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
			"pyrobundle/internal/httpapi.", "net/http.(*persistConn)", "net/http.(*Transport)",
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
