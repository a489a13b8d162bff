package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// mergeOptions are the flags of the merge command.
type mergeOptions struct {
	into   string
	output outputFlags
}

func (o *mergeOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.into, "output", "o", "", "the bundle's `directory` to merge into; made where there is none")
	o.output.addFlags(flags)
}

const mergeIntro = `merge writes what several bundles of one platform hold into one: a new bundle, or one that is there. The others are only read.

The newest document wins, by when its sequence was fetched; detections and images are joined, and images are stored once and
hashed again as they are copied. Listed days and open problems are taken over, but for problems that one of the bundles has solved. The
order of the bundles does not matter, merging again changes nothing, and an interrupted merge is taken up by running it again.`

const mergeExample = `  pyrobundle merge -o july.bundle week27.bundle week28.bundle week29.bundle week30.bundle
  # Add what another site fetched
  pyrobundle merge -o pyronear.bundle /media/stick/south.bundle`

func newMergeCommand(a *app) *cobra.Command {
	var opts mergeOptions
	cmd := &cobra.Command{
		Use:     "merge -o C A [B...]",
		Short:   "Merge bundles of one platform into one",
		Long:    help(mergeIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: mergeExample,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return runMerge(cmd.Context(), a, opts, args) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// mergeReport is the JSON of merge.
type mergeReport struct {
	Command   string             `json:"command"`
	Bundle    string             `json:"bundle"`
	From      []string           `json:"from"`
	Source    string             `json:"source"`
	Seconds   float64            `json:"seconds"`
	Bytes     int64              `json:"bytes"` // of the images copied
	Sequences mergeSequences     `json:"sequences"`
	Images    mergeImages        `json:"images"`
	Problems  mergeProblemCounts `json:"problems"`
	Error     string             `json:"error,omitempty"` // what ended the run early
}

type mergeSequences struct {
	New       int64 `json:"new"`
	Updated   int64 `json:"updated"`
	Unchanged int64 `json:"unchanged"`
}

type mergeImages struct {
	Copied  int64 `json:"copied"`
	Reused  int64 `json:"reused"`
	Damaged int64 `json:"damaged,omitempty"`
}

type mergeProblemCounts struct {
	Open   int64 `json:"open"`
	Solved int64 `json:"solved"`
}

func runMerge(ctx context.Context, a *app, opts mergeOptions, from []string) error {
	if opts.into == "" {
		return usagef("merge needs -o DIRECTORY, the bundle to merge into")
	}
	for _, path := range from {
		if err := checkNamed(path); err != nil {
			return err
		}
	}
	started := a.now()
	progress := a.progress(opts.output, a.logger(opts.output), "merge", "sequences")
	result, ended := store.Merge(ctx, opts.into, from, store.MergeOptions{Progress: deltas(progress, "sequences")})
	progress.finish()
	if ended != nil && result == (store.MergeResult{}) {
		return ended // it has not begun
	}
	report := mergeReport{
		Command: "merge", Bundle: opts.into, From: from, Source: result.Source.URL, Bytes: result.ImageBytes,
		Seconds:   seconds(a.now().Sub(started)),
		Sequences: mergeSequences{New: result.New, Updated: result.Updated, Unchanged: result.Unchanged},
		Images:    mergeImages{Copied: result.Images, Reused: result.Reused, Damaged: result.Damaged},
		Problems:  mergeProblemCounts{Open: result.Problems, Solved: result.Solved},
	}
	if ended != nil {
		report.Error = endOf(ended)
	}
	if err := a.printMerge(report, opts.output.json); err != nil {
		return err
	}
	return ended
}

func (a *app) printMerge(r mergeReport, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	if n := r.Images.Damaged; n > 0 {
		a.say(counted(int(n), "image") + " that no sequence shows: damaged, left out")
	}
	return a.print("%s: sequences: %d new, %d updated, %d unchanged; images: %d copied (%s), %d there already; problems: %d open, %d solved\n",
		r.Bundle, r.Sequences.New, r.Sequences.Updated, r.Sequences.Unchanged, r.Images.Copied, humanBytes(r.Bytes), r.Images.Reused,
		r.Problems.Open, r.Problems.Solved)
}

// endOf is what a report says of the error that ended a run early.
func endOf(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return err.Error()
}
