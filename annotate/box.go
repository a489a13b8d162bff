package annotate

import (
	"fmt"
	"math"
)

// Box is a prediction of the model: two corners as fractions of the image (0 to 1, origin top left) and the model's
// confidence (0 to 1).
type Box struct {
	X1, Y1, X2, Y2 float64
	Confidence     float64
}

// XYXYN returns the corners in the order of the annotation API: left, top, right, bottom.
func (b Box) XYXYN() [4]float64 { return [4]float64{b.X1, b.Y1, b.X2, b.Y2} }

// Acceptable returns why the annotation API would refuse b as a prediction on a detection, nil if it takes it.
//
// The API wants every number within 0 to 1, corners in order and an area above zero (contract B.3). One refused box
// costs the whole detection, so load leaves such boxes out and counts them (contract E21).
func (b Box) Acceptable() error {
	if err := b.acceptableCorners(); err != nil {
		return err
	}
	if !isFraction(b.Confidence) {
		return fmt.Errorf("confidence %g is outside 0 to 1", b.Confidence)
	}
	return nil
}

// acceptableCorners is Acceptable without the confidence, which a track's box does not carry.
func (b Box) acceptableCorners() error {
	for _, v := range b.XYXYN() {
		if !isFraction(v) {
			return fmt.Errorf("coordinate %g is outside 0 to 1", v)
		}
	}
	switch {
	case b.X1 > b.X2:
		return fmt.Errorf("left edge %g lies right of the right edge %g", b.X1, b.X2)
	case b.Y1 > b.Y2:
		return fmt.Errorf("top edge %g lies below the bottom edge %g", b.Y1, b.Y2)
	case b.X1 == b.X2 || b.Y1 == b.Y2:
		return fmt.Errorf("no area: width %g, height %g", b.X2-b.X1, b.Y2-b.Y1)
	}
	return nil
}

// isFraction reports whether v is within 0 to 1; NaN is not.
func isFraction(v float64) bool { return v >= 0 && v <= 1 }

// Sanitize returns the boxes without those whose four coordinates are all zero, in their order; the argument stays as
// it is.
//
// Engines once reported an empty frame by such a placeholder. Everything else is kept, whether the annotation API takes
// it or not (contract C.5): that is [Box.Acceptable]'s question, and its answer is counted by the caller.
func Sanitize(boxes []Box) []Box {
	kept := make([]Box, 0, len(boxes))
	for _, b := range boxes {
		if b.XYXYN() != [4]float64{} {
			kept = append(kept, b)
		}
	}
	return kept
}

// IoU returns the intersection over union of two boxes: 1 for equal ones, 0 for boxes that merely touch.
//
// Nothing is asked of the boxes. One with its corners swapped has a negative area, hence the result may lie outside 0
// to 1, exactly as in the annotation API (contract C.9); it is always a finite number.
func IoU(a, b Box) float64 {
	m, other := measure(a), measure(b)
	return finite(m.iou(&other))
}

// measured is a box with its area, computed once: clustering compares every box many times.
type measured struct {
	Box
	area float64
}

func measure(b Box) measured {
	return measured{Box: b, area: float64((b.X2 - b.X1) * (b.Y2 - b.Y1))}
}

// iou is IoU, except that numbers far beyond an image can make it infinite or NaN.
func (m *measured) iou(other *measured) float64 {
	width := min(m.X2, other.X2) - max(m.X1, other.X1)
	height := min(m.Y2, other.Y2) - max(m.Y1, other.Y1)
	if width < 0 || height < 0 {
		return 0
	}
	intersection := float64(width * height)
	union := m.area + other.area - intersection // left to right, as the API adds
	if union == 0 {
		return 0
	}
	return intersection / union
}

// finite keeps what comparisons make of v and its finiteness: infinities become the largest number, NaN becomes 0.
func finite(v float64) float64 {
	switch {
	case math.IsNaN(v):
		return 0
	case v > math.MaxFloat64:
		return math.MaxFloat64
	case v < -math.MaxFloat64:
		return -math.MaxFloat64
	}
	return v
}

// enclosing returns the smallest box around both.
func enclosing(a, b [4]float64) [4]float64 {
	return [4]float64{min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])}
}
