package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// link puts a link into a bundle, in place of what may be there.
func link(t *testing.T, target, at string) {
	t.Helper()
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, at); err != nil {
		t.Skip(err) // on Windows, without the right to
	}
}

// TestLinksInABundleAreNotFollowed: whoever opens a bundle of somebody else for writing changes nothing outside of it.
func TestLinksInABundleAreNotFollowed(t *testing.T) {
	t.Parallel()
	s := newSample(1, 1, 300)
	empty := func(t *testing.T) string { return (&sample{}).build(t, WriteOptions{}) }
	full := func(t *testing.T) string { return s.build(t, WriteOptions{}) }
	nothing := func(t *testing.T) string { return t.TempDir() }
	for _, tt := range []struct {
		name   string
		bundle func(t *testing.T) string
		at     string
		target string // in the foreign directory
		want   error  // of opening for writing
	}{
		{"the directory of shards", empty, imagesName, ".", ErrCorrupt},
		{"the directory of shards of a new bundle", nothing, imagesName, "empty", ErrNotBundle},
		{"a shard", full, shardName(1), "000001.tar", ErrCorrupt},
		{"a shard that is not there yet", empty, shardName(1), "000002.tar", ErrCorrupt},
		{"the manifest", full, manifestName, manifestName, ErrCorrupt},
		{"the index", full, indexName, indexName, ErrCorrupt},
		{"a manifest that was begun", full, manifestNewName, "000001.tar", nil},
		{"an index that was begun", full, indexNewName, indexName, nil},
		{"a manifest that was begun in a new bundle", nothing, manifestNewName, "000001.tar", ErrNotBundle},
		{"an index that was begun in a new bundle", nothing, indexNewName, indexName, ErrNotBundle},
	} {
		for _, mend := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", mending ", mend), func(t *testing.T) {
				t.Parallel()
				foreign := full(t) // a bundle, and what could be taken for a shard
				if err := os.WriteFile(filepath.Join(foreign, "000001.tar"), []byte(strings.Repeat("thesis", 1000)), fileMode); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(filepath.Join(foreign, "empty"), dirMode); err != nil {
					t.Fatal(err)
				}
				before := regularFiles(t, foreign)
				path := tt.bundle(t)
				link(t, filepath.Join(foreign, tt.target), filepath.Join(path, filepath.FromSlash(tt.at)))
				w, err := OpenWriter(t.Context(), path, WriteOptions{Source: testSource(), Mend: mend})
				if !errors.Is(err, tt.want) {
					t.Errorf("open for writing: %v, want %v", err, tt.want)
				}
				if err == nil {
					s.put(t, w)
					closeWriter(t, w)
					mustBeSound(t, path)
				}
				after := regularFiles(t, foreign)
				for file, data := range before {
					if after[file] != data {
						t.Errorf("%s was changed", file)
					}
				}
				if len(after) != len(before) {
					t.Errorf("%d files, were %d", len(after), len(before))
				}
			})
		}
	}
}

// TestBundleWithLinkedImagesIsNotIntact: what lies elsewhere is not in the bundle.
func TestBundleWithLinkedImagesIsNotIntact(t *testing.T) {
	t.Parallel()
	path := newSample(2, 2, 300).build(t, WriteOptions{})
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(filepath.Join(path, imagesName), elsewhere); err != nil {
		t.Fatal(err)
	}
	link(t, elsewhere, filepath.Join(path, imagesName))
	if _, err := Open(path); !errors.Is(err, ErrCorrupt) {
		t.Errorf("open: %v, want %v", err, ErrCorrupt)
	}
	if sum, err := Rescue(t.Context(), path); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rescue: %+v, %v; want %v", sum, err, ErrCorrupt)
	}
}

// TestMendDoesNotWriteIntoAShardThatThereIsNot: an index that says so leads to whatever bears that name.
func TestMendDoesNotWriteIntoAShardThatThereIsNot(t *testing.T) {
	t.Parallel()
	s := newSample(1, 1, 300)
	path := s.build(t, WriteOptions{})
	h := s.sequences[0].Frames[0].Image
	edit(t, path, func(tx *txn) error {
		return errors.Join(
			tx.remove(bucketMembers, memberKey(1, 512)), tx.put(bucketMembers, memberKey(999, 512), h[:]),
			tx.put(bucketImages, h[:], location{shard: 999, offset: 512, size: 300, format: JPEG}.encode()))
	})
	foreign := filepath.Join(t.TempDir(), "thesis")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("thesis", 1000)), fileMode); err != nil {
		t.Fatal(err)
	}
	link(t, foreign, shardPath(path, 999))
	w := openWriterForTest(t, path, WriteOptions{Mend: true})
	s.put(t, w)
	closeWriter(t, w)
	if got := must(os.ReadFile(foreign)); string(got) != strings.Repeat("thesis", 1000) {
		t.Error("the link's target was written to")
	}
	if err := os.Remove(shardPath(path, 999)); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, path)
}
