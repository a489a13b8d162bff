package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/load"
	"pyrobundle/store"
)

// annotateOptions are the flags of the annotate command.
type annotateOptions struct {
	dates      dateFlags
	regenerate regenerateOptions
}

// regenerateOptions are what annotate and import --skip-platform-fetch have in common.
type regenerateOptions struct {
	target     targetFlags
	sequences  sequenceList
	sourceAPI  sourceAPIFlag // empty: of every platform
	annotation annotationFlags
	run        runFlags
	output     outputFlags
}

func (o *annotateOptions) addFlags(flags *pflag.FlagSet, a *app) {
	o.dates.addFlags(flags, a.now)
	o.regenerate.target.addFlags(flags)
	flags.Var(&o.regenerate.sequences, "sequence-list", "only these sequences, by the platform's ids: separated by commas, or a file of them")
	flags.Var(newChoice(&o.regenerate.sourceAPI.name, "", "pyronear_french", "alert_wildfire", "api_cenia"), "source-api",
		"only sequences of this platform: pyronear_french, alert_wildfire, api_cenia; default all")
	o.regenerate.annotation.addFlags(flags)
	o.regenerate.run.addFlags(flags)
	o.regenerate.output.addFlags(flags)
}

const annotateIntro = `annotate generates annotations for the sequences that the annotation API already has in a range of days, from its own
detections. It needs neither bundle nor platform. What somebody has annotated is kept.`

const annotateExample = `  # Generate a week anew with a higher confidence
  pyrobundle annotate --date-from 2024-01-01 --date-end 2024-01-07 --confidence-threshold 0.5`

func newAnnotateCommand(a *app) *cobra.Command {
	var opts annotateOptions
	cmd := &cobra.Command{
		Use:     "annotate",
		Short:   "Generate annotations for what an annotation API already has",
		Long:    help(annotateIntro, slices.Concat(annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitInterrupted),
		Example: annotateExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := opts.dates.days("annotate")
			if err != nil {
				return err
			}
			return runRegenerate(cmd.Context(), a, "annotate", opts.regenerate, from, to)
		},
	}
	opts.addFlags(cmd.Flags(), a)
	return cmd
}

func runRegenerate(ctx context.Context, a *app, command string, opts regenerateOptions, from, to store.Day) error {
	log := a.logger(opts.output)
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
	report := a.newReport(command, "", opts.run.dryRun)
	report.Target = target.BaseURL()
	progress := a.progress(opts.output, log, command, "sequences")
	cfg.Query = store.Query{From: from, To: to, IDs: opts.sequences.ids}
	cfg.SourceAPI = opts.sourceAPI.name
	cfg.BriefPlan = !opts.output.json
	cfg.Progress = progress.add
	result, err := load.Regenerate(ctx, target, cfg)
	progress.finish()
	report.Requests, report.Bytes = target.Requests(), target.BytesSent()
	report.addLoad(result)
	return a.publish(report, opts.output.json, opts.run.strict, err)
}
