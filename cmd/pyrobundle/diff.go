package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// diffOptions are the flags of the diff command.
type diffOptions struct {
	all      bool
	noImages bool
	readData bool
	output   outputFlags
}

func (o *diffOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.all, "all", false, "print what is equal, too")
	flags.BoolVar(&o.noImages, "no-images", false, "no lines of single images; those of their sequences count them")
	flags.BoolVar(&o.readData, "read-data", false, "read every image's bytes in both bundles")
	o.output.addFlags(flags)
}

const diffIntro = `diff compares what two bundles hold: their cameras, organizations and sequences, and the image of every frame. Bundles
between which it finds no difference have the same digest, and the reverse. Each line begins with a sign:

  =  equal (with --all)
  -  only in A
  +  only in B
  *  in both, and different; the line says in what: document (and its fields), detections, images
  !  damaged or unreadable in one of them, so nothing is known

Not compared, as in the digest: when and how far something was fetched, problems, and images that no sequence shows.
With --json each line is an object, and the last one sums up.`

const diffExample = `  # What did the second fetch of the week bring?
  pyrobundle diff monday.bundle friday.bundle
  # Is the copy on the stick the whole bundle, to the last byte?
  pyrobundle diff --read-data pyronear.bundle /media/stick/pyronear.bundle
  pyrobundle diff monday.bundle friday.bundle --json | jq -r 'select(.sign == "+" and .kind == "sequence").id'`

func newDiffCommand(a *app) *cobra.Command {
	var opts diffOptions
	cmd := &cobra.Command{
		Use:     "diff A B",
		Short:   "Say in what two bundles differ",
		Long:    diffHelp(),
		Example: diffExample,
		Args:    arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), a, opts, args[0], args[1])
		},
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// diffHelp says what exit code 3 means here, where nothing can fail that could be tried again.
func diffHelp() string {
	general := help(diffIntro, nil, exitDone, exitError, exitUsage, exitFailures, exitLocked, exitDamaged, exitInterrupted)
	return strings.Replace(general, exitMeaning(exitFailures), "the bundles differ", 1)
}

// errDifferent ends a diff that found differences, with exit code 3.
var errDifferent = errors.New("the bundles differ")

// diffSummary is the last line of diff.
type diffSummary struct {
	Command string                `json:"command"`
	A       string                `json:"a"`
	B       string                `json:"b"`
	Equal   bool                  `json:"equal"`
	Seconds float64               `json:"seconds"`
	Counts  map[string]*diffCount `json:"counts"` // by kind
}

type diffCount struct {
	store.Tally
	Unreadable int `json:"unreadable"`
}

func (c *diffCount) add(sign store.Sign) {
	switch sign {
	case store.Same:
		c.Same++
	case store.OnlyInA:
		c.OnlyInA++
	case store.OnlyInB:
		c.OnlyInB++
	case store.Differs:
		c.Differ++
	case store.Unreadable:
		c.Unreadable++
	}
}

// diffKinds are what the summary counts, in its order.
func diffKinds() []string { return []string{"organization", "camera", "sequence", "image"} }

func runDiff(ctx context.Context, a *app, opts diffOptions, pathA, pathB string) error {
	started := a.now()
	first, err := openNamed(pathA)
	if err != nil {
		return err
	}
	defer func() { _ = first.Close() }() // opened for reading: nothing can be lost
	second, err := openNamed(pathB)
	if err != nil {
		return err
	}
	defer func() { _ = second.Close() }()

	sum := diffSummary{Command: "diff", A: pathA, B: pathB, Equal: true, Counts: map[string]*diffCount{}}
	for _, kind := range diffKinds() {
		sum.Counts[kind] = &diffCount{}
	}
	unreadable, err := a.compare(ctx, opts, first, second, &sum)
	if err != nil {
		return err
	}
	sum.Seconds = seconds(a.now().Sub(started))
	if err := a.printDiffSummary(sum, opts.output.json); err != nil {
		return err
	}
	switch {
	case unreadable > 0:
		return fmt.Errorf("compare bundles %s and %s: %w in %s; verify --read-data says where", pathA, pathB, store.ErrCorrupt, counted(unreadable, "place"))
	case !sum.Equal:
		return errDifferent
	}
	return nil
}

