// Package fetch is phase one: it mirrors days of the platform into a bundle.
//
// Run is the phase from top to bottom; each step has its own file. Its neighbours: fetch/platform is the API it reads,
// store the bundle it writes; package load, which replays bundles, is unknown to it.
//
// Within this package an error that is returned ends the run (the caller's context, a refused account, a dead platform, a
// bundle that cannot be written). Whatever concerns one day, sequence or image becomes a store.Problem and the run goes on.
package fetch

import (
	"context"
	"fmt"

	"pyrobundle/fetch/platform"
	"pyrobundle/store"
)

// Source is what fetch needs of a platform; *platform.Client is one.
type Source interface {
	Cameras(ctx context.Context) (platform.Page[store.Camera], error)
	Organizations(ctx context.Context) (platform.Page[store.Organization], error)
	Sequences(ctx context.Context, q platform.SequencesQuery) (platform.Page[store.Sequence], error)
	Sequence(ctx context.Context, id int64) (store.Sequence, error)
	Detections(ctx context.Context, q platform.DetectionsQuery) (platform.Page[platform.Detection], error)
	ImageURL(ctx context.Context, detectionID int64) (string, error)
	Image(ctx context.Context, presigned string, limit int64) ([]byte, error)
	Recycle(image []byte) // that Image returned and nobody looks at any more
	Scope() string
	OrganizationID() int64
}

// Run mirrors cfg's days from src into dst (nil only with DryRun) and returns what it did, also after an error.
//
// A sequence is committed only after every image that it refers to, so an interrupted Run leaves a bundle that opens,
// verifies and is taken up by the next Run. Problems of single days, sequences and images never end it; they are in the
// Result and recorded in the bundle. What does end it: ctx, httpapi.ErrUnauthorized, httpapi.ErrUnreachable, and errors
// of the bundle.
func Run(ctx context.Context, src Source, dst *store.Writer, cfg Config) (Result, error) {
	r, err := newRun(src, dst, cfg)
	if err != nil {
		return Result{}, err
	}
	if err := r.recall(ctx); err != nil {
		return r.summary(), err
	}
	if err := r.readDirectory(ctx); err != nil {
		return r.summary(), fmt.Errorf("read cameras and organizations: %w", err)
	}
	err = r.concurrently(ctx, func(ctx context.Context, found visit) error {
		if err := r.listDays(ctx, found); err != nil {
			return err
		}
		return r.revisit(ctx, found) // what earlier runs failed at, or Verify found damaged
	})
	return r.summary(), err
}
