package annotate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
)

// readVectors decodes a file of reference inputs and outputs: from testdata/vectors, or from the folder that
// PYROBUNDLE_VECTORS names, where another set lies under the same names. A missing folder or file fails the test.
func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	folder := filepath.Join("..", "testdata", "vectors")
	if set := os.Getenv("PYROBUNDLE_VECTORS"); set != "" {
		folder = set
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
}

// clusterCase is one reference run of the annotation API's generation.
type clusterCase struct {
	Name  string `json:"name"`
	Boxes []struct {
		XYXYN      [4]float64 `json:"xyxyn"`
		Confidence float64    `json:"conf"`
		Detection  int64      `json:"detection_index"`
	} `json:"boxes"`
	Confidence     float64          `json:"confidence_threshold"`
	IoU            float64          `json:"iou_threshold"`
	MinClusterSize int              `json:"min_cluster_size"`
	Clusters       [][]int          `json:"expected"`
	Tracks         []annotate.Track `json:"expected_tracks_newest"`
}

func (c clusterCase) thresholds() annotate.Thresholds {
	return annotate.Thresholds{Confidence: c.Confidence, IoU: c.IoU, MinClusterSize: c.MinClusterSize}
}

func (c clusterCase) list() (boxes []annotate.Box, detections []int64) {
	for _, b := range c.Boxes {
		boxes = append(boxes, annotate.Box{
			X1: b.XYXYN[0], Y1: b.XYXYN[1], X2: b.XYXYN[2], Y2: b.XYXYN[3], Confidence: b.Confidence,
		})
		detections = append(detections, b.Detection)
	}
	return boxes, detections
}

// frames groups the list by detection and reports whether that loses nothing: boxes of a detection stand together and
// none occurs twice among the kept ones of its detection, where Generate differs on purpose.
func (c clusterCase) frames() (frames []annotate.Frame, same bool) {
	boxes, detections := c.list()
	type sighting struct {
		detection int64
		corners   [4]float64
	}
	seen := map[sighting]bool{}
	finished := map[int64]bool{}
	for i, b := range boxes {
		if len(frames) == 0 || frames[len(frames)-1].DetectionID != detections[i] {
			if finished[detections[i]] {
				return nil, false
			}
			finished[detections[i]] = true
			frames = append(frames, annotate.Frame{DetectionID: detections[i]})
		}
		key := sighting{detections[i], b.XYXYN()}
		if seen[key] {
			return nil, false
		}
		seen[key] = true
		last := &frames[len(frames)-1]
		last.Boxes = append(last.Boxes, b)
	}
	return frames, true
}

func TestClusterAgreesWithTheAnnotationAPI(t *testing.T) {
	var vectors struct {
		Cases []clusterCase `json:"cases"`
	}
	readVectors(t, "cluster_boxes_by_iou.json", &vectors)
	generated := 0
	for i, c := range vectors.Cases {
		boxes, detections := c.list()
		if diff := cmp.Diff(c.Clusters, annotate.Cluster(boxes, c.thresholds())); diff != "" {
			t.Errorf("case %d %s: clusters (-want +got):\n%s", i, c.Name, diff)
		}
		want := annotate.Document{Tracks: c.Tracks}
		got := annotate.TracksOf(boxes, detections, c.thresholds())
		if diff := cmp.Diff(want.Tracks, got.Tracks); diff != "" {
			t.Errorf("case %d %s: tracks (-want +got):\n%s", i, c.Name, diff)
		}
		if frames, same := c.frames(); same {
			generated++
			if diff := cmp.Diff(want, annotate.Generate(frames, c.thresholds())); diff != "" {
				t.Errorf("case %d %s: Generate (-want +got):\n%s", i, c.Name, diff)
			}
		}
	}
	if generated == 0 {
		t.Error("no case was good for Generate")
	}
}

func TestParseAgreesWithTheImporters(t *testing.T) {
	type expectation struct {
		Input       *string               `json:"input"`
		Predictions []annotate.Prediction `json:"predictions"`
		Sanitized   []annotate.Prediction `json:"sanitized"`
		Accepts     []bool                `json:"server_accepts"`
	}
	var vectors struct {
		Cases []expectation `json:"cases"`
	}
	readVectors(t, "bbox_parsing.json", &vectors)
	if len(vectors.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range vectors.Cases {
		if c.Input == nil { // a null column is no string; whoever reads the column skips it
			continue
		}
		boxes := annotate.ParseBoxes(*c.Input)
		if diff := cmp.Diff(c.Predictions, annotate.Predict(boxes).Predictions); diff != "" {
			t.Errorf("ParseBoxes(%q) (-want +got):\n%s", *c.Input, diff)
			continue
		}
		clean := annotate.Sanitize(boxes)
		if diff := cmp.Diff(c.Sanitized, annotate.Predict(clean).Predictions); diff != "" {
			t.Errorf("Sanitize(ParseBoxes(%q)) (-want +got):\n%s", *c.Input, diff)
			continue
		}
		for i, b := range clean {
			if err := b.Acceptable(); (err == nil) != c.Accepts[i] {
				t.Errorf("%q: box %d: Acceptable() = %v, the server accepts: %t", *c.Input, i, err, c.Accepts[i])
			}
		}
	}
}
