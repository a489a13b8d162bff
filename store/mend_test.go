package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// verified returns what Verify finds in the bundle at path, every byte read.
func verified(t *testing.T, path string) []Finding {
	t.Helper()
	b := openForTest(t, path)
	found := verifyAll(t, b).Findings
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return found
}

// spoilValue changes a byte of the index-th value of a bucket, counted from its end for negative places.
func spoilValue(t *testing.T, path, bucket string, index, place int) {
	t.Helper()
	alterIndex(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		c := b.Cursor()
		k, v := c.First()
		for range index {
			k, v = c.Next()
		}
		if k == nil {
			return fmt.Errorf("bucket %s has no entry %d", bucket, index)
		}
		spoilt := bytes.Clone(v)
		spoilt[(place+len(spoilt))%len(spoilt)] ^= 4
		return b.Put(bytes.Clone(k), spoilt)
	})
}

// TestMendedBundleIsWholeAgain: entries of every bucket, images and whole shards are damaged. With Mend the bundle can be
// written to, and what is put again makes it what it was; without, a writer refuses or the damage stays.
func TestMendedBundleIsWholeAgain(t *testing.T) {
	t.Parallel()
	s := newSample(12, 4, 700)
	o := WriteOptions{SealSize: 16_000}
	whole := s.build(t, o)
	want := digestOf(t, whole)
	shards := shardSizes(t, whole)
	last := uint32(len(shards))
	first := s.sequences[0].Frames[0]

	damages := map[string]func(t *testing.T, path string){
		"first shard lost": func(t *testing.T, path string) { must(0, os.Remove(shardPath(path, 1))) },
		"open shard lost":  func(t *testing.T, path string) { must(0, os.Remove(shardPath(path, last))) },
		"sealed shard cut": func(t *testing.T, path string) { must(0, os.Truncate(shardPath(path, 1), 1500)) },
		"open shard cut":   func(t *testing.T, path string) { must(0, os.Truncate(shardPath(path, last), 600)) },
		"image and its entry": func(t *testing.T, path string) {
			spoilValue(t, path, bucketImages, 3, -1)
			overwrite(t, shardPath(path, 1), 1000)
		},
		"both entries of an image": func(t *testing.T, path string) {
			spoil(t, path, bucketImages, first.Image[:])
			spoil(t, path, bucketMembers, memberKey(1, 512))
		},
		"both entries of images side by side": func(t *testing.T, path string) {
			for i, f := range s.sequences[0].Frames[:3] {
				spoil(t, path, bucketImages, f.Image[:])
				spoil(t, path, bucketMembers, memberKey(1, 512+int64(i)*(512+1024)))
			}
		},
		"both entries of the last image": func(t *testing.T, path string) {
			image := s.sequences[11].Frames[3].Image
			spoil(t, path, bucketImages, image[:])
			spoil(t, path, bucketMembers, memberKey(last, shards[last-1]-1024))
		},
		"an image's entry and its header": func(t *testing.T, path string) {
			spoil(t, path, bucketImages, first.Image[:])
			overwrite(t, shardPath(path, 1), 3)
		},
		"entries and headers of images side by side": func(t *testing.T, path string) {
			for i, f := range s.sequences[0].Frames[1:3] {
				spoil(t, path, bucketImages, f.Image[:])
				overwrite(t, shardPath(path, 1), 3+int64(i+1)*(512+1024))
			}
		},
		"a member's entry and its header": func(t *testing.T, path string) {
			spoil(t, path, bucketMembers, memberKey(1, 512))
			overwrite(t, shardPath(path, 1), 3)
		},
		"an image's entry, in a shard that was cut": func(t *testing.T, path string) {
			spoil(t, path, bucketImages, first.Image[:])
			must(0, os.Truncate(shardPath(path, 1), 300))
		},
		"header":                func(t *testing.T, path string) { overwrite(t, shardPath(path, 2), 3) },
		"end of a sealed shard": func(t *testing.T, path string) { overwrite(t, shardPath(path, 1), shards[0]-3) },
		"image's bytes":         func(t *testing.T, path string) { overwrite(t, shardPath(path, 2), 600) },
		"a shard's entry, and the shard cut": func(t *testing.T, path string) {
			spoilValue(t, path, bucketShards, 0, -1)
			must(0, os.Truncate(shardPath(path, 1), 1500))
		},
		"an entry that is not there": func(t *testing.T, path string) {
			edit(t, path, func(tx *txn) error { return tx.remove(bucketShards, shardKey(1)) })
		},
		"a shard's entry, and the manifest": func(t *testing.T, path string) {
			spoilValue(t, path, bucketShards, 0, -1)
			overwrite(t, filepath.Join(path, manifestName), 70)
		},
		"a shard's entry, the manifest, and the shard lost": func(t *testing.T, path string) {
			spoilValue(t, path, bucketShards, 0, 3)
			overwrite(t, filepath.Join(path, manifestName), 70)
			must(0, os.Remove(shardPath(path, 1)))
		},
		"manifest":      func(t *testing.T, path string) { overwrite(t, filepath.Join(path, manifestName), 70) },
		"manifest lost": func(t *testing.T, path string) { must(0, os.Remove(filepath.Join(path, manifestName))) },
		"sequence and summaries": func(t *testing.T, path string) {
			spoilValue(t, path, bucketSequences, 2, 40)
			spoilValue(t, path, bucketByDay, 2, 40)
		},
	}
	for _, bucket := range []string{
		bucketSequences, bucketByDay, bucketImages, bucketMembers, bucketKeys, bucketCameras, bucketOrganizations, bucketDays, bucketProblems,
		bucketShards,
	} {
		for name, place := range map[string]int{"hash": 5, "body": -1} {
			damages[name+" of "+bucket] = func(t *testing.T, path string) { spoilValue(t, path, bucket, 0, place) }
		}
	}
	for _, bucket := range []string{
		bucketSequences, bucketByDay, bucketImages, bucketMembers, bucketKeys, bucketCameras, bucketDays, bucketShards,
	} {
		damages["order of "+bucket] = func(t *testing.T, path string) { disorder(t, path, bucket) }
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bundle")
			if err := os.CopyFS(path, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			damage(t, path)
			if b, err := Open(path); err != nil { // so it shows
				if restored, err := RestoreManifest(path); err != nil || restored != (Restored{Written: true}) {
					t.Fatal(restored, err)
				}
			} else {
				closeBundle(t, b)
				if len(verified(t, path)) == 0 {
					t.Fatal("the damage does not show")
				}
			}
			w := openWriterForTest(t, path, WriteOptions{SealSize: o.SealSize, Mend: true})
			s.put(t, w)
			if err := w.Reseal(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			closeWriter(t, w)
			for _, finding := range verified(t, path) {
				t.Errorf("%s: %s", finding.Object, finding.Reason)
			}
			if got := digestOf(t, path); got != want {
				t.Errorf("digest %s, want %s", got, want)
			}
			if got := shardSizes(t, path); fmt.Sprint(got) != fmt.Sprint(shards) {
				t.Errorf("shards of %v bytes, want %v: an image was appended instead of put in its place", got, shards)
			}
		})
	}
}

