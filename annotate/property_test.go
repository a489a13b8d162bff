package annotate_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pyrobundle/annotate"
)

// coordinate draws from a coarse grid, so that boxes touch, repeat and degenerate, and now and then anything finite.
func coordinate(t *rapid.T) float64 {
	if rapid.IntRange(0, 40).Draw(t, "wild") == 0 {
		return rapid.Float64().Draw(t, "anything")
	}
	return float64(rapid.IntRange(0, 8).Draw(t, "eighth")) / 8
}

func anyBox(t *rapid.T) annotate.Box {
	b := annotate.Box{
		X1: coordinate(t), Y1: coordinate(t), X2: coordinate(t), Y2: coordinate(t),
		Confidence: float64(rapid.IntRange(0, 10).Draw(t, "confidence")) / 10,
	}
	if rapid.IntRange(0, 3).Draw(t, "order") > 0 { // most boxes have their corners in order
		b.X1, b.X2 = min(b.X1, b.X2), max(b.X1, b.X2)
		b.Y1, b.Y2 = min(b.Y1, b.Y2), max(b.Y1, b.Y2)
	}
	return b
}

func anyThresholds(t *rapid.T) annotate.Thresholds {
	return annotate.Thresholds{
		Confidence:     float64(rapid.IntRange(0, 10).Draw(t, "confidence")) / 10,
		IoU:            float64(rapid.IntRange(0, 16).Draw(t, "iou")) / 16,
		MinClusterSize: rapid.IntRange(1, 4).Draw(t, "min cluster size"),
	}
}

func anyFrames(t *rapid.T) []annotate.Frame {
	frames := make([]annotate.Frame, rapid.IntRange(0, 10).Draw(t, "frames"))
	for i := range frames {
		frames[i].DetectionID = int64(1000 - i) // ids need not follow time
		frames[i].Boxes = rapid.SliceOfN(rapid.Custom(anyBox), 0, 6).Draw(t, "boxes")
	}
	return frames
}

func TestEveryKeptBoxIsInExactlyOneCluster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		boxes := rapid.SliceOfN(rapid.Custom(anyBox), 0, 60).Draw(t, "boxes")
		thresholds := anyThresholds(t)
		thresholds.MinClusterSize = 1
		var got, want []int
		for _, cluster := range annotate.Cluster(boxes, thresholds) {
			got = append(got, cluster...)
		}
		slices.Sort(got)
		for i, b := range boxes {
			if thresholds.Confidence == 0 || b.Confidence >= thresholds.Confidence {
				want = append(want, i)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("indexes in clusters (-want +got):\n%s", diff)
		}
	})
}

func TestGenerateIsRepeatableAndLeavesItsArgument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames, thresholds := anyFrames(t), anyThresholds(t)
		before := make([]annotate.Frame, len(frames))
		for i, f := range frames {
			before[i] = annotate.Frame{DetectionID: f.DetectionID, Boxes: slices.Clone(f.Boxes)}
		}
		first := annotate.Generate(frames, thresholds)
		if diff := cmp.Diff(first, annotate.Generate(frames, thresholds)); diff != "" {
			t.Fatalf("not repeatable (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(before, frames); diff != "" {
			t.Fatalf("argument changed (-before +after):\n%s", diff)
		}
	})
}

// No document that Generate makes is one that the annotation API would refuse (contract B.3, B.4).
func TestGenerateMakesNothingTheAPIWouldRefuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := anyFrames(t)
		known := map[int64]bool{}
		for _, f := range frames {
			known[f.DetectionID] = true
		}
		for _, track := range annotate.Generate(frames, anyThresholds(t)).Tracks {
			if !track.IsSmoke || track.SmokeType != nil || len(track.FalsePositiveTypes) != 0 || len(track.Boxes) == 0 {
				t.Fatalf("not a fresh track: %+v", track)
			}
			seen := map[int64]bool{}
			for _, b := range track.Boxes {
				x1, y1, x2, y2 := b.XYXYN[0], b.XYXYN[1], b.XYXYN[2], b.XYXYN[3]
				inside := x1 >= 0 && y1 >= 0 && x2 <= 1 && y2 <= 1 && x1 < x2 && y1 < y2
				if !inside || seen[b.DetectionID] || !known[b.DetectionID] {
					t.Fatalf("box %+v of track %+v", b, track)
				}
				seen[b.DetectionID] = true
			}
		}
	})
}

