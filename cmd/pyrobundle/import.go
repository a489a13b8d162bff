package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load"
	"pyrobundle/store"
)

// importOptions are the flags of the import command: those of fetch and of load.
type importOptions struct {
	bundle            bundleFlag
	target            targetFlags
	dates             dateFlags
	fetch             fetchFlags
	limit             int
	sourceAPI         sourceAPIFlag
	annotation        annotationFlags
	replay            replayFlags
	skipPlatformFetch bool
	run               runFlags
	output            outputFlags
}

func (o *importOptions) addFlags(flags *pflag.FlagSet, a *app) {
	o.bundle.addFlags(flags)
	o.target.addFlags(flags)
	o.dates.addFlags(flags, a.now)
	o.fetch.addFlags(flags)
	flags.Var(newBounded(&o.limit, 30, 0), "detections-limit", "frames with boxes per sequence; 0 is all")
	o.sourceAPI.addFlags(flags)
	o.annotation.addFlags(flags)
	o.replay.addFlags(flags)
	flags.BoolVar(&o.skipPlatformFetch, "skip-platform-fetch", false, "annotate what the annotation API already has, as the annotate command does; flags of the platform and of the bundle have no effect then")
	o.run.addFlags(flags)
	o.output.addFlags(flags)
}

const importIntro = `import is fetch and load in one: it mirrors the days into the bundle, then loads them, and with them the sequences of any
other day that this fetch completed. The bundle stays, and the next import resumes from it.`

const importExample = `  # Everything of two days, end to end
  pyrobundle import --date-from 2024-01-01 --date-end 2024-01-02 --loglevel info

  # Nightly, from a crontab: today, and what of the days before was live or failed
  pyrobundle import --date-from -3d`

func newImportCommand(a *app) *cobra.Command {
	var opts importOptions
	cmd := &cobra.Command{
		Use:     "import",
		Short:   "Fetch days of the platform and load them, in one go",
		Long:    help(importIntro, slices.Concat(platformVariables(), annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitDamaged, exitInterrupted),
		Example: importExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.skipPlatformFetch {
				if err := refuseWithoutFetch(cmd.Flags()); err != nil {
					return err
				}
			}
			return runImport(cmd.Context(), a, opts)
		},
	}
	opts.addFlags(cmd.Flags(), a)
	return cmd
}

// refuseWithoutFetch refuses flags that choose among what is fetched, or say how it is loaded: without a fetch they would choose
// nothing, and more would be annotated than was meant. Flags that say where things are, or how fast, may stay.
func refuseWithoutFetch(flags *pflag.FlagSet) error {
	for _, name := range []string{"detections-limit", "detections-order-by", "detection-time", "max-sequences", "repair-foreign", "risk-score"} {
		if flags.Changed(name) {
			return usagef("--%s means nothing with --skip-platform-fetch, which annotates what the annotation API has, from all its detections: leave it out", name)
		}
	}
	return nil
}

func runImport(ctx context.Context, a *app, opts importOptions) error {
	from, to, err := opts.dates.days("import")
	if err != nil {
		return err
	}
	if opts.skipPlatformFetch {
		return runRegenerate(ctx, a, "import", regenerateOptions{
			target: opts.target, sequences: opts.fetch.sequences, sourceAPI: opts.sourceAPI,
			annotation: opts.annotation, run: opts.run, output: opts.output,
		}, from, to)
	}
	log := a.logger(opts.output)
	env, err := a.environment(opts.run.connect.envFile, log)
	if err != nil {
		return err
	}
	mirror, err := a.newMirror(opts.bundle, opts.fetch, opts.sourceAPI, opts.run, env, log)
	if err != nil {
		return err
	}
	// Before hours are spent on fetching: is there an annotation API to load into, and under which name?
	target, err := dialTarget(ctx, opts.target, opts.run.connect, env, log)
	if err != nil {
		return err
	}
	defer target.Close()
	cfg := loadConfig(opts.annotation, opts.run, log)
	cfg.DetectionTime, cfg.RepairForeign = opts.replay.detectionTime, opts.replay.repairForeign
	cfg.Limit, cfg.Order = opts.limit, opts.fetch.order
	cfg.BriefPlan = !opts.output.json
	cfg.Query = store.Query{From: from, To: to, IDs: opts.fetch.sequences.ids}
	mirror.config.From, mirror.config.To, mirror.config.Limit = from, to, opts.limit

	accounts, err := mirror.dial(ctx)
	if err != nil {
		return err
	}
	defer accounts.close()
	cfg.SourceAPI, err = sourceAPI(opts.sourceAPI, accounts.clients[0].Source(), target.BaseURL())
	if err != nil {
		return err
	}
	if err := mirror.open(ctx, accounts); err != nil {
		return err
	}
	run := importRun{app: a, opts: opts, mirror: mirror, accounts: accounts, target: target, load: cfg}
	report := a.newReport("import", opts.bundle.path, opts.run.dryRun)
	report.Source, report.Target = mirror.client.BaseURL, target.BaseURL()
	report.limited = opts.fetch.rate.bytesPerSecond > 0
	if opts.run.dryRun {
		err = run.preview(ctx)
	} else {
		err = run.run(ctx)
	}
	report.addFetch(run.fetched)
	report.addLoad(run.loaded)
	if run.undo != "" {
		report.UndoFiles = append(report.UndoFiles, run.undo)
	}
	report.Requests += target.Requests()
	report.Bytes += target.BytesSent()
	return a.publish(report, opts.output.json, opts.run.strict, err)
}

