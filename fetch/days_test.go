package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// busyDay has more sequences than a page.
func busyDay(t *testing.T, n int) *fakePlatform {
	t.Helper()
	p := newFakePlatform(t)
	at := started(firstDay, 0)
	for i := range n {
		p.sequence(int64(1+i), 1, at.Add(time.Duration(i/3)*time.Second), 0) // three at a time: ties
	}
	return p
}

func TestDayOfSeveralPages(t *testing.T) {
	p := busyDay(t, 2300)
	b := newBundle(t, p)
	cfg := config()
	cfg.Workers = 16
	result := b.fetch(cfg)
	wantNoProblems(t, result)
	if result.Sequences.New != 2300 {
		t.Errorf("%+v", result.Sequences)
	}
	if n := p.asked("from_date=" + firstDay); n != 3 {
		t.Errorf("%d pages, want 3", n)
	}
}

func TestE19_DayThatShiftsWhileItIsReadIsReadAgain(t *testing.T) {
	for name, change := range map[string]func(p *fakePlatform){
		"sequences come": func(p *fakePlatform) {
			for i := range 3 {
				p.sequence(int64(5000+i), 1, started(firstDay, 600), 0)
			}
		},
		"sequences go": func(p *fakePlatform) {
			for i := range 3 {
				p.remove(int64(1100 - i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := busyDay(t, 1100)
			var pages atomic.Int64
			p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.FormValue("from_date") == firstDay && pages.Add(1) == 2 {
					change(p)
				}
				return false
			})
			b := newBundle(t, p)
			cfg := config()
			cfg.Workers = 16
			result := b.fetch(cfg)
			wantNoProblems(t, result)
			b.read(func(opened *store.Bundle) {
				for _, s := range p.sequences {
					if _, err := opened.Sequence(t.Context(), s["id"].(int64)); err != nil {
						t.Errorf("%v", err)
					}
				}
			})
			if seen := int(result.Sequences.Total); seen < len(p.sequences) {
				t.Errorf("%d sequences, want %d", seen, len(p.sequences))
			}
		})
	}
}

func TestDayThatNeverHoldsStillIsAProblem(t *testing.T) {
	p := busyDay(t, 1100)
	next := int64(5000)
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("offset") != "0" && r.FormValue("from_date") == firstDay {
			next++
			p.sequence(next, 1, started(firstDay, 600), 0)
		}
		return false
	})
	b := newBundle(t, p)
	cfg := config()
	cfg.Workers = 16
	wantOneProblem(t, b.fetch(cfg), store.Failed, "day "+firstDay, "changed each")
}

func TestDayWhosePagesAreAllTheFirstIsSaidToBe(t *testing.T) {
	p := busyDay(t, 1100)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("from_date") != firstDay {
			return false
		}
		r.Form.Set("offset", "0")
		p.mu.Lock()
		defer p.mu.Unlock()
		p.listSequences(w, r)
		return true
	})
	b := newBundle(t, p)
	cfg := config()
	cfg.Workers = 16
	wantOneProblem(t, b.fetch(cfg), store.Failed, "day "+firstDay, "every page of its listing with the first", "1000 sequences")
	if n := p.asked("from_date=" + firstDay); n != 2 {
		t.Errorf("%d pages asked for, want 2: reading it again brings nothing else", n)
	}
}

func TestSequenceGoneUpstreamIsKeptAndMarked(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	p.sequence(42, 1, started(firstDay, 1), 2)
	b := newBundle(t, p)
	b.fetch(config())
	gone := p.find(41)
	p.remove(41)

	cfg := config()
	cfg.RiskScore = "low" // such a listing may hide sequences: being absent from it says nothing
	if result := b.fetch(cfg); result.Gone != 0 || b.record(41).Coverage.Gone {
		t.Errorf("a filtered listing marked a sequence as gone: %+v", result)
	}
	result := b.fetch(config())
	wantNoProblems(t, result)
	if record := b.record(41); !record.Coverage.Gone || len(record.Frames) != 2 || result.Gone != 1 {
		t.Errorf("coverage %+v, %d gone", record.Coverage, result.Gone)
	}
	p.forgetRequests()
	if result = b.fetch(config()); result.Gone != 0 || p.asked("/sequences/41") != 0 {
		t.Errorf("%d gone, %d requests for it", result.Gone, p.asked("/sequences/41"))
	}
	p.sequences = append(p.sequences, gone)
	b.fetch(config())
	if b.record(41).Coverage.Gone {
		t.Error("still marked though it is back")
	}
}

func TestAnotherOrganizationsAccountLeavesWhatItCannotSee(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	p.sequence(61, 6, started(firstDay, 0), 2)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/41/detections") || r.FormValue("from_date") == secondDay {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	b := newBundle(t, p)
	if result := b.fetch(config()); len(result.Problems) != 2 {
		t.Fatalf("problems %v", lines(result.Problems))
	}
	p.intercept(nil)
	p.organization = 3
	result := b.fetch(config())
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{61}) || result.Gone != 0 {
		t.Errorf("result %+v", result)
	}
	p.organization = 2
	cfg := config()
	cfg.From, cfg.To = "2026-08-10", "2026-08-10"
	result = b.fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{41}) {
		t.Errorf("the first account's failures are forgotten: %+v", result)
	}
}

func TestE9_WhatCannotBeLoadedIsSaidWhileOnline(t *testing.T) {
	p := newFakePlatform(t)
	p.cameras = append(p.cameras, map[string]any{"id": 8, "organization_id": int64(2), "name": "new", "lat": nil, "lon": nil})
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(42, 7, started(firstDay, 1), 1) // a camera that nobody shows
	p.sequence(43, 8, started(firstDay, 2), 1)
	b := newBundle(t, p)
	want := []fetch.Unloadable{
		{Reason: "camera 7 is not shown by the platform", Sequences: 1, IDs: []int64{42}},
		{Reason: "coordinates of camera 8 missing", Sequences: 1, IDs: []int64{43}},
	}
	for range 2 { // of an unchanged sequence too
		if diff := cmp.Diff(want, b.fetch(config()).Unloadable); diff != "" {
			t.Errorf("unloadable (-want +got):\n%s", diff)
		}
	}
}

