// Package report writes a bundle as one HTML page, for somebody who wants to look before loading.
//
// The page is self-contained: no script, no font, no picture from elsewhere. It shows when and where the sequences were
// seen, and of each its frames, the platform's boxes, and the clusters that load would make of them with the same
// thresholds. docs/report.md explains how to read it. Its neighbours: store, whose bundles it reads, and annotate, whose
// generation it shows. What load makes of a record (which frames, which boxes, which refusals) is told here a second
// time, because load keeps it to itself; a test holds the two against each other.
//
// Everything in a bundle is somebody else's: texts are escaped by html/template and shortened, pictures are measured
// before they are decoded.
package report

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// Bundle is what a report reads; *store.Bundle is one. Sequences come by started_at.
type Bundle interface {
	Path() string
	Source() store.Source
	Days(ctx context.Context) iter.Seq2[store.DayRecord, error]
	Problems(ctx context.Context) iter.Seq2[store.Problem, error]
	Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error]
	ReadImage(ctx context.Context, h store.Hash) ([]byte, error)
}

// Options say what a report shows.
type Options struct {
	Query      store.Query
	Thresholds annotate.Thresholds
	Made       time.Time                               // what the page says of its making; zero: nothing
	Workers    int                                     // sequences drawn at once; 0: 2
	Progress   func(unit string, done, expected int64) // deltas; unit: "sequences"; may be nil
}

// Result is what a report shows, in numbers.
type Result struct {
	Sequences   int64 // selected
	Annotatable int64 // of which load would annotate
	Clusters    int64 // in their annotations
	Frames      int64
	FramesShown int64 // with their picture; the key frame of a sequence counts once
	Damaged     int64 // sequences and pictures that the bundle could not give; each is named on the page
	Bytes       int64 // of the page
}

const defaultWorkers = 2

// Write writes the page to w as it goes; after an error what was written is half a page.
//
// Memory does not grow with the number of sequences. The page has at most about 50 MB for up to 500 sequences, however
// long they are: their pictures become fewer and smaller, and the page says what it leaves out.
func Write(ctx context.Context, w io.Writer, bundle Bundle, o Options) (Result, error) {
	if err := o.Thresholds.Validate(); err != nil {
		return Result{}, err
	}
	if o.Workers < 1 {
		o.Workers = defaultWorkers
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	page, err := newPage()
	if err != nil {
		return Result{}, err
	}
	survey, err := takeSurvey(ctx, bundle, o) // the summary stands above the sequences, so they are read twice
	if err != nil {
		return Result{}, fmt.Errorf("survey the bundle: %w", err)
	}
	o.Progress("sequences", 0, survey.sequences+survey.damaged)

	counted := &countingWriter{to: w}
	out := bufio.NewWriterSize(counted, 64<<10)
	result := survey.result()
	err = page.head(out, survey.head(bundle, o))
	if err == nil {
		err = writeCards(ctx, out, page, bundle, survey, o, &result)
	}
	if err == nil {
		err = page.foot(out, survey.sequences)
	}
	if err == nil {
		err = out.Flush()
	}
	result.Bytes = counted.n
	return result, err
}

// Save writes the page to a file, all of it or nothing: a run that fails or is interrupted leaves what was there.
func Save(ctx context.Context, path string, bundle Bundle, o Options) (result Result, err error) {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return Result{}, fmt.Errorf("write %s: it is a directory; name a file, such as %s", path, filepath.Join(path, "report.html"))
	case err == nil && !info.Mode().IsRegular():
		return Result{}, fmt.Errorf("write %s: it is no regular file; name another", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Result{}, fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".report-*.html")
	if err != nil {
		return Result{}, cannotWrite(path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	result, err = Write(ctx, file, bundle, o)
	if closeErr := file.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return result, fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return result, fmt.Errorf("write %s: %w", path, err)
	}
	return result, nil
}

// cannotWrite says why there can be no file at path. Why there can be no temporary one beside it is why, and its name means
// nothing to anybody.
func cannotWrite(path string, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	next := "name another file"
	if errors.Is(err, fs.ErrNotExist) {
		next = "make the directory first, or " + next
	}
	return fmt.Errorf("write %s: %w; %s", path, err, next)
}

type countingWriter struct {
	to io.Writer
	n  int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
