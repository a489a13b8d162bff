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
	flags.BoolVar(&o.repair, "repair", false, "fetch again what verify finds damaged")
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
		if mirror.config.Repair, err = damage(ctx, opts.bundle.path, opts.run.dryRun, log); err != nil {
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
	return a.publish(report, opts.output.json, opts.run.strict, err)
}

// damage lists what verify finds wrong with a bundle, whose manifest it restores where that keeps it from being opened.
func damage(ctx context.Context, path string, dryRun bool, log *slog.Logger) ([]store.Finding, error) {
	bundle, err := openBundle(path)
	if err != nil && !dryRun && restoreManifest(path, err, log) {
		bundle, err = openBundle(path)
	}
	if err != nil {
		return nil, beyondRepair(ctx, path, err)
	}
	found, err := bundle.Verify(ctx, store.VerifyOptions{ReadData: true})
	return found.Findings, closing(bundle, err)
}

// restoreManifest tries to mend what a bundle cannot be opened for, and says so where it has.
func restoreManifest(path string, why error, log *slog.Logger) bool {
	older, err := store.RestoreManifest(path)
	if err != nil {
		return false // why says it, too
	}
	if log.Warn("the manifest was written again from the index", "reason", why); older {
		log.Warn("the index is older than the manifest was: what was stored since is lost; fetch its days again")
	}
	return true
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
