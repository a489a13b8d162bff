package load_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// endless is a bundle of any size in constant memory: sequences and images are made as they are asked for.
type endless struct {
	sequences, frames, imageBytes int
	once                          sync.Once
	picture                       []byte
}

func (e *endless) hash(sequence, frame int) store.Hash {
	var h store.Hash
	binary.BigEndian.PutUint64(h[:], uint64(sequence)) //nolint:gosec // small
	binary.BigEndian.PutUint64(h[8:], uint64(frame)+1) //nolint:gosec // small
	return h
}

func (e *endless) Sequences(ctx context.Context, _ store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		lat, lon, azimuth := 44.67, 4.35, 120.4
		boxes := drifting(e.frames)
		for i := range e.sequences {
			if err := ctx.Err(); err != nil {
				yield(store.SequenceRecord{}, err)
				return
			}
			id := int64(i + 1)
			start := noon.Add(time.Duration(i) * time.Minute)
			r := store.SequenceRecord{
				Sequence: store.Sequence{
					ID: id, CameraID: 7, CameraAzimuth: &azimuth,
					StartedAt: store.Time{Time: start}, LastSeenAt: store.Time{Time: start.Add(5 * time.Minute)},
				},
				Camera:       &store.Camera{ID: 7, OrganizationID: 2, Name: "brison-01", Lat: &lat, Lon: &lon},
				Organization: &store.Organization{ID: 2, Name: "sdis-07"},
			}
			for f := range e.frames {
				key := fmt.Sprintf("7-%d-%d.jpg", i, f)
				r.Detections = append(r.Detections, store.Detection{
					ID: id*1000 + int64(f), CameraID: 7, BucketKey: key, BBox: &boxes[f],
					CreatedAt: store.Time{Time: start.Add(time.Duration(f) * 30 * time.Second)},
				})
				r.Frames = append(r.Frames, store.Frame{Key: key, Image: e.hash(i, f)})
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (e *endless) StatImage(_ context.Context, h store.Hash) (store.Image, error) {
	return store.Image{Hash: h, Size: int64(e.imageBytes), Format: store.JPEG}, nil
}

// ReadImage returns bytes of its own, hashed, as a bundle does.
func (e *endless) ReadImage(_ context.Context, h store.Hash) ([]byte, error) {
	e.once.Do(func() {
		e.picture = make([]byte, e.imageBytes)
		copy(e.picture, "\xff\xd8\xff\xe0")
		for i := 4; i < len(e.picture); i++ {
			e.picture[i] = byte(i * i >> 3) //nolint:gosec // noise
		}
	})
	data := make([]byte, e.imageBytes)
	copy(data, e.picture)
	copy(data[8:], h[:16])
	sum := sha256.Sum256(data)
	_ = sum // a bundle compares it
	return data, nil
}

const benchWorkers = 16

// BenchmarkLoad loads 50 sequences of 40 frames into the sandbox, beside merely posting the same multipart bodies at the
// same concurrency; the two alternate. detections/s is load's rate, %ofbare the ratio that docs/performance.md promises.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
		away time.Duration // what every answer is delayed by: where the wire is the limit, not the processor
	}{
		{"20kB", 20_000, 0}, {"250kB", 250_000, 0}, {"20kB,20ms", 20_000, 20 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			bundle := &endless{sequences: 50, frames: 40, imageBytes: c.size}
			detections := bundle.sequences * bundle.frames
			var loading, posting time.Duration
			for b.Loop() {
				loading += timed(b, c.away, func(client *annotation.Client) {
					cfg := load.Config{
						SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: .3, MinClusterSize: 1},
						StateDir: b.TempDir(), Workers: benchWorkers,
					}
					result, err := load.Run(b.Context(), bundle, client, cfg)
					if err != nil || result.Detections.Created != int64(detections) {
						b.Fatalf("%+v, %v", result, err)
					}
				})
				posting += timed(b, c.away, func(client *annotation.Client) { postBare(b, bundle, client) })
			}
			runs := float64(b.N)
			b.ReportMetric(runs*float64(detections)/loading.Seconds(), "detections/s")
			b.ReportMetric(runs*float64(detections)/posting.Seconds(), "bare/s")
			b.ReportMetric(100*posting.Seconds()/loading.Seconds(), "%ofbare")
		})
	}
}

