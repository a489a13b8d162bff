package fetch_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// Two days of a platform, here a served bundle, are mirrored into a new bundle. Running again brings nothing new.
func ExampleRun() {
	ctx := context.Background()
	server, dir, remove := examplePlatform(ctx)
	defer remove()

	account := platform.Account{Login: "admin", Password: serve.DefaultPassword}
	client, err := platform.Dial(ctx, platform.Config{
		BaseURL: server.URL, Account: account, Admin: account, Transport: httpapi.NewTransport(),
	})
	if err != nil {
		log.Fatal(err)
	}
	writer, err := store.OpenWriter(ctx, filepath.Join(dir, "mirror.bundle"), store.WriteOptions{Source: client.Source()})
	if err != nil {
		log.Fatal(err)
	}
	config := fetch.Config{
		From: "2026-08-01", To: "2026-08-02", Order: store.Ascending, RiskScore: "extreme", Workers: 8, Organizations: true,
	}
	for range 2 {
		result, err := fetch.Run(ctx, client, writer, config)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("sequences: %d new, %d unchanged; images: %d downloaded, %d failed; problems: %d\n",
			result.Sequences.New, result.Sequences.Unchanged, result.Images.Downloaded, result.Images.Failed, len(result.Problems))
	}
	if err := writer.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sequences: 7 new, 0 unchanged; images: 174 downloaded, 0 failed; problems: 0
	// sequences: 0 new, 7 unchanged; images: 0 downloaded, 0 failed; problems: 0
}

// examplePlatform serves a synthetic world.
func examplePlatform(ctx context.Context) (server *httptest.Server, dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "world.bundle")
	if err := sandbox.WriteBundle(ctx, path, sandbox.WorldOptions{ImageBytes: 1000}); err != nil {
		log.Fatal(err)
	}
	world, err := store.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	server = httptest.NewServer(serve.New(world, serve.Options{}))
	return server, dir, func() {
		server.Close()
		_ = world.Close()
		_ = os.RemoveAll(dir)
	}
}
