package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// needsTerm: TERM is not set in a console.
const needsTerm = false

// understandsEscapes makes the console follow escape sequences; one from before Windows 10 cannot.
func understandsEscapes(console *os.File) bool {
	var mode uint32
	handle := windows.Handle(console.Fd())
	if err := windows.GetConsoleMode(handle, &mode); err != nil {
		return false
	}
	return windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// inForeground: there are no background processes on a console.
func inForeground(*os.File) bool { return true }

// notifyResumed: a console process cannot be stopped and resumed.
func notifyResumed() (resumed <-chan os.Signal, forget func()) { return nil, func() {} }
