package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

// expectNoStreams waits for goroutines of streamTo and unpackStream to end by themselves, and fails if any stays.
func expectNoStreams(t *testing.T) {
	t.Helper()
	buffer := make([]byte, 4<<20)
	var left []string
	for range 300 {
		left = nil
		for _, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if strings.Contains(stack, "streamTo") || strings.Contains(stack, "unpackStream") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines survive:\n%s", len(left), strings.Join(left, "\n\n"))
}

// failing is a stream that breaks off after some bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return f.left, f.err
	}
	f.left -= len(p)
	return len(p), nil
}

// TestNoGoroutineSurvivesAStream that ends, breaks off, holds no bundle, or is packed of a bundle that is damaged.
func TestNoGoroutineSurvivesAStream(t *testing.T) {
	path, gone := filepath.Join(t.TempDir(), "world.bundle"), errors.New("gone")
	if err := sandbox.WriteBundle(t.Context(), path, sandbox.WorldOptions{ImageBytes: 700}); err != nil {
		t.Fatal(err)
	}
	pack := func(w io.Writer) error {
		bundle, err := store.Open(path)
		if err != nil {
			return err
		}
		_, err = packStream(t.Context(), bundle, w, store.PackOptions{})
		return errors.Join(err, bundle.Close())
	}
	unpack := func(r io.Reader, into string) error {
		_, err := unpackStream(t.Context(), r, into, store.UnpackOptions{})
		return err
	}
	var archive bytes.Buffer
	if err := pack(&archive); err != nil {
		t.Fatal(err)
	}
	expectNoStreams(t)
	if err := pack(&failing{1000, gone}); !errors.Is(err, gone) {
		t.Errorf("packed to a stream that breaks off: %v", err)
	}
	expectNoStreams(t)
	whole := archive.Bytes()
	into := filepath.Join(t.TempDir(), "out.bundle")
	for name, stream := range map[string]io.Reader{
		"ends early": bytes.NewReader(whole[:len(whole)/2]),
		"breaks off": io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), broken{gone}),
		"no bundle":  endless{},
	} {
		if err := unpack(stream, into); err == nil {
			t.Errorf("%s: it was unpacked", name)
		}
		expectNoStreams(t)
	}
	for range 2 { // the second finds it there already
		if err := unpack(bytes.NewReader(whole), into); err != nil {
			t.Error(err)
		}
		expectNoStreams(t)
	}
	shard := filepath.Join(path, "images", "000001.tar")
	data, err := os.ReadFile(shard)
	if err == nil {
		data[600] ^= 1
		err = os.WriteFile(shard, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := pack(io.Discard); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("packed a damaged bundle: %v", err)
	}
	expectNoStreams(t)
}

// broken is a stream that has broken off.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// endless is a stream without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestNoGoroutineSurvivesServing: neither the server's own nor those of clients that hold on to a connection, or wait for an answer.
func TestNoGoroutineSurvivesServing(t *testing.T) {
	serving := func() int {
		buffer := make([]byte, 4<<20)
		all := string(buffer[:runtime.Stack(buffer, true)])
		return strings.Count(all, "net/http.(*conn).serve(") + strings.Count(all, "net/http.(*Server).Serve(")
	}
	before, asked := serving(), make(chan struct{})
	l, err := listen(t.Context(), "127.0.0.1:0", slog.New(slog.DiscardHandler), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(asked)
			<-r.Context().Done()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(path string) error {
		answer, err := client.Get(l.url + path)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err
	}
	if err := get("/"); err != nil { // the connection stays
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- get("/wait") }()
	<-asked
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if err := <-waited; err == nil {
		t.Error("who waited was answered by a server that has ended")
	}
	for range 300 {
		if serving() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines serve, %d did before", serving(), before)
}
