package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// problems puts on record what none of the bundles has solved.
func (m *merge) problems(ctx context.Context) error {
	return m.each(ctx, bucketProblems, func(ctx context.Context, row []*entry) error {
		p, text, err := m.newestProblem(row)
		if err != nil {
			return err
		}
		solved, err := m.isSolved(ctx, p, row)
		if err != nil {
			return err
		}
		m.count(func(r *MergeResult) {
			if solved {
				r.Solved++
			} else {
				r.Problems++
			}
		})
		if solved || row[0] != nil && bytes.Equal(row[0].body, text) {
			return nil
		}
		return m.writer.PutProblem(ctx, p)
	})
}

// solve strikes off what one of the others has solved, now that the bundle holds what solves it.
func (m *merge) solve(ctx context.Context) error {
	return m.each(ctx, bucketProblems, func(ctx context.Context, row []*entry) error {
		if row[0] == nil {
			return nil
		}
		p, _, err := m.newestProblem(row)
		if err != nil {
			return err
		}
		solved, err := m.isSolved(ctx, p, row)
		if err != nil || !solved {
			return err
		}
		return m.writer.ClearProblem(ctx, p.Kind, p.ID)
	})
}

// newestProblem is the one recorded last of those under one name, and its JSON.
func (m *merge) newestProblem(row []*entry) (newest Problem, text []byte, err error) {
	for i, e := range row {
		if e == nil {
			continue
		}
		body, err := m.readable(i, e)
		if err != nil {
			return Problem{}, nil, err
		}
		var p Problem
		if err = decodeJSON(body, &p); err == nil && !bytes.Equal(problemKey(p.Kind, p.ID), e.key) {
			err = corruptf("index: problem of %s %s lies under another name", p.Kind, p.ID)
		}
		if err != nil {
			return Problem{}, nil, fmt.Errorf("bundle %s: %w", m.bundles[i].path, err)
		}
		if text == nil || cmp.Or(p.At.Compare(newest.At), bytes.Compare(body, text)) > 0 {
			newest, text = p, body
		}
	}
	return newest, text, nil
}

// isSolved reports whether one of the bundles shows that a problem has gone: it does not have it, and either has the image
// that was missing, or has listed what failed since.
func (m *merge) isSolved(ctx context.Context, p Problem, row []*entry) (bool, error) {
	for i, b := range m.bundles {
		if row[i] != nil {
			continue
		}
		solved, err := b.solves(ctx, p)
		if err != nil {
			return false, fmt.Errorf("bundle %s: %w", b.path, err)
		}
		if solved {
			return true, nil
		}
	}
	return false, nil
}

func (b *Bundle) solves(ctx context.Context, p Problem) (bool, error) {
	if p.Kind == "day" {
		return b.solvesDay(ctx, p)
	}
	if p.SequenceID == 0 {
		return false, nil
	}
	r, err := b.Sequence(ctx, p.SequenceID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if p.Kind != "image" {
		return r.Coverage.FetchedAt.After(p.At), nil
	}
	return slices.ContainsFunc(r.Frames, func(f Frame) bool {
		return !f.Image.IsZero() && (p.ID == f.Key || strings.HasSuffix(p.ID, "/"+f.Key))
	}), nil
}

// solvesDay looks whether the day that failed was listed since. Its id is that of fetch: the day, and whose listing it was.
func (b *Bundle) solvesDay(ctx context.Context, p Problem) (bool, error) {
	day, organization, _ := strings.Cut(p.ID, "/")
	id, err := strconv.ParseInt(organization, 10, 64)
	if err != nil {
		return false, nil //nolint:nilerr // of another make: nothing is known about it
	}
	body, err := b.get(ctx, bucketDays, dayRecordKey(DayRecord{Day: Day(day), OrganizationID: id}))
	if err != nil || body == nil {
		return false, err
	}
	var d DayRecord
	if err := decodeJSON(body, &d); err != nil {
		return false, err
	}
	return d.ListedAt.After(p.At), nil
}
