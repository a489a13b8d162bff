package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBundleGivesBackWhatWasPut(t *testing.T) {
	s := newSample(7, 5, 3000)
	path := s.build(t, WriteOptions{SealSize: 40_000})
	mustBeSound(t, path)
	b := openForTest(t, path)
	ctx := t.Context()

	var ids []int64
	for r, err := range b.Sequences(ctx, Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.Sequence.ID)
		want := s.sequences[r.Sequence.ID-1]
		if diff := cmp.Diff(want.Frames, r.Frames); diff != "" {
			t.Errorf("frames of sequence %d (-want +got):\n%s", r.Sequence.ID, diff)
		}
		if diff := cmp.Diff(want.Coverage, r.Coverage); diff != "" {
			t.Errorf("coverage of sequence %d (-want +got):\n%s", r.Sequence.ID, diff)
		}
		if !bytes.Equal(r.Sequence.Document, want.Sequence.Document) {
			t.Errorf("document of sequence %d: got %s, want %s", r.Sequence.ID, r.Sequence.Document, want.Sequence.Document)
		}
		if got := string(r.Detections[0].Document); strings.Contains(got, "url") || !strings.Contains(got, `"others_bboxes":null`) {
			t.Errorf("detection's document: %s", got)
		}
		for _, f := range r.Frames {
			data, err := b.ReadImage(ctx, f.Image)
			if err != nil || !bytes.Equal(data, s.images[f.Key]) {
				t.Errorf("image of %s: %v", f.Key, err)
			}
			found, err := b.ImageOf(ctx, r.OrganizationID(), f.Key)
			if err != nil || found != (Image{f.Image, 3000, JPEG}) {
				t.Errorf("ImageOf(%s) = %v, %v", f.Key, found, err)
			}
		}
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5, 6, 7}, ids); diff != "" {
		t.Errorf("order of sequences (-want +got):\n%s", diff)
	}
	stats, err := b.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Sequences != 7 || stats.Detections != 35 || stats.Images != 35 || stats.ImageBytes != 35*3000 || stats.Cameras != 3 ||
		stats.FramesMissing != 0 || stats.First != "2026-07-01" || stats.Last != "2026-07-02" || stats.Problems[Failed] != 1 {
		t.Errorf("stats: %+v", stats)
	}
	for p, err := range b.Problems(ctx) {
		if err != nil || strings.Contains(p.Reason, "secret") || strings.Contains(p.Reason, "u:p") {
			t.Errorf("problem %+v, %v", p, err)
		}
	}
	if b.Source() != testSource() {
		t.Errorf("source %+v", b.Source())
	}
}

