//go:build !windows && (!unix || solaris || aix)

package load

import (
	"errors"
	"os"
)

// lockFile: no lock that ends with its process is known here; the run says that it goes on without.
func lockFile(*os.File) error { return errors.ErrUnsupported }

// syncDir: nothing is known to help here.
func syncDir(string) error { return nil }
