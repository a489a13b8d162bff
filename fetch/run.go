package fetch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// run is the state of one Run.
type run struct {
	cfg       Config
	src       *paced
	dst       *store.Writer // nil: a dry run
	have      *store.Bundle // what is held already; nil: nothing
	directory directory
	selected  map[int64]bool // of cfg.Sequences; nil: all
	damaged   map[int64]bool // sequences to repair
	emit      func(store.SequenceRecord) error

	tally  tally
	ledger ledger

	frames     *semaphore.Weighted // under way
	buffers    *semaphore.Weighted // bytes of images in memory
	share      int64               // bytes of documents that each sequence may keep
	turns      chan struct{}       // a slot for the sequence that keeps more
	readers    *semaphore.Weighted // of the bundle's records
	room       atomic.Int64        // bytes that a download reserves before its size is known
	flights    singleflight.Group  // images on their way, by organization and key
	unanswered atomic.Int64        // images in a row whose host did not answer
	tooLarge   atomic.Int64        // images that were, at the first look

	listed     map[store.Day]store.DayRecord // as earlier runs left them
	failedDays map[store.Day][]int64         // whose listings of the day failed in earlier runs, by organization
	seesOthers atomic.Bool                   // a listing showed an administrator a sequence of another organization

	imageBytes int64     // of a dry run: what an image is expected to have
	foreseen   *foreseen // of a dry run: the images counted

	mu      sync.Mutex
	due     map[int64]bool // sequences to be tried again that no listing has brought up yet
	foreign map[int64]bool // of due: those that the account may not see
	taken   int            // of MaxSequences, so far
	shown   map[int64]bool // of selected: those that this run says something of
}

func newRun(src Source, dst *store.Writer, cfg Config) (*run, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if dst == nil && !cfg.DryRun {
		return nil, errNoBundle
	}
	r := &run{
		cfg:     cfg,
		src:     newPaced(src, cfg.Workers),
		have:    cfg.Have,
		damaged: map[int64]bool{},
		due:     map[int64]bool{},
		foreign: map[int64]bool{},
		taken:   cfg.Taken,
		shown:   map[int64]bool{},
		frames:  semaphore.NewWeighted(int64(framesPerWorker * max(1, cfg.Workers))),
		buffers: semaphore.NewWeighted(bufferBytes),
		share:   shareOf(cfg.Workers),
		turns:   make(chan struct{}, 1),
		readers: semaphore.NewWeighted(readers),

		listed:     map[store.Day]store.DayRecord{},
		failedDays: map[store.Day][]int64{},
	}
	r.room.Store(firstRoom(cfg.Workers))
	if cfg.DryRun {
		r.foreseen = newForeseen()
	} else {
		r.dst, r.have = dst, dst.Bundle
	}
	if len(cfg.Sequences) > 0 {
		r.selected = make(map[int64]bool, len(cfg.Sequences))
		for _, id := range cfg.Sequences {
			r.selected[id] = true
		}
	}
	for _, finding := range cfg.Repair {
		for _, id := range finding.Sequences {
			r.damaged[id] = true
		}
	}
	return r, nil
}

// visit hands a sequence that the platform showed to the workers; it waits while enough are in flight.
type visit func(s store.Sequence)

// concurrently runs list, and beside it a worker for each sequence that list finds, a bounded number at once. The first
// error ends both, and is returned when all of them have ended.
//
// More sequences are in flight than requests: those that wait for the disk must not keep the network waiting.
func (r *run) concurrently(ctx context.Context, list func(ctx context.Context, found visit) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers errgroup.Group
	workers.SetLimit(inFlight(r.cfg.Workers))
	found := func(s store.Sequence) {
		workers.Go(func() error {
			if err := r.sequence(ctx, s); err != nil {
				stop(err)
			}
			r.progressed(ctx, "sequences")
			return nil
		})
	}
	if err := list(ctx, found); err != nil {
		stop(err)
	}
	_ = workers.Wait() // workers report to stop
	return context.Cause(ctx)
}

// progressed counts one of a unit, unless it was cut short.
func (r *run) progressed(ctx context.Context, unit string) {
	if ctx.Err() == nil {
		r.cfg.Progress(unit, 1, 0)
	}
}

// endsRun reports whether an error of the platform concerns all of it rather than one request.
func endsRun(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, httpapi.ErrUnauthorized) || errors.Is(err, httpapi.ErrUnreachable)
}

// held is what read returns, within the sequence's portion of memory.
func (r *run) held(ctx context.Context, id int64, memory *portion) (*store.SequenceRecord, error) {
	record, err := r.read(ctx, id)
	if err != nil || record == nil || memory.holds(sizeOf(record)) {
		return record, err
	}
	if err := memory.wait(ctx); err != nil {
		return nil, err
	}
	return r.read(ctx, id) // again: nothing was kept while it waited
}

// read returns what the bundle has of a sequence; nil: nothing, or with repair something damaged.
func (r *run) read(ctx context.Context, id int64) (*store.SequenceRecord, error) {
	if r.have == nil {
		return nil, nil
	}
	if err := r.readers.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer r.readers.Release(1)
	record, err := r.have.Sequence(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt) && r.damaged[id]:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &record, nil
}
