package annotate_test

import (
	"encoding/json"
	"fmt"

	"pyrobundle/annotate"
)

// Two frames of one camera: a plume that grows, and a lamp that the model took for smoke once.
func Example() {
	frames := []annotate.Frame{
		{DetectionID: 11, Boxes: annotate.ParseBoxes("[(.306,.374,.357,.426,.867)]")},
		{DetectionID: 12, Boxes: annotate.ParseBoxes("[(.304,.371,.360,.427,.902),(.810,.555,.832,.571,.214)]")},
	}
	document := annotate.Generate(frames, annotate.Thresholds{IoU: 0.3, MinClusterSize: 1})
	for i, track := range document.Tracks {
		fmt.Println("track", i+1)
		for _, b := range track.Boxes {
			fmt.Println("  detection", b.DetectionID, b.XYXYN)
		}
	}
	// Output:
	// track 1
	//   detection 11 [0.306 0.374 0.357 0.426]
	//   detection 12 [0.304 0.371 0.36 0.427]
	// track 2
	//   detection 12 [0.81 0.555 0.832 0.571]
}

// A minimum cluster size leaves out what was seen on too few frames.
func ExampleGenerate() {
	frames := []annotate.Frame{
		{DetectionID: 11, Boxes: annotate.ParseBoxes("[(.306,.374,.357,.426,.867)]")},
		{DetectionID: 12, Boxes: annotate.ParseBoxes("[(.304,.371,.360,.427,.902),(.810,.555,.832,.571,.214)]")},
	}
	document := annotate.Generate(frames, annotate.Thresholds{IoU: 0.3, MinClusterSize: 2})
	wire, err := json.Marshal(document)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(wire))
	// Output:
	// {"sequences_bbox":[{"is_smoke":true,"smoke_type":null,"false_positive_types":[],"bboxes":[{"detection_id":11,"xyxyn":[0.306,0.374,0.357,0.426]},{"detection_id":12,"xyxyn":[0.304,0.371,0.36,0.427]}]}]}
}

// A box that the annotation API would refuse says why.
func ExampleBox_Acceptable() {
	for _, b := range annotate.ParseBoxes("[(.1,.1,.2,.2,.5),(.1,.1,.1,.2,.5),(.9,.1,1.1,.2,.5)]") {
		fmt.Println(b.Acceptable())
	}
	// Output:
	// <nil>
	// no area: width 0, height 0.1
	// coordinate 1.1 is outside 0 to 1
}
