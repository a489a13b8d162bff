package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"pyrobundle/internal/httpapi"
)

// writeAttempts bounds how often a write is made whose answer was lost and that was found not to have happened, first
// included. Each is preceded by two looks, which have the patience of httpapi.
const writeAttempts = 4

// origin says how what was to be written came to be on the target.
type origin int

const (
	wasThere origin = iota // it was there: no write of this run can have made it
	presumed               // it is there, and the answer to a write was lost: this run made it, or somebody else has
	written                // the target said that it made it
)

// once does a write that must not happen twice, and whose answer may be lost on the way (contract G9): it never repeats
// it blindly, but looks whether it has happened, waits, and looks again. A 409 is resolved by looking, too (E34); look is
// told whether the target has refused the write, which then certainly has something there.
//
// An error is the last write's, or says why it could not be looked. It has status 409 only where it was looked and what is
// in the way was not found.
func once[T any](r *run, write func() (T, error), look func(refused bool) (*T, error)) (value T, how origin, err error) {
	for attempt := 1; ; attempt++ {
		value, err = write()
		if err == nil {
			return value, written, nil
		}
		refused, lost := httpapi.Status(err) == http.StatusConflict, answerLost(r.ctx, err)
		if !refused && !lost {
			return value, how, err
		}
		if lost {
			how = presumed
		}
		seen, lookErr := look(refused)
		if seen == nil && lookErr == nil && lost {
			if err := r.pause(attempt); err != nil {
				return value, how, err
			}
			seen, lookErr = look(refused)
		}
		switch {
		case lookErr != nil:
			return value, how, fmt.Errorf("%s; whether it is there is not known: %w", err, lookErr) //nolint:errorlint // told, not wrapped: its status is not resolved
		case seen != nil:
			return *seen, how, nil
		case refused || attempt == writeAttempts:
			return value, how, err
		}
	}
}

// answerLost reports whether a write may have happened although it returned err.
func answerLost(ctx context.Context, err error) bool {
	if ctx.Err() != nil || endsRun(err) {
		return false
	}
	var answer *httpapi.Error
	return errors.As(err, &answer) && answer.Ambiguous
}

// pause gives a write the time to appear.
func (r *run) pause(attempt int) error {
	timer := time.NewTimer(r.cfg.Patience << (attempt - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}
