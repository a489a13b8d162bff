package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// targetFlags say which annotation API.
type targetFlags struct{ url string }

func (t *targetFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&t.url, "url-api-annotation", "http://localhost:5050", "annotation API's `address`")
}

// annotationFlags say what is written; load, import and annotate have them.
type annotationFlags struct {
	thresholds    annotate.Thresholds
	existing      load.Existing
	undoDir       string
	noPredictions load.NoPredictions
}

func (f *annotationFlags) addFlags(flags *pflag.FlagSet) {
	addThresholds(flags, &f.thresholds)
	flags.Var(newChoice(&f.existing, load.ExistingUpdate, load.ExistingOverwrite, load.ExistingKeep), "existing",
		"annotations already there: update all but those that somebody worked on, overwrite those too (saved first), or keep all")
	flags.StringVar(&f.undoDir, "undo-dir", "", "`directory` for what --existing overwrite replaces; default in the user's state directory")
	flags.Var(newChoice(&f.noPredictions, load.NoPredictionsFail, load.NoPredictionsEmpty, load.NoPredictionsSkip), "no-predictions", "what a sequence without usable boxes gets")
}

// addThresholds adds the knobs of generation; report has them too.
func addThresholds(flags *pflag.FlagSet, t *annotate.Thresholds) {
	flags.Var(newFraction(&t.Confidence, 0), "confidence-threshold", "least confidence of a box, 0 to 1; 0 keeps all")
	flags.Var(newFraction(&t.IoU, 0.3), "iou-threshold", "boxes that overlap by more belong together, 0 to 1")
	flags.Var(newBounded(&t.MinClusterSize, 1, 1), "min-cluster-size", "least boxes of an object, at least 1")
}

// replayFlags say how a bundle is replayed; load and import have them.
type replayFlags struct {
	detectionTime load.DetectionTime
	repairForeign bool
}

func (f *replayFlags) addFlags(flags *pflag.FlagSet) {
	flags.Var(newChoice(&f.detectionTime, load.DetectionTimeCreated, load.DetectionTimeRecorded), "detection-time", "platform time that a detection's recorded_at gets")
	flags.BoolVar(&f.repairForeign, "repair-foreign", false, "complete also sequences that another tool has loaded")
}

// loadOptions are the flags of the load command.
type loadOptions struct {
	bundle     bundleFlag
	target     targetFlags
	dates      dateFlags
	sequences  sequenceList
	limit      int
	order      store.Order
	sourceAPI  sourceAPIFlag
	annotation annotationFlags
	replay     replayFlags
	run        runFlags
	output     outputFlags
}

func (o *loadOptions) addFlags(flags *pflag.FlagSet, a *app) {
	o.bundle.addFlags(flags)
	o.target.addFlags(flags)
	o.dates.addFilter(flags, a.now)
	flags.Var(&o.sequences, "sequence-list", "only these sequences: ids separated by commas, or a file of them")
	flags.Var(newBounded(&o.limit, 0, 0), "detections-limit", "frames with boxes per sequence; 0 is all that the bundle has")
	flags.Var(newChoice(&o.order, store.Ascending, store.Descending), "detections-order-by", "which end of a sequence the limit keeps")
	o.sourceAPI.addFlags(flags)
	o.annotation.addFlags(flags)
	o.replay.addFlags(flags)
	o.run.addFlags(flags)
	o.output.addFlags(flags)
}

const loadIntro = `load replays a bundle into an annotation API: it creates sequences, uploads their images as detections, and generates
their annotations at stage ready_to_annotate. Running it again creates nothing twice, completes what is half there, and with
other thresholds generates anew. What somebody has annotated is kept.`

const loadExample = `  # Into the annotation API of this machine
  pyrobundle load --bundle august.bundle

  # See first what would be done on staging
  pyrobundle load --url-api-annotation https://staging.example.org --dry-run`

