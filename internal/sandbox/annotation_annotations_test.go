package sandbox

import (
	"fmt"
	"testing"
	"time"
)

func TestAnnotationLife(t *testing.T) {
	const empty = `{"sequence_id":1,"has_missed_smoke":false,"annotation":{"sequences_bbox":[]},"processing_stage":"ready_to_annotate"}`
	for _, generation := range []string{"newest", "seed"} {
		t.Run(generation, func(t *testing.T) {
			s := newSite(t, AnnotationOptions{Generation: generation, Now: oddClock()})
			newest := generation == "newest"
			s.sequence(nil)
			s.json("POST", "/annotations/sequences/", empty).want(t, 201, `"annotation":{"sequences_bbox":[]}`)
			s.json("POST", "/annotations/sequences/", empty).want(t, 409, "Resource already exists")
			s.detection(1, 9, jpegLike(64), nil)
			s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":false}`).
				want(t, 200, `"bboxes":[{"detection_id":1,"xyxyn":[0.1,0.2,0.3,0.4]}]`) // any change regenerates an empty one
			if got := !s.api.Annotations()[0].UpdatedAt.IsZero(); got != newest {
				t.Errorf("updated_at set: %t, want %t", got, newest)
			}
			s.json("PATCH", "/annotations/sequences/1", `{"updated_at":"2026-01-01T00:00:00Z"}`)
			january := s.api.Annotations()[0].UpdatedAt.Month() == time.January
			if january == newest {
				t.Errorf("updated_at of a client counts: %t, want %t", january, !newest)
			}
			s.json("PATCH", "/annotations/sequences/1", `{"updated_at":null}`)
			if got := s.api.Annotations()[0].UpdatedAt.IsZero(); got == newest {
				t.Errorf("null of a client clears updated_at: %t, want %t", got, !newest)
			}
			outOfYears := s.json("PATCH", "/annotations/sequences/1", `{"updated_at":"9999-12-31T23:59:59-01:00"}`)
			if got := outOfYears.status == 500; got == newest {
				t.Errorf("updated_at beyond year 9999 is answered %d", outOfYears.status)
			}
			for _, key := range []string{"confidence_threshold", "iou_threshold", "min_cluster_size"} {
				s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":true,"`+key+`":1}`).want(t, 500, "Traceback")
				s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":true,"`+key+`":null}`).want(t, 500, "Traceback")
			}
			if s.api.Annotations()[0].MissedSmoke {
				t.Error("a refused update was stored")
			}
			s.json("PATCH", "/annotations/sequences/1", `{"annotation":null}`).want(t, 500, "Traceback")
			s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":null}`).want(t, 409, "Resource already exists")
			s.json("PATCH", "/annotations/sequences/1", `{"annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[{"detection_id":8,"xyxyn":[0,0,1,1]},{"detection_id":7,"xyxyn":[0,0,1,1]}]}]}}`).
				want(t, 422, `{"detail":"Detection IDs [7, 8] do not exist in the database"}`)
			s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated","annotation":{"sequences_bbox":[{"is_smoke":false,"false_positive_types":["dust","sky","dust"],"bboxes":[]}]}}`).
				want(t, 200, `"has_smoke":false,"has_false_positives":true,"false_positive_types":["dust","sky"],"smoke_types":[]`)
			s.json("PATCH", "/annotations/sequences/1", `{"is_unsure":true}`).
				want(t, 200, `"contributors":[{"id":1,"username":"admin"}]`)
			s.get("/annotations/sequences/").want(t, 200, `"contributors":[{"id":1,"username":"admin"},{"id":1,"username":"admin"}]`)
			if got := s.api.Detections(1)[0].Stage; got != stageAnnotated {
				t.Errorf("detections of a false positive are at %q, want annotated", got)
			}
			s.get("/sequences/?detection_annotation_completion=complete").wantIDs(t, 1)
			s.delete("/annotations/sequences/1").want(t, 204, "")
			s.delete("/annotations/sequences/1").want(t, 404, "Sequence annotation not found.")
			s.json("POST", "/annotations/sequences/", empty).want(t, 201, `"id":3,`)
			s.delete("/sequences/1?force=true").want(t, 204, "")
			if n := len(s.api.Detections(0)) + len(s.api.Annotations()); n != 0 {
				t.Errorf("%d rows survive their sequence", n)
			}
		})
	}
}

func TestNewestGuardsOfAnnotated(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	s.detection(1, 9, jpegLike(64), nil)
	smoke := `{"sequence_id":1,"has_missed_smoke":false,"processing_stage":"%s","annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[]}]}}`
	s.json("POST", "/annotations/sequences/", fmt.Sprintf(smoke, "annotated")).
		want(t, 422, "Cannot mark annotated: 1 detection(s) of sequence 1 lack an annotated-stage detection annotation")
	s.json("POST", "/annotations/sequences/", fmt.Sprintf(smoke, "seq_annotation_done")).want(t, 201, `"id":1,`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 422, "Cannot mark annotated")
	if !s.api.EditDetection(1, func(row *DetectionRow) { row.Stage, row.Boxes = stageAnnotated, 1 }) {
		t.Fatal("no detection 1")
	}
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":4242}`).want(t, 201, `"note":null`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 409, "Alert is skipped — unskip it before submitting")
	s.delete("/sequences/alert/skip?source_api=pyronear_french&platform_alert_id=4242").want(t, 204, "")
	s.delete("/sequences/alert/skip?source_api=pyronear_french&platform_alert_id=4242").want(t, 404, "Alert is not skipped")
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 200, `"annotated"`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"seq_annotation_done"}`).want(t, 422, "Cannot demote")
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":4242,"note":"x"}`).
		want(t, 409, "Alert is fully annotated — nothing to skip")
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":1}`).want(t, 404, "Alert not found")
}

func TestWhatOthersLeave(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	s.json("POST", "/annotations/sequences/", `{"sequence_id":1,"has_missed_smoke":false,"processing_stage":"imported","annotation":{"sequences_bbox":[]}}`)
	edited := s.api.EditAnnotation(1, func(row *AnnotationRow) {
		row.Stage, row.Unsure, row.Contributors = stageAnnotated, true, []string{"marie"}
		row.Tracks = []Track{{IsSmoke: true, SmokeType: "industrial", FalsePositive: []string{"rain"}}}
	})
	if !edited || s.api.EditAnnotation(2, func(*AnnotationRow) {}) {
		t.Error("EditAnnotation must report whether the row exists")
	}
	s.get("/annotations/sequences/1").want(t, 200, `"smoke_types":["industrial"],"has_missed_smoke":false,"is_unsure":true`)
	s.get("/annotations/sequences/1").want(t, 200, `"contributors":[{"id":2,"username":"marie"}]`)
	s.api.EditSequence(1, func(row *SequenceRow) { row.CameraName, row.IsManual = "other", true })
	s.get("/sequences/1").want(t, 200, `"camera_name":"other"`)
	s.delete("/sequences/1").want(t, 204, "") // added by hand
}
