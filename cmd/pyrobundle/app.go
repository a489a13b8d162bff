package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/internal/httpapi"
)

// app is what every command shares: the streams, the environment and the clock that main gives it.
type app struct {
	stdout    io.Writer
	stderr    *screen
	lookupEnv func(string) (string, bool)
	now       func() time.Time
}

func newApp(stdout, stderr io.Writer, lookupEnv func(string) (string, bool), now func() time.Time) *app {
	screen := newScreen(stderr)
	if screen.terminal && isTerminal(stdout) {
		stdout = results{screen: screen, out: stdout}
	}
	return &app{stdout: stdout, stderr: screen, lookupEnv: lookupEnv, now: now}
}

// command returns the whole command line.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "pyrobundle",
		Short: "Carry wildfire sequences from the Pyronear platform into an annotation API, by way of a bundle",
		Long:  rootHelp,
		Args:  rootArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			return errors.Join(cmd.Help(), usagef("say which command to run"))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.flagsFromEnvironment(cmd.Flags()) },

		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, command: cmd.CommandPath()}
	})
	root.AddCommand(
		newFetchCommand(a), newLoadCommand(a), newImportCommand(a), newAnnotateCommand(a), newRestoreCommand(a),
		newVerifyCommand(a), newDigestCommand(a), newInspectCommand(a), newReportCommand(a),
		newDiffCommand(a), newMergeCommand(a), newPackCommand(a), newUnpackCommand(a),
		newServeCommand(a), newDemoCommand(a), newVersionCommand(a),
	)
	return root
}

const rootHelp = `pyrobundle carries wildfire sequences from the Pyronear alert platform into an annotation API in two phases that need
never be online together:

  platform API -- fetch --> bundle -- load --> annotation API

The bundle is a directory (default pyronear.bundle/), to be copied as it is. Running a command again is always safe
and is the way to resume. Results go to stdout, logs and progress to stderr.`

// flagsFromEnvironment sets the flags that the command line does not: --max-workers by PYROBUNDLE_MAX_WORKERS, and so on.
func (a *app) flagsFromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(flag *pflag.Flag) {
		name := "PYROBUNDLE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, _ := a.lookupEnv(name)
		if err != nil || flag.Changed || value == "" {
			return
		}
		if setErr := flags.Set(flag.Name, value); setErr != nil {
			err = usagef("environment variable %s: %w", name, setErr)
		}
	})
	return err
}

// rootArgs refuses an unknown command and names what may have been meant.
func rootArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("unknown command %q, did you mean %q?", args[0], near[0])
	}
	return &usageError{err: err, command: cmd.CommandPath()}
}

// arguments makes a refusal of cobra's own validators wrong usage.
func arguments(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := validate(cmd, args); err != nil {
			return &usageError{err: err, command: cmd.CommandPath()}
		}
		return nil
	}
}

// complain prints the error that ended the command, on one line.
func (a *app) complain(err error) {
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		a.say("pyrobundle: interrupted; run it again to go on")
	case errors.Is(err, httpapi.ErrUnreachable) && !strings.Contains(err.Error(), "; check --"):
		a.say("pyrobundle: " + err.Error() + "; what was done is kept: run it again when it answers")
	default:
		a.say("pyrobundle: " + err.Error())
	}
}

// say prints a line to stderr. An error of stderr has nowhere to be told.
func (a *app) say(line string) { _, _ = fmt.Fprintln(a.stderr, line) }

// print writes results to stdout.
func (a *app) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format, args...); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// logger writes to stderr, above progress bars, from the level that --loglevel names.
func (a *app) logger(o outputFlags) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: o.level()}))
}
