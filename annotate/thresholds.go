package annotate

import "fmt"

// Thresholds are the knobs of generation. The zero value keeps every box and joins boxes at the slightest overlap.
type Thresholds struct {
	Confidence     float64 // 0 to 1; boxes below are left out; 0 keeps all
	IoU            float64 // 0 to 1; boxes that overlap by more belong together, so at 1 none do
	MinClusterSize int     // boxes, at least 1; smaller clusters are left out
}

// Validate returns an error that names the first threshold outside its range. A caller shows it to the person who set
// the threshold; the functions of this package take thresholds as validated.
func (t Thresholds) Validate() error {
	switch {
	case !isFraction(t.Confidence):
		return fmt.Errorf("confidence threshold %g is outside 0 to 1", t.Confidence)
	case !isFraction(t.IoU):
		return fmt.Errorf("iou threshold %g is outside 0 to 1", t.IoU)
	case t.MinClusterSize < 1:
		return fmt.Errorf("min cluster size %d is below 1", t.MinClusterSize)
	}
	return nil
}

// keeps reports whether a box of that confidence takes part. At 0 all do, whatever their confidence is.
func (t Thresholds) keeps(confidence float64) bool {
	return t.Confidence == 0 || confidence >= t.Confidence
}
