//go:build !unix || solaris || illumos || aix || android

package store

import (
	"errors"
	"os"
)

// openAgain cannot be done here: where bbolt locks by other means than flock, the lock is not shared by two files.
func openAgain(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
