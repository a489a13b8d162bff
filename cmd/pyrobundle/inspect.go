package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// inspectOptions are the flags of inspect and its subcommands.
type inspectOptions struct {
	bundle bundleFlag
	json   bool
}

func (o *inspectOptions) addFlags(flags *pflag.FlagSet) {
	o.bundle.addFlags(flags)
	flags.BoolVar(&o.json, "json", false, "print JSON: one object, or one line for each row of a table")
}

const inspectIntro = `inspect says what a bundle holds: its source and period, counts by organization, camera and day, its size, and what is
still missing and why. The subcommands print tables, or with --json one JSON object a line.`

const inspectExample = `  pyrobundle inspect
  pyrobundle inspect sequences --json | jq .id
  pyrobundle inspect image 12-20260801103000-1a2b3c4d.jpg -o frame.jpg`

func newInspectCommand(a *app) *cobra.Command {
	var opts inspectOptions
	cmd := inspectCommand(&opts, "inspect", "Say what a bundle holds", func(ctx context.Context, _ []string) error {
		return a.inspect(opts, func(bundle *store.Bundle) error { return a.inspectSummary(ctx, bundle, opts.json) })
	})
	cmd.Long, cmd.Example = help(inspectIntro, nil, inspectCodes()...), inspectExample
	cmd.AddCommand(
		newInspectSequencesCommand(a), newInspectCamerasCommand(a), newInspectDaysCommand(a), newInspectProblemsCommand(a),
		newInspectSequenceCommand(a), newInspectImageCommand(a),
	)
	return cmd
}

func inspectCodes() []int {
	return []int{exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted}
}

// inspectCommand is the shape that inspect and its subcommands share.
func inspectCommand(opts *inspectOptions, use, short string, run func(ctx context.Context, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  help(short+".", nil, inspectCodes()...),
		Args:  arguments(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), args) },

		Example: "  pyrobundle inspect " + strings.ReplaceAll(use, "ID", "4242") + " --bundle august.bundle",
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// inspect opens the bundle for one look.
func (a *app) inspect(opts inspectOptions, look func(*store.Bundle) error) error {
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	if err := look(bundle); err != nil {
		return fmt.Errorf("inspect bundle %s: %w", opts.bundle.path, err)
	}
	return nil
}

// bundleSummary is what inspect says.
type bundleSummary struct {
	Bundle        string                `json:"bundle"`
	Source        string                `json:"source"`
	SourceAPI     string                `json:"source_api,omitempty"`
	First         store.Day             `json:"first_day,omitempty"`
	Last          store.Day             `json:"last_day,omitempty"`
	Sequences     int64                 `json:"sequences"`
	Detections    int64                 `json:"detections"`
	Frames        int64                 `json:"frames"`
	FramesMissing int64                 `json:"frames_missing"` // without image
	Images        int64                 `json:"images"`
	ImageBytes    int64                 `json:"image_bytes"`
	IndexBytes    int64                 `json:"index_bytes"`
	ShardBytes    int64                 `json:"shard_bytes"`
	Organizations []groupCount          `json:"organizations"`
	Cameras       []groupCount          `json:"cameras"`
	Days          []groupCount          `json:"days"`
	Problems      map[store.Class]int64 `json:"problems"`
	Reasons       []reasonCount         `json:"reasons,omitempty"` // of the problems, most frequent first
}

// groupCount counts the sequences of one organization, camera or day.
type groupCount struct {
	ID            int64  `json:"id,omitempty"`
	Name          string `json:"name"`
	Sequences     int64  `json:"sequences"`
	Detections    int64  `json:"detections"`
	Frames        int64  `json:"frames"`
	FramesMissing int64  `json:"frames_missing"`
}

// reasonCount counts the problems of one reason.
type reasonCount struct {
	Name     string `json:"name"`
	Problems int64  `json:"problems"`
}

func (g *groupCount) count(s store.Summary) {
	g.Sequences++
	g.Detections += int64(s.Detections)
	g.Frames += int64(s.Frames)
	g.FramesMissing += int64(s.Frames - s.Images)
}