// compare prints the differences as they are found, and counts them.
func (a *app) compare(ctx context.Context, opts diffOptions, first, second *store.Bundle, sum *diffSummary) (unreadable int, err error) {
	output := opts.output
	output.noProgress = true // a bar would stand between the lines
	progress := a.progress(output, a.logger(output), "diff", "sequences")
	defer progress.finish()
	for d, err := range store.Diff(ctx, first, second, store.DiffOptions{
		ReadData: opts.readData, Progress: deltas(progress, "sequences"),
	}) {
		if err != nil {
			return unreadable, err
		}
		if d.Sign == store.Unreadable {
			unreadable++
		}
		sum.Equal = sum.Equal && d.Sign == store.Same
		if count := sum.Counts[d.Kind]; count != nil {
			count.add(d.Sign)
		}
		if d.Sign == store.Same && !opts.all || d.Kind == "image" && opts.noImages {
			continue
		}
		if err := a.printDifference(d, output.json); err != nil {
			return unreadable, err
		}
	}
	return unreadable, nil
}

// deltas turns absolute figures into what a progress adds up.
func deltas(p progress, unit string) func(done, total int64) {
	var seen, expected int64
	return func(done, total int64) {
		p.add(unit, done-seen, total-expected)
		seen, expected = done, total
	}
}

func (a *app) printDifference(d store.Difference, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(a.stdout)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(d); err != nil {
			return fmt.Errorf("write to standard output: %w", err)
		}
		return nil
	}
	line := string(d.Sign) + " " + d.Kind
	if d.ID != "" {
		line += " " + oneLine(d.ID)
	}
	if d.SequenceID != 0 {
		line += fmt.Sprintf(" of sequence %d", d.SequenceID)
	}
	if detail := detailOf(d); detail != "" {
		line += ": " + detail
	}
	return a.print("%s\n", line)
}

// detailOf says in what a difference consists.
func detailOf(d store.Difference) string {
	var parts []string
	switch d.Sign {
	case store.Same:
	case store.Unreadable:
		return oneLine(d.Reason)
	case store.OnlyInA, store.OnlyInB:
		if d.Detections != nil {
			parts = append(parts, fmt.Sprintf("%d detections, %d images",
				d.Detections.OnlyInA+d.Detections.OnlyInB, d.Images.OnlyInA+d.Images.OnlyInB))
		}
	case store.Differs:
		for _, what := range d.What {
			switch {
			case what == "document" && len(d.Fields) > 0:
				what += " (" + oneLine(strings.Join(d.Fields, ", ")) + ")"
			case what == "detections":
				what += tallied(d.Detections)
			case what == "images":
				what += tallied(d.Images)
			case what == "content":
				what = fmt.Sprintf("%s in A, %s in B", d.A, d.B)
			}
			parts = append(parts, what)
		}
	}
	return strings.Join(parts, "; ")
}

// unequal counts one way of not being the same.
type unequal struct {
	n    int
	what string
}

func unequals(t store.Tally) []unequal {
	return []unequal{{t.OnlyInA, "only in A"}, {t.OnlyInB, "only in B"}, {t.Differ, "different"}}
}

func tallied(t *store.Tally) string {
	var parts []string
	for _, part := range unequals(*t) {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if parts == nil {
		return " (in another order)"
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (a *app) printDiffSummary(sum diffSummary, asJSON bool) error {
	if asJSON {
		return a.printJSON(sum)
	}
	word := "different"
	if sum.Equal {
		word = "equal"
	}
	for _, kind := range diffKinds() {
		c := sum.Counts[kind]
		word += fmt.Sprintf("; %ss: %d equal", kind, c.Same)
		for _, part := range append(unequals(c.Tally), unequal{c.Unreadable, "unreadable"}) {
			if part.n > 0 {
				word += fmt.Sprintf(", %d %s", part.n, part.what)
			}
		}
	}
	return a.print("%s\n", word)
}