func TestQuerySelects(t *testing.T) {
	s := newSample(60, 1, 100)
	b := openForTest(t, s.build(t, WriteOptions{}))
	for _, tt := range []struct {
		name string
		q    Query
		want func(r SequenceRecord) bool
	}{
		{"everything", Query{}, func(SequenceRecord) bool { return true }},
		{"from a day", Query{From: "2026-07-02"}, func(r SequenceRecord) bool { return DayOf(r.Sequence.StartedAt.Time) >= "2026-07-02" }},
		{"to a day", Query{To: "2026-07-01"}, func(r SequenceRecord) bool { return DayOf(r.Sequence.StartedAt.Time) <= "2026-07-01" }},
		{"one day", Query{From: "2026-07-02", To: "2026-07-02"}, func(r SequenceRecord) bool { return DayOf(r.Sequence.StartedAt.Time) == "2026-07-02" }},
		{"to the last day that can be written", Query{To: "9999-12-31"}, func(SequenceRecord) bool { return true }},
		{"a camera", Query{CameraID: 2}, func(r SequenceRecord) bool { return r.Sequence.CameraID == 2 }},
		{"an organization", Query{OrganizationID: 2}, func(r SequenceRecord) bool { return r.OrganizationID() == 2 }},
		{"ids", Query{IDs: []int64{9, 3, 4000}}, func(r SequenceRecord) bool { return r.Sequence.ID == 9 || r.Sequence.ID == 3 }},
		{"nothing", Query{From: "2030-01-01"}, func(SequenceRecord) bool { return false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want, got []int64
			for _, r := range s.sequences {
				if tt.want(r) {
					want = append(want, r.Sequence.ID)
				}
			}
			for summary, err := range b.Summaries(t.Context(), tt.q) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, summary.ID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDigestDoesNotDependOnOrder(t *testing.T) {
	s := newSample(5, 4, 500)
	first := s.build(t, WriteOptions{})
	want := digestOf(t, first)
	path := filepath.Join(t.TempDir(), "other")
	w := openWriterForTest(t, path, WriteOptions{Source: Source{URL: "http://127.0.0.1:1", API: "pyronear_french"}})
	for i := len(s.sequences) - 1; i >= 0; i-- {
		r := s.sequences[i]
		for _, f := range r.Frames {
			if _, err := w.PutImage(t.Context(), r.OrganizationID(), f.Key, JPEG, s.images[f.Key]); err != nil {
				t.Fatal(err)
			}
		}
		r.Sequence.Document = reorder(t, r.Sequence.Document)
		r.Coverage.Limit = 7
		if err := w.PutSequence(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range s.cameras {
		c := s.cameras[len(s.cameras)-1-i]
		c.Document = reorder(t, c.Document)
		if err := w.PutCameras(t.Context(), []Camera{c}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.PutOrganizations(t.Context(), s.organizations); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	w = openWriterForTest(t, path, WriteOptions{Source: Source{API: "pyronear_french"}})
	changed := s.sequences[0]
	changed.Sequence.Document = json.RawMessage(strings.Replace(string(changed.Sequence.Document), `"max_conf":0.5`, `"max_conf":0.50`, 1))
	if err := w.PutSequence(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	if digestOf(t, path) == want {
		t.Error("the digest does not see a changed number literal")
	}
}

// reorder turns the members of an object around and spreads white space.
func reorder(t *testing.T, doc json.RawMessage) json.RawMessage {
	t.Helper()
	all := fields(doc)
	var parts []string
	for i := len(all) - 1; i >= 0; i-- {
		parts = append(parts, fmt.Sprintf(" %q :\n %s", all[i].name, all[i].value))
	}
	return json.RawMessage("{" + strings.Join(parts, " , ") + "}")
}

func TestSecretsNeverEnter(t *testing.T) {
	path := newSample(3, 2, 100).build(t, WriteOptions{})
	b := openForTest(t, path)
	for r, err := range b.Sequences(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		text := must(encodeRecord(&r))
		for _, secret := range []string{"Amz", "secret", "Signature", "hooks.example", "telegram", "last_active_at", "last_image"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("sequence %d holds %q: %s", r.Sequence.ID, secret, text)
			}
		}
	}
}

func TestJoinNeverRemoves(t *testing.T) {
	s := newSample(1, 6, 100)
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	s.put(t, w)
	narrow := s.sequences[0]
	narrow.Detections = narrow.Detections[:2]
	narrow.Frames = []Frame{{Key: narrow.Frames[0].Key, Problem: "gone", Permanent: true}, narrow.Frames[1]}
	narrow.Camera, narrow.Organization = nil, nil
	narrow.Coverage = Coverage{FetchedAt: narrow.Coverage.FetchedAt.Add(time.Hour), Limit: 2, Order: Descending, Live: true}
	if err := w.PutSequence(ctx, narrow); err != nil {
		t.Fatal(err)
	}
	got, err := w.Sequence(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Detections) != 6 || len(got.Frames) != 6 || got.Frames[0].Image.IsZero() || got.Camera == nil || got.Organization == nil {
		t.Errorf("a narrower record removed something: %d detections, frames %v", len(got.Detections), got.Frames)
	}
	want := Coverage{FetchedAt: narrow.Coverage.FetchedAt, Limit: 30, Order: Ascending, Complete: true, Exhausted: true, Live: true}
	if diff := cmp.Diff(want, got.Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	if err := w.MarkGone(ctx, 1, true); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Sequence(ctx, 1); err != nil || !got.Coverage.Gone {
		t.Errorf("gone: %v, %v", got.Coverage, err)
	}
	if err := w.MarkGone(ctx, 99, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("MarkGone of a stranger: %v", err)
	}
	closeWriter(t, w)
	mustBeSound(t, path)
}

func TestSequenceWithUnknownImageIsRefused(t *testing.T) {
	s := newSample(2, 2, 100)
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	if err := w.PutSequence(t.Context(), s.sequences[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	s.put(t, w) // the refusal harms nothing else
	closeWriter(t, w)
	mustBeSound(t, path)
}

func TestImagesAreStoredOncePerContent(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "b")
	w := openWriterForTest(t, path, WriteOptions{})
	data := imageBytes(1, 5000)
	for i := range 100 {
		h, err := w.PutImage(ctx, int64(i%3), fmt.Sprintf("key-%d", i), JPEG, data)
		if err != nil || h != hashOf(data) {
			t.Fatal(h, err)
		}
		if found, err := w.ImageOf(ctx, int64(i%3), fmt.Sprintf("key-%d", i)); err != nil || found.Hash != h {
			t.Fatalf("a pending image is not seen: %v, %v", found, err)
		}
		if i == 40 {
			if err := w.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := w.ReadImage(ctx, hashOf(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read: %v", err)
	}
	closeWriter(t, w)
	info, err := os.Stat(shardPath(path, 1))
	if err != nil || info.Size() != blockSize+padded(5000) {
		t.Errorf("shard has %d bytes, %v", info.Size(), err)
	}
	mustBeSound(t, path)
}

func TestPutImageRefuses(t *testing.T) {
	w := openWriterForTest(t, filepath.Join(t.TempDir(), "b"), WriteOptions{})
	for name, put := range map[string]func() (Hash, error){
		"empty":          func() (Hash, error) { return w.PutImage(t.Context(), 1, "k", JPEG, nil) },
		"too large":      func() (Hash, error) { return w.PutImage(t.Context(), 1, "k", JPEG, make([]byte, maxImage+1)) },
		"unknown format": func() (Hash, error) { return w.PutImage(t.Context(), 1, "k", "gif", []byte("x")) },
		"no key":         func() (Hash, error) { return w.PutImage(t.Context(), 1, "", JPEG, []byte("x")) },
		"signed key": func() (Hash, error) {
			return w.PutImage(t.Context(), 1, "http://s/x?X-Amz-Signature=abc", JPEG, []byte("x"))
		},
	} {
		if _, err := put(); err == nil || strings.Contains(err.Error(), "abc") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenTellsWhatIsNoBundle(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("file", "x")
	foreign := filepath.Dir(write("foreign/readme.txt", "x"))
	otherManifest := filepath.Dir(write("web/manifest.json", `{"name":"app"}`))
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path  string
		read, write error
	}{
		{"missing", filepath.Join(dir, "none"), fs.ErrNotExist, nil},
		{"file", file, ErrNotBundle, ErrNotBundle},
		{"empty directory", empty, ErrNotBundle, nil},
		{"foreign directory", foreign, ErrNotBundle, ErrNotBundle},
		{"somebody else's manifest", otherManifest, ErrNotBundle, ErrNotBundle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Open(tt.path); !errors.Is(err, tt.read) {
				t.Errorf("Open: %v, want %v", err, tt.read)
			}
			w, err := OpenWriter(t.Context(), tt.path, WriteOptions{})
			if !errors.Is(err, tt.write) {
				t.Errorf("OpenWriter: %v, want %v", err, tt.write)
			}
			if err == nil {
				closeWriter(t, w)
				mustBeSound(t, tt.path)
			}
		})
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	s := newSample(1, 1, 100)
	path := s.build(t, WriteOptions{})
	first, second := openForTest(t, path), openForTest(t, path)
	if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a writer beside readers: %v", err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	w := openWriterForTest(t, path, WriteOptions{})
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a reader beside a writer: %v", err)
	}
	if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second writer: %v", err)
	}
	closeWriter(t, w)
	if err := w.PutDay(t.Context(), DayRecord{Day: "2026-01-01"}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
}

func TestSourceMustAgree(t *testing.T) {
	path := newSample(1, 1, 100).build(t, WriteOptions{Source: Source{URL: "https://user:pw@alertapi.example/?token=x", API: "pyronear_french"}})
	b := openForTest(t, path)
	if b.Source() != testSource() {
		t.Errorf("source %+v", b.Source())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		source Source
		want   error
	}{
		{"none", Source{}, nil},
		{"same", Source{URL: "https://alertapi.example/"}, nil},
		{"other platform", Source{URL: "https://apicenia.example"}, ErrSource},
		{"other api", Source{API: "api_cenia"}, ErrSource},
	} {
		w, err := OpenWriter(t.Context(), path, WriteOptions{Source: tt.source})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil {
			closeWriter(t, w)
		}
	}
}

func TestReopeningWithoutChangeWritesNothing(t *testing.T) {
	s := newSample(3, 3, 500)
	path := s.build(t, WriteOptions{})
	before := snapshot(t, path)
	w := openWriterForTest(t, path, WriteOptions{})
	s.put(t, w)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	if diff := cmp.Diff(before, snapshot(t, path)); diff != "" {
		t.Errorf("files changed:\n%s", diff)
	}
}

// snapshot returns the hash of every file.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.ToSlash(strings.TrimPrefix(path, root))] = hashOf(data).String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestModes(t *testing.T) {
	path := newSample(2, 2, 100).build(t, WriteOptions{})
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func shardSizes(t *testing.T, path string) []int64 {
	t.Helper()
	var sizes []int64
	for _, e := range must(os.ReadDir(filepath.Join(path, imagesName))) {
		sizes = append(sizes, must(e.Info()).Size())
	}
	return sizes
}
