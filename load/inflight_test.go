package load_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// TestLargeRecordsAreLoadedOneAfterTheOther: sixteen of 64 MiB would be held at once, else. Ordinary ones wait for nobody.
func TestLargeRecordsAreLoadedOneAfterTheOther(t *testing.T) {
	const mebibyte = 1 << 20
	for _, c := range []struct {
		size   int
		atOnce int64
	}{{0, 4}, {1 * mebibyte, 4}, {20 * mebibyte, 3}, {40 * mebibyte, 1}, {500 * mebibyte, 1}} {
		t.Run(fmt.Sprintf("%d MiB", c.size/mebibyte), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
				var now, most atomic.Int64 // sequences between their creation and their annotation
				slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if is(r, "POST", "/sequences/") {
						most.Store(max(most.Load(), now.Add(1)))
					}
					time.Sleep(time.Second)
					if is(r, "POST", "/annotations/sequences/") {
						now.Add(-1)
					}
					api.ServeHTTP(w, r)
				})
				bundle := &inMemory{}
				text := strings.Repeat("x", mebibyte) // one for all: what is weighed need not be there
				for i := range int64(9) {
					record := bundle.add(41+i, noon.Add(time.Duration(i)*time.Minute), "[(.1,.1,.3,.3,.5)]")
					for range c.size / mebibyte {
						record.Frames = append(record.Frames, store.Frame{Key: "not in any row", Problem: text})
					}
				}
				client, err := annotation.Dial(t.Context(), annotation.Config{
					BaseURL: "http://annotation.invalid", Login: "admin", Password: "admin12345", Transport: &brokenLine{api: slow},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				result, err := load.Run(t.Context(), bundle, client, load.Config{
					SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{MinClusterSize: 1}, StateDir: t.TempDir(), Workers: 4,
				})
				if err != nil || result.Sequences.New != 9 {
					t.Errorf("%v, %+v, problems %v", err, result.Sequences, result.Problems)
				}
				if most.Load() != c.atOnce {
					t.Errorf("%d sequences at once, want %d", most.Load(), c.atOnce)
				}
			})
		})
	}
}

// TestSequencesOfManyRowsEndTheirTurns: each of them holds its rows alone, and all are loaded, by either command.
func TestSequencesOfManyRowsEndTheirTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &parrot{api: sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})}
		client, err := annotation.Dial(t.Context(), annotation.Config{
			BaseURL: "http://annotation.invalid", Login: "admin", Password: "admin12345", Transport: &brokenLine{api: api},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		bundle := &inMemory{}
		for i := range int64(4) {
			bundle.add(41+i, noon.Add(time.Duration(i)*time.Minute), drifting(3)...)
		}
		cfg := load.Config{SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{MinClusterSize: 1}, StateDir: t.TempDir()}
		api.field.Store(&replaced{"bucket_key", func(string) any { return strings.Repeat("x", 400<<10) }}) // three are many
		for _, want := range []load.SequenceCounts{{Total: 4, Successful: 4, New: 4}, {Total: 4, Successful: 4, Unchanged: 4}} {
			if result, err := load.Run(t.Context(), bundle, client, cfg); err != nil || result.Sequences != want {
				t.Errorf("%v, %+v, want %+v, problems %v", err, result.Sequences, want, result.Problems)
			}
		}
		cfg.Query = store.Query{From: "2026-08-01", To: "2026-08-01"}
		if result, err := load.Regenerate(t.Context(), client, cfg); err != nil || result.Sequences.Unchanged != 4 {
			t.Errorf("%v, %+v, problems %v", err, result.Sequences, result.Problems)
		}
	})
}
