package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/load"
)

// restoreOptions are the flags of the restore command.
type restoreOptions struct {
	target  targetFlags
	connect connectFlags
	output  outputFlags
	strict  bool
}

func (o *restoreOptions) addFlags(flags *pflag.FlagSet) {
	o.target.addFlags(flags)
	o.connect.addFlags(flags)
	o.output.addFlags(flags)
	flags.BoolVar(&o.strict, "strict", false, "exit 3 also for what cannot be put back")
}

const restoreIntro = `restore puts back the annotations that --existing overwrite replaced and saved, as far as the annotation API allows, and
says what it does not.`

const restoreExample = `  pyrobundle restore ~/.local/state/pyrobundle/undo/2026-08-02T030000Z.jsonl`

func newRestoreCommand(a *app) *cobra.Command {
	var opts restoreOptions
	cmd := &cobra.Command{
		Use:     "restore FILE",
		Short:   "Put back annotations that were overwritten",
		Long:    help(restoreIntro, slices.Concat(annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitInterrupted),
		Example: restoreExample,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return runRestore(cmd.Context(), a, opts, args[0]) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func runRestore(ctx context.Context, a *app, opts restoreOptions, file string) error {
	saved, err := readUndo(file, opts.target)
	if err != nil {
		return err
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
	notRestored, err := load.Restore(ctx, target, file, log)
	report.Requests, report.Bytes = target.Requests(), target.BytesSent()
	report.Problems = problems(notRestored)
	report.text = fmt.Sprintf("Of %s in %s: %d restored, %d not.\n",
		counted(saved.Annotations, "annotation"), file, saved.Annotations-len(notRestored), len(notRestored))
	if err != nil {
		report.text = fmt.Sprintf("Not all of %s in %s are restored; run it again to go on.\n", counted(saved.Annotations, "annotation"), file)
	}
	return a.publish(report, opts.output.json, opts.strict, err)
}

// readUndo looks into the file before anybody logs in, and refuses one of another annotation API.
func readUndo(path string, flags targetFlags) (load.Undo, error) {
	undo, err := load.ReadUndo(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", path, fs.ErrNotExist) // it names the system's call
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, load.ErrNotUndo):
		return undo, fmt.Errorf("restore annotations: %w; load --existing overwrite says what it saved them in", err)
	case err != nil:
		return undo, fmt.Errorf("restore annotations: %w", err)
	}
	address, err := apiAddress("url-api-annotation", flags.url)
	if err != nil {
		return undo, err
	}
	if address != undo.Target {
		return undo, usagef("restore annotations: %s was saved from %s, not from %s: say so with --url-api-annotation", path, undo.Target, address)
	}
	return undo, nil
}
