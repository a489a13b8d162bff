package load

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// rowsWithoutEnd is a target whose lists go on and on, with text of size bytes in each row.
type rowsWithoutEnd struct {
	Target
	row, sequences string
	given          int
}

func (*rowsWithoutEnd) Redact(text string) string { return text }

func (r *rowsWithoutEnd) Detections(context.Context, int64) iter.Seq2[annotation.Detection, error] {
	return func(yield func(annotation.Detection, error) bool) {
		for id := int64(1); yield(annotation.Detection{ID: id, AlertAPIID: id, BucketKey: r.row}, nil); id++ {
			r.given++
		}
	}
}

func (r *rowsWithoutEnd) Sequences(context.Context, annotation.SequenceFilter) iter.Seq2[annotation.Sequence, error] {
	return func(yield func(annotation.Sequence, error) bool) {
		for id := int64(1); yield(annotation.Sequence{ID: id, AlertAPIID: id, CameraName: r.sequences}, nil); id++ {
			r.given++
		}
	}
}

// TestTheTargetsRowsOfASequenceAreBounded in bytes, whatever they are made of.
func TestTheTargetsRowsOfASequenceAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		text        string
		least, most int // rows that are taken
	}{
		"small rows": {"a", 150_000, 250_000}, "long texts": {strings.Repeat("x", 1<<20), 30, 32},
	} {
		t.Run(name, func(t *testing.T) {
			target := &rowsWithoutEnd{row: c.text}
			r := &run{ctx: t.Context(), dst: target, large: make(chan struct{}, 1)}
			turn := httpapi.TurnOf(r.large)
			if _, err := r.rowsOf(1, turn); err == nil || !strings.Contains(err.Error(), "more than 32 MiB") {
				t.Errorf("error = %v", err)
			}
			if target.given < c.least || target.given > c.most {
				t.Errorf("%d rows were taken, want %d to %d", target.given, c.least, c.most)
			}
			turn.End()
			if len(r.large) != 0 {
				t.Error("its turn is not over")
			}
		})
	}
}

// TestBoxesOfARowCount, too.
func TestBoxesOfARowCount(t *testing.T) {
	plain := bytesOfRow(annotation.Detection{})
	predictions := annotate.Predictions{Predictions: []annotate.Prediction{{ClassName: strings.Repeat("x", 1000)}}}
	if got := bytesOfRow(annotation.Detection{AlgoPredictions: predictions, OthersBBoxes: &predictions}); got < plain+2*1050 {
		t.Errorf("%d bytes, %d without", got, plain)
	}
}

// TestManyRowsAreHeldOfOneSequenceAtATime: another one waits until its sequence is through, one with few does not.
func TestManyRowsAreHeldOfOneSequenceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := &rowsWithoutEnd{row: strings.Repeat("x", 1<<20)}
		large := make(chan struct{}, 1)
		read := func(row string, after time.Duration) (took time.Duration) {
			target := &some{rows: 3, rowsWithoutEnd: rowsWithoutEnd{row: row}}
			r := &run{ctx: t.Context(), dst: target, large: large}
			turn := httpapi.TurnOf(large)
			defer turn.End()
			started := time.Now()
			for range 2 { // what is listed and what is read back
				if rows, err := r.rowsOf(1, turn); err != nil || len(rows) != 3 {
					t.Errorf("%d rows, %v", len(rows), err)
				}
			}
			took = time.Since(started)
			time.Sleep(after)
			return took
		}
		var second, few time.Duration
		go func() {
			time.Sleep(time.Second)
			second = read(many.row, 0)
		}()
		go func() {
			time.Sleep(time.Second)
			few = read("a", 0)
		}()
		if first := read(many.row, time.Minute); first != 0 {
			t.Errorf("the first waited %s", first)
		}
		synctest.Wait()
		if second != time.Minute-time.Second || few != 0 {
			t.Errorf("the second waited %s, want 59s; the small one %s, want 0", second, few)
		}
	})
}

// TestWhoWaitsToHoldManyRowsHoldsNone: the pages that sixteen sequences wait with may be as large as answers may be.
func TestWhoWaitsToHoldManyRowsHoldsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &some{rows: 3, rowsWithoutEnd: rowsWithoutEnd{row: strings.Repeat("x", 1<<20)}}
		r := &run{ctx: t.Context(), dst: target, large: make(chan struct{}, 1)}
		first, second := httpapi.TurnOf(r.large), httpapi.TurnOf(r.large)
		if _, err := r.rowsOf(1, first); err != nil {
			t.Fatal(err)
		}
		var rows []annotation.Detection
		var err error
		go func() { rows, err = r.rowsOf(2, second) }()
		synctest.Wait()
		if target.open != 0 || second.Mine() {
			t.Errorf("%d lists are being read while it waits; its turn: %v", target.open, second.Mine())
		}
		first.End()
		synctest.Wait()
		if err != nil || len(rows) != 3 || rows[0].ID != 1 || !second.Mine() {
			t.Errorf("%d rows, %v; its turn: %v", len(rows), err, second.Mine())
		}
	})
}

