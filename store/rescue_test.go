package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestRescueCountsWholeImages: behind damage it finds the next ones.
func TestRescueCountsWholeImages(t *testing.T) {
	t.Parallel()
	path := whole24(t)
	whole, err := Rescue(t.Context(), path)
	if err != nil || whole.Images != 24 || whole.Bytes != 24*700 {
		t.Fatalf("%+v, %v; want 24 images of 700 bytes", whole, err)
	}
	overwrite(t, shardPath(path, 1), 30)           // a header
	overwrite(t, shardPath(path, 1), 3*1536+512+9) // an image
	must(0, os.Truncate(shardPath(path, 2), 512+100))
	must(0, os.Remove(filepath.Join(path, indexName)))
	inSecond := (shardSizes(t, whole24(t))[1] - endSize) / 1536
	left, err := Rescue(t.Context(), path)
	if want := whole.Images - 2 - inSecond; err != nil || left.Images != want {
		t.Errorf("%+v, %v; want %d images: two less, and none of the cut shard", left, err, want)
	}
}

// TestRescueTakesTimeByTheSizeOfAShard: of headers that follow one another each was believed, and up to 32 MiB hashed for every
// 512 bytes of a hostile shard.
func TestRescueTakesTimeByTheSizeOfAShard(t *testing.T) {
	t.Parallel()
	const headers = 1000
	data := make([]byte, headers*blockSize)
	for i := range headers {
		header := memberHeader(hashOf([]byte{1}), JPEG, int64(1+(headers-i)*blockSize/2))
		copy(data[i*blockSize:], header[:])
	}
	whole := []byte("behind all that is an image")
	header := memberHeader(hashOf(whole), JPEG, int64(len(whole)))
	data = append(append(append(data, make([]byte, headers*blockSize)...), header[:]...), append(whole, make([]byte, blockSize-len(whole))...)...)
	read := &readCounter{ReaderAt: bytes.NewReader(data)}
	var sum Rescued
	if err := sum.members(t.Context(), read, int64(len(data))); err != nil || sum.Images != 1 {
		t.Errorf("%+v, %v; want one image", sum, err)
	}
	if most := 4 * int64(len(data)); read.bytes > most {
		t.Errorf("%d bytes were read of a shard of %d", read.bytes, len(data))
	}
}

// TestRescueTakesEveryPathAsItIs: brackets in a path are no pattern.
func TestRescueTakesEveryPathAsItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "week[31].bundle")
	if err := os.CopyFS(path, os.DirFS(whole24(t))); err != nil {
		t.Fatal(err)
	}
	if sum, err := Rescue(t.Context(), path); err != nil || sum.Images != 24 {
		t.Errorf("%+v, %v; want 24 images", sum, err)
	}
}

// whole24 is the bundle of TestRescueCountsWholeImages, undamaged.
func whole24(t *testing.T) string {
	t.Helper()
	return newSample(6, 4, 700).build(t, WriteOptions{SealSize: 16_000})
}
