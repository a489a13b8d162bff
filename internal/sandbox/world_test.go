package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"image"
	_ "image/jpeg" // decoded by tests
	_ "image/png"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/store"
)

// memory is a bundle that keeps everything, as it was put.
type memory struct {
	mu            sync.Mutex
	organizations []store.Organization
	cameras       []store.Camera
	days          []store.DayRecord
	sequences     map[int64]store.SequenceRecord
	images        map[store.Hash][]byte
	keys          map[string]store.Hash // of all organizations: the world's cameras have distinct ids
	formats       map[string]store.Format
}

func (m *memory) PutOrganizations(_ context.Context, o []store.Organization) error {
	m.organizations = append(m.organizations, o...)
	return nil
}

func (m *memory) PutCameras(_ context.Context, c []store.Camera) error {
	m.cameras = append(m.cameras, c...)
	return nil
}

func (m *memory) PutDay(_ context.Context, d store.DayRecord) error {
	m.days = append(m.days, d)
	return nil
}

func (m *memory) PutImage(_ context.Context, _ int64, key string, format store.Format, data []byte) (store.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := store.Hash(sha256.Sum256(data))
	m.images[h], m.keys[key], m.formats[key] = bytes.Clone(data), h, format
	return h, nil
}

func (m *memory) PutSequence(_ context.Context, r store.SequenceRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sequences[r.Sequence.ID] = r
	return nil
}

