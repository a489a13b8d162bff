//go:build race

package torture

// raceEnabled: the program is built with the race detector, too.
const raceEnabled = true
