package store

import (
	"errors"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows offers no way to sync a directory, NTFS journals its entries.
func syncDir(string) error { return nil }

// isInUse reports whether somebody has a file open that is to be renamed or replaced: a reader of the manifest, a virus
// scanner, an indexer.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}
