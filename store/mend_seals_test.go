package store

import (
	"context"
	"errors"
	"io"
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
	err := w.do(t.Context(), request{own: func(o *owner) error {
		cancel() // while it is at work
		return o.reseal(ctx, []uint32{1})
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	closeWriter(t, w)
}

// TestSealingEndsWithItsContext: after Ctrl-C nobody waits for half a gigabyte to be hashed. The shard stays the open one, and the
// next image seals it.
func TestSealingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newSample(6, 4, 700)
	path := s.build(t, WriteOptions{SealSize: 1 << 20})
	w := openWriterForTest(t, path, WriteOptions{SealSize: 10_000})
	ctx, cancel := context.WithCancel(t.Context())
	more := imageBytes(99, 700)
	put := request{image: &newImage{ctx: ctx, key: bucketKey(1, "more.jpg"), hash: hashOf(more), format: JPEG, data: more}, done: make(chan error, 1)}
	cancel() // the owner has taken it
	w.requests <- put
	if err := <-put.done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if got := sealsOf(t, w); len(got) != 0 {
		t.Errorf("%d shards are sealed", len(got))
	}
	if _, err := w.PutImage(t.Context(), 1, "more.jpg", JPEG, more); err != nil {
		t.Fatal(err)
	}
	if got := sealsOf(t, w); len(got) != 1 {
		t.Errorf("%d shards are sealed, want 1", len(got))
	}
	closeWriter(t, w)
	mustBeSound(t, path)
}

// TestShardWithoutAHashIsNotProven: a repair that was cut short before Reseal knows no hash of a shard. It is a finding, not something
// to be packed or unpacked as if it were whole.
func TestShardWithoutAHashIsNotProven(t *testing.T) {
	t.Parallel()
	s, o := newSample(12, 4, 700), WriteOptions{SealSize: 16_000}
	path := s.build(t, o)
	spoilValue(t, path, bucketShards, 0, -1)
	overwrite(t, filepath.Join(path, manifestName), 70)
	if _, err := RestoreManifest(path); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, openWriterForTest(t, path, WriteOptions{SealSize: o.SealSize, Mend: true}))
	overwrite(t, shardPath(path, 1), 600)
	b := openForTest(t, path)
	defer closeBundle(t, b)
	report, err := b.Verify(t.Context(), VerifyOptions{})
	if err != nil || len(report.Findings) == 0 {
		t.Errorf("verify without data finds %+v, %v", report.Findings, err)
	}
	if _, err := b.Pack(t.Context(), io.Discard, PackOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("pack: %v, want %v", err, ErrCorrupt)
	}
}
