package annotation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
)

// Processing stages that the API gives a sequence annotation before a person works on it (contract B.1).
const (
	StageImported        = "imported"
	StageReadyToAnnotate = "ready_to_annotate"
)

// SequenceAnnotation is a sequence's annotation as the API gives it (contract B.4).
type SequenceAnnotation struct {
	ID              int64             `json:"id"`
	SequenceID      int64             `json:"sequence_id"`
	HasMissedSmoke  bool              `json:"has_missed_smoke"`
	IsUnsure        bool              `json:"is_unsure"`
	Document        annotate.Document `json:"annotation"`
	ProcessingStage string            `json:"processing_stage"`
	Contributors    []Contributor     `json:"contributors"`

	Verbatim json.RawMessage `json:"-"` // the API's object as it came
}

// Contributor is a person who has worked on an annotation.
type Contributor struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
}

// UnmarshalJSON reads the fields and keeps the object verbatim beside them.
func (a *SequenceAnnotation) UnmarshalJSON(data []byte) error {
	if err := hollow(data); err != nil {
		return err
	}
	type fields SequenceAnnotation // without this method
	var read fields
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*a = SequenceAnnotation(read)
	a.Verbatim = append(json.RawMessage(nil), data...)
	return nil
}

// AnnotationOf reads the annotation of a sequence, nil where it has none.
func (c *Client) AnnotationOf(ctx context.Context, sequenceID int64) (*SequenceAnnotation, error) {
	const path = "/api/v1/annotations/sequences/"
	var got page[SequenceAnnotation]
	err := c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodGet, Path: path, Query: url.Values{"sequence_id": {strconv.FormatInt(sequenceID, 10)}},
	}, &got)
	if err != nil {
		return nil, err
	}
	if got.Items == nil {
		return nil, withoutItems(path)
	}
	for i := range got.Items {
		if got.Items[i].SequenceID == sequenceID {
			return &got.Items[i], nil
		}
	}
	return nil, nil //nolint:nilnil // a sequence without annotation is the usual case, not an error
}

// NewAnnotation is an annotation to be created. Thresholds, where given, are those of the generation that the API itself
// does for a document without boxes at ready_to_annotate; they can be sent on creation only (contract B.4).
type NewAnnotation struct {
	SequenceID      int64
	Document        annotate.Document
	ProcessingStage string
	HasMissedSmoke  bool
	IsUnsure        bool
	Thresholds      *annotate.Thresholds
}

// CreateAnnotation creates a sequence's annotation; status 409 where it has one, or where there is no such sequence.
func (c *Client) CreateAnnotation(ctx context.Context, a NewAnnotation) (SequenceAnnotation, error) {
	body := map[string]any{
		"sequence_id":      a.SequenceID,
		"annotation":       a.Document,
		"processing_stage": a.ProcessingStage,
		"has_missed_smoke": a.HasMissedSmoke,
		"is_unsure":        a.IsUnsure,
	}
	if a.Thresholds != nil {
		body["confidence_threshold"] = a.Thresholds.Confidence
		body["iou_threshold"] = a.Thresholds.IoU
		body["min_cluster_size"] = a.Thresholds.MinClusterSize
	}
	request, err := jsonRequest(http.MethodPost, "/api/v1/annotations/sequences/", body)
	if err != nil {
		return SequenceAnnotation{}, err
	}
	var created SequenceAnnotation
	err = c.api.JSON(ctx, request, &created)
	return created, err
}

// Update replaces what an annotation says. It has no thresholds: the API answers 500 to them here (contract E22).
type Update struct {
	Document        annotate.Document
	ProcessingStage string
	HasMissedSmoke  bool
	IsUnsure        bool
}

// UpdateAnnotation replaces an annotation; status 404 where there is none. It is not repeated after an ambiguous failure:
// somebody may have worked on the annotation meanwhile.
func (c *Client) UpdateAnnotation(ctx context.Context, id int64, u Update) (SequenceAnnotation, error) {
	request, err := jsonRequest(http.MethodPatch, fmt.Sprintf("/api/v1/annotations/sequences/%d", id), map[string]any{
		"annotation":       u.Document,
		"processing_stage": u.ProcessingStage,
		"has_missed_smoke": u.HasMissedSmoke,
		"is_unsure":        u.IsUnsure,
	})
	if err != nil {
		return SequenceAnnotation{}, err
	}
	var updated SequenceAnnotation
	err = c.api.JSON(ctx, request, &updated)
	return updated, err
}

// DeleteAnnotation removes an annotation; status 404 where there is none.
func (c *Client) DeleteAnnotation(ctx context.Context, id int64) error {
	return c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodDelete, Path: fmt.Sprintf("/api/v1/annotations/sequences/%d", id), Idempotent: true,
	}, nil)
}
