package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var writeGolden = flag.Bool("write-golden", false, "write testdata/bundles/format-1 anew; only before the format is released")

// goldenDigest is that of testdata/bundles/format-1. It changes never: the digest is part of the format.
const goldenDigest = "567ff24ebc1a7590f4626b369519695bf23cc5b9c5a4856ebc5012cf6b1ef395"

const goldenPath = "../testdata/bundles/format-1"

func debugLogger(to io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// picture is a small real image: a slope under a sky.
func picture(t *testing.T, seed int, format Format) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 32, 24))
	for y := range 24 {
		for x := range 32 {
			if y > 12+(x+seed)%7/2 {
				img.Set(x, y, color.RGBA{40, uint8(90 + seed), 40, 255})
			} else {
				img.Set(x, y, color.RGBA{150, 190, uint8(255 - y*4), 255})
			}
		}
	}
	var out bytes.Buffer
	var err error
	if format == PNG {
		err = png.Encode(&out, img)
	} else {
		err = jpeg.Encode(&out, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// golden makes the content of the golden bundle: each thing that format 1 can say, once.
func golden(t *testing.T, path string) {
	t.Helper()
	ctx := t.Context()
	clock := time.Date(2026, 7, 5, 6, 0, 0, 0, time.UTC)
	w := openWriterForTest(t, path, WriteOptions{
		Source: Source{URL: "https://alertapi.example", API: "pyronear_french"}, SealSize: 6000, now: func() time.Time { return clock },
	})
	s := newSample(4, 3, 1)
	for i := range s.sequences {
		r := &s.sequences[i]
		for f := range r.Frames {
			format := JPEG
			if f == 2 {
				format = PNG
			}
			data := picture(t, 10*i+f, format)
			if i == 3 && f == 1 { // the image of another key
				data = picture(t, 0, JPEG)
			}
			h, err := w.PutImage(ctx, r.OrganizationID(), r.Frames[f].Key, format, data)
			if err != nil {
				t.Fatal(err)
			}
			r.Frames[f].Image = h
		}
	}
	s.sequences[1].Camera, s.sequences[1].Organization = nil, nil
	s.sequences[2].Frames[1] = Frame{Key: s.sequences[2].Frames[1].Key, Problem: "404 Not Found after a fresh URL", Permanent: true}
	s.sequences[2].Frames[2] = Frame{Key: s.sequences[2].Frames[2].Key, Problem: "503 after 6 attempts"}
	s.sequences[2].Coverage = Coverage{FetchedAt: clock, Order: Descending, Live: true}
	for _, r := range s.sequences {
		if err := w.PutSequence(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		w.MarkGone(ctx, 4, true), w.PutCameras(ctx, s.cameras), w.PutOrganizations(ctx, s.organizations),
		w.PutDay(ctx, DayRecord{Day: "2026-07-01", ListedAt: clock, Sequences: 2, Complete: true}),
		w.PutDay(ctx, DayRecord{Day: "2026-07-02", OrganizationID: 2, ListedAt: clock, Sequences: 2}),
		w.PutProblem(ctx, Problem{Class: Incomplete, Kind: "image", ID: s.sequences[2].Frames[1].Key, SequenceID: 3, Reason: "404 Not Found after a fresh URL", At: clock}),
		w.PutProblem(ctx, Problem{Class: Failed, Kind: "day", ID: "2026-07-03", Reason: "503 after 6 attempts", At: clock}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	closeWriter(t, w)
}

func TestGoldenBundle(t *testing.T) {
	if *writeGolden {
		if err := os.RemoveAll(goldenPath); err != nil {
			t.Fatal(err)
		}
		golden(t, goldenPath)
		t.Logf("digest %s", digestOf(t, goldenPath))
	}
	// A copy: a check-out's modes and locks are not the test's business.
	path := filepath.Join(t.TempDir(), "format-1")
	if err := os.CopyFS(path, os.DirFS(goldenPath)); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, path)
	if got := digestOf(t, path); got.String() != goldenDigest {
		t.Errorf("digest %s, want %s", got, goldenDigest)
	}
	b := openForTest(t, path)
	stats, err := b.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "{Sequences:4 Detections:12 Frames:12 FramesMissing:2 Images:11"
	if got := fmt.Sprintf("%+v", stats); got[:min(len(got), len(want))] != want {
		t.Errorf("stats %s, want %s", got, want)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	// The same content written by this version has the same digest, and what was written by the first can be continued.
	fresh := filepath.Join(t.TempDir(), "fresh")
	golden(t, fresh)
	if got := digestOf(t, fresh); got.String() != goldenDigest {
		t.Errorf("written anew: digest %s, want %s", got, goldenDigest)
	}
	golden(t, path)
	mustBeSound(t, path)
	if got := digestOf(t, path); got.String() != goldenDigest {
		t.Errorf("continued: digest %s, want %s", got, goldenDigest)
	}
}

// TestInterruptedCreation: each state in which the creation of a bundle can be interrupted.
func TestInterruptedCreation(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	closeWriter(t, openWriterForTest(t, whole, WriteOptions{}))
	index := must(os.ReadFile(filepath.Join(whole, indexName)))
	write := func(name string, data []byte) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), data, fileMode) }
	}
	images := func(dir string) error { return os.Mkdir(filepath.Join(dir, imagesName), dirMode) }
	for name, steps := range map[string][]func(string) error{
		"directory":                 {},
		"images":                    {images},
		"index begun":               {images, write(indexNewName, nil)},
		"index torn":                {images, write(indexNewName, index[:5000])},
		"index zeroed":              {images, write(indexNewName, make([]byte, len(index)))},
		"index whole":               {images, write(indexNewName, index)},
		"index renamed":             {images, write(indexName, index)},
		"manifest begun":            {images, write(indexName, index), write(manifestNewName, []byte("{"))},
		"manifest begun, no images": {write(indexName, index), write(manifestNewName, []byte("{"))},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for _, step := range steps {
				if err := step(path); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(path); err == nil {
				t.Error("half a bundle is opened")
			}
			s := newSample(2, 2, 100)
			w := openWriterForTest(t, path, WriteOptions{})
			s.put(t, w)
			closeWriter(t, w)
			mustBeSound(t, path)
			for _, left := range []string{indexNewName, manifestNewName} {
				if _, err := os.Stat(filepath.Join(path, left)); !isMissing(err) {
					t.Errorf("%s is left behind: %v", left, err)
				}
			}
		})
	}
}

// TestNewerFormatIsRefused: with a message, not with a guess.
func TestNewerFormatIsRefused(t *testing.T) {
	path := newSample(1, 1, 100).build(t, WriteOptions{})
	m := must(readManifest(path, manifestName))
	m.Format, m.MinReader = 2, 2
	if err := os.WriteFile(filepath.Join(path, manifestName), must(m.encode()), fs.FileMode(fileMode)); err != nil {
		t.Fatal(err)
	}
	for _, index := range []string{"as it was", "of another make"} {
		if index == "of another make" {
			if err := os.WriteFile(filepath.Join(path, indexName), bytes.Repeat([]byte("SQLite format 3\x00"), 1000), fileMode); err != nil {
				t.Fatal(err)
			}
		}
		for name, open := range map[string]func() error{
			"Open":       func() error { _, err := Open(path); return err },
			"OpenWriter": func() error { _, err := OpenWriter(t.Context(), path, WriteOptions{}); return err },
		} {
			if err := open(); !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte("format 2")) {
				t.Errorf("%s, index %s: %v", name, index, err)
			}
		}
	}
}