// TestMendGoesOnInALaterRun: an image that was not put in the run that found the damage has its place in the next one.
func TestMendGoesOnInALaterRun(t *testing.T) {
	t.Parallel()
	s := newSample(4, 4, 700)
	o := WriteOptions{SealSize: 16_000}
	path := s.build(t, o)
	want := shardSizes(t, path)
	image := s.sequences[0].Frames[1].Image
	spoil(t, path, bucketImages, image[:])
	overwrite(t, shardPath(path, 1), 512+1024+3)
	o.Mend = true
	closeWriter(t, openWriterForTest(t, path, o))
	found := verified(t, path)
	if len(found) == 0 || !slices.ContainsFunc(found, func(f Finding) bool { return slices.Equal(f.Sequences, []int64{1}) }) {
		t.Errorf("the image is missing, and the findings are %+v", found)
	}
	w := openWriterForTest(t, path, o)
	s.put(t, w)
	closeWriter(t, w)
	mustBeSound(t, path)
	if got := shardSizes(t, path); !slices.Equal(got, want) {
		t.Errorf("shards of %v bytes, want %v", got, want)
	}
}

// TestMendKeepsNoPlaceThatDoesNotFit: what was told of the image was wrong, so it goes behind the others.
func TestMendKeepsNoPlaceThatDoesNotFit(t *testing.T) {
	t.Parallel()
	s := newSample(2, 2, 700)
	path := s.build(t, WriteOptions{})
	f := s.sequences[0].Frames[0]
	edit(t, path, func(tx *txn) error { // the first place is that of an image of another size
		small := hashOf([]byte("small"))
		return errors.Join(tx.remove(bucketImages, f.Image[:]), tx.put(bucketMembers, memberKey(1, 512), small[:]))
	})
	overwrite(t, shardPath(path, 1), 3)
	w := openWriterForTest(t, path, WriteOptions{Mend: true})
	if _, err := w.PutImage(t.Context(), 1, "small", JPEG, []byte("small")); err != nil {
		t.Fatal(err)
	}
	s.put(t, w)
	closeWriter(t, w)
	b := openForTest(t, path)
	if data, err := b.ReadImage(t.Context(), hashOf([]byte("small"))); err != nil || string(data) != "small" {
		t.Errorf("%q, %v", data, err)
	}
	for _, finding := range verifyAll(t, b).Findings {
		if finding.Object != "shard 000001" || !strings.Contains(finding.Reason, "a gap from 0") {
			t.Errorf("%+v", finding)
		}
	}
}

