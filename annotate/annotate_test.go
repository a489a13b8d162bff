package annotate_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
)

func box(x1, y1, x2, y2 float64) annotate.Box {
	return annotate.Box{X1: x1, Y1: y1, X2: x2, Y2: y2, Confidence: 0.5}
}

func TestIoU(t *testing.T) {
	huge := math.MaxFloat64
	cases := []struct {
		name string
		a, b annotate.Box
		want float64
	}{
		{"equal", box(.25, .25, .5, .5), box(.25, .25, .5, .5), 1},
		{"half", box(0, 0, .5, .5), box(0, 0, .5, .25), .5},
		{"touching edge", box(.1, .1, .3, .3), box(.3, .1, .5, .3), 0},
		{"touching corner", box(.1, .1, .3, .3), box(.3, .3, .5, .5), 0},
		{"apart", box(.1, .1, .2, .2), box(.8, .8, .9, .9), 0},
		{"two points", box(.5, .5, .5, .5), box(.5, .5, .5, .5), 0},
		{"overflow of the areas", box(-huge, -huge, huge, huge), box(-huge, -huge, huge, huge), 0},
		{"not a number", box(math.NaN(), 0, 1, 1), box(0, 0, 1, 1), 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := annotate.IoU(c.a, c.b); got != c.want {
				t.Errorf("IoU(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
			}
			if ab, ba := annotate.IoU(c.a, c.b), annotate.IoU(c.b, c.a); ab != ba {
				t.Errorf("not symmetric: %v, %v", ab, ba)
			}
		})
	}
}

