package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"pyrobundle/fetch"
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
	UndoFiles   []string          `json:"undo_files,omitempty"`
	Plan        []load.Planned    `json:"plan,omitempty"`
	NotLoadable int64             `json:"not_loadable,omitempty"`
	Unloadable  []problem         `json:"unloadable,omitempty"`
	Kept        []problem         `json:"kept,omitempty"`
	Drift       []problem         `json:"drift,omitempty"`
	Problems    []problem         `json:"problems"`
	Error       string            `json:"error,omitempty"` // what ended the run early

	started time.Time
	ended   error  // what ended the run early
	limited bool   // by --limit-rate, which the estimate's time follows
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
	for _, u := range result.Unloadable {
		r.addUnloadable(u)
	}
	r.Problems = append(r.Problems, problems(result.Problems)...)
}

// addUnloadable names some sequences for a reason, and says how many more there are.
func (r *report) addUnloadable(u fetch.Unloadable) {
	r.NotLoadable += u.Sequences
	for _, id := range u.IDs {
		r.Unloadable = append(r.Unloadable, problem{Kind: "sequence", ID: strconv.FormatInt(id, 10), SequenceID: id, Reason: u.Reason})
	}
	if more := u.Sequences - int64(len(u.IDs)); more > 0 {
		r.Unloadable = append(r.Unloadable, problem{Kind: "sequence", Reason: fmt.Sprintf("%d more sequences: %s", more, u.Reason)})
	}
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
	if result.UndoFile != "" {
		r.UndoFiles = append(r.UndoFiles, result.UndoFile)
	}
	r.Kept = problems(result.Kept)
	r.Drift = problems(result.Drift)
	r.Problems = append(r.Problems, problems(result.Problems)...)
}

// publish ends a run: the problems on stderr, the results on stdout, and the error that the exit code follows. It comes
// also after an error or Ctrl-C: what was done counts.
func (a *app) publish(r *report, asJSON, strict bool, ended error) error {
	if errors.Is(ended, load.ErrTargetBusy) && r.Images == nil { // it has not begun, and no fetch came before it
		return ended
	}
	r.Seconds, r.ended = seconds(a.now().Sub(r.started)), ended
	if ended != nil {
		r.Error = endOf(ended)
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

func (p problem) line(label string) string { return label + ": " + p.text() }

func (p problem) text() string {
	if p.ID == "" {
		return p.Reason
	}
	return store.Problem{Kind: p.Kind, ID: p.ID, SequenceID: p.SequenceID, Reason: p.Reason}.String()
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

// heading is the ingestion guide's where the run came to its end. Scripts look for it, so no other run may say it.
func (r *report) heading() string {
	switch {
	case r.ended == nil:
		return "Processing completed!"
	case errors.Is(r.ended, context.Canceled):
		return "Processing interrupted!"
	}
	return "Processing ended early!"
}

// loadBlock is the ingestion guide's block, to the letter.
func (r *report) loadBlock() string {
	return fmt.Sprintf(`%s
Final Statistics:
  Total sequences: %d
  Successful sequences: %d
  Failed sequences: %d
  Annotations created: %d
`, r.heading(), r.Sequences.Total, r.Sequences.Successful, r.Sequences.Failed, r.Annotations.Created)
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
	if len(r.UndoFiles) > 0 {
		line += "; replaced annotations are saved in " + strings.Join(r.UndoFiles, " and ")
	}
	if r.Estimate != nil {
		line += "; estimated transfer: " + r.estimated()
	}
	return line
}

// fetchBlock is the same for a fetch.
func (r *report) fetchBlock() string {
	s, i := r.Sequences, r.Images
	block := fmt.Sprintf(`%s
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
`, r.heading(), s.Total, s.Successful, s.Failed, s.New, s.Updated, s.Unchanged, i.Total, i.Downloaded, i.Reused, i.Failed, r.NotLoadable)
	if i.Gone > 0 {
		block += fmt.Sprintf("  Images gone from the platform: %d\n", i.Gone)
	}
	if r.Gone > 0 {
		block += fmt.Sprintf("  Sequences gone from the platform, kept: %d\n", r.Gone)
	}
	if r.LeftOut > 0 {
		block += fmt.Sprintf("  Left out by --max-sequences: %d\n", r.LeftOut)
	}
	if r.Estimate != nil {
		block += "  Estimated transfer: " + r.estimated() + "\n"
	}
	return block
}

// estimated is what a fetch would take. Nobody knows the link's bandwidth before it is used: without a limit the time is that
// of the requests alone.
func (r *report) estimated() string {
	e, least := r.Estimate, "at least "
	if r.limited {
		least = ""
	}
	took := max(time.Duration(e.Seconds*float64(time.Second)).Round(time.Second), time.Second) // "at least 0s" would say nothing
	return fmt.Sprintf("%d images, %s, %s%s", e.Images, humanBytes(e.Bytes), least, took)
}

// seconds rounds to milliseconds: more digits would pretend a precision that a run does not have.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
