//go:build unix && !solaris && !aix

package load

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes an exclusive lock without waiting; ErrTargetBusy where another process has it.
func lockFile(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a descriptor fits
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrTargetBusy
	case err != nil:
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the state directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
