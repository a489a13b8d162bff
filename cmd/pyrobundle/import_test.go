package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// importing is the synthetic world behind a platform that misbehaves, and an annotation API.
type importing struct {
	dir      string
	platform *httptest.Server
	api      *sandbox.AnnotationAPI
	target   *httptest.Server
	refusing atomic.Bool // the target takes no sequence
}

// newImporting hands every request of the platform to misbehave first, which tells whether it has answered.
func newImporting(t *testing.T, misbehave func(http.ResponseWriter, *http.Request) bool) *importing {
	t.Helper()
	i := &importing{dir: t.TempDir(), api: sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})}
	t.Setenv("XDG_STATE_HOME", i.dir)
	world := filepath.Join(i.dir, "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), world, sandbox.WorldOptions{ImageBytes: smallImage}); err != nil {
		t.Fatal(err)
	}
	served, err := store.Open(world)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = served.Close() })
	living := serve.New(served, serve.Options{})
	i.platform = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !misbehave(w, r) {
			living.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(i.platform.Close)
	i.target = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.refusing.Load() && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/api/v1/sequences") {
			http.Error(w, `{"detail":"not today"}`, http.StatusBadRequest)
			return
		}
		i.api.ServeHTTP(w, r)
	}))
	t.Cleanup(i.target.Close)
	return i
}

func (i *importing) run(t *testing.T, from, to string) outcome {
	t.Helper()
	env := map[string]string{
		"PLATFORM_LOGIN": "admin", "PLATFORM_PASSWORD": serve.DefaultPassword,
		"PLATFORM_ADMIN_LOGIN": "admin", "PLATFORM_ADMIN_PASSWORD": serve.DefaultPassword,
	}
	return pyrobundle(t, env, "import", "--date-from", from, "--date-end", to, "--bundle", filepath.Join(i.dir, "b"),
		"--url-api-platform", i.platform.URL, "--url-api-annotation", i.target.URL,
		"--max-workers", "4", "--retry-for", "50ms", "--detections-limit", "0")
}

// A platform that goes away in the middle ends the fetch, not the import: what it has given is loaded, and the exit code
// says that it was not all.
func TestImportLoadsWhatADyingPlatformHasGiven(t *testing.T) {
	var images atomic.Int64
	i := newImporting(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/storage/") {
			images.Add(1)
		}
		if images.Load() > 150 { // of 272; the platform and its storage are gone for good
			panic(http.ErrAbortHandler)
		}
		return false
	})
	got := i.run(t, "2026-08-01", "2026-08-05")
	if got.code == exitDone {
		t.Errorf("exit code 0 of an import whose platform died:\n%s%s", got.stdout, got.stderr)
	}
	annotated := len(i.api.Annotations())
	if annotated == 0 || annotated >= 14 {
		t.Errorf("%d sequences annotated, want some and not all:\n%s%s", annotated, got.stdout, got.stderr)
	}
	if !strings.Contains(got.stdout, "Processing ended early!\nFinal Statistics:") {
		t.Errorf("no report:\n%s%s", got.stdout, got.stderr)
	}
	if lines := strings.Count(got.stderr, "\n"); lines > 60 {
		t.Errorf("%d lines on stderr of one dead server:\n%s", lines, got.stderr)
	}
	if !strings.HasSuffix(got.stderr, "what was done is kept: run it again when it answers\n") {
		t.Errorf("stderr does not end with what to do next:\n%s", got.stderr)
	}
}

// TestImportLoadsWhateverOfThePlatformDied: of a storage on a host of its own, too, which once kept back all that was fetched.
func TestImportLoadsWhateverOfThePlatformDied(t *testing.T) {
	for _, err := range []error{httpapi.ErrUnreachable, httpapi.ErrHostUnreachable, httpapi.ErrUnauthorized} {
		if !platformsFault(fmt.Errorf("fetch image 7/x.jpg: %w", err)) {
			t.Errorf("%v: nothing is loaded", err)
		}
	}
	for _, err := range []error{store.ErrCorrupt, context.Canceled, nil} {
		if platformsFault(err) {
			t.Errorf("%v: the platform's fault", err)
		}
	}
}

// What an earlier fetch failed at is fetched by the import of another day, and loaded by it too.
func TestImportLoadsWhatItCompletedOfOtherDays(t *testing.T) {
	var failing atomic.Bool
	i := newImporting(t, func(w http.ResponseWriter, r *http.Request) bool {
		if failing.Load() && r.FormValue("from_date") == "2026-08-01" {
			http.Error(w, "down for maintenance", http.StatusInternalServerError)
			return true
		}
		return false
	})
	failing.Store(true)
	if got := i.run(t, "2026-08-01", "2026-08-01"); got.code != exitFailures || len(i.api.Sequences()) != 0 {
		t.Fatalf("import of a day that cannot be listed: %+v", got)
	}
	failing.Store(false)
	if got := i.run(t, "2026-08-02", "2026-08-02"); got.code != exitDone {
		t.Fatalf("import of the next day: %+v", got)
	}
	loaded := map[store.Day]int{}
	for _, s := range i.api.Sequences() {
		loaded[store.DayOf(s.RecordedAt)]++
	}
	if loaded["2026-08-01"] == 0 || loaded["2026-08-02"] == 0 || len(loaded) != 2 {
		t.Errorf("sequences loaded by day: %v, want those of the day that failed before, too", loaded)
	}
}

