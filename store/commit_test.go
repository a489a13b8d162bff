package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestImagesAreCommittedWithinASecond, also where nothing follows them: of a slow link a power cut costs no more.
func TestImagesAreCommittedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWriterForTest(t, filepath.Join(t.TempDir(), "slow.bundle"), WriteOptions{})
		data := imageBytes(1, 500)
		h, err := w.PutImage(t.Context(), 1, "slow.jpg", JPEG, data)
		if err != nil {
			t.Fatal(err)
		}
		committed := func() bool {
			body, err := w.get(t.Context(), bucketImages, h[:])
			if err != nil {
				t.Fatal(err)
			}
			return body != nil
		}
		time.Sleep(batchAge - time.Millisecond)
		synctest.Wait()
		if committed() {
			t.Error("each image has its own transaction")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !committed() {
			t.Error("it is not committed")
		}
		closeWriter(t, w)
	})
}

// TestManifestFollowsTheIndex while images come: with an old one a copy of the bundle says less than it holds.
func TestManifestFollowsTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "long.bundle")
		w := openWriterForTest(t, path, WriteOptions{})
		var seen []uint64
		for i := range 12 {
			if _, err := w.PutImage(t.Context(), 1, string(rune('a'+i))+".jpg", JPEG, imageBytes(uint64(i), 500)); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			m, err := readManifest(path, manifestName)
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 || seen[len(seen)-1] != m.Generation {
				seen = append(seen, m.Generation)
			}
			time.Sleep(time.Second)
		}
		if len(seen) != 3 {
			t.Errorf("in 12 seconds the manifest described generations %v, want a new one every %v", seen, manifestAge)
		}
		closeWriter(t, w)
	})
}

// TestShardOfAnotherBundleIsNotSealedWithOurs: a bundle that was copied over a longer one leaves shards behind the open one. The end of
// such a file stayed behind what was written into it, and the sealed shard was damage to the next run.
func TestShardOfAnotherBundleIsNotSealedWithOurs(t *testing.T) {
	t.Parallel()
	s := newSample(6, 4, 700)
	path := filepath.Join(t.TempDir(), "copied.bundle")
	closeWriter(t, openWriterForTest(t, path, WriteOptions{}))
	if err := os.WriteFile(shardPath(path, 2), bytes.Repeat([]byte("of another bundle "), 5000), fileMode); err != nil {
		t.Fatal(err)
	}
	w := openWriterForTest(t, path, WriteOptions{SealSize: 16_000})
	s.put(t, w)
	closeWriter(t, w)
	closeWriter(t, openWriterForTest(t, path, WriteOptions{SealSize: 16_000}))
	mustBeSound(t, path)
	if n := len(shardSizes(t, path)); n < 3 {
		t.Errorf("only %d shards", n)
	}
}
