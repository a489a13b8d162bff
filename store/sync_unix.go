//go:build !windows

package store

import (
	"errors"
	"os"
	"syscall"
)

// syncDir makes the directory's entries durable. A file system that cannot sync directories (some network and FUSE ones)
// is no reason to refuse it.
func syncDir(path string) (err error) {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// isFull reports whether a disk has no room left.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// isInUse: here a file that is open can be renamed and replaced.
func isInUse(error) bool { return false }
