package fetch_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch"
	"pyrobundle/store"
)

func TestDryRunSaysWhatWouldBeAndWritesNothing(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	p.sequence(42, 1, started(firstDay, 1), 5)
	cfg := config()
	cfg.DryRun, cfg.BytesPerSecond = true, 1_000_000
	result, err := fetch.Run(t.Context(), p.dial(t), nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := &fetch.Estimate{Images: 8, Bytes: 8 * 250_000, Duration: 2 * time.Second}
	if diff := cmp.Diff(want, result.Estimate); diff != "" {
		t.Errorf("estimate (-want +got):\n%s", diff)
	}
	if result.Sequences.New != 2 || result.Detections != 8 || p.asked("image ") != 0 {
		t.Errorf("result %+v, %d images asked for", result, p.asked("image "))
	}

	b := newBundle(t, p)
	b.fetch(config())
	p.grow(42, started(firstDay, 9))
	before, err := os.ReadFile(filepath.Join(b.path, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	b.read(func(opened *store.Bundle) {
		cfg.Have = opened
		if result, err = fetch.Run(t.Context(), p.dial(t), nil, cfg); err != nil {
			t.Fatal(err)
		}
	})
	if result.Estimate.Images != 1 || result.Sequences.Updated != 1 || result.Sequences.Unchanged != 1 {
		t.Errorf("result %+v", result)
	}
	after, err := os.ReadFile(filepath.Join(b.path, "index.db"))
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the bundle was written: %v", err)
	}
}

func TestDryRunCountsAnImageThatSequencesShareOnce(t *testing.T) {
	p := newFakePlatform(t)
	for id := int64(41); id < 49; id++ {
		p.sequence(id, 1, started(firstDay, 0), 1)
		p.mu.Lock()
		p.row(id, started(firstDay, 0), "shared.jpg", "[(0.1,0.1,0.2,0.2,0.5)]")
		p.mu.Unlock()
	}
	p.images["shared.jpg"] = picture(1)
	cfg := config()
	cfg.DryRun = true
	result, err := fetch.Run(t.Context(), p.dial(t), nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	fetched := newBundle(t, p).fetch(config()).Images
	fetched.Bytes = 0
	if diff := cmp.Diff(fetched, result.Images); diff != "" || result.Estimate.Images != 9 {
		t.Errorf("estimate %+v; fetched -, foreseen +:\n%s", result.Estimate, diff)
	}
}

func TestPreviewIsWhatAFetchWouldLeave(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	p.sequence(42, 1, started(firstDay, 1), 2)
	p.sequence(43, 1, started(secondDay, 1), 2)
	b := newBundle(t, p)
	b.fetch(config())
	p.remove(41) // the bundle keeps it
	p.sequence(44, 1, started(secondDay, 0), 2)
	p.forgetRequests()

	var got []int64
	b.read(func(opened *store.Bundle) {
		cfg := config()
		cfg.Have = opened
		preview := fetch.NewPreview(p.dial(t), cfg)
		for record, err := range preview.Sequences(t.Context(), store.Query{From: firstDay, To: secondDay}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, record.Sequence.ID)
			for _, frame := range record.Frames {
				if frame.Image.IsZero() {
					t.Errorf("sequence %d: frame %+v", record.Sequence.ID, frame)
				}
			}
			if record.Camera == nil || record.Organization == nil {
				t.Errorf("sequence %d lacks camera or organization", record.Sequence.ID)
			}
		}
		if result := preview.Result(); result.Estimate.Images != 2 || result.Sequences.New != 1 {
			t.Errorf("result %+v", result)
		}
	})
	if want := []int64{41, 42, 44, 43}; !slices.Equal(got, want) {
		t.Errorf("sequences %v, want %v", got, want)
	}
	if n := p.asked("image "); n != 0 {
		t.Errorf("%d images downloaded", n)
	}
}
