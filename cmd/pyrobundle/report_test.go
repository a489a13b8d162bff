package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch"
	"pyrobundle/load"
	"pyrobundle/store"
)

func reportTestApp() (*app, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	return newApp(&stdout, &stderr, lookup(nil), noon), &stdout, &stderr
}

func guideResult() load.Result {
	return load.Result{
		Sequences:   load.SequenceCounts{Total: 15, Successful: 14, Failed: 1, New: 14},
		Detections:  load.DetectionCounts{Total: 400, Created: 399, Failed: 1},
		Annotations: load.AnnotationCounts{Created: 14, KeptReviewed: 2},
		Problems:    []store.Problem{{Class: store.Failed, Kind: "sequence", ID: "4242", SequenceID: 4242, Reason: "3 of 31 detections not uploaded"}},
	}
}

func TestLoadEndsWithTheGuidesBlock(t *testing.T) {
	app, stdout, stderr := reportTestApp()
	report := app.newReport("load", "b", false)
	report.addLoad(guideResult())
	err := app.publish(report, false, false, nil)
	want := `Processing completed!
Final Statistics:
  Total sequences: 15
  Successful sequences: 14
  Failed sequences: 1
  Annotations created: 14
`
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("stdout: want -, got +:\n%s", diff)
	}
	if !strings.HasPrefix(stderr.String(), "failed: sequence 4242: 3 of 31 detections not uploaded\n") {
		t.Errorf("stderr %q does not name the failure", stderr)
	}
	if exitCode(err) != exitFailures || !strings.Contains(err.Error(), "run load again") {
		t.Errorf("error %v, want exit 3 and what to do next", err)
	}
}

func TestIncompleteFailsOnlyWhenStrict(t *testing.T) {
	for _, test := range []struct {
		name    string
		classes []store.Class
		strict  bool
		want    int
	}{
		{"nothing", nil, true, exitDone},
		{"incomplete", []store.Class{store.Incomplete}, false, exitDone},
		{"incomplete, strict", []store.Class{store.Incomplete}, true, exitFailures},
		{"failed", []store.Class{store.Failed}, false, exitFailures},
		{"both", []store.Class{store.Incomplete, store.Failed}, false, exitFailures},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, _, stderr := reportTestApp()
			report := app.newReport("fetch", "b", false)
			var result mirrored
			for _, class := range test.classes {
				result.Problems = append(result.Problems, store.Problem{Class: class, Kind: "image", ID: "k", SequenceID: 7, Reason: "gone"})
			}
			report.addFetch(result)
			if got := exitCode(app.publish(report, false, test.strict, nil)); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
			for _, class := range test.classes {
				if want := string(class) + ": image k of sequence 7: gone\n"; !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr %q lacks %q", stderr, want)
				}
			}
		})
	}
}

// The guide's heading is what scripts look for: no run may say it that did not come to its end.
func TestOnlyARunThatEndedIsCompleted(t *testing.T) {
	busy := fmt.Errorf("load into x: %w", load.ErrTargetBusy)
	for _, test := range []struct {
		name    string
		ended   error
		fetched bool
		want    string // how stdout begins
	}{
		{"its end", nil, false, "Processing completed!\nFinal Statistics:\n"},
		{"interrupted", fmt.Errorf("x: %w", context.Canceled), false, "Processing interrupted!\nFinal Statistics:\n"},
		{"an error", errors.New("the disk is full"), false, "Processing ended early!\nFinal Statistics:\n"},
		{"busy", busy, false, ""},
		{"busy after a fetch", busy, true, "Processing ended early!\nFinal Statistics:\n"},
	} {
		for _, asJSON := range []bool{false, true} {
			app, stdout, _ := reportTestApp()
			report := app.newReport("load", "b", false)
			if test.fetched {
				report.addFetch(mirrored{})
			}
			report.addLoad(load.Result{})
			if err := app.publish(report, asJSON, false, test.ended); !errors.Is(err, test.ended) {
				t.Errorf("%s: error %v, want %v", test.name, err, test.ended)
			}
			switch got := stdout.String(); {
			case test.want == "" && got != "":
				t.Errorf("%s, JSON %t: got %q, want nothing", test.name, asJSON, got)
			case asJSON && test.want != "" && strings.Contains(got, `"error"`) != (test.ended != nil):
				t.Errorf("%s: got %s", test.name, got)
			case !asJSON && !strings.HasPrefix(got, test.want):
				t.Errorf("%s: got %q, want %q first", test.name, got, test.want)
			}
		}
	}
}

// Without a limit nobody knows the bandwidth.
func TestEstimateIsALowerBoundWithoutALimit(t *testing.T) {
	for _, command := range []string{"fetch", "import"} {
		for limited, want := range map[bool]string{false: "stimated transfer: 3 images, 750 kB, at least 4s\n", true: "stimated transfer: 3 images, 750 kB, 4s\n"} {
			app, stdout, stderr := reportTestApp()
			report := app.newReport(command, "b", true)
			report.limited = limited
			report.addFetch(mirrored{Result: fetch.Result{Estimate: &fetch.Estimate{Images: 3, Bytes: 750_000, Duration: 4 * time.Second}}})
			if command == "import" {
				report.addLoad(load.Result{})
			}
			if err := app.publish(report, false, false, nil); err != nil {
				t.Fatal(err)
			}
			if got := stdout.String() + stderr.String(); !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", command, got, want)
			}
		}
	}
}

