package annotate

// Frame is one detection of the annotation API, which is one image, with its boxes in the order in which it lists them.
type Frame struct {
	DetectionID int64 // the annotation API's id; frames of one sequence have distinct ones
	Boxes       []Box
}

// Generate makes the annotation document of a sequence from its frames, which come in the order of time (by
// recorded_at, then platform id; contract C.9).
//
// The steps, in this order:
//
//  1. Of each frame, boxes below t.Confidence are left out, then boxes with four coordinates equal to an earlier one's.
//  2. What is left of all frames is one list, frame by frame, for [Cluster].
//  3. A cluster becomes a track of smoke whose type nobody has chosen yet. Boxes that the API would refuse are left out
//     here, not earlier: they do count for the cluster's size, as they do on the server.
//  4. A frame has at most one box in a track: several become the box that encloses them.
//  5. A track without boxes is left out. Without any track the document is empty: the sequence has no usable boxes.
//
// Equal boxes within a frame count once, because a sequence's frame is often told several times: as the row that the
// platform linked to it and again among the other boxes of a sibling row. Counting both would let one glance of the
// camera satisfy a minimum cluster size of two. The annotation API does count both, so the rule lives here, with the
// frame, and not in Cluster, which answers as the API's own clustering does. Where the copies differ in confidence, the
// box is kept if any of them passes, at the place of the first that does.
//
// Equal frames give an equal document. No box in it is one that the API would refuse. t must be valid.
func Generate(frames []Frame, t Thresholds) Document {
	var boxes []Box
	var detections []int64 // of boxes, index by index
	for _, f := range frames {
		kept := distinct(f.Boxes, t)
		boxes = append(boxes, kept...)
		for range kept {
			detections = append(detections, f.DetectionID)
		}
	}
	return document(boxes, detections, t)
}

// document clusters a flat list of boxes, each with its detection, and makes the tracks: steps 2 to 5 of Generate.
func document(boxes []Box, detections []int64, t Thresholds) Document {
	d := Document{Tracks: []Track{}}
	for _, cluster := range Cluster(boxes, t) {
		if track := newTrack(cluster, boxes, detections); len(track.Boxes) > 0 {
			d.Tracks = append(d.Tracks, track)
		}
	}
	return d
}

// distinct returns the boxes that pass the confidence filter, each position of four coordinates once, in their order.
func distinct(boxes []Box, t Thresholds) []Box {
	kept := make([]Box, 0, len(boxes))
	seen := make(map[[4]float64]bool, len(boxes))
	for _, b := range boxes {
		if !t.keeps(b.Confidence) || seen[b.XYXYN()] {
			continue
		}
		seen[b.XYXYN()] = true
		kept = append(kept, b)
	}
	return kept
}

// newTrack builds the track of a cluster: its acceptable boxes in the cluster's order, one per detection.
func newTrack(cluster []int, boxes []Box, detections []int64) Track {
	track := Track{IsSmoke: true, FalsePositiveTypes: []string{}, Boxes: []TrackBox{}}
	place := make(map[int64]int, len(cluster)) // of a detection in track.Boxes
	for _, i := range cluster {
		if boxes[i].acceptableCorners() != nil {
			continue
		}
		id, corners := detections[i], boxes[i].XYXYN()
		if at, ok := place[id]; ok {
			track.Boxes[at].XYXYN = enclosing(track.Boxes[at].XYXYN, corners)
			continue
		}
		place[id] = len(track.Boxes)
		track.Boxes = append(track.Boxes, TrackBox{DetectionID: id, XYXYN: corners})
	}
	return track
}
