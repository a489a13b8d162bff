package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
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
	columns   func() int // of standard output; nil: it is no terminal
}

func newApp(stdout, stderr io.Writer, lookupEnv func(string) (string, bool), now func() time.Time) *app {
	screen := newScreen(stderr)
	a := &app{stdout: stdout, stderr: screen, lookupEnv: lookupEnv, now: now}
	if file, isFile := stdout.(*os.File); isFile && isTerminal(file) {
		a.columns = func() int {
			columns, _ := sizeOf(file)
			return columns
		}
	}
	if screen.terminal && isTerminal(stdout) {
		a.stdout = results{screen: screen, out: stdout}
	}
	return a
}

// command returns the whole command line.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "pyrobundle COMMAND",
		Short: "Carry wildfire sequences from the Pyronear platform into an annotation API, by way of a bundle",
		Long: help(rootHelp, networkVariables(),
			exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitDamaged, exitInterrupted),
		Example: rootExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			return errors.Join(cmd.Help(), usagef("say which command to run"))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.flagsFromEnvironment(cmd.Flags()) },

		SilenceErrors: true,
		SilenceUsage:  true,

		Version: readBuildVersion().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(a.printHelp)
	root.AddCommand(
		newFetchCommand(a), newLoadCommand(a), newImportCommand(a), newAnnotateCommand(a), newRestoreCommand(a),
		newVerifyCommand(a), newDigestCommand(a), newInspectCommand(a), newReportCommand(a),
		newDiffCommand(a), newMergeCommand(a), newPackCommand(a), newUnpackCommand(a),
		newServeCommand(a), newDemoCommand(a), newVersionCommand(a),
		newCompletionCommand(a), newManualCommand(a),
	)
	root.SetHelpCommand(newHelpCommand(a))
	root.InitDefaultHelpCmd()
	root.CompletionOptions.DisableDefaultCmd = true // it has one of its own
	a.completeFlags(root)
	return root
}

const rootHelp = `pyrobundle carries wildfire sequences from the Pyronear alert platform into an annotation API in two phases that need
never be online together:

  platform API -- fetch --> bundle -- load --> annotation API

The bundle is a directory (default pyronear.bundle/), to be copied as it is. Running a command again is always safe
and is the way to resume. Results go to stdout, logs and progress to stderr.`

const rootExample = `  # See the whole way on synthetic data, with nothing else installed
  pyrobundle demo

  # The last week of the platform, on to the annotation API of this machine
  pyrobundle fetch --date-from -7d
  pyrobundle load`

// flagVariable is the environment variable that stands for a flag.
func flagVariable(flag string) string {
	return "PYROBUNDLE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment reports whether a flag may come from the environment. Those that only print something may not, nor may -o: one
// variable would name a page, an image, an archive and two kinds of bundles, each written over the one before.
func fromEnvironment(flag *pflag.Flag) bool {
	return flag.Name != "help" && flag.Name != "version" && flag.Name != "output"
}

// flagsFromEnvironment sets the flags that the command line does not: --max-workers by PYROBUNDLE_MAX_WORKERS, and so on.
func (a *app) flagsFromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(flag *pflag.Flag) {
		name := flagVariable(flag.Name)
		value, _ := a.lookupEnv(name)
		if err != nil || flag.Changed || !fromEnvironment(flag) || value == "" {
			return
		}
		if setErr := flags.Set(flag.Name, value); setErr != nil {
			err = usagef("environment variable %s: %w", name, refusedValue(setErr))
		}
	})
	return err
}

// complain prints the error that ended the command, on one line.
func (a *app) complain(err error) {
	if err == nil {
		return
	}
	why := strings.ReplaceAll(err.Error(), "\n", "; ") // between errors that were joined
	switch {
	case errors.Is(err, context.Canceled):
		a.say("pyrobundle: interrupted; run it again to go on")
	case errors.Is(err, httpapi.ErrUnreachable) && !strings.Contains(why, "; check --"):
		a.say("pyrobundle: " + why + "; what was done is kept: run it again when it answers")
	default:
		a.say("pyrobundle: " + why)
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

// printJSON writes a result to stdout as one line of JSON.
func (a *app) printJSON(result any) error {
	if err := json.NewEncoder(a.stdout).Encode(result); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// onTerminal reports whether standard output is a terminal, which is no place for binary results.
func (a *app) onTerminal() bool { return a.columns != nil }

// counted is a number of things: 1 file, 2 files.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// logger writes to stderr, above progress bars, from the level that --loglevel names.
func (a *app) logger(o outputFlags) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: o.level()}))
}
