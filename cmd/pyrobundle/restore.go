package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/load"
	"pyrobundle/store"
)

// restoreOptions are the flags of the restore command.
type restoreOptions struct {
	target  targetFlags
	connect connectFlags
	output  outputFlags
}

func (o *restoreOptions) addFlags(flags *pflag.FlagSet) {
	o.target.addFlags(flags)
	o.connect.addFlags(flags)
	o.output.addFlags(flags)
}

const restoreIntro = `restore puts back the annotations that --existing overwrite replaced and saved, as far as the annotation API allows, and
says what it does not.`

const restoreExample = `  pyrobundle restore ~/.local/state/pyrobundle/undo/2026-08-02T030000Z.jsonl`

func newRestoreCommand(a *app) *cobra.Command {
	var opts restoreOptions
	cmd := &cobra.Command{
		Use:     "restore FILE",
		Short:   "Put back annotations that were overwritten",
		Long:    help(restoreIntro, slices.Concat(annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitInterrupted),
		Example: restoreExample,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return runRestore(cmd.Context(), a, opts, args[0]) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func runRestore(ctx context.Context, a *app, opts restoreOptions, file string) error {
	if _, err := os.Stat(file); err != nil { // before anybody logs in anywhere
		return fmt.Errorf("restore annotations: %w", err)
	}
	log := a.logger(opts.output)
	env, err := a.environment(opts.connect.envFile, log)
	if err != nil {
		return err
	}
	target, err := dialTarget(ctx, opts.target, opts.connect, env, log)
	if err != nil {
		return err
	}
	defer target.Close()
	report := a.newReport("restore", "", false)
	report.Target = target.BaseURL()
	notRestored, err := load.Restore(ctx, target, file)
	report.Requests, report.Bytes = target.Requests(), target.BytesSent()
	for _, reason := range notRestored {
		report.Problems = append(report.Problems, problem{Class: store.Incomplete, Kind: "annotation", Reason: reason})
	}
	report.text = fmt.Sprintf("Restored the annotations of %s; %d of them not as they were.\n", file, len(notRestored))
	if err != nil {
		report.text = fmt.Sprintf("Not everything of %s is restored.\n", file)
	}
	return a.publish(report, opts.output.json, false, err)
}
