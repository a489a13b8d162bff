package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// interruptions are the signals that end a run in good order. SIGHUP is what a run gets whose session is lost, but one under
// nohup, which ignores it, goes on.
func interruptions() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// echo is how long a signal may come again and be the same one: timeout of GNU coreutils sends it to its child and, within a
// millisecond, to the group of both. A person who means two takes longer.
const echo = 200 * time.Millisecond

// untilInterrupted is a context that ends with the first signal; the second one ends the process at once, by exit. That is not left
// to the system, which ignores SIGINT where a script has put the run into the background.
func untilInterrupted(exit func(code int)) context.Context {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, interruptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		for first := time.Now(); time.Since(first) < echo; {
			<-signals
		}
		exit(exitInterrupted)
	}()
	return ctx
}

// The exit codes of every command (DESIGN, promise 1).
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitFailures    = 3
	exitRefused     = 4
	exitLocked      = 5
	exitDamaged     = 6
	exitInterrupted = 130
)

// exitMeaning is what a command's help says of a code.
func exitMeaning(code int) string {
	switch code {
	case exitDone:
		return "done"
	case exitError:
		return "could not run (missing credentials, unreachable server, missing path, full disk)"
	case exitUsage:
		return "wrong usage, or a bundle of another platform"
	case exitFailures:
		return "finished with failures, each named on stderr; run it again to try them again"
	case exitRefused:
		return "authentication refused"
	case exitLocked:
		return "the bundle, or the annotation API, is in use by another process"
	case exitDamaged:
		return "the bundle is damaged, foreign or of an unknown format"
	case exitInterrupted:
		return "interrupted (Ctrl-C, SIGTERM, SIGHUP); what was done is reported and kept"
	}
	return ""
}

// usageError is a command line that cannot be meant. It ends with exit code 2.
type usageError struct {
	err     error
	command string // the command whose help explains the flag; empty: no hint
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%v (see '%s --help')", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// failuresError is a run that reached its end with something left over. It ends with exit code 3.
type failuresError struct {
	command            string
	failed, incomplete int
}

func (e *failuresError) Error() string {
	var parts []string
	if e.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed (run %s again to try them again, after what their lines ask for)", e.failed, e.command))
	}
	if e.incomplete > 0 {
		parts = append(parts, fmt.Sprintf("%d incomplete", e.incomplete))
	}
	return e.command + " finished with problems: " + strings.Join(parts, ", ")
}
