package load

import (
	"context"
	"fmt"
	"time"

	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// known is a sequence of the target, without the bulk of its annotation.
type known struct {
	annotation.Sequence
	note *note // nil: it has no annotation
}

func knownOf(s annotation.Sequence, redact func(string) string) *known {
	k := &known{Sequence: s, note: noteOf(s.Annotation, redact)}
	k.Annotation = nil
	return k
}

// found is what the target has of one sequence of the bundle.
type found struct {
	sequence *known // nil: nothing of this id
	lanes    int    // further sequences that were split off the same platform sequence
	err      error  // it could not be looked at: never to be taken for "nothing"
}

// surroundings holds what the target has on a UTC day and on the days beside it: an importer may have sent times that
// the target read in another zone. It moves forward with the bundle, and asks the target for every day once.
type surroundings struct {
	dst    Target
	source string

	day     store.Day
	err     error     // of reading day
	until   time.Time // everything recorded before is here
	held    int64     // what byID takes, in bytes
	byID    map[int64]*known
	lanesOf map[int64]map[int64]bool // platform sequence id → ids of the sequences split off it
}

func newSurroundings(dst Target, source string) *surroundings {
	return &surroundings{dst: dst, source: source, byID: map[int64]*known{}, lanesOf: map[int64]map[int64]bool{}}
}

// find looks a sequence of the bundle up. Sequences are to be asked for by started_at.
func (s *surroundings) find(ctx context.Context, record store.SequenceRecord) found {
	if day := store.DayOf(record.Sequence.StartedAt.Time); day != s.day {
		s.day, s.err = day, s.moveTo(ctx, day)
	}
	if s.err != nil {
		return found{err: s.err}
	}
	id := record.Sequence.ID
	return found{sequence: s.byID[id], lanes: len(s.lanesOf[id])}
}

// daysAround is a day with the days beside it; to is excluded.
func daysAround(day store.Day) (from, to time.Time) {
	return day.Start().AddDate(0, 0, -1), day.Start().AddDate(0, 0, 2)
}

// moveTo forgets what lies before the day before, and reads on to the end of the day after.
func (s *surroundings) moveTo(ctx context.Context, day store.Day) error {
	from, to := daysAround(day)
	for id, k := range s.byID {
		if k.RecordedAt.Before(from) {
			delete(s.byID, id)
			s.held -= bytesOfKnown(k)
			if alert := splitOff(k.Sequence); alert != 0 {
				delete(s.lanesOf[alert], id)
				if len(s.lanesOf[alert]) == 0 {
					delete(s.lanesOf, alert)
				}
			}
		}
	}
	if from.Before(s.until) {
		from = s.until
	}
	filter := annotation.SequenceFilter{
		SourceAPI: s.source, From: from, To: to.Add(-time.Microsecond), Annotations: true,
	}
	for sequence, err := range s.dst.Sequences(ctx, filter) {
		if err != nil {
			return fmt.Errorf("list the target's sequences around %s: %w", day, err)
		}
		k := knownOf(sequence, s.dst.Redact)
		if before := s.byID[sequence.AlertAPIID]; before != nil {
			s.held -= bytesOfKnown(before)
		}
		s.byID[sequence.AlertAPIID] = k
		if s.held += bytesOfKnown(k); s.held > maxSurroundings {
			return fmt.Errorf("list the target's sequences around %s: they take more than %d MiB; those of three days have a hundredth of that", day, maxSurroundings>>20)
		}
		if alert := splitOff(sequence); alert != 0 {
			if s.lanesOf[alert] == nil {
				s.lanesOf[alert] = map[int64]bool{}
			}
			s.lanesOf[alert][sequence.AlertAPIID] = true
		}
	}
	s.until = to
	return nil
}

// syntheticIDs is where the importers' ids of split-off sequences begin: this + 1000 × platform id + index (contract D.3).
const syntheticIDs = 1_000_000_000

// splitOff returns the platform sequence that an importer split this one off, 0 for a sequence that stands for itself.
// What a person added by hand in the annotation tool is no split.
func splitOff(s annotation.Sequence) int64 {
	alert := s.AlertAPIID
	switch {
	case s.IsManual:
	case s.PlatformAlertID != nil:
		alert = *s.PlatformAlertID
	case s.AlertAPIID >= syntheticIDs:
		alert = (s.AlertAPIID - syntheticIDs) / 1000
	}
	if alert == s.AlertAPIID {
		return 0
	}
	return alert
}
