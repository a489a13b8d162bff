package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// shrinkingDisk has less room each time that it is asked.
type shrinkingDisk struct {
	osDisk
	room, step int64
}

func (d *shrinkingDisk) free(string) (int64, error) {
	d.room -= d.step
	return d.room, nil
}

// TestNoRoomIsSaidBeforeAnythingIsWritten.
func TestNoRoomIsSaidBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "bundle")
	_, err := OpenWriter(t.Context(), path, WriteOptions{Source: testSource(), disk: &shrinkingDisk{room: spaceToBegin - 1}})
	if !errors.Is(err, ErrSpace) {
		t.Fatalf("%v, want %v", err, ErrSpace)
	}
	if there, err := exists(filepath.Dir(path)); there || err != nil {
		t.Errorf("a directory was made (%v)", err)
	}
}

// TestADiskWithoutASizeHasRoom: /proc stands for file systems that tell no size at all. They were taken for full.
func TestADiskWithoutASizeHasRoom(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no /proc here")
	}
	if err := roomToBegin(osDisk{}, "/proc/self/bundle"); err != nil {
		t.Error(err)
	}
}

// TestRoomThatRunsOutEndsAWriterProperly: what was put before is committed, the manifest is complete, and another writer
// goes on where there is room again.
func TestRoomThatRunsOutEndsAWriterProperly(t *testing.T) {
	t.Parallel()
	s := newSample(6, 4, 2000)
	want := digestOf(t, s.build(t, WriteOptions{}))
	path := filepath.Join(t.TempDir(), "bundle")
	for step := int64(6); step > 0; step-- { // each writer gets further than the one before
		disk := &shrinkingDisk{room: spaceToBegin + step<<20, step: step << 20}
		w := openWriterForTest(t, path, WriteOptions{disk: disk})
		if err := s.putTo(t.Context(), w); !errors.Is(err, ErrSpace) {
			t.Fatalf("put: %v, want %v", err, ErrSpace)
		}
		closeWriter(t, w)
		b := openForTest(t, path)
		if report := verifyAll(t, b); len(report.Findings)+len(report.Notes) > 0 {
			t.Errorf("after room ran out: %+v", report)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w := openWriterForTest(t, path, WriteOptions{})
	s.put(t, w)
	closeWriter(t, w)
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}
