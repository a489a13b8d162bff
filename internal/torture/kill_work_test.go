package torture

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
)

// workOf is what the annotations say, by platform id of their sequence: all but contributors and times, which are the API's own.
func workOf(api *sandbox.AnnotationAPI) map[int64]string {
	work := map[int64]string{}
	for id, a := range annotationsOf(api) {
		text := fmt.Sprintln(a.Stage, a.MissedSmoke, a.Unsure)
		for _, track := range a.Tracks {
			text += fmt.Sprintln(track.IsSmoke, track.SmokeType, track.FalsePositive, track.Boxes)
		}
		work[id] = text
	}
	return work
}

// annotationsOf are the annotations by platform id of their sequence.
func annotationsOf(api *sandbox.AnnotationAPI) map[int64]sandbox.AnnotationRow {
	rows := map[int64]sandbox.AnnotationRow{}
	for _, a := range api.Annotations() {
		rows[a.SequenceID] = a
	}
	out := map[int64]sandbox.AnnotationRow{}
	for _, q := range api.Sequences() {
		if a, ok := rows[q.ID]; ok {
			out[q.AlertAPIID] = a
		}
	}
	return out
}

// annotateByHand leaves a person's work, of each kind that there is, on every second annotation, and returns it.
func (s *stage) annotateByHand() map[int64]string {
	s.t.Helper()
	rows := annotationsOf(s.api)
	work := map[int64]string{}
	for i, id := range slices.Sorted(maps.Keys(rows)) {
		if i%2 == 1 {
			continue
		}
		work[id] = ""
		s.api.EditAnnotation(rows[id].ID, func(a *sandbox.AnnotationRow) {
			switch i / 2 % 4 {
			case 0:
				a.Stage, a.Contributors = "seq_annotation_done", []string{"jane"}
			case 1:
				a.Unsure = true
			case 2:
				a.Tracks[0].SmokeType = "wildfire"
				a.Contributors = []string{"jane", "jo"}
			case 3:
				a.MissedSmoke = true
				a.Tracks[0].IsSmoke, a.Tracks[0].FalsePositive = false, []string{"antenna"}
			}
		})
	}
	all := workOf(s.api)
	for id := range work {
		work[id] = all[id]
	}
	return work
}

// undoFiles are those that runs of the stage have left.
func (s *stage) undoFiles() []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.home, "undo", "*.jsonl"))
	s.must(err)
	return files
}

// saved are the sequences whose annotations whole lines of undo files hold, by platform id.
func (s *stage) saved() map[int64]bool {
	s.t.Helper()
	ids := map[int64]bool{}
	for _, file := range s.undoFiles() {
		data, err := os.ReadFile(file)
		s.must(err)
		for line := range strings.Lines(string(data)) {
			var row struct {
				ID int64 `json:"alert_api_id"`
			}
			if strings.HasSuffix(line, "\n") {
				s.must(json.Unmarshal([]byte(line), &row))
				ids[row.ID] = true
			}
		}
	}
	return ids
}

// restoreAll restores every undo file, the newest first, as somebody does who goes back.
func (s *stage) restoreAll(k *killer, dice *rand.Rand) {
	s.t.Helper()
	files := s.undoFiles()
	for i := len(files) - 1; i >= 0; i-- {
		if _, err := load.ReadUndo(files[i]); err != nil { // killed before its header was written: nothing was saved, nor touched
			continue
		}
		restore := []string{"restore", files[i], "--url-api-annotation", s.target.URL}
		n, moment := instant(dice, 30)
		k.run(s, n, moment, restore)
		s.expectOnce()
		s.expect(s.run(restore...), exitDone)
	}
}

// TestKilledRunsDestroyNobodysWork: runs that may replace annotations are killed again and again, at any instant. What a person
// has done is at every moment on the target, or whole in an undo file. The run that is let live leaves what an undisturbed one
// leaves, and restore, which is killed, too, brings everything back.
func TestKilledRunsDestroyNobodysWork(t *testing.T) {
	t.Parallel()
	const requests = 250
	none := []string{"--confidence-threshold", "1", "--no-predictions", "empty"} // no box is usable: annotations are deleted and posted anew
	for _, way := range []struct {
		name string
		args []string
	}{
		{"overwrite", []string{"--existing", "overwrite", "--min-cluster-size", "2"}},
		{"no predictions", none},
		{"overwrite with no predictions", append([]string{"--existing", "overwrite"}, none...)},
	} {
		for _, generation := range generations {
			ready := func(t *testing.T, wrap *killer) (*stage, []string, map[int64]string) {
				t.Helper()
				s := newStage(t)
				s.bundle = world
				s.serveTarget(sandbox.AnnotationOptions{Generation: generation}, faultproxy.Plan{}, wrap.watch)
				s.expect(s.run(s.loadArgs()...), exitDone)
				return s, append(s.loadArgs("--undo-dir", filepath.Join(s.home, "undo")), way.args...), s.annotateByHand()
			}
			t.Run(way.name+"/"+generation, func(t *testing.T) {
				t.Parallel()
				undisturbed, args, _ := ready(t, new(killer))
				undisturbed.expect(undisturbed.run(args...), exitDone)
				want := held(undisturbed.api)
				for round := range times(1, 40) {
					t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
						t.Parallel()
						dice := rand.New(rand.NewPCG(uint64(round), 5))
						var k killer
						s, args, work := ready(t, &k)
						expectKept := func() {
							t.Helper()
							now, saved := workOf(s.api), s.saved()
							for id, mine := range work {
								if now[id] != mine && !saved[id] {
									t.Errorf("the work on sequence %d is neither on the target nor saved", id)
								}
							}
							s.expectOnce()
						}
						for range 3 {
							n, moment := instant(dice, requests)
							wasKilled(t, s, k.run(s, n, moment, args))
							expectKept()
						}
						s.expect(s.run(args...), exitDone)
						expectKept()
						for id, text := range held(s.api) {
							if text != want[id] {
								t.Errorf("sequence %d:\n%s\nafter an undisturbed run:\n%s", id, cut(text), cut(want[id]))
							}
						}
						s.restoreAll(&k, dice)
						now := workOf(s.api)
						for id, mine := range work {
							if now[id] != mine {
								t.Errorf("the work on sequence %d was\n%s\nand came back as\n%s", id, mine, now[id])
							}
						}
					})
				}
			})
		}
	}
}
