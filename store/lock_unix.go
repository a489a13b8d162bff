//go:build unix && !solaris && !illumos && !aix && !android

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// openAgain opens f once more, as the same open file of the system: a lock that bbolt holds on one of them, by flock, is held
// on both, until one unlocks it or both are closed.
func openAgain(f *os.File) (*os.File, error) {
	connection, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	if err := connection.Control(func(of uintptr) { fd, failed = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("fcntl", failed)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
