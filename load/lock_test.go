package load

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLockTarget(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{StateDir: dir}
	unlock, err := lockTarget(cfg, "https://annotation.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockTarget(cfg, "https://annotation.example.org"); !errors.Is(err, ErrTargetBusy) {
		t.Errorf("second lock: error = %v, want ErrTargetBusy", err)
	} else if !strings.HasPrefix(err.Error(), "load into https://annotation.example.org: another run on this machine") {
		t.Errorf("error = %q", err)
	}
	elsewhere, err := lockTarget(cfg, "https://staging.example.org")
	if err != nil {
		t.Errorf("another target: %v", err)
	}
	for _, release := range []func() error{unlock, elsewhere} {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	again, err := lockTarget(cfg, "https://annotation.example.org")
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

// TestWithoutAStateDirectoryARunGoesOnAndSaysSo: a container may have no home. One that was asked for must be there.
func TestWithoutAStateDirectoryARunGoesOnAndSaysSo(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", blocked)
	var log bytes.Buffer
	unlock, err := lockTarget(Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, "http://localhost:5050")
	if err != nil || !strings.Contains(log.String(), "loading without a lock") {
		t.Errorf("error %v, log %q", err, log.String())
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if _, err := lockTarget(Config{StateDir: blocked}, "http://localhost:5050"); err == nil {
		t.Error("a state directory that cannot be was accepted")
	}
}

func TestStateDir(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_STATE_HOME", base)
	if got, err := StateDir(); err != nil || got != filepath.Join(base, "pyrobundle") {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative/is/ignored")
	t.Setenv("HOME", base)
	t.Setenv("LocalAppData", base)
	if got, err := StateDir(); err != nil || !strings.HasPrefix(got, base) || !strings.HasSuffix(got, "pyrobundle") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHostOf(t *testing.T) {
	for target, want := range map[string]string{
		"https://annotation.example.org": "annotation.example.org", "http://localhost:5050": "localhost",
		"http://[::1]:5050": "__1", "http://../../etc": "..", "": "target", "::": "target",
	} {
		if got := hostOf(target); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", target, got, want)
		}
	}
}