func TestOrganizationsThatCannotBeReadAreSaid(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/v1/organizations/" {
			detail(w, http.StatusForbidden, "Incompatible token scope.")
			return true
		}
		return false
	})
	b := newBundle(t, p)
	result := b.fetch(config())
	wantOneProblem(t, result, store.Incomplete, "organization all", "Incompatible token scope")
	if len(result.Unloadable) != 1 || !strings.Contains(result.Unloadable[0].Reason, "name of organization 2") {
		t.Errorf("unloadable %v", result.Unloadable)
	}
	p.intercept(nil)
	result = b.fetch(config())
	wantNoProblems(t, result)
	if len(result.Unloadable) != 0 || b.record(41).Organization == nil || result.Sequences.Updated != 1 {
		t.Errorf("the name did not reach the sequence: %+v", result)
	}
	p.forgetRequests()
	cfg := config()
	cfg.Organizations = false
	if result = b.fetch(cfg); p.asked("/organizations") != 0 || len(result.Unloadable) != 0 {
		t.Errorf("result %+v", result)
	}
}

func TestRefusedLoginNamesTheVariables(t *testing.T) {
	p := newFakePlatform(t)
	cfg := p.config()
	cfg.Account = platform.Account{Login: "sdis-07", Password: "hunter2"}
	_, err := platform.Dial(t.Context(), cfg)
	want := fmt.Sprintf("log in to %s as %q: 401 Invalid credentials. (check PLATFORM_LOGIN and PLATFORM_PASSWORD)", p.api.URL, "sdis-07")
	if !errors.Is(err, httpapi.ErrUnauthorized) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	cfg = p.config()
	cfg.Admin.Password = "hunter2"
	if _, err = platform.Dial(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "PLATFORM_ADMIN_PASSWORD") {
		t.Errorf("got %v", err)
	}
}

func TestE5_WhatAnUnsteadyLinkBreaksIsAskedAgain(t *testing.T) {
	for name, broken := range map[string]func(w http.ResponseWriter) error{
		"an error of a proxy": func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusBadGateway)
			return nil
		},
		"a connection that closes": func(w http.ResponseWriter) error {
			connection, _, err := w.(http.Hijacker).Hijack()
			return errors.Join(err, connection.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 3)
			var mu sync.Mutex
			seen := map[string]bool{}
			p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				request := r.URL.Path + r.FormValue("from_date")
				if seen[request] || r.Method != http.MethodGet {
					return false
				}
				seen[request] = true // each request's first answer is lost
				if err := broken(w); err != nil {
					t.Error(err)
				}
				return true
			})
			b := newBundle(t, p)
			wantNoProblems(t, b.fetch(config()))
			b.intact()
		})
	}
}

func TestE8_CaptureTimeIsKeptBesideTheTimeOfReception(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	b := newBundle(t, p)
	b.fetch(config())
	row := b.record(41).Detections[0]
	if row.RecordedAt == nil || row.CreatedAt.Sub(row.RecordedAt.Time) != 2*time.Second {
		t.Errorf("created %v, recorded %v", row.CreatedAt, row.RecordedAt)
	}
}

func TestAccountRefusedMidwayEndsTheRun(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 30 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 2)
	}
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/bucket-2/") || strings.Contains(r.URL.Path, "/validate") || strings.HasPrefix(r.URL.Path, "/api/v1/cameras") {
			return false
		}
		if p.asked("/detections") > 3 {
			detail(w, http.StatusUnauthorized, "Token has expired.")
			return true
		}
		return false
	})
	b := newBundle(t, p)
	if _, err := b.try(t.Context(), config()); !errors.Is(err, httpapi.ErrUnauthorized) {
		t.Errorf("got %v, want ErrUnauthorized", err)
	}
	b.intact()
}

func TestE17_CancelledRunKeepsItsProgressAndNothingPartial(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 30 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 4)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("interrupted")
	release := make(chan struct{})
	var cancelled time.Time
	cut := sync.OnceFunc(func() { cancelled = time.Now(); cancel(stopped) })
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/bucket-2/") && p.asked("image ") > 20 {
			cut()
			select { // a storage that does not answer any more
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	})
	b := newBundle(t, p)
	result, err := b.try(ctx, config())
	if took := time.Since(cancelled); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	close(release)
	if !errors.Is(err, stopped) || !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantNoProblems(t, result)
	b.intact()
	p.mu.Lock()
	p.requests = nil
	p.mu.Unlock()
	b.read(func(opened *store.Bundle) {
		for record, err := range opened.Sequences(t.Context(), store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if !record.Coverage.Complete || len(record.Frames) != 4 {
				t.Errorf("sequence %d is there in part: %+v", record.Sequence.ID, record.Coverage)
			}
		}
	})
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("pyrobundle/fetch.(")) {
		t.Errorf("goroutines are left:\n%s", stacks)
	}

	p.intercept(nil)
	again := b.fetch(config())
	wantNoProblems(t, again)
	if again.Sequences.Successful != 30 || again.Images.Reused == 0 || p.asked("image ") >= 120 {
		t.Errorf("what had come before was fetched again: %+v", again)
	}
	whole := newBundle(t, p)
	whole.fetch(config())
	if b.digest() != whole.digest() {
		t.Error("an interrupted and resumed fetch differs from one that was not")
	}
}
