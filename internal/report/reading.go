package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// frame is one uploaded image of a sequence, with the boxes of all its rows as load gives them to the target.
type frame struct {
	store.Frame
	id      int64 // of its first row
	at      time.Time
	own     []annotate.Box // of this sequence, equal ones once
	others  []annotate.Box // seen on the same image by no row of this sequence
	leftOut int            // boxes that the annotation API would refuse (contract E21)
	cluster []int          // of own, box by box: index into reading.tracks, -1 where it is in none
}

// confidence returns the greatest confidence of the frame's own boxes; false where it has none.
func (f frame) confidence() (greatest float64, ok bool) {
	for _, box := range f.own {
		greatest, ok = max(greatest, box.Confidence), true
	}
	return greatest, ok
}

// reading is what load would make of a sequence.
type reading struct {
	frames  []frame // by time
	tracks  []annotate.Track
	refusal string // why load would make no annotation; empty: it would make one of tracks
}

// maxBoxes bounds the time of clustering, which is quadratic: some two seconds. A camera's whole day has a tenth.
const maxBoxes = 20_000

// read reads a record as load does without a limit of detections, when they get the times of their creation.
func read(record store.SequenceRecord, t annotate.Thresholds) reading {
	r := reading{frames: framesOf(record)}
	if r.refusal = unloadable(record); r.refusal != "" {
		return r
	}
	boxes := 0
	var given []annotate.Frame // frames without image are not loaded
	for _, f := range r.frames {
		if !f.Image.IsZero() {
			given = append(given, annotate.Frame{DetectionID: f.id, Boxes: f.own})
			boxes += len(f.own)
		}
	}
	if boxes > maxBoxes {
		r.refusal = fmt.Sprintf("not clustered here: it has %d boxes, and a report clusters %d at most", boxes, maxBoxes)
		return r
	}
	r.tracks = annotate.Generate(given, t).Tracks
	if len(r.tracks) == 0 {
		r.refusal = "no usable boxes"
		return r
	}
	r.assign(t)
	return r
}

// assign finds the cluster of every box. A frame's boxes are distinct and all acceptable, so that generation leaves out no
// cluster: the tracks are the clusters, in order.
func (r *reading) assign(t annotate.Thresholds) {
	type place struct{ frame, box int }
	var boxes []annotate.Box
	var places []place
	for i := range r.frames {
		f := &r.frames[i]
		if f.Image.IsZero() {
			continue
		}
		for j, box := range f.own {
			if t.Confidence == 0 || box.Confidence >= t.Confidence {
				boxes, places = append(boxes, box), append(places, place{i, j})
			}
		}
	}
	for cluster, members := range annotate.Cluster(boxes, t) {
		for _, member := range members {
			at := places[member]
			r.frames[at.frame].cluster[at.box] = cluster
		}
	}
}

// framesOf groups a record's rows by bucket key, ordered by first row. The first row gives a frame its id and time.
func framesOf(record store.SequenceRecord) []frame {
	rows := slices.Clone(record.Detections)
	slices.SortStableFunc(rows, func(a, b store.Detection) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	stored := make(map[string]store.Frame, len(record.Frames))
	for _, f := range record.Frames {
		stored[f.Key] = f
	}
	byKey := make(map[string][]store.Detection, len(record.Frames))
	frames := make([]frame, 0, len(record.Frames))
	for _, row := range rows {
		if byKey[row.BucketKey] == nil {
			f := stored[row.BucketKey]
			f.Key = row.BucketKey
			f.Permanent = record.Lost(f)
			frames = append(frames, frame{Frame: f, id: row.ID, at: row.CreatedAt.UTC()})
		}
		byKey[row.BucketKey] = append(byKey[row.BucketKey], row)
	}
	for i := range frames {
		frames[i].take(byKey[frames[i].Key])
	}
	return frames
}

// take collects the boxes of a frame's rows: every row's own first, then those that rows name beside theirs, each position
// once.
func (f *frame) take(rows []store.Detection) {
	taken := map[[4]float64]bool{}
	add := func(boxes []annotate.Box, text *string) []annotate.Box {
		if text == nil {
			return boxes
		}
		for _, box := range annotate.Sanitize(annotate.ParseBoxes(*text)) {
			switch {
			case taken[box.XYXYN()]:
				continue
			case box.Acceptable() != nil:
				f.leftOut++
			default:
				boxes = append(boxes, box)
			}
			taken[box.XYXYN()] = true
		}
		return boxes
	}
	for _, row := range rows {
		f.own = add(f.own, row.BBox)
	}
	for _, row := range rows {
		f.others = add(f.others, row.OthersBBoxes)
	}
	f.cluster = slices.Repeat([]int{-1}, len(f.own))
}

// unloadable says what the annotation API demands and the bundle does not know (contract E9); empty: nothing.
func unloadable(record store.SequenceRecord) string {
	camera, organization := record.Camera, record.Organization
	switch {
	case camera == nil:
		return fmt.Sprintf("camera %d is not in the bundle", record.Sequence.CameraID)
	case camera.Name == "":
		return fmt.Sprintf("camera %d has no name", record.Sequence.CameraID)
	case camera.Lat == nil || camera.Lon == nil:
		return fmt.Sprintf("camera %d has no coordinates", record.Sequence.CameraID)
	case organization == nil || organization.Name == "":
		return fmt.Sprintf("the name of organization %d is not in the bundle", camera.OrganizationID)
	}
	return ""
}
