package fetch

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"pyrobundle/store"
)

// Config is what a Run is asked for.
type Config struct {
	From, To        store.Day // inclusive; both empty: no days, only what is to be repaired and tried again
	Limit           int       // frames with boxes per sequence; 0: all
	Order           store.Order
	RiskScore       string  // empty: not sent
	Sequences       []int64 // only these; empty: all
	MaxSequences    int     // 0: all; what is left out is said, what failed before is tried again beside them
	Taken           int     // how many of MaxSequences Runs with other accounts took
	Workers         int     // requests at once
	DryRun          bool
	RetryIncomplete bool
	Repair          []store.Finding // what Verify found damaged, to be fetched again
	Organizations   bool            // read organization names with the admin account
	Have            *store.Bundle   // what a dry run compares with; nil: everything is new. Otherwise the Writer's bundle.
	BytesPerSecond  int64           // what downloads are limited to, for the estimate of a dry run; 0: not limited
	Now             func() time.Time
	Log             *slog.Logger
	Completed       func(s store.Sequence)                  // of each sequence, of any day, that is complete since this Run; may be nil; concurrent
	Progress        func(unit string, done, expected int64) // deltas; units: "days" (listed), "sequences" (of those days), "images", "bytes"; may be nil; concurrent
}

// defaultWorkers is the default of --max-workers: requests at once.
const defaultWorkers = 16

// live is how long after its last detection a sequence may still grow: the platform's matching window (contract A.8).
const live = 2 * time.Hour

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Order == "":
		c.Order = store.Ascending
	case c.Order != store.Ascending && c.Order != store.Descending:
		return c, fmt.Errorf("fetch: order %q: want asc or desc", c.Order)
	}
	if c.Limit < 0 {
		return c, fmt.Errorf("fetch: limit %d: want 0 or more frames", c.Limit)
	}
	if c.MaxSequences < 0 || c.Taken < 0 {
		return c, fmt.Errorf("fetch: at most %d sequences, %d of them taken: want 0 or more", c.MaxSequences, c.Taken)
	}
	if (c.From == "") != (c.To == "") || c.To < c.From {
		return c, fmt.Errorf("fetch: days %q to %q: want a first and a last day", c.From, c.To)
	}
	if c.Workers < 1 {
		c.Workers = defaultWorkers
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Completed == nil {
		c.Completed = func(store.Sequence) {}
	}
	if c.Progress == nil {
		c.Progress = func(string, int64, int64) {}
	}
	return c, nil
}

// days are the UTC days asked for, in order.
func (c Config) days() []store.Day {
	return slices.Collect(store.Days(c.From, c.To))
}

// errNoBundle is a mistake of the caller.
var errNoBundle = errors.New("fetch: no bundle to write to")
