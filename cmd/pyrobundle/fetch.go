package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// fetchFlags say what of the platform is mirrored; import has them too.
type fetchFlags struct {
	platformURL     string
	order           store.Order
	riskScore       string
	sequences       sequenceList
	maxSequences    int
	accounts        string
	noOrganizations bool
	retryIncomplete bool
	rate            byteRate
}

func (f *fetchFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.platformURL, "url-api-platform", defaultPlatform, "platform API's `address`")
	flags.Var(newChoice(&f.order, store.Ascending, store.Descending), "detections-order-by", "which end of a sequence the limit keeps")
	flags.Var(newChoice(&f.riskScore, "extreme", "very_low", "low", "moderate", "high", "very_high", "none"), "risk-score",
		"fire-weather class that the platform filters by: very_low, low, moderate, high, very_high, extreme (filters nothing), none (not sent)")
	flags.Var(&f.sequences, "sequence-list", "only these sequences: ids separated by commas, or a file of them")
	flags.Var(newBounded(&f.maxSequences, 0, 0), "max-sequences", "at most so many sequences; 0 is all")
	flags.StringVar(&f.accounts, "accounts", "", "`file` with the logins of several organizations: {\"login\": \"password\"}")
	flags.BoolVar(&f.noOrganizations, "no-organizations", false, "do without the administrator's login; names of organizations stay unknown")
	flags.BoolVar(&f.retryIncomplete, "retry-incomplete", false, "try again also what is recorded as gone for good")
	flags.Var(&f.rate, "limit-rate", "most bytes per second to download, such as 2MB; 0 is no limit")
}

// fetchOptions are the flags of the fetch command.
type fetchOptions struct {
	bundle    bundleFlag
	dates     dateFlags
	fetch     fetchFlags
	limit     int
	sourceAPI sourceAPIFlag
	repair    bool
	run       runFlags
	output    outputFlags
}

func (o *fetchOptions) addFlags(flags *pflag.FlagSet, a *app) {
	o.bundle.addFlags(flags)
	o.dates.addFlags(flags, a.now)
	o.fetch.addFlags(flags)
	flags.Var(newBounded(&o.limit, 30, 0), "detections-limit", "frames with boxes per sequence; 0 is all")
	o.sourceAPI.addFlags(flags)
	flags.BoolVar(&o.repair, "repair", false, "fetch again what verify --read-data finds damaged, and write a damaged manifest again")
	o.run.addFlags(flags)
	o.output.addFlags(flags)
}

const fetchIntro = `fetch mirrors UTC days of the platform into a bundle: sequences, detections, images, cameras and organizations. Running
it again transfers only what is new or changed, and tries every recorded failure again.`

const fetchExample = `  # The last week, with the credentials of .env
  pyrobundle fetch --date-from -7d

  # One day into a bundle of its own, over a thin link
  pyrobundle fetch --date-from 2026-08-01 --date-end 2026-08-01 --bundle august.bundle --limit-rate 500kB`

func newFetchCommand(a *app) *cobra.Command {
	var opts fetchOptions
	cmd := &cobra.Command{
		Use:     "fetch",
		Short:   "Mirror days of the platform into a bundle",
		Long:    help(fetchIntro, slices.Concat(platformVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitDamaged, exitInterrupted),
		Example: fetchExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runFetch(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags(), a)
	return cmd
}

func runFetch(ctx context.Context, a *app, opts fetchOptions) error {
	from, to, err := opts.dates.days("fetch")
	if err != nil {
		return err
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
	mirror.config.From, mirror.config.To, mirror.config.Limit = from, to, opts.limit
	if mirror.repair = opts.repair; opts.repair {
		if mirror.config.Repair, err = toRepair(ctx, opts.bundle.path, opts.run.dryRun, log); err != nil {
			return err
		}
	}
	accounts, err := mirror.dial(ctx)
	if err != nil {
		return err
	}
	defer accounts.close()
	if err := mirror.open(ctx, accounts); err != nil {
		return err
	}
	report := a.newReport("fetch", opts.bundle.path, opts.run.dryRun)
	report.limited = opts.fetch.rate.bytesPerSecond > 0
	progress := a.progress(opts.output, log, "fetch", "sequences")
	mirror.config.Progress = progress.add
	result, err := mirror.run(ctx, accounts)
	progress.finish()
	report.Source = mirror.client.BaseURL
	report.addFetch(result)
	if err := a.publish(report, opts.output.json, opts.run.strict, err); err != nil || len(mirror.config.Repair) == 0 || opts.partial() {
		return err
	}
	return a.proveRepaired(ctx, opts.bundle.path)
}

// partial reports whether a fetch is asked to leave something out.
func (o *fetchOptions) partial() bool {
	return o.run.dryRun || len(o.fetch.sequences.ids) > 0 || o.fetch.maxSequences > 0
}

// toRepair lists what verify finds wrong with a bundle, whose manifest it restores where that keeps it from being opened.
func toRepair(ctx context.Context, path string, dryRun bool, log *slog.Logger) ([]store.Finding, error) {
	found, err := damage(ctx, path)
	switch {
	case !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNotBundle):
		return found, err
	case dryRun:
		return nil, fmt.Errorf("%w; a dry run repairs nothing, so what it would fetch is not known", err)
	}
	restored, restoreErr := store.RestoreManifest(path)
	switch {
	case restoreErr == nil:
		if restored.Written {
			log.Warn("the manifest was written again from the index", "reason", err)
		}
		if restored.Older {
			log.Warn("the index is older than the manifest was: what was stored last is lost; fetch the newest days again")
		}
		found, err = damage(ctx, path)
	case errors.Is(err, store.ErrNotBundle), !errors.Is(restoreErr, store.ErrCorrupt):
		err = restoreErr // it says more: the index is damaged, too, or somebody else uses the bundle
	}
	return found, beyondRepair(ctx, path, err)
}

// damage lists what verify finds wrong with a bundle.
func damage(ctx context.Context, path string) ([]store.Finding, error) {
	bundle, err := openBundle(path)
	if err != nil {
		return nil, err
	}
	found, err := bundle.Verify(ctx, store.VerifyOptions{ReadData: true})
	return found.Findings, closing(bundle, err)
}

// proveRepaired verifies a bundle after its repair: what no fetch can bring back is named, and is an error.
func (a *app) proveRepaired(ctx context.Context, path string) error {
	left, err := damage(ctx, path)
	if err != nil {
		return err
	}
	for _, finding := range left {
		a.say("still " + describe(finding))
	}
	if n := len(left); n > 0 {
		return fmt.Errorf("repair bundle %s: %w in %s still, which no fetch mends; copy it anew, or merge it into a new bundle, which takes over what is whole",
			path, store.ErrCorrupt, counted(n, "place"))
	}
	return nil
}

// beyondRepair adds to the error of a bundle whose index cannot be used what can be saved without it.
func beyondRepair(ctx context.Context, path string, err error) error {
	if !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	rescued, rescueErr := store.Rescue(ctx, path)
	if rescueErr != nil {
		return errors.Join(err, rescueErr)
	}
	return fmt.Errorf("%w: beyond repair; its shards still hold %d whole images (%s), to be extracted with: for f in %s; do tar -xf \"$f\"; done; copy the bundle anew, or fetch the days into another --bundle",
		err, rescued.Images, humanBytes(rescued.Bytes), shellWord(filepath.Join(path, "images"))+"/*.tar")
}

// shellWord is a path as a shell takes it for one word.
func shellWord(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+:@", r)
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