// TestALargeAnnotationIsHeldOfOneSequenceAtATime: like its rows, and by the same turn.
func TestALargeAnnotationIsHeldOfOneSequenceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := &annotations{verbatim: make([]byte, largeRows+1)}
		r := &run{ctx: t.Context(), dst: large, large: make(chan struct{}, 1)}
		first, second := httpapi.TurnOf(r.large), httpapi.TurnOf(r.large)
		if got, err := r.annotationOf(1, first); err != nil || got == nil || large.asked != 1 {
			t.Fatalf("%v, %v, asked %d times", got, err, large.asked)
		}
		small := &run{ctx: t.Context(), dst: &annotations{verbatim: make([]byte, largeRows)}, large: r.large}
		if got, err := small.annotationOf(3, httpapi.TurnOf(r.large)); err != nil || got == nil {
			t.Errorf("a small one: %v, %v", got, err)
		}
		var got *annotation.SequenceAnnotation
		go func() { got, _ = r.annotationOf(2, second) }()
		synctest.Wait()
		if got != nil || second.Mine() {
			t.Error("two are held at once")
		}
		first.End()
		synctest.Wait()
		if got == nil || !second.Mine() || large.asked != 3 { // what it had was let go of, and is read anew
			t.Errorf("annotation %v, its turn %v, asked %d times", got, second.Mine(), large.asked)
		}
	})
}

// annotations is a target of which each sequence has the same annotation.
type annotations struct {
	Target
	verbatim []byte
	asked    int
}

func (a *annotations) AnnotationOf(_ context.Context, sequence int64) (*annotation.SequenceAnnotation, error) {
	a.asked++
	return &annotation.SequenceAnnotation{ID: 1, SequenceID: sequence, Verbatim: a.verbatim}, nil
}

// some is a target of which a sequence has some rows.
type some struct {
	rowsWithoutEnd
	rows int
	open int // lists that are being read
}

func (s *some) Detections(ctx context.Context, sequence int64) iter.Seq2[annotation.Detection, error] {
	return func(yield func(annotation.Detection, error) bool) {
		s.open++
		defer func() { s.open-- }()
		left := s.rows
		for row, err := range s.rowsWithoutEnd.Detections(ctx, sequence) {
			if left == 0 || !yield(row, err) {
				return
			}
			left--
		}
	}
}

// TestWhatIsKnownOfTheTargetsSequencesIsBounded, also over days, of a target that gives what it was not asked for.
func TestWhatIsKnownOfTheTargetsSequencesIsBounded(t *testing.T) {
	target := &rowsWithoutEnd{sequences: strings.Repeat("x", 1<<20)}
	s := newSurroundings(target, "pyronear_french")
	for day := range 3 {
		record := store.SequenceRecord{Sequence: store.Sequence{ID: 1, StartedAt: store.Time{Time: time.Date(2026, 8, 1+day, 0, 0, 0, 0, time.UTC)}}}
		if found := s.find(t.Context(), record); found.err == nil || !strings.Contains(found.err.Error(), "more than 96 MiB") {
			t.Errorf("error = %v", found.err)
		}
		var held int64
		for _, k := range s.byID {
			held += bytesOfKnown(k)
		}
		if held != s.held || held > maxSurroundings+2<<20 {
			t.Errorf("it holds %d bytes and counts %d", held, s.held)
		}
	}
}

// TestARecordThatNoCameraMadeIsRefused before anything is made of it, and for good.
func TestARecordThatNoCameraMadeIsRefused(t *testing.T) {
	text := func(n int) *string { s := strings.Repeat(" ", n); return &s }
	for name, c := range map[string]struct {
		change func(*store.SequenceRecord)
		want   string // "": it is taken
	}{
		"a month": {func(r *store.SequenceRecord) {
			r.Detections = slices.Repeat(r.Detections[:1], maxRows)
			for i := range r.Detections {
				r.Detections[i].BucketKey = strconv.Itoa(i)
			}
		}, ""},
		"more than a month": {func(r *store.SequenceRecord) { r.Detections = slices.Repeat(r.Detections[:1], maxRows+1) }, "it has 100001 detections in the bundle; at most 100000 are loaded"},
		"boxes of a frame":  {func(r *store.SequenceRecord) { r.Detections[0].BBox = text(maxFrame + 1) }, "the boxes of detection"},
		"others of a frame": {func(r *store.SequenceRecord) { r.Detections[0].OthersBBoxes = text(maxFrame + 1) }, "the boxes of detection"},
		"boxes of a sequence": {func(r *store.SequenceRecord) {
			r.Detections = slices.Repeat(r.Detections[:1], 100)
			for i := range r.Detections {
				r.Detections[i].BBox = text(maxText/100 + 1)
			}
		}, "its boxes have"},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(4242, "[(.1,.1,.3,.3,.5)]")
			c.change(&r)
			_, err := want(r, Config{SourceAPI: "pyronear_french", AssumeImages: true}, annotation.Newest)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) || classOf(err) != store.Incomplete || !errors.As(err, new(incomplete))):
				t.Errorf("error = %v, want %q, incomplete", err, c.want)
			}
		})
	}
}
