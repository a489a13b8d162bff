package report_test

import (
	"io"
	"path/filepath"
	"testing"

	"pyrobundle/annotate"
	"pyrobundle/internal/report"
	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

// BenchmarkWrite measures the demo's world: 15 sequences, 272 frames of 640 by 360 pixels, 172 of them shown.
func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(b.Context(), path, sandbox.WorldOptions{}); err != nil {
		b.Fatal(err)
	}
	bundle, err := store.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		result, err := report.Write(b.Context(), io.Discard, bundle, report.Options{Thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1}})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(result.Bytes)
	}
}
