package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func closeBundle(t testing.TB, b *Bundle) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// sealedWhileDamaged builds a bundle whose first shard lost a byte of its first image before it was sealed.
func sealedWhileDamaged(t *testing.T, s *sample, o WriteOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged.bundle")
	w := openWriterForTest(t, path, o)
	begin := *s
	begin.sequences = s.sequences[:1]
	begin.put(t, w)
	closeWriter(t, w)
	overwrite(t, shardPath(path, 1), 600)
	w = openWriterForTest(t, path, o)
	s.put(t, w)
	closeWriter(t, w)
	if len(shardSizes(t, path)) < 2 {
		t.Fatal("the first shard was not sealed")
	}
	return path
}

// TestShardSealedWhileDamagedIsWholeOnceMended: its hash was that of the damaged bytes, and stayed so for ever.
func TestShardSealedWhileDamagedIsWholeOnceMended(t *testing.T) {
	t.Parallel()
	s, o := newSample(12, 4, 700), WriteOptions{SealSize: 16_000}
	for name, killed := range map[string]bool{"in one run": false, "by the run after one that was killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := sealedWhileDamaged(t, s, o)
			found := verified(t, path)
			if len(found) != 1 || !slices.Equal(found[0].Sequences, []int64{1}) {
				t.Fatalf("verify finds %+v, want the image of sequence 1", found)
			}
			mending := WriteOptions{SealSize: o.SealSize, Mend: true}
			w := openWriterForTest(t, path, mending)
			s.put(t, w)
			var doubtful []uint32
			if killed {
				closeWriter(t, w)
				found := verified(t, path)
				if len(found) != 1 || found[0].Shard != 1 {
					t.Fatalf("verify finds %+v, want the hash of shard 1", found)
				}
				doubtful = append(doubtful, found[0].Shard)
				w = openWriterForTest(t, path, mending)
			}
			if err := w.Reseal(t.Context(), doubtful); err != nil {
				t.Fatal(err)
			}
			closeWriter(t, w)
			mustBeSound(t, path)
		})
	}
}

// TestResealBelievesNoDamagedShard: a hash that agrees with damaged bytes would hide them from whoever compares hashes only.
func TestResealBelievesNoDamagedShard(t *testing.T) {
	t.Parallel()
	s, o := newSample(12, 4, 700), WriteOptions{SealSize: 16_000}
	whole := s.build(t, o)
	size := shardSizes(t, whole)[0]
	for name, place := range map[string]int64{"header": 3, "image": 600, "padding": 512 + 700, "end": size - 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bundle")
			if err := os.CopyFS(path, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			w := openWriterForTest(t, path, o)
			before := slices.Clone(sealsOf(t, w))
			overwrite(t, shardPath(path, 1), place)
			if err := w.Reseal(t.Context(), []uint32{0, 1, 2, 99}); err != nil {
				t.Fatal(err)
			}
			if after := sealsOf(t, w); !slices.Equal(before, after) {
				t.Errorf("the seals changed from %v to %v", before, after)
			}
			closeWriter(t, w)
		})
	}
}

// sealsOf reads what the index says of sealed shards.
func sealsOf(t *testing.T, w *Writer) (out []sealed) {
	t.Helper()
	for e, err := range w.entries(t.Context(), bucketShards, nil) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, must(decodeSealed(e.body)))
	}
	return out
}

// TestResealEndsWithItsContext: nobody waits for half a gigabyte to be read after Ctrl-C.
func TestResealEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, o := newSample(12, 4, 700), WriteOptions{SealSize: 16_000}
	w := openWriterForTest(t, s.build(t, o), o)
	ctx, cancel := context.WithCancel(t.Context())
	err := w.do(t.Context(), request{alone: func(o *owner) error {
		cancel() // while it is at work
		return o.reseal(ctx, []uint32{1})
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	closeWriter(t, w)
}

// TestRestoreManifest: what it does beyond TestMendedBundleIsWholeAgain.
func TestRestoreManifest(t *testing.T) {
	t.Parallel()
	s := newSample(12, 4, 700)
	o := WriteOptions{SealSize: 16_000}
	build := func(t *testing.T) (path, manifest string) {
		path = s.build(t, o)
		return path, filepath.Join(path, manifestName)
	}
	t.Run("leaves one that fits alone", func(t *testing.T) {
		t.Parallel()
		path, _ := build(t)
		before := snapshot(t, path)
		if older, err := RestoreManifest(path); err != nil || older {
			t.Fatal(older, err)
		}
		for name, now := range snapshot(t, path) {
			if before[name] != now {
				t.Errorf("%s changed", name)
			}
		}
	})
	t.Run("takes an older index, and says so", func(t *testing.T) {
		t.Parallel()
		path, _ := build(t)
		index := must(os.ReadFile(filepath.Join(path, indexName)))
		w := openWriterForTest(t, path, o)
		more := newSample(14, 4, 700)
		more.put(t, w)
		closeWriter(t, w)
		want := digestOf(t, path)
		if err := os.WriteFile(filepath.Join(path, indexName), index, fileMode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Open: %v, want %v", err, ErrCorrupt)
		}
		if older, err := RestoreManifest(path); err != nil || !older {
			t.Fatalf("older is %t, %v", older, err)
		}
		w = openWriterForTest(t, path, WriteOptions{SealSize: o.SealSize, Mend: true})
		size := must(os.Stat(shardPath(path, 1))).Size()
		more.put(t, w)
		closeWriter(t, w)
		mustBeSound(t, path)
		if got := digestOf(t, path); got != want {
			t.Errorf("digest %s, want %s", got, want)
		}
		if now := must(os.Stat(shardPath(path, 1))).Size(); now != size {
			t.Errorf("the first shard has %d bytes instead of %d", now, size)
		}
	})
	t.Run("believes no other bundle's index", func(t *testing.T) {
		t.Parallel()
		path, manifest := build(t)
		_, other := build(t)
		want := must(os.ReadFile(other))
		if err := os.WriteFile(manifest, want, fileMode); err != nil {
			t.Fatal(err)
		}
		if _, err := RestoreManifest(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want %v", err, ErrCorrupt)
		}
		if got := must(os.ReadFile(manifest)); !bytes.Equal(got, want) {
			t.Error("the manifest was written over")
		}
	})
	t.Run("refuses a damaged index", func(t *testing.T) {
		t.Parallel()
		path, manifest := build(t)
		overwrite(t, manifest, 70)
		for page := range int64(2) {
			overwrite(t, filepath.Join(path, indexName), page*pageSize+pageHeaderSize)
		}
		if _, err := RestoreManifest(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want %v", err, ErrCorrupt)
		}
	})
	t.Run("refuses what is no bundle", func(t *testing.T) {
		t.Parallel()
		if _, err := RestoreManifest(t.TempDir()); !errors.Is(err, ErrNotBundle) {
			t.Errorf("error %v, want %v", err, ErrNotBundle)
		}
	})
	t.Run("waits for nobody who writes", func(t *testing.T) {
		t.Parallel()
		path, _ := build(t)
		w := openWriterForTest(t, path, o)
		defer closeWriter(t, w)
		if _, err := RestoreManifest(path); !errors.Is(err, ErrLocked) {
			t.Errorf("error %v, want %v", err, ErrLocked)
		}
	})
}
