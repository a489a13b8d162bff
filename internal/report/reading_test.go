package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// TestReadAgreesWithLoad holds what a report shows against what load's dry run would write, for every hand-made sequence
// and some that a stranger might have made.
func TestReadAgreesWithLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, sandbox.WorldOptions{ImageBytes: 800}); err != nil {
		t.Fatal(err)
	}
	addOddSequences(t, path)
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()
	server := httptest.NewServer(sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{}))
	defer server.Close()
	target, err := annotation.Dial(t.Context(), annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: "admin12345", Transport: httpapi.NewTransport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, thresholds := range []annotate.Thresholds{
		{IoU: 0.3, MinClusterSize: 1},
		{Confidence: 0.4, IoU: 0.5, MinClusterSize: 2},
		{Confidence: 0.6, IoU: 0, MinClusterSize: 3},
	} {
		t.Run(fmt.Sprint(thresholds), func(t *testing.T) {
			result, err := load.Run(t.Context(), bundle, target, load.Config{
				SourceAPI: "pyronear_french", Thresholds: thresholds, DryRun: true, StateDir: t.TempDir(), UndoDir: t.TempDir(),
			})
			if err != nil {
				t.Fatal(err)
			}
			planned := map[int64][]annotate.Track{}
			for _, p := range result.Plan {
				if p.Document != nil {
					planned[p.SequenceID] = p.Document.Tracks
				}
			}
			annotated := 0
			for record, err := range bundle.Sequences(t.Context(), store.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				r := read(record, thresholds)
				want := planned[record.Sequence.ID]
				if (r.refusal == "") != (want != nil) {
					t.Errorf("sequence %d: refusal %q, load would write %d tracks", record.Sequence.ID, r.refusal, len(want))
					continue
				}
				if want == nil {
					continue
				}
				annotated++
				for _, track := range want {
					for i := range track.Boxes { // the dry run's stand-in for an id that the target will give
						track.Boxes[i].DetectionID = -track.Boxes[i].DetectionID
					}
				}
				if diff := cmp.Diff(want, r.tracks); diff != "" {
					t.Errorf("sequence %d, load's tracks and ours (-load +report):\n%s", record.Sequence.ID, diff)
				}
				checkClusters(t, record.Sequence.ID, r)
			}
			if annotated < 5 {
				t.Errorf("only %d sequences were compared", annotated)
			}
		})
	}
}

// checkClusters sees that every box that was given a cluster lies in that track, on its frame.
func checkClusters(t *testing.T, id int64, r reading) {
	t.Helper()
	for _, f := range r.frames {
		for i, of := range f.cluster {
			if of < 0 {
				continue
			}
			inside := false
			for _, box := range r.tracks[of].Boxes {
				b := f.own[i]
				inside = inside || box.DetectionID == f.id && box.XYXYN[0] <= b.X1 && box.XYXYN[1] <= b.Y1 && box.XYXYN[2] >= b.X2 && box.XYXYN[3] >= b.Y2
			}
			if !inside {
				t.Errorf("sequence %d, frame %s: box %d is not in cluster %d", id, f.Key, i, of)
			}
		}
	}
}

