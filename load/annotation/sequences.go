package annotation

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pyrobundle/internal/httpapi"
)

// Sequence is a sequence as the API gives it (contract B.2). The fields of the newer generation are nil in the older.
type Sequence struct {
	ID               int64   `json:"id"`
	SourceAPI        string  `json:"source_api"`
	AlertAPIID       int64   `json:"alert_api_id"` // the platform's sequence id, or a synthetic one of a split lane
	CreatedAt        Time    `json:"created_at"`
	RecordedAt       Time    `json:"recorded_at"`
	LastSeenAt       Time    `json:"last_seen_at"`
	CameraName       string  `json:"camera_name"`
	CameraID         int64   `json:"camera_id"`
	Lat              float64 `json:"lat"` // degrees
	Lon              float64 `json:"lon"`
	Azimuth          *int    `json:"azimuth"` // whole degrees
	IsWildfire       *string `json:"is_wildfire_alertapi"`
	OrganisationName string  `json:"organisation_name"`
	OrganisationID   int64   `json:"organisation_id"`
	PlatformAlertID  *int64  `json:"platform_alert_id"`
	IsManual         bool    `json:"is_manual"` // added by hand in the annotation tool
	Temporal

	// Annotation is there only in lists that were asked for it, and where the sequence has one.
	Annotation *SequenceAnnotation `json:"annotation"`
}

// Temporal is the verdict of the platform's temporal model; nil is unknown. The score is 0..1.
type Temporal struct {
	Score        *float64 `json:"temporal_model_score"`
	ModelVersion *string  `json:"temporal_model_version"`
	APIVersion   *string  `json:"temporal_api_version"`
}

// SequenceFilter restricts a list of sequences. Zero fields do not.
type SequenceFilter struct {
	SourceAPI       string // one of contract B.1: any other makes the API answer 500
	From, To        time.Time
	CameraID        int64
	PlatformAlertID int64 // newer generation only; the older ignores it
	Annotations     bool  // with each sequence's annotation
}

// Sequences lists sequences with recorded_at in From..To, both inclusive, the oldest row first, so that rows added
// meanwhile come last.
func (c *Client) Sequences(ctx context.Context, f SequenceFilter) iter.Seq2[Sequence, error] {
	query := url.Values{"order_by": {"created_at"}, "order_direction": {"asc"}}
	if f.SourceAPI != "" {
		query.Set("source_api", f.SourceAPI)
	}
	if !f.From.IsZero() {
		query.Set("recorded_at_gte", FormatTime(f.From))
	}
	if !f.To.IsZero() {
		query.Set("recorded_at_lte", FormatTime(f.To))
	}
	if f.CameraID != 0 {
		query.Set("camera_id", strconv.FormatInt(f.CameraID, 10))
	}
	if f.PlatformAlertID != 0 && c.generation == Newest {
		query.Set("platform_alert_id", strconv.FormatInt(f.PlatformAlertID, 10))
	}
	if f.Annotations {
		query.Set("include_annotation", "true")
	}
	return pages(ctx, c, "/api/v1/sequences/", query, 1, func(s Sequence) int64 { return s.ID })
}

// Sequence reads one sequence, without its annotation; status 404 where there is none.
func (c *Client) Sequence(ctx context.Context, id int64) (Sequence, error) {
	var got Sequence
	err := c.api.JSON(ctx, httpapi.Request{Method: http.MethodGet, Path: fmt.Sprintf("/api/v1/sequences/%d", id)}, &got)
	return got, err
}

// NewSequence is a sequence to be created. Nil fields are not sent; those of the newer generation must be nil for the older.
type NewSequence struct {
	SourceAPI        string
	AlertAPIID       int64
	CameraName       string
	CameraID         int64
	OrganisationName string
	OrganisationID   int64
	IsWildfire       *string
	Lat, Lon         float64
	Azimuth          *int
	RecordedAt       time.Time
	LastSeenAt       time.Time
	PlatformAlertID  *int64
	Temporal         Temporal
}

// Form returns the fields of POST /sequences/, which takes a form, not JSON (contract B.2).
func (s NewSequence) Form() url.Values {
	form := url.Values{
		"source_api":        {s.SourceAPI},
		"alert_api_id":      {strconv.FormatInt(s.AlertAPIID, 10)},
		"camera_name":       {s.CameraName},
		"camera_id":         {strconv.FormatInt(s.CameraID, 10)},
		"organisation_name": {s.OrganisationName},
		"organisation_id":   {strconv.FormatInt(s.OrganisationID, 10)},
		"lat":               {formatFloat(s.Lat)},
		"lon":               {formatFloat(s.Lon)},
		"recorded_at":       {FormatTime(s.RecordedAt)},
		"last_seen_at":      {FormatTime(s.LastSeenAt)},
	}
	if s.IsWildfire != nil {
		form.Set("is_wildfire_alertapi", *s.IsWildfire)
	}
	if s.Azimuth != nil {
		form.Set("azimuth", strconv.Itoa(*s.Azimuth))
	}
	if s.PlatformAlertID != nil {
		form.Set("platform_alert_id", strconv.FormatInt(*s.PlatformAlertID, 10))
	}
	if s.Temporal.Score != nil {
		form.Set("temporal_model_score", formatFloat(*s.Temporal.Score))
	}
	if s.Temporal.ModelVersion != nil {
		form.Set("temporal_model_version", *s.Temporal.ModelVersion)
	}
	if s.Temporal.APIVersion != nil {
		form.Set("temporal_api_version", *s.Temporal.APIVersion)
	}
	return form
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// CreateSequence creates a sequence; status 409 where its source already has one of this id.
func (c *Client) CreateSequence(ctx context.Context, s NewSequence) (Sequence, error) {
	form := s.Form().Encode()
	var created Sequence
	err := c.api.JSON(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/api/v1/sequences/", ContentType: "application/x-www-form-urlencoded",
		Body: func() (io.Reader, int64, error) { return strings.NewReader(form), int64(len(form)), nil },
	}, &created)
	return created, err
}

// RefreshTemporalScore replaces all three values of a sequence, nil included; newer generation only.
func (c *Client) RefreshTemporalScore(ctx context.Context, sourceAPI string, alertAPIID int64, t Temporal) error {
	request, err := jsonRequest(http.MethodPatch, "/api/v1/sequences/temporal-score", struct {
		SourceAPI  string `json:"source_api"`
		AlertAPIID int64  `json:"alert_api_id"`
		Temporal
	}{sourceAPI, alertAPIID, t})
	if err != nil {
		return err
	}
	request.Idempotent = true
	return c.api.JSON(ctx, request, nil)
}
