package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
		Long:    help(restoreIntro, slices.Concat(annotationVariables(), networkVariables()), exitDone, exitError, exitUsage, exitFailures, exitRefused, exitLocked, exitInterrupted),
		Example: restoreExample,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return runRestore(cmd.Context(), a, opts, args[0]) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func runRestore(ctx context.Context, a *app, opts restoreOptions, file string) error {
	saved, err := readUndoFile(file)
	if err != nil { // before anybody logs in anywhere
		return err
	}
	if err := saved.checkTarget(file, opts.target); err != nil {
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
	notRestored, err := load.Restore(ctx, target, file)
	report.Requests, report.Bytes = target.Requests(), target.BytesSent()
	for _, reason := range notRestored {
		report.Problems = append(report.Problems, problem{Class: store.Incomplete, Kind: "annotation", Reason: reason})
	}
	report.text = fmt.Sprintf("Of %s in %s, %d are as they were, %d are not.\n",
		counted(saved.annotations, "annotation"), file, saved.annotations-len(notRestored), len(notRestored))
	if err != nil {
		report.text = fmt.Sprintf("Not all of %s in %s are restored; run it again to go on.\n", counted(saved.annotations, "annotation"), file)
	}
	return a.publish(report, opts.output.json, false, err)
}

// undoFile is what a look into an undo file tells; the annotations themselves are load.Restore's to read.
type undoFile struct {
	target      string // base URL of the API that they are from
	annotations int
}

// undoFormat begins the format that the first line of an undo file names, of any version.
const undoFormat = "pyrobundle-undo/"

// readUndoFile refuses what is no undo file.
func readUndoFile(path string) (undoFile, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return undoFile{}, fmt.Errorf("restore annotations: %s: %w; load --existing overwrite says what it saved them in", path, fs.ErrNotExist)
	case err != nil:
		return undoFile{}, fmt.Errorf("restore annotations: %w", err)
	case !info.Mode().IsRegular():
		return undoFile{}, fmt.Errorf("restore annotations: %s is not a file; name one, such as %s", path, filepath.Join(path, "2026-08-02T030000Z.jsonl"))
	}
	file, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return undoFile{}, fmt.Errorf("restore annotations: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewReaderSize(file, 64<<10)
	var header struct{ Format, Target string }
	first, err := lines.ReadSlice('\n')
	if err != nil || json.Unmarshal(first, &header) != nil || !strings.HasPrefix(header.Format, undoFormat) {
		return undoFile{}, fmt.Errorf("restore annotations: %s is no undo file of pyrobundle; load --existing overwrite says what it saved them in", path)
	}
	found := undoFile{target: header.Target}
	for {
		part, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF): // a last line without its end is of an annotation that was not touched
			return found, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return undoFile{}, fmt.Errorf("restore annotations: %w", err)
		}
		found.annotations += bytes.Count(part, []byte{'\n'})
	}
}

// checkTarget refuses another annotation API than the one that the annotations are from.
func (u undoFile) checkTarget(path string, flags targetFlags) error {
	address, err := apiAddress("url-api-annotation", flags.url)
	if err != nil {
		return err
	}
	if address != u.target {
		return usagef("restore annotations: %s was saved from %s, not from %s: say so with --url-api-annotation", path, u.target, address)
	}
	return nil
}
