package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"pyrobundle/store"
)

// Preview is what a bundle would hold of cfg's days after a Run, for planning what comes after it (import --dry-run): the
// records are made from the platform's listings and cfg.Have, no image is downloaded and nothing written.
//
// A frame whose image is not held carries a stand-in hash, the SHA-256 of its key; ReadImage has no bytes for any. It is
// safe for use by one goroutine at a time.
type Preview struct {
	run  *run
	err  error // of the configuration
	once sync.Once
}

// NewPreview makes a Preview; it sends nothing. cfg is as for Run and need not say DryRun.
func NewPreview(src Source, cfg Config) *Preview {
	cfg.DryRun = true
	r, err := newRun(src, nil, cfg)
	return &Preview{run: r, err: err}
}

// Sequences yields the records of the days of q that cfg has too, by started_at, then id, one day in memory at a time. What
// the platform does not show and the bundle has is among them. Each call lists its days anew and counts them in Result.
//
// Sequences that could not be listed are problems of Result; an error is one that ends a Run.
func (p *Preview) Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		if err := p.prepare(ctx); err != nil {
			yield(store.SequenceRecord{}, err)
			return
		}
		for _, day := range p.run.cfg.days() {
			if q.From != "" && day < q.From || q.To != "" && day > q.To {
				continue
			}
			records, err := p.day(ctx, day)
			if err != nil {
				yield(store.SequenceRecord{}, err)
				return
			}
			for _, record := range records {
				if selects(q, &record) && !yield(record, nil) {
					return
				}
			}
		}
	}
}

// ReadImage has no image.
func (p *Preview) ReadImage(context.Context, store.Hash) ([]byte, error) { return nil, errPreview }

// errPreview is what reading an image of a Preview ends with.
var errPreview = errors.New("a preview has no images")

// Result is that of a dry Run over the days yielded so far.
func (p *Preview) Result() Result {
	if p.err != nil {
		return Result{}
	}
	return p.run.summary()
}

// prepare reads, once, what all days need.
func (p *Preview) prepare(ctx context.Context) error {
	p.once.Do(func() {
		if p.err == nil {
			p.err = p.run.recall(ctx)
		}
		if p.err == nil {
			p.err = p.run.readDirectory(ctx)
		}
	})
	return p.err
}

func (p *Preview) day(ctx context.Context, day store.Day) ([]store.SequenceRecord, error) {
	var mu sync.Mutex
	records := map[int64]store.SequenceRecord{}
	var kept int64 // bytes
	p.run.emit = func(record store.SequenceRecord) error {
		mu.Lock()
		defer mu.Unlock()
		if kept += sizeOf(&record); kept > maxPreview {
			return fmt.Errorf("preview %s: its sequences have more than %d MiB; fetch it and load it", day, maxPreview>>20)
		}
		records[record.Sequence.ID] = record
		return nil
	}
	err := p.run.concurrently(ctx, func(ctx context.Context, found visit) error {
		return p.run.listDay(ctx, day, found)
	})
	if err != nil {
		return nil, err
	}
	if p.run.have != nil {
		for record, err := range p.run.have.Sequences(ctx, store.Query{From: day, To: day}) {
			if err != nil {
				return nil, err
			}
			if _, listed := records[record.Sequence.ID]; !listed {
				records[record.Sequence.ID] = record
			}
		}
	}
	sorted := make([]store.SequenceRecord, 0, len(records))
	for _, record := range records {
		sorted = append(sorted, record)
	}
	slices.SortFunc(sorted, func(a, b store.SequenceRecord) int {
		return cmp.Or(a.Sequence.StartedAt.Compare(b.Sequence.StartedAt.Time), cmp.Compare(a.Sequence.ID, b.Sequence.ID))
	})
	return sorted, nil
}

func selects(q store.Query, record *store.SequenceRecord) bool {
	return (q.CameraID == 0 || q.CameraID == record.Sequence.CameraID) &&
		(q.OrganizationID == 0 || q.OrganizationID == record.OrganizationID()) &&
		(len(q.IDs) == 0 || slices.Contains(q.IDs, record.Sequence.ID))
}
