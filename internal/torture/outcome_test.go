package torture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

// worldDigest is that of an undisturbed fetch of everything.
var worldDigest = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(program, "digest", "--bundle", world)
	cmd.Env = []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} // none of the variables that stand for flags
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// expectWhole fails the test unless the stage's bundle is intact and has everything that the platform has.
func (s *stage) expectWhole() {
	s.t.Helper()
	s.verify()
	want, err := worldDigest()
	s.must(err)
	if got := s.digest(); got != want {
		s.t.Fatalf("digest %s, want that of an undisturbed fetch, %s", got, want)
	}
}

// missing are the sequences of the world that the stage's bundle has not, or not with every image.
func (s *stage) missing() map[int64]bool {
	s.t.Helper()
	want, err := store.Open(world)
	s.must(err)
	defer func() { _ = want.Close() }()
	have, err := store.Open(s.bundle)
	s.must(err)
	defer func() { _ = have.Close() }()
	missing := map[int64]bool{}
	for r, err := range want.Sequences(s.t.Context(), store.Query{}) {
		s.must(err)
		id := r.Sequence.ID
		mine, err := have.Sequence(s.t.Context(), id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			missing[id] = true
			continue
		case err != nil:
			s.t.Fatal(err)
		}
		if len(mine.Detections) != len(r.Detections) || !slices.Equal(images(mine), images(r)) {
			missing[id] = true
		}
	}
	return missing
}

func images(r store.SequenceRecord) []string {
	var out []string
	for _, f := range r.Frames {
		out = append(out, f.Key+" "+f.Image.String())
	}
	slices.Sort(out)
	return out
}

// held is everything of a target that must be equal wherever and however it was loaded, by platform id: of each sequence a
// text with its fields, its detections with their images, and its annotation.
func held(api *sandbox.AnnotationAPI) map[int64]string {
	annotations := map[int64]sandbox.AnnotationRow{}
	for _, row := range api.Annotations() {
		annotations[row.SequenceID] = row
	}
	out := map[int64]string{}
	for _, q := range api.Sequences() {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %q %d %s %s\n", q.SourceAPI, q.CameraName, q.OrganisationID, q.RecordedAt.UTC(), q.LastSeenAt.UTC())
		platformID := map[int64]int64{}
		rows := api.Detections(q.ID)
		slices.SortFunc(rows, func(a, b sandbox.DetectionRow) int { return int(a.AlertAPIID - b.AlertAPIID) })
		for _, d := range rows {
			platformID[d.ID] = d.AlertAPIID
			fmt.Fprintln(&b, "detection", d.AlertAPIID, d.RecordedAt.UnixMicro(), d.SHA256, d.Predictions, d.Others)
		}
		if a, ok := annotations[q.ID]; ok {
			fmt.Fprintln(&b, "annotation", a.Stage)
			for _, track := range a.Tracks {
				fmt.Fprintln(&b, "track", track.IsSmoke)
				for _, box := range track.Boxes {
					fmt.Fprintln(&b, platformID[box.DetectionID], box.Box)
				}
			}
		}
		out[q.AlertAPIID] = out[q.AlertAPIID] + b.String() // a second row of a sequence shows
	}
	return out
}

// wantHeld is what an undisturbed load of the world leaves on a target; its annotations are compared with the target's own
// generator (TestUndisturbedLoadIsWhatTheTargetWouldGenerate).
var wantHeld = sync.OnceValues(func() (map[string]map[int64]string, error) {
	want := map[string]map[int64]string{}
	for _, generation := range generations {
		api, err := loadedTarget(generation)
		if err != nil {
			return nil, err
		}
		want[generation] = held(api)
	}
	return want, nil
})

// loadedTarget is a target into which the world was loaded undisturbed.
func loadedTarget(generation string) (*sandbox.AnnotationAPI, error) {
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: generation})
	server, err := faultproxy.New(api, faultproxy.Plan{}).Listen()
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.Close() }()
	home, err := os.MkdirTemp("", "pyrobundle-undisturbed-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.Command(program, "load", "--url-api-annotation", server.URL, "--bundle", world)
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "NO_PROXY=*", "SYSTEMROOT=" + os.Getenv("SYSTEMROOT"), "LOCALAPPDATA=" + home}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("load undisturbed: %w\n%s", err, out)
	}
	return api, nil
}

// unlike are the sequences of the target that are not what an undisturbed load leaves, those that are missing or too many included.
func (s *stage) unlike(generation string) map[int64]bool {
	s.t.Helper()
	all, err := wantHeld()
	s.must(err)
	want, got := all[generation], held(s.api)
	unlike := map[int64]bool{}
	for id := range want {
		if got[id] != want[id] {
			unlike[id] = true
		}
	}
	for id := range got {
		if _, known := want[id]; !known {
			unlike[id] = true
		}
	}
	return unlike
}

// expectLoaded fails the test unless the target holds everything exactly once, as after an undisturbed load.
func (s *stage) expectLoaded(generation string) {
	s.t.Helper()
	all, err := wantHeld()
	s.must(err)
	got := held(s.api)
	for id := range s.unlike(generation) {
		s.t.Errorf("sequence %d on the target:\n%s\nafter an undisturbed load:\n%s", id, cut(got[id]), cut(all[generation][id]))
	}
	s.expectOnce()
}

// expectOnce fails the test if the target has any sequence, detection or annotation twice.
func (s *stage) expectOnce() {
	s.t.Helper()
	seen := map[string]bool{}
	once := func(format string, args ...any) {
		s.t.Helper()
		key := fmt.Sprintf(format, args...)
		if seen[key] {
			s.t.Errorf("%s is on the target twice", key)
		}
		seen[key] = true
	}
	for _, row := range s.api.Sequences() {
		once("sequence %d", row.AlertAPIID)
	}
	for _, row := range s.api.Detections(0) {
		once("detection %d of sequence row %d", row.AlertAPIID, row.SequenceID)
	}
	for _, row := range s.api.Annotations() {
		once("annotation of sequence row %d", row.SequenceID)
	}
}