// What an import has fetched of other days, the next import of its days does not load: it finds it whole in the bundle. So what
// this one does not load of it is named, with what does.
func TestImportNamesWhatItCompletedOfOtherDaysAndDidNotLoad(t *testing.T) {
	const again = "it is of 2026-08-01: load the bundle, or import that day"
	for name, c := range map[string]struct {
		spoil func(i *importing, r *http.Request) // at each request of the second import to the platform
		code  int
		of1   int // sequences of the day before that are named
	}{
		"the target dies before": {func(i *importing, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/storage/") {
				i.target.Close()
			}
		}, exitError, 4},
		"the target refuses each": {func(i *importing, _ *http.Request) { i.refusing.Store(true) }, exitFailures, 4},
		"nothing goes wrong":      {func(*importing, *http.Request) {}, exitDone, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var i *importing
			var second atomic.Bool
			i = newImporting(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case second.Load():
					c.spoil(i, r)
				case r.FormValue("from_date") == "2026-08-01":
					http.Error(w, "down for maintenance", http.StatusInternalServerError)
					return true
				}
				return false
			})
			if got := i.run(t, "2026-08-01", "2026-08-01"); got.code != exitFailures {
				t.Fatalf("import of a day that cannot be listed: %+v", got)
			}
			second.Store(true)
			got := i.run(t, "2026-08-02", "2026-08-02")
			if got.code != c.code {
				t.Errorf("exit code %d, want %d", got.code, c.code)
			}
			named := map[string]bool{}
			for line := range strings.Lines(got.stderr) {
				if strings.HasPrefix(line, "failed: sequence ") && strings.Contains(line, again) {
					named[strings.Fields(line)[2]] = true
				}
			}
			if len(named) != c.of1 {
				t.Errorf("%d sequences of the day before are named as not loaded, want %d:\n%s", len(named), c.of1, got.stderr)
			}
		})
	}
}

// What could not be fetched counts as failed whatever becomes of the load.
func TestImportThatEndsEarlyCountsWhatItCouldNotFetch(t *testing.T) {
	var i *importing
	i = newImporting(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/sequences/104/detections"):
			http.Error(w, "one of many", http.StatusInternalServerError)
			return true
		case strings.HasPrefix(r.URL.Path, "/storage/"):
			i.target.Close()
		}
		return false
	})
	got := i.run(t, "2026-08-01", "2026-08-05")
	if got.code != exitError {
		t.Errorf("exit code %d of an import whose target died, want %d", got.code, exitError)
	}
	named := map[string]bool{}
	for line := range strings.Lines(got.stderr) {
		if strings.HasPrefix(line, "failed: sequence ") {
			named[strings.Fields(line)[2]] = true
		}
	}
	if want := fmt.Sprintf("  Failed sequences: %d\n", len(named)); !named["104:"] || !strings.Contains(got.stdout, want) {
		t.Errorf("want %q, as many as are named, 104 with them:\n%s%s", want, got.stdout, got.stderr)
	}
}

// Without a fetch, import annotates the sequences that were chosen, and no others: with --existing overwrite it would replace
// what people did on them.
func TestImportWithoutFetchAnnotatesOnlyWhatIsChosen(t *testing.T) {
	i := newImporting(t, func(http.ResponseWriter, *http.Request) bool { return false })
	if got := i.run(t, "2026-08-01", "2026-08-05"); len(i.api.Annotations()) == 0 {
		t.Fatalf("nothing was loaded: %+v", got)
	}
	chosen := i.api.Annotations()[0].SequenceID
	var id int64
	for _, s := range i.api.Sequences() {
		if s.ID == chosen {
			id = s.AlertAPIID
		}
	}
	for _, a := range i.api.Annotations() {
		i.api.EditAnnotation(a.ID, func(a *sandbox.AnnotationRow) { a.Unsure = true })
	}
	run := func(arguments ...string) outcome {
		t.Helper()
		return pyrobundle(t, nil, append(arguments, "--date-from", "2026-08-01", "--date-end", "2026-08-05",
			"--url-api-annotation", i.target.URL, "--existing", "overwrite", "--no-predictions", "skip", "--json")...)
	}
	unsure := func() (n int) {
		for _, a := range i.api.Annotations() {
			if a.Unsure {
				n++
			}
		}
		return n
	}
	all := unsure()
	for _, command := range [][]string{{"annotate"}, {"import", "--skip-platform-fetch"}} {
		if got := run(append(command, "--source-api", "alert_wildfire")...); got.code != exitDone || !strings.Contains(got.stdout, `"sequences":{"total":0,`) {
			t.Errorf("%s of another platform: %+v", command, got)
		}
	}
	if unsure() != all {
		t.Errorf("annotations of another platform's sequences were overwritten: %d of %d left", unsure(), all)
	}
	got := run("import", "--skip-platform-fetch", "--sequence-list", strconv.FormatInt(id, 10), "--source-api", "pyronear_french")
	if got.code != exitDone || !strings.Contains(got.stdout, `"sequences":{"total":1,`) || unsure() != all-1 {
		t.Errorf("%d of %d left, want all but one: %+v", unsure(), all, got)
	}
}

// Flags that choose among what is fetched, or say how it is loaded, are not passed over in silence.
func TestImportWithoutFetchRefusesFlagsOfTheFetch(t *testing.T) {
	for _, flag := range []string{
		"--max-sequences=1", "--risk-score=high", "--detections-limit=5", "--detections-order-by=desc", "--detection-time=recorded", "--repair-foreign",
	} {
		got := pyrobundle(t, nil, "import", "--skip-platform-fetch", "--date-from", "2026-08-01", flag)
		name, _, _ := strings.Cut(flag, "=")
		if got.code != exitUsage || !strings.Contains(got.stderr, name+" means nothing with --skip-platform-fetch") {
			t.Errorf("%s: %+v", flag, got)
		}
	}
}
