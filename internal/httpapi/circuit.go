package httpapi

import (
	"sync"
	"time"
)

const (
	// giveUpsToOpen: so many requests in a row that used up their attempts without an answer of any kind to anyone mean a
	// dead host, not an unlucky request.
	giveUpsToOpen = 3
	// silence is for how long nobody may have been answered, a quarter of Retry.For at most, before requests that gave up mean
	// anything: on a bad network three may do so in the same moment.
	silence = 2 * time.Second
	// dialsToOpen: so many connections in a row that could not be made, to anyone: one may be lost on the way for longer than
	// a small Retry.For.
	dialsToOpen = 3
	// probeEvery: an open circuit lets one request through so often, so that a host that comes back is noticed.
	probeEvery = 30 * time.Second
	// silenceToTell is how long nobody has been answered when the log is told: shorter gaps are for debugging.
	silenceToTell = 5 * time.Second
	// maxCircuits bounds what a server that names ever new image hosts makes us remember.
	maxCircuits = 256
)

// circuits are those of a Client's hosts, by origin.
type circuits struct {
	mu       sync.Mutex
	byOrigin map[string]*circuit
}

func (cs *circuits) of(origin string, made func() *circuit) *circuit {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.byOrigin[origin]; c != nil {
		return c
	}
	c := made()
	if len(cs.byOrigin) < maxCircuits {
		cs.byOrigin[origin] = c
	} else {
		c.quiet = true
	}
	return c
}

// circuit is what all requests of a Client know together about one host, so that a dead one ends a run in bounded time
// with one message. It opens when the host
//   - could not even be connected to for patience after its last answer, dialsToOpen times at least,
//   - has never answered and one request has used up its attempts to connect, or
//   - left giveUpsToOpen requests in a row without any answer, with no answer to another one in between, nor for silence, or
//   - answers, but nothing that anybody can use (see streak).
//
// A useful answer closes it, an error of the API's own too (see outcome.worth).
type circuit struct {
	who      string
	sentinel error
	patience time.Duration

	mu       sync.Mutex
	answered bool      // ever
	last     time.Time // of the answers
	since    time.Time // start of the first attempt without answer since the last answer, or that answer where it came later; zero: none
	dialOnly bool      // all attempts since then failed to connect
	dials    int       // so many
	giveUps  int
	cause    error
	opened   chan struct{} // closed when the circuit opens, made anew when it closes
	open     bool
	told     time.Time // the beginning of the silence that the log was told of; zero: of none
	quiet    bool      // the circuit is that of one request, and each would tell
	probe    time.Time // when the last request was let through an open circuit
	vain     streak
}

func newCircuit(who string, sentinel error, patience time.Duration) *circuit {
	return &circuit{who: who, sentinel: sentinel, patience: patience, opened: make(chan struct{})}
}

// enter says whether an attempt may be made now; the channel is closed should the circuit open while a request waits.
func (c *circuit) enter() (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return c.opened, nil
	}
	if now := time.Now(); now.Sub(c.probe) >= probeEvery {
		c.probe = now
		return nil, nil
	}
	return nil, c.failure()
}

// failure is called with mu held.
func (c *circuit) failure() error {
	if c.vain.opened {
		return c.vain.failure(c.sentinel, c.who)
	}
	return &unreachableError{sentinel: c.sentinel, who: c.who, since: time.Since(c.since), cause: c.cause}
}

// success notes a useful answer, and to what if that can be asked again. If the log was told that there is none, it says for
// how long there was none.
func (c *circuit) success(to question) (silent time.Duration, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		c.open, c.opened = false, make(chan struct{})
	}
	if !c.told.IsZero() {
		silent, tell, c.told = time.Since(c.told), true, time.Time{}
	}
	c.vain.end(to)
	c.heard()
	return silent, tell
}

// spoke notes an answer of no use: the host is not silent, and what it says opens and closes nothing by itself.
func (c *circuit) spoke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		c.heard()
	}
}

// heard ends a silence. It is called with mu held.
func (c *circuit) heard() {
	c.answered, c.last = true, time.Now()
	c.since, c.dials, c.giveUps, c.cause = time.Time{}, 0, 0, nil
}

// failed notes an attempt that began at started and got no answer.
func (c *circuit) failed(started time.Time, dial bool, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since, c.dialOnly = started, true
		if c.since.Before(c.last) { // others have been answered while it tried
			c.since = c.last
		}
	}
	c.dialOnly = c.dialOnly && dial
	c.dials++
	c.cause = cause
	if c.dialOnly && c.answered && c.dials >= dialsToOpen && time.Since(c.since) >= c.patience {
		c.trip()
	}
}

// untold says for how long nobody has been answered, and why, once of each silence that lasts: for a request that tries on. The
// error of one that gives up says it anyway.
func (c *circuit) untold() (silent time.Duration, cause error, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() || c.open || !c.told.IsZero() || c.quiet || time.Since(c.since) < silenceToTell {
		return 0, nil, false
	}
	c.told = c.since
	return time.Since(c.since), c.cause, true
}

// gaveUp notes a request that ended without an answer after all the attempts it had. If that, or what others have seen,
// means that the host is dead, it returns the error to end with.
func (c *circuit) gaveUp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return nil // another request has been answered meanwhile
	}
	c.giveUps++
	silent := time.Since(c.since) >= min(silence, c.patience/4)
	if c.giveUps >= giveUpsToOpen && silent || c.dialOnly && !c.answered {
		c.trip()
	}
	if c.open {
		return c.failure()
	}
	return nil
}

// hasAnswered tells whether the host has ever answered: not to be connected to is then an outage of the link.
func (c *circuit) hasAnswered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

func (c *circuit) trip() {
	if !c.open {
		c.open, c.probe = true, time.Now()
		close(c.opened)
	}
}
