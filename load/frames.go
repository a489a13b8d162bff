package load

import (
	"cmp"
	"slices"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// wantedDetection is a detection as the target is to have it: one for each frame of a sequence, whatever number of rows
// the platform has for it.
type wantedDetection struct {
	id         int64 // the platform's, of the frame's first row
	recordedAt time.Time
	own        []annotate.Box // of this sequence
	others     []annotate.Box // of the same frame, seen by no row of this sequence
	image      store.Hash     // zero only where images are assumed
}

// frame is one uploaded image of a sequence with all its rows, by created_at, then id.
type frame struct {
	store.Frame
	rows []store.Detection
}

// framesOf groups a record's rows by frame, ordered by first row, and keeps the first limit frames that have boxes, in
// order. Frames without boxes do not count against the limit (contract E36); those among the kept ones stay.
func framesOf(record store.SequenceRecord, limit int, order store.Order) []frame {
	rows := slices.Clone(record.Detections)
	slices.SortStableFunc(rows, func(a, b store.Detection) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	stored := make(map[string]store.Frame, len(record.Frames))
	for _, f := range record.Frames {
		stored[f.Key] = f
	}
	var frames []frame
	at := make(map[string]int)
	for _, row := range rows {
		i, seen := at[row.BucketKey]
		if !seen {
			i = len(frames)
			at[row.BucketKey] = i
			frames = append(frames, frame{Frame: stored[row.BucketKey]})
		}
		frames[i].rows = append(frames[i].rows, row)
	}
	if limit == 0 {
		return frames
	}
	if order == store.Descending {
		slices.Reverse(frames)
	}
	withBoxes := 0
	for i, f := range frames {
		if f.hasBoxes() {
			withBoxes++
		}
		if withBoxes == limit {
			frames = frames[:i+1]
			break
		}
	}
	if order == store.Descending {
		slices.Reverse(frames)
	}
	return frames
}

// text is how long the boxes of all its rows are.
func (f frame) text() (size int64) {
	for _, row := range f.rows {
		size += textOf(row)
	}
	return size
}

func (f frame) hasBoxes() bool {
	return slices.ContainsFunc(f.rows, func(row store.Detection) bool {
		return row.BBox != nil && len(annotate.ParseBoxes(*row.BBox)) > 0
	})
}

// detection joins the rows of a frame: the first gives id and time; every row's own box becomes a prediction; the boxes
// that rows name beside their own, and that are no row's own, go with the others. It returns how many boxes it left out
// because the target would refuse the whole detection for them (contract E21).
func (f frame) detection(when DetectionTime) (wantedDetection, int) {
	first := f.rows[0]
	d := wantedDetection{id: first.ID, recordedAt: first.CreatedAt.Time, image: f.Image}
	if when == DetectionTimeRecorded && first.RecordedAt != nil && !first.RecordedAt.IsZero() {
		d.recordedAt = first.RecordedAt.Time
	}
	leftOut := 0
	taken := make(map[[4]float64]bool) // a box that is equal to another of the frame counts once
	take := func(boxes []annotate.Box, text *string) []annotate.Box {
		if text == nil {
			return boxes
		}
		for _, box := range annotate.Sanitize(annotate.ParseBoxes(*text)) {
			corners := [4]float64{box.X1, box.Y1, box.X2, box.Y2}
			switch {
			case taken[corners]:
			case box.Acceptable() != nil:
				leftOut++
				taken[corners] = true
			default:
				boxes = append(boxes, box)
				taken[corners] = true
			}
		}
		return boxes
	}
	for _, row := range f.rows {
		d.own = take(d.own, row.BBox)
	}
	for _, row := range f.rows {
		d.others = take(d.others, row.OthersBBoxes)
	}
	return d, leftOut
}