// TestPlaceOfWhichNothingIsKnownStaysAGap: verify names it, everything else is whole, and merging leaves it behind.
func TestPlaceOfWhichNothingIsKnownStaysAGap(t *testing.T) {
	t.Parallel()
	s := newSample(3, 3, 700)
	path := s.build(t, WriteOptions{})
	want := digestOf(t, path)
	image := s.sequences[0].Frames[0].Image
	spoil(t, path, bucketImages, image[:])
	spoil(t, path, bucketMembers, memberKey(1, 512))
	overwrite(t, shardPath(path, 1), 3)
	w := openWriterForTest(t, path, WriteOptions{Mend: true})
	s.put(t, w)
	closeWriter(t, w)
	found := verified(t, path)
	if len(found) != 1 || found[0].Object != "shard 000001" || !strings.Contains(found[0].Reason, "a gap from 0 to 1536") {
		t.Errorf("%+v, want one gap", found)
	}
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	merged := filepath.Join(t.TempDir(), "merged")
	mergeForTest(t, merged, path)
	mustBeSound(t, merged)
	if got := digestOf(t, merged); got != want {
		t.Errorf("merged: digest %s, want %s", got, want)
	}
}

// TestMendRecordsWhatOnlyThePlatformCanGiveBack: a lost sequence is missing for all to see until it is put again.
func TestMendRecordsWhatOnlyThePlatformCanGiveBack(t *testing.T) {
	t.Parallel()
	s := newSample(5, 2, 300)
	path := s.build(t, WriteOptions{})
	spoilValue(t, path, bucketSequences, 3, 50)
	closeWriter(t, openWriterForTest(t, path, WriteOptions{Mend: true}))
	if found := verified(t, path); len(found) > 0 {
		t.Errorf("after mending, verify finds %v", found)
	}
	b := openForTest(t, path)
	recorded := false
	for p, err := range b.Problems(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		recorded = recorded || p.SequenceID == 4 && p.Class == Failed && p.Kind == "sequence"
	}
	if !recorded {
		t.Error("the lost sequence is not on record")
	}
}

// spoilKey changes a byte of the key of an entry.
func spoilKey(t *testing.T, path, bucket string, key []byte, place int) {
	t.Helper()
	alterIndex(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		value, spoilt := bytes.Clone(b.Get(key)), bytes.Clone(key)
		if value == nil {
			return fmt.Errorf("bucket %s has no %x", bucket, key)
		}
		spoilt[place] ^= 64
		return errors.Join(b.Delete(key), b.Put(spoilt, value))
	})
}

// disorder changes a bit of a key where it lies, so that it is greater than the one behind it, or less than the one before it.
func disorder(t *testing.T, path, bucket string) {
	t.Helper()
	b := openForTest(t, path)
	var keys [][]byte
	for e, err := range b.entries(t.Context(), bucket, nil) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.key)
	}
	closeBundle(t, b)
	file := filepath.Join(path, indexName)
	data := must(os.ReadFile(file))
	for i := range len(keys) - 1 {
		spoilt := bytes.Clone(keys[i])
		spoilt[0] ^= 128
		if (i == 0 || bytes.Compare(keys[i-1], spoilt) < 0) && bytes.Compare(spoilt, keys[i+1]) < 0 {
			continue
		}
		for _, r := range indexRegions(t, data) {
			if !strings.HasSuffix(r.class, " key") || r.class == "branch key" || !bytes.Equal(data[r.start:r.end], keys[i]) {
				continue
			}
			patch(t, file, r.start, spoilt[0])
			if checkPages(file, allPages) == nil {
				return
			}
			patch(t, file, r.start, keys[i][0]) // the first key of a page: the index would be beyond repair
		}
	}
	t.Fatalf("no key of %s can be put out of order", bucket)
}

