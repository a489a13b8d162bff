//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// needsTerm: what a terminal can do is told by TERM.
const needsTerm = true

// understandsEscapes reports whether the terminal moves its cursor when told to; here TERM says so.
func understandsEscapes(*os.File) bool { return true }

// inForeground reports whether the terminal is this process's to draw on, rather than the shell's that put it into the
// background. A terminal that does not say, because it is not the controlling one, is.
func inForeground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// notifyResumed tells when the process goes on after it was stopped (Ctrl-Z), until forget is called.
func notifyResumed() (resumed <-chan os.Signal, forget func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCONT)
	return signals, func() { signal.Stop(signals) }
}
