package httpapi

import "context"

// Turn is the right to hold something large, of what servers and bundles send as much of as they like: one of the slots of a
// channel, which has room for as many as may be held at once.
// Who needs none never waits. A Turn is its holder's alone; a nil one is never waited for.
type Turn struct {
	slots chan struct{}
	mine  bool
}

// TurnOf returns a turn that has not begun.
func TurnOf(slots chan struct{}) *Turn { return &Turn{slots: slots} }

// Begin waits for the turn, if it has not begun; its error is that of ctx.
func (t *Turn) Begin(ctx context.Context) error {
	if t == nil || t.mine {
		return nil
	}
	select {
	case t.slots <- struct{}{}:
		t.mine = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Try begins the turn if nobody has to be waited for, and reports whether it has begun.
func (t *Turn) Try() bool {
	if t == nil {
		return true
	}
	if !t.mine {
		select {
		case t.slots <- struct{}{}:
			t.mine = true
		default:
		}
	}
	return t.mine
}

// Mine reports whether the turn has begun.
func (t *Turn) Mine() bool { return t.mine }

// End gives the slot back, if the turn has begun.
func (t *Turn) End() {
	if t.mine {
		t.mine = false
		<-t.slots
	}
}
