//go:build unix

package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMergeGoesOnAfterAFullDisk(t *testing.T) {
	a, b := edited(5, 3, only(0, 3), edits(0)[0].apply), edited(5, 3, only(1, 5), later(time.Minute))
	from := []string{a.build(t, WriteOptions{}), b.build(t, WriteOptions{})}
	whole := filepath.Join(t.TempDir(), "whole")
	mergeForTest(t, whole, from...)
	want, wantListing := digestOf(t, whole), listing(t, whole)
	step := 7
	if torture() {
		step = 1
	}
	counting := &failingDisk{left: 1 << 30}
	if _, err := Merge(t.Context(), filepath.Join(t.TempDir(), "c"), from, MergeOptions{write: WriteOptions{disk: counting}}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < counting.seen; n += step {
		c := filepath.Join(t.TempDir(), "c")
		disk := &failingDisk{left: n}
		_, err := Merge(t.Context(), c, from, MergeOptions{write: WriteOptions{disk: disk}})
		if disk.left >= 0 && n > counting.seen/2 {
			break // more shared a transaction than when they were counted, and it is through
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("operation %d: %v", n, err)
		}
		mergeForTest(t, c, from...)
		if digestOf(t, c) != want {
			t.Errorf("operation %d, taken up: %q", n, differences(t, c, whole, DiffOptions{}))
		}
		if diff := cmp.Diff(wantListing, listing(t, c)); diff != "" {
			t.Errorf("operation %d, taken up: -want +got:\n%s", n, diff)
		}
	}
}