func newLoadCommand(a *app) *cobra.Command {
	var opts loadOptions
	cmd := &cobra.Command{
		Use:     "load",
		Short:   "Replay a bundle into an annotation API and generate annotations",
		Long:    help(loadIntro, slices.Concat(annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitDamaged, exitInterrupted),
		Example: loadExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLoad(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags(), a)
	return cmd
}

func runLoad(ctx context.Context, a *app, opts loadOptions) error {
	from, to, err := opts.dates.filter()
	if err != nil {
		return err
	}
	log := a.logger(opts.output)
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost

	env, err := a.environment(opts.run.connect.envFile, log)
	if err != nil {
		return err
	}
	target, err := dialTarget(ctx, opts.target, opts.run.connect, env, log)
	if err != nil {
		return err
	}
	defer target.Close()
	cfg := loadConfig(opts.annotation, opts.run, log)
	if cfg.SourceAPI, err = sourceAPI(opts.sourceAPI, bundle.Source(), target.BaseURL()); err != nil {
		return err
	}
	cfg.Query = store.Query{From: from, To: to, IDs: opts.sequences.ids}
	cfg.Limit, cfg.Order = opts.limit, opts.order
	cfg.DetectionTime, cfg.RepairForeign = opts.replay.detectionTime, opts.replay.repairForeign
	cfg.BriefPlan = !opts.output.json

	selected, err := selectFrom(ctx, bundle, cfg.Query)
	if err != nil {
		return fmt.Errorf("load bundle %s: %w", opts.bundle.path, err)
	}
	report := a.newReport("load", opts.bundle.path, opts.run.dryRun)
	report.Source, report.Target = bundle.Source().URL, target.BaseURL()
	progress := a.progress(opts.output, log, "load", "sequences")
	cfg.Progress = countedSequences(progress, selected.sequences)
	result, err := load.Run(ctx, bundle, target, cfg)
	progress.finish()
	report.Problems = append(report.Problems, selected.lacking...)
	report.Requests, report.Bytes = target.Requests(), target.BytesSent()
	report.addLoad(result)
	return a.publish(report, opts.output.json, opts.run.strict, err)
}

// selectedBy counts the sequences that a load will go through. Errors are the load's to find.
func selectedBy(ctx context.Context, bundle *store.Bundle, q store.Query) (n int64) {
	for _, err := range bundle.Summaries(ctx, q) {
		if err == nil {
			n++
		}
	}
	return n
}

// dialTarget logs in to the annotation API.
func dialTarget(ctx context.Context, flags targetFlags, connect connectFlags, env environment, log *slog.Logger) (*annotation.Client, error) {
	address, err := apiAddress("url-api-annotation", flags.url)
	if err != nil {
		return nil, err
	}
	login, password, err := annotationCredentials(env, address)
	if err != nil {
		return nil, err
	}
	client, err := annotation.Dial(ctx, annotation.Config{
		BaseURL:   address,
		Login:     login,
		Password:  password,
		Transport: httpapi.NewTransport(),
		Retry:     connect.retry(),
		Log:       log,
		UserAgent: userAgent(),
	})
	switch {
	case errors.Is(err, httpapi.ErrUnauthorized):
		return nil, &refusedTarget{address: address, login: login, err: err}
	case err != nil:
		return nil, notReached("annotation API", address, "url-api-annotation", err)
	}
	log.Info("annotation API", "url", address, "generation", string(client.Generation()))
	return client, nil
}

// refusedTarget is a login that the annotation API refused: in its own words, without the steps that led to it.
type refusedTarget struct {
	address, login string
	err            error
}

func (e *refusedTarget) Error() string {
	reason := e.err
	var answer *httpapi.Error
	if errors.As(e.err, &answer) {
		reason = answer
	}
	prefix := annotationPrefix(e.address)
	return fmt.Sprintf("log in to %s as %q: %v (check %sLOGIN and %sPASSWORD)", e.address, e.login, reason, prefix, prefix)
}

func (e *refusedTarget) Unwrap() error { return e.err }

// loadConfig takes over the flags that every writer of annotations has.
func loadConfig(flags annotationFlags, run runFlags, log *slog.Logger) load.Config {
	return load.Config{
		Thresholds:    flags.thresholds,
		Existing:      flags.existing,
		NoPredictions: flags.noPredictions,
		UndoDir:       flags.undoDir,
		Workers:       run.workers,
		DryRun:        run.dryRun,
		Log:           log,
		Patience:      min(lostAnswerPatience, run.connect.retryFor.duration/4),
	}
}

// lostAnswerPatience is how long a write whose answer was lost gets to appear before it is looked for again. Who wants no
// request repeated for long does not want to wait for that either: a short --retry-for shortens it.
const lostAnswerPatience = 2 * time.Second
