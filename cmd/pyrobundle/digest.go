package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// digestOptions are the flags of the digest command.
type digestOptions struct {
	bundle bundleFlag
	json   bool
}

func (o *digestOptions) addFlags(flags *pflag.FlagSet) {
	o.bundle.addFlags(flags)
	flags.BoolVar(&o.json, "json", false, "print one JSON object instead of text (docs/json-output.md)")
}

const digestIntro = `digest prints the SHA-256 of what a bundle holds: the documents and the images, not when or how they were fetched. Equal
content, equal digest.`

const digestExample = `  # The same on both sides of the air gap
  pyrobundle digest --bundle /media/stick/pyronear.bundle`

func newDigestCommand(a *app) *cobra.Command {
	var opts digestOptions
	cmd := &cobra.Command{
		Use:     "digest",
		Short:   "Print the digest of a bundle's content",
		Long:    help(digestIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: digestExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDigest(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// digestReport is the JSON of digest.
type digestReport struct {
	Command string `json:"command"`
	Bundle  string `json:"bundle"`
	Digest  string `json:"digest"`
}

func runDigest(ctx context.Context, a *app, opts digestOptions) error {
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	digest, err := bundle.Digest(ctx)
	if err != nil {
		return fmt.Errorf("digest bundle %s: %w", opts.bundle.path, err)
	}
	if opts.json {
		return a.printJSON(digestReport{Command: "digest", Bundle: opts.bundle.path, Digest: fmt.Sprint(digest)})
	}
	return a.print("%s\n", digest)
}
