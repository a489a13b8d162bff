package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestPlainProgressPrintsALineEvery30SecondsAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		app := newApp(&bytes.Buffer{}, &out, lookup(nil), time.Now)
		progress := app.display(outputFlags{}, "fetch", "images")
		progress.add("days", 1, 7)
		progress.add("images", 10, 100)
		progress.add("bytes", 2_500_000, 0)
		time.Sleep(61 * time.Second) // fake time
		progress.add("images", 90, 0)
		progress.finish()
		want := `fetch: days 1/7, images 10/100, 2.50 MB after 30s
fetch: days 1/7, images 10/100, 2.50 MB after 1m0s
fetch: days 1/7, images 100/100, 2.50 MB after 1m1s
`
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestPlainProgressOfNothingIsSilent(t *testing.T) {
	var out bytes.Buffer
	app := newApp(&bytes.Buffer{}, &out, lookup(nil), noon)
	app.display(outputFlags{}, "fetch", "images").finish()
	if out.Len() > 0 {
		t.Errorf("got %q, want nothing", &out)
	}
}

func TestBarsOnlyWhereTheyAreWanted(t *testing.T) {
	for _, test := range []struct {
		name     string
		terminal bool
		env      map[string]string
		flags    outputFlags
		bar      bool
	}{
		{"terminal", true, nil, outputFlags{}, true},
		{"no terminal", false, nil, outputFlags{}, false},
		{"dumb terminal", true, map[string]string{"TERM": "dumb"}, outputFlags{}, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, outputFlags{}, false},
		{"empty NO_COLOR", true, map[string]string{"NO_COLOR": ""}, outputFlags{}, true},
		{"--no-progress", true, nil, outputFlags{noProgress: true}, false},
		{"--json", true, nil, outputFlags{json: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out lockedBuffer
			app := newApp(&bytes.Buffer{}, &out, lookup(test.env), noon)
			app.terminal = test.terminal
			progress := app.display(test.flags, "load", "uploads")
			defer progress.finish()
			if _, isBar := progress.(*bar); isBar != test.bar {
				t.Errorf("got %T", progress)
			}
		})
	}
}

// Whatever interleaves, a log line is whole and stands alone on its line.
func TestLogLinesAboveABarAreUnbroken(t *testing.T) {
	var out lockedBuffer
	app := newApp(&bytes.Buffer{}, &out, lookup(nil), time.Now)
	app.terminal = true
	progress := app.display(outputFlags{}, "load", "uploads")
	log := app.logger(outputFlags{loglevel: "info"})
	var work sync.WaitGroup
	for worker := range 8 {
		work.Go(func() {
			for i := range 50 {
				progress.add("uploads", 1, 1)
				log.Info("uploaded", "worker", worker, "i", i)
			}
		})
	}
	work.Wait()
	progress.finish()

	seen := 0
	for line := range strings.Lines(out.String()) {
		if i := strings.LastIndex(line, clearLine); i >= 0 {
			line = line[i+len(clearLine):] // what the terminal shows
		}
		if strings.Contains(line, "msg=uploaded") {
			seen++
			if !strings.HasPrefix(line, "time=") || strings.Count(line, "time=") != 1 {
				t.Fatalf("broken line %q", line)
			}
		}
	}
	if seen != 400 {
		t.Errorf("%d whole log lines, want 400", seen)
	}
	if want := "load: uploads 400/400 after"; !strings.Contains(out.String(), want) {
		t.Errorf("the last line lacks %q", want)
	}
}
