package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// torture scales counts up for long runs.
func torture() bool { return os.Getenv("PYROBUNDLE_TORTURE") == "1" }

// examine reads everything that a bundle delivers and verifies it. found says that the damage showed; wrong data fails the test.
func (s *sample) examine(t *testing.T, path string, want Hash) (found bool, how string) {
	t.Helper()
	ctx := t.Context()
	b, err := Open(path)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotBundle) && !errors.Is(err, ErrVersion) {
			t.Fatalf("open gives an error that says nothing of damage: %v", err)
		}
		return true, "open: " + err.Error()
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	read := 0
	for r, err := range b.Sequences(ctx, Query{}) {
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
				t.Fatalf("read gives an error that says nothing of damage: %v", err)
			}
			found = true
			continue
		}
		read++
		expected := s.sequences[r.Sequence.ID-1]
		if !bytes.Equal(r.Sequence.Document, expected.Sequence.Document) || len(r.Detections) != len(expected.Detections) ||
			!slices.Equal(r.Frames, expected.Frames) {
			t.Fatalf("sequence %d is delivered wrong", r.Sequence.ID)
		}
		for _, f := range r.Frames {
			data, err := b.ReadImage(ctx, f.Image)
			switch {
			case err == nil && !bytes.Equal(data, s.images[f.Key]):
				t.Fatalf("image of %s is delivered wrong", f.Key)
			case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound):
				t.Fatalf("read gives an error that says nothing of damage: %v", err)
			case err != nil:
				found = true
			}
		}
	}
	for p, err := range b.Problems(ctx) {
		if err == nil && p.Kind != "image" {
			t.Fatalf("a problem is delivered wrong: %+v", p)
		}
	}
	if _, err := b.Stats(ctx); err != nil {
		found = true
	}
	digest, err := b.Digest(ctx)
	if err == nil && digest != want && read == len(s.sequences) {
		found = true // a camera or organization is missing
	}
	report, err := b.Verify(ctx, VerifyOptions{ReadData: true})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if (found || read != len(s.sequences)) && len(report.Findings) == 0 {
		t.Fatalf("reading shows damage (%d of %d sequences, digest error %v), verify finds none", read, len(s.sequences), err)
	}
	if len(report.Findings) > 0 {
		return true, fmt.Sprint(report.Findings[0])
	}
	return false, ""
}

