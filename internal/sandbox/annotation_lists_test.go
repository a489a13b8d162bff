package sandbox

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestShuffledTies: rows of one time come in another order from request to request, so that pages repeat some and miss
// others, as a list without a tie-breaker may; rows of different times keep theirs, and equal runs are equal.
func TestShuffledTies(t *testing.T) {
	const count = 12
	noon := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	run := func() (log [][]int64) {
		s := newSite(t, AnnotationOptions{ShuffleTies: true, Now: func() time.Time { return noon }})
		for i := range count {
			s.sequence(map[string]string{"alert_api_id": fmt.Sprint(i), "recorded_at": fmt.Sprintf("2026-08-%02d", 1+i/6)})
			s.detection(1, int64(i), jpegLike(64), nil)
			s.json("POST", "/annotations/sequences/", fmt.Sprintf(`{"sequence_id":%d,"has_missed_smoke":false,`+
				`"processing_stage":"imported","annotation":{"sequences_bbox":[]}}`, i+1))
		}
		for _, list := range []string{"/sequences/", "/detections/?sequence_id=1", "/annotations/sequences/"} {
			first, second := s.get(list).ids(t), s.get(list).ids(t)
			if slices.Equal(first, second) {
				t.Errorf("%s: twice in the same order, %v", list, first)
			}
			log = append(log, first, second)
		}
		byDay := s.get("/sequences/?order_by=recorded_at&order_direction=asc").ids(t)
		if slices.Max(byDay[:6]) != 6 || slices.Min(byDay[6:]) != 7 {
			t.Errorf("rows of different days are mixed: %v", byDay)
		}
		for _, ids := range append(log, byDay) {
			if sorted := slices.Sorted(slices.Values(ids)); len(slices.Compact(sorted)) != count {
				t.Errorf("one answer with %v, want each id once", ids)
			}
		}
		pages := append(s.get("/detections/?size=6").ids(t), s.get("/detections/?size=6&page=2").ids(t)...)
		slices.Sort(pages)
		if len(slices.Compact(slices.Clone(pages))) == count {
			t.Errorf("two pages hold every row once: %v", pages)
		}
		return append(log, byDay, pages)
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Errorf("two equal runs differ:\n%s", diff)
	}
}
