package main

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"pyrobundle/internal/sandbox"
)

// Everybody knows the default accounts: a web page must not reach them by a name of its own that resolves to this machine.
func TestServeWithDefaultAccountsAnswersToThisMachineOnly(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), bundle, sandbox.WorldOptions{Sequences: 2, ImageBytes: 1000}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args   []string
		status int // of a request for another name
	}{
		"default accounts": {nil, http.StatusMisdirectedRequest},
		"own account":      {[]string{"--login", "me", "--password-env", "SECRET"}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			url := serveInBackground(t, append([]string{"serve", "--bundle", bundle}, test.args...))
			for host, want := range map[string]int{"": http.StatusOK, "localhost": http.StatusOK, "evil.example": test.status} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/status", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Host = host
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode != want {
					t.Errorf("host %q: %d, want %d", host, answer.StatusCode, want)
				}
			}
		})
	}
}

// serveInBackground runs a serve command until the test ends, and returns the URL that it prints.
func serveInBackground(t *testing.T, args []string) string {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	printed, stdout := io.Pipe()
	app := newApp(stdout, io.Discard, lookup(map[string]string{"SECRET": "secret"}), noon)
	cmd := app.command()
	cmd.SetArgs(args)
	ended := make(chan error, 1)
	go func() {
		err := cmd.ExecuteContext(ctx)
		_ = stdout.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		interrupt()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line := make([]byte, 200)
	n, err := printed.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n]))
}

// A wildcard is an address to listen on and none to connect to: http://[::]:8080 is no use to a client, on Windows not even on the
// same machine.
func TestServeOnEveryAddressPrintsOneThatClientsCanUse(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), bundle, sandbox.WorldOptions{Sequences: 1, ImageBytes: 1000}); err != nil {
		t.Fatal(err)
	}
	url := serveInBackground(t, []string{"serve", "--bundle", bundle, "--listen", "0.0.0.0:0", "--login", "me", "--password-env", "SECRET"})
	if !strings.HasPrefix(url, "http://localhost:") {
		t.Errorf("it says %s", url)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/status", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("status %d", answer.StatusCode)
	}
}
