package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// Limits of one page (contract A.3, A.4). The platform has no maximum for sequences; 1000 is what its importers send.
const (
	MaxSequencesPage  = 1000
	MaxDetectionsPage = 100
)

// maxRows bounds a listing's rows, whatever was asked for: servers have ignored limits before, and cameras have none; the
// whole platform has some hundreds of them.
const maxRows = 10_000

// maxDocument bounds one row, in bytes. A real detection has 1 kB and with many boxes some 10 kB, a camera with many poses a
// few thousand bytes.
const maxDocument = 256 << 10

// ErrNoAdmin says that organizations need an administrator's account, and none was given.
var ErrNoAdmin = errors.New("no administrator account given")

// ErrMissing is a 404 in the platform's own words: it has no such row, or no such image. In another's, a gateway's with nothing
// behind it, it says nothing of the row.
var ErrMissing = errors.New("the platform has no such row")

// missing makes a 404 that is the platform's own word (contract A.1, A.4) ErrMissing.
func missing(err error) error {
	said := detail(err)
	if httpapi.Status(err) == http.StatusNotFound &&
		(strings.HasSuffix(said, "has no corresponding entry.") || said == "File cannot be found on the bucket storage") {
		return &missingError{err}
	}
	return err
}

type missingError struct{ error }

func (e *missingError) Unwrap() error        { return e.error }
func (e *missingError) Is(target error) bool { return target == ErrMissing }

// Page is one page of a listing. A row that cannot be read does not hide the others.
type Page[T any] struct {
	Rows       []T
	Sent       int     // rows that the platform sent, readable or not
	Unreadable []error // why rows are not in Rows
}

// Detection is a listed detection with the presigned URL of its image: a secret with a lifetime, never stored.
type Detection struct {
	store.Detection
	URL string
}

// SequencesQuery asks for one page of the sequences that started on a UTC day, newest first.
type SequencesQuery struct {
	Day           store.Day
	RiskScore     string // empty: not sent
	Limit, Offset int
}

// DetectionsQuery asks for one page of a sequence's detections by created_at.
type DetectionsQuery struct {
	SequenceID    int64
	Limit, Offset int // Limit 1..MaxDetectionsPage; servers before June 2026 ignore Offset
	Descending    bool
	MaxBytes      int64 // of the page, httpapi.ErrTooLarge beyond; 0: as many as any answer
}

// Cameras is GET /cameras/, with those that are not trustable: their sequences are listed all the same (contract A.6).
func (c *Client) Cameras(ctx context.Context) (Page[store.Camera], error) {
	request := get("/api/v1/cameras/", url.Values{"include_non_trustable": {"true"}})
	page, err := list(ctx, c.api, request, store.ParseCamera)
	if err != nil {
		return page, fmt.Errorf("list cameras: %w", err)
	}
	return page, nil
}

// Organizations is GET /organizations/, as administrator: ErrNoAdmin without one, status 403 if the account is none.
func (c *Client) Organizations(ctx context.Context) (Page[store.Organization], error) {
	if c.admin == nil {
		return Page[store.Organization]{}, ErrNoAdmin
	}
	page, err := list(ctx, c.admin, get("/api/v1/organizations/", nil), store.ParseOrganization)
	switch {
	case httpapi.Status(err) == http.StatusForbidden:
		return page, fmt.Errorf("list organizations: %w; check that PLATFORM_ADMIN_LOGIN is an administrator", err)
	case err != nil:
		return page, fmt.Errorf("list organizations: %w", err)
	}
	return page, nil
}

// Sequences is GET /sequences/all/fromdate.
func (c *Client) Sequences(ctx context.Context, q SequencesQuery) (Page[store.Sequence], error) {
	query := url.Values{
		"from_date": {string(q.Day)},
		"limit":     {strconv.Itoa(q.Limit)},
		"offset":    {strconv.Itoa(q.Offset)},
	}
	if q.RiskScore != "" {
		query.Set("risk_score", q.RiskScore)
	}
	page, err := list(ctx, c.api, get("/api/v1/sequences/all/fromdate", query), store.ParseSequence)
	if err != nil {
		return page, fmt.Errorf("list sequences of %s from %d: %w", q.Day, q.Offset, err)
	}
	return page, nil
}

