package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"pyrobundle/load"
	"pyrobundle/store"
)

// report is what a run did, for people and, as JSON, for programs (docs/json-output.md is its contract). What does not apply
// is nil or zero and left out.
type report struct {
	Command     string            `json:"command"`
	Bundle      string            `json:"bundle,omitempty"`
	Source      string            `json:"source,omitempty"` // URL of the platform
	Target      string            `json:"target,omitempty"` // URL of the annotation API
	DryRun      bool              `json:"dry_run"`
	Seconds     float64           `json:"seconds"`
	Requests    int64             `json:"requests"`
	Bytes       int64             `json:"bytes"`
	Sequences   *sequenceCounts   `json:"sequences,omitempty"`
	Detections  *detectionCounts  `json:"detections,omitempty"`
	Images      *imageCounts      `json:"images,omitempty"`
	Annotations *annotationCounts `json:"annotations,omitempty"`
	Estimate    *estimate         `json:"estimate,omitempty"`
	LeftOut     int               `json:"left_out,omitempty"`
	Gone        int               `json:"gone,omitempty"`
	Foreign     int64             `json:"foreign,omitempty"`
	BoxesLeft   int64             `json:"boxes_left_out,omitempty"`
	UndoFile    string            `json:"undo_file,omitempty"`
	Plan        []load.Planned    `json:"plan,omitempty"`
	Unloadable  []problem         `json:"unloadable,omitempty"`
	Kept        []problem         `json:"kept,omitempty"`
	Drift       []problem         `json:"drift,omitempty"`
	Problems    []problem         `json:"problems"`
	Error       string            `json:"error,omitempty"` // what ended the run early

	started time.Time
	text    string // instead of a block
}

type sequenceCounts struct {
	Total      int64 `json:"total"`
	Successful int64 `json:"successful"`
	Failed     int64 `json:"failed"`
	New        int64 `json:"new"`
	Updated    int64 `json:"updated"`
	Unchanged  int64 `json:"unchanged"`
}

type detectionCounts struct {
	Total    int64  `json:"total"`
	Created  *int64 `json:"created,omitempty"`
	Existing *int64 `json:"existing,omitempty"`
	Failed   *int64 `json:"failed,omitempty"`
}

type imageCounts struct {
	Total      int64 `json:"total"`
	Downloaded int64 `json:"downloaded"`
	Reused     int64 `json:"reused"`
	Failed     int64 `json:"failed"`
	Gone       int64 `json:"gone"`
}

type annotationCounts struct {
	Created      int64 `json:"created"`
	Updated      int64 `json:"updated"`
	Unchanged    int64 `json:"unchanged"`
	KeptReviewed int64 `json:"kept_reviewed"`
	Failed       int64 `json:"failed"`
}

