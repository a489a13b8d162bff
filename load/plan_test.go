package load

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
)

var at = time.Date(2026, 8, 1, 10, 0, 0, 123456000, time.UTC)

// row is what a target has of a detection.
func row(id, alert int64, seconds int, own ...annotate.Box) annotation.Detection {
	return annotation.Detection{
		ID: id, AlertAPIID: alert, RecordedAt: annotation.Time{Time: at.Add(time.Duration(seconds) * time.Second)},
		AlgoPredictions: annotate.Predict(own), BucketKey: "object-" + time.Duration(id).String(),
	}
}

func wantedRow(alert int64, seconds int, own ...annotate.Box) wantedDetection {
	return wantedDetection{id: alert, recordedAt: at.Add(time.Duration(seconds) * time.Second), own: own}
}

func TestCompare(t *testing.T) {
	want := wanted{detections: []wantedDetection{wantedRow(1, 0, a), wantedRow(2, 30, a, b), wantedRow(3, 60)}}
	withOthers := row(11, 1, 0, a)
	others := annotate.Predict([]annotate.Box{b})
	withOthers.OthersBBoxes = &others
	for name, c := range map[string]struct {
		rows       []annotation.Detection
		missing    []int64
		present    int
		foreign    string // a part of it
		order      []int64
		duplicates []int64
	}{
		"nothing":  {missing: []int64{1, 2, 3}},
		"all":      {rows: []annotation.Detection{row(13, 3, 60), row(12, 2, 30, a, b), row(11, 1, 0, a)}, present: 3, order: []int64{11, 12, 13}},
		"half":     {rows: []annotation.Detection{row(12, 2, 30, a, b)}, missing: []int64{1, 3}, present: 1, order: []int64{12}},
		"reversed": {rows: []annotation.Detection{row(12, 2, 30, b, a)}, missing: []int64{1, 3}, present: 1, order: []int64{12}},
		"more than the bundle has": {
			rows: []annotation.Detection{row(14, 4, 15), row(11, 1, 0, a)}, missing: []int64{2, 3}, present: 1, order: []int64{11, 14},
		},
		"other time":   {rows: []annotation.Detection{row(11, 1, 7200, a)}, missing: []int64{2, 3}, present: 1, foreign: "with time 2026-08-01T12:00:00.123456Z", order: []int64{11}},
		"other boxes":  {rows: []annotation.Detection{row(11, 1, 0, b)}, missing: []int64{2, 3}, present: 1, foreign: "with other boxes", order: []int64{11}},
		"fewer boxes":  {rows: []annotation.Detection{row(12, 2, 30, a)}, missing: []int64{1, 3}, present: 1, foreign: "detection 2 is there with other boxes", order: []int64{12}},
		"other others": {rows: []annotation.Detection{withOthers}, missing: []int64{2, 3}, present: 1, foreign: "with other boxes beside its own", order: []int64{11}},
		"several differ": {
			rows: []annotation.Detection{row(11, 1, 0, b), row(12, 2, 31, a, b)}, missing: []int64{3}, present: 2,
			foreign: "(and 1 more)", order: []int64{11, 12},
		},
		"twice": {
			rows: []annotation.Detection{row(21, 1, 0, a), row(11, 1, 0, a)}, missing: []int64{2, 3}, present: 1,
			order: []int64{11}, duplicates: []int64{21},
		},
		"by time before the platform's id": {
			rows: []annotation.Detection{row(5, 8, 25), row(6, 9, 15)}, missing: []int64{1, 2, 3}, order: []int64{6, 5},
		},
		"equal times by the platform's id": {
			rows: []annotation.Detection{row(5, 9, 15), row(6, 8, 15)}, missing: []int64{1, 2, 3}, order: []int64{6, 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := compare(want, there{}, c.rows)
			var missing []int64
			for _, d := range got.missing {
				missing = append(missing, d.id)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("missing: -want +got\n%s", diff)
			}
			if got.present != c.present {
				t.Errorf("present = %d, want %d", got.present, c.present)
			}
			if (got.foreign == "") != (c.foreign == "") || !strings.Contains(got.foreign, c.foreign) {
				t.Errorf("foreign = %q, want a part %q", got.foreign, c.foreign)
			}
			if diff := cmp.Diff(c.order, rowIDs(got.detections)); diff != "" {
				t.Errorf("detections: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(c.duplicates, rowIDs(got.duplicates)); diff != "" {
				t.Errorf("duplicates: -want +got\n%s", diff)
			}
		})
	}
}

func rowIDs(rows []annotation.Detection) []int64 {
	var ids []int64
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return ids
}

// TestE33_ARowThatSharesItsImageIsNotRemoved: the API deletes the object with the row.
func TestE33_ARowThatSharesItsImageIsNotRemoved(t *testing.T) {
	kept := []annotation.Detection{row(11, 1, 0, a), row(12, 2, 30, a)}
	copyOf := func(id, alert int64, change func(*annotation.Detection)) annotation.Detection {
		d := row(id, alert, 0, a)
		if change != nil {
			change(&d)
		}
		return d
	}
	for name, c := range map[string]struct {
		duplicates []annotation.Detection
		want       []int64
	}{
		"a plain copy":            {[]annotation.Detection{copyOf(21, 1, nil)}, []int64{21}},
		"three rows":              {[]annotation.Detection{copyOf(21, 1, nil), copyOf(22, 1, nil)}, []int64{21, 22}},
		"the object of its first": {[]annotation.Detection{copyOf(21, 1, func(d *annotation.Detection) { d.BucketKey = kept[0].BucketKey })}, nil},
		"the object of another":   {[]annotation.Detection{copyOf(21, 1, func(d *annotation.Detection) { d.BucketKey = kept[1].BucketKey })}, nil},
		"another time": {[]annotation.Detection{copyOf(21, 1, func(d *annotation.Detection) {
			d.RecordedAt.Time = d.RecordedAt.Add(time.Second)
		})}, nil},
		"other boxes": {[]annotation.Detection{copyOf(21, 1, func(d *annotation.Detection) {
			d.AlgoPredictions = annotate.Predict([]annotate.Box{b})
		})}, nil},
		"other boxes beside its own": {[]annotation.Detection{copyOf(21, 1, func(d *annotation.Detection) {
			others := annotate.Predict([]annotate.Box{b})
			d.OthersBBoxes = &others
		})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rowIDs(removable(kept, c.duplicates))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestAgreesAndDrift(t *testing.T) {
	want, err := newSequence(record(4242), "pyronear_french", annotation.Newest)
	if err != nil {
		t.Fatal(err)
	}
	same := func() annotation.Sequence {
		return annotation.Sequence{
			AlertAPIID: want.AlertAPIID, CameraID: want.CameraID, CameraName: want.CameraName,
			OrganisationID: want.OrganisationID, OrganisationName: want.OrganisationName,
			Lat: want.Lat, Lon: want.Lon, Azimuth: want.Azimuth,
			RecordedAt: annotation.Time{Time: want.RecordedAt}, LastSeenAt: annotation.Time{Time: want.LastSeenAt},
		}
	}
	for name, c := range map[string]struct {
		change func(*annotation.Sequence)
		alien  string
		drift  string
	}{
		"the same":           {func(*annotation.Sequence) {}, "", ""},
		"another camera":     {func(s *annotation.Sequence) { s.CameraID = 8 }, "another sequence has this id on the target: camera 8, not 7; not touched", ""},
		"another name":       {func(s *annotation.Sequence) { s.CameraName = "ardeche" }, `camera name "ardeche", not "brison-01"`, ""},
		"another org":        {func(s *annotation.Sequence) { s.OrganisationID = 3 }, "organization 3, not 2", ""},
		"labelled since":     {func(s *annotation.Sequence) { s.IsWildfire = text("other") }, "", `is_wildfire is "other", now unknown`},
		"turned since":       {func(s *annotation.Sequence) { s.Azimuth = nil }, "", "azimuth is unknown, now 120"},
		"seen longer since":  {func(s *annotation.Sequence) { s.LastSeenAt.Time = want.RecordedAt }, "", `last_seen_at is "2026-08-01T10:00:00.123456Z", now "2026-08-01T10:05:00.123456Z"`},
		"renamed since":      {func(s *annotation.Sequence) { s.OrganisationName = "SDIS" }, "", `organisation_name is "SDIS", now "sdis-07"`},
		"moved and labelled": {func(s *annotation.Sequence) { s.Lat, s.IsWildfire = 1, text("other") }, "", `is_wildfire is "other", now unknown, lat is 1, now 44.67`},
	} {
		t.Run(name, func(t *testing.T) {
			have := same()
			c.change(&have)
			err := agrees(want, have, asItIs)
			if (err != nil) != (c.alien != "") || err != nil && (!strings.Contains(err.Error(), c.alien) || !errors.Is(err, errAlien)) {
				t.Errorf("agrees = %v, want %q", err, c.alien)
			}
			if c.alien != "" {
				return
			}
			if got := drift(want, have, asItIs); got != c.drift {
				t.Errorf("drift = %q, want %q", got, c.drift)
			}
		})
	}
}

func TestUnknownTemporalScoreNeverOverwritesAKnownOne(t *testing.T) {
	score := func(v float64) *float64 { return &v }
	for name, c := range map[string]struct {
		want, have, fresh annotation.Temporal
		stale             bool
	}{
		"unknown both":        {},
		"unknown here":        {have: annotation.Temporal{Score: score(.8)}, fresh: annotation.Temporal{Score: score(.8)}},
		"version alone here":  {want: annotation.Temporal{ModelVersion: text("2")}},
		"unknown there":       {want: annotation.Temporal{Score: score(.8), ModelVersion: text("1")}, fresh: annotation.Temporal{Score: score(.8), ModelVersion: text("1")}, stale: true},
		"the same":            {want: annotation.Temporal{Score: score(.8)}, have: annotation.Temporal{Score: score(.8)}, fresh: annotation.Temporal{Score: score(.8)}},
		"another":             {want: annotation.Temporal{Score: score(.9)}, have: annotation.Temporal{Score: score(.8)}, fresh: annotation.Temporal{Score: score(.9)}, stale: true},
		"version only there":  {want: annotation.Temporal{Score: score(.8)}, have: annotation.Temporal{Score: score(.8), APIVersion: text("1")}, fresh: annotation.Temporal{Score: score(.8), APIVersion: text("1")}},
		"another, version":    {want: annotation.Temporal{Score: score(.9)}, have: annotation.Temporal{Score: score(.8), APIVersion: text("1")}, fresh: annotation.Temporal{Score: score(.9), APIVersion: text("1")}, stale: true},
		"newer version, same": {want: annotation.Temporal{Score: score(.8), APIVersion: text("2")}, have: annotation.Temporal{Score: score(.8), APIVersion: text("1")}, fresh: annotation.Temporal{Score: score(.8), APIVersion: text("2")}, stale: true},
	} {
		t.Run(name, func(t *testing.T) {
			fresh, stale := staleTemporal(c.want, c.have)
			if stale != c.stale {
				t.Errorf("stale = %v, want %v", stale, c.stale)
			}
			if diff := cmp.Diff(c.fresh, fresh); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