func remember(t *testing.T, o WorldOptions) *memory {
	t.Helper()
	w, err := newWorld(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{
		sequences: map[int64]store.SequenceRecord{}, images: map[store.Hash][]byte{},
		keys: map[string]store.Hash{}, formats: map[string]store.Format{},
	}
	if err := w.write(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// tiny is the demo's world without the time it takes to draw.
var tiny = WorldOptions{ImageBytes: 1}

func (m *memory) rows(t *testing.T, id int64) []store.Detection {
	t.Helper()
	r, ok := m.sequences[id]
	if !ok {
		t.Fatalf("no sequence %d", id)
	}
	return r.Detections
}

// framesOf groups a sequence's rows by their key, in order.
func framesOf(rows []store.Detection) (keys []string, byKey map[string][]store.Detection) {
	byKey = map[string][]store.Detection{}
	for _, d := range rows {
		if byKey[d.BucketKey] == nil {
			keys = append(keys, d.BucketKey)
		}
		byKey[d.BucketKey] = append(byKey[d.BucketKey], d)
	}
	return keys, byKey
}

func isContinuity(d store.Detection) bool { return *d.BBox == "[]" && d.OthersBBoxes == nil }

func TestWorldHoldsItsCases(t *testing.T) {
	m := remember(t, tiny)
	cases := []struct {
		name  string
		id    int64
		holds func(t *testing.T, r store.SequenceRecord) bool
	}{
		{"two objects", SequenceTwoObjects, func(_ *testing.T, r store.SequenceRecord) bool {
			keys, byKey := framesOf(r.Detections)
			for _, k := range keys {
				rows := byKey[k]
				if len(rows) != 2 || *rows[0].BBox != *rows[1].OthersBBoxes || *rows[1].BBox != *rows[0].OthersBBoxes {
					return false
				}
			}
			return len(keys) == 12
		}},
		{"siblings share frames, not boxes", SequenceSiblingLeft, func(t *testing.T, r store.SequenceRecord) bool {
			right := m.rows(t, SequenceSiblingRight)
			for i, d := range r.Detections {
				if d.BucketKey != right[i].BucketKey || *d.BBox != *right[i].OthersBBoxes || *d.BBox == *right[i].BBox {
					return false
				}
			}
			return len(r.Detections) == len(right)
		}},
		{"long", SequenceLong, func(_ *testing.T, r store.SequenceRecord) bool {
			return len(r.Frames) == 130 && slices.ContainsFunc(r.Detections, isContinuity)
		}},
		{"single, at a full second", SequenceSingle, func(_ *testing.T, r store.SequenceRecord) bool {
			return len(r.Detections) == 1 && r.Sequence.StartedAt.Nanosecond() == 0 && !strings.Contains(string(r.Sequence.Document), "05:40:00.")
		}},
		{"over midnight", SequenceMidnight, func(_ *testing.T, r store.SequenceRecord) bool {
			return store.DayOf(r.Sequence.StartedAt.Time) == "2026-08-02" && store.DayOf(r.Sequence.LastSeenAt.Time) == "2026-08-03"
		}},
		{"boxless", SequenceBoxless, func(_ *testing.T, r store.SequenceRecord) bool {
			return !slices.ContainsFunc(r.Detections, func(d store.Detection) bool { return !isContinuity(d) }) && r.Sequence.MaxConf == nil
		}},
		{"continuity", SequenceContinuity, func(_ *testing.T, r store.SequenceRecord) bool {
			return !isContinuity(r.Detections[0]) && isContinuity(r.Detections[2]) && !isContinuity(r.Detections[9])
		}},
		{"several rows on one frame, at one time", SequenceSharedFrames, func(_ *testing.T, r store.SequenceRecord) bool {
			keys, byKey := framesOf(r.Detections)
			first := byKey[keys[0]]
			return len(keys) == 28 && len(r.Detections) == 42 && len(first) == 2 && first[0].CreatedAt == first[1].CreatedAt
		}},
		{"non-trustable", SequenceNonTrustable, func(_ *testing.T, r store.SequenceRecord) bool {
			return !*r.Camera.IsTrustable && *r.Sequence.IsWildfire == "other"
		}},
		{"frozen", SequenceFrozen, func(_ *testing.T, r store.SequenceRecord) bool {
			last := r.Frames[len(r.Frames)-5:]
			for _, f := range last[1:] {
				if f.Image != last[0].Image || f.Key == last[0].Key {
					return false
				}
			}
			return r.Frames[4].Image != last[0].Image
		}},
		{"wildfire", SequenceWildfire, func(_ *testing.T, r store.SequenceRecord) bool {
			return *r.Sequence.IsWildfire == "wildfire_smoke" && *r.Sequence.TemporalModelScore == .87425
		}},
		{"other smoke, cropped and terse", SequenceOtherSmoke, func(_ *testing.T, r store.SequenceRecord) bool {
			doc := string(r.Detections[0].Document)
			return *r.Sequence.IsWildfire == "other_smoke" && strings.Contains(doc, `"crop_bucket_key":"crop_0_5-`) && strings.Contains(doc, `"[(.`)
		}},
		{"faint", SequenceFaint, func(_ *testing.T, r store.SequenceRecord) bool {
			return *r.Sequence.MaxConf == 0 && strings.HasSuffix(*r.Detections[0].BBox, ",0)]")
		}},
		{"crowded", SequenceCrowded, func(_ *testing.T, r store.SequenceRecord) bool {
			return strings.Count(*r.Detections[0].OthersBBoxes, "(") == maxOthers
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := m.sequences[c.id]
			if len(r.Detections) == 0 || !c.holds(t, r) {
				t.Errorf("sequence %d is not it: %s", c.id, r.Sequence.Document)
				for _, d := range r.Detections {
					t.Logf("%s", d.Document)
				}
			}
		})
	}
	if len(m.sequences) != HandMade {
		t.Errorf("%d sequences, want %d", len(m.sequences), HandMade)
	}
	if len(m.organizations) < 3 || len(m.cameras) < 6 || len(m.days) != handMadeDays {
		t.Errorf("%d organizations, %d cameras, %d days", len(m.organizations), len(m.cameras), len(m.days))
	}
	listed := 0
	for _, d := range m.days {
		listed += d.Sequences
	}
	if listed != HandMade || m.days[3].Sequences != 0 {
		t.Errorf("%d sequences listed, want %d and none on the fourth day: %+v", listed, HandMade, m.days)
	}
}

func TestWorldKeepsThePlatformsRules(t *testing.T) {
	number := `(?:0?\.[0-9]{1,3}|0|1)`
	box := `\(` + strings.Repeat(number+",", 4) + number + `\)`
	list := regexp.MustCompile(`^\[(?:` + box + `(?:,` + box + `)*)?\]$`)

	m := remember(t, WorldOptions{Seed: 7, Sequences: 60, ImageBytes: 2000})
	ids := map[int64]bool{}
	for _, r := range m.sequences {
		id, best := r.Sequence.ID, 0.0
		if !slices.IsSortedFunc(r.Detections, func(a, b store.Detection) int {
			if c := a.CreatedAt.Compare(b.CreatedAt.Time); c != 0 {
				return c
			}
			return int(a.ID - b.ID)
		}) {
			t.Errorf("sequence %d: detections are not by created_at, then id", id)
		}
		for _, d := range r.Detections {
			if ids[d.ID] {
				t.Errorf("detection %d occurs twice", d.ID)
			}
			ids[d.ID] = true
			image, uploaded := m.keys[d.BucketKey], regexp.MustCompile(`\D`).ReplaceAllString(d.CreatedAt.Format(time.DateTime), "")
			if want := bucketKey(d.CameraID, d.CreatedAt.Time, image, m.formats[d.BucketKey]); d.BucketKey != want || !strings.Contains(want, uploaded) {
				t.Errorf("detection %d: key %q, want %q", d.ID, d.BucketKey, want)
			}
			if d.CreatedAt.Sub(d.RecordedAt.Time) < time.Second || d.CreatedAt.Sub(d.RecordedAt.Time) > 4*time.Second {
				t.Errorf("detection %d: recorded %v, created %v", d.ID, d.RecordedAt, d.CreatedAt)
			}
			others := "[]"
			if d.OthersBBoxes != nil {
				others = *d.OthersBBoxes
			}
			if !list.MatchString(*d.BBox) || !list.MatchString(others) || len(*d.BBox) > 37 || len(others) > 148 {
				t.Errorf("detection %d: boxes %s others %s", d.ID, *d.BBox, others)
			}
			for _, b := range readBoxes(t, *d.BBox+others) {
				if b[0] >= b[2] || b[1] >= b[3] {
					t.Errorf("detection %d: box %v", d.ID, b)
				}
			}
			if own := readBoxes(t, *d.BBox); len(own) == 1 {
				best = max(best, own[0][4])
			}
		}
		if r.Sequence.MaxConf != nil && *r.Sequence.MaxConf != best {
			t.Errorf("sequence %d: max_conf %v, boxes have %v", id, *r.Sequence.MaxConf, best)
		}
		if *r.Sequence.DetectionsCount != len(r.Detections) || r.Sequence.LastSeenAt.Before(r.Sequence.StartedAt.Time) {
			t.Errorf("sequence %d: %s", id, r.Sequence.Document)
		}
		if a := *r.Sequence.CameraAzimuth; a < 0 || a >= 360 {
			t.Errorf("sequence %d: azimuth %v", id, a)
		}
		keys, _ := framesOf(r.Detections)
		var frames []string
		for _, f := range r.Frames {
			frames = append(frames, f.Key)
			if m.keys[f.Key] != f.Image || m.images[f.Image] == nil {
				t.Errorf("sequence %d: frame %s has no image", id, f.Key)
			}
		}
		if diff := cmp.Diff(keys, frames); diff != "" {
			t.Errorf("sequence %d: frames (-detections +frames):\n%s", id, diff)
		}
	}
}

// readBoxes reads numbers in parentheses, five at a time.
func readBoxes(t *testing.T, s string) (boxes [][5]float64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\(([^)]*)\)`).FindAllStringSubmatch(s, -1) {
		var b [5]float64
		for i, text := range strings.Split(m[1], ",") {
			if strings.HasPrefix(text, ".") {
				text = "0" + text
			}
			if err := json.Unmarshal([]byte(text), &b[i]); err != nil {
				t.Fatal(err)
			}
		}
		boxes = append(boxes, b)
	}
	return boxes
}

// The documents have exactly the fields that the platform was recorded with, but for those that never enter a bundle.
func TestWorldHasTheFieldsOfTheRecordedPlatform(t *testing.T) {
	never := []string{"url", "crop_url", "last_image_url", "last_image", "last_active_at", "slack_hook", "telegram_id"}
	recorded := map[string][]string{}
	exchanges, err := os.ReadFile("../../testdata/recorded/platform.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(exchanges) {
		var exchange struct {
			Path     string          `json:"path"`
			Response json.RawMessage `json:"response"`
		}
		if err := json.Unmarshal(line, &exchange); err != nil {
			t.Fatal(err)
		}
		var list []map[string]any
		if json.Unmarshal(exchange.Response, &list) != nil || len(list) == 0 {
			continue
		}
		kind := regexp.MustCompile(`/(cameras|organizations|fromdate|detections)`).FindString(exchange.Path)
		recorded[kind] = fieldsOf(list[0], never)
	}
	m := remember(t, tiny)
	r := m.sequences[SequenceWildfire]
	for kind, doc := range map[string]json.RawMessage{
		"/cameras": r.Camera.Document, "/organizations": r.Organization.Document,
		"/fromdate": r.Sequence.Document, "/detections": r.Detections[0].Document,
	} {
		var fields map[string]any
		if err := json.Unmarshal(doc, &fields); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recorded[kind], fieldsOf(fields, never)); diff != "" {
			t.Errorf("%s (-recorded +synthetic):\n%s", kind, diff)
		}
	}
}

func fieldsOf(object map[string]any, never []string) []string {
	maps.DeleteFunc(object, func(name string, _ any) bool { return slices.Contains(never, name) })
	return slices.Sorted(maps.Keys(object))
}

func TestEqualOptionsGiveEqualWorlds(t *testing.T) {
	o := WorldOptions{Seed: 3, Sequences: 20, ImageBytes: 3000}
	first, second := remember(t, o), remember(t, o)
	if !maps.Equal(first.keys, second.keys) {
		t.Error("keys or images differ")
	}
	for id, r := range first.sequences {
		if diff := cmp.Diff(r, second.sequences[id]); diff != "" {
			t.Errorf("sequence %d differs:\n%s", id, diff)
		}
	}
	o.Seed = 4
	if other := remember(t, o); maps.Equal(first.keys, other.keys) {
		t.Error("another seed gives the same images")
	}
}

func TestGeneratedImagesHaveTheirSizeAndDecode(t *testing.T) {
	for _, size := range []int{1, 700, 1000, 5000, 66_000, 66_250, 250_000} {
		m := remember(t, WorldOptions{Sequences: 12, Frames: 3, ImageBytes: size})
		formats := map[string]bool{}
		for hash, data := range m.images {
			if len(data) > max(size+2*minPadding, 800) || len(data) < size-2*minPadding {
				t.Errorf("size %d: image %s has %d bytes", size, hash, len(data))
			}
			config, format, err := image.DecodeConfig(bytes.NewReader(data))
			if err != nil || config.Width != 16 || config.Height != 9 {
				t.Errorf("size %d: image %s: %+v, %v", size, hash, config, err)
			}
			if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
				t.Errorf("size %d: image %s: %v", size, hash, err)
			}
			formats[format] = true
		}
		for key, format := range m.formats {
			want := map[store.Format]string{store.JPEG: "\xff\xd8", store.PNG: "\x89PNG"}[format]
			if !bytes.HasPrefix(m.images[m.keys[key]], []byte(want)) || !strings.HasSuffix(key, "."+string(format)) {
				t.Errorf("size %d: %s is no %s", size, key, format)
			}
		}
		if len(formats) != 2 {
			t.Errorf("size %d: formats %v, want both", size, formats)
		}
	}
}

func TestGeneratedSequencesShareImagesWhereAsked(t *testing.T) {
	base := len(remember(t, tiny).images)
	o := tiny
	o.Sequences, o.Frames, o.DistinctImages, o.Days = 50, 4, 10, 2
	m := remember(t, o)
	if got := len(m.images) - base; got != o.DistinctImages {
		t.Errorf("%d distinct images, want %d", got, o.DistinctImages)
	}
	if len(m.sequences) != HandMade+o.Sequences {
		t.Errorf("%d sequences", len(m.sequences))
	}
	for id := range m.sequences {
		if id >= FirstGenerated {
			if day := store.DayOf(m.sequences[id].Sequence.StartedAt.Time); day > "2026-08-02" {
				t.Errorf("sequence %d starts on %s, after two days", id, day)
			}
		}
	}
}

func TestWorldRefusesWhatItCannotShape(t *testing.T) {
	for _, o := range []WorldOptions{{FirstDay: "1 August"}, {Sequences: -1}, {ImageBytes: -5}} {
		if err := WriteBundle(t.Context(), t.TempDir()+"/b", o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// A person who opens a frame finds smoke where the box is, and none elsewhere.
func TestSmokeIsUnderItsBox(t *testing.T) {
	land := newLandscape(5)
	scenery := land.in(lightAt(13))
	for _, frame := range []int{0, 4, 12} {
		p := plume{x: 400, ridge: 2, height: 120, growth: 10, lean: 80}
		box := p.bounds(land, frame)
		picture := scenery.with([]plume{p}, frame)
		inside, outside := 0, 0
		for y := range pictureHeight {
			for x := range pictureWidth {
				i := picture.PixOffset(x, y)
				if difference := int(picture.Pix[i]) - int(scenery.picture.Pix[i]); difference < 12 && difference > -12 {
					continue
				}
				if in(x, y, box) {
					inside++
				} else {
					outside++
				}
			}
		}
		if inside < 200 || outside*20 > inside {
			t.Errorf("frame %d, box %v: %d smoky pixels inside, %d outside", frame, box, inside, outside)
		}
	}
}

func in(x, y int, box [4]int) bool {
	return x*1000 >= box[0]*pictureWidth && x*1000 <= box[2]*pictureWidth &&
		y*1000 >= box[1]*pictureHeight && y*1000 <= box[3]*pictureHeight
}
