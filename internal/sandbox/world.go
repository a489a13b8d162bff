package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"pyrobundle/store"
)

// The source that a synthetic bundle names. The host is reserved for examples: nobody will ever answer there.
const (
	PlatformURL = "https://platform.example"
	PlatformAPI = "pyronear_french"
)

// WorldOptions shape the synthetic data; the zero value is the demo's world. Equal options, equal documents and images.
type WorldOptions struct {
	Seed           uint64 // of landscapes, smoke and times within the second
	Sequences      int    // 0: the hand-made cases of the demo; more: those and as many generated ones
	Days           int    // over which the generated ones are spread; 0: 5
	Frames         int    // of each generated one; 0: 1 to 12
	DistinctImages int    // that the generated ones share; 0: every frame has its own
	ImageBytes     int    // 0: drawn landscapes; otherwise tiny images padded to about this size, but not below some 700 bytes
	FirstDay       string // YYYY-MM-DD; default 2026-08-01
}

// handMadeDays is how many days the hand-made cases need, the one without sequences included.
const handMadeDays = 5

// WriteBundle writes the synthetic world into a bundle at path, as a fetch of everything would have left it: all frames,
// all listings read to their end. Memory does not grow with the number of sequences.
func WriteBundle(ctx context.Context, path string, o WorldOptions) (err error) {
	w, err := newWorld(o)
	if err != nil {
		return fmt.Errorf("shape synthetic world: %w", err)
	}
	bundle, err := store.OpenWriter(ctx, path, store.WriteOptions{Source: store.Source{URL: PlatformURL, API: PlatformAPI}})
	if err != nil {
		return fmt.Errorf("write synthetic world: %w", err)
	}
	defer func() { err = errors.Join(err, bundle.Close()) }()
	if err := w.write(ctx, bundle); err != nil {
		return fmt.Errorf("write synthetic world: %w", err)
	}
	return nil
}

// bundleWriter is what the world needs of a bundle; *store.Writer is one.
type bundleWriter interface {
	PutOrganizations(ctx context.Context, organizations []store.Organization) error
	PutCameras(ctx context.Context, cameras []store.Camera) error
	PutImage(ctx context.Context, organizationID int64, key string, format store.Format, data []byte) (store.Hash, error)
	PutSequence(ctx context.Context, r store.SequenceRecord) error
	PutDay(ctx context.Context, d store.DayRecord) error
}

// world is the synthetic platform while it is written.
type world struct {
	options WorldOptions
	first   time.Time // midnight of the first day
	fetched time.Time // after everything

	organizations map[int64]store.Organization
	cameras       map[int64]store.Camera
	landscapes    map[int64]*landscape // by pose
	pictures      pictures

	detections int64 // the last id given away
	frames     uint64
	days       map[store.Day]int // sequences that started on it
}

func newWorld(o WorldOptions) (*world, error) {
	if o.FirstDay == "" {
		o.FirstDay = "2026-08-01"
	}
	if o.Days == 0 {
		o.Days = handMadeDays
	}
	first, err := store.ParseDay(o.FirstDay)
	if err != nil {
		return nil, err
	}
	if min(o.Sequences, o.Days, o.Frames, o.DistinctImages, o.ImageBytes) < 0 {
		return nil, fmt.Errorf("negative number in %+v", o)
	}
	w := &world{
		options:       o,
		first:         first.Start(),
		fetched:       first.Start().AddDate(0, 0, max(o.Days, handMadeDays)+2),
		organizations: map[int64]store.Organization{},
		cameras:       map[int64]store.Camera{},
		landscapes:    map[int64]*landscape{},
		days:          map[store.Day]int{},
	}
	if w.pictures, err = newPictures(o.ImageBytes); err != nil {
		return nil, err
	}
	return w, nil
}

// commitsAtOnce is how many sequences are being committed at a time, so that a bundle may commit them together.
const commitsAtOnce = 32

func (w *world) write(ctx context.Context, bundle bundleWriter) error {
	if err := w.writeStations(ctx, bundle); err != nil {
		return err
	}
	commits, commitCtx := errgroup.WithContext(ctx)
	commits.SetLimit(commitsAtOnce)
	produce := func() error {
		for s := range w.scenes() {
			records, err := w.record(commitCtx, bundle, s)
			if err != nil {
				return err
			}
			for _, r := range records {
				w.days[store.DayOf(r.Sequence.StartedAt.Time)]++
				commits.Go(func() error { return bundle.PutSequence(commitCtx, r) })
			}
		}
		return nil
	}
	// A failed commit cancels the producer: then its own error is the one to tell.
	produced := produce()
	if err := commits.Wait(); err != nil {
		return err
	}
	if produced != nil {
		return produced
	}
	return w.writeDays(ctx, bundle)
}

// writeStations writes organizations and their cameras.
func (w *world) writeStations(ctx context.Context, bundle bundleWriter) error {
	var organizations []store.Organization
	for _, o := range worldOrganizations() {
		parsed, err := store.ParseOrganization(document(o))
		if err != nil {
			return err
		}
		w.organizations[parsed.ID] = parsed
		organizations = append(organizations, parsed)
	}
	var cameras []store.Camera
	for _, c := range worldCameras(w.first) {
		parsed, err := store.ParseCamera(document(c))
		if err != nil {
			return err
		}
		w.cameras[parsed.ID] = parsed
		cameras = append(cameras, parsed)
	}
	if err := bundle.PutOrganizations(ctx, organizations); err != nil {
		return err
	}
	return bundle.PutCameras(ctx, cameras)
}

// writeDays says of every day that an administrator's listing of it was read to its end.
func (w *world) writeDays(ctx context.Context, bundle bundleWriter) error {
	for i := range max(w.options.Days, handMadeDays) {
		day := store.DayOf(w.first.AddDate(0, 0, i))
		if err := bundle.PutDay(ctx, store.DayRecord{
			Day: day, ListedAt: w.fetched, Sequences: w.days[day], Complete: true,
		}); err != nil {
			return err
		}
	}
	return nil
}

// landscape returns what a pose looks at.
func (w *world) landscape(pose int64) *landscape {
	if w.landscapes[pose] == nil {
		w.landscapes[pose] = newLandscape(scramble(w.options.Seed + uint64(pose)<<32))
	}
	return w.landscapes[pose]
}