// importRun is an import under way.
type importRun struct {
	app      *app
	opts     importOptions
	mirror   *mirror
	accounts logins
	target   load.Target
	load     load.Config

	elsewhere elsewhere
	fetched   mirrored
	loaded    load.Result
	undo      string // file of the load of what lies elsewhere
}

// elsewhere collects the sequences that a fetch completed outside of the days asked for: what earlier runs left. Those of
// the days themselves need no memory, however many they are.
type elsewhere struct {
	mu   sync.Mutex
	days map[int64]store.Day // by sequence
}

func (e *elsewhere) add(id int64, day store.Day) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.days == nil {
		e.days = map[int64]store.Day{}
	}
	e.days[id] = day
}

// all returns the ids in order; nothing is added any more.
func (e *elsewhere) all() []int64 { return slices.Sorted(maps.Keys(e.days)) }

// cutShort names what a run that has ended early may not have loaded. Whole in the bundle, it is nothing that the next import
// of other days would take up.
func (e *elsewhere) cutShort() (problems []store.Problem) {
	for _, id := range e.all() {
		problems = append(problems, store.Problem{
			Class: store.Failed, Kind: "sequence", ID: strconv.FormatInt(id, 10), SequenceID: id,
			Reason: "fetched, but the run may have ended before it was loaded; " + e.again(id),
		})
	}
	return problems
}

// loaded strikes off what a load has come to an end with, and says of what failed how it comes to be loaded.
func (e *elsewhere) loaded(problems []store.Problem, ended error) {
	for i, p := range problems {
		if p.Class == store.Failed {
			problems[i].Reason += "; " + e.again(p.SequenceID)
		}
	}
	if ended == nil {
		clear(e.days)
	}
	for _, p := range problems {
		delete(e.days, p.SequenceID)
	}
}

// again says how a sequence comes to be loaded that this run has not loaded.
func (e *elsewhere) again(id int64) string {
	return fmt.Sprintf("it is of %s: load the bundle, or import that day", e.days[id])
}

// run fetches, then loads the range, and what this fetch completed outside of it. A platform that goes away in the middle does
// not keep back what it has given.
func (r *importRun) run(ctx context.Context) (err error) {
	fetching := r.app.progress(r.opts.output, r.load.Log, "fetch", "sequences")
	r.mirror.config.Progress = fetching.add
	r.mirror.config.Completed = func(s store.Sequence) {
		if day := store.DayOf(s.StartedAt.Time); day < r.load.Query.From || day > r.load.Query.To {
			r.elsewhere.add(s.ID, day)
		}
	}
	r.fetched, err = r.mirror.run(ctx, r.accounts)
	fetching.finish()
	bundle, openErr := openBundle(r.opts.bundle.path)
	if openErr == nil {
		defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
		if err == nil || platformsFault(err) {
			err = cmp.Or(r.loadFetched(ctx, bundle), err)
		}
		err = cmp.Or(err, countAbsent(context.WithoutCancel(ctx), bundle, r.fetched.Problems, &r.loaded))
	}
	err = cmp.Or(err, openErr)
	r.loaded.Problems = append(r.loaded.Problems, r.elsewhere.cutShort()...)
	return err
}

// platformsFault reports whether a fetch ended because of the platform: what is in the bundle can be loaded all the same.
func platformsFault(err error) bool {
	return errors.Is(err, httpapi.ErrUnreachable) || errors.Is(err, httpapi.ErrHostUnreachable) || errors.Is(err, httpapi.ErrUnauthorized)
}

