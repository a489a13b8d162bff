package store

import (
	"context"
	"iter"
	"time"
)

// Bundle is a bundle opened for reading. It is safe for concurrent use.
type Bundle struct{}

// Open opens the bundle at path read-only, with a shared lock; several may read at once, from read-only media too.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked or ErrCorrupt, wrapped.
func Open(path string) (*Bundle, error) { panic("not built yet") }

func (b *Bundle) Close() error   { panic("not built yet") }
func (b *Bundle) Path() string   { panic("not built yet") }
func (b *Bundle) Source() Source { panic("not built yet") }

// Query selects sequences. Zero fields do not restrict.
type Query struct {
	From, To       Day // inclusive UTC days by started_at
	CameraID       int64
	OrganizationID int64
	IDs            []int64
}

// Summary is what the index knows of a sequence without decoding it.
type Summary struct {
	ID             int64
	CameraID       int64
	OrganizationID int64 // 0: camera unknown
	StartedAt      time.Time
	Detections     int
	Frames         int
	Images         int // frames that have their image
	Coverage       Coverage
}

// Summaries yields the selected sequences by started_at, then id, in constant memory.
func (b *Bundle) Summaries(ctx context.Context, q Query) iter.Seq2[Summary, error] {
	panic("not built yet")
}

// Sequences yields the selected sequences whole, by started_at, then id, in constant memory.
func (b *Bundle) Sequences(ctx context.Context, q Query) iter.Seq2[SequenceRecord, error] {
	panic("not built yet")
}

// Sequence returns one sequence, or ErrNotFound.
func (b *Bundle) Sequence(ctx context.Context, id int64) (SequenceRecord, error) {
	panic("not built yet")
}

// Cameras and Organizations yield the newest documents by id.
func (b *Bundle) Cameras(ctx context.Context) iter.Seq2[Camera, error] { panic("not built yet") }
func (b *Bundle) Organizations(ctx context.Context) iter.Seq2[Organization, error] {
	panic("not built yet")
}

// Days yields the listed days in order; Problems what is recorded as failed or incomplete.
func (b *Bundle) Days(ctx context.Context) iter.Seq2[DayRecord, error]   { panic("not built yet") }
func (b *Bundle) Problems(ctx context.Context) iter.Seq2[Problem, error] { panic("not built yet") }

// ImageOf finds the image of a platform bucket key, or ErrNotFound.
func (b *Bundle) ImageOf(ctx context.Context, organizationID int64, key string) (Image, error) {
	panic("not built yet")
}

// StatImage describes an image by its hash, or ErrNotFound.
func (b *Bundle) StatImage(ctx context.Context, h Hash) (Image, error) { panic("not built yet") }

// ReadImage returns an image's bytes, hashed again on the way: ErrCorrupt if they are not what was stored.
func (b *Bundle) ReadImage(ctx context.Context, h Hash) ([]byte, error) { panic("not built yet") }

// Stats counts what the bundle holds.
type Stats struct {
	Sequences     int64
	Detections    int64
	Frames        int64
	FramesMissing int64 // frames without image
	Images        int64 // distinct
	ImageBytes    int64
	IndexBytes    int64
	ShardBytes    int64
	Cameras       int64
	Organizations int64
	Problems      map[Class]int64
	First, Last   Day // of the sequences held; empty where there are none
}

func (b *Bundle) Stats(ctx context.Context) (Stats, error) { panic("not built yet") }

// VerifyOptions choose how much Verify reads.
type VerifyOptions struct {
	ReadData      bool                    // every image's bytes; otherwise the structure only
	Subset, Parts int                     // with ReadData: part Subset of Parts, 1-based; 0, 0: all
	Progress      func(done, total int64) // bytes of images; may be nil
}

// Finding is one damage.
type Finding struct {
	Object    string  `json:"object"` // "manifest", "index", "shard 000003", "image <sha256>", "sequence 4242", ...
	Reason    string  `json:"reason"`
	Sequences []int64 `json:"sequences,omitempty"` // the sequences it affects
}

// Report is the outcome of Verify. No findings: everything that was to be read is proven intact.
type Report struct {
	Findings  []Finding
	Sequences int64
	Images    int64 // whose bytes were read
	Bytes     int64
	Notes     []string // what is not damage: an uncommitted tail, an index newer than its manifest
}

// Verify proves the bundle's integrity. It returns an error only where it could not look; damage is in the Report.
func (b *Bundle) Verify(ctx context.Context, o VerifyOptions) (Report, error) { panic("not built yet") }

// Digest is equal for bundles of equal content (docs/bundle-format.md).
func (b *Bundle) Digest(ctx context.Context) (Hash, error) { panic("not built yet") }
