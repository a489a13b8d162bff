package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// plainCopy is the baseline of moving: read, SHA-256, write, sync.
func plainCopy(b *testing.B, from, to string) time.Duration {
	b.Helper()
	start := time.Now()
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	h := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, h)}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	if err := errors.Join(err, out.Sync(), out.Close(), in.Close()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// BenchmarkMove packs, unpacks, merges and compares a bundle of 500 MB; the baseline copies its archive.
func BenchmarkMove(b *testing.B) {
	const sequences, frames = 80, 25
	dir := b.TempDir()
	path := filepath.Join(dir, "bundle")
	n := newNoise()
	w := openWriterForTest(b, path, WriteOptions{})
	s := newSample(0, 0, 0)
	for i := range sequences {
		r := s.sequence(int64(i+1), frames, 8)
		for f := range r.Frames {
			h, err := w.PutImage(b.Context(), r.OrganizationID(), r.Frames[f].Key, JPEG, n.fill(i*frames+f))
			if err != nil {
				b.Fatal(err)
			}
			r.Frames[f].Image = h
		}
		if err := w.PutSequence(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	closeWriter(b, w)
	archive := filepath.Join(dir, "archive")
	packFile(b, path, archive, PackOptions{})
	for _, bench := range []struct {
		name string
		run  func(to string) error
	}{
		{"pack", func(to string) error {
			_, err := openForTest(b, path).PackFile(b.Context(), to, PackOptions{})
			return err
		}},
		{"unpack", func(to string) error {
			_, err := UnpackFile(b.Context(), archive, to, UnpackOptions{})
			return err
		}},
		{"merge", func(to string) error {
			_, err := Merge(b.Context(), to, []string{path}, MergeOptions{})
			return err
		}},
		{"diff, reading every image", func(string) error {
			one, other := openForTest(b, path), openForTest(b, path)
			for d, err := range Diff(b.Context(), one, other, DiffOptions{ReadData: true}) {
				if err != nil || d.Sign != Same {
					return fmt.Errorf("%+v: %w", d, err)
				}
			}
			return nil
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			before, most := anonymousMemory(b), 0.0
			measure(b, sequences*frames*benchSize, func(int) time.Duration {
				to := filepath.Join(dir, "plain")
				defer removeAll(b, to)
				return plainCopy(b, archive, to)
			}, func(round int) time.Duration {
				to := filepath.Join(dir, fmt.Sprint("own", round))
				defer removeAll(b, to)
				start := time.Now()
				if err := bench.run(to); err != nil {
					b.Fatal(err)
				}
				took := time.Since(start)
				most = max(most, anonymousMemory(b)-before)
				return took
			})
			b.ReportMetric(most, "anonymous-MiB")
		})
	}
}
