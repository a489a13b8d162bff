package serve_test

import (
	"path/filepath"
	"testing"

	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// The synthetic world has what the recorded one lacks: sequences over midnight, more than a hundred rows, rows at the same
// instant, an image under two keys.
func TestSandboxWorldSurvivesServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, sandbox.WorldOptions{Sequences: 12, ImageBytes: 1000}); err != nil {
		t.Fatal(err)
	}
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bundle.Close() })
	serve.WantSameDigestThroughHTTP(t, bundle)
}
