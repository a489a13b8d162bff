package load

import (
	"fmt"
	"log/slog"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// Config is what a Run, or a Regenerate, is asked for.
type Config struct {
	Query         store.Query
	SourceAPI     string // one of contract B.1: pyronear_french, alert_wildfire, api_cenia; Regenerate takes "" for all
	Thresholds    annotate.Thresholds
	Limit         int           // frames with boxes of each sequence, the first in Order; 0: all that the bundle has
	Order         store.Order   // "": ascending
	DetectionTime DetectionTime // "": DetectionTimeCreated
	Existing      Existing      // "": ExistingUpdate
	NoPredictions NoPredictions // "": NoPredictionsFail
	RepairForeign bool          // complete and annotate what another tool loaded, too; nothing of it is removed
	Workers       int           // sequences in flight, and image uploads in flight; 0: 16
	DryRun        bool          // everything but writes; Result.Plan says what a run would do
	BriefPlan     bool          // with DryRun: without the annotations that would be written, which are kept until the end
	AssumeImages  bool          // with DryRun: take frames whose image was not downloaded for ones that have it, unless it is gone

	StateDir string // where the target's lock is; "": the user's (StateDir)
	UndoDir  string // where ExistingOverwrite saves what it replaces; "": undo in StateDir

	Log      *slog.Logger                            // nil: silent
	Progress func(unit string, done, expected int64) // deltas; units: "sequences", "uploads", "annotations", in Regenerate "days" (listed); may be nil; concurrent
	Patience time.Duration                           // how long a write whose answer was lost gets to appear, before it is looked for again; 0: 2 s
}

// DetectionTime says which of the platform's times a detection's recorded_at gets.
type DetectionTime string

// The times, under the names of --detection-time.
const (
	DetectionTimeCreated  DetectionTime = "created"  // when the platform received it, as the importers have it
	DetectionTimeRecorded DetectionTime = "recorded" // when the camera took it; where that is not known, created
)

// Existing says what becomes of annotations that are there already.
type Existing string

// The choices, under the names of --existing.
const (
	ExistingUpdate    Existing = "update"    // replaced, except where a person has worked on them
	ExistingOverwrite Existing = "overwrite" // replaced; what a person has worked on is saved first, to an undo file
	ExistingKeep      Existing = "keep"      // left as they are
)

// NoPredictions says what a sequence without usable boxes gets.
type NoPredictions string

// The choices, under the names of --no-predictions.
const (
	NoPredictionsFail  NoPredictions = "fail"  // no annotation; it counts as failed and incomplete
	NoPredictionsEmpty NoPredictions = "empty" // an annotation without boxes, so that a person sees the sequence
	NoPredictionsSkip  NoPredictions = "skip"  // no annotation, and that is fine
)

const (
	defaultWorkers  = 16
	defaultPatience = 2 * time.Second

	// imageMemory bounds the bytes of images held at once. With as much again for the collector and the transport it
	// keeps a run far below 96 MiB; a link fast enough to drain it is never kept waiting.
	imageMemory = 16 << 20
)

// checked returns the configuration with its defaults, or an error that names what is wrong with it.
func (c Config) checked() (Config, error) {
	c.Order = orDefault(c.Order, store.Ascending)
	c.DetectionTime = orDefault(c.DetectionTime, DetectionTimeCreated)
	c.Existing = orDefault(c.Existing, ExistingUpdate)
	c.NoPredictions = orDefault(c.NoPredictions, NoPredictionsFail)
	c.Workers = orDefault(c.Workers, defaultWorkers)
	c.Patience = orDefault(c.Patience, defaultPatience)
	c.Log = orDefault(c.Log, slog.New(slog.DiscardHandler))
	if c.Progress == nil {
		c.Progress = func(string, int64, int64) {}
	}
	if err := c.Thresholds.Validate(); err != nil {
		return c, err
	}
	switch {
	case c.Limit < 0:
		return c, fmt.Errorf("limit %d: want 0 (all) or more", c.Limit)
	case c.Workers < 1:
		return c, fmt.Errorf("workers %d: want 1 or more", c.Workers)
	case c.AssumeImages && !c.DryRun:
		return c, fmt.Errorf("images can be assumed in a dry run only")
	}
	for _, choice := range []error{
		oneOf("order", c.Order, store.Ascending, store.Descending),
		oneOf("detection time", c.DetectionTime, DetectionTimeCreated, DetectionTimeRecorded),
		oneOf("existing", c.Existing, ExistingUpdate, ExistingOverwrite, ExistingKeep),
		oneOf("no predictions", c.NoPredictions, NoPredictionsFail, NoPredictionsEmpty, NoPredictionsSkip),
	} {
		if choice != nil {
			return c, choice
		}
	}
	return c, nil
}

// checkSource refuses a source that the annotation API does not know: it answers 500 to a list of one (contract I).
func checkSource(source string) error {
	return oneOf("source", source, "pyronear_french", "alert_wildfire", "api_cenia")
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func oneOf[T ~string](name string, value T, choices ...T) error {
	for _, choice := range choices {
		if value == choice {
			return nil
		}
	}
	return fmt.Errorf("%s %q: want one of %q", name, value, choices)
}
