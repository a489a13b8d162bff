package fetch_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/fetch"
	"pyrobundle/store"
)

const (
	firstDay  = "2026-08-01"
	secondDay = "2026-08-02"
)

// noon is when the tests fetch: the days are over.
func noon() time.Time { return time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC) }

func config() fetch.Config {
	return fetch.Config{
		From: firstDay, To: secondDay, Limit: 30, Order: store.Ascending, RiskScore: "extreme", Workers: 4,
		Organizations: true, Now: noon,
	}
}

// bundle is a bundle of one test, opened for each run as the commands do.
type bundle struct {
	t    *testing.T
	path string
	p    *fakePlatform
}

func newBundle(t *testing.T, p *fakePlatform) *bundle {
	t.Helper()
	return &bundle{t: t, path: filepath.Join(t.TempDir(), "b.bundle"), p: p}
}

// fetched is a Run's Result, and the ids of the sequences that it completed.
type fetched struct {
	fetch.Result
	completed []int64
}

func (b *bundle) try(ctx context.Context, cfg fetch.Config) (fetched, error) {
	b.t.Helper()
	var mu sync.Mutex
	var completed []int64
	cfg.Completed = func(s store.Sequence) {
		mu.Lock()
		defer mu.Unlock()
		completed = append(completed, s.ID)
	}
	client := b.p.dial(b.t)
	dst, err := store.OpenWriter(b.t.Context(), b.path, store.WriteOptions{Source: client.Source()})
	if err != nil {
		b.t.Fatal(err)
	}
	result, err := fetch.Run(ctx, client, dst, cfg)
	if err := dst.Close(); err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(completed)
	return fetched{result, completed}, err
}

func (b *bundle) fetch(cfg fetch.Config) fetched {
	b.t.Helper()
	result, err := b.try(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *bundle) read(use func(*store.Bundle)) {
	b.t.Helper()
	opened, err := store.Open(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	use(opened)
	if err := opened.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) record(id int64) store.SequenceRecord {
	b.t.Helper()
	var record store.SequenceRecord
	b.read(func(opened *store.Bundle) {
		var err error
		if record, err = opened.Sequence(b.t.Context(), id); err != nil {
			b.t.Fatal(err)
		}
	})
	return record
}

func (b *bundle) digest() store.Hash {
	b.t.Helper()
	var hash store.Hash
	b.read(func(opened *store.Bundle) {
		var err error
		if hash, err = opened.Digest(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	})
	return hash
}

// intact fails the test unless Verify finds nothing.
func (b *bundle) intact() {
	b.t.Helper()
	b.read(func(opened *store.Bundle) {
		report, err := opened.Verify(b.t.Context(), store.VerifyOptions{ReadData: true})
		if err != nil || len(report.Findings) > 0 {
			b.t.Fatalf("verify: %v, %+v", err, report.Findings)
		}
	})
}

// problems are the problems' lines without their times.
func lines(problems []store.Problem) []string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, string(p.Class)+" "+p.String())
	}
	return lines
}

func wantNoProblems(t *testing.T, result fetched) {
	t.Helper()
	if len(result.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(lines(result.Problems), "\n"))
	}
}

func wantOneProblem(t *testing.T, result fetched, class store.Class, parts ...string) {
	t.Helper()
	got := lines(result.Problems)
	if len(got) != 1 {
		t.Fatalf("got %d problems, want one:\n%s", len(got), strings.Join(got, "\n"))
	}
	for _, part := range append([]string{string(class) + " "}, parts...) {
		if !strings.Contains(got[0], part) {
			t.Errorf("problem %q lacks %q", got[0], part)
		}
	}
}

func frameKeys(record store.SequenceRecord) []string {
	var keys []string
	for _, frame := range record.Frames {
		keys = append(keys, frame.Key)
	}
	return keys
}

