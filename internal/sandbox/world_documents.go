package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"pyrobundle/store"
)

// The documents below have the fields of the platform's answers (contract A.3 to A.6) in its order, without what never
// enters a bundle: presigned URLs, hooks, and what changes by itself.

type organizationDocument struct {
	Name string `json:"name"`
	ID   int64  `json:"id"`
}

type cameraDocument struct {
	Elevation      json.Number    `json:"elevation"`
	Lat            json.Number    `json:"lat"`
	Lon            json.Number    `json:"lon"`
	OrganizationID int64          `json:"organization_id"`
	Name           string         `json:"name"`
	AngleOfView    json.Number    `json:"angle_of_view"`
	IsTrustable    bool           `json:"is_trustable"`
	ID             int64          `json:"id"`
	CreatedAt      platformTime   `json:"created_at"`
	Poses          []poseDocument `json:"poses"`
}

type poseDocument struct {
	Azimuth  json.Number `json:"azimuth"`
	PatrolID int         `json:"patrol_id"`
	Active   bool        `json:"active"`
	ID       int64       `json:"id"`
	CameraID int64       `json:"camera_id"`
}

type sequenceDocument struct {
	ID                   int64        `json:"id"`
	CameraID             int64        `json:"camera_id"`
	PoseID               int64        `json:"pose_id"`
	CameraAzimuth        json.Number  `json:"camera_azimuth"`
	IsWildfire           *string      `json:"is_wildfire"`
	SequenceAzimuth      *json.Number `json:"sequence_azimuth"`
	ConeAngle            *json.Number `json:"cone_angle"`
	StartedAt            platformTime `json:"started_at"`
	LastSeenAt           platformTime `json:"last_seen_at"`
	MaxConf              *json.Number `json:"max_conf"`
	TemporalModelScore   *json.Number `json:"temporal_model_score"`
	TemporalModelVersion *string      `json:"temporal_model_version"`
	TemporalAPIVersion   *string      `json:"temporal_api_version"`
	IsValidated          bool         `json:"is_validated"`
	DetectionsCount      int          `json:"detections_count"`
}

type detectionDocument struct {
	ID            int64        `json:"id"`
	CameraID      int64        `json:"camera_id"`
	PoseID        int64        `json:"pose_id"`
	SequenceID    int64        `json:"sequence_id"`
	BucketKey     string       `json:"bucket_key"`
	CropBucketKey *string      `json:"crop_bucket_key"`
	BBox          string       `json:"bbox"`
	OthersBBoxes  *string      `json:"others_bboxes"`
	CreatedAt     platformTime `json:"created_at"`
	RecordedAt    platformTime `json:"recorded_at"`
}

// document writes v as the platform would send it, with every letter of a name as it is.
func document(v any) json.RawMessage {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // the types above always encode
	}
	return json.RawMessage(strings.TrimSuffix(text.String(), "\n"))
}

// platformTime is written as the platform writes times: naive, in UTC, microseconds unless there are none (contract A.0).
type platformTime time.Time

func (t platformTime) MarshalJSON() ([]byte, error) {
	layout := "2006-01-02T15:04:05.000000"
	if time.Time(t).Nanosecond()/1000 == 0 {
		layout = "2006-01-02T15:04:05"
	}
	return json.Marshal(time.Time(t).UTC().Format(layout))
}

// jsonFloat writes v/10^digits as Python prints a float: the shortest form, with at least one digit behind the point.
func jsonFloat(v, digits int) json.Number {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	text := fmt.Sprintf("%0*d", digits+1, v)
	whole, fraction := text[:len(text)-digits], strings.TrimRight(text[len(text)-digits:], "0")
	if fraction == "" {
		fraction = "0"
	}
	return json.Number(sign + whole + "." + fraction)
}

// sighting is a box of the model in thousandths: left, top, right, bottom, confidence.
type sighting [5]int

// boxString writes boxes in the grammar that the platform holds uploads to (contract A.5). Engines differ in how they
// write a fraction: terse drops the zeros that can go.
func boxString(boxes []sighting, terse bool) string {
	var s strings.Builder
	s.WriteByte('[')
	for i, b := range boxes {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteByte('(')
		for j, v := range b {
			if j > 0 {
				s.WriteByte(',')
			}
			s.WriteString(fraction(v, terse))
		}
		s.WriteByte(')')
	}
	s.WriteByte(']')
	return s.String()
}

func fraction(v int, terse bool) string {
	switch {
	case v == 0:
		return "0"
	case v == 1000:
		return "1"
	case terse:
		return strings.TrimRight(fmt.Sprintf(".%03d", v), "0")
	}
	return fmt.Sprintf("0.%03d", v)
}

// bucketKey names an uploaded frame as the platform does (contract A.4).
func bucketKey(camera int64, uploaded time.Time, image store.Hash, format store.Format) string {
	return fmt.Sprintf("%d-%s-%s.%s", camera, uploaded.UTC().Format("20060102150405"), image.String()[:8], format)
}

func pointer[T any](v T) *T { return &v }
