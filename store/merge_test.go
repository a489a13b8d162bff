package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// later makes every record of a sample that much newer.
func later(by time.Duration) func(*sample) {
	return func(s *sample) {
		for i := range s.sequences {
			s.sequences[i].Coverage.FetchedAt = s.sequences[i].Coverage.FetchedAt.Add(by)
		}
	}
}

// only keeps the sequences from one index up to another.
func only(from, to int) func(*sample) {
	return func(s *sample) { s.sequences = s.sequences[from:to] }
}

func mergeForTest(t testing.TB, path string, from ...string) MergeResult {
	t.Helper()
	result, err := Merge(t.Context(), path, from, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, path)
	return result
}

func TestMergeUnitesWhatEachHas(t *testing.T) {
	whole := edited(6, 3).build(t, WriteOptions{})
	a, b := edited(6, 3, only(0, 4)).build(t, WriteOptions{}), edited(6, 3, only(2, 6)).build(t, WriteOptions{})
	c := filepath.Join(t.TempDir(), "c")
	result := mergeForTest(t, c, a, b)
	want := MergeResult{Source: testSource(), New: 6, Images: 18, ImageBytes: 18 * 300, Problems: 1}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if digestOf(t, c) != digestOf(t, whole) {
		t.Errorf("the merged bundle differs from one fetched whole: %q", differences(t, c, whole, DiffOptions{ReadData: true}))
	}
	if diff := cmp.Diff(listing(t, whole), listing(t, c)); diff != "" {
		t.Errorf("days and problems: -fetched +merged:\n%s", diff)
	}

	before := snapshot(t, c)
	again := mergeForTest(t, c, b, a)
	if want := (MergeResult{Source: testSource(), Unchanged: 6, Problems: 1}); again != want {
		t.Errorf("merging again: %+v, want %+v", again, want)
	}
	if diff := cmp.Diff(before, snapshot(t, c)); diff != "" {
		t.Error("merging again changed files")
	}
	if got := mergeForTest(t, c, c, a); got.New+got.Updated+got.Images != 0 {
		t.Errorf("merging a bundle into itself: %+v", got)
	}
}

// listing is what a bundle says of days and problems.
func listing(t testing.TB, path string) []string {
	t.Helper()
	b := openForTest(t, path)
	var lines []string
	for d, err := range b.Days(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(d))
	}
	for p, err := range b.Problems(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, p.String())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestMergeTakesTheNewestDocument(t *testing.T) {
	all := edits(1)
	older, newer := edited(3, 3, all[0].apply, all[1].apply, all[6].apply), edited(3, 3, later(time.Hour))
	paths := []string{older.build(t, WriteOptions{}), newer.build(t, WriteOptions{})}
	for range 2 {
		c := filepath.Join(t.TempDir(), "c")
		mergeForTest(t, c, paths...)
		if digestOf(t, c) != digestOf(t, newer.build(t, WriteOptions{})) {
			t.Errorf("merged from %q: %q", paths, differences(t, c, paths[0], DiffOptions{}))
		}
		slices.Reverse(paths)
	}

	// Into a bundle that is newer itself.
	into := newer.build(t, WriteOptions{})
	if got := mergeForTest(t, into, older.build(t, WriteOptions{})); got.Unchanged != 3 || got.Updated != 0 {
		t.Errorf("an older bundle changes a newer one: %+v", got)
	}
}

func TestMergeJoinsDetectionsAndImages(t *testing.T) {
	a := edited(1, 4, func(s *sample) { s.sequences[0].Detections = s.sequences[0].Detections[:3] })
	b := edited(1, 4, later(time.Hour), func(s *sample) {
		r := &s.sequences[0]
		r.Detections = r.Detections[2:]
		r.Frames = []Frame{{Key: r.Frames[2].Key, Problem: "503"}, r.Frames[3]}
	})
	c := filepath.Join(t.TempDir(), "c")
	mergeForTest(t, c, a.build(t, WriteOptions{}), b.build(t, WriteOptions{}))
	whole := edited(1, 4).build(t, WriteOptions{})
	if found := differences(t, c, whole, DiffOptions{ReadData: true}); found != nil {
		t.Errorf("joined: %q", found)
	}
}

