package store

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows offers no way to sync a directory, NTFS journals its entries.
func syncDir(string) error { return nil }

// isFull reports whether a disk has no room left.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, syscall.ENOSPC)
}

// isInUse reports whether somebody has a file open that is to be renamed or replaced: a reader of the manifest, a virus
// scanner, an indexer.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}
