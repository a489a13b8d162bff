package fetch_test

import (
	"net/http"
	"slices"
	"testing"

	"pyrobundle/store"
)

func TestAdministratorMirrorsEveryOrganization(t *testing.T) {
	p := newFakePlatform(t)
	p.scope = "admin"
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(61, 6, started(firstDay, 0), 1)
	p.sequence(62, 6, started(firstDay, 1), 1)
	b := newBundle(t, p)
	if result := b.fetch(config()); !slices.Equal(result.completed, []int64{41, 61, 62}) {
		t.Errorf("result %+v", result)
	}
	p.remove(61)
	if result := b.fetch(config()); result.Gone != 1 || !b.record(61).Coverage.Gone {
		t.Errorf("%d gone, though another organization's sequence is", result.Gone)
	}
}

// ownListings makes the administrator one of a server before 2026-07-23: any object may be read, the own organization's
// sequences alone are listed (contract A.2).
func (p *fakePlatform) ownListings() {
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("from_date") == "" {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		scope := p.scope
		p.scope = "user"
		p.listSequences(w, r)
		p.scope = scope
		return true
	})
}

func TestAdministratorOfAnOldServerAsksForNoOtherOrganizationsSequences(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 10 {
		p.sequence(int64(61+i), 6, started(firstDay, i), 1)
	}
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(42, 1, started(firstDay, 1), 1)
	p.organization = 3
	b := newBundle(t, p)
	b.fetch(config())
	p.scope, p.organization = "admin", 2
	p.ownListings()
	b.fetch(config())
	p.remove(42)
	p.forgetRequests()
	result := b.fetch(config())
	wantNoProblems(t, result)
	if n := p.asked("/sequences/6"); n != 0 {
		t.Errorf("a rerun with nothing new asks for %d sequences one by one", n)
	}
	if result.Gone != 1 || !b.record(42).Coverage.Gone {
		t.Errorf("%d gone, want the own organization's 42", result.Gone)
	}
}

func TestAdministratorSettlesTheFailedDaysOfWhomItLists(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(61, 6, started(firstDay, 0), 1)
	b := newBundle(t, p)
	p.intercept(failing("from_date=" + firstDay))
	for _, organization := range []int64{2, 3} {
		p.organization = organization
		wantOneProblem(t, b.fetch(config()), store.Failed, "day "+firstDay)
	}
	p.scope, p.organization = "admin", 2
	recorded := func() (ids []string) {
		b.read(func(opened *store.Bundle) {
			for problem, err := range opened.Problems(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, problem.ID)
			}
		})
		return ids
	}

	p.ownListings()
	result := b.fetch(elsewhere()) // whatever days are asked for
	wantNoProblems(t, result)
	if got := recorded(); !slices.Equal(got, []string{firstDay + "/3"}) || !slices.Equal(result.completed, []int64{41}) {
		t.Errorf("completed %v, on record %v, want the other organization's day", result.completed, got)
	}
	p.intercept(nil) // the server was updated
	result = b.fetch(elsewhere())
	wantNoProblems(t, result)
	if got := recorded(); len(got) != 0 || !slices.Equal(result.completed, []int64{61}) {
		t.Errorf("completed %v, on record %v after a listing of everything", result.completed, got)
	}
}

func TestSequenceThatIsMissingAndCannotBeAskedForIsTheDaysFailure(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	b := newBundle(t, p)
	b.fetch(config())
	p.remove(41)
	p.intercept(failing("/sequences/41"))
	wantOneProblem(t, b.fetch(config()), store.Failed, "day "+firstDay, "1 sequences of the bundle are missing", "sequence 41", "500")
	p.intercept(nil)
	result := b.fetch(elsewhere()) // it is tried again like every failure
	wantNoProblems(t, result)
	if result.Gone != 1 || !b.record(41).Coverage.Gone {
		t.Errorf("%d gone", result.Gone)
	}
}

func TestSequenceGoneIsCountedOnce(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.intercept(failing("/bucket-2/"))
	b := newBundle(t, p)
	b.fetch(config()) // held, with a failure on record
	p.intercept(nil)
	p.remove(41)
	for i, want := range []int{1, 0, 0} {
		cfg := config()
		cfg.RetryIncomplete = true
		if result := b.fetch(cfg); result.Gone != want {
			t.Errorf("run %d: %d gone, want %d", i, result.Gone, want)
		}
	}
}
