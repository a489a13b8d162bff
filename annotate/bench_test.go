package annotate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pyrobundle/annotate"
)

// BenchmarkCluster clusters 1,000 boxes, about what a sequence of 130 frames has at most. None of "apart" overlaps
// another; all of "crossing" overlap one another by less than the threshold, so that every pair has to be computed; "one
// object" is a plume that drifts slowly over the frames. The baseline is IoU alone, once for every pair.
func BenchmarkCluster(b *testing.B) {
	const n = 1000
	random := rand.New(rand.NewPCG(1, 2))
	apart, crossing, plume := make([]annotate.Box, n), make([]annotate.Box, n), make([]annotate.Box, n)
	for i := range n {
		x, y := float64(i%40)/40, float64(i/40)/40
		apart[i] = box(x, y, x+.02, y+.02)
		// From narrow and tall to wide and flat, all around the middle of the image.
		stretch := math.Pow(1.01, float64(i-n/2)) * (1 + .001*random.Float64())
		crossing[i] = box(.5-.004*stretch, .5-.004/stretch, .5+.004*stretch, .5+.004/stretch)
		drift := .0002 * float64(i)
		plume[i] = box(.3+drift, .3, .4+drift, .4)
	}
	for _, c := range []struct {
		name     string
		boxes    []annotate.Box
		iou      float64
		clusters int
	}{{"apart", apart, .3, n}, {"crossing", crossing, .995, n}, {"one object", plume, .3, 1}} {
		b.Run(c.name, func(b *testing.B) {
			thresholds := annotate.Thresholds{IoU: c.iou, MinClusterSize: 1}
			b.ReportAllocs()
			for b.Loop() {
				if got := len(annotate.Cluster(c.boxes, thresholds)); got != c.clusters {
					b.Fatalf("%d clusters, want %d", got, c.clusters)
				}
			}
		})
	}
	b.Run("baseline", func(b *testing.B) {
		for b.Loop() {
			for i := range crossing {
				for j := range i {
					if annotate.IoU(crossing[i], crossing[j]) > .995 {
						b.Fatal("crossing boxes overlap too much")
					}
				}
			}
		}
	})
}