// Sequence is GET /sequences/{id}: ErrMissing if there is none, status 403 if it is another organization's.
func (c *Client) Sequence(ctx context.Context, id int64) (store.Sequence, error) {
	var doc json.RawMessage
	request := get(fmt.Sprintf("/api/v1/sequences/%d", id), nil)
	request.MaxBytes = maxDocument
	if err := c.api.JSON(ctx, request, &doc); err != nil {
		return store.Sequence{}, fmt.Errorf("read sequence %d: %w", id, missing(err))
	}
	sequence, err := store.ParseSequence(doc)
	if err == nil && sequence.ID != id {
		err = fmt.Errorf("the platform answers with sequence %d", sequence.ID)
	}
	if err != nil {
		return store.Sequence{}, fmt.Errorf("read sequence %d: %w", id, err)
	}
	return sequence, nil
}

// Detections is GET /sequences/{id}/detections. ErrMissing means that the sequence is gone, or, on servers before July
// 2026, that the image of one of the page's rows is (contract A.4).
func (c *Client) Detections(ctx context.Context, q DetectionsQuery) (Page[Detection], error) {
	query := url.Values{
		"limit":  {strconv.Itoa(q.Limit)},
		"offset": {strconv.Itoa(q.Offset)},
		"desc":   {strconv.FormatBool(q.Descending)},
	}
	request := get(fmt.Sprintf("/api/v1/sequences/%d/detections", q.SequenceID), query)
	request.MaxBytes = q.MaxBytes
	page, err := list(ctx, c.api, request, parseDetection)
	if err != nil {
		return page, fmt.Errorf("list detections of sequence %d from %d: %w", q.SequenceID, q.Offset, missing(err))
	}
	return page, nil
}

func parseDetection(doc json.RawMessage) (Detection, error) {
	detection, err := store.ParseDetection(doc)
	if err != nil {
		return Detection{}, err
	}
	if err := store.CheckKey(detection.BucketKey); err != nil {
		return Detection{}, fmt.Errorf("parse detection %d: %w", detection.ID, err)
	}
	var presigned struct {
		URL *string `json:"url"`
	}
	if err := json.Unmarshal(doc, &presigned); err != nil {
		return Detection{}, fmt.Errorf("parse detection %d: its url is no text", detection.ID)
	}
	row := Detection{Detection: detection}
	if presigned.URL != nil {
		row.URL = *presigned.URL
	}
	return row, nil
}

func get(path string, query url.Values) httpapi.Request {
	return httpapi.Request{Method: http.MethodGet, Path: path, Query: query}
}

// list reads a bare array of documents.
func list[T any](ctx context.Context, api *httpapi.Client, request httpapi.Request, parse func(json.RawMessage) (T, error)) (Page[T], error) {
	var docs documents
	if err := api.JSON(ctx, request, &docs); err != nil {
		return Page[T]{}, err
	}
	return pageOf(docs, parse), nil
}

// pageOf reads the rows. An error says nothing that a row says, but for its id: that may be a secret of ours.
func pageOf[T any](docs documents, parse func(json.RawMessage) (T, error)) Page[T] {
	page := Page[T]{Rows: make([]T, 0, len(docs)), Sent: len(docs)}
	for i, doc := range docs {
		row, err := readRow(doc, parse)
		if err != nil {
			page.Unreadable = append(page.Unreadable, fmt.Errorf("row %d: %w", i, err))
			continue
		}
		page.Rows = append(page.Rows, row)
	}
	return page
}

func readRow[T any](doc json.RawMessage, parse func(json.RawMessage) (T, error)) (T, error) {
	if len(doc) <= maxDocument {
		return parse(doc)
	}
	var none T
	var row struct {
		ID int64 `json:"id"`
	}
	_ = json.Unmarshal(doc, &row) // 0 where it has none
	return none, fmt.Errorf("the document with id %d has %d bytes, at most %d are taken", row.ID, len(doc), maxDocument)
}

// documents are the rows of a listing. null is none: taken for an empty one, it would make everything else gone.
type documents []json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (docs *documents) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return errors.New("no list")
	}
	*docs = documents{}
	for decoder.More() {
		if len(*docs) == maxRows {
			return fmt.Errorf("a listing of more than %d rows at once", maxRows)
		}
		var doc json.RawMessage
		if err := decoder.Decode(&doc); err != nil {
			return err
		}
		*docs = append(*docs, doc)
	}
	return nil
}
