package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch"
)

// However many sequences lack an organization's name, the report says how many, why, and which to look at.
func TestUnloadableSequencesAreCountedAndSomeNamed(t *testing.T) {
	var result mirrored
	for id := int64(1); id <= 12; id++ {
		result.join(fetch.Result{Unloadable: []fetch.Unloadable{{Reason: "name missing", Sequences: 1000, IDs: []int64{id}}}})
	}
	for _, asJSON := range []bool{false, true} {
		app, stdout, stderr := reportTestApp()
		report := app.newReport("fetch", "b", false)
		report.addFetch(result)
		if err := app.publish(report, asJSON, false, nil); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(stderr.String(), "not loadable as it is: sequence "); n != 10 {
			t.Errorf("%d sequences named: %s", n, stderr)
		}
		if want := "not loadable as it is: 11990 more sequences: name missing\n"; !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("stderr %q lacks %q", stderr, want)
		}
		if !asJSON {
			if !strings.Contains(stdout.String(), "  Not loadable as they are: 12000\n") {
				t.Errorf("stdout %q", stdout)
			}
			continue
		}
		var got struct {
			NotLoadable int64            `json:"not_loadable"`
			Unloadable  []map[string]any `json:"unloadable"`
		}
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want := []map[string]any{
			{"kind": "sequence", "id": "1", "sequence_id": 1.0, "reason": "name missing"},
			{"kind": "sequence", "reason": "11990 more sequences: name missing"},
		}
		if diff := cmp.Diff(want, []map[string]any{got.Unloadable[0], got.Unloadable[10]}); diff != "" || got.NotLoadable != 12000 {
			t.Errorf("%d not loadable; want -, got +:\n%s", got.NotLoadable, diff)
		}
	}
}
