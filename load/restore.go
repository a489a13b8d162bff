package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// maxUndoLine bounds one line of an undo file, in bytes; the API's annotations are some kilobytes.
const maxUndoLine = 64 << 20

// ErrNotUndo is returned for a file in which no run has saved annotations.
var ErrNotUndo = errors.New("no undo file of pyrobundle")

// Undo is what an undo file holds.
type Undo struct {
	Target      string // base URL of the API that the annotations are from
	Annotations int
}

// ReadUndo looks into an undo file, without a target. It returns ErrNotUndo for any other file, and fs.ErrNotExist where there
// is none.
func ReadUndo(path string) (undo Undo, err error) {
	file, lines, header, err := openUndo(path)
	if err != nil {
		return Undo{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	undo.Target = header.Target
	for {
		more, err := readLine(lines, new(json.RawMessage))
		if err != nil {
			return undo, fmt.Errorf("read %s: %w", path, err)
		}
		if !more {
			return undo, nil
		}
		undo.Annotations++
	}
}

// openUndo opens an undo file behind its header.
func openUndo(path string) (*os.File, *bufio.Reader, undoHeader, error) {
	file, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return nil, nil, undoHeader{}, err
	}
	lines := bufio.NewReaderSize(file, 64<<10)
	var header undoHeader
	if _, err := readLine(lines, &header); err != nil || header.Format != undoFormat { // a directory cannot be read either
		return nil, nil, undoHeader{}, errors.Join(fmt.Errorf("%s is %w", path, ErrNotUndo), file.Close())
	}
	return file, lines, header, nil
}

// Restore puts back the annotations that an undo file holds, each only where nobody has touched what took its place. It
// returns the sequences whose annotations it left or the API did not allow to be put back as they were, and, as failed, those
// that another try may bring back. Contributors and times are the API's own and never come back as they were.
//
// What goes wrong with one annotation keeps no other from coming back. What ends it: a file that is no undo file (ErrNotUndo), is
// of another target, or cannot be read; a run of this machine that is loading into the target (ErrTargetBusy); a refused login
// (httpapi.ErrUnauthorized), a target that answers no more (httpapi.ErrUnreachable), and ctx. Running it again continues.
//
// log is told where there is nothing to lock in; nil: nobody.
func Restore(ctx context.Context, dst Target, undoFile string, log *slog.Logger) (notRestored []store.Problem, err error) {
	file, lines, header, err := openUndo(undoFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if header.Target != dst.BaseURL() {
		return nil, fmt.Errorf("restore %s: it was saved from %s, this is %s", undoFile, header.Target, dst.BaseURL())
	}
	unlock, err := lockTarget(Config{Log: orDefault(log, slog.New(slog.DiscardHandler))}, dst.BaseURL())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for {
		var line json.RawMessage
		more, err := readLine(lines, &line)
		if err != nil {
			return notRestored, fmt.Errorf("read %s: %w", undoFile, err)
		}
		if !more {
			return notRestored, nil
		}
		var s saved
		if err := json.Unmarshal(line, &s); err != nil { // it repeats numbers and times, of any length
			return notRestored, fmt.Errorf("read %s: a line that saves no annotation: %s", undoFile, dst.Redact(err.Error())) //nolint:errorlint // told, not wrapped
		}
		problem := store.Problem{
			Class: store.Incomplete, Kind: "sequence", ID: strconv.FormatInt(s.AlertAPIID, 10), SequenceID: s.AlertAPIID,
		}
		problem.Reason, err = restore(ctx, dst, s)
		switch {
		case err != nil && ctx.Err() != nil:
			return notRestored, fmt.Errorf("restore the annotation of sequence %d: %w", s.AlertAPIID, ctx.Err())
		case err != nil && endsRun(err):
			return notRestored, fmt.Errorf("restore the annotation of sequence %d: %w", s.AlertAPIID, err)
		case err != nil:
			problem.Class, problem.Reason = classOf(err), fmt.Sprintf("its annotation is not restored: %s", err)
		}
		if problem.Reason != "" {
			notRestored = append(notRestored, problem)
		}
	}
}

// readLine decodes the next line; false at the end, and at a last line that an interruption cut short.
func readLine(lines *bufio.Reader, into any) (bool, error) {
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) <= maxUndoLine:
			continue
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
		return true, json.Unmarshal(line, into)
	}
}

// restore puts one annotation back and says what could not be. An error is the target's, unless what was saved is no
// annotation.
func restore(ctx context.Context, dst Target, s saved) (string, error) {
	var old annotation.SequenceAnnotation
	if err := json.Unmarshal(s.Annotation, &old); err != nil {
		return "", incomplete{errors.New("read what was saved: " + dst.Redact(err.Error()))}
	}
	sequence, err := dst.Sequence(ctx, s.SequenceID)
	switch {
	case httpapi.Status(err) == http.StatusNotFound:
		return "the sequence is not on the target any more", nil
	case err != nil:
		return "", err
	case sequence.AlertAPIID != s.AlertAPIID || sequence.SourceAPI != s.SourceAPI:
		return "another sequence has its place on the target; left as it is", nil
	}
	current, err := dst.AnnotationOf(ctx, s.SequenceID)
	if err != nil {
		return "", err
	}
	if current != nil {
		now := noteOf(current, dst.Redact)
		switch {
		case now.document == digestOf(old.Document) && current.ProcessingStage == old.ProcessingStage &&
			current.HasMissedSmoke == old.HasMissedSmoke && current.IsUnsure == old.IsUnsure:
			return "", nil // it is back already
		case !now.ready || fmt.Sprintf("%x", now.document) != s.ReplacedBy:
			return "its annotation has changed since; left as it is", nil
		}
	}
	if len(old.Document.Tracks) == 0 && old.ProcessingStage == annotation.StageReadyToAnnotate {
		return "it had no boxes at stage ready_to_annotate; the API would generate some, so it is left as it is", nil
	}
	stage := old.ProcessingStage
	err = putBack(ctx, dst, s.SequenceID, current, old, stage)
	if refused(err) && stage != annotation.StageImported && stage != annotation.StageReadyToAnnotate && len(old.Document.Tracks) > 0 {
		why := err
		if err = putBack(ctx, dst, s.SequenceID, current, old, annotation.StageReadyToAnnotate); err == nil {
			return fmt.Sprintf("it is back, but not at stage %s: %s", dst.Redact(stage), why), nil
		}
	}
	if refused(err) {
		return fmt.Sprintf("the API refuses it: %s", err), nil
	}
	return "", err
}

// refused reports whether the API said no to what was asked, rather than not answering.
func refused(err error) bool {
	status := httpapi.Status(err)
	return status == http.StatusConflict || status == http.StatusUnprocessableEntity || status == http.StatusNotFound
}

func putBack(ctx context.Context, dst Target, sequenceID int64, current *annotation.SequenceAnnotation, old annotation.SequenceAnnotation, stage string) error {
	if current == nil {
		_, err := dst.CreateAnnotation(ctx, annotation.NewAnnotation{
			SequenceID: sequenceID, Document: old.Document, ProcessingStage: stage,
			HasMissedSmoke: old.HasMissedSmoke, IsUnsure: old.IsUnsure,
		})
		return err
	}
	_, err := dst.UpdateAnnotation(ctx, current.ID, annotation.Update{
		Document: old.Document, ProcessingStage: stage, HasMissedSmoke: old.HasMissedSmoke, IsUnsure: old.IsUnsure,
	})
	return err
}
