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
	if err != nil || !strings.Contains(log.String(), "writing without a lock") {
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

func TestStateDirOfEverySystem(t *testing.T) {
	base := t.TempDir()
	known := func(dir string) func() (string, error) {
		return func() (string, error) { return filepath.Join(base, dir), nil }
	}
	unknown := func() (string, error) { return "", os.ErrNotExist }
	for _, test := range []struct {
		name, system, xdg string
		cache, home       func() (string, error)
		want              string // below base; empty: an error
	}{
		{"Linux", "linux", "", unknown, known("home"), "home/.local/state/pyrobundle"},
		{"macOS", "darwin", "", unknown, known("home"), "home/.local/state/pyrobundle"},
		{"Windows", "windows", "", known("AppData/Local"), unknown, "AppData/Local/pyrobundle"},
		{"XDG", "linux", filepath.Join(base, "state"), unknown, unknown, "state/pyrobundle"},
		{"XDG on Windows", "windows", filepath.Join(base, "state"), unknown, unknown, "state/pyrobundle"},
		{"relative XDG", "linux", "state", unknown, known("home"), "home/.local/state/pyrobundle"},
		{"no home", "linux", "", known("cache"), unknown, ""},
		{"Windows without profile", "windows", "", unknown, known("home"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := stateDir(test.system, test.xdg, test.cache, test.home)
			if test.want == "" {
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("got %q, %v, want an error", got, err)
				}
				return
			}
			if want := filepath.Join(base, filepath.FromSlash(test.want)); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

// The name of a lock is one that every system takes, whatever the target's address.
func TestLockNamesAreOnesThatWindowsTakes(t *testing.T) {
	dir := t.TempDir()
	for _, target := range []string{"http://localhost:5050", "http://[fe80::1%25eth0]:5050/a?b=c", "https://annotation.example.org/sub/path", "con:", ""} {
		unlock, err := lockIn(dir, target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d locks, %v", len(files), err)
	}
	for _, file := range files {
		if strings.ContainsAny(file.Name(), `<>:"|?*\/%`) || !strings.HasSuffix(file.Name(), ".lock") {
			t.Errorf("lock %q", file.Name())
		}
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
