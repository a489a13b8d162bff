package fetch

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"pyrobundle/fetch/platform"
	"pyrobundle/store"
)

// paced is a Source that lets a bounded number of requests through at once and knows how long they take.
type paced struct {
	src      Source
	slots    *semaphore.Weighted
	workers  int
	requests atomic.Int64
	busy     atomic.Int64 // nanoseconds spent in requests
}

func newPaced(src Source, workers int) *paced {
	return &paced{src: src, slots: semaphore.NewWeighted(int64(workers)), workers: workers}
}

// each is the mean duration of a request, 0 before the first.
func (p *paced) each() time.Duration {
	n := p.requests.Load()
	if n == 0 {
		return 0
	}
	return time.Duration(p.busy.Load() / n)
}

func through[T any](ctx context.Context, p *paced, request func() (T, error)) (T, error) {
	if err := p.slots.Acquire(ctx, 1); err != nil {
		var none T
		return none, err
	}
	defer p.slots.Release(1)
	began := time.Now()
	defer func() {
		p.requests.Add(1)
		p.busy.Add(int64(time.Since(began)))
	}()
	return request()
}

func (p *paced) Scope() string         { return p.src.Scope() }
func (p *paced) OrganizationID() int64 { return p.src.OrganizationID() }

func (p *paced) Cameras(ctx context.Context) (platform.Page[store.Camera], error) {
	return through(ctx, p, func() (platform.Page[store.Camera], error) { return p.src.Cameras(ctx) })
}

func (p *paced) Organizations(ctx context.Context) (platform.Page[store.Organization], error) {
	return through(ctx, p, func() (platform.Page[store.Organization], error) { return p.src.Organizations(ctx) })
}

func (p *paced) Sequences(ctx context.Context, q platform.SequencesQuery) (platform.Page[store.Sequence], error) {
	return through(ctx, p, func() (platform.Page[store.Sequence], error) { return p.src.Sequences(ctx, q) })
}

func (p *paced) Sequence(ctx context.Context, id int64) (store.Sequence, error) {
	return through(ctx, p, func() (store.Sequence, error) { return p.src.Sequence(ctx, id) })
}

func (p *paced) Detections(ctx context.Context, q platform.DetectionsQuery) (platform.Page[platform.Detection], error) {
	return through(ctx, p, func() (platform.Page[platform.Detection], error) { return p.src.Detections(ctx, q) })
}

func (p *paced) ImageURL(ctx context.Context, detectionID int64) (string, error) {
	return through(ctx, p, func() (string, error) { return p.src.ImageURL(ctx, detectionID) })
}

func (p *paced) Image(ctx context.Context, presigned string, limit int64) ([]byte, error) {
	return through(ctx, p, func() ([]byte, error) { return p.src.Image(ctx, presigned, limit) })
}

func (p *paced) Recycle(image []byte) { p.src.Recycle(image) }