// addOddSequences adds sequences that load treats in a way of its own.
func addOddSequences(t *testing.T, path string) {
	t.Helper()
	w, err := store.OpenWriter(t.Context(), path, store.WriteOptions{Source: store.Source{URL: sandbox.PlatformURL, API: sandbox.PlatformAPI}})
	if err != nil {
		t.Fatal(err)
	}
	template, err := w.Sequence(t.Context(), sandbox.SequenceTwoObjects)
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ bbox, others string }
	put := func(id int64, change func(*store.SequenceRecord), rows ...row) {
		r := template
		r.Detections, r.Frames = nil, nil
		if r.Sequence, err = store.ParseSequence(json.RawMessage(fmt.Sprintf(`{"id":%d,"camera_id":1,"camera_azimuth":10,"started_at":"2026-08-02T10:00:00","last_seen_at":"2026-08-02T10:10:00"}`, id))); err != nil {
			t.Fatal(err)
		}
		for i, b := range rows {
			f := template.Frames[i/2] // two rows to a frame
			others := "null"
			if b.others != "" {
				others = `"` + b.others + `"`
			}
			d, err := store.ParseDetection(json.RawMessage(fmt.Sprintf(
				`{"id":%d,"camera_id":1,"sequence_id":%d,"bucket_key":"%s","bbox":"%s","others_bboxes":%s,"created_at":"2026-08-02T10:00:%02d"}`,
				id*100+int64(len(rows)-i), id, f.Key, b.bbox, others, i/2)))
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				r.Frames = append(r.Frames, f)
			}
			r.Detections = append(r.Detections, d)
		}
		if change != nil {
			change(&r)
		}
		if err := w.PutSequence(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	a, b := "[(0.1,0.1,0.3,0.3,0.7)]", "[(0.12,0.1,0.32,0.3,0.5)]"
	put(201, nil, row{a, b}, row{b, a}, row{a, ""}, row{a, ""})
	put(202, nil, row{"[(0,0,0,0,0.9)]", ""}, row{"[(0.5,0.5,0.5,0.9,0.9)]", ""}, row{"nonsense", ""}, row{"[(0.1,0.1,0.3,0.3,7)]", ""}, row{a, ""})
	put(203, func(r *store.SequenceRecord) {
		r.Frames[0].Image, r.Frames[0].Problem, r.Frames[0].Permanent = store.Hash{}, "gone", true
	}, row{a, ""}, row{a, ""}, row{b, ""}, row{b, ""})
	put(204, func(r *store.SequenceRecord) { r.Camera, r.Organization = nil, nil }, row{a, ""})
	put(205, func(r *store.SequenceRecord) { r.Organization = nil }, row{a, ""})
	put(206, func(r *store.SequenceRecord) {
		for i := range r.Frames {
			r.Frames[i].Image, r.Frames[i].Problem = store.Hash{}, "refused"
		}
	}, row{a, ""}, row{a, ""})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCardKeepsItsRation draws the card of a long sequence of the worst pictures and of texts, boxes and clusters without
// end: 500 of them must fit into 50 MB.
func TestNobodyIsToldToFetchASequenceThatIsGone(t *testing.T) {
	record := store.SequenceRecord{
		Sequence:   store.Sequence{ID: 1},
		Detections: []store.Detection{{ID: 1, BucketKey: "a"}},
		Frames:     []store.Frame{{Key: "a", Problem: "503 after 6 attempts"}},
	}
	for gone, want := range map[bool]bool{false: true, true: false} {
		record.Coverage.Gone = gone
		var a artist
		var texts []string
		for _, n := range a.notes(record, reading{frames: framesOf(record)}) {
			texts = append(texts, n.Text)
		}
		if got := strings.Contains(strings.Join(texts, "\n"), "fetch again"); got != want {
			t.Errorf("gone %v: %q, want to fetch again: %v", gone, texts, want)
		}
	}
}

func TestCardKeepsItsRation(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 480, 270))
	dice := rand.New(rand.NewPCG(3, 4))
	for y := range 270 {
		for x := range 480 {
			picture.Set(x, y, color.RGBA{uint8(dice.Uint32()), uint8(dice.Uint32()), uint8(dice.Uint32()), 255})
		}
	}
	data, err := encode(picture, fineQuality)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("<ü>", 5000)
	r := store.SequenceRecord{
		Sequence:     store.Sequence{ID: 1, CameraID: 1, IsWildfire: &long, TemporalModelScore: new(float64), TemporalModelVersion: &long},
		Camera:       &store.Camera{ID: 1, Name: long, Lat: new(float64), Lon: new(float64)},
		Organization: &store.Organization{ID: 1, Name: long},
		Coverage:     store.Coverage{Limit: 3, Live: true, Gone: true},
	}
	start := time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)
	for i := range 200 {
		var boxes strings.Builder
		for j := range 40 {
			x := float64(j) / 40
			fmt.Fprintf(&boxes, "(%.3f,0.1,%.3f,0.2,0.%03d),", x, x+0.02, dice.IntN(1000))
		}
		text := "[" + boxes.String() + "]"
		key := fmt.Sprint(i)
		r.Frames = append(r.Frames, store.Frame{Key: key, Image: store.Hash{1}})
		if i%7 == 3 {
			r.Frames[i].Image, r.Frames[i].Problem = store.Hash{}, long
		}
		r.Detections = append(r.Detections, store.Detection{ID: int64(i + 1), BucketKey: key, BBox: &text, OthersBBoxes: &text, CreatedAt: store.Time{Time: start.Add(time.Duration(i) * 30 * time.Second)}})
	}
	var problems []store.Problem
	for range 50 {
		problems = append(problems, store.Problem{Class: store.Failed, Kind: "detection", ID: shorten(long), Reason: shorten(long)})
	}
	for _, sequences := range []int64{1, 20, 100, 500, 100_000} {
		t.Run(fmt.Sprint(sequences), func(t *testing.T) {
			a := &artist{
				darkroom: newDarkroom(onePicture{data: data}), thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1},
				ration: rationOf(sequences), problems: map[int64][]store.Problem{1: problems},
			}
			c, done, err := a.card(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			page, err := newPage()
			if err != nil {
				t.Fatal(err)
			}
			var html bytes.Buffer
			if err := page.execute(&html, "card", c); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d kB, %d pictures on the sheet: %s", html.Len()>>10, len(c.Sheet), c.SheetText)
			most := 50_000_000 / int(min(sequences, 500))
			if html.Len() > most {
				t.Errorf("the card has %d bytes, %d are its part", html.Len(), most)
			}
			if done.shown == 0 || c.Key.Source == "" {
				t.Error("the card shows no picture")
			}
			if sequences <= 500 && len(c.Sheet) < 4 {
				t.Errorf("only %d pictures on the sheet", len(c.Sheet))
			}
		})
	}
}

