package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pyrobundle/internal/sandbox"
)

// TestRestoreFinishesWithFailures: what the target refuses for one annotation is named, the next is looked at, and the exit
// code says that another try is worth it.
func TestRestoreFinishesWithFailures(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/sequences/1" {
			http.Error(w, "not today", http.StatusForbidden)
			return
		}
		api.ServeHTTP(w, r)
	}))
	defer server.Close()
	undo := filepath.Join(t.TempDir(), "undo.jsonl")
	lines := fmt.Sprintf(`{"format":"pyrobundle-undo/1","target":%q}`, server.URL) + `
{"alert_api_id":41,"sequence_id":1,"annotation":{}}
{"alert_api_id":42,"sequence_id":2,"annotation":{}}
`
	if err := os.WriteFile(undo, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	got := pyrobundle(t, nil, "restore", undo, "--url-api-annotation", server.URL)
	if got.code != exitFailures || got.stdout != fmt.Sprintf("Of 2 annotations in %s: 0 restored, 2 not.\n", undo) {
		t.Errorf("exit %d, stdout %q", got.code, got.stdout)
	}
	for _, line := range []string{
		"failed: sequence 41: its annotation is not restored: GET /api/v1/sequences/1: 403 Forbidden: not today\n",
		"incomplete: sequence 42: the sequence is not on the target any more\n",
		"1 failed (run restore again to try them again",
	} {
		if !strings.Contains(got.stderr, line) {
			t.Errorf("stderr lacks %q:\n%s", line, got.stderr)
		}
	}
}