// TestMendRecordsASequenceWhoseKeyIsDamaged: another one was put on record, and this one, which only its summary still named, went
// without a word.
func TestMendRecordsASequenceWhoseKeyIsDamaged(t *testing.T) {
	t.Parallel()
	path := newSample(5, 2, 300).build(t, WriteOptions{})
	spoilKey(t, path, bucketSequences, idKey(4), 7)
	closeWriter(t, openWriterForTest(t, path, WriteOptions{Mend: true}))
	mustBeSound(t, path)
	b := openForTest(t, path)
	defer closeBundle(t, b)
	recorded := map[int64]bool{}
	for p, err := range b.Problems(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Class == Failed && p.Kind == "sequence" {
			recorded[p.SequenceID] = true
		}
	}
	if want := map[int64]bool{4: true}; !maps.Equal(recorded, want) { // the damaged key names one that never was
		t.Errorf("on record are %v, want %v", recorded, want)
	}
}

// TestMendDescribesASequenceAgainWhoseSummaryHasADamagedKey: it stayed in the bundle without one, where nobody saw it who did not fetch
// it again.
func TestMendDescribesASequenceAgainWhoseSummaryHasADamagedKey(t *testing.T) {
	t.Parallel()
	s := newSample(5, 2, 300)
	path := s.build(t, WriteOptions{})
	want := digestOf(t, path)
	for i, place := range []int{15, 3} { // in the id, in the time
		spoilKey(t, path, bucketByDay, dayKey(s.sequences[i].Sequence.StartedAt.Time, s.sequences[i].Sequence.ID), place)
	}
	closeWriter(t, openWriterForTest(t, path, WriteOptions{Mend: true}))
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// TestMendKeepsADamagedProblemOnRecord: it vanished, and with it the only thing that had a later run try again.
func TestMendKeepsADamagedProblemOnRecord(t *testing.T) {
	t.Parallel()
	path := newSample(2, 1, 300).build(t, WriteOptions{})
	want := map[string]Problem{
		"day 2026-07-01":     {Class: Failed, Kind: "day", ID: "2026-07-01"},
		"sequence 7":         {Class: Failed, Kind: "sequence", ID: "7", SequenceID: 7},
		"image 7/x.jpg":      {Class: Failed, Kind: "image", ID: "7/x.jpg", SequenceID: 7},
		"organization row 3": {Class: Failed, Kind: "organization", ID: "row 3"},
	}
	w := openWriterForTest(t, path, WriteOptions{})
	if err := w.ClearProblem(t.Context(), "image", "7-x.jpg"); err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		if err := w.PutProblem(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	closeWriter(t, w)
	for i := range len(want) {
		spoilValue(t, path, bucketProblems, i, -1)
	}
	closeWriter(t, openWriterForTest(t, path, WriteOptions{Mend: true}))
	mustBeSound(t, path)
	b := openForTest(t, path)
	defer closeBundle(t, b)
	for p, err := range b.Problems(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		name := p.Kind + " " + p.ID
		if expected := want[name]; p.SequenceID != expected.SequenceID || p.Class != Failed || p.Reason == "" {
			t.Errorf("%+v, want %+v", p, expected)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not on record any more: %v", want)
	}
}

// TestMendLeavesAnIntactBundleAlone.
func TestMendLeavesAnIntactBundleAlone(t *testing.T) {
	t.Parallel()
	path := newSample(5, 2, 300).build(t, WriteOptions{})
	before, err := os.ReadFile(filepath.Join(path, indexName))
	if err != nil {
		t.Fatal(err)
	}
	closeWriter(t, openWriterForTest(t, path, WriteOptions{Mend: true}))
	after, err := os.ReadFile(filepath.Join(path, indexName))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the index was written to")
	}
}

// overwrite changes one byte of a file.
func overwrite(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 4
	if err := os.WriteFile(path, data, fileMode); err != nil {
		t.Fatal(err)
	}
}
