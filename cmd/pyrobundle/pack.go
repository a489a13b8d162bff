package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// packOptions are the flags of the pack command.
type packOptions struct {
	bundle bundleFlag
	to     string
	split  byteSize
	output outputFlags
}

func (o *packOptions) addFlags(flags *pflag.FlagSet) {
	o.bundle.addFlags(flags)
	flags.StringVarP(&o.to, "output", "o", "", "`file` to write, or a directory to put it into; - is standard output; default the bundle's name and .tar")
	flags.Var(&o.split, "split-size", "bytes of a part, such as 4G or 500M: parts FILE.001, FILE.002 and so on instead of one file")
	o.output.addFlags(flags)
}

const packIntro = `pack writes a bundle into one file, or into parts of a size that the medium takes (4G fits FAT32), or to standard output. The
bundle stays as it is; nobody can write to it meanwhile. Damage is not packed.

The file is a plain tar of manifest.json, index.db, images/*.tar and SHA256SUMS, so that any tar unpacks it; joined, parts are that file. Beside
it lies FILE.sha256, for sha256sum -c. Each file has the suffix .part until it is complete. An interrupted pack is continued by running
it again: what is there and right is kept.`

const packExample = `  # Onto a stick, and checked there
  pyrobundle pack -o /media/stick/week31.tar --split-size 4G --bundle week31.bundle
  (cd /media/stick && sha256sum -c week31.tar.sha256)
  # Without a copy in between
  pyrobundle pack -o - | ssh annotator pyrobundle unpack -`

func newPackCommand(a *app) *cobra.Command {
	var opts packOptions
	cmd := &cobra.Command{
		Use:     "pack",
		Short:   "Pack a bundle into one file, parts or a stream",
		Long:    help(packIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: packExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runPack(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// packReport is the JSON of pack.
type packReport struct {
	Command string       `json:"command"`
	Bundle  string       `json:"bundle"`
	File    string       `json:"file"` // as a whole: parts have its name and a number
	Seconds float64      `json:"seconds"`
	Bytes   int64        `json:"bytes"`
	Members int          `json:"members"`
	Parts   []store.Part `json:"parts"`
}

func runPack(ctx context.Context, a *app, opts packOptions) error {
	if opts.to == "-" {
		switch {
		case opts.split.bytes > 0:
			return usagef("pack -o - writes one stream; --split-size needs a file")
		case opts.output.json:
			return usagef("pack -o - writes the archive to standard output; --json needs a file")
		case a.onTerminal():
			return usagef("-o - would write an archive to the terminal: redirect it or name a file")
		}
	}
	started := a.now()
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	file, err := packedPath(opts.to, opts.bundle.path)
	if err != nil {
		return err
	}
	progress := a.progress(opts.output, a.logger(opts.output), "pack", "bytes")
	how := store.PackOptions{SplitSize: opts.split.bytes, Progress: deltas(progress, "bytes")}
	var result store.Packed
	if file == "-" {
		result, err = packStream(ctx, bundle, a.stdout, how)
	} else {
		result, err = bundle.PackFile(ctx, file, how)
	}
	progress.finish()
	if err != nil {
		return err
	}
	return a.printPacked(packReport{
		Command: "pack", Bundle: opts.bundle.path, File: file, Seconds: seconds(a.now().Sub(started)),
		Bytes: result.Bytes, Members: result.Members, Parts: result.Parts,
	}, opts.output.json)
}

// packedPath is where a bundle is packed to.
func packedPath(to, bundle string) (string, error) {
	if to == "-" {
		return to, nil
	}
	absolute, err := filepath.Abs(bundle)
	if err != nil {
		return "", fmt.Errorf("pack bundle %s: %w", bundle, err)
	}
	name := filepath.Base(absolute) + ".tar"
	if to == "" {
		return name, nil
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		return filepath.Join(to, name), nil
	}
	return to, nil
}

// packStream packs to a stream that may block for long: an interruption does not wait for it.
func packStream(ctx context.Context, bundle *store.Bundle, w io.Writer, how store.PackOptions) (result store.Packed, err error) {
	err = streamTo(ctx, w, func(to io.Writer) (err error) {
		result, err = bundle.Pack(ctx, to, how)
		return err
	})
	if err != nil {
		return store.Packed{}, err
	}
	return result, nil
}

// streamTo lets write write to standard output, which may block for long: an interruption does not wait for it.
func streamTo(ctx context.Context, w io.Writer, write func(io.Writer) error) error {
	from, to := io.Pipe()
	defer context.AfterFunc(ctx, func() { _ = from.CloseWithError(ctx.Err()) })()
	written := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{from}, make([]byte, streamBuffer))
		_ = from.CloseWithError(err) // nil: the end
		written <- err
	}()
	err := write(to)
	_ = to.CloseWithError(err) // nil: the end
	if err != nil {
		return err
	}
	select {
	case err := <-written:
		if err != nil {
			return fmt.Errorf("write to standard output: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// streamBuffer is how much of a stream is passed on at once, in bytes.
const streamBuffer = 1 << 20

func (a *app) printPacked(r packReport, asJSON bool) error {
	if r.File == "-" {
		a.say(fmt.Sprintf("packed: %d members, %s", r.Members, humanBytes(r.Bytes)))
		return nil
	}
	if asJSON {
		return a.printJSON(r)
	}
	for _, part := range r.Parts {
		state := ""
		if part.Kept {
			state = "  (kept)"
		}
		if err := a.print("%s  %s  %s%s\n", part.SHA256, part.Name, humanBytes(part.Size), state); err != nil {
			return err
		}
	}
	return a.print("packed: %s in %s; check copies with: sha256sum -c %s.sha256\n", humanBytes(r.Bytes), counted(len(r.Parts), "file"), filepath.Base(r.File))
}

// byteSize is a number of bytes, at least 1000, written 4G, 500MB or 64MiB.
type byteSize struct{ bytes int64 }

// Set accepts a number with an optional unit: k, M, G (powers of 1000) or Ki, Mi, Gi (of 1024), with or without B.
func (s *byteSize) Set(text string) error {
	var rate byteRate
	const least = 1000
	if err := rate.Set(text); err != nil || strings.Contains(text, "/") || rate.bytesPerSecond < least {
		return fmt.Errorf("want bytes, such as 4G or 500MB, at least 1kB")
	}
	s.bytes = rate.bytesPerSecond
	return nil
}

func (s *byteSize) String() string {
	if s.bytes == 0 {
		return ""
	}
	return fmt.Sprint(s.bytes)
}

// Type is the placeholder in help.
func (s *byteSize) Type() string { return "size" }
