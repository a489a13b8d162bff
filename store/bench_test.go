package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The figures of docs/performance.md. Each benchmark measures a plain baseline beside what it is about, in the same run: machines
// differ and are noisy, ratios less so.
const (
	benchImages = 2000
	benchSize   = 250_000 // bytes of an image
)

// noise hands out incompressible images without making each anew: parts of one pool, stamped with their number.
type noise struct{ pool, image []byte }

func newNoise() *noise {
	return &noise{imageBytes(1, 1<<20), make([]byte, benchSize)}
}

func (n *noise) fill(i int) []byte {
	copy(n.image, n.pool[i*4099%(len(n.pool)-benchSize):])
	binary.LittleEndian.PutUint64(n.image, uint64(i))
	return n.image
}

// plainWrite is the baseline of writing: append, SHA-256, sync per 64 images.
func plainWrite(b *testing.B, path string, n *noise) time.Duration {
	b.Helper()
	start := time.Now()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	var sum Hash
	for i := range benchImages {
		data := n.fill(i)
		sum = sha256.Sum256(data)
		_, werr := f.Write(data)
		err = errors.Join(err, werr)
		if i%batchImages == batchImages-1 {
			err = errors.Join(err, f.Sync())
		}
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil || sum.IsZero() {
		b.Fatal(err)
	}
	return time.Since(start)
}

func bundleWrite(b *testing.B, path string, n *noise) time.Duration {
	b.Helper()
	start := time.Now()
	w, err := OpenWriter(b.Context(), path, WriteOptions{Source: testSource()})
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchImages {
		if _, err := w.PutImage(b.Context(), 1, benchKey(i), JPEG, n.fill(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func benchKey(i int) string { return fmt.Sprintf("7-20260701%06d-%08x.jpg", i, i*2654435761) }

// measure runs baseline and subject in turn, and reports medians and their ratio.
func measure(b *testing.B, bytes int64, baseline, subject func(round int) time.Duration) {
	b.Helper()
	var base, own []float64
	for round := range max(b.N, 5) {
		base = append(base, float64(bytes)/baseline(round).Seconds()/1e6)
		own = append(own, float64(bytes)/subject(round).Seconds()/1e6)
	}
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = own[i] / base[i]
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(median(own), "MB/s")
	b.ReportMetric(median(base), "plain-MB/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op") // says nothing here
}

func BenchmarkWriteImages(b *testing.B) {
	n, dir := newNoise(), b.TempDir()
	before := anonymousMemory(b)
	most := 0.0
	measure(b, benchImages*benchSize, func(int) time.Duration {
		path := filepath.Join(dir, "plain")
		defer removeAll(b, path)
		return plainWrite(b, path, n)
	}, func(int) time.Duration {
		path := filepath.Join(dir, "bundle")
		defer removeAll(b, path)
		took := bundleWrite(b, path, n)
		most = max(most, anonymousMemory(b)-before)
		return took
	})
	b.ReportMetric(most, "anonymous-MiB")
}

func removeAll(b *testing.B, path string) {
	b.Helper()
	if err := os.RemoveAll(path); err != nil {
		b.Fatal(err)
	}
}

// anonymousMemory is the process's anonymous resident memory in MiB; a mapped index is the kernel's.
func anonymousMemory(b testing.TB) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // no Linux: the figure is left out
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	return 0
}

func BenchmarkReadImages(b *testing.B) {
	n, dir := newNoise(), b.TempDir()
	plain, bundle := filepath.Join(dir, "plain"), filepath.Join(dir, "bundle")
	plainWrite(b, plain, n)
	bundleWrite(b, bundle, n)
	reader, err := Open(bundle)
	if err != nil {
		b.Fatal(err)
	}
	hashes := make([]Hash, benchImages)
	for i := range hashes {
		hashes[i] = hashOf(n.fill(i))
	}
	measure(b, benchImages*benchSize, func(int) time.Duration {
		start := time.Now()
		f, err := os.Open(plain)
		if err != nil {
			b.Fatal(err)
		}
		for i := range hashes {
			data := make([]byte, benchSize) // ReadImage hands out new memory too
			if _, err := f.ReadAt(data, int64(i)*benchSize); err != nil || sha256.Sum256(data) != hashes[i] {
				b.Fatal(i, err)
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}, func(int) time.Duration {
		start := time.Now()
		for _, h := range hashes {
			if _, err := reader.ReadImage(b.Context(), h); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	})
	if err := reader.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSize compares the bundle with what is in it.
func BenchmarkSize(b *testing.B) {
	for range b.N {
		s := newSample(64, 30, 1)
		path := filepath.Join(b.TempDir(), "bundle")
		w := openWriterForTest(b, path, WriteOptions{})
		n := newNoise()
		var images, documents int64
		for k := range s.sequences {
			r := &s.sequences[k]
			for i := range r.Frames {
				h, err := w.PutImage(b.Context(), r.OrganizationID(), r.Frames[i].Key, JPEG, n.fill(k*100+i))
				if err != nil {
					b.Fatal(err)
				}
				r.Frames[i].Image = h
				images += benchSize
				documents += int64(len(r.Detections[i].Document))
			}
			documents += int64(len(r.Sequence.Document))
			if err := w.PutSequence(b.Context(), *r); err != nil {
				b.Fatal(err)
			}
		}
		closeWriter(b, w)
		stats, err := openForTest(b, path).Stats(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		total := stats.IndexBytes + stats.ShardBytes
		b.ReportMetric(float64(total)/float64(images), "of-images")
		b.ReportMetric(float64(total)/(float64(images)*1.01+float64(documents)*0.35), "of-allowance")
		b.ReportMetric(float64(stats.IndexBytes)/1024, "index-KiB")
	}
}

// BenchmarkManySequences opens, inspects and iterates bundles of growing size: times per sequence and memory must not grow.
func BenchmarkManySequences(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "bundle")
			writeMany(b, path, count)
			b.ResetTimer()
			var open, stats, summaries, sequences time.Duration
			memory := 0.0
			for range b.N {
				before := anonymousMemory(b)
				lap := time.Now()
				took := func(d *time.Duration) {
					*d += time.Since(lap)
					lap = time.Now()
					memory = max(memory, anonymousMemory(b)-before)
				}
				bundle, err := Open(path)
				if err != nil {
					b.Fatal(err)
				}
				took(&open)
				if s, err := bundle.Stats(b.Context()); err != nil || s.Sequences != int64(count) {
					b.Fatal(s, err)
				}
				took(&stats)
				for _, err := range bundle.Summaries(b.Context(), Query{CameraID: 2}) {
					if err != nil {
						b.Fatal(err)
					}
				}
				took(&summaries)
				for _, err := range bundle.Sequences(b.Context(), Query{}) {
					if err != nil {
						b.Fatal(err)
					}
				}
				took(&sequences)
				if err := bundle.Close(); err != nil {
					b.Fatal(err)
				}
			}
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) / float64(count) }
			b.ReportMetric(float64(open.Microseconds())/float64(b.N)/1000, "open-ms")
			b.ReportMetric(per(stats), "stats-µs/seq")
			b.ReportMetric(per(summaries), "summaries-µs/seq")
			b.ReportMetric(per(sequences), "sequences-µs/seq")
			b.ReportMetric(memory, "anonymous-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// writeMany writes sequences of twelve detections, without images, from many goroutines: they share transactions.
func writeMany(b *testing.B, path string, count int) {
	b.Helper()
	s := newSample(1, 12, 1)
	w := openWriterForTest(b, path, WriteOptions{})
	work := make(chan int64)
	errs := make(chan error, 64)
	for range cap(errs) {
		go func() {
			var failed error
			for id := range work {
				local := &sample{s.organizations, s.cameras, nil, map[string][]byte{}}
				r := local.sequence(id, 12, 1)
				for i := range r.Frames {
					r.Frames[i] = Frame{Key: r.Frames[i].Key, Problem: "not fetched"}
				}
				if err := w.PutSequence(b.Context(), r); err != nil && failed == nil {
					failed = err
				}
			}
			errs <- failed
		}()
	}
	for id := range int64(count) {
		work <- id + 1
	}
	close(work)
	for range cap(errs) {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	closeWriter(b, w)
}
