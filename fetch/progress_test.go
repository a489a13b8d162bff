package fetch_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// What a run tells of its progress adds up, and a day's sequences are announced before they are fetched, so that somebody who
// watches can estimate how long it will take.
func TestProgressAnnouncesADaysSequencesBeforeTheyAreFetched(t *testing.T) {
	for name, limit := range map[string]int{"all": 0, "the first seven": 7} {
		t.Run(name, func(t *testing.T) {
			p := busyDay(t, 40)
			cfg := config()
			cfg.To, cfg.Workers, cfg.MaxSequences = cfg.From, 1, limit
			want := int64(40)
			if limit > 0 {
				want = int64(limit)
			}
			var mu sync.Mutex
			done, expected := map[string]int64{}, map[string]int64{}
			cfg.Progress = func(unit string, more, moreExpected int64) {
				mu.Lock()
				defer mu.Unlock()
				if unit == "sequences" && more > 0 && (expected["sequences"] != want || done["days"] != 1) {
					t.Errorf("%d of %d days and %d sequences announced when one ended, want 1 and %d",
						done["days"], expected["days"], expected["sequences"], want)
				}
				done[unit] += more
				expected[unit] += moreExpected
			}
			wantNoProblems(t, newBundle(t, p).fetch(cfg))
			for unit, n := range map[string]int64{"days": 1, "sequences": want} {
				if done[unit] != n || expected[unit] != n {
					t.Errorf("%s: %d done of %d, want %d of both", unit, done[unit], expected[unit], n)
				}
			}
		})
	}
}

func TestProgressCountsADayThatCannotBeListed(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(1, 1, started(firstDay, 0), 2)
	b := newBundle(t, p)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("from_date") != firstDay {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	cfg := config()
	var mu sync.Mutex
	var done, expected int64
	cfg.Progress = func(unit string, more, moreExpected int64) {
		mu.Lock()
		defer mu.Unlock()
		if unit == "days" {
			done, expected = done+more, expected+moreExpected
		}
	}
	b.fetch(cfg)
	if done != 2 || expected != 2 {
		t.Errorf("%d of %d days, want 2 of 2", done, expected)
	}
}

// Whether an image that sequences share has come by the time that the next one asks for it is chance; what the progress counts
// is not.
func TestProgressCountsEveryImageThatASequenceLacked(t *testing.T) {
	p := newFakePlatform(t)
	for id := int64(41); id < 49; id++ {
		p.sequence(id, 1, started(firstDay, 0), 2)
		p.mu.Lock()
		p.row(id, started(firstDay, 1), "shared.jpg", "[(0.1,0.1,0.2,0.2,0.5)]")
		p.mu.Unlock()
	}
	p.images["shared.jpg"] = picture(1)
	b := newBundle(t, p)
	for _, run := range []struct {
		name string
		want int64
	}{{"first", 8 * 3}, {"again", 0}} {
		cfg := config()
		var done, expected atomic.Int64
		cfg.Progress = func(unit string, more, moreExpected int64) {
			if unit == "images" {
				done.Add(more)
				expected.Add(moreExpected)
			}
		}
		wantNoProblems(t, b.fetch(cfg))
		if done.Load() != run.want || expected.Load() != run.want {
			t.Errorf("%s: %d of %d images, want %d of both", run.name, done.Load(), expected.Load(), run.want)
		}
	}
}