// summarize reads the index once.
func summarize(ctx context.Context, bundle *store.Bundle) (bundleSummary, error) {
	stats, err := bundle.Stats(ctx)
	if err != nil {
		return bundleSummary{}, err
	}
	sum := bundleSummary{
		Bundle: bundle.Path(), Source: bundle.Source().URL, SourceAPI: bundle.Source().API, First: stats.First, Last: stats.Last,
		Sequences: stats.Sequences, Detections: stats.Detections, Frames: stats.Frames, FramesMissing: stats.FramesMissing,
		Images: stats.Images, ImageBytes: stats.ImageBytes, IndexBytes: stats.IndexBytes, ShardBytes: stats.ShardBytes,
		Problems: map[store.Class]int64{store.Failed: 0, store.Incomplete: 0},
	}
	organizations, cameras := map[int64]*groupCount{}, map[int64]*groupCount{}
	for organization, err := range bundle.Organizations(ctx) {
		if err != nil {
			return bundleSummary{}, err
		}
		organizations[organization.ID] = &groupCount{ID: organization.ID, Name: organization.Name}
	}
	for camera, err := range bundle.Cameras(ctx) {
		if err != nil {
			return bundleSummary{}, err
		}
		cameras[camera.ID] = &groupCount{ID: camera.ID, Name: camera.Name}
	}
	days := map[store.Day]*groupCount{}
	for s, err := range bundle.Summaries(ctx, store.Query{}) {
		if err != nil {
			return bundleSummary{}, err
		}
		day := store.DayOf(s.StartedAt)
		group(organizations, s.OrganizationID, groupCount{ID: s.OrganizationID, Name: "unknown"}).count(s)
		group(cameras, s.CameraID, groupCount{ID: s.CameraID, Name: "unknown"}).count(s)
		group(days, day, groupCount{Name: string(day)}).count(s)
	}
	reasons := map[string]int64{}
	for p, err := range bundle.Problems(ctx) {
		if err != nil {
			return bundleSummary{}, err
		}
		sum.Problems[p.Class]++
		reasons[string(p.Class)+" "+p.Kind+": "+p.Reason]++
	}
	sum.Organizations, sum.Cameras, sum.Days = sorted(organizations), sorted(cameras), sorted(days)
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		sum.Reasons = append(sum.Reasons, reasonCount{Name: name, Problems: reasons[name]})
	}
	slices.SortStableFunc(sum.Reasons, func(a, b reasonCount) int { return cmp.Compare(b.Problems, a.Problems) })
	return sum, nil
}

// group returns the entry of key and makes it from initial where there is none.
func group[K comparable](groups map[K]*groupCount, key K, initial groupCount) *groupCount {
	if groups[key] == nil {
		groups[key] = &initial
	}
	return groups[key]
}

func sorted[K cmp.Ordered](groups map[K]*groupCount) []groupCount {
	list := make([]groupCount, 0, len(groups))
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[key])
	}
	return list
}

// reasonsShown bounds the text; inspect problems lists every one.
const reasonsShown = 10

func (a *app) inspectSummary(ctx context.Context, bundle *store.Bundle, asJSON bool) error {
	sum, err := summarize(ctx, bundle)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(sum)
	}
	table := newTable(a.stdout)
	table.row("bundle", sum.Bundle)
	table.row("source", strings.TrimSpace(sum.Source+" "+sum.SourceAPI))
	table.row("period", fmt.Sprintf("%s to %s", sum.First, sum.Last))
	table.row("sequences", sum.Sequences)
	table.row("detections", sum.Detections)
	table.row("frames", fmt.Sprintf("%d, %d without image", sum.Frames, sum.FramesMissing))
	table.row("images", fmt.Sprintf("%d, %s", sum.Images, humanBytes(sum.ImageBytes)))
	table.row("size", fmt.Sprintf("%s images, %s index", humanBytes(sum.ShardBytes), humanBytes(sum.IndexBytes)))
	table.row("problems", fmt.Sprintf("%d failed, %d incomplete", sum.Problems[store.Failed], sum.Problems[store.Incomplete]))
	for _, part := range []struct {
		title string
		list  []groupCount
	}{{"organization", sum.Organizations}, {"camera", sum.Cameras}, {"day", sum.Days}} {
		table.section()
		table.row(part.title, "sequences", "detections", "frames", "without image")
		for _, g := range part.list {
			name := g.Name
			if g.ID != 0 {
				name = fmt.Sprintf("%d %s", g.ID, name)
			}
			table.row(name, g.Sequences, g.Detections, g.Frames, g.FramesMissing)
		}
	}
	if len(sum.Reasons) > 0 {
		table.section()
		table.row("problems", "what and why")
	}
	for i, reason := range sum.Reasons {
		if i == reasonsShown {
			table.row("", fmt.Sprintf("and %d other reasons: see inspect problems", len(sum.Reasons)-reasonsShown))
			break
		}
		table.row(reason.Problems, reason.Name)
	}
	return table.flush()
}