// The worked examples of contract C.9, by their numbers.
func TestC9_WorkedExamples(t *testing.T) {
	confident := func(b annotate.Box, c float64) annotate.Box { b.Confidence = c; return b }
	same := box(.1, .1, .3, .3)
	cases := []struct {
		name  string
		boxes []annotate.Box
		t     annotate.Thresholds
		want  [][]int
	}{
		{"1 touching", []annotate.Box{same, box(.3, .1, .5, .3)}, annotate.Thresholds{}, [][]int{{0}, {1}}},
		{"2 barely overlapping", []annotate.Box{box(.1, .1, .301, .3), box(.3, .1, .5, .3)}, annotate.Thresholds{}, [][]int{{0, 1}}},
		{"3 nothing is above 1", []annotate.Box{same, same, same}, annotate.Thresholds{IoU: 1}, [][]int{{0}, {1}, {2}}},
		{"4 single pass", []annotate.Box{same, box(.4, .1, .6, .3), box(.25, .1, .45, .3)}, annotate.Thresholds{}, [][]int{{0, 2}, {1}}},
		{"5 order matters", []annotate.Box{box(.25, .1, .45, .3), same, box(.4, .1, .6, .3)}, annotate.Thresholds{}, [][]int{{0, 1, 2}}},
		{"6 exactly the threshold", []annotate.Box{box(0, 0, .5, .5), box(0, 0, .5, .25)}, annotate.Thresholds{IoU: .5}, [][]int{{0}, {1}}},
		{"6 just above", []annotate.Box{box(0, 0, .5, .5), box(0, 0, .5, .251)}, annotate.Thresholds{IoU: .5}, [][]int{{0, 1}}},
		{"7 confidence", []annotate.Box{confident(same, .5), confident(same, .499), confident(same, .5)}, annotate.Thresholds{Confidence: .5}, [][]int{{0, 2}}},
		{"8 minimum size", []annotate.Box{box(0, 0, .5, .5), box(.2, .2, .2, .4), box(.1, .1, .4, .4)}, annotate.Thresholds{MinClusterSize: 3}, [][]int{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.t.MinClusterSize = max(c.t.MinClusterSize, 1)
			if diff := cmp.Diff(c.want, annotate.Cluster(c.boxes, c.t)); diff != "" {
				t.Errorf("clusters (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("9 placeholder box", func(t *testing.T) {
		got := annotate.Generate([]annotate.Frame{
			{DetectionID: 70, Boxes: []annotate.Box{box(0, 0, 0, 0), box(0, 0, .5, .5)}},
			{DetectionID: 71, Boxes: []annotate.Box{box(0, 0, .4, .4)}},
		}, annotate.Thresholds{MinClusterSize: 1})
		want := smoke(annotate.TrackBox{DetectionID: 70, XYXYN: [4]float64{0, 0, .5, .5}}, annotate.TrackBox{DetectionID: 71, XYXYN: [4]float64{0, 0, .4, .4}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
	})
	t.Run("10 one box per detection", func(t *testing.T) {
		got := annotate.Generate([]annotate.Frame{
			{DetectionID: 1, Boxes: []annotate.Box{same}},
			{DetectionID: 2, Boxes: []annotate.Box{box(.15, .15, .35, .35), box(.2, .2, .4, .4)}},
			{DetectionID: 4, Boxes: []annotate.Box{box(.16, .16, .36, .36)}},
		}, annotate.Thresholds{MinClusterSize: 1})
		want := smoke(
			annotate.TrackBox{DetectionID: 1, XYXYN: [4]float64{.1, .1, .3, .3}},
			annotate.TrackBox{DetectionID: 2, XYXYN: [4]float64{.15, .15, .4, .4}},
			annotate.TrackBox{DetectionID: 4, XYXYN: [4]float64{.16, .16, .36, .36}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
	})
}

// smoke is a generated document of one track.
func smoke(boxes ...annotate.TrackBox) annotate.Document {
	return annotate.Document{Tracks: []annotate.Track{{IsSmoke: true, FalsePositiveTypes: []string{}, Boxes: boxes}}}
}

func TestGenerateCountsEqualBoxesOfAFrameOnce(t *testing.T) {
	b := box(.1, .1, .3, .3)
	faint := b
	faint.Confidence = .2
	pair := annotate.Thresholds{MinClusterSize: 2}
	cases := []struct {
		name   string
		frames []annotate.Frame
		t      annotate.Thresholds
		tracks int
	}{
		{"twice in one frame is one box", []annotate.Frame{{DetectionID: 1, Boxes: []annotate.Box{b, b}}}, pair, 0},
		{"whatever the confidence", []annotate.Frame{{DetectionID: 1, Boxes: []annotate.Box{b, faint}}}, pair, 0},
		{"once in each of two frames is two", []annotate.Frame{{DetectionID: 1, Boxes: []annotate.Box{b}}, {DetectionID: 2, Boxes: []annotate.Box{b}}}, pair, 1},
		{
			"the copy that passes the filter stays",
			[]annotate.Frame{{DetectionID: 1, Boxes: []annotate.Box{faint, b}}},
			annotate.Thresholds{Confidence: .5, MinClusterSize: 1},
			1,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := annotate.Generate(c.frames, c.t); len(got.Tracks) != c.tracks {
				t.Errorf("got %d tracks, want %d: %+v", len(got.Tracks), c.tracks, got)
			}
		})
	}
}

func TestGenerateOfNothingIsAnEmptyList(t *testing.T) {
	for _, frames := range [][]annotate.Frame{nil, {{DetectionID: 1}}, {{DetectionID: 1, Boxes: []annotate.Box{box(.5, .5, .5, .9)}}}} {
		data, err := json.Marshal(annotate.Generate(frames, annotate.Thresholds{MinClusterSize: 1}))
		if err != nil || string(data) != `{"sequences_bbox":[]}` {
			t.Errorf("Generate(%v) = %s, %v", frames, data, err)
		}
	}
}

func TestWireFormsNeverHoldNullLists(t *testing.T) {
	cases := map[string]any{
		`{"sequences_bbox":[]}`: annotate.Document{},
		`{"sequences_bbox":[{"is_smoke":false,"smoke_type":null,"false_positive_types":[],"bboxes":[]}]}`: annotate.Document{Tracks: []annotate.Track{{}}},
		`{"predictions":[]}`: annotate.Predictions{},
		`{"predictions":[{"xyxyn":[0,0.25,1,0.5],"confidence":0.5,"class_name":"smoke"}]}`: annotate.Predict([]annotate.Box{box(0, .25, 1, .5)}),
	}
	for want, value := range cases {
		got, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestParseBoxes(t *testing.T) {
	one := []annotate.Box{{X1: .1, Y1: .2, X2: .3, Y2: .4, Confidence: .5}}
	cases := []struct {
		name, input string
		want        []annotate.Box
	}{
		{"upload grammar", "[(.1,0.2,0.300,.4,.5)]", one},
		{"continuity row", "[]", nil},
		{"exponents", "[(1e-1,2E-1,+3.e-1,40e-2,.05E+1)]", one},
		{"blanks everywhere", " [ ( .1 , .2 ,\t.3 , .4 , .5 ) ] \r\n", one},
		{"round outside, square inside", "([.1,.2,.3,.4,.5],)", one},
		{"round grouping", "((.1,.2,.3,.4,.5))", one},
		{"grouped number", "[((.1),.2,.3,.4,.5)]", one},
		{"no list around it", ".1,.2,.3,.4,.5", one},
		{"more than five items", "[(.1,.2,.3,.4,.5,7)]", one},
		{"minus", "[(-.1,- .2,.3,.4,.5)]", []annotate.Box{{X1: -.1, Y1: -.2, X2: .3, Y2: .4, Confidence: .5}}},
		{"six bare numbers", "(.1,.2,.3,.4,.5,.6)", nil},
		{"list where a number belongs", "[([],.2,.3,.4,.5),(.1,.2,.3,.4,.5)]", nil},
		{"confidence is a list", "[(.1,.2,.3,.4,[.5])]", nil},
		{"too deep", strings.Repeat("[", 20) + strings.Repeat("]", 20), nil},
		{"very deep and unclosed", strings.Repeat("(", 10_000), nil},
		{"too long", "[" + strings.Repeat("(.1,.2,.3,.4,.5),", 1000) + "]", nil},
		{"beyond float64", "[(1e999,.2,.3,.4,.5)]", nil},
		{"underflow is zero", "[(1e-999,.2,.3,.4,.5)]", []annotate.Box{{X1: 0, Y1: .2, X2: .3, Y2: .4, Confidence: .5}}},
		{"two signs", "[(--.1,.2,.3,.4,.5)]", nil},
		{"lone point", "[(.,.2,.3,.4,.5)]", nil},
		{"lone exponent", "[(1e,.2,.3,.4,.5)]", nil},
		{"hexadecimal", "[(0x1,.2,.3,.4,.5)]", nil},
		{"underscore", "[(1_0,.2,.3,.4,.5)]", nil},
		{"octal look", "[(01,.2,.3,.4,.5)]", nil},
		{"double comma", "[(.1,,.2,.3,.4,.5)]", nil},
		{"leading comma", "[,(.1,.2,.3,.4,.5)]", nil},
		{"wrong pair", "[(.1,.2,.3,.4,.5])", nil},
		{"something behind", "[(.1,.2,.3,.4,.5)] x", nil},
		{"no break space", "[(.1,\u00a0.2,.3,.4,.5)]", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, annotate.ParseBoxes(c.input)); diff != "" {
				t.Errorf("ParseBoxes(%.60q) (-want +got):\n%s", c.input, diff)
			}
		})
	}
}

func TestAcceptable(t *testing.T) {
	cases := []struct {
		name string
		box  annotate.Box
		want string // "" for accepted
	}{
		{"whole image", annotate.Box{X2: 1, Y2: 1, Confidence: 1}, ""},
		{"no confidence", annotate.Box{X2: .5, Y2: .5}, ""},
		{"left of the image", box(-.1, 0, .5, .5), "coordinate -0.1 is outside 0 to 1"},
		{"below the image", box(0, 0, .5, 1.5), "coordinate 1.5 is outside 0 to 1"},
		{"not a number", box(0, math.NaN(), .5, .5), "coordinate NaN is outside 0 to 1"},
		{"left and right swapped", box(.5, 0, .1, .5), "left edge 0.5 lies right of the right edge 0.1"},
		{"top and bottom swapped", box(0, .5, .1, .1), "top edge 0.5 lies below the bottom edge 0.1"},
		{"line", box(.1, .1, .1, .5), "no area: width 0, height 0.4"},
		{"placeholder", box(0, 0, 0, 0), "no area: width 0, height 0"},
		{"confidence above 1", annotate.Box{X2: 1, Y2: 1, Confidence: 5}, "confidence 5 is outside 0 to 1"},
		{"confidence not a number", annotate.Box{X2: 1, Y2: 1, Confidence: math.NaN()}, "confidence NaN is outside 0 to 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.box.Acceptable(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestThresholdsValidate(t *testing.T) {
	good := annotate.Thresholds{Confidence: .25, IoU: .3, MinClusterSize: 1}
	cases := []struct {
		name   string
		change func(*annotate.Thresholds)
		want   string
	}{
		{"good", func(*annotate.Thresholds) {}, ""},
		{"ends of the ranges", func(t *annotate.Thresholds) { t.Confidence, t.IoU = 0, 1 }, ""},
		{"confidence above", func(t *annotate.Thresholds) { t.Confidence = 1.2 }, "confidence threshold 1.2 is outside 0 to 1"},
		{"confidence not a number", func(t *annotate.Thresholds) { t.Confidence = math.NaN() }, "confidence threshold NaN is outside 0 to 1"},
		{"iou below", func(t *annotate.Thresholds) { t.IoU = -.1 }, "iou threshold -0.1 is outside 0 to 1"},
		{"iou infinite", func(t *annotate.Thresholds) { t.IoU = math.Inf(1) }, "iou threshold +Inf is outside 0 to 1"},
		{"no size", func(t *annotate.Thresholds) { t.MinClusterSize = 0 }, "min cluster size 0 is below 1"},
		{"the first of several", func(t *annotate.Thresholds) { t.Confidence, t.MinClusterSize = 2, -1 }, "confidence threshold 2 is outside 0 to 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			thresholds := good
			c.change(&thresholds)
			got := ""
			if err := thresholds.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestDocumentSurvivesJSON(t *testing.T) {
	document := annotate.Generate([]annotate.Frame{
		{DetectionID: 1, Boxes: []annotate.Box{box(.1, .1, .3, .3), box(.6, .6, .9, .9)}},
		{DetectionID: 2, Boxes: []annotate.Box{box(.1, .1, math.Nextafter(.3, 1), .3)}},
	}, annotate.Thresholds{MinClusterSize: 1})
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var back annotate.Document
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSanitizeLeavesItsArgument(t *testing.T) {
	boxes := []annotate.Box{box(0, 0, 0, 0), box(.1, .1, .2, .2), {Confidence: .9}}
	before := append([]annotate.Box(nil), boxes...)
	if diff := cmp.Diff([]annotate.Box{box(.1, .1, .2, .2)}, annotate.Sanitize(boxes)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, boxes); diff != "" {
		t.Errorf("argument changed (-before +after):\n%s", diff)
	}
}

func TestPredictionsRoundTrip(t *testing.T) {
	boxes := []annotate.Box{box(.1, .2, .3, .4), {X2: 1, Y2: 1, Confidence: .875}}
	data, err := json.Marshal(annotate.Predict(boxes))
	if err != nil {
		t.Fatal(err)
	}
	var back annotate.Predictions
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(boxes, back.Boxes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
