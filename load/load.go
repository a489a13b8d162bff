// Package load is phase two: it replays a bundle into an annotation API.
package load

import (
	"context"
	"iter"
	"log/slog"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// Sequences is what load replays; *store.Bundle is one.
type Sequences interface {
	Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error]
	ReadImage(ctx context.Context, h store.Hash) ([]byte, error)
}

// Target is what load needs of an annotation API; *annotation.Client is one.
type Target interface{}

// Config is what a Run is asked for.
type Config struct {
	Query         store.Query
	SourceAPI     string // enum of contract B.1
	Thresholds    annotate.Thresholds
	Limit         int // frames with boxes; 0: all that the bundle has
	Order         store.Order
	DetectionTime DetectionTime
	Existing      Existing
	NoPredictions NoPredictions
	UndoDir       string // where Overwrite saves what it replaces
	RepairForeign bool
	Workers       int
	DryRun        bool
	Log           *slog.Logger
	Progress      func(unit string, done, expected int64) // deltas; units: "sequences", "uploads", "annotations"; may be nil; concurrent
}

type (
	// DetectionTime says which platform time a detection's recorded_at gets: "created" (as the importers) or "recorded".
	DetectionTime string
	// Existing says what becomes of annotations that a person worked on or that are there: "update", "overwrite", "keep".
	Existing string
	// NoPredictions says what a sequence without usable boxes gets: "fail", "empty", "skip".
	NoPredictions string
)

// Result is what a Run did, or with DryRun would have done.
type Result struct {
	Sequences   SequenceCounts
	Detections  DetectionCounts
	Images      int64 // uploaded
	ImageBytes  int64
	Annotations AnnotationCounts
	Foreign     int64           // sequences left alone because another tool loaded them
	Plan        []Planned       // with DryRun
	Drift       []store.Problem // metadata that changed since a sequence was loaded and cannot be updated
	Problems    []store.Problem
}

type SequenceCounts struct{ Total, Successful, Failed, New, Updated, Unchanged int64 }
type DetectionCounts struct{ Total, Created, Existing, Failed int64 }
type AnnotationCounts struct{ Created, Updated, Unchanged, KeptReviewed, Failed int64 }

// Planned is one sequence of a dry run.
type Planned struct {
	SequenceID int64              `json:"sequence_id"`
	Action     string             `json:"action"`     // create, complete, unchanged, foreign, failed
	Detections int                `json:"detections"` // to be created
	Annotation string             `json:"annotation"` // create, update, unchanged, kept_reviewed, withheld, none
	Document   *annotate.Document `json:"document,omitempty"`
}

// Run replays the selected sequences of src into dst.
func Run(ctx context.Context, src Sequences, dst Target, cfg Config) (Result, error) {
	panic("not built yet")
}

// Regenerate annotates what the target already has in cfg.Query's days, from its own detections.
func Regenerate(ctx context.Context, dst Target, cfg Config) (Result, error) { panic("not built yet") }

// Restore puts back what an undo file holds and returns what the API does not allow to be put back.
func Restore(ctx context.Context, dst Target, undoFile string) ([]string, error) {
	panic("not built yet")
}
