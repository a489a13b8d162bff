package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
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

// unscoped reports whether the caller lists every organization's sequences, and without risk filter (contract A.2): an
// administrator, on an old platform one who belongs to no organization.
func (s *server) unscoped(caller claims) bool {
	return caller.admin() && (!s.options.OldPlatform || caller.OrganizationID == 0)
}

// passesRisk reports whether a sequence is listed on a day of the given class. A bundle has no risk service, so without a
// class nothing is filtered; nor is what has no max_conf.
func (s *server) passesRisk(caller claims, class string, sequence store.Sequence) bool {
	threshold, ok := riskThreshold(class)
	return !ok || s.unscoped(caller) || sequence.MaxConf == nil || *sequence.MaxConf >= threshold
}

// visible restricts q to the sequences that the caller lists (contract A.2); ok is false where there can be none.
func (s *server) visible(caller claims, q store.Query) (store.Query, bool) {
	if s.unscoped(caller) {
		return q, true
	}
	q.OrganizationID = caller.OrganizationID
	return q, caller.OrganizationID > 0
}

// dayListing is what a listing of one day is asked for (contract A.3).
type dayListing struct {
	day           store.Day
	limit, offset int64
	class         string // of fire weather; empty: not given
}

func (c *call) dayListing() (dayListing, error) {
	in := c.query()
	l := dayListing{
		day: in.day("from_date"), limit: in.integer("limit", defaultListing), offset: in.integer("offset", 0), class: in.riskScore(),
	}
	if err := in.problems(); err != nil {
		return dayListing{}, err
	}
	if l.limit < 0 || l.offset < 0 {
		return dayListing{}, fmt.Errorf("list a day: negative limit %d or offset %d", l.limit, l.offset) // the platform's 500
	}
	return l, nil
}

// sequencesOfDay answers GET /sequences/all/fromdate: the sequences that started on one UTC day, newest first.
func (s *server) sequencesOfDay(c *call) error {
	asked, err := c.dayListing()
	if err != nil {
		return err
	}
	ids, err := s.listedIDs(c.r.Context(), c.caller, store.Query{From: asked.day, To: asked.day}, asked.class)
	if err != nil {
		return err
	}
	slices.Reverse(ids)
	from, to := page(len(ids), asked.limit, asked.offset)
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
	if _, filtered := riskThreshold(class); filtered && !s.unscoped(caller) {
		for record, err := range s.bundle.Sequences(ctx, q) {
			if err != nil {
				return nil, fmt.Errorf("read sequences: %w", err)
			}
			if s.passesRisk(caller, class, record.Sequence) {
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
	in := c.query()
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
			if !sequence.StartedAt.After(since) || sequence.IsWildfire != nil || !s.passesRisk(c.caller, class, sequence) {
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
	in := c.query()
	limit := in.integer("limit", 10, atLeast(1), atMost(100))
	var offset int64
	var withCrop bool
	if !s.options.OldPlatform {
		offset = in.integer("offset", 0, atLeast(0))
	}
	descending := in.boolean("desc", true)
	if !s.options.OldPlatform {
		withCrop = in.boolean("with_crop", false)
	}
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
	in := input{place: "body", issues: c.issues}
	if err := in.readLabel(c.w, c.r); err != nil {
		return err
	}
	if err := in.problems(); err != nil {
		return err
	}
	if _, err := s.readSequence(c); err != nil {
		return err
	}
	return s.readOnly(c)
}

// readLabel reads the body {"is_wildfire": …}. A body that is broken JSON is refused at once, whatever else is wrong.
func (in *input) readLabel(w http.ResponseWriter, r *http.Request) error {
	complain := func(kind, message string, value any) {
		in.issues = append(in.issues, issue{Type: kind, Place: []any{in.place}, Message: message, Input: value})
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return refuse(http.StatusBadRequest, "There was an error parsing the body")
	}
	var body any = string(data) // as the platform takes what is not said to be JSON
	if len(data) == 0 {
		body = nil
	} else if isJSON(r.Header.Get("Content-Type")) {
		if body, err = decodeJSON(data); err != nil {
			return err
		}
	}
	switch fields := body.(type) {
	case nil:
		complain("missing", "Field required", nil)
	case map[string]any:
		value, ok := fields["is_wildfire"]
		if !ok {
			in.complain("is_wildfire", "missing", "Field required", body, nil)
			break
		}
		given, _ := value.(string)
		options := []string{"wildfire_smoke", "other_smoke", "other"}
		if !slices.Contains(options, given) {
			in.complain("is_wildfire", "enum", "Input should be "+alternatives(options), value,
				map[string]any{"expected": alternatives(options)})
		}
	default:
		complain("model_attributes_type", "Input should be a valid dictionary or object to extract fields from", body)
	}
	return nil
}

// isJSON reports whether a Content-Type is application/json or application/…+json.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	format, ok := strings.CutPrefix(strings.TrimSpace(kind), "application/")
	return ok && (format == "json" || strings.HasSuffix(format, "+json"))
}

// decodeJSON reads one JSON value, number literals as they are. Where it is broken is said as the platform says it, what
// is wrong there in Go's words.
func decodeJSON(data []byte) (v any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var syntax *json.SyntaxError
	if broken := json.Unmarshal(data, new(any)); errors.As(broken, &syntax) {
		return nil, refuse(http.StatusUnprocessableEntity, []issue{{
			Type: "json_invalid", Place: []any{"body", max(0, syntax.Offset-1)}, Message: "JSON decode error",
			Input: struct{}{}, Context: map[string]any{"error": syntax.Error()},
		}})
	}
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode body: %w", err)
	}
	return v, nil
}