// onePicture is a bundle that has the same bytes for every hash.
type onePicture struct {
	Bundle
	data []byte
}

func (o onePicture) ReadImage(context.Context, store.Hash) ([]byte, error) { return o.data, nil }

func TestCompressKeepsItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 200).Draw(t, "height")
		limit := rapid.IntRange(300, 20_000).Draw(t, "limit")
		picture := image.NewRGBA(image.Rect(0, 0, w, h))
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range picture.Pix {
			picture.Pix[i] = uint8(dice.Uint32())
		}
		thumb, err := compress(picture, limit)
		if err != nil {
			t.Fatal(err)
		}
		if thumb != nil && len(thumb.data) > limit {
			t.Fatalf("%d bytes, limit %d", len(thumb.data), limit)
		}
	})
}

func TestShrinkKeepsTheShape(t *testing.T) {
	for _, test := range []struct{ w, h, to, wantW, wantH int }{
		{1280, 720, 240, 240, 135}, {640, 360, 720, 640, 360}, {100, 1, 10, 10, 1}, {4, 3, 2, 2, 2}, {1, 8, 240, 1, 8},
	} {
		got := shrink(image.NewGray(image.Rect(5, 7, 5+test.w, 7+test.h)), test.to).Bounds()
		if want := image.Rect(0, 0, test.wantW, test.wantH); got != want {
			t.Errorf("%d by %d to %d: %v, want %v", test.w, test.h, test.to, got, want)
		}
	}
}

func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.IntRange(1, 300).Draw(t, "of")
		n := rapid.IntRange(0, 300).Draw(t, "n")
		got := spread(n, of)
		if len(got) != min(n, of) {
			t.Fatalf("%d of %d: %d chosen", n, of, len(got))
		}
		for i := 1; i < len(got); i++ {
			if step, fair := got[i]-got[i-1], float64(of-1)/float64(len(got)-1); step < 1 || math.Abs(float64(step)-fair) >= 1 {
				t.Fatalf("%d of %d: step of %d in %v", n, of, step, got)
			}
		}
		if len(got) > 1 && (got[0] != 0 || got[len(got)-1] != of-1) {
			t.Fatalf("%d of %d: %v leaves out an end", n, of, got)
		}
	})
}

func TestShortenMakesTextsFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		got := shorten(s)
		if n := len([]rune(got)); n > maxText+1 {
			t.Fatalf("%d letters", n)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2066' }) {
			t.Fatalf("%q", got)
		}
	})
}

// TestEveryNumberDraws feeds the drawings what no camera says; a path must not hold NaN or infinity.
func TestEveryNumberDraws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		azimuth, view := rapid.Float64().Draw(t, "azimuth"), rapid.Float64().Draw(t, "view")
		c := newCompass(&azimuth, &view, []cluster{{Number: 1, Class: "k1", centre: rapid.Float64Range(0, 1).Draw(t, "centre")}})
		if c == nil {
			return
		}
		all := fmt.Sprint(*c)
		if strings.Contains(all, "NaN") || strings.Contains(all, "Inf") || strings.Contains(all, "e+") {
			t.Fatal(all)
		}
	})
}

func TestCompassPoints(t *testing.T) {
	for degrees, want := range map[float64]string{0: "N", 11.2: "N", 11.3: "NNE", 90: "E", 180: "S", 270: "W", 348.7: "NNW", 348.8: "N", 359.9: "N"} {
		if got := point(degrees); got != want {
			t.Errorf("%g°: %s, want %s", degrees, got, want)
		}
	}
}

func TestCalendarTellsDaysApart(t *testing.T) {
	c := newCalendar()
	for range 9 {
		c.sequence("2024-02-29")
	}
	c.sequence("2024-01-31")
	c.listed("2024-02-28", true)
	c.listed("2024-02-27", true)
	c.listed("2024-02-27", false)
	months, left := c.months()
	if len(months) != 2 || left != 0 || months[0].Title != "January 2024" || len(months[1].Cells) != 29 {
		t.Fatalf("months %+v, left %d", months, left)
	}
	classes := map[int]string{}
	for _, cell := range months[1].Cells {
		classes[cell.Day] = cell.Class
	}
	for day, want := range map[int]string{26: "unlisted", 27: "none part", 28: "none", 29: "h5"} {
		if classes[day] != want {
			t.Errorf("29 February 2024, day %d: %q, want %q", day, classes[day], want)
		}
	}
	if cell := months[1].Cells[0]; cell.X != 3*cellStride || cell.Y != 0 {
		t.Errorf("1 February 2024 stands at %d, %d: it was a Thursday", cell.X, cell.Y)
	}
}

func TestFactsOfNumbers(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 90 * time.Second: "1 min 30 s", 3 * time.Hour: "3 h 0 min", 50 * time.Hour: "2 d 2 h", -time.Second: "unknown",
	} {
		if got := lasted(d); got != want {
			t.Errorf("lasted(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
	for x, want := range map[float64]string{0: "0", -0.001: "0", 54.2: "54.2", 120: "120", math.Inf(1): "?", 1e300: "?"} {
		if got := decimal(x); got != want {
			t.Errorf("decimal(%g) = %q, want %q", x, got, want)
		}
	}
}

// FuzzDevelop: whatever bytes a bundle holds for an image, there is a picture or a reason.
func FuzzDevelop(f *testing.F) {
	small, err := encode(image.NewRGBA(image.Rect(0, 0, 16, 9)), fairQuality)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(small)
	f.Add(small[:len(small)/2])
	f.Add([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xff\xff\x00\x00\xff\xff\x08\x06\x00\x00\x00"))
	f.Add([]byte("\xff\xd8\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		used := false
		missing, err := newDarkroom(onePicture{data: data}).develop(t.Context(), store.Hash{1}, func(picture image.Image) {
			used = true
			if _, err := encode(shrink(picture, 40), fairQuality); err != nil {
				t.Error(err)
			}
		})
		if err != nil || used == (missing != nil) {
			t.Errorf("used %v, missing %+v, error %v", used, missing, err)
		}
	})
}
