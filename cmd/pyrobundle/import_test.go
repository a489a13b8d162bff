package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// A platform that goes away in the middle ends the fetch, not the import: what it has given is loaded, and the exit code
// says that it was not all.
func TestImportLoadsWhatADyingPlatformHasGiven(t *testing.T) {
	dir := t.TempDir()
	world := filepath.Join(dir, "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), world, sandbox.WorldOptions{ImageBytes: smallImage}); err != nil {
		t.Fatal(err)
	}
	served, err := store.Open(world)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = served.Close() }()

	var images atomic.Int64
	living := serve.New(served, serve.Options{})
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/storage/") {
			images.Add(1)
		}
		if images.Load() > 150 { // of 272; the platform and its storage are gone for good
			panic(http.ErrAbortHandler)
		}
		living.ServeHTTP(w, r)
	}))
	defer platform.Close()
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
	annotation := httptest.NewServer(api)
	defer annotation.Close()

	t.Setenv("XDG_STATE_HOME", dir)
	env := map[string]string{
		"PLATFORM_LOGIN": "admin", "PLATFORM_PASSWORD": serve.DefaultPassword,
		"PLATFORM_ADMIN_LOGIN": "admin", "PLATFORM_ADMIN_PASSWORD": serve.DefaultPassword,
	}
	got := pyrobundle(t, env, "import", "--date-from", "2026-08-01", "--date-end", "2026-08-05", "--bundle", filepath.Join(dir, "b"),
		"--url-api-platform", platform.URL, "--url-api-annotation", annotation.URL, "--max-workers", "4", "--retry-for", "50ms", "--detections-limit", "0")
	if got.code == exitDone {
		t.Errorf("exit code 0 of an import whose platform died:\n%s%s", got.stdout, got.stderr)
	}
	annotated := len(api.Annotations())
	if annotated == 0 || annotated >= 14 {
		t.Errorf("%d sequences annotated, want some and not all:\n%s%s", annotated, got.stdout, got.stderr)
	}
	if !strings.Contains(got.stdout, "Processing completed!") {
		t.Errorf("no report:\n%s%s", got.stdout, got.stderr)
	}
	if lines := strings.Count(got.stderr, "\n"); lines > 60 {
		t.Errorf("%d lines on stderr of one dead server:\n%s", lines, got.stderr)
	}
	if !strings.HasSuffix(got.stderr, "what was done is kept: run it again when it answers\n") {
		t.Errorf("stderr does not end with what to do next:\n%s", got.stderr)
	}
}
