package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pyrobundle/store"
)

// printTable prints rows as an aligned table, or as one JSON object a line.
func printTable[T any](out io.Writer, asJSON bool, rows iter.Seq2[T, error], header string, cells func(T) []any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	table := newTable(out)
	if !asJSON {
		var titles []any
		for title := range strings.SplitSeq(header, "\t") {
			titles = append(titles, title)
		}
		table.row(titles...)
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		if asJSON {
			if err := encoder.Encode(row); err != nil {
				return err
			}
			continue
		}
		table.row(cells(row)...)
	}
	return table.flush()
}

// mapRows turns a sequence's values into rows.
func mapRows[A, B any](rows iter.Seq2[A, error], convert func(A) B) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for row, err := range rows {
			if !yield(convert(row), err) {
				return
			}
		}
	}
}

type sequenceRow struct {
	ID             int64     `json:"id"`
	StartedAt      time.Time `json:"started_at"`
	CameraID       int64     `json:"camera_id"`
	OrganizationID int64     `json:"organization_id"`
	Detections     int       `json:"detections"`
	Frames         int       `json:"frames"`
	Images         int       `json:"images"`
	Complete       bool      `json:"complete"`
	Live           bool      `json:"live"`
	Gone           bool      `json:"gone"`
	Limit          int       `json:"limit"`
	FetchedAt      time.Time `json:"fetched_at"`
}

func newInspectSequencesCommand(a *app) *cobra.Command {
	var opts inspectOptions
	var dates dateFlags
	var camera, organization int64
	cmd := inspectCommand(&opts, "sequences", "List the sequences of a bundle", func(ctx context.Context, _ []string) error {
		from, to, err := dates.filter()
		if err != nil {
			return err
		}
		query := store.Query{From: from, To: to, CameraID: camera, OrganizationID: organization}
		return a.inspect(opts, func(bundle *store.Bundle) error {
			if camera != 0 || organization != 0 {
				selected, err := selectFrom(ctx, bundle, query)
				if err != nil {
					return err
				}
				a.sayAll(selected.lacking)
			}
			rows := mapRows(bundle.Summaries(ctx, query), func(s store.Summary) sequenceRow {
				return sequenceRow{
					ID: s.ID, StartedAt: s.StartedAt, CameraID: s.CameraID, OrganizationID: s.OrganizationID,
					Detections: s.Detections, Frames: s.Frames, Images: s.Images,
					Complete: s.Coverage.Complete, Live: s.Coverage.Live, Gone: s.Coverage.Gone, Limit: s.Coverage.Limit, FetchedAt: s.Coverage.FetchedAt,
				}
			})
			return printTable(a.stdout, opts.json, rows, "ID\tSTARTED (UTC)\tCAMERA\tORGANIZATION\tDETECTIONS\tFRAMES\tIMAGES\tSTATE", func(s sequenceRow) []any {
				return []any{s.ID, s.StartedAt.UTC().Format(time.DateTime), s.CameraID, s.OrganizationID, s.Detections, s.Frames, s.Images, s.state()}
			})
		})
	})
	dates.addFilter(cmd.Flags(), a.now)
	cmd.Flags().Var(newID(&camera, "a camera"), "camera", "only the camera of this `id`")
	cmd.Flags().Var(newID(&organization, "an organization"), "organization", "only the organization of this `id`")
	return cmd
}

// state says in words how much of the sequence is there.
func (s sequenceRow) state() string {
	words := []string{"complete"}
	if !s.Complete {
		words[0] = "unfinished"
	}
	if s.Live {
		words = append(words, "live")
	}
	if s.Gone {
		words = append(words, "gone upstream")
	}
	return strings.Join(words, ", ")
}

func newInspectCamerasCommand(a *app) *cobra.Command {
	var opts inspectOptions
	return inspectCommand(&opts, "cameras", "List the cameras of a bundle", func(ctx context.Context, _ []string) error {
		return a.inspect(opts, func(bundle *store.Bundle) error {
			return printTable(a.stdout, opts.json, bundle.Cameras(ctx), "ID\tNAME\tORGANIZATION\tLAT\tLON\tANGLE\tTRUSTABLE", func(c store.Camera) []any {
				return []any{c.ID, c.Name, c.OrganizationID, optional(c.Lat), optional(c.Lon), optional(c.AngleOfView), optional(c.IsTrustable)}
			})
		})
	})
}

// optional prints what a pointer points to, or a dash.
func optional[T any](value *T) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprint(*value)
}

func newInspectDaysCommand(a *app) *cobra.Command {
	var opts inspectOptions
	return inspectCommand(&opts, "days", "List the days whose listings a bundle holds", func(ctx context.Context, _ []string) error {
		return a.inspect(opts, func(bundle *store.Bundle) error {
			return printTable(a.stdout, opts.json, bundle.Days(ctx), "DAY\tORGANIZATION\tSEQUENCES\tLISTED (UTC)\tSTATE", func(d store.DayRecord) []any {
				organization, state := fmt.Sprint(d.OrganizationID), "complete"
				if d.OrganizationID == 0 {
					organization = "all"
				}
				if !d.Complete {
					state = "unfinished"
				}
				return []any{d.Day, organization, d.Sequences, d.ListedAt.UTC().Format(time.DateTime), state}
			})
		})
	})
}

func newInspectProblemsCommand(a *app) *cobra.Command {
	var opts inspectOptions
	return inspectCommand(&opts, "problems", "List what is missing from a bundle, and why", func(ctx context.Context, _ []string) error {
		return a.inspect(opts, func(bundle *store.Bundle) error {
			return printTable(a.stdout, opts.json, bundle.Problems(ctx), "CLASS\tKIND\tID\tSEQUENCE\tSINCE (UTC)\tREASON", func(p store.Problem) []any {
				sequence := "-"
				if p.SequenceID != 0 {
					sequence = fmt.Sprint(p.SequenceID)
				}
				return []any{p.Class, p.Kind, p.ID, sequence, p.At.UTC().Format(time.DateTime), p.Reason}
			})
		})
	})
}