func TestRunMirrorsDays(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	p.sequence(42, 2, started(firstDay, 1), 1)
	p.sequence(43, 2, started(secondDay, 0), 2)
	p.sequence(99, 6, started(firstDay, 0), 2) // another organization's
	b := newBundle(t, p)
	result := b.fetch(config())

	wantNoProblems(t, result)
	want := fetch.Result{
		Days:       2,
		Sequences:  fetch.Sequences{Total: 3, Successful: 3, New: 3},
		Detections: 6,
		Taken:      3,
		Images:     fetch.Images{Total: 6, Downloaded: 6, Bytes: result.Images.Bytes},
		Problems:   []store.Problem{},
	}
	if diff := cmp.Diff(want, result.Result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	b.intact()
	record := b.record(41)
	if got, want := frameKeys(record), p.keys(41); !slices.Equal(got, want) {
		t.Errorf("frames %v, want %v", got, want)
	}
	if record.Camera == nil || record.Camera.Name != "tower-01" || record.Organization == nil || record.Organization.Name != "org-alpha" {
		t.Errorf("camera %+v, organization %+v", record.Camera, record.Organization)
	}
	wantCoverage := store.Coverage{FetchedAt: noon(), Limit: 30, Order: store.Ascending, Complete: true, Exhausted: true}
	if diff := cmp.Diff(wantCoverage, record.Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	b.read(func(opened *store.Bundle) {
		for _, frame := range record.Frames {
			data, err := opened.ReadImage(t.Context(), frame.Image)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(data, p.images[frame.Key]) {
				t.Errorf("image %s differs from the platform's", frame.Key)
			}
		}
	})
	if n := p.asked("crop"); n != 0 {
		t.Errorf("%d requests for crops", n)
	}
}

func TestE37_NoSecretEntersTheBundle(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	b := newBundle(t, p)
	b.fetch(config())
	err := filepath.WalkDir(b.path, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range []string{"c0ffee", "X-Amz-Signature", hookSecret, "T0KEN", "token-of-", fakePassword} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s holds %q", entry.Name(), secret)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRerunWithNothingNewListsTheDaysAndWritesNothing(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 20 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 2)
	}
	b := newBundle(t, p)
	b.fetch(config())
	index, err := os.ReadFile(filepath.Join(b.path, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	digest := b.digest()
	p.forgetRequests()

	cfg := config()
	cfg.Now = func() time.Time { return noon().Add(time.Hour) }
	result := b.fetch(cfg)
	wantNoProblems(t, result)
	if result.Sequences.Unchanged != 20 || len(result.completed) != 0 || result.Images.Reused != 40 || result.Images.Downloaded != 0 {
		t.Errorf("result %+v", result)
	}
	if n := p.asked("/sequences/"); n != 2 {
		t.Errorf("%d requests for sequences, want one for each day", n)
	}
	if n := p.asked(""); n > 2+6 { // two logins, who each is, cameras, organizations
		t.Errorf("%d requests", n)
	}
	again, err := os.ReadFile(filepath.Join(b.path, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(index, again) {
		t.Error("the index was written though nothing was new")
	}
	if b.digest() != digest {
		t.Error("the digest changed")
	}
}

func TestRerunRefreshesAChangedDocumentWithoutListingDetections(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	b := newBundle(t, p)
	b.fetch(config())
	p.set(41, "is_wildfire", "wildfire_smoke")
	p.forgetRequests()
	result := b.fetch(config())
	if result.Sequences.Updated != 1 || !slices.Equal(result.completed, []int64{41}) {
		t.Errorf("result %+v", result)
	}
	if n := p.asked("/detections"); n != 0 {
		t.Errorf("%d listings of detections", n)
	}
	record := b.record(41)
	if record.Sequence.IsWildfire == nil || *record.Sequence.IsWildfire != "wildfire_smoke" || len(record.Frames) != 2 {
		t.Errorf("record %+v", record)
	}
}

// Labels come days after the detections. The bundle that has one was the last to read the sequence, however long ago its
// detections were listed, and merge goes by that.
func TestARefreshedDocumentIsNewerThanOneFetchedBefore(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	a, b := newBundle(t, p), newBundle(t, p)
	at := started(firstDay, 0).Add(48 * time.Hour)
	cfg := config()
	cfg.Now = func() time.Time { return at }
	for _, bundle := range []*bundle{a, b} {
		bundle.fetch(cfg)
		at = at.Add(time.Hour)
	}
	p.set(41, "is_wildfire", "wildfire_smoke")
	a.fetch(cfg)
	merged := newBundle(t, p)
	if _, err := store.Merge(t.Context(), merged.path, []string{a.path, b.path}, store.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if label := merged.record(41).Sequence.IsWildfire; label == nil || *label != "wildfire_smoke" {
		t.Errorf("label %v after the merge, want the newer document's", label)
	}
	again := a.record(41).Coverage
	at = at.Add(time.Hour)
	a.fetch(cfg)
	if got := a.record(41).Coverage; got != again {
		t.Errorf("coverage %+v of a sequence of which nothing is new, want %+v", got, again)
	}
}

func TestRerunFetchesWhatAGrownSequenceGained(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	b := newBundle(t, p)
	b.fetch(config())
	key := p.grow(41, started(firstDay, 5))
	p.forgetRequests()
	result := b.fetch(config())
	if result.Sequences.Updated != 1 || result.Images.Downloaded != 1 || result.Images.Reused != 2 {
		t.Errorf("result %+v", result)
	}
	if got := frameKeys(b.record(41)); len(got) != 3 || got[2] != key {
		t.Errorf("frames %v, want %s last", got, key)
	}
}

func TestE20_LiveSequenceIsVisitedAgainUntilItCannotGrow(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 2)
	b := newBundle(t, p)
	at := started(firstDay, 30)
	cfg := config()
	cfg.Now = func() time.Time { return at }
	b.fetch(cfg)
	record := b.record(41)
	if !record.Coverage.Live {
		t.Fatalf("coverage %+v, want live", record.Coverage)
	}
	b.read(func(opened *store.Bundle) {
		for day, err := range opened.Days(t.Context()) {
			if err != nil || day.Complete {
				t.Errorf("day %+v, %v: it is not over", day, err)
			}
		}
	})
	at = at.Add(24 * time.Hour)
	p.forgetRequests()
	b.fetch(cfg)
	if n := p.asked("/41/detections"); n != 1 {
		t.Errorf("%d listings after it ended, want one", n)
	}
	p.forgetRequests()
	b.fetch(cfg)
	if n := p.asked("/41/detections"); n != 0 {
		t.Errorf("%d listings after it was known to have ended", n)
	}
}

func TestE16_OneLoginForEachAccountAndRun(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 20 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 3)
	}
	b := newBundle(t, p)
	wantNoProblems(t, b.fetch(config()))
	if logins, requests := p.asked("/login/creds"), p.asked(""); logins != 2 || requests < 80 { // the user and the administrator
		t.Errorf("%d logins in %d requests, want 2", logins, requests)
	}
}

func TestE1_FailingDayIsAProblemAndTheOthersGoOn(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.sequence(42, 1, started(secondDay, 0), 1)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("from_date") != firstDay {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("<html>Internal Server Error</html>"))
		return true
	})
	b := newBundle(t, p)
	result := b.fetch(config())
	wantOneProblem(t, result, store.Failed, "day 2026-08-01", "500")
	if result.Days != 1 || !slices.Equal(result.completed, []int64{42}) {
		t.Errorf("result %+v", result)
	}

	p.intercept(nil)
	cfg := config()
	cfg.From = secondDay // the failure is of another day than those asked for
	result = b.fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{41}) {
		t.Errorf("completed %v, want 41 of the day that failed before", result.completed)
	}
}

func TestE2_ErrorBodyIsNoData(t *testing.T) {
	for name, reply := range map[string]func(w http.ResponseWriter){
		"403 on the detections":             func(w http.ResponseWriter) { detail(w, http.StatusForbidden, "Access forbidden.") },
		"an object where a list is due":     func(w http.ResponseWriter) { detail(w, http.StatusOK, "surprise") },
		"an HTML page with status 200":      func(w http.ResponseWriter) { _, _ = w.Write([]byte("<!DOCTYPE html><p>log in first")) },
		"rows that are not detections":      func(w http.ResponseWriter) { answer(w, http.StatusOK, []any{"detail"}) },
		"502 of a proxy, again and again":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"422 for a page that is too large":  func(w http.ResponseWriter) { detail(w, http.StatusUnprocessableEntity, "x") },
		"500 with a traceback in the body":  func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write([]byte("Traceback\n  File")) },
		"a list that ends in the middle":    func(w http.ResponseWriter) { _, _ = w.Write([]byte(`[{"id": 1,`)) },
		"a row whose id is beyond any use":  func(w http.ResponseWriter) { answer(w, http.StatusOK, []any{map[string]any{"id": -1}}) },
		"a row whose time is not a time":    func(w http.ResponseWriter) { answer(w, 200, []any{map[string]any{"id": 1, "created_at": "soon"}}) },
		"a row without the key of an image": func(w http.ResponseWriter) { answer(w, 200, []any{map[string]any{"id": 1}}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 1)
			p.sequence(42, 1, started(firstDay, 1), 1)
			p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/41/detections") {
					return false
				}
				reply(w)
				return true
			})
			b := newBundle(t, p)
			result := b.fetch(config())
			if len(result.Problems) != 1 || result.Problems[0].SequenceID != 41 {
				t.Fatalf("problems %v, want one of sequence 41", lines(result.Problems))
			}
			if !slices.Contains(result.completed, 42) {
				t.Errorf("completed %v, want 42", result.completed)
			}
		})
	}
}
