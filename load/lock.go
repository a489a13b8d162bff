package load

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// ErrTargetBusy says that another process of this user on this machine is writing to the
// same annotation API.
var ErrTargetBusy = errors.New("another run on this machine is loading into it; try again when it has ended")

// StateDir returns where the program keeps locks and undo files: $XDG_STATE_HOME/pyrobundle, else
// ~/.local/state/pyrobundle, and %LocalAppData%\pyrobundle on Windows.
func StateDir() (string, error) {
	return stateDir(runtime.GOOS, os.Getenv("XDG_STATE_HOME"), os.UserCacheDir, os.UserHomeDir)
}

func stateDir(system, xdg string, cache, home func() (string, error)) (string, error) {
	if filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "pyrobundle"), nil
	}
	base, below := home, []string{".local", "state"}
	if system == "windows" { // where the cache directory is %LocalAppData%
		base, below = cache, nil
	}
	dir, err := base()
	if err != nil {
		return "", fmt.Errorf("find the user's state directory: %w", err)
	}
	return filepath.Join(append(append([]string{dir}, below...), "pyrobundle")...), nil
}

// lockTarget keeps a second run of this machine away from the same target: two that load the same sequences at once
// would have the older generation make detections twice. The lock is the operating system's, so it ends with the process;
// the file stays.
//
// Where there is no directory to lock in (a container without a home, a read-only one) the run goes on without and says
// so, unless the directory was asked for.
func lockTarget(cfg Config, target string) (unlock func() error, err error) {
	dir := cfg.StateDir
	if dir == "" {
		dir, err = StateDir()
	}
	if err == nil {
		unlock, err = lockIn(filepath.Join(dir, "locks"), target)
	}
	switch {
	case err == nil:
		return unlock, nil
	case errors.Is(err, ErrTargetBusy) || cfg.StateDir != "":
		return nil, fmt.Errorf("load into %s: %w", target, err)
	}
	cfg.Log.Warn("writing without a lock: do not start a second run into the same target", "target", target, "reason", err)
	return func() error { return nil }, nil
}

func lockIn(dir, target string) (func() error, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(target))
	name := fmt.Sprintf("%s-%x.lock", hostOf(target), sum[:8])
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // a name of ours
	if err != nil {
		return nil, err
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil // closing releases
}