func TestInterruptedRunStillPrintsItsReport(t *testing.T) {
	app, stdout, _ := reportTestApp()
	report := app.newReport("load", "b", false)
	report.addLoad(guideResult())
	err := app.publish(report, false, false, context.Canceled)
	if exitCode(err) != exitInterrupted || !strings.Contains(stdout.String(), "Total sequences: 15") {
		t.Errorf("code %d, stdout %q", exitCode(err), stdout)
	}
}

// The keys are a contract with programs: a new one may come, none may go or change its type.
func TestJSONReportHasTheDocumentedFields(t *testing.T) {
	app, stdout, _ := reportTestApp()
	report := app.newReport("import", "b", false)
	report.Source, report.Target = "https://a", "https://b"
	report.addFetch(mirrored{requests: 5, bytes: 6, Result: fetch.Result{
		Images: fetch.Images{Total: 4, Downloaded: 1, Reused: 1, Failed: 1, Gone: 1}, LeftOut: 1, Gone: 1, Estimate: &fetch.Estimate{Images: 1},
	}})
	result := guideResult()
	result.Foreign, result.BoxesLeftOut, result.UndoFile = 1, 2, "u"
	result.Kept = []store.Problem{{Kind: "annotation", ID: "7", SequenceID: 7, Reason: "annotated"}}
	result.Plan = []load.Planned{{SequenceID: 1}}
	result.Drift = result.Problems
	report.addLoad(result)
	report.Unloadable = report.Problems
	if err := app.publish(report, true, false, errors.New("stopped")); err == nil {
		t.Error("the error is lost")
	}
	var got map[string]any
	decoder := json.NewDecoder(stdout)
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if decoder.More() {
		t.Error("more than one JSON object")
	}
	want := map[string]any{
		"command": "import", "bundle": "b", "source": "https://a", "target": "https://b", "dry_run": false, "seconds": 0.0, "requests": 5.0, "bytes": 6.0,
		"sequences":   map[string]any{"total": 15.0, "successful": 14.0, "failed": 1.0, "new": 14.0, "updated": 0.0, "unchanged": 0.0},
		"detections":  map[string]any{"total": 400.0, "created": 399.0, "existing": 0.0, "failed": 1.0},
		"images":      map[string]any{"total": 4.0, "downloaded": 1.0, "reused": 1.0, "failed": 1.0, "gone": 1.0},
		"annotations": map[string]any{"created": 14.0, "updated": 0.0, "unchanged": 0.0, "kept_reviewed": 2.0, "failed": 0.0},
		"estimate":    map[string]any{"images": 1.0, "bytes": 0.0, "seconds": 0.0},
		"left_out":    1.0, "gone": 1.0, "foreign": 1.0, "boxes_left_out": 2.0, "undo_files": []any{"u"}, "error": "stopped",
	}
	problem := []any{map[string]any{"class": "failed", "kind": "sequence", "id": "4242", "sequence_id": 4242.0, "reason": "3 of 31 detections not uploaded"}}
	want["problems"], want["unloadable"], want["drift"] = problem, problem, problem
	want["kept"] = []any{map[string]any{"kind": "annotation", "id": "7", "sequence_id": 7.0, "reason": "annotated"}}
	want["plan"] = []any{map[string]any{"sequence_id": 1.0, "action": "", "detections": 0.0, "annotation": ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestJSONReportLeavesOutWhatDoesNotApply(t *testing.T) {
	app, stdout, _ := reportTestApp()
	report := app.newReport("annotate", "", true)
	report.Target = "https://b"
	report.Annotations, report.Sequences = &annotationCounts{}, &sequenceCounts{}
	if err := app.publish(report, true, false, nil); err != nil {
		t.Fatal(err)
	}
	want := `{"command":"annotate","target":"https://b","dry_run":true,"seconds":0,"requests":0,"bytes":0,` +
		`"sequences":{"total":0,"successful":0,"failed":0,"new":0,"updated":0,"unchanged":0},` +
		`"annotations":{"created":0,"updated":0,"unchanged":0,"kept_reviewed":0,"failed":0},"problems":[]}` + "\n"
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestReportNamesEveryUndoFile: of an import that loads what lies elsewhere, too, each load has one, and only the first was named.
func TestReportNamesEveryUndoFile(t *testing.T) {
	r := report{Annotations: &annotationCounts{}, UndoFiles: []string{"first.jsonl", "second.jsonl"}}
	if line := r.loadSummary(); !strings.HasSuffix(line, "saved in first.jsonl and second.jsonl") {
		t.Errorf("the summary says %q", line)
	}
}
