package fetch_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pyrobundle/fetch"
	"pyrobundle/store"
)

// failing answers 500 to the requests whose path and query contain part.
func failing(part string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.RequestURI(), part) {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
}

// elsewhere asks for a day on which nothing happened.
func elsewhere() fetch.Config {
	cfg := config()
	cfg.From, cfg.To = "2026-08-10", "2026-08-10"
	return cfg
}

func TestSequencesAndMaxSequencesSelect(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 6 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 1)
	}
	p.sequence(51, 1, started(secondDay, 0), 1)
	cfg := config()
	cfg.Sequences = []int64{43, 51, 777}
	result := newBundle(t, p).fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{43, 51}) || !slices.Equal(result.Unshown, []int64{777}) {
		t.Errorf("completed %v, unshown %v", result.completed, result.Unshown)
	}
	cfg = config()
	cfg.MaxSequences = 4
	for range 3 { // always the same ones
		result = newBundle(t, p).fetch(cfg)
		if !slices.Equal(result.completed, []int64{43, 44, 45, 46}) || result.Taken != 4 || result.LeftOut != 3 {
			t.Errorf("completed %v, %d taken, %d left out", result.completed, result.Taken, result.LeftOut)
		}
	}
	cfg.Taken = 3 // by another account
	result = newBundle(t, p).fetch(cfg)
	if !slices.Equal(result.completed, []int64{46}) || result.Taken != 1 || result.LeftOut != 6 {
		t.Errorf("completed %v, %d taken, %d left out", result.completed, result.Taken, result.LeftOut)
	}
	cfg.Taken = 4
	if result = newBundle(t, p).fetch(cfg); len(result.completed) != 0 || result.LeftOut != 7 {
		t.Errorf("completed %v, %d left out", result.completed, result.LeftOut)
	}
}

func TestSelectiveRunKeepsTheFailureOfADay(t *testing.T) {
	for name, choose := range map[string]func(cfg *fetch.Config){
		"sequence-list": func(cfg *fetch.Config) { cfg.Sequences = []int64{42} },
		"max-sequences": func(cfg *fetch.Config) { cfg.MaxSequences = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 1)
			p.sequence(42, 1, started(secondDay, 0), 1)
			p.intercept(failing("from_date=" + firstDay))
			b := newBundle(t, p)
			wantOneProblem(t, b.fetch(config()), store.Failed, "day "+firstDay)
			p.intercept(nil)
			p.sequence(43, 1, started(secondDay, 1), 1)
			cfg := config()
			cfg.From = secondDay // the day that failed is listed too, and left out
			choose(&cfg)
			wantOneProblem(t, b.fetch(cfg), store.Failed, "day "+firstDay)
			result := b.fetch(elsewhere())
			wantNoProblems(t, result)
			if !slices.Equal(result.completed, []int64{41}) {
				t.Errorf("completed %v, want 41 of the day that failed", result.completed)
			}
		})
	}
}

func TestMaxSequencesLeavesOutNoFailureOfBefore(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(42, 1, started(firstDay, 1), 1) // listed first
	p.intercept(failing("/sequences/41"))
	b := newBundle(t, p)
	wantOneProblem(t, b.fetch(config()), store.Failed, "sequence 41")
	p.intercept(nil)
	cfg := config()
	cfg.MaxSequences = 1
	result := b.fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{41}) || result.LeftOut != 0 {
		t.Errorf("completed %v, %d left out", result.completed, result.LeftOut)
	}
}

func TestFailureOfASelectedSequenceStaysAFailure(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.intercept(failing("/sequences/41"))
	b := newBundle(t, p)
	wantOneProblem(t, b.fetch(config()), store.Failed, "sequence 41")
	cfg := elsewhere()
	cfg.Sequences = []int64{41}
	result := b.fetch(cfg)
	wantOneProblem(t, result, store.Failed, "sequence 41", "500")
	if len(result.Unshown) != 0 {
		t.Errorf("unshown %v: it has failed", result.Unshown)
	}
}

func TestSelectedSequenceOfAnotherOrganizationIsUnshown(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.intercept(failing("/sequences/41"))
	b := newBundle(t, p)
	b.fetch(config())
	p.intercept(nil)
	p.organization = 3
	cfg := config()
	cfg.Sequences = []int64{41}
	result := b.fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.Unshown, []int64{41}) {
		t.Errorf("unshown %v, want 41", result.Unshown)
	}
}
