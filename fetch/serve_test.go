package fetch_test

import (
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// world is a synthetic bundle, served.
type world struct {
	bundle *store.Bundle
	server *httptest.Server
}

func newWorld(t testing.TB, o sandbox.WorldOptions, s serve.Options) *world {
	t.Helper()
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Accounts = []serve.Account{{Login: "demo", Password: "demo", Scope: "admin"}}
	server := httptest.NewServer(serve.New(bundle, s))
	t.Cleanup(func() {
		server.Close()
		if err := bundle.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{bundle, server}
}

func (w *world) dial(t testing.TB) *platform.Client {
	t.Helper()
	account := platform.Account{Login: "demo", Password: "demo"}
	client, err := platform.Dial(t.Context(), platform.Config{
		BaseURL: w.server.URL, Account: account, Admin: account, Transport: httpapi.NewTransport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (w *world) config(t testing.TB) fetch.Config {
	t.Helper()
	stats, err := w.bundle.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fetch.Config{
		From: stats.First, To: stats.Last, Order: store.Ascending, RiskScore: "extreme", Workers: 16, Organizations: true,
		Now: func() time.Time { return stats.Last.Start().AddDate(0, 1, 0) },
	}
}

func (w *world) fetch(t testing.TB, path string) fetch.Result {
	t.Helper()
	client := w.dial(t)
	dst, err := store.OpenWriter(t.Context(), path, store.WriteOptions{Source: client.Source()})
	if err != nil {
		t.Fatal(err)
	}
	result, err := fetch.Run(t.Context(), client, dst, w.config(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestFetchOfAServedBundleHasItsDigest(t *testing.T) {
	w := newWorld(t, sandbox.WorldOptions{ImageBytes: 4096}, serve.Options{})
	path := filepath.Join(t.TempDir(), "copy.bundle")
	result := w.fetch(t, path)
	for _, p := range result.Problems {
		t.Log(p)
	}
	copied, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	want, err := w.bundle.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := copied.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if copied.Source().API != w.bundle.Source().API {
		t.Errorf("source_api %q, want %q", copied.Source().API, w.bundle.Source().API)
	}
}