// reference is the same rule written a second time as contract C.9 words it, without a thought of speed: boxes are
// popped and removed from the middle of a list, and nothing is shared with the package but its types.
func reference(frames []annotate.Frame, thresholds annotate.Thresholds) [][]annotate.TrackBox {
	type item struct {
		detection int64
		corners   [4]float64
	}
	iou := func(a, b [4]float64) float64 {
		width := math.Min(a[2], b[2]) - math.Max(a[0], b[0])
		height := math.Min(a[3], b[3]) - math.Max(a[1], b[1])
		if width < 0 || height < 0 {
			return 0
		}
		first := float64((a[2] - a[0]) * (a[3] - a[1]))
		second := float64((b[2] - b[0]) * (b[3] - b[1]))
		shared := float64(width * height)
		if first+second-shared == 0 {
			return 0
		}
		return shared / (first + second - shared)
	}
	var remaining []item
	for _, f := range frames {
		var own []item
		for _, b := range f.Boxes {
			this := item{f.DetectionID, [4]float64{b.X1, b.Y1, b.X2, b.Y2}}
			if thresholds.Confidence != 0 && b.Confidence < thresholds.Confidence || slices.Contains(own, this) {
				continue
			}
			own = append(own, this)
		}
		remaining = append(remaining, own...)
	}
	var tracks [][]annotate.TrackBox
	for len(remaining) > 0 {
		cluster := []item{remaining[0]}
		remaining = slices.Delete(remaining, 0, 1)
		for i := 0; i < len(remaining); {
			near := func(c item) bool { return iou(remaining[i].corners, c.corners) > thresholds.IoU }
			if !slices.ContainsFunc(cluster, near) {
				i++
				continue
			}
			cluster = append(cluster, remaining[i])
			remaining = slices.Delete(remaining, i, i+1)
		}
		if len(cluster) < thresholds.MinClusterSize {
			continue
		}
		var track []annotate.TrackBox
		for _, c := range cluster {
			x1, y1, x2, y2 := c.corners[0], c.corners[1], c.corners[2], c.corners[3]
			if x1 < 0 || y1 < 0 || x2 > 1 || y2 > 1 || x1 >= x2 || y1 >= y2 {
				continue
			}
			at := slices.IndexFunc(track, func(b annotate.TrackBox) bool { return b.DetectionID == c.detection })
			if at < 0 {
				track = append(track, annotate.TrackBox{DetectionID: c.detection, XYXYN: c.corners})
				continue
			}
			b := &track[at].XYXYN
			*b = [4]float64{math.Min(b[0], x1), math.Min(b[1], y1), math.Max(b[2], x2), math.Max(b[3], y2)}
		}
		if len(track) > 0 {
			tracks = append(tracks, track)
		}
	}
	return tracks
}

func TestGenerateAgreesWithASecondImplementation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames, thresholds := anyFrames(t), anyThresholds(t)
		var got [][]annotate.TrackBox
		for _, track := range annotate.Generate(frames, thresholds).Tracks {
			got = append(got, track.Boxes)
		}
		if diff := cmp.Diff(reference(frames, thresholds), got); diff != "" {
			t.Fatalf("tracks (-second implementation +Generate):\n%s", diff)
		}
	})
}

// write formats boxes as old rows might hold them: any blanks, either bracket, a comma after the last.
func write(t *rapid.T, boxes []annotate.Box) string {
	pair := func() (string, string) {
		if rapid.Bool().Draw(t, "round") {
			return "(", ")"
		}
		return "[", "]"
	}
	blank := func() string { return rapid.SampledFrom([]string{"", "", " ", "\t", "\n "}).Draw(t, "blank") }
	verb := func() string { return rapid.SampledFrom([]string{"%v", "%+v", "%.17g", "%e"}).Draw(t, "verb") }
	var s strings.Builder
	s.WriteString("[" + blank())
	for _, b := range boxes {
		open, shut := pair()
		s.WriteString(open)
		for i, v := range []float64{b.X1, b.Y1, b.X2, b.Y2, b.Confidence} {
			if i > 0 {
				s.WriteString(blank() + "," + blank())
			}
			format := verb()
			if format == "%e" { // six digits are not enough for every number
				format = "%.17e"
			}
			fmt.Fprintf(&s, format, v)
		}
		s.WriteString(shut + blank() + "," + blank())
	}
	return s.String() + "]"
}

func TestParseBoxesReadsBackEveryFiniteBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		boxes := rapid.SliceOfN(rapid.Custom(anyBox), 0, 20).Draw(t, "boxes")
		s := write(t, boxes)
		got := annotate.ParseBoxes(s)
		if !slices.Equal(boxes, got) {
			t.Fatalf("ParseBoxes(%q) (-want +got):\n%s", s, cmp.Diff(boxes, got))
		}
	})
}

// FuzzParseBoxes: whatever a stranger sends, numbers are finite, and what was read survives being written plainly.
func FuzzParseBoxes(f *testing.F) {
	for _, s := range []string{
		"", "[]", "[(0.306,0.374,0.357,0.426,0.867)]", "[(.5,.25,1,1,0),[0,0,1,1,.123],]", "(.1,.2,.3,.4,.5)",
		".1,.2,.3,.4,.5", "[(-1e-3, +2E5 , 00.1,\t5.,0)]", "[[[]]]", "[(1e999,0,0,0,0)]", "((((((((((", "[(nan,0,0,0,0)]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		boxes := annotate.ParseBoxes(s)
		var plain strings.Builder
		for _, b := range boxes {
			for _, v := range []float64{b.X1, b.Y1, b.X2, b.Y2, b.Confidence} {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("ParseBoxes(%q) = %v", s, boxes)
				}
			}
			fmt.Fprintf(&plain, "(%v,%v,%v,%v,%v),", b.X1, b.Y1, b.X2, b.Y2, b.Confidence)
		}
		if plain.Len() > 16<<10-2 { // shortest forms may be longer than what was read
			return
		}
		if again := annotate.ParseBoxes("[" + plain.String() + "]"); !slices.Equal(boxes, again) {
			t.Fatalf("ParseBoxes(%q) = %v, written and read again %v", s, boxes, again)
		}
	})
}
