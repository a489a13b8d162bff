package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// unpackOptions are the flags of the unpack command.
type unpackOptions struct {
	to     string
	output outputFlags
}

func (o *unpackOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.to, "output", "o", "", "`directory` that becomes the bundle; default the archive's name without .tar, of a stream pyronear.bundle")
	o.output.addFlags(flags)
}

const unpackIntro = `unpack makes a bundle again of what pack wrote: a file, parts (name the first, or the name that they have in common), or with -
standard input. Everything is verified on the way: every byte is hashed, and the structure looked at, before the
directory gets its name; what is no bundle, or damaged, leaves none. Archives may come from anybody.

It is written into DIRECTORY.unpacking first. An interrupted unpack is continued by running it again: what is there and
right is kept. Unpacking a bundle that is there already does nothing.`

const unpackExample = `  pyrobundle unpack /media/stick/week31.tar.001
  pyrobundle unpack -o week31.bundle /media/stick/week31.tar
  ssh fetcher pyrobundle pack -o - | pyrobundle unpack -`

func newUnpackCommand(a *app) *cobra.Command {
	var opts unpackOptions
	cmd := &cobra.Command{
		Use:     "unpack FILE|FILE.001|-",
		Short:   "Make a bundle again of what pack wrote",
		Long:    help(unpackIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: unpackExample,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUnpack(cmd.Context(), a, opts, args[0], cmd.InOrStdin())
		},
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// unpackReport is the JSON of unpack.
type unpackReport struct {
	Command      string  `json:"command"`
	File         string  `json:"file"`
	Bundle       string  `json:"bundle"`
	Seconds      float64 `json:"seconds"`
	Bytes        int64   `json:"bytes"`
	Members      int     `json:"members"`
	Kept         int     `json:"kept"`          // members that an interrupted run had written
	AlreadyThere bool    `json:"already_there"` // the bundle had been unpacked before
}

func runUnpack(ctx context.Context, a *app, opts unpackOptions, archive string, stdin io.Reader) error {
	if err := checkArchive(archive); err != nil {
		return err
	}
	started := a.now()
	directory := opts.to
	if directory == "" {
		directory = unpackedPath(archive)
	}
	progress := a.progress(opts.output, a.logger(opts.output), "unpack", "bytes")
	how := store.UnpackOptions{Progress: deltas(progress, "bytes")}
	var result store.Unpacked
	var err error
	if archive == "-" {
		result, err = unpackStream(ctx, stdin, directory, how)
	} else {
		result, err = store.UnpackFile(ctx, archive, directory, how)
	}
	progress.finish()
	if err != nil {
		return err
	}
	return a.printUnpacked(unpackReport{
		Command: "unpack", File: archive, Bundle: directory, Seconds: seconds(a.now().Sub(started)),
		Bytes: result.Bytes, Members: result.Members, Kept: result.Kept, AlreadyThere: result.AlreadyThere,
	}, opts.output.json)
}

// checkArchive says of an archive that is not there, and of which no part is, what to do next.
func checkArchive(path string) error {
	if path == "-" {
		return nil
	}
	parts, err := filepath.Glob(globbed(partNumber.ReplaceAllString(path, "")) + ".[0-9][0-9][0-9]*")
	if _, statErr := os.Stat(path); err == nil && len(parts) == 0 && errors.Is(statErr, fs.ErrNotExist) {
		return fmt.Errorf("unpack %s: %w; name the file that pack wrote, the first of its parts, or - for standard input", path, fs.ErrNotExist)
	}
	return nil // what else is wrong with it, unpacking says
}

// globbed is a path that a pattern takes as it is.
func globbed(path string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(path, `\$0`)
}

var partNumber = regexp.MustCompile(`\.[0-9]{3,6}$`)

// unpackedPath is the directory that an archive becomes, here.
func unpackedPath(archive string) string {
	if archive == "-" {
		return defaultBundle
	}
	name := partNumber.ReplaceAllString(filepath.Base(archive), "")
	if bundle := strings.TrimSuffix(name, ".tar"); bundle != name && bundle != "" {
		return bundle
	}
	return name + ".bundle"
}

// unpackStream unpacks a stream that may say nothing for long: an interruption does not wait for it.
func unpackStream(ctx context.Context, r io.Reader, directory string, how store.UnpackOptions) (store.Unpacked, error) {
	from, to := io.Pipe()
	defer context.AfterFunc(ctx, func() { _ = to.CloseWithError(ctx.Err()) })()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{r}, make([]byte, streamBuffer))
		_ = to.CloseWithError(err) // nil: the end
	}()
	result, err := store.Unpack(ctx, from, directory, how)
	_ = from.Close() // whoever still writes into the stream is told so
	return result, err
}

func (a *app) printUnpacked(r unpackReport, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	if r.AlreadyThere {
		return a.print("%s: it was unpacked before, and its structure is intact\n", r.Bundle)
	}
	kept := ""
	if r.Kept > 0 {
		kept = fmt.Sprintf(", %d of them kept from an interrupted run", r.Kept)
	}
	return a.print("%s: unpacked and verified: %s in %d members%s\n", r.Bundle, humanBytes(r.Bytes), r.Members, kept)
}
