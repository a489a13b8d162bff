package annotation

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestRowsOfHollowObjectsAreRefused before they take memory: millions of them fit into an answer.
func TestRowsOfHollowObjectsAreRefused(t *testing.T) {
	const (
		annotated = `{"id":1,"sequence_id":7,"processing_stage":"imported",%s}`
		detected  = `{"id":1,"sequence_id":7,"alert_api_id":3,%s}`
	)
	for name, c := range map[string]struct {
		row, list, hollow string
		get               func(*Client) error
	}{
		"tracks":            {annotated, `"annotation":{"sequences_bbox":[%s]}`, `{}`, annotationOf},
		"no tracks":         {annotated, `"annotation":{"sequences_bbox":[%s]}`, `null`, annotationOf},
		"boxes":             {annotated, `"annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[%s]}]}`, `{}`, annotationOf},
		"contributors":      {annotated, `"contributors":[%s]`, `{}`, annotationOf},
		"of a list":         {`{"id":7,"annotation":` + annotated + `}`, `"annotation":{"sequences_bbox":[%s]}`, `{}`, firstSequence},
		"predictions":       {detected, `"algo_predictions":{"predictions":[%s]}`, `{}`, firstDetection},
		"other predictions": {detected, `"others_bboxes":{"predictions":[%s]}`, `null`, firstDetection},
	} {
		t.Run(name, func(t *testing.T) {
			count := 0
			client := serving(t, func(int, int) string {
				objects := strings.Repeat(c.hollow+",", count) + c.hollow
				return fmt.Sprintf(`{"items":[%s],"total":1,"pages":1}`, fmt.Sprintf(c.row, fmt.Sprintf(c.list, objects)))
			})
			if err := c.get(client); err != nil {
				t.Errorf("a single one: %v", err) // it means nothing, but costs nothing either
			}
			count = 2 << 20 / (len(c.hollow) + 1)
			before := allocated()
			err := c.get(client)
			took := allocated() - before
			if err == nil || !strings.Contains(err.Error(), "objects in") || len(err.Error()) > 300 {
				t.Errorf("error = %.300v", err)
			}
			// The answer is made here, too, and what is read of it is copied and grows by doubling: some ten times 2 MiB. What is decoded
			// of it takes a hundred and more.
			if took > 72<<20 {
				t.Errorf("%d MiB were allocated", took>>20)
			}
		})
	}
}

// TestRowsOfShortObjectsAreTaken: what the API gives at its shortest, in rows of any length, is not hollow.
func TestRowsOfShortObjectsAreTaken(t *testing.T) {
	many := func(object string) string { return strings.Repeat(object+",", 5_000) + object }
	client := serving(t, func(int, int) string {
		return fmt.Sprintf(`{"items":[{"id":1,"sequence_id":7,"updated_at":null,"group_propagation_warning":null,"contributors":[%s],"annotation":{"sequences_bbox":[%s,{"bboxes":[%s]}]}}],"total":1,"pages":1}`,
			many(`{"id":1,"username":"a"}`), many(`{"is_smoke":true,"smoke_type":null,"false_positive_types":[],"bboxes":[]}`),
			many(`{"detection_id":1,"xyxyn":[0.0,0.0,0.5,1.0]}`))
	})
	if err := annotationOf(client); err != nil {
		t.Error(err)
	}
	client = serving(t, func(int, int) string {
		predictions := fmt.Sprintf(`{"predictions":[%s]}`, many(`{"xyxyn":[0.0,0.0,0.5,1.0],"confidence":0.5,"class_name":""}`))
		return fmt.Sprintf(`{"items":[{"id":1,"sequence_id":7,"algo_predictions":%s,"others_bboxes":%[1]s,"auto_predictions":null}],"total":1,"pages":1}`, predictions)
	})
	if err := firstDetection(client); err != nil {
		t.Error(err)
	}
}

func annotationOf(c *Client) error {
	got, err := c.AnnotationOf(context.Background(), 7)
	if err == nil && got == nil {
		err = fmt.Errorf("no annotation")
	}
	return err
}

func firstSequence(c *Client) (last error) {
	for _, err := range c.Sequences(context.Background(), SequenceFilter{Annotations: true}) {
		last = err
	}
	return last
}

func firstDetection(c *Client) (last error) {
	for _, err := range c.Detections(context.Background(), 7) {
		last = err
	}
	return last
}

// allocated is how many bytes this process has ever allocated.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}
