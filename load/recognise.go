package load

import (
	"fmt"
	"net/http"
	"time"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// createOrRecognise returns the target's sequence for want: the one found, after making sure that it is ours, or a new one.
func (r *run) createOrRecognise(want wanted, found found, out *outcome) (there, error) {
	if found.err != nil {
		return there{}, found.err
	}
	if found.sequence == nil && !r.leaves(found) {
		if len(want.detections) == 0 { // annotators could do nothing with it
			return there{}, want.withoutFrames()
		}
		var (
			how origin
			err error
		)
		found, how, err = r.createSequence(want.sequence)
		if err != nil {
			return there{}, err
		}
		if how == written {
			out.action = actionCreate
			return there{known: *found.sequence, isNew: true}, nil
		}
		if how == presumed && found.sequence.note == nil { // with an annotation, it was there before
			out.action = actionCreate
		}
	}
	foreign := ""
	if found.lanes > 0 {
		foreign = fmt.Sprintf("another tool has split it: %d further sequences of it are on the target", found.lanes)
	}
	if r.leaves(found) {
		return there{foreign: foreign}, nil
	}
	have := found.sequence
	if err := agrees(want.sequence, have.Sequence, r.dst.Redact); err != nil {
		return there{}, err
	}
	out.drift = drift(want.sequence, have.Sequence, r.dst.Redact)
	return there{known: *have, foreign: foreign}, nil
}

// leaves reports whether a sequence is another tool's that this run does not insist on.
func (r *run) leaves(f found) bool { return f.lanes > 0 && !r.cfg.RepairForeign }

// createSequence creates a sequence, unless it turns out to be there: outside the days that were looked at, or since then.
func (r *run) createSequence(want annotation.NewSequence) (found, origin, error) {
	if r.cfg.DryRun {
		return r.foreseeSequence(want)
	}
	created, how, err := once(r,
		func() (found, error) {
			s, err := r.dst.CreateSequence(r.ctx, want)
			return found{sequence: &known{Sequence: s}}, err
		},
		func(refused bool) (*found, error) { return r.lookUp(want, refused) },
	)
	switch {
	case httpapi.Status(err) == http.StatusConflict:
		return found{}, how, fmt.Errorf("%w on the target, of another camera: %w; not touched", errAlien, err)
	case err != nil:
		return found{}, how, fmt.Errorf("create the sequence: %w", err)
	}
	return created, how, nil
}

// foreseeSequence is createSequence in a dry run. The newer generation is asked for what would refuse the sequence; in the
// older, that would take reading all sequences of the camera for each new one.
func (r *run) foreseeSequence(want annotation.NewSequence) (found, origin, error) {
	if r.dst.Generation() == annotation.Newest {
		seen, err := r.lookAmong(want, annotation.SequenceFilter{PlatformAlertID: want.AlertAPIID})
		if err != nil {
			return found{}, wasThere, err
		}
		if seen != nil {
			return *seen, wasThere, nil
		}
	}
	return found{sequence: &known{Sequence: annotation.Sequence{SourceAPI: want.SourceAPI, AlertAPIID: want.AlertAPIID}}}, written, nil
}

// lookUp finds a sequence that the list of its days did not show, and what was split off it; nil: it is not there. It looks
// where a sequence of this run would be: under the platform's id where the target knows that, else with its camera's of
// the same days. Where the target has refused it, it looks through all of the camera's.
func (r *run) lookUp(want annotation.NewSequence, refused bool) (*found, error) {
	from, to := daysAround(store.DayOf(want.RecordedAt))
	filters := []annotation.SequenceFilter{{CameraID: want.CameraID, From: from, To: to.Add(-time.Microsecond)}}
	if r.dst.Generation() == annotation.Newest {
		filters = append([]annotation.SequenceFilter{{PlatformAlertID: want.AlertAPIID}}, filters...)
	}
	if refused {
		filters = append(filters, annotation.SequenceFilter{CameraID: want.CameraID})
	}
	for _, filter := range filters {
		if seen, err := r.lookAmong(want, filter); seen != nil || err != nil {
			return seen, err
		}
	}
	return nil, nil //nolint:nilnil // not there is an answer
}

// lookAmong looks for a sequence and its lanes in one list; nil where the sequence is not in it.
func (r *run) lookAmong(want annotation.NewSequence, filter annotation.SequenceFilter) (*found, error) {
	filter.SourceAPI = want.SourceAPI
	var seen found
	for s, err := range r.dst.Sequences(r.ctx, filter) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("look for the sequence: %w", err)
		case s.AlertAPIID == want.AlertAPIID:
			seen.sequence = knownOf(s, r.dst.Redact)
		case splitOff(s) == want.AlertAPIID:
			seen.lanes++
		}
	}
	if seen.sequence == nil {
		return nil, nil //nolint:nilnil // not there is an answer
	}
	turn := httpapi.TurnOf(r.large)
	defer turn.End()
	note, _, err := r.reread(there{known: *seen.sequence, turn: turn}) // lists with annotations are long to make
	if err != nil {
		return nil, err
	}
	seen.sequence.note = note
	return &seen, nil
}
