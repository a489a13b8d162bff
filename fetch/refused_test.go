package fetch_test

import (
	"slices"
	"strings"
	"testing"

	"pyrobundle/store"
)

// What the bundle refuses of one sequence, camera or organization is named, and the others are none the worse for it.
func TestDocumentThatTheBundleRefusesDoesNotEndTheRun(t *testing.T) {
	const box = "[(0.1,0.1,0.2,0.2,0.5)]"
	row := func(p *fakePlatform, key string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.row(42, started(firstDay, 5), key, box)
		p.images[key] = picture(5)
	}
	for name, test := range map[string]struct {
		change    func(p *fakePlatform)
		class     store.Class
		want      []string
		completed []int64
	}{
		"a key that is too long": {
			func(p *fakePlatform) { row(p, strings.Repeat("k", 5000)+".jpg") },
			store.Incomplete,
			[]string{"sequence 42", "1 detections cannot be read", "5004 bytes"},
			[]int64{41, 42, 43},
		},
		"a key that is signed": {
			func(p *fakePlatform) { row(p, "bucket/1.jpg?X-Amz-Signature=00") },
			store.Incomplete,
			[]string{"sequence 42", "1 detections cannot be read", "signed URL"},
			[]int64{41, 42, 43},
		},
		"a field of a sequence that is signed": {
			func(p *fakePlatform) { p.set(42, "temporal_model_version", "signature=abc") },
			store.Failed,
			[]string{"sequence 42", "temporal_model_version"},
			[]int64{41, 43},
		},
		"a document of a sequence that is too large": {
			func(p *fakePlatform) { p.set(42, "note", strings.Repeat("n", 1<<20)) },
			store.Failed,
			[]string{"day 2026-08-01", "with id 42", "bytes"},
			[]int64{41, 43},
		},
		"a document of a detection that is too large": {
			func(p *fakePlatform) { p.detections[42][0]["note"] = strings.Repeat("n", 300<<10) },
			store.Incomplete,
			[]string{"sequence 42", "1 detections cannot be read", "with id 420001", "at most 262144"},
			[]int64{41, 42, 43},
		},
		"a document of a detection as large as one may be": {
			func(p *fakePlatform) {
				row(p, "1.jpg")
				p.detections[42][0]["note"] = strings.Repeat("n", 300<<10)
				p.detections[42][1]["note"] = strings.Repeat("n", 255<<10)
			},
			store.Incomplete,
			[]string{"sequence 42", "1 detections cannot be read", "with id 420001"},
			[]int64{41, 42, 43},
		},
		"a camera whose name is signed": {
			func(p *fakePlatform) { p.cameras[1]["name"] = "tower signature=x" },
			store.Incomplete,
			[]string{"camera 2: ", `"name"`},
			[]int64{41, 42, 43},
		},
		"an organization whose name is signed": {
			func(p *fakePlatform) { p.organizations[1]["name"] = "signature=x" },
			store.Incomplete,
			[]string{"organization 3: ", `"name"`},
			[]int64{41, 42, 43},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 1)
			p.sequence(42, 2, started(firstDay, 1), 1)
			p.sequence(43, 1, started(secondDay, 1), 1)
			test.change(p)
			b := newBundle(t, p)
			result := b.fetch(config())
			wantOneProblem(t, result, test.class, test.want...)
			if !slices.Equal(result.completed, test.completed) {
				t.Errorf("completed %v, want %v", result.completed, test.completed)
			}
			wantOneProblem(t, b.fetch(config()), test.class, test.want...)
			b.intact()
		})
	}
}

func TestRefusedCameraLeavesTheOneThatIsHeld(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	b := newBundle(t, p)
	b.fetch(config())
	p.cameras[0]["name"] = "tower signature=x"
	p.sequence(42, 1, started(firstDay, 1), 1)
	wantOneProblem(t, b.fetch(config()), store.Incomplete, "camera 1: ")
	if camera := b.record(42).Camera; camera == nil || camera.Name != "tower-01" {
		t.Errorf("camera %+v", camera)
	}
}

// The id of an image's problem is made of its key, which may be longer than an id, or look like a URL.
func TestProblemOfAnImageIsRecordedWhateverItsKey(t *testing.T) {
	for name, key := range map[string]string{
		"long": strings.Repeat("k", 1020) + ".jpg",
		"URL":  "https://storage.example/1.jpg",
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 0)
			p.mu.Lock()
			p.row(41, started(firstDay, 0), key, "[(0.1,0.1,0.2,0.2,0.5)]")
			p.mu.Unlock()
			b := newBundle(t, p)
			for range 2 {
				result := b.fetch(config())
				wantOneProblem(t, result, store.Incomplete, "image 41/")
				b.read(func(opened *store.Bundle) {
					var recorded []string
					for problem, err := range opened.Problems(t.Context()) {
						if err != nil {
							t.Fatal(err)
						}
						recorded = append(recorded, problem.ID)
					}
					if !slices.Equal(recorded, []string{result.Problems[0].ID}) {
						t.Errorf("on record %v, reported %v", recorded, lines(result.Problems))
					}
				})
			}
			p.images[key] = picture(1)
			cfg := config()
			cfg.RetryIncomplete = true
			wantNoProblems(t, b.fetch(cfg))
			b.read(func(opened *store.Bundle) {
				for problem, err := range opened.Problems(t.Context()) {
					t.Errorf("still on record: %v, %v", problem, err)
				}
			})
		})
	}
}
