package sandbox

import (
	"cmp"
	"slices"
)

// generate writes the tracks of a sequence from its stored predictions, as the server does for an empty annotation at
// ready_to_annotate (contract C.9). It is the oracle for package annotate and shares no line with it.
func (a *AnnotationAPI) generate(sequence int64, confidence, threshold float64, minCluster int64) []Track {
	index, ok := a.bySequence[sequence]
	if !ok {
		return []Track{}
	}
	rows := make([]*DetectionRow, len(index.detections))
	for i, id := range index.detections {
		rows[i] = a.detections[id]
	}
	slices.SortFunc(rows, func(x, y *DetectionRow) int {
		return cmp.Or(x.RecordedAt.Compare(y.RecordedAt), cmp.Compare(x.ID, y.ID))
	})
	var boxes []TrackBox
	for _, row := range rows {
		for _, p := range row.Predictions {
			if confidence == 0 || p.Confidence >= confidence {
				boxes = append(boxes, TrackBox{DetectionID: row.ID, Box: p.Box})
			}
		}
	}
	return tracksOf(boxes, threshold, minCluster, a.newest)
}

// tracksOf groups boxes greedily and makes one track of each group of at least minCluster boxes.
func tracksOf(boxes []TrackBox, threshold float64, minCluster int64, onePerDetection bool) []Track {
	tracks := []Track{}
	grouped := make([]bool, len(boxes))
	for seed := range boxes {
		if grouped[seed] {
			continue
		}
		group := []TrackBox{boxes[seed]}
		// One pass forward: a box that was passed by is not tried again when the group grows.
		for next := seed + 1; next < len(boxes); next++ {
			if !grouped[next] && slices.ContainsFunc(group, func(member TrackBox) bool {
				return overlapRatio(boxes[next].Box, member.Box) > threshold
			}) {
				grouped[next] = true
				group = append(group, boxes[next])
			}
		}
		if int64(len(group)) < minCluster { // boxes that are refused below count as well
			continue
		}
		group = slices.DeleteFunc(group, func(b TrackBox) bool { return boxRule(b.Box) != "" })
		if onePerDetection {
			group = enclosing(group)
		}
		if len(group) > 0 {
			tracks = append(tracks, Track{IsSmoke: true, Boxes: group})
		}
	}
	return tracks
}

// enclosing keeps one box per detection, in order of first appearance: the smallest around all of its boxes.
func enclosing(group []TrackBox) []TrackBox {
	var out []TrackBox
	for _, b := range group {
		i := slices.IndexFunc(out, func(known TrackBox) bool { return known.DetectionID == b.DetectionID })
		if i < 0 {
			out = append(out, b)
			continue
		}
		known := &out[i].Box
		known[0], known[1] = min(known[0], b.Box[0]), min(known[1], b.Box[1])
		known[2], known[3] = max(known[2], b.Box[2]), max(known[3], b.Box[3])
	}
	return out
}

// overlapRatio is intersection over union of two boxes. Conversions keep every product rounded on its own, as in the
// server's arithmetic, on machines that could fuse it with the sum.
func overlapRatio(p, q [4]float64) float64 {
	left, top := max(p[0], q[0]), max(p[1], q[1])
	right, bottom := min(p[2], q[2]), min(p[3], q[3])
	shared := 0.0
	if right >= left && bottom >= top {
		shared = float64((right - left) * (bottom - top))
	}
	total := float64((p[2]-p[0])*(p[3]-p[1])) + float64((q[2]-q[0])*(q[3]-q[1])) - shared
	if total == 0 {
		return 0
	}
	return shared / total
}
