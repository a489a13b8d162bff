package report_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"pyrobundle/internal/report"
	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

func TestMemoryDoesNotGrowWithSequences(t *testing.T) {
	few, many := 150, 1500
	if testing.Short() {
		many = 600
	}
	peak := func(sequences int) uint64 {
		bundle := openWorld(t, sandbox.WorldOptions{Sequences: sequences, Frames: 2, DistinctImages: 8, ImageBytes: 800})
		o := defaults()
		var most, cards uint64
		o.Progress = func(_ string, done, _ int64) { // from one goroutine, between two cards
			if cards += uint64(done); cards%50 == 0 {
				runtime.GC()
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				most = max(most, stats.HeapAlloc)
			}
		}
		if _, err := report.Write(t.Context(), io.Discard, bundle, o); err != nil {
			t.Fatal(err)
		}
		return most
	}
	if a, b := peak(few), peak(many); b > a+2<<20 {
		t.Errorf("%d sequences take %d kB of heap, %d take %d kB", few, a>>10, many, b>>10)
	}
}

// noise is a bundle of sequences whose pictures compress as badly as any.
type noise struct {
	sequences, frames int
	picture           []byte
}

func newNoise(t testing.TB, sequences, frames int) noise {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 1280, 720))
	dice := rand.New(rand.NewPCG(1, 2))
	for y := range 720 {
		for x := range 1280 {
			picture.Set(x, y, color.RGBA{uint8(dice.Uint32()), uint8(dice.Uint32()), uint8(dice.Uint32()), 255})
		}
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, picture, &jpeg.Options{Quality: 60}); err != nil {
		t.Fatal(err)
	}
	return noise{sequences: sequences, frames: frames, picture: data.Bytes()}
}

func (n noise) Path() string         { return "noise.bundle" }
func (n noise) Source() store.Source { return store.Source{URL: sandbox.PlatformURL} }
func (n noise) Days(context.Context) iter.Seq2[store.DayRecord, error] {
	return func(func(store.DayRecord, error) bool) {}
}

func (n noise) Problems(context.Context) iter.Seq2[store.Problem, error] {
	return func(func(store.Problem, error) bool) {}
}
func (n noise) ReadImage(context.Context, store.Hash) ([]byte, error) { return n.picture, nil }

func (n noise) Sequences(context.Context, store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		start := time.Date(2026, 8, 1, 6, 0, 0, 0, time.UTC)
		place, azimuth, view := 44.0, 120.0, 54.0
		boxes := `[(0.1,0.1,0.2,0.2,0.5),(0.3,0.1,0.4,0.2,0.4),(0.5,0.1,0.6,0.2,0.3),(0.7,0.1,0.8,0.2,0.2),(0.1,0.5,0.2,0.6,0.5)]`
		for i := range n.sequences {
			started := start.Add(time.Duration(i) * 10 * time.Minute)
			r := store.SequenceRecord{
				Sequence:     store.Sequence{ID: int64(i + 1), CameraID: 1, CameraAzimuth: &azimuth, StartedAt: store.Time{Time: started}},
				Camera:       &store.Camera{ID: 1, OrganizationID: 1, Name: "noise", Lat: &place, Lon: &place, AngleOfView: &view},
				Organization: &store.Organization{ID: 1, Name: "noise"},
			}
			for j := range n.frames {
				key := fmt.Sprint(j)
				r.Frames = append(r.Frames, store.Frame{Key: key, Image: store.Hash{1, byte(j)}})
				r.Detections = append(r.Detections, store.Detection{
					ID: int64(j + 1), BucketKey: key, BBox: &boxes, OthersBBoxes: &boxes, CreatedAt: store.Time{Time: started.Add(time.Duration(j) * 30 * time.Second)},
				})
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestFiveHundredSequencesStayUnder50MB(t *testing.T) {
	if os.Getenv("PYROBUNDLE_TORTURE") == "" {
		t.Skip("takes minutes: set PYROBUNDLE_TORTURE=1; TestCardKeepsItsRation shows one card's share")
	}
	_, result := write(t, newNoise(t, 500, 120), defaults())
	t.Logf("%d sequences, %d of %d frames shown: %.1f MB", result.Sequences, result.FramesShown, result.Frames, float64(result.Bytes)/1e6)
	if result.Bytes > 50_000_000 || result.FramesShown < 500 {
		t.Errorf("%d bytes for %d frames, want at most 50 MB, and a picture of each sequence", result.Bytes, result.FramesShown)
	}
}
