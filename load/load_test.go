package load_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// inMemory is a bundle for tests: what load replays, without the file.
type inMemory struct {
	records []store.SequenceRecord
	images  map[store.Hash][]byte
}

func (m *inMemory) Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		for _, r := range m.records {
			day := store.DayOf(r.Sequence.StartedAt.Time)
			if q.From != "" && day < q.From || q.To != "" && day > q.To || q.IDs != nil && !slices.Contains(q.IDs, r.Sequence.ID) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(store.SequenceRecord{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *inMemory) StatImage(_ context.Context, h store.Hash) (store.Image, error) {
	data, ok := m.images[h]
	if !ok {
		return store.Image{}, store.ErrNotFound
	}
	return store.Image{Hash: h, Size: int64(len(data)), Format: store.JPEG}, nil
}

func (m *inMemory) ReadImage(_ context.Context, h store.Hash) ([]byte, error) {
	data, ok := m.images[h]
	if !ok {
		return nil, store.ErrNotFound
	}
	return data, nil
}

// add puts a sequence of camera 7 into the bundle: one row for each box string, on its own frame, 30 s apart.
func (m *inMemory) add(id int64, start time.Time, boxes ...string) *store.SequenceRecord {
	lat, lon, azimuth := 44.67, 4.35, 120.4
	r := store.SequenceRecord{
		Sequence: store.Sequence{
			ID: id, CameraID: 7, CameraAzimuth: &azimuth,
			StartedAt: store.Time{Time: start}, LastSeenAt: store.Time{Time: start.Add(5 * time.Minute)},
		},
		Camera:       &store.Camera{ID: 7, OrganizationID: 2, Name: "brison-01", Lat: &lat, Lon: &lon},
		Organization: &store.Organization{ID: 2, Name: "sdis-07"},
	}
	for i, boxes := range boxes {
		key := fmt.Sprintf("7-%d-%d.jpg", id, i)
		data := []byte("\xff\xd8\xff\xe0" + key)
		if m.images == nil {
			m.images = map[store.Hash][]byte{}
		}
		hash := store.Hash(sha256.Sum256(data))
		m.images[hash] = data
		created := start.Add(time.Duration(i) * 30 * time.Second)
		r.Detections = append(r.Detections, store.Detection{
			ID: id*100 + int64(i), CameraID: 7, SequenceID: &id, BucketKey: key, BBox: &boxes,
			CreatedAt: store.Time{Time: created}, RecordedAt: &store.Time{Time: created.Add(-2 * time.Second)},
		})
		r.Frames = append(r.Frames, store.Frame{Key: key, Image: hash})
	}
	m.records = append(m.records, r)
	return &m.records[len(m.records)-1]
}

// drifting returns n box strings of one object that moves slowly, every one of which overlaps the next.
func drifting(n int) []string {
	boxes := make([]string, n)
	for i := range boxes {
		boxes[i] = fmt.Sprintf("[(%.3f,.1,%.3f,.3,.%d)]", .1+float64(i)*.01, .3+float64(i)*.01, 3+i%6)
	}
	return boxes
}

var noon = time.Date(2026, 8, 1, 12, 0, 0, 123456000, time.UTC)

// world is an annotation API of one generation behind real HTTP, and a client of it.
type world struct {
	api    *sandbox.AnnotationAPI
	client *annotation.Client
	dir    string // for locks and undo files

	between atomic.Pointer[interceptor]
}

// interceptor answers a request instead of the API, or has it do so.
type interceptor func(w http.ResponseWriter, r *http.Request, api http.Handler)

// intercept puts between before the API; nil: the API alone.
func (w *world) intercept(between interceptor) {
	if between == nil {
		w.between.Store(nil)
		return
	}
	w.between.Store(&between)
}

func newWorld(t testing.TB, generation annotation.Generation) *world {
	t.Helper()
	return newWorldOf(t, sandbox.AnnotationOptions{Generation: string(generation)})
}

func newWorldOf(t testing.TB, options sandbox.AnnotationOptions) *world {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_STATE_HOME", home) // Restore has the user's state directory
	w := &world{
		api: sandbox.NewAnnotationAPI(options),
		dir: filepath.Join(home, "pyrobundle"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if between := w.between.Load(); between != nil {
			(*between)(rw, r, w.api)
			return
		}
		w.api.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	client, err := annotation.Dial(t.Context(), annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: "admin12345",
		Retry: httpapi.Retry{Attempts: 3, For: 5 * time.Second, Base: time.Millisecond, Max: 5 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if generation := string(client.Generation()); generation != options.Generation {
		t.Fatalf("generation = %s, want %s", generation, options.Generation)
	}
	w.client = client
	w.api.ResetCounters()
	return w
}

func (w *world) config() load.Config {
	return load.Config{
		SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: .3, MinClusterSize: 1},
		StateDir: w.dir, Patience: time.Millisecond, Workers: 4,
	}
}

func (w *world) run(t testing.TB, src load.Sequences, change ...func(*load.Config)) load.Result {
	t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(&cfg)
	}
	result, err := load.Run(t.Context(), src, w.client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, result)
	return result
}

// consistent holds a result against what it promises.
func consistent(t testing.TB, r load.Result) {
	t.Helper()
	s, d := r.Sequences, r.Detections
	if s.Total != s.Successful+s.Failed || s.Successful != s.New+s.Updated+s.Unchanged {
		t.Errorf("sequences do not add up: %+v", s)
	}
	if d.Created+d.Existing+d.Failed > d.Total {
		t.Errorf("detections do not add up: %+v", d)
	}
}

// dump is everything that the target holds, as text, without the API's own clock.
func (w *world) dump() string {
	var b strings.Builder
	for _, s := range w.api.Sequences() {
		fmt.Fprintf(&b, "sequence %d: %s %d camera %d %s of %d %s at %s", s.ID, s.SourceAPI, s.AlertAPIID, s.CameraID,
			s.CameraName, s.OrganisationID, s.OrganisationName, s.RecordedAt.Format(time.RFC3339Nano))
		if s.PlatformAlertID != 0 {
			fmt.Fprintf(&b, " lane of %d", s.PlatformAlertID)
		}
		if s.TemporalScore != nil {
			fmt.Fprintf(&b, " score %v", *s.TemporalScore)
		}
		b.WriteByte('\n')
		for _, d := range w.api.Detections(s.ID) {
			fmt.Fprintf(&b, "  detection %d: %d at %s, image %.8s, %v, others %v\n", d.ID, d.AlertAPIID,
				d.RecordedAt.Format(time.RFC3339Nano), d.SHA256, d.Predictions, d.Others)
		}
		for _, a := range w.api.Annotations() {
			if a.SequenceID == s.ID {
				fmt.Fprintf(&b, "  annotation %d: %s missed %v unsure %v by %v\n", a.ID, a.Stage, a.MissedSmoke, a.Unsure, a.Contributors)
				for _, track := range a.Tracks {
					fmt.Fprintf(&b, "    %+v\n", track)
				}
			}
		}
	}
	return b.String()
}

func eachGeneration(t *testing.T, test func(t *testing.T, generation annotation.Generation)) {
	t.Helper()
	for _, generation := range []annotation.Generation{annotation.Newest, annotation.SeedEra} {
		t.Run(string(generation), func(t *testing.T) { test(t, generation) })
	}
}

func TestRunCreatesEverythingOnceAndARerunWritesNothing(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		bundle := &inMemory{}
		bundle.add(41, noon, drifting(12)...)
		bundle.add(42, noon.Add(time.Hour), "[(.1,.1,.2,.2,.5)]", "[]", "[(.5,.5,.6,.6,.4)]")
		bundle.add(43, noon.AddDate(0, 0, 1), drifting(130)...)

		first := w.run(t, bundle)
		if want := (load.SequenceCounts{Total: 3, Successful: 3, New: 3}); first.Sequences != want {
			t.Errorf("sequences = %+v, want %+v", first.Sequences, want)
		}
		if want := (load.DetectionCounts{Total: 145, Created: 145}); first.Detections != want {
			t.Errorf("detections = %+v, want %+v", first.Detections, want)
		}
		if want := (load.AnnotationCounts{Created: 3}); first.Annotations != want {
			t.Errorf("annotations = %+v, want %+v", first.Annotations, want)
		}
		if first.Images != 145 || len(first.Problems) != 0 {
			t.Errorf("images = %d, problems = %v", first.Images, first.Problems)
		}
		for _, s := range w.api.Sequences() {
			for _, d := range w.api.Detections(s.ID) {
				want := fmt.Sprintf("\xff\xd8\xff\xe07-%d-%d.jpg", s.AlertAPIID, d.AlertAPIID-100*s.AlertAPIID)
				if got, _ := w.api.Image(d.ID); string(got) != want {
					t.Errorf("image of detection %d = %q, want %q", d.AlertAPIID, got, want)
				}
			}
		}

		before := w.dump()
		w.api.ResetCounters()
		again := w.run(t, bundle)
		if want := (load.SequenceCounts{Total: 3, Successful: 3, Unchanged: 3}); again.Sequences != want {
			t.Errorf("again: sequences = %+v, want %+v", again.Sequences, want)
		}
		if want := (load.AnnotationCounts{Unchanged: 3}); again.Annotations != want {
			t.Errorf("again: annotations = %+v, want %+v", again.Annotations, want)
		}
		if w.api.Writes() != 0 || w.dump() != before {
			t.Errorf("again: %d writes", w.api.Writes())
		}
		// One page of sequences and two days, and 1 + 1 + 2 pages of detections.
		requests := 0
		for _, r := range w.api.Requests() {
			requests += r.Count
		}
		if requests > 1+2+4 {
			t.Errorf("again: %d requests: %v", requests, w.api.Requests())
		}
	})
}
