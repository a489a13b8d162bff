package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

// The demo's world is a bundle like any other: intact, small, and the same every time.
func TestWriteBundle(t *testing.T) {
	write := func(o sandbox.WorldOptions) *store.Bundle {
		path := filepath.Join(t.TempDir(), "world.bundle")
		if err := sandbox.WriteBundle(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		bundle, err := store.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := bundle.Close(); err != nil {
				t.Error(err)
			}
		})
		return bundle
	}
	bundle := write(sandbox.WorldOptions{})
	report, err := bundle.Verify(t.Context(), store.VerifyOptions{ReadData: true})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
	stats, err := bundle.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Sequences != sandbox.HandMade || stats.FramesMissing != 0 || stats.Images >= stats.Frames {
		t.Errorf("statistics %+v", stats)
	}
	var size int64
	err = filepath.Walk(bundle.Path(), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	if err != nil || size > 10<<20 {
		t.Errorf("%d bytes, %v; want at most 10 MiB", size, err)
	}
	r, err := bundle.Sequence(t.Context(), sandbox.SequenceMidnight)
	if err != nil || !r.Coverage.Complete || !r.Coverage.Exhausted || r.Organization == nil {
		t.Errorf("sequence %d: %+v, %v", sandbox.SequenceMidnight, r.Coverage, err)
	}

	small := sandbox.WorldOptions{Seed: 9, Sequences: 300, Frames: 2, DistinctImages: 5, ImageBytes: 900}
	first, err := write(small).Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := write(small).Digest(t.Context())
	if err != nil || first != second {
		t.Errorf("digests of equal worlds: %s and %s, %v", first, second, err)
	}
	small.Seed++
	other, err := write(small).Digest(t.Context())
	if err != nil || other == first {
		t.Errorf("another seed has the same digest: %v", err)
	}
}
