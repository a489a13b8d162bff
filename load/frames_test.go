package load

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// jpegOf is an image of its own for each name.
func jpegOf(name string) []byte { return []byte(jpeg + name) }

func hashOf(data []byte) store.Hash { return sha256.Sum256(data) }

const (
	boxA = "[(.1,.1,.2,.2,.5)]"
	boxB = "[(.5,.5,.6,.6,.4)]"
)

var (
	a = annotate.Box{X1: .1, Y1: .1, X2: .2, Y2: .2, Confidence: .5}
	b = annotate.Box{X1: .5, Y1: .5, X2: .6, Y2: .6, Confidence: .4}
)

func text(s string) *string { return &s }

// TestOneDetectionForEachFrame: pitfall E7, where further rows of a frame were lost to the others.
func TestOneDetectionForEachFrame(t *testing.T) {
	at := func(second int) store.Time {
		return store.Time{Time: time.Date(2026, 8, 1, 10, 0, second, 0, time.UTC)}
	}
	captured := at(-3)
	row := func(id int64, second int, own, others string) store.Detection {
		d := store.Detection{ID: id, BucketKey: "k", CreatedAt: at(second), BBox: &own, RecordedAt: &captured}
		if others != "" {
			d.OthersBBoxes = &others
		}
		return d
	}
	image := hashOf([]byte(jpeg))
	for name, c := range map[string]struct {
		rows    []store.Detection
		when    DetectionTime
		want    wantedDetection
		leftOut int
	}{
		"one row": {
			rows: []store.Detection{row(10, 0, boxA, boxB)},
			want: wantedDetection{id: 10, recordedAt: at(0).Time, own: []annotate.Box{a}, others: []annotate.Box{b}},
		},
		"capture time": {
			rows: []store.Detection{row(10, 0, boxA, "")}, when: DetectionTimeRecorded,
			want: wantedDetection{id: 10, recordedAt: captured.Time, own: []annotate.Box{a}},
		},
		"capture time unknown": {
			rows: []store.Detection{{ID: 10, BucketKey: "k", CreatedAt: at(0), BBox: text(boxA)}}, when: DetectionTimeRecorded,
			want: wantedDetection{id: 10, recordedAt: at(0).Time, own: []annotate.Box{a}},
		},
		"a second row's own box joins and is no other": {
			rows: []store.Detection{row(10, 0, boxA, boxB), row(11, 0, boxB, boxA)},
			want: wantedDetection{id: 10, recordedAt: at(0).Time, own: []annotate.Box{a, b}},
		},
		"first by time, then id": {
			rows: []store.Detection{row(12, 0, boxA, ""), row(11, 0, boxB, ""), row(3, 1, boxA, "")},
			want: wantedDetection{id: 11, recordedAt: at(0).Time, own: []annotate.Box{b, a}},
		},
		"continuity row": {
			rows: []store.Detection{row(10, 0, "[]", boxB)},
			want: wantedDetection{id: 10, recordedAt: at(0).Time, others: []annotate.Box{b}},
		},
		"equal boxes once": {
			rows: []store.Detection{row(10, 0, "[(.1,.1,.2,.2,.5),(.1,.1,.2,.2,.5)]", boxA)},
			want: wantedDetection{id: 10, recordedAt: at(0).Time, own: []annotate.Box{a}},
		},
		"refused boxes, placeholder": {
			rows:    []store.Detection{row(10, 0, "[(.1,.1,.2,.2,.5),(.3,.3,.3,.4,.5),(0,0,0,0,0)]", "[(.9,.1,.2,.2,.5),(.5,.5,.6,.6,.4)]")},
			want:    wantedDetection{id: 10, recordedAt: at(0).Time, own: []annotate.Box{a}, others: []annotate.Box{b}},
			leftOut: 2,
		},
		"unreadable": {
			rows: []store.Detection{row(10, 0, "nan", "")},
			want: wantedDetection{id: 10, recordedAt: at(0).Time},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := store.SequenceRecord{Detections: c.rows, Frames: []store.Frame{{Key: "k", Image: image}}}
			frames := framesOf(r, 0, store.Ascending)
			if len(frames) != 1 {
				t.Fatalf("%d frames, want 1", len(frames))
			}
			c.want.image = image
			got, leftOut := frames[0].detection(orDefault(c.when, DetectionTimeCreated))
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(wantedDetection{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if leftOut != c.leftOut {
				t.Errorf("boxes left out = %d, want %d", leftOut, c.leftOut)
			}
		})
	}
}

// TestE36_LimitCountsFramesWithBoxes: continuity frames among the kept ones stay and do not count.
func TestE36_LimitCountsFramesWithBoxes(t *testing.T) {
	r := record(5, "[]", boxA, "[]", boxA, boxA, "[]")
	for name, c := range map[string]struct {
		limit int
		order store.Order
		want  []int64
	}{
		"all":            {0, store.Ascending, []int64{5000, 5001, 5002, 5003, 5004, 5005}},
		"more than all":  {9, store.Ascending, []int64{5000, 5001, 5002, 5003, 5004, 5005}},
		"the first two":  {2, store.Ascending, []int64{5000, 5001, 5002, 5003}},
		"the last two":   {2, store.Descending, []int64{5003, 5004, 5005}},
		"the last three": {3, store.Descending, []int64{5001, 5002, 5003, 5004, 5005}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int64
			for _, f := range framesOf(r, c.limit, c.order) {
				got = append(got, f.rows[0].ID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestE21_EveryWantedBoxIsAccepted: whatever a box string holds, no frame is lost to it.
func TestE21_EveryWantedBoxIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.SampledFrom([]string{"0", "1", ".1", ".5", "1.5", "-0.2", "1e400", ".999", "0.0"})
		list := rapid.Custom(func(t *rapid.T) string {
			s := "["
			for range rapid.IntRange(0, 4).Draw(t, "boxes") {
				s += "(" + number.Draw(t, "x1") + "," + number.Draw(t, "y1") + "," + number.Draw(t, "x2") + "," +
					number.Draw(t, "y2") + "," + number.Draw(t, "confidence") + "),"
			}
			return s + "]"
		})
		r := store.SequenceRecord{}
		for i := range rapid.IntRange(1, 4).Draw(t, "rows") {
			r.Detections = append(r.Detections, store.Detection{
				ID: int64(i + 1), BucketKey: rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key"),
				BBox: text(list.Draw(t, "own")), OthersBBoxes: text(list.Draw(t, "others")),
			})
		}
		for _, f := range framesOf(r, 0, store.Ascending) {
			d, _ := f.detection(DetectionTimeCreated)
			all := slices.Concat(d.own, d.others)
			for i, box := range all {
				if err := box.Acceptable(); err != nil {
					t.Fatalf("%+v: %v", box, err)
				}
				for _, other := range all[:i] {
					if box.XYXYN() == other.XYXYN() {
						t.Fatalf("%+v twice", box)
					}
				}
			}
		}
	})
}

func TestWantLeavesFramesWithoutImageOut(t *testing.T) {
	r := record(5, boxA, boxA, boxA)
	r.Frames[0].Image, r.Frames[0].Problem, r.Frames[0].Permanent = store.Hash{}, "404 from the storage", true
	r.Frames[2].Image = store.Hash{}
	cfg, err := Config{SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{MinClusterSize: 1}}.checked()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want(r, cfg, annotation.Newest)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.detections) != 1 || w.detections[0].id != 5001 {
		t.Errorf("detections = %+v, want 5001 alone", w.detections)
	}
	if want := (lack{1, "404 from the storage"}); w.gone != want {
		t.Errorf("gone: %+v, want %+v", w.gone, want)
	}
	if want := (lack{1, "not downloaded yet; fetch again to get them"}); w.absent != want {
		t.Errorf("absent: %+v, want %+v", w.absent, want)
	}

	cfg.DryRun, cfg.AssumeImages = true, true
	if w, err = want(r, cfg, annotation.Newest); err != nil || len(w.detections) != 2 || w.gone.frames != 1 || w.absent.frames != 0 {
		t.Errorf("with images assumed: %d detections, %+v, %+v, error %v", len(w.detections), w.gone, w.absent, err)
	}
}
