//go:build linux || darwin || freebsd

package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes this user may still write to the disk of path; errors.ErrUnsupported where it has no size, as some of
// the network and of FUSE have none: that they are full shows when they are written to.
func freeSpace(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	if s.Blocks == 0 {
		return 0, errors.ErrUnsupported
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec,unconvert // types differ between systems; no disk has 8 EiB
}
