// Command pyrobundle carries wildfire sequences from the Pyronear alert platform into a bundle, and from a bundle into an
// annotation API; the two ends need never be online together.
//
// This package is the command line alone: one file for each command, all of one shape (an options struct, addFlags, run).
// The work is done in fetch and load, the bundle is store's.
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"os"
	"time"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load"
	"pyrobundle/store"
)

func main() {
	log.SetOutput(io.Discard) // net/http writes there what servers send unasked, an echoed token included
	ctx := untilInterrupted(os.Exit)
	app := newApp(os.Stdout, os.Stderr, os.LookupEnv, time.Now)
	err := app.command().ExecuteContext(ctx)
	app.complain(err)
	os.Exit(exitCode(err))
}

// exitCode is the one place where an error becomes an exit code; docs/json-output.md and every help list them.
func exitCode(err error) int {
	var usage *usageError
	var unfinished *failuresError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, store.ErrSource):
		return exitUsage
	case errors.As(err, &unfinished), errors.Is(err, errDifferent):
		return exitFailures
	case errors.Is(err, httpapi.ErrUnauthorized):
		return exitRefused
	case errors.Is(err, store.ErrLocked), errors.Is(err, load.ErrTargetBusy):
		return exitLocked
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrVersion):
		return exitDamaged
	case errors.Is(err, fs.ErrNotExist): // a missing path is not a foreign bundle
		return exitError
	case errors.Is(err, store.ErrNotBundle):
		return exitDamaged
	}
	return exitError
}
