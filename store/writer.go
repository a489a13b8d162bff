package store

import (
	"context"
	"log/slog"
)

// Writer is a bundle opened for writing; it reads too. It is safe for concurrent use.
type Writer struct{ *Bundle }

// WriteOptions are what a Writer needs beside its path.
type WriteOptions struct {
	Source Source       // a new bundle's source; an existing bundle's must agree, else ErrSource. A zero Source agrees with any existing one.
	Log    *slog.Logger // names of dropped fields at debug; nil: silent
}

// OpenWriter opens the bundle at path for writing and creates it where there is none. It takes up an interrupted writer's
// work: complete images in the open shard are adopted, an incomplete tail is cut.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked, ErrCorrupt or ErrSource, wrapped.
func OpenWriter(ctx context.Context, path string, o WriteOptions) (*Writer, error) {
	panic("not built yet")
}

// PutImage stores the bytes once per content and remembers key (of that organization) for them. data may be reused after
// it returns. The image is durable when Flush or a later PutSequence returns.
func (w *Writer) PutImage(ctx context.Context, organizationID int64, key string, format Format, data []byte) (Hash, error) {
	panic("not built yet")
}

// PutSequence commits a sequence, durably, after every image that it refers to. Secrets are removed from its documents. A
// stored sequence of the same id is replaced, its detections joined: a narrower record never removes rows or frames.
func (w *Writer) PutSequence(ctx context.Context, r SequenceRecord) error { panic("not built yet") }

// PutCameras and PutOrganizations replace the documents of the given ids; unchanged ones are not written.
func (w *Writer) PutCameras(ctx context.Context, cameras []Camera) error { panic("not built yet") }
func (w *Writer) PutOrganizations(ctx context.Context, organizations []Organization) error {
	panic("not built yet")
}

// MarkGone sets Coverage.Gone of a stored sequence.
func (w *Writer) MarkGone(ctx context.Context, id int64, gone bool) error { panic("not built yet") }

func (w *Writer) PutDay(ctx context.Context, d DayRecord) error { panic("not built yet") }

// PutProblem records a problem; ClearProblem forgets it, and is no error where there is none.
func (w *Writer) PutProblem(ctx context.Context, p Problem) error         { panic("not built yet") }
func (w *Writer) ClearProblem(ctx context.Context, kind, id string) error { panic("not built yet") }

// Flush makes everything put so far durable.
func (w *Writer) Flush(ctx context.Context) error { panic("not built yet") }

// Close flushes, rewrites the manifest and releases the lock.
func (w *Writer) Close() error { panic("not built yet") }