// timed measures work against a fresh API.
func timed(b *testing.B, away time.Duration, work func(*annotation.Client)) time.Duration {
	b.Helper()
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{DiscardImages: true})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(away)
		api.ServeHTTP(w, r)
	}))
	defer server.Close()
	client, err := annotation.Dial(b.Context(), annotation.Config{BaseURL: server.URL, Login: "admin", Password: "admin12345"})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	started := time.Now()
	work(client)
	return time.Since(started)
}

// postBare posts the detections of a bundle and nothing else: images come from the bundle, too, and the sequences are
// there already.
func postBare(b *testing.B, bundle *endless, client *annotation.Client) {
	b.Helper()
	type job struct {
		sequence int64
		d        store.Detection
		image    store.Hash
	}
	jobs := make(chan job)
	var group sync.WaitGroup
	for range benchWorkers {
		group.Go(func() {
			for j := range jobs {
				image, err := bundle.ReadImage(b.Context(), j.image)
				if err != nil {
					b.Error(err)
				}
				_, err = client.CreateDetection(b.Context(), annotation.NewDetection{
					SequenceID: j.sequence, AlertAPIID: j.d.ID, RecordedAt: j.d.CreatedAt.Time, Image: image,
					Predictions: annotate.Predict(annotate.ParseBoxes(*j.d.BBox)), FileName: "x.jpg", ContentType: "image/jpeg",
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for record, err := range bundle.Sequences(b.Context(), store.Query{}) {
		if err != nil {
			b.Fatal(err)
		}
		created, err := client.CreateSequence(b.Context(), annotation.NewSequence{
			SourceAPI: "pyronear_french", AlertAPIID: record.Sequence.ID, CameraID: 7, CameraName: "c", OrganisationID: 2,
			OrganisationName: "o", RecordedAt: noon, LastSeenAt: noon,
		})
		if err != nil {
			b.Fatal(err)
		}
		for i, d := range record.Detections {
			jobs <- job{created.ID, d, record.Frames[i].Image}
		}
	}
	close(jobs)
	group.Wait()
}

// TestMemoryIsBounded loads in a process of its own, into an API in this one, and looks at the most anonymous memory
// that it had, for two sizes. PYROBUNDLE_TORTURE=1 makes them ten times as large.
func TestMemoryIsBounded(t *testing.T) {
	if url := os.Getenv("PYROBUNDLE_TEST_LOAD_INTO"); url != "" {
		loadAndMeasure(t, url)
		return
	}
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip("no /proc to look at")
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	if raceEnabled {
		t.Skip("the race detector's shadow memory is not the program's")
	}
	sizes := []int{10, 40}
	if os.Getenv("PYROBUNDLE_TORTURE") == "1" {
		sizes = []int{200, 2000}
	}
	for _, sequences := range sizes {
		server := httptest.NewServer(sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{DiscardImages: true}))
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryIsBounded$", "-test.v") //nolint:gosec // ourselves
		child.Env = append(os.Environ(), "PYROBUNDLE_TEST_LOAD_INTO="+server.URL, "PYROBUNDLE_TEST_SEQUENCES="+strconv.Itoa(sequences))
		out, err := child.CombinedOutput()
		server.Close()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, rest, _ := strings.Cut(string(out), "peak kB: ")
		var peak int
		if _, err := fmt.Sscan(rest, &peak); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%d images of 250 kB: %d MiB at most", 40*sequences, peak>>10)
		if peak>>10 >= 96 {
			t.Errorf("%d images: %d MiB of anonymous memory, want less than 96", 40*sequences, peak>>10)
		}
	}
}

func loadAndMeasure(t *testing.T, url string) {
	t.Helper()
	sequences, err := strconv.Atoi(os.Getenv("PYROBUNDLE_TEST_SEQUENCES"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := annotation.Dial(t.Context(), annotation.Config{BaseURL: url, Login: "admin", Password: "admin12345"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	done, peak := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-tick.C:
				most = max(most, anonymousKB())
			case <-done:
				tick.Stop()
				peak <- most
				return
			}
		}
	}()
	_, err = load.Run(t.Context(), &endless{sequences: sequences, frames: 40, imageBytes: 250_000}, client, load.Config{
		SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: .3, MinClusterSize: 1},
		StateDir: t.TempDir(), Workers: benchWorkers,
	})
	close(done)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("peak kB: %d\n", <-peak)
}

// anonymousKB is RssAnon of this process.
func anonymousKB() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	var kB int
	_, _ = fmt.Sscan(rest, &kB)
	return kB
}
