package annotation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
)

// Detection is a detection as the API gives it (contract B.3).
type Detection struct {
	ID              int64                 `json:"id"`
	SequenceID      int64                 `json:"sequence_id"`
	RecordedAt      Time                  `json:"recorded_at"`
	AlertAPIID      int64                 `json:"alert_api_id"` // the platform's detection id
	BucketKey       string                `json:"bucket_key"`   // of the image in the API's own storage
	AlgoPredictions annotate.Predictions  `json:"algo_predictions"`
	OthersBBoxes    *annotate.Predictions `json:"others_bboxes"`
}

// UnmarshalJSON reads the fields.
func (d *Detection) UnmarshalJSON(data []byte) error {
	if err := hollow(data); err != nil {
		return err
	}
	type fields Detection // without this method
	return json.Unmarshal(data, (*fields)(d))
}

// Detections lists a sequence's detections, the oldest row first. It holds a page of them at a time.
func (c *Client) Detections(ctx context.Context, sequenceID int64) iter.Seq2[Detection, error] {
	query := url.Values{
		"sequence_id": {strconv.FormatInt(sequenceID, 10)},
		"order_by":    {"created_at"}, "order_direction": {"asc"},
	}
	// A hundred of these rows have some ten kilobytes: in what is larger by far, smaller pages would find nothing.
	return pages(ctx, c, "/api/v1/detections/", query, PageSize, func(d Detection) int64 { return d.ID })
}

// NewDetection is a detection to be created.
type NewDetection struct {
	SequenceID   int64 // of the annotation API
	AlertAPIID   int64
	RecordedAt   time.Time
	Predictions  annotate.Predictions
	OthersBBoxes *annotate.Predictions // nil: not sent
	Image        []byte                // sent as it is; it must not change while the call lasts
	FileName     string                // the API looks at the bytes only; the name's suffix tells people
	ContentType  string
}

// CreateDetection uploads a detection with its image. Status 409 means that the newer generation has it already, or that
// either has no such sequence (contract E34). The older makes a second row of the same detection (E14).
func (c *Client) CreateDetection(ctx context.Context, d NewDetection) (Detection, error) {
	head, tail, contentType, err := d.envelope()
	if err != nil {
		return Detection{}, fmt.Errorf("encode detection %d: %w", d.AlertAPIID, err)
	}
	length := int64(len(head) + len(d.Image) + len(tail))
	var created Detection
	err = c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/api/v1/detections/", ContentType: contentType,
		Body: func() (io.Reader, int64, error) {
			return io.MultiReader(bytes.NewReader(head), bytes.NewReader(d.Image), bytes.NewReader(tail)), length, nil
		},
	}, &created)
	return created, err
}

// envelope returns what comes before and after the image in the multipart body, so that the image is never copied.
func (d NewDetection) envelope() (head, tail []byte, contentType string, err error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	predictions, err := json.Marshal(d.Predictions)
	if err != nil {
		return nil, nil, "", err
	}
	fields := [][2]string{
		{"algo_predictions", string(predictions)},
		{"alert_api_id", strconv.FormatInt(d.AlertAPIID, 10)},
		{"sequence_id", strconv.FormatInt(d.SequenceID, 10)},
		{"recorded_at", FormatTime(d.RecordedAt)},
	}
	if d.OthersBBoxes != nil {
		others, err := json.Marshal(d.OthersBBoxes)
		if err != nil {
			return nil, nil, "", err
		}
		fields = append(fields, [2]string{"others_bboxes", string(others)})
	}
	for _, field := range fields {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return nil, nil, "", err
		}
	}
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", multipart.FileContentDisposition("file", d.FileName))
	header.Set("Content-Type", d.ContentType)
	if _, err := form.CreatePart(header); err != nil {
		return nil, nil, "", err
	}
	split := body.Len()
	if err := form.Close(); err != nil {
		return nil, nil, "", err
	}
	return body.Bytes()[:split], body.Bytes()[split:], form.FormDataContentType(), nil
}

// DeleteDetection removes a detection and its image; status 404 where there is none.
func (c *Client) DeleteDetection(ctx context.Context, id int64) error {
	return c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodDelete, Path: fmt.Sprintf("/api/v1/detections/%d", id), Idempotent: true,
	}, nil)
}