func TestTruncationIsFound(t *testing.T) {
	t.Parallel()
	s := newSample(12, 4, 700)
	path := s.build(t, WriteOptions{SealSize: 16_000})
	want := digestOf(t, path)
	random := rand.New(rand.NewPCG(3, 3))
	last := uint32(len(shardSizes(t, path))) // it is open
	for _, name := range []string{manifestName, indexName, shardName(1), shardName(last)} {
		file := filepath.Join(path, filepath.FromSlash(name))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sizes := []int{0, 1, len(data) / 2, len(data) - 1}
		for range 20 {
			sizes = append(sizes, random.IntN(len(data)))
		}
		for i := range len(data) / pageSize {
			sizes = append(sizes, i*pageSize)
		}
		needed := len(data)
		if name == indexName { // what follows the last page belongs to nobody
			meta, _, err := readMetaPages(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			needed = int(meta.pages) * pageSize
		}
		for _, size := range sizes {
			if size >= needed {
				continue
			}
			if err := os.WriteFile(file, data[:size], fileMode); err != nil {
				t.Fatal(err)
			}
			if found, _ := s.examine(t, path, want); !found {
				t.Errorf("%s cut to %d of %d bytes is not found", name, size, len(data))
			}
			if w, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes is taken up: %v", name, size, len(data), err)
				if err == nil {
					closeWriter(t, w)
				}
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if found, _ := s.examine(t, path, want); !found {
			t.Errorf("%s removed is not found", name)
		}
		if w, err := OpenWriter(t.Context(), path, WriteOptions{}); err == nil {
			t.Errorf("a bundle without %s is taken up", name)
			closeWriter(t, w)
		}
		if err := os.WriteFile(file, data, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	mustBeSound(t, path)
}

func TestVerifyNamesTheAffectedSequences(t *testing.T) {
	s := newSample(9, 4, 700)
	shared := s.sequences[1] // a second sequence with the same image as the first of sequence 1
	shared.Frames = append(slices.Clone(shared.Frames), Frame{Key: "shared", Image: s.sequences[0].Frames[0].Image})
	s.sequences[1] = shared
	s.images["shared"] = s.images[s.sequences[0].Frames[0].Key]
	path := s.build(t, WriteOptions{SealSize: 16_000})
	b := openForTest(t, path)
	at, err := b.locate(t.Context(), s.sequences[0].Frames[0].Image)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	patch(t, shardPath(path, at.shard), at.offset+5, s.images["shared"][5]^1)
	if err := os.Remove(shardPath(path, 3)); err != nil {
		t.Fatal(err)
	}
	b = openForTest(t, path)
	report := verifyAll(t, b)
	var image, shard *Finding
	for i, f := range report.Findings {
		switch {
		case f.Object == "image "+s.sequences[0].Frames[0].Image.String():
			image = &report.Findings[i]
		case f.Object == "shard 000003":
			shard = &report.Findings[i]
		}
	}
	if image == nil || !slices.Equal(image.Sequences, []int64{1, 2}) {
		t.Errorf("finding of the image: %+v", image)
	}
	if shard == nil || len(shard.Sequences) == 0 || strings.Contains(fmt.Sprint(shard.Sequences), "1 2") {
		t.Errorf("finding of the shard: %+v", shard)
	}
	end := shardSizes(t, path)[0]
	patch(t, shardPath(path, 1), end-1, 1)
	structure, err := b.Verify(t.Context(), VerifyOptions{})
	if err != nil || !slices.ContainsFunc(structure.Findings, func(f Finding) bool { return f.Object == "shard 000001" }) {
		t.Errorf("the end of a sealed shard: %+v, %v", structure.Findings, err)
	}
	patch(t, shardPath(path, 1), end-1, 0)
	structure, err = b.Verify(t.Context(), VerifyOptions{})
	if err != nil || len(structure.Findings) != len(report.Findings)-1 {
		t.Errorf("without data: %+v, %v", structure.Findings, err)
	}
	found := 0
	for part := 1; part <= 3; part++ {
		r, err := b.Verify(t.Context(), VerifyOptions{ReadData: true, Subset: part, Parts: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings) == len(report.Findings) {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of three parts find the damaged image, want one", found)
	}
	if _, err := b.Verify(t.Context(), VerifyOptions{ReadData: true, Subset: 4, Parts: 3}); err == nil {
		t.Error("part 4 of 3 is verified")
	}
}

// TestOlderIndexIsDamage: bbolt falls back to its previous transaction without a word when a meta page is damaged.
func TestOlderIndexIsDamage(t *testing.T) {
	s := newSample(3, 2, 300)
	path := s.build(t, WriteOptions{})
	old, err := os.ReadFile(filepath.Join(path, indexName))
	if err != nil {
		t.Fatal(err)
	}
	oldManifest, err := os.ReadFile(filepath.Join(path, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	w := openWriterForTest(t, path, WriteOptions{})
	if err := w.PutDay(t.Context(), DayRecord{Day: "2026-01-01"}); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	newer, err := os.ReadFile(filepath.Join(path, indexName))
	if err != nil {
		t.Fatal(err)
	}
	restore := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(path, name), data, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	restore(indexName, old)
	if _, err := Open(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "older") {
		t.Errorf("Open: %v", err)
	}
	if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OpenWriter: %v", err)
	}
	restore(indexName, newer)
	restore(manifestName, oldManifest)
	b := openForTest(t, path)
	if report := verifyAll(t, b); len(report.Findings) > 0 || len(report.Notes) == 0 {
		t.Errorf("an index newer than its manifest: %+v", report)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	w = openWriterForTest(t, path, WriteOptions{})
	closeWriter(t, w)
	b = openForTest(t, path)
	if report := verifyAll(t, b); len(report.Findings)+len(report.Notes) > 0 {
		t.Errorf("after a writer: %+v", report)
	}
}

// TestPageThatPointsToItself: bbolt would recurse until the process dies, which no recover catches.
func TestPageThatPointsToItself(t *testing.T) {
	s := newSample(150, 2, 300)
	path := s.build(t, WriteOptions{})
	file := filepath.Join(path, indexName)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	branches := 0
	for _, r := range indexRegions(t, data) {
		if r.class != "branch element" {
			continue
		}
		branches++
		changed := bytes.Clone(data)
		binary.LittleEndian.PutUint64(changed[r.start:], uint64(r.start/pageSize))
		if err := os.WriteFile(file, changed, fileMode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Open: %v", err)
		}
		if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("OpenWriter: %v", err)
		}
	}
	if branches == 0 {
		t.Fatal("the sample has no branch page")
	}
}

// TestTailIsAdoptedOrCut: what lies behind the committed end of the open shard is entered into the index as far as it is whole.
func TestTailIsAdoptedOrCut(t *testing.T) {
	t.Parallel()
	lay := func(seed uint64, change func(member []byte) []byte) []byte {
		data := imageBytes(seed, 700)
		header := memberHeader(hashOf(data), JPEG, 700)
		laid := append(header[:], data...)
		return change(append(laid, make([]byte, padded(700)-700)...))
	}
	whole := func(m []byte) []byte { return m }
	flip := func(at int) func([]byte) []byte {
		return func(m []byte) []byte { m[at] ^= 4; return m }
	}
	known := newSample(2, 2, 300)
	for _, tt := range []struct {
		name    string
		tail    [][]byte
		adopted int
	}{
		{"nothing", nil, 0},
		{"whole members", [][]byte{lay(1, whole), lay(2, whole)}, 2},
		{"an incomplete last one", [][]byte{lay(1, whole), lay(2, func(m []byte) []byte { return m[:900] })}, 1},
		{"no more than a header", [][]byte{lay(1, whole), lay(2, func(m []byte) []byte { return m[:512] })}, 1},
		{"contents that do not match the name", [][]byte{lay(1, whole), lay(2, flip(600)), lay(3, whole)}, 1},
		{"a damaged header", [][]byte{lay(1, whole), lay(2, flip(101)), lay(3, whole)}, 1},
		{"padding that is not zero", [][]byte{lay(1, flip(512+701))}, 0},
		{"zeros", [][]byte{make([]byte, 4096)}, 0},
		{"an end of archive", [][]byte{lay(1, whole), make([]byte, endSize)}, 1},
		{"the same image twice", [][]byte{lay(1, whole), lay(1, whole)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := known.build(t, WriteOptions{})
			want := digestOf(t, path)
			before := shardSizes(t, path)[0]
			f, err := os.OpenFile(shardPath(path, 1), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(bytes.Join(tt.tail, nil))
			if err = errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			b := openForTest(t, path)
			report := verifyAll(t, b)
			if len(report.Findings) > 0 || (len(report.Notes) == 0) != (tt.tail == nil) {
				t.Errorf("before: %+v", report)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			w := openWriterForTest(t, path, WriteOptions{})
			stats, err := w.Stats(t.Context())
			if err != nil || stats.Images != int64(4+tt.adopted) {
				t.Errorf("%d images, want %d; %v", stats.Images, 4+tt.adopted, err)
			}
			closeWriter(t, w)
			if size := shardSizes(t, path)[0]; size != before+int64(tt.adopted)*(512+1024) {
				t.Errorf("%d bytes, were %d", size, before)
			}
			mustBeSound(t, path)
			if got := digestOf(t, path); got != want {
				t.Errorf("digest %s, want %s", got, want)
			}
		})
	}
}
