package store

import (
	"fmt"
	"runtime/debug"
)

// guard turns a panic of the surrounding function into ErrCorrupt; use it as defer guard(&err)().
//
// bbolt panics on damaged pages, and reading a mapped file that is shorter than it claims is a memory fault. Both are ways
// in which a damaged bundle shows itself. A guarded function must not call back into its caller's code: a panic of a
// caller's own is not ours to swallow.
func guard(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = corruptf("%v", r)
		}
	}
}

// corruptf makes an error that matches ErrCorrupt and says what is damaged.
func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}
