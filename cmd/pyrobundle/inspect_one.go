package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pyrobundle/store"
)

// sequenceDetail is the JSON of inspect sequence: the platform's documents as stored, and what became of each frame.
type sequenceDetail struct {
	Sequence     json.RawMessage   `json:"sequence"`
	Camera       json.RawMessage   `json:"camera,omitempty"`
	Organization json.RawMessage   `json:"organization,omitempty"`
	Detections   []json.RawMessage `json:"detections"`
	Frames       []store.Frame     `json:"frames"`
	Coverage     store.Coverage    `json:"coverage"`
}

func newInspectSequenceCommand(a *app) *cobra.Command {
	var opts inspectOptions
	cmd := inspectCommand(&opts, "sequence ID", "Show one sequence of a bundle", func(ctx context.Context, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || id < 1 {
			return usagef("inspect sequence %q: want a sequence id", args[0])
		}
		return a.inspect(opts, func(bundle *store.Bundle) error {
			record, err := bundle.Sequence(ctx, id)
			switch {
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("sequence %d: %w; inspect sequences lists them", id, store.ErrNotFound)
			case err != nil: // it names the sequence
				return err
			}
			return a.printSequence(record, opts.json)
		})
	})
	cmd.Args = arguments(cobra.ExactArgs(1))
	return cmd
}

func (a *app) printSequence(r store.SequenceRecord, asJSON bool) error {
	if asJSON {
		detail := sequenceDetail{Sequence: r.Sequence.Document, Frames: r.Frames, Coverage: r.Coverage, Detections: []json.RawMessage{}}
		if r.Camera != nil {
			detail.Camera = r.Camera.Document
		}
		if r.Organization != nil {
			detail.Organization = r.Organization.Document
		}
		for _, d := range r.Detections {
			detail.Detections = append(detail.Detections, d.Document)
		}
		return a.printJSON(detail)
	}
	frames := make(map[string]store.Frame, len(r.Frames))
	for _, f := range r.Frames {
		frames[f.Key] = f
	}
	camera, organization := "unknown", "unknown"
	if r.Camera != nil {
		camera = r.Camera.Name
	}
	if r.Organization != nil {
		organization = r.Organization.Name
	}
	table := newTable(a.stdout)
	table.row("sequence", r.Sequence.ID)
	table.row("camera", r.Sequence.CameraID, camera)
	table.row("organization", r.OrganizationID(), organization)
	table.row("started", r.Sequence.StartedAt.UTC().Format(time.DateTime))
	table.row("last seen", r.Sequence.LastSeenAt.UTC().Format(time.DateTime))
	table.row("label", optional(r.Sequence.IsWildfire))
	table.section()
	table.row("detection", "created (UTC)", "boxes", "image")
	for _, d := range r.Detections {
		frame := frames[d.BucketKey]
		image := frame.Image.String()
		if frame.Image.IsZero() {
			image = "none: " + frame.Problem
		}
		table.row(d.ID, d.CreatedAt.UTC().Format(time.DateTime), optional(d.BBox), image)
	}
	return table.flush()
}

func newInspectImageCommand(a *app) *cobra.Command {
	var opts inspectOptions
	var output string
	cmd := inspectCommand(&opts, "image SHA|KEY", "Write one image of a bundle to a file", func(ctx context.Context, args []string) error {
		switch {
		case output == "":
			return usagef("inspect image needs -o FILE (- is standard output)")
		case output == "-" && opts.json:
			return usagef("--json and -o - both want standard output: name a file")
		case output == "-" && a.onTerminal():
			return usagef("-o - would write an image to the terminal: redirect it or name a file")
		}
		return a.inspect(opts, func(bundle *store.Bundle) error {
			image, err := findImage(ctx, bundle, args[0])
			switch {
			case errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("image %s: %w; inspect sequence ID lists those of a sequence", args[0], store.ErrNotFound)
			case err != nil: // it names the image
				return err
			}
			data, err := bundle.ReadImage(ctx, image.Hash)
			if err != nil {
				return fmt.Errorf("image %s: %w", args[0], err)
			}
			return a.writeImage(output, image, data, opts.json)
		})
	})
	cmd.Args = arguments(cobra.ExactArgs(1))
	cmd.Example = "  pyrobundle inspect image 12-20260801103000-1a2b3c4d.jpg -o frame.jpg --bundle august.bundle"
	cmd.Flags().StringVarP(&output, "output", "o", "", "`file` to write; - is standard output")
	return cmd
}

// findImage finds an image by its SHA-256, or by its platform bucket key in whichever organization has it.
func findImage(ctx context.Context, bundle *store.Bundle, name string) (store.Image, error) {
	if hash, err := store.ParseHash(name); err == nil {
		return bundle.StatImage(ctx, hash)
	}
	tried := map[int64]bool{}
	for camera, err := range bundle.Cameras(ctx) {
		if err != nil {
			return store.Image{}, err
		}
		if tried[camera.OrganizationID] {
			continue
		}
		tried[camera.OrganizationID] = true
		image, err := bundle.ImageOf(ctx, camera.OrganizationID, name)
		if !errors.Is(err, store.ErrNotFound) {
			return image, err
		}
	}
	return bundle.ImageOf(ctx, 0, name) // a sequence whose camera is unknown
}

func (a *app) writeImage(path string, image store.Image, data []byte, asJSON bool) error {
	if path == "-" {
		_, err := a.stdout.Write(data)
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if asJSON {
		return a.printJSON(map[string]any{"sha256": image.Hash, "size": image.Size, "format": image.Format, "file": path})
	}
	return a.print("%s  %s, %s\n", path, humanBytes(image.Size), image.Format)
}
