package load_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// A bundle is replayed into an annotation API, here one in memory. Running again with another threshold creates no sequence
// and no detection twice; it generates the annotations anew that it changes.
func ExampleRun() {
	ctx := context.Background()
	bundle, target, dir, remove := exampleTarget(ctx)
	defer remove()

	config := load.Config{
		SourceAPI:  "pyronear_french",
		Thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1},
		StateDir:   dir,
	}
	for _, config.Thresholds.Confidence = range []float64{0, 0, 0.5} {
		result, err := load.Run(ctx, bundle, target, config)
		if err != nil {
			log.Fatal(err)
		}
		a := result.Annotations
		fmt.Printf("%d detections created; annotations: %d created, %d updated, %d unchanged\n",
			result.Detections.Created, a.Created, a.Updated, a.Unchanged)
	}
	// Output:
	// 272 detections created; annotations: 14 created, 0 updated, 0 unchanged
	// 0 detections created; annotations: 0 created, 0 updated, 14 unchanged
	// 0 detections created; annotations: 0 created, 12 updated, 0 unchanged
}

// What an annotation API already has is annotated anew from its own detections, without a bundle.
func ExampleRegenerate() {
	ctx := context.Background()
	bundle, target, dir, remove := exampleTarget(ctx)
	defer remove()
	config := load.Config{SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1}, StateDir: dir}
	if _, err := load.Run(ctx, bundle, target, config); err != nil {
		log.Fatal(err)
	}

	result, err := load.Regenerate(ctx, target, load.Config{
		Query:      store.Query{From: "2026-08-01", To: "2026-08-05"},
		Thresholds: annotate.Thresholds{Confidence: 0.5, IoU: 0.3, MinClusterSize: 1},
		StateDir:   dir,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d sequences looked at, %d annotations updated\n", result.Sequences.Total, result.Annotations.Updated)
	// Output:
	// 15 sequences looked at, 12 annotations updated
}

// exampleTarget is a bundle, and an annotation API to load it into.
func exampleTarget(ctx context.Context) (bundle *store.Bundle, target *annotation.Client, dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "pyronear.bundle")
	if err := sandbox.WriteBundle(ctx, path, sandbox.WorldOptions{ImageBytes: 1000}); err != nil {
		log.Fatal(err)
	}
	if bundle, err = store.Open(path); err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{}))
	target, err = annotation.Dial(ctx, annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: "admin12345", Transport: httpapi.NewTransport(),
	})
	if err != nil {
		log.Fatal(err)
	}
	return bundle, target, dir, func() {
		target.Close()
		server.Close()
		_ = bundle.Close()
		_ = os.RemoveAll(dir)
	}
}
