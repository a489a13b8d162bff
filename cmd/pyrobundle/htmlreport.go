package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/annotate"
	htmlreport "pyrobundle/internal/report" // report is what a run did
	"pyrobundle/store"
)

// reportOptions are the flags of the report command.
type reportOptions struct {
	bundle       bundleFlag
	file         string
	dates        dateFlags
	camera       int64
	organization int64
	sequences    sequenceList
	thresholds   annotate.Thresholds
	output       outputFlags
}

func (o *reportOptions) addFlags(flags *pflag.FlagSet, a *app) {
	o.bundle.addFlags(flags)
	flags.StringVarP(&o.file, "output", "o", "report.html", "`file` to write; - is standard output")
	o.dates.addFilter(flags, a.now)
	flags.Var(newID(&o.camera, "a camera"), "camera", "only the camera of this `id`")
	flags.Var(newID(&o.organization, "an organization"), "organization", "only the organization of this `id`")
	flags.Var(&o.sequences, "sequence", "only these sequences: ids separated by commas, or a file of them")
	addThresholds(flags, &o.thresholds)
	o.output.addFlags(flags)
}

const reportIntro = `report writes one HTML file of a bundle to look at before loading: a calendar, the cameras, and of every sequence its frames
with the platform's boxes and the clusters that load would make of them with the same thresholds. The file needs no network
and no script. Up to 500 sequences it stays under 50 MB; it says which frames it leaves out (docs/report.md).`

const reportExample = `  # Look at a bundle
  pyrobundle report --bundle august.bundle -o august.html

  # What would stricter thresholds leave of one camera's first week?
  pyrobundle report --bundle august.bundle --camera 12 --date-from 2026-08-01 --date-end 2026-08-07 \
    --confidence-threshold 0.3 --min-cluster-size 3`

func newReportCommand(a *app) *cobra.Command {
	var opts reportOptions
	cmd := &cobra.Command{
		Use:     "report",
		Short:   "Write one HTML file of a bundle, to look at before loading",
		Long:    help(reportIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: reportExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runReport(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags(), a)
	return cmd
}

// reportSummary is the JSON of report.
type reportSummary struct {
	Command     string    `json:"command"`
	Bundle      string    `json:"bundle"`
	File        string    `json:"file"`
	Seconds     float64   `json:"seconds"`
	Bytes       int64     `json:"bytes"` // of the file
	Sequences   int64     `json:"sequences"`
	Annotatable int64     `json:"annotatable"` // of which load would annotate
	Clusters    int64     `json:"clusters"`
	Frames      int64     `json:"frames"`
	FramesShown int64     `json:"frames_shown"`
	Damaged     int64     `json:"damaged"`  // sequences and images that could not be read
	Problems    []problem `json:"problems"` // what was asked for by its id and is not there
}

// namesSome reports whether a camera, an organization or sequences were asked for by their ids.
func (o *reportOptions) namesSome() bool {
	return o.camera != 0 || o.organization != 0 || len(o.sequences.ids) > 0
}

func runReport(ctx context.Context, a *app, opts reportOptions) error {
	from, to, err := opts.dates.filter()
	if err != nil {
		return err
	}
	if opts.file == "" { // a script's unset variable
		return usagef("report needs -o FILE; - is standard output")
	}
	if opts.output.json && opts.file == "-" {
		return usagef("--json and -o - both want standard output: name a file")
	}
	started := a.now()
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost

	query := store.Query{From: from, To: to, CameraID: opts.camera, OrganizationID: opts.organization, IDs: opts.sequences.ids}
	selected, err := selectFrom(ctx, bundle, query)
	switch {
	case err != nil:
		return fmt.Errorf("report on bundle %s: %w", opts.bundle.path, err)
	case selected.sequences == 0 && !selected.damaged && opts.namesSome(): // a page of days without sequences says just that
		return selected.nothing(opts.bundle.path)
	}
	a.sayAll(selected.lacking)
	progress := a.progress(opts.output, a.logger(opts.output), "report", "sequences")
	shown := htmlreport.Options{
		Query:      query,
		Thresholds: opts.thresholds,
		Made:       started,
		Progress:   progress.add,
	}
	var result htmlreport.Result
	if opts.file == "-" {
		err = streamTo(ctx, a.stdout, func(to io.Writer) (err error) {
			result, err = htmlreport.Write(ctx, to, bundle, shown)
			return err
		})
	} else {
		result, err = htmlreport.Save(ctx, opts.file, bundle, shown)
	}
	progress.finish()
	if err != nil {
		return fmt.Errorf("report on bundle %s: %w", opts.bundle.path, err)
	}
	summary := reportSummary{
		Command: "report", Bundle: opts.bundle.path, File: opts.file, Seconds: seconds(a.now().Sub(started)), Bytes: result.Bytes,
		Sequences: result.Sequences, Annotatable: result.Annotatable, Clusters: result.Clusters,
		Frames: result.Frames, FramesShown: result.FramesShown, Damaged: result.Damaged, Problems: append([]problem{}, selected.lacking...),
	}
	if err := a.printReportSummary(summary, opts.output.json); err != nil {
		return err
	}
	if result.Damaged > 0 {
		return fmt.Errorf("report on bundle %s: %w: %d sequences or images could not be read; verify --read-data names them",
			opts.bundle.path, store.ErrCorrupt, result.Damaged)
	}
	return nil
}

func (a *app) printReportSummary(s reportSummary, asJSON bool) error {
	switch {
	case asJSON:
		return a.printJSON(s)
	case s.File == "-":
		return nil
	}
	return a.print("%s  %s: %d sequences, %d of %d frames shown, %d clusters\n", s.File, humanBytes(s.Bytes), s.Sequences, s.FramesShown, s.Frames, s.Clusters)
}
