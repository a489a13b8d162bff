package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// manifestedBundle is a bundle of several shards, and where its manifest lies.
func manifestedBundle(t *testing.T) (path, manifest string) {
	t.Helper()
	path = newSample(12, 4, 700).build(t, WriteOptions{SealSize: 16_000})
	return path, filepath.Join(path, manifestName)
}

// TestRestoreManifestLeavesOneThatFits alone, byte for byte.
func TestRestoreManifestLeavesOneThatFits(t *testing.T) {
	t.Parallel()
	path, _ := manifestedBundle(t)
	before := snapshot(t, path)
	if restored, err := RestoreManifest(path); err != nil || restored != (Restored{}) {
		t.Fatal(restored, err)
	}
	for name, now := range snapshot(t, path) {
		if before[name] != now {
			t.Errorf("%s changed", name)
		}
	}
}

// TestRestoreManifestTakesTheIndexOfBeforeTheLastTransaction, and says so: what bbolt falls back to where the newest of its two meta
// pages is damaged.
func TestRestoreManifestTakesTheIndexOfBeforeTheLastTransaction(t *testing.T) {
	t.Parallel()
	path, _ := manifestedBundle(t)
	index := must(os.ReadFile(filepath.Join(path, indexName)))
	more := newSample(13, 4, 700).sequences[12]
	more.Frames, more.Detections = nil, nil // one transaction
	put := func(o WriteOptions) {
		w := openWriterForTest(t, path, o)
		if err := w.PutSequence(t.Context(), more); err != nil {
			t.Fatal(err)
		}
		closeWriter(t, w)
	}
	put(WriteOptions{})
	want := digestOf(t, path)
	if err := os.WriteFile(filepath.Join(path, indexName), index, fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open: %v, want %v", err, ErrCorrupt)
	}
	if restored, err := RestoreManifest(path); err != nil || restored != (Restored{Written: true, Older: true}) {
		t.Fatal(restored, err)
	}
	put(WriteOptions{Mend: true})
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// TestRestoreManifestRefuses, and leaves everything as it is. An index that is older by more would have the tails of shards cut that
// were sealed long ago, wherever an image in them is damaged.
func TestRestoreManifestRefuses(t *testing.T) {
	t.Parallel()
	grow := func(t *testing.T, path string) { // and go back to the index of before
		index := must(os.ReadFile(filepath.Join(path, indexName)))
		w := openWriterForTest(t, path, WriteOptions{SealSize: 16_000})
		newSample(20, 4, 700).put(t, w)
		closeWriter(t, w)
		if err := os.WriteFile(filepath.Join(path, indexName), index, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path, manifest string)
		want  error
	}{
		"an older index": {func(t *testing.T, path, _ string) { grow(t, path) }, ErrCorrupt},
		"an older index beside a damaged manifest": {func(t *testing.T, path, manifest string) {
			grow(t, path)
			overwrite(t, manifest, 70)
		}, ErrCorrupt},
		"another bundle's manifest": {func(t *testing.T, _, manifest string) {
			_, other := manifestedBundle(t)
			if err := os.WriteFile(manifest, must(os.ReadFile(other)), fileMode); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
		"a damaged index": {func(t *testing.T, path, manifest string) {
			overwrite(t, manifest, 70)
			for page := range int64(2) {
				overwrite(t, filepath.Join(path, indexName), page*pageSize+pageHeaderSize)
			}
		}, ErrCorrupt},
		"more shards than there can be": {func(t *testing.T, path, manifest string) {
			overwrite(t, manifest, 70)
			edit(t, path, func(tx *txn) error { tx.meta.OpenShard = 1<<32 - 1; tx.writes++; return nil })
		}, ErrCorrupt},
		"a format that can be read only": {func(t *testing.T, path, manifest string) {
			overwrite(t, manifest, 70)
			edit(t, path, func(tx *txn) error { tx.meta.Format = formatVersion + 1; tx.writes++; return nil })
		}, ErrVersion},
		"no index": {func(t *testing.T, path, manifest string) {
			if err := errors.Join(os.Remove(manifest), os.Remove(filepath.Join(path, indexName))); err != nil {
				t.Fatal(err)
			}
		}, ErrNotBundle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, manifest := manifestedBundle(t)
			c.spoil(t, path, manifest)
			before := snapshot(t, path)
			if restored, err := RestoreManifest(path); !errors.Is(err, c.want) || restored != (Restored{}) {
				t.Errorf("%+v, error %v, want %v", restored, err, c.want)
			}
			for name, now := range snapshot(t, path) {
				if before[name] != now {
					t.Errorf("%s changed", name)
				}
			}
		})
	}
}

// TestRestoreManifestWaitsForNobody who writes or reads.
func TestRestoreManifestWaitsForNobody(t *testing.T) {
	t.Parallel()
	path, manifest := manifestedBundle(t)
	b := openForTest(t, path)
	defer closeBundle(t, b)
	overwrite(t, manifest, 70)
	want := must(os.ReadFile(manifest))
	if _, err := RestoreManifest(path); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v, want %v", err, ErrLocked)
	}
	if got := must(os.ReadFile(manifest)); !bytes.Equal(got, want) {
		t.Error("the manifest was written over")
	}
}
