// Package fetch is phase one: it mirrors days of the platform into a bundle.
package fetch

import (
	"context"
	"log/slog"
	"time"

	"pyrobundle/store"
)

// Config is what a Run is asked for.
type Config struct {
	From, To        store.Day // inclusive
	Limit           int       // frames with boxes per sequence; 0: all
	Order           store.Order
	RiskScore       string  // empty: not sent
	Sequences       []int64 // only these; empty: all
	MaxSequences    int     // 0: all; what is left out is said
	Workers         int     // requests at once
	DryRun          bool
	RetryIncomplete bool
	Repair          []store.Finding // what Verify found damaged, to be fetched again
	Organizations   bool            // read organization names with the admin account
	Now             func() time.Time
	Log             *slog.Logger
	Progress        func(unit string, done, expected int64) // deltas; units: "days", "sequences", "images", "bytes"; may be nil; concurrent
}

// Result is what a Run did.
type Result struct {
	Days       int
	Sequences  Sequences
	Detections int64
	Images     Images
	Estimate   *Estimate       // of a dry run
	Unloadable []store.Problem // sequences that cannot be loaded as they are, and why
	LeftOut    int             // by MaxSequences
	Problems   []store.Problem
	Completed  []int64 // ids that this Run brought to completion, of any day
}

// Sequences count sequences. Successful + Failed = Total; New + Updated + Unchanged = Successful.
type Sequences struct{ Total, Successful, Failed, New, Updated, Unchanged int64 }

// Images count frames' images.
type Images struct{ Total, Downloaded, Reused, Failed, Bytes int64 }

// Estimate is what a fetch would transfer.
type Estimate struct {
	Images, Bytes int64
	Duration      time.Duration
}

// Run mirrors cfg's days from src into dst (nil only with DryRun).
func Run(ctx context.Context, src Source, dst *store.Writer, cfg Config) (Result, error) {
	panic("not built yet")
}

// Source is what fetch needs of a platform; *platform.Client is one.
type Source interface{}