type estimate struct {
	Images  int64   `json:"images"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

type problem struct {
	Class      store.Class `json:"class,omitempty"`
	Kind       string      `json:"kind"`
	ID         string      `json:"id,omitempty"`
	SequenceID int64       `json:"sequence_id,omitempty"`
	Reason     string      `json:"reason"`
}

func problems(from []store.Problem) []problem {
	list := make([]problem, len(from))
	for i, p := range from {
		list[i] = problem{Class: p.Class, Kind: p.Kind, ID: p.ID, SequenceID: p.SequenceID, Reason: p.Reason}
	}
	return list
}

func (a *app) newReport(command, bundle string, dryRun bool) *report {
	return &report{Command: command, Bundle: bundle, DryRun: dryRun, Problems: []problem{}, started: a.now()}
}

// addFetch takes over what a fetch did.
func (r *report) addFetch(result mirrored) {
	r.Requests += result.requests
	r.Bytes += result.bytes
	s := result.Sequences
	r.Sequences = &sequenceCounts{Total: s.Total, Successful: s.Successful, Failed: s.Failed, New: s.New, Updated: s.Updated, Unchanged: s.Unchanged}
	r.Detections = &detectionCounts{Total: result.Detections}
	i := result.Images
	r.Images = &imageCounts{Total: i.Total, Downloaded: i.Downloaded, Reused: i.Reused, Failed: i.Failed, Gone: i.Gone}
	if e := result.Estimate; e != nil {
		r.Estimate = &estimate{Images: e.Images, Bytes: e.Bytes, Seconds: seconds(e.Duration)}
	}
	r.LeftOut = result.LeftOut
	r.Gone = result.Gone
	r.Unloadable = problems(result.Unloadable)
	r.Problems = append(r.Problems, problems(result.Problems)...)
}

// addLoad takes over what a load did. After addFetch, the sequences are those of the load: what could not even be fetched
// has been added to them by the caller.
func (r *report) addLoad(result load.Result) {
	s, d, n := result.Sequences, result.Detections, result.Annotations
	r.Sequences = &sequenceCounts{Total: s.Total, Successful: s.Successful, Failed: s.Failed, New: s.New, Updated: s.Updated, Unchanged: s.Unchanged}
	r.Detections = &detectionCounts{Total: d.Total, Created: &d.Created, Existing: &d.Existing, Failed: &d.Failed}
	r.Annotations = &annotationCounts{Created: n.Created, Updated: n.Updated, Unchanged: n.Unchanged, KeptReviewed: n.KeptReviewed, Failed: n.Failed}
	r.Foreign = result.Foreign
	r.Plan = result.Plan
	r.BoxesLeft = result.BoxesLeftOut
	r.UndoFile = result.UndoFile
	r.Kept = problems(result.Kept)
	r.Drift = problems(result.Drift)
	r.Problems = append(r.Problems, problems(result.Problems)...)
}

// publish ends a run: the problems on stderr, the results on stdout, and the error that the exit code follows. It comes
// also after an error or Ctrl-C: what was done counts.
func (a *app) publish(r *report, asJSON, strict bool, ended error) error {
	r.Seconds = seconds(a.now().Sub(r.started))
	switch {
	case errors.Is(ended, context.Canceled):
		r.Error = "interrupted"
	case ended != nil:
		r.Error = ended.Error()
	}
	failed, incomplete := 0, 0
	for _, p := range r.Problems {
		a.say(p.line(string(p.Class)))
		if p.Class == store.Failed {
			failed++
		} else {
			incomplete++
		}
	}
	for _, p := range r.Unloadable {
		a.say(p.line("not loadable as it is"))
	}
	for _, p := range r.Kept {
		a.say(p.line("kept"))
	}
	for _, p := range r.Drift {
		a.say(p.line("changed since it was loaded"))
	}
	if err := a.printReport(r, asJSON); err != nil {
		return err
	}
	if ended != nil {
		return ended
	}
	if failed > 0 || (strict && incomplete > 0) {
		return &failuresError{command: r.Command, failed: failed, incomplete: incomplete}
	}
	return nil
}

func (p problem) line(label string) string {
	if p.ID == "" {
		return label + ": " + p.Reason
	}
	return label + ": " + store.Problem{Kind: p.Kind, ID: p.ID, SequenceID: p.SequenceID, Reason: p.Reason}.String()
}

func (a *app) printReport(r *report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(a.stdout)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	if r.DryRun {
		for _, p := range r.Plan {
			if err := a.print("sequence %d: %s, %d detections to create, annotation: %s\n", p.SequenceID, p.Action, p.Detections, p.Annotation); err != nil {
				return err
			}
		}
		if err := a.print("Dry run: nothing was written; the figures say what would be.\n"); err != nil {
			return err
		}
	}
	if r.text != "" {
		return a.print("%s", r.text)
	}
	if r.Annotations != nil {
		a.say(r.loadSummary())
		return a.print("%s", r.loadBlock())
	}
	return a.print("%s", r.fetchBlock())
}

// loadBlock is the ingestion guide's block, to the letter.
func (r *report) loadBlock() string {
	return fmt.Sprintf(`Processing completed!
Final Statistics:
  Total sequences: %d
  Successful sequences: %d
  Failed sequences: %d
  Annotations created: %d
`, r.Sequences.Total, r.Sequences.Successful, r.Sequences.Failed, r.Annotations.Created)
}

// loadSummary says on one line what the guide's block has no place for.
func (r *report) loadSummary() string {
	n := r.Annotations
	line := fmt.Sprintf("%s: annotations %d created, %d updated, %d unchanged, %d kept because somebody worked on them, %d failed",
		r.Command, n.Created, n.Updated, n.Unchanged, n.KeptReviewed, n.Failed)
	if d := r.Detections; d != nil && d.Created != nil {
		line += fmt.Sprintf("; detections %d created, %d already there, %d failed", *d.Created, *d.Existing, *d.Failed)
	}
	if r.Foreign > 0 {
		line += fmt.Sprintf("; %d sequences of another tool left alone", r.Foreign)
	}
	if r.BoxesLeft > 0 {
		line += fmt.Sprintf("; %d boxes left out that the annotation API would refuse", r.BoxesLeft)
	}
	if r.UndoFile != "" {
		line += "; replaced annotations are saved in " + r.UndoFile
	}
	return line
}

// fetchBlock is the same for a fetch.
func (r *report) fetchBlock() string {
	s, i := r.Sequences, r.Images
	block := fmt.Sprintf(`Processing completed!
Final Statistics:
  Total sequences: %d
  Successful sequences: %d
  Failed sequences: %d
  New sequences: %d
  Updated sequences: %d
  Unchanged sequences: %d
  Total images: %d
  Images downloaded: %d
  Images reused: %d
  Images failed: %d
  Not loadable as they are: %d
`, s.Total, s.Successful, s.Failed, s.New, s.Updated, s.Unchanged, i.Total, i.Downloaded, i.Reused, i.Failed, len(r.Unloadable))
	if i.Gone > 0 {
		block += fmt.Sprintf("  Images gone from the platform: %d\n", i.Gone)
	}
	if r.Gone > 0 {
		block += fmt.Sprintf("  Sequences gone from the platform, kept: %d\n", r.Gone)
	}
	if r.LeftOut > 0 {
		block += fmt.Sprintf("  Left out by --max-sequences: %d\n", r.LeftOut)
	}
	if e := r.Estimate; e != nil {
		block += fmt.Sprintf("  Estimated transfer: %d images, %s, %s\n", e.Images, humanBytes(e.Bytes), time.Duration(e.Seconds*float64(time.Second)).Round(time.Second))
	}
	return block
}

// seconds rounds to milliseconds: more digits would pretend a precision that a run does not have.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
