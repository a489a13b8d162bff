package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestJoinedCoverageClaimsNoMoreThanIsHeld: what an older listing covered counts only where nothing was added since.
func TestJoinedCoverageClaimsNoMoreThanIsHeld(t *testing.T) {
	covered := func(limit int, order Order, exhausted bool) Coverage {
		return Coverage{Limit: limit, Order: order, Complete: true, Exhausted: exhausted}
	}
	all, first, last := covered(0, Ascending, true), covered(25, Ascending, false), covered(5, Descending, false)
	failed := Coverage{Limit: 0, Order: Ascending, Exhausted: true}
	for name, test := range map[string]struct {
		stored, fetched Coverage
		grown           bool
		want            Coverage
	}{
		"less of the same":                {first, covered(10, Ascending, false), false, first},
		"more of the same":                {first, covered(40, Ascending, false), false, covered(40, Ascending, false)},
		"less of what grew":               {first, covered(10, Ascending, false), true, covered(10, Ascending, false)},
		"all, then the first":             {all, first, false, all},
		"all, then the last":              {all, last, false, all},
		"all, then the first of more":     {all, first, true, first},
		"all, then the last of more":      {all, last, true, last},
		"a few were all, then fewer":      {covered(60, Ascending, true), last, false, covered(60, Ascending, true)},
		"a few were all, then there came": {covered(60, Ascending, true), covered(10, Ascending, false), true, covered(10, Ascending, false)},
		"the first, then the last":        {first, last, false, last}, // neither covers the other
		"the last, then the first":        {last, first, false, first},
		"not complete, then less":         {failed, last, false, last},
	} {
		t.Run(name, func(t *testing.T) {
			stored := newSample(1, 2, 50).sequences[0]
			fetched := stored
			stored.Coverage, fetched.Coverage = test.stored, test.fetched
			if test.grown {
				fetched.Sequence.LastSeenAt.Time = fetched.Sequence.LastSeenAt.Add(time.Minute)
			}
			if diff := cmp.Diff(test.want, join(stored, fetched).Coverage); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestMergedWideAndGrownRecordIsNotExhausted: two bundles hold one sequence, the older all of it as it was, the newer the
// beginning of what it has become. Whoever reads the merged one must not take it for all.
func TestMergedWideAndGrownRecordIsNotExhausted(t *testing.T) {
	older, newer := newSample(1, 4, 50), newSample(1, 2, 50)
	older.sequences[0].Coverage = Coverage{FetchedAt: older.sequences[0].Coverage.FetchedAt, Order: Ascending, Complete: true, Exhausted: true}
	s := &newer.sequences[0]
	s.Coverage = Coverage{FetchedAt: s.Coverage.FetchedAt.Add(time.Hour), Limit: 2, Order: Ascending, Complete: true}
	s.Sequence.Document = bytes.Replace(s.Sequence.Document, []byte(`"last_seen_at":"2026`), []byte(`"last_seen_at":"2027`), 1)
	want := s.Coverage
	into, from := older.build(t, WriteOptions{}), newer.build(t, WriteOptions{})
	if _, err := Merge(t.Context(), into, []string{from}, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	b := openForTest(t, into)
	merged, err := b.Sequence(t.Context(), s.Sequence.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, merged.Coverage); diff != "" || len(merged.Detections) != 4 {
		t.Errorf("%d detections; coverage want -, got +:\n%s", len(merged.Detections), diff)
	}
}