func TestMergeSettlesProblems(t *testing.T) {
	day := Day("2026-07-01")
	at := time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC)
	build := func(hours int, imageThere bool, listed time.Time, problems ...Problem) string {
		s := edited(1, 2, later(time.Duration(hours)*time.Hour))
		if !imageThere {
			s.sequences[0].Frames[1] = Frame{Key: s.sequences[0].Frames[1].Key, Problem: "503"}
		}
		path := filepath.Join(t.TempDir(), "b")
		w := openWriterForTest(t, path, WriteOptions{})
		for _, f := range s.sequences[0].Frames {
			if !f.Image.IsZero() {
				if _, err := w.PutImage(t.Context(), s.sequences[0].OrganizationID(), f.Key, JPEG, s.images[f.Key]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.PutSequence(t.Context(), s.sequences[0]); err != nil {
			t.Fatal(err)
		}
		if err := w.PutDay(t.Context(), DayRecord{Day: day, OrganizationID: 2, ListedAt: listed, Sequences: 1}); err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if err := w.PutProblem(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		closeWriter(t, w)
		return path
	}
	key := newSample(1, 2, 300).sequences[0].Frames[1].Key
	fetched := newSample(1, 2, 300).sequences[0].Coverage.FetchedAt
	image := Problem{Class: Failed, Kind: "image", ID: "1/" + key, SequenceID: 1, Reason: "503", At: fetched.Add(time.Minute)}
	listing1 := Problem{Class: Failed, Kind: "sequence", ID: "1", SequenceID: 1, Reason: "timed out", At: fetched.Add(time.Minute)}
	dayProblem := Problem{Class: Failed, Kind: "day", ID: "2026-07-01/2", Reason: "500", At: at}
	foreign := Problem{Class: Failed, Kind: "account", ID: "org-9", Reason: "401", At: at}
	reworded := image
	reworded.At, reworded.Reason = image.At.Add(time.Hour), "404"

	for _, test := range []struct {
		name string
		a, b string
		want []string
	}{
		{
			"nobody has solved them", build(0, false, at, image, listing1, dayProblem, foreign), build(0, false, at),
			[]string{foreign.String(), dayProblem.String(), image.String(), listing1.String()},
		},
		{
			"the image is in the other", build(0, false, at, image), build(0, true, at), nil,
		},
		{
			"the other listed since", build(0, true, at, listing1, dayProblem), build(1, true, at.Add(time.Hour)), nil,
		},
		{
			"the other listed since, and has the problem too", build(0, true, at, listing1), build(1, true, at, listing1),
			[]string{listing1.String()},
		},
		{
			"the last reason counts", build(0, false, at, image), build(0, false, at, reworded), []string{reworded.String()},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, from := range [][]string{{test.a, test.b}, {test.b, test.a}} {
				c := filepath.Join(t.TempDir(), "c")
				mergeForTest(t, c, from...)
				got := slices.DeleteFunc(listing(t, c), func(line string) bool { return strings.HasPrefix(line, "{2026-07-01") })
				if diff := cmp.Diff(test.want, got, cmp.Transformer("set", sortedLines)); diff != "" {
					t.Errorf("merged into a new one: -want +got:\n%s", diff)
				}
				// Into the one that has them.
				into := filepath.Join(t.TempDir(), "into")
				if err := os.CopyFS(into, os.DirFS(test.a)); err != nil {
					t.Fatal(err)
				}
				mergeForTest(t, into, test.b)
				got = slices.DeleteFunc(listing(t, into), func(line string) bool { return strings.HasPrefix(line, "{2026-07-01") })
				if diff := cmp.Diff(test.want, got, cmp.Transformer("set", sortedLines)); diff != "" {
					t.Errorf("merged into the first: -want +got:\n%s", diff)
				}
			}
		})
	}
}

func sortedLines(lines []string) string {
	return strings.Join(slices.Sorted(slices.Values(lines)), "\n")
}

func TestMergeRefusesAnotherPlatform(t *testing.T) {
	a := edited(1, 1).build(t, WriteOptions{})
	b := edited(1, 1).build(t, WriteOptions{Source: Source{URL: "https://other.example", API: "pyronear_french"}})
	c := filepath.Join(t.TempDir(), "c")
	if _, err := Merge(t.Context(), c, []string{a, b}, MergeOptions{}); !errors.Is(err, ErrSource) {
		t.Errorf("got %v, want ErrSource", err)
	}
	if _, err := os.Stat(c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle was made all the same: %v", err)
	}
	if _, err := Merge(t.Context(), a, []string{b}, MergeOptions{}); !errors.Is(err, ErrSource) {
		t.Errorf("into another platform's: %v, want ErrSource", err)
	}
	if _, err := Merge(t.Context(), c, []string{a, filepath.Join(t.TempDir(), "none")}, MergeOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a bundle that is not there: %v", err)
	}
}

func TestMergeKeepsImagesThatNoSequenceShows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	w := openWriterForTest(t, path, WriteOptions{})
	h, err := w.PutImage(t.Context(), 2, "early.jpg", PNG, imageBytes(5, 700))
	if err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	c := filepath.Join(t.TempDir(), "c")
	mergeForTest(t, c, path)
	got, err := openForTest(t, c).ImageOf(t.Context(), 2, "early.jpg")
	if want := (Image{Hash: h, Size: 700, Format: PNG}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestMergeTakesASoundCopyOfADamagedImage(t *testing.T) {
	s := newSample(2, 2, 300)
	damaged, sound := s.build(t, WriteOptions{}), s.build(t, WriteOptions{})
	patch(t, filepath.Join(damaged, "images", "000001.tar"), 600, 'X')
	c := filepath.Join(t.TempDir(), "c")
	mergeForTest(t, c, damaged, sound)
	if digestOf(t, c) != digestOf(t, sound) {
		t.Error("the merged bundle is not whole")
	}
	other := filepath.Join(t.TempDir(), "other")
	_, err := Merge(t.Context(), other, []string{damaged}, MergeOptions{})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), damaged) {
		t.Errorf("with no sound copy: %v, want ErrCorrupt that names the bundle", err)
	}
	mustBeSound(t, other)
	mergeForTest(t, other, damaged, sound)
	if digestOf(t, other) != digestOf(t, sound) {
		t.Error("a failed merge was not taken up")
	}
}

func TestInterruptedMergeIsTakenUp(t *testing.T) {
	a, b := edited(5, 3, only(0, 3), edits(0)[0].apply), edited(5, 3, only(1, 5), later(time.Minute))
	from := []string{a.build(t, WriteOptions{}), b.build(t, WriteOptions{})}
	whole := filepath.Join(t.TempDir(), "whole")
	mergeForTest(t, whole, from...)
	want := digestOf(t, whole)
	for stop := range int64(7) {
		c := filepath.Join(t.TempDir(), "c")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Merge(ctx, c, from, MergeOptions{Progress: func(done, _ int64) {
			if done > stop {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted at %d: %v", stop, err)
		}
		mustBeSound(t, c)
		mergeForTest(t, c, from...)
		if digestOf(t, c) != want {
			t.Errorf("interrupted at %d, taken up: %q", stop, differences(t, c, whole, DiffOptions{}))
		}
	}
}

// Whatever bundles have in common and however they differ, also where they were fetched at the same moment.
func TestMergeDoesNotDependOnOrder(t *testing.T) {
	rounds := 15
	if torture() {
		rounds = 400
	}
	built := map[string]string{}
	for seed := range rounds {
		random := rand.New(rand.NewPCG(uint64(seed), 9))
		paths := make([]string, 2+random.IntN(2))
		var names []string
		for i := range paths {
			object, hours := random.IntN(2), random.IntN(3)
			all := edits(object)
			n := random.IntN(len(all))
			name := fmt.Sprintf("%s of %d, %d h later", all[n].name, object, hours)
			if built[name] == "" {
				built[name] = edited(2, 2, all[n].apply, later(time.Duration(hours)*time.Hour)).build(t, WriteOptions{})
			}
			paths[i], names = built[name], append(names, name)
		}
		c, d := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "d")
		first := mergeForTest(t, c, paths...)
		slices.Reverse(paths)
		second := mergeForTest(t, d, paths...)
		if found := differences(t, c, d, DiffOptions{}); found != nil || digestOf(t, c) != digestOf(t, d) {
			t.Fatalf("%q merged the other way round: %q", names, found)
		}
		if diff := cmp.Diff(listing(t, c), listing(t, d)); diff != "" || first != second {
			t.Fatalf("%q merged the other way round: %+v, %+v\n%s", names, first, second, diff)
		}
		before := snapshot(t, c)
		again := mergeForTest(t, c, paths...)
		if again.New+again.Updated+again.Images != 0 || cmp.Diff(before, snapshot(t, c)) != "" {
			t.Fatalf("%q merged again: %+v", names, again)
		}
	}
}

// TestMergeTakesNoDocumentUnderAnotherId: it went over that of the other camera, or under it, as it came.
func TestMergeTakesNoDocumentUnderAnotherId(t *testing.T) {
	for bucket, doc := range map[string]string{
		bucketCameras:       `{"id":2,"organization_id":1,"name":"another"}`,
		bucketOrganizations: `{"id":2,"name":"another"}`,
	} {
		path := newSample(2, 1, 100).build(t, WriteOptions{})
		edit(t, path, func(tx *txn) error { return tx.put(bucket, idKey(1), []byte(doc)) })
		c := filepath.Join(t.TempDir(), "c")
		if _, err := Merge(t.Context(), c, []string{path}, MergeOptions{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v that names the bundle", bucket, err, ErrCorrupt)
		}
	}
}

// TestMergeAgainChangesNothingOfALongReason: cut within a character it was stored longer than it may be, and cut again each time.
func TestMergeAgainChangesNothingOfALongReason(t *testing.T) {
	const longest = 4096
	for _, reason := range []string{
		strings.Repeat("x", longest-3) + "🔥🔥", strings.Repeat("x", longest-2) + "\xff\xff", strings.Repeat("\xff.", longest),
	} {
		s := edited(1, 2, func(s *sample) {
			r := &s.sequences[0]
			r.Frames[1] = Frame{Key: r.Frames[1].Key, Problem: reason}
		})
		path, c := s.build(t, WriteOptions{}), filepath.Join(t.TempDir(), "c")
		mergeForTest(t, c, path)
		if again := mergeForTest(t, c, path); again.Unchanged != 1 {
			t.Errorf("...%q: %+v", reason[len(reason)-6:], again)
		}
		r, err := openForTest(t, c).Sequence(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.Frames[1].Problem); n > longest {
			t.Errorf("...%q: %d bytes are stored", reason[len(reason)-6:], n)
		}
	}
}
