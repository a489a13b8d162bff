package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

const digestIntro = `digest prints the SHA-256 of what a bundle holds: the documents and the images, not when or how they were fetched. Equal
content, equal digest.`

const digestExample = `  # The same on both sides of the air gap
  pyrobundle digest --bundle /media/stick/pyronear.bundle`

func newDigestCommand(a *app) *cobra.Command {
	var bundle bundleFlag
	cmd := &cobra.Command{
		Use:     "digest",
		Short:   "Print the digest of a bundle's content",
		Long:    help(digestIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: digestExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDigest(cmd.Context(), a, bundle) },
	}
	bundle.addFlags(cmd.Flags())
	return cmd
}

func runDigest(ctx context.Context, a *app, flag bundleFlag) error {
	bundle, err := openBundle(flag.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	digest, err := bundle.Digest(ctx)
	if err != nil {
		return fmt.Errorf("digest bundle %s: %w", flag.path, err)
	}
	return a.print("%s\n", digest)
}
