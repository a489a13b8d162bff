package sandbox

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerateMatchesGoldenVectors holds the API's own generator against results of the real one in both eras.
func TestGenerateMatchesGoldenVectors(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/vectors/cluster_boxes_by_iou.json")
	if err != nil {
		t.Fatal(err)
	}
	type track struct {
		IsSmoke bool `json:"is_smoke"`
		Boxes   []struct {
			Detection int64      `json:"detection_id"`
			Box       [4]float64 `json:"xyxyn"`
		} `json:"bboxes"`
	}
	var vectors struct {
		Cases []struct {
			Name  string
			Boxes []struct {
				Box        []float64 `json:"xyxyn"`
				Confidence float64   `json:"conf"`
				Detection  int64     `json:"detection_index"`
			}
			Confidence float64 `json:"confidence_threshold"`
			Threshold  float64 `json:"iou_threshold"`
			MinCluster int64   `json:"min_cluster_size"`
			Seed       []track `json:"expected_tracks_seed"`
			Newest     []track `json:"expected_tracks_newest"`
		}
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Cases) < 200 {
		t.Fatalf("only %d cases", len(vectors.Cases))
	}
	for _, c := range vectors.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var boxes []TrackBox
			for _, b := range c.Boxes {
				if len(b.Box) == 4 && (c.Confidence == 0 || b.Confidence >= c.Confidence) {
					boxes = append(boxes, TrackBox{b.Detection, [4]float64(b.Box)})
				}
			}
			for generation, expected := range map[string][]track{"seed": c.Seed, "newest": c.Newest} {
				want := []Track{}
				for _, e := range expected {
					w := Track{IsSmoke: e.IsSmoke}
					for _, b := range e.Boxes {
						w.Boxes = append(w.Boxes, TrackBox{b.Detection, b.Box})
					}
					want = append(want, w)
				}
				got := tracksOf(boxes, c.Threshold, c.MinCluster, generation == "newest")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", generation, diff)
				}
			}
		})
	}
}

// TestThresholdIsInclusive is example 7 of contract C.9: a box of exactly the threshold stays.
func TestThresholdIsInclusive(t *testing.T) {
	for _, generation := range []string{"newest", "seed"} {
		s := newSite(t, AnnotationOptions{Generation: generation})
		s.sequence(nil)
		for i, confidence := range []string{"0.5", "0.499", "0.5"} {
			s.detection(1, int64(i), jpegLike(64), map[string]string{
				"algo_predictions": strings.Replace(goodBox, "0.5", confidence, 1),
			})
		}
		s.json("POST", "/annotations/sequences/", `{"sequence_id":1,"has_missed_smoke":false,"confidence_threshold":0.5,`+
			`"processing_stage":"ready_to_annotate","annotation":{"sequences_bbox":[]}}`).want(t, 201,
			`"bboxes":[{"detection_id":1,"xyxyn":[0.1,0.2,0.3,0.4]},{"detection_id":3,"xyxyn":[0.1,0.2,0.3,0.4]}]}]}`)
	}
}
