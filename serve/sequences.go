package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"pyrobundle/store"
)

// defaultListing is how many sequences a listing has unless asked for more (contract A.3).
const defaultListing = 15

// riskThreshold returns the max_conf that a sequence must have to be listed on a day of the given fire-weather class, and
// whether there is any (contract A.3).
func riskThreshold(class string) (float64, bool) {
	switch class {
	case "very_low":
		return 0.6, true
	case "low":
		return 0.45, true
	default:
		return 0, false
	}
}

// passesRisk reports whether s is listed. A bundle has no risk service, so without a class nothing is filtered; an
// administrator's listing never is.
func passesRisk(caller claims, class string, s store.Sequence) bool {
	threshold, ok := riskThreshold(class)
	return caller.admin() || !ok || s.MaxConf == nil || *s.MaxConf >= threshold
}

// visible restricts q to the sequences that the caller lists (contract A.2); ok is false where there can be none.
func (s *server) visible(caller claims, q store.Query) (store.Query, bool) {
	if caller.admin() && (!s.options.OldPlatform || caller.OrganizationID == 0) {
		return q, true
	}
	q.OrganizationID = caller.OrganizationID
	return q, caller.OrganizationID > 0
}

// sequencesOfDay answers GET /sequences/all/fromdate: the sequences that started on one UTC day, newest first.
func (s *server) sequencesOfDay(c *call) error {
	in := input{place: "query", values: c.r.URL.Query()}
	day := in.day("from_date")
	limit := in.integer("limit", defaultListing)
	offset := in.integer("offset", 0)
	class := in.riskScore()
	if err := in.problems(); err != nil {
		return err
	}
	if limit < 0 || offset < 0 {
		return fmt.Errorf("list sequences: negative limit %d or offset %d", limit, offset) // the platform's 500
	}
	ids, err := s.listedIDs(c.r.Context(), c.caller, store.Query{From: day, To: day}, class)
	if err != nil {
		return err
	}
	slices.Reverse(ids)
	from, to := page(len(ids), limit, offset)
	answer := c.list()
	for _, id := range ids[from:to] {
		record, err := s.bundle.Sequence(c.r.Context(), id)
		if err != nil {
			return fmt.Errorf("read sequence %d: %w", id, err)
		}
		if err := answer.add(record.Sequence.Document); err != nil {
			return fmt.Errorf("sequence %d: %w", id, err)
		}
	}
	return answer.end()
}

// listedIDs returns the ids that q selects for the caller, oldest first. Only a class with a threshold makes it read the
// sequences themselves.
func (s *server) listedIDs(ctx context.Context, caller claims, q store.Query, class string) ([]int64, error) {
	q, ok := s.visible(caller, q)
	if !ok {
		return nil, nil
	}
	var ids []int64
	if _, filtered := riskThreshold(class); filtered && !caller.admin() {
		for record, err := range s.bundle.Sequences(ctx, q) {
			if err != nil {
				return nil, fmt.Errorf("read sequences: %w", err)
			}
			if passesRisk(caller, class, record.Sequence) {
				ids = append(ids, record.Sequence.ID)
			}
		}
		return ids, nil
	}
	for summary, err := range s.bundle.Summaries(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("list sequences: %w", err)
		}
		ids = append(ids, summary.ID)
	}
	return ids, nil
}

// latestUnlabeled answers GET /sequences/unlabeled/latest: those without label that started in the last 24 hours, at most
// 15, newest first.
func (s *server) latestUnlabeled(c *call) error {
	in := input{place: "query", values: c.r.URL.Query()}
	class := in.riskScore()
	if err := in.problems(); err != nil {
		return err
	}
	since := s.options.Now().Add(-24 * time.Hour)
	var latest []json.RawMessage // oldest first
	if q, ok := s.visible(c.caller, store.Query{From: store.DayOf(since)}); ok {
		for record, err := range s.bundle.Sequences(c.r.Context(), q) {
			if err != nil {
				return fmt.Errorf("read sequences: %w", err)
			}
			sequence := record.Sequence
			if !sequence.StartedAt.After(since) || sequence.IsWildfire != nil || !passesRisk(c.caller, class, sequence) {
				continue
			}
			if len(latest) == defaultListing {
				latest = slices.Delete(latest, 0, 1)
			}
			latest = append(latest, sequence.Document)
		}
	}
	answer := c.list()
	for _, doc := range slices.Backward(latest) {
		if err := answer.add(doc); err != nil {
			return err
		}
	}
	return answer.end()
}

// readSequence returns the sequence of the path if the caller may see it: 404 where there is none, 403 where it is another
// organization's.
func (s *server) readSequence(c *call) (store.SequenceRecord, error) {
	record, err := s.bundle.Sequence(c.r.Context(), c.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return record, noEntry("Sequence")
	case err != nil:
		return record, fmt.Errorf("read sequence %d: %w", c.id, err)
	case !c.caller.sees(record.OrganizationID()):
		return record, forbidden()
	}
	return record, nil
}

// sequence answers GET /sequences/{id}.
func (s *server) sequence(c *call) error {
	record, err := s.readSequence(c)
	if err != nil {
		return err
	}
	return c.document(record.Sequence.Document)
}

// sequenceDetections answers GET /sequences/{id}/detections: by created_at, each row with the URL of its image.
func (s *server) sequenceDetections(c *call) error {
	in := input{place: "query", values: c.r.URL.Query()}
	limit := in.integer("limit", 10, atLeast(1), atMost(100))
	var offset int64
	if !s.options.OldPlatform {
		offset = in.integer("offset", 0, atLeast(0))
	}
	descending := in.boolean("desc", true)
	withCrop := in.boolean("with_crop", false)
	if err := in.problems(); err != nil {
		return err
	}
	record, err := s.readSequence(c)
	if err != nil {
		return err
	}
	from, to := page(len(record.Detections), limit, offset)
	if descending {
		from, to = len(record.Detections)-to, len(record.Detections)-from
	}
	rows := slices.Clone(record.Detections[from:to])
	if descending {
		slices.Reverse(rows)
	}
	if s.options.OldPlatform {
		if err := imagesPresent(&record, rows); err != nil {
			return err
		}
	}
	sign := s.storage.signFor(c.r, record.OrganizationID())
	answer := c.list()
	for _, d := range rows {
		extra := []field{text("url", sign(d.BucketKey))}
		if !s.options.OldPlatform {
			extra = append(extra, cropURL(d, withCrop, sign))
		}
		if err := answer.add(d.Document, extra...); err != nil {
			return fmt.Errorf("detection %d: %w", d.ID, err)
		}
	}
	return answer.end()
}

// label answers PATCH /sequences/{id}/label: checked as the platform checks it, then refused.
func (s *server) label(c *call) error {
	var body struct {
		IsWildfire *string `json:"is_wildfire"`
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxForm))
	if err == nil && json.Unmarshal(data, &body) == nil && body.IsWildfire != nil {
		in := input{place: "body", values: map[string][]string{"is_wildfire": {*body.IsWildfire}}}
		in.literal("is_wildfire", "enum", "wildfire_smoke", "other_smoke", "other")
		if err := in.problems(); err != nil {
			return err
		}
	}
	if _, err := s.readSequence(c); err != nil {
		return err
	}
	return s.readOnly(c)
}