func (r *importRun) loadFetched(ctx context.Context, bundle *store.Bundle) (err error) {
	loading := r.app.progress(r.opts.output, r.load.Log, "load", "sequences")
	defer loading.finish()
	r.load.Progress = countedSequences(loading, selectedBy(ctx, bundle, r.load.Query))
	if r.loaded, err = load.Run(ctx, bundle, r.target, r.load); err != nil {
		return err
	}
	if ids := r.elsewhere.all(); len(ids) > 0 {
		r.load.Query = store.Query{IDs: ids}
		loading.add("sequences", 0, int64(len(ids)))
		more, err := load.Run(ctx, bundle, r.target, r.load)
		r.elsewhere.loaded(more.Problems, err)
		joinLoads(&r.loaded, more)
		r.undo = more.UndoFile // a run has one of its own
		if err != nil {
			return err
		}
	}
	return nil
}

// preview plans both phases from the platform's listings: no image is downloaded, nothing is written.
func (r *importRun) preview(ctx context.Context) error {
	defer func() { _ = r.mirror.close() }() // opened for reading: nothing can be lost
	looking := r.app.progress(r.opts.output, r.load.Log, "import", "days")
	defer looking.finish()
	r.load.AssumeImages = true
	r.load.Progress = looking.add
	r.mirror.config.Progress = func(unit string, done, expected int64) {
		if unit == "days" { // the plan counts the rest
			looking.add(unit, done, expected)
		}
	}
	for range store.Days(r.mirror.config.From, r.mirror.config.To) {
		looking.add("days", 0, int64(len(r.accounts.clients)))
	}
	r.fetched.Problems = r.accounts.refused
	defer r.accounts.count(&r.fetched)
	seen := map[int64]bool{}
	return r.mirror.each(ctx, r.accounts, &r.fetched, func(client *platform.Client) (fetch.Result, error) {
		preview := fetch.NewPreview(client, r.mirror.config)
		planned, err := load.Run(ctx, previewed{preview, r.accounts.beside(client), seen}, r.target, r.load)
		joinLoads(&r.loaded, planned)
		return preview.Result(), err
	})
}

// previewed is a preview as load's Sequences: it has no images to describe. The previews of several accounts each have what the
// bundle holds of all of them; here each sequence is in one, that of its organization's account where there is one.
type previewed struct {
	*fetch.Preview
	others map[int64]bool // organizations of the other accounts
	seen   map[int64]bool // sequences of the previews so far
}

// Sequences are those of the preview that no other has.
func (p previewed) Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		for record, err := range p.Preview.Sequences(ctx, q) {
			if err == nil {
				if p.others[record.OrganizationID()] || p.seen[record.Sequence.ID] {
					continue
				}
				p.seen[record.Sequence.ID] = true
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

// StatImage finds none; a dry run asks for none.
func (previewed) StatImage(context.Context, store.Hash) (store.Image, error) {
	return store.Image{}, store.ErrNotFound
}

// countAbsent counts the sequences that could not even be fetched: to the user of import they have failed like the others, also
// where the run has ended early.
func countAbsent(ctx context.Context, bundle *store.Bundle, problems []store.Problem, result *load.Result) error {
	absent := map[int64]bool{}
	for _, p := range problems {
		if p.SequenceID == 0 || p.Class != store.Failed || absent[p.SequenceID] {
			continue
		}
		switch _, err := bundle.Sequence(ctx, p.SequenceID); {
		case errors.Is(err, store.ErrNotFound):
			absent[p.SequenceID] = true
		case err != nil:
			return err
		}
	}
	result.Sequences.Total += int64(len(absent))
	result.Sequences.Failed += int64(len(absent))
	return nil
}

func joinLoads(sum *load.Result, r load.Result) {
	sum.Sequences.Total += r.Sequences.Total
	sum.Sequences.Successful += r.Sequences.Successful
	sum.Sequences.Failed += r.Sequences.Failed
	sum.Sequences.New += r.Sequences.New
	sum.Sequences.Updated += r.Sequences.Updated
	sum.Sequences.Unchanged += r.Sequences.Unchanged
	sum.Detections.Total += r.Detections.Total
	sum.Detections.Created += r.Detections.Created
	sum.Detections.Existing += r.Detections.Existing
	sum.Detections.Failed += r.Detections.Failed
	sum.Images += r.Images
	sum.ImageBytes += r.ImageBytes
	sum.Annotations.Created += r.Annotations.Created
	sum.Annotations.Updated += r.Annotations.Updated
	sum.Annotations.Unchanged += r.Annotations.Unchanged
	sum.Annotations.KeptReviewed += r.Annotations.KeptReviewed
	sum.Annotations.Failed += r.Annotations.Failed
	sum.Foreign += r.Foreign
	sum.BoxesLeftOut += r.BoxesLeftOut
	sum.Kept = append(sum.Kept, r.Kept...)
	sum.Plan = append(sum.Plan, r.Plan...)
	sum.Drift = append(sum.Drift, r.Drift...)
	sum.Problems = append(sum.Problems, r.Problems...)
}
