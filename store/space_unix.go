//go:build linux || darwin || freebsd

package store

import "golang.org/x/sys/unix"

// freeSpace is how many bytes this user may still write to the disk of path.
func freeSpace(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec,unconvert // types differ between systems; no disk has 8 EiB
}
