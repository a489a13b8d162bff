package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pyrobundle/store"
)

// smallBundle is an empty bundle: what matters here is around it.
func smallBundle(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.bundle")
	w, err := store.OpenWriter(t.Context(), path, store.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInterruptedStreamsDoNotWait(t *testing.T) {
	path := smallBundle(t)
	run := func(name string, stream func(ctx context.Context, began chan<- struct{}) error) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- stream(ctx, began) }()
			<-began
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want an interruption", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it still waits for the stream")
			}
		})
	}
	run("pack to somebody who does not read", func(ctx context.Context, began chan<- struct{}) error {
		bundle, err := store.Open(path)
		if err != nil {
			return err
		}
		_, err = packStream(ctx, bundle, &stalled{began: began, until: t.Context()}, store.PackOptions{})
		return errors.Join(err, bundle.Close())
	})
	run("report to somebody who does not read", func(ctx context.Context, began chan<- struct{}) error {
		app := newApp(&stalled{began: began, until: t.Context()}, io.Discard, lookup(nil), noon)
		cmd := app.command()
		cmd.SetArgs([]string{"report", "--bundle", path, "-o", "-"})
		return cmd.ExecuteContext(ctx)
	})
	run("unpack from somebody who does not write", func(ctx context.Context, began chan<- struct{}) error {
		_, err := unpackStream(ctx, &stalled{began: began, until: t.Context()}, filepath.Join(t.TempDir(), "out"), store.UnpackOptions{})
		return err
	})
}

// stalled is a stream on which nothing moves.
type stalled struct {
	began chan<- struct{}
	until context.Context // the test's
}

func (s *stalled) wait() (int, error) {
	close(s.began)
	<-s.until.Done()
	return 0, io.ErrClosedPipe
}

func (s *stalled) Read([]byte) (int, error)  { return s.wait() }
func (s *stalled) Write([]byte) (int, error) { return s.wait() }

func TestPathsOfPackedBundles(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ to, bundle, want string }{
		{"", "week31.bundle", "week31.bundle.tar"},
		{"", "/data/week31/", "week31.tar"},
		{"x.tar", "week31.bundle", "x.tar"},
		{dir, "week31.bundle", filepath.Join(dir, "week31.bundle.tar")},
		{"-", "week31.bundle", "-"},
	} {
		if got, err := packedPath(test.to, test.bundle); err != nil || got != test.want {
			t.Errorf("pack -o %q of %s goes to %q, %v; want %q", test.to, test.bundle, got, err, test.want)
		}
	}
	for archive, want := range map[string]string{
		"-":                              "pyronear.bundle",
		"/media/stick/week31.bundle.tar": "week31.bundle",
		"week31.tar.001":                 "week31",
		"week31.tar":                     "week31",
		"week31":                         "week31.bundle",
		"week31.2026.tar":                "week31.2026",
		".tar":                           ".tar.bundle",
	} {
		if got := unpackedPath(archive); got != want {
			t.Errorf("%s becomes %q, want %q", archive, got, want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"4G": 4e9, "500MB": 5e8, "64MiB": 64 << 20, "1k": 1000, "1500": 1500, "0.5G": 5e8} {
		var s byteSize
		if err := s.Set(text); err != nil || s.bytes != want {
			t.Errorf("%s is %d, %v; want %d", text, s.bytes, err, want)
		}
	}
	for _, text := range []string{"", "0", "999", "-4G", "4T", "much", "4G/s", "nan", "1e30"} {
		var s byteSize
		if err := s.Set(text); err == nil {
			t.Errorf("%q is accepted as %d", text, s.bytes)
		}
	}
}

// TestAStreamThatBreaksOffIsSaidOnOneLine: what went wrong, and not beside it on a line of its own that a pipe within the program was closed.
func TestAStreamThatBreaksOffIsSaidOnOneLine(t *testing.T) {
	var stderr bytes.Buffer
	app := newApp(&failing{left: 1000, err: errors.New("gone")}, &stderr, lookup(nil), noon)
	cmd := app.command()
	cmd.SetArgs([]string{"pack", "--bundle", smallBundle(t), "-o", "-"})
	err := cmd.ExecuteContext(t.Context())
	app.complain(err)
	_, said, _ := strings.Cut(stderr.String(), "pyrobundle: ") // behind the progress
	if exitCode(err) != exitError || !strings.HasSuffix(said, "gone\n") || strings.Count(said, "\n") != 1 {
		t.Errorf("exit code %d: %q", exitCode(err), said)
	}
}
