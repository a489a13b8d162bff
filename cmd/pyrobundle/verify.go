package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// verifyOptions are the flags of the verify command.
type verifyOptions struct {
	bundle   bundleFlag
	readData bool
	subset   subsetFlag
	output   outputFlags
}

func (o *verifyOptions) addFlags(flags *pflag.FlagSet) {
	o.bundle.addFlags(flags)
	flags.BoolVar(&o.readData, "read-data", false, "read every image's bytes too")
	flags.Var(&o.subset, "read-data-subset", "read a part of the images: 1/7 is the first of seven parts")
	o.output.addFlags(flags)
}

const verifyIntro = `verify proves that a bundle is what was written: always its structure, with --read-data every byte. It judges
integrity, not completeness; inspect says what is missing. Damage is named with the sequences that it affects.`

const verifyExample = `  # After a copy to a stick
  pyrobundle verify --read-data --bundle /media/stick/pyronear.bundle`

func newVerifyCommand(a *app) *cobra.Command {
	var opts verifyOptions
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Prove a bundle's integrity",
		Long:    help(verifyIntro, nil, exitDone, exitError, exitUsage, exitLocked, exitDamaged, exitInterrupted),
		Example: verifyExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runVerify(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

// verifyReport is the JSON of verify.
type verifyReport struct {
	Command   string          `json:"command"`
	Bundle    string          `json:"bundle"`
	Seconds   float64         `json:"seconds"`
	Bytes     int64           `json:"bytes"` // read from images
	Sequences int64           `json:"sequences"`
	Images    int64           `json:"images"` // whose bytes were read
	Intact    bool            `json:"intact"`
	Findings  []store.Finding `json:"findings"`
	Notes     []string        `json:"notes,omitempty"`
}

func runVerify(ctx context.Context, a *app, opts verifyOptions) error {
	started := a.now()
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost

	progress := a.progress(opts.output, a.logger(opts.output), "verify", "bytes")
	var seen, expected int64
	found, err := bundle.Verify(ctx, store.VerifyOptions{
		ReadData: opts.readData || opts.subset.parts > 0,
		Subset:   opts.subset.part,
		Parts:    opts.subset.parts,
		Progress: func(done, total int64) {
			progress.add("bytes", done-seen, total-expected)
			seen, expected = done, total
		},
	})
	progress.finish()
	if err != nil {
		return fmt.Errorf("verify bundle %s: %w", opts.bundle.path, err)
	}
	if err := a.printVerified(opts, found, seconds(a.now().Sub(started))); err != nil {
		return err
	}
	if n := len(found.Findings); n > 0 {
		return fmt.Errorf("verify bundle %s: %w in %s; fetch --repair fetches again what it can", opts.bundle.path, store.ErrCorrupt, counted(n, "place"))
	}
	return nil
}

func (a *app) printVerified(opts verifyOptions, found store.Report, took float64) error {
	if opts.output.json {
		if found.Findings == nil {
			found.Findings = []store.Finding{}
		}
		return a.printJSON(verifyReport{
			Command: "verify", Bundle: opts.bundle.path, Seconds: took, Bytes: found.Bytes, Sequences: found.Sequences,
			Images: found.Images, Intact: len(found.Findings) == 0, Findings: found.Findings, Notes: found.Notes,
		})
	}
	for _, note := range found.Notes {
		a.say("note: " + note)
	}
	for _, finding := range found.Findings {
		if err := a.print("%s\n", describe(finding)); err != nil {
			return err
		}
	}
	if len(found.Findings) > 0 {
		return nil
	}
	extent := "the structure"
	switch {
	case opts.subset.parts > 0:
		extent += fmt.Sprintf(" and part %s of the images", opts.subset.String())
	case opts.readData:
		extent += " and every image"
	default:
		extent += " (--read-data reads the images too)"
	}
	return a.print("intact: %s: %d sequences, %d images read, %s\n", extent, found.Sequences, found.Images, humanBytes(found.Bytes))
}

// describe says on one line what is damaged.
func describe(f store.Finding) string {
	line := "damaged: " + f.Object + ": " + oneLine(f.Reason)
	if len(f.Sequences) > 0 {
		line += "; affects sequences " + (&sequenceList{ids: f.Sequences}).String()
	}
	return line
}

// subsetFlag is a part n of t, written n/t.
type subsetFlag struct{ part, parts int }

// Set accepts n/t with 1 <= n <= t.
func (s *subsetFlag) Set(text string) error {
	n, t, found := strings.Cut(text, "/")
	part, err := strconv.Atoi(n)
	parts, err2 := strconv.Atoi(t)
	if !found || err != nil || err2 != nil || part < 1 || part > parts {
		return fmt.Errorf("want part/parts, such as 1/7")
	}
	s.part, s.parts = part, parts
	return nil
}

func (s *subsetFlag) String() string {
	if s.parts == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.part, s.parts)
}

// Type is the placeholder in help.
func (s *subsetFlag) Type() string { return "n/t" }
