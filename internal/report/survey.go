package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"pyrobundle/store"
)

// survey is what the first reading of the selection finds. Nothing in it grows with the number of sequences beyond a
// bound, except the counts of cameras.
type survey struct {
	sequences   int64
	annotatable int64
	clusters    int64
	several     int64 // sequences of more than one cluster
	frames      int64
	pictures    int64 // frames with image
	detections  int64
	first, last time.Time
	labels      [labelUnknown + 1]int64
	cameras     map[int64]*cameraCount
	calendar    calendar
	attention   []attention
	more        int64 // that need attention and are not listed
	damaged     int64 // sequences that could not be read
	problems    problems
}

type cameraCount struct {
	id, sequences, frames int64
	name                  string
}

// attention is a sequence that somebody should look at before loading.
type attention struct {
	ID   int64
	Text string
	Bad  bool // load would refuse it
}

const (
	attentionListed = 40
	problemsKept    = 2000 // in memory; more are counted
)

// problems are what the bundle records as failed or incomplete.
type problems struct {
	general    []store.Problem           // of no sequence
	ofSequence map[int64][]store.Problem // of one, but for images: a frame says by itself why it has none
	present    map[int64]bool            // those of ofSequence that are in the selection
	counts     map[store.Class]int64     // of all
	left       int64                     // beyond problemsKept
}

// takeSurvey reads every selected sequence once.
func takeSurvey(ctx context.Context, bundle Bundle, o Options) (*survey, error) {
	s := &survey{cameras: map[int64]*cameraCount{}, calendar: newCalendar()}
	if err := s.readProblems(ctx, bundle, o.Query); err != nil {
		return nil, err
	}
	if err := s.readDays(ctx, bundle, o.Query); err != nil {
		return nil, err
	}
	for record, err := range bundle.Sequences(ctx, o.Query) {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, store.ErrCorrupt): // of this sequence; the others are still worth a look
			s.damaged++
		case err != nil:
			return nil, err
		default:
			s.count(record, read(record, o.Thresholds))
		}
	}
	return s, nil
}

func (s *survey) result() Result {
	return Result{
		Sequences: s.sequences, Annotatable: s.annotatable, Clusters: s.clusters, Frames: s.frames, Damaged: s.damaged,
	}
}

func (s *survey) count(record store.SequenceRecord, r reading) {
	sequence := record.Sequence
	s.sequences++
	s.detections += int64(len(record.Detections))
	s.frames += int64(len(r.frames))
	started := sequence.StartedAt.UTC()
	if s.first.IsZero() {
		s.first = started
	}
	s.last = started
	s.calendar.sequence(store.DayOf(started))
	s.labels[labelOf(sequence.IsWildfire)]++
	camera := s.cameras[sequence.CameraID]
	if camera == nil {
		camera = &cameraCount{id: sequence.CameraID}
		s.cameras[sequence.CameraID] = camera
	}
	camera.name = cameraName(record)
	camera.sequences++
	camera.frames += int64(len(r.frames))

	missing := 0
	for _, f := range r.frames {
		if f.Image.IsZero() {
			missing++
		}
	}
	s.pictures += int64(len(r.frames) - missing)
	s.clusters += int64(len(r.tracks))
	if len(r.tracks) > 1 {
		s.several++
	}
	if r.refusal == "" {
		s.annotatable++
	}
	if s.problems.ofSequence[sequence.ID] != nil {
		s.problems.present[sequence.ID] = true
	}
	switch {
	case r.refusal != "":
		s.attend(attention{ID: sequence.ID, Text: "no annotation: " + r.refusal, Bad: true})
	case missing > 0:
		s.attend(attention{ID: sequence.ID, Text: plural(missing, "frame") + " without image"})
	case !record.Coverage.Complete:
		s.attend(attention{ID: sequence.ID, Text: "not fetched to its end"})
	}
}

func (s *survey) attend(a attention) {
	if len(s.attention) == attentionListed {
		s.more++
		return
	}
	s.attention = append(s.attention, a)
}

func (s *survey) readProblems(ctx context.Context, bundle Bundle, q store.Query) error {
	s.problems = problems{ofSequence: map[int64][]store.Problem{}, present: map[int64]bool{}, counts: map[store.Class]int64{}}
	kept := 0
	for p, err := range bundle.Problems(ctx) {
		if err != nil {
			return err
		}
		if p.Kind == "sequence" && p.SequenceID == 0 {
			p.SequenceID, _ = strconv.ParseInt(p.ID, 10, 64) // 0 where it is no number: then it is of no sequence
		}
		if p.Kind == "day" && outside(store.Day(p.ID), q) {
			continue
		}
		s.problems.counts[p.Class]++
		switch {
		case p.Kind == "image" && p.SequenceID != 0:
		case kept == problemsKept:
			s.problems.left++
		default:
			kept++
			p.ID, p.Reason = shorten(p.ID), shorten(p.Reason)
			if p.SequenceID == 0 {
				s.problems.general = append(s.problems.general, p)
			} else {
				s.problems.ofSequence[p.SequenceID] = append(s.problems.ofSequence[p.SequenceID], p)
			}
		}
	}
	return nil
}

func (s *survey) readDays(ctx context.Context, bundle Bundle, q store.Query) error {
	for d, err := range bundle.Days(ctx) {
		if err != nil {
			return err
		}
		if _, err := store.ParseDay(string(d.Day)); err == nil && !outside(d.Day, q) {
			s.calendar.listed(d.Day, d.Complete)
		}
	}
	return nil
}

func outside(d store.Day, q store.Query) bool {
	return q.From != "" && d < q.From || q.To != "" && d > q.To
}

// missing lists what the bundle records as missing: of no sequence, and of sequences that are not in it.
func (s *survey) missing(everything bool) (list []store.Problem, elsewhere int) {
	list = slices.Clone(s.problems.general)
	for id, found := range s.problems.ofSequence {
		switch {
		case s.problems.present[id]: // told on its card
		case everything:
			list = append(list, found...)
		default: // whether it belongs to the selection is not known
			elsewhere += len(found)
		}
	}
	slices.SortFunc(list, func(a, b store.Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.SequenceID, b.SequenceID), cmp.Compare(a.ID, b.ID))
	})
	return list, elsewhere
}

// The platform's labels in the order of the page, none, and one that is none of the platform's.
const (
	labelWildfire = iota
	labelOtherSmoke
	labelOther
	labelNone
	labelUnknown
)

func labelName(label int) string {
	return [...]string{"wildfire smoke", "other smoke", "other", "unlabelled", "another label"}[label]
}

func labelOf(label *string) int {
	switch {
	case label == nil || *label == "":
		return labelNone
	case *label == "wildfire_smoke":
		return labelWildfire
	case *label == "other_smoke":
		return labelOtherSmoke
	case *label == "other":
		return labelOther
	}
	return labelUnknown
}

func cameraName(record store.SequenceRecord) string {
	if record.Camera == nil || record.Camera.Name == "" {
		return fmt.Sprintf("camera %d", record.Sequence.CameraID)
	}
	return shorten(record.Camera.Name)
}
