package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Hash is the SHA-256 of an image's bytes, or of a bundle's content.
type Hash [32]byte

// String returns the hash as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h stands for "no image".
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(h) {
		return Hash{}, fmt.Errorf("parse hash %.80q: want 64 hexadecimal digits", s)
	}
	copy(h[:], raw)
	return h, nil
}

// Format is the encoding of an image's bytes; it is the suffix of its tar member.
type Format string

// The image formats that a bundle holds.
const (
	JPEG Format = "jpg"
	PNG  Format = "png"
)

// Order is the direction in which a sequence's detections were listed by created_at.
type Order string

// The two directions, under the names of --detections-order-by.
const (
	Ascending  Order = "asc"
	Descending Order = "desc"
)

// Day is a UTC calendar day, formatted YYYY-MM-DD. The platform lists sequences by the UTC day they started on (contract A.3).
type Day string

// DayOf returns the UTC day of t.
func DayOf(t time.Time) Day { return Day(t.UTC().Format(time.DateOnly)) }

// ParseDay reads YYYY-MM-DD.
func ParseDay(s string) (Day, error) {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", fmt.Errorf("parse day %.40q: want YYYY-MM-DD", s)
	}
	return Day(s), nil
}

// Start returns midnight UTC at the beginning of the day; the zero time for the empty Day.
func (d Day) Start() time.Time {
	t, _ := time.Parse(time.DateOnly, string(d)) // a Day is made by DayOf or ParseDay
	return t
}

// End returns midnight UTC at the end of the day: of 9999-12-31, the last that can be written, a time that no Day begins with.
func (d Day) End() time.Time { return d.Start().AddDate(0, 0, 1) }

// Days are the days from one to another, both included; none where one is empty.
func Days(from, to Day) iter.Seq[Day] {
	return func(yield func(Day) bool) {
		if from == "" {
			return
		}
		for t := from.Start(); !t.After(to.Start()) && yield(DayOf(t)); t = t.AddDate(0, 0, 1) {
		}
	}
}

// Time is a platform timestamp: naive ISO-8601 in UTC (contract A.0); a zone, where one is given, is honoured.
type Time struct{ time.Time }

// ParseTime reads a timestamp with or without fraction and zone; without a zone it is UTC. Its error does not repeat s.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{
		"2006-01-02T15:04:05.999999999", time.RFC3339Nano,
		"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("parse time: %d bytes that are not ISO-8601", len(s))
}

// UnmarshalJSON reads a JSON string by ParseTime.
func (t *Time) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	parsed, err := ParseTime(s)
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}

// Organization is the typed view of a platform organization; Document is the platform's object verbatim.
type Organization struct {
	ID       int64           `json:"id"`
	Name     string          `json:"name"`
	Document json.RawMessage `json:"-"`
}

// Camera is the typed view of a platform camera (contract A.6). Coordinates are degrees, the angle of view is in (0, 360];
// nil where the platform gave none.
type Camera struct {
	ID             int64           `json:"id"`
	OrganizationID int64           `json:"organization_id"`
	Name           string          `json:"name"`
	Lat            *float64        `json:"lat"`
	Lon            *float64        `json:"lon"`
	AngleOfView    *float64        `json:"angle_of_view"`
	IsTrustable    *bool           `json:"is_trustable"`
	Document       json.RawMessage `json:"-"`
}

// Sequence is the typed view of a platform sequence (contract A.3). Azimuths are degrees, scores are 0..1; nil where the
// platform gave null or, on older servers, no such field.
type Sequence struct {
	ID                   int64           `json:"id"`
	CameraID             int64           `json:"camera_id"`
	PoseID               *int64          `json:"pose_id"`
	CameraAzimuth        *float64        `json:"camera_azimuth"`
	IsWildfire           *string         `json:"is_wildfire"`
	StartedAt            Time            `json:"started_at"`
	LastSeenAt           Time            `json:"last_seen_at"`
	MaxConf              *float64        `json:"max_conf"`
	TemporalModelScore   *float64        `json:"temporal_model_score"`
	TemporalModelVersion *string         `json:"temporal_model_version"`
	TemporalAPIVersion   *string         `json:"temporal_api_version"`
	DetectionsCount      *int            `json:"detections_count"`
	Document             json.RawMessage `json:"-"`
}

// GrewSince reports whether detections may have been added since an older document of the sequence, by what the platform says
// of their number and of the last one.
func (s Sequence) GrewSince(older Sequence) bool {
	a, b := s.DetectionsCount, older.DetectionsCount
	sameCount := a == b || a != nil && b != nil && *a == *b
	return !sameCount || !s.LastSeenAt.Equal(older.LastSeenAt.Time)
}

// SameAs reports whether a bundle that holds s would hold nothing else of a newly listed document of the sequence: what
// changed is at most the order of its fields, white space, and what is never stored.
func (s Sequence) SameAs(listed Sequence) bool {
	return sameStored(sequenceKind(), s.Document, listed.Document)
}

// Detection is the typed view of a platform detection (contract A.4). BBox and OthersBBoxes are box strings in the grammar
// of contract A.5, uninterpreted here.
type Detection struct {
	ID           int64           `json:"id"`
	CameraID     int64           `json:"camera_id"`
	SequenceID   *int64          `json:"sequence_id"`
	BucketKey    string          `json:"bucket_key"`
	BBox         *string         `json:"bbox"`
	OthersBBoxes *string         `json:"others_bboxes"`
	CreatedAt    Time            `json:"created_at"`
	RecordedAt   *Time           `json:"recorded_at"`
	Document     json.RawMessage `json:"-"`
}

// SameAs is that of Sequence for a detection.
func (d Detection) SameAs(listed Detection) bool {
	return sameStored(detectionKind(), d.Document, listed.Document)
}

func sameStored(k kind, held, listed json.RawMessage) bool {
	if bytes.Equal(held, listed) {
		return true
	}
	stripped, err := strip(k, listed, nil)
	if err != nil || checkDocument(k, held) != nil {
		return false
	}
	return bytes.Equal(held, stripped) || bytes.Equal(canonical(nil, held), canonical(nil, stripped))
}

// ParseOrganization reads a platform document.
func ParseOrganization(doc json.RawMessage) (Organization, error) {
	return parse(doc, "organization", func(o *Organization) (int64, *json.RawMessage) { return o.ID, &o.Document })
}

// ParseCamera reads a platform document.
func ParseCamera(doc json.RawMessage) (Camera, error) {
	return parse(doc, "camera", func(c *Camera) (int64, *json.RawMessage) { return c.ID, &c.Document })
}

// ParseSequence reads a platform document.
func ParseSequence(doc json.RawMessage) (Sequence, error) {
	s, err := parse(doc, "sequence", func(s *Sequence) (int64, *json.RawMessage) { return s.ID, &s.Document })
	if err == nil && s.StartedAt.IsZero() {
		return Sequence{}, fmt.Errorf("parse sequence %d: no started_at", s.ID)
	}
	return s, err
}

// ParseDetection reads a platform document.
func ParseDetection(doc json.RawMessage) (Detection, error) {
	return parse(doc, "detection", func(d *Detection) (int64, *json.RawMessage) { return d.ID, &d.Document })
}

// parse decodes doc into a T and keeps the document with it. An id below 1 is no platform object (contract A.1).
//
// Its errors do not repeat what the document says: they get to the terminal, to reports and into the bundle, and a platform
// that is asked with a password may say that in any field. Here nobody knows it, and cut in two nobody would.
func parse[T any](doc json.RawMessage, kind string, fields func(*T) (int64, *json.RawMessage)) (T, error) {
	var value, none T
	if err := json.Unmarshal(doc, &value); err != nil {
		return none, fmt.Errorf("parse %s: %w", kind, withoutLiteral(err))
	}
	id, document := fields(&value)
	if id < 1 {
		return none, fmt.Errorf("parse %s: id %d is not positive", kind, id)
	}
	*document = doc
	return value, nil
}

// withoutLiteral takes the number out of an error of encoding/json, which repeats one that does not fit.
func withoutLiteral(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	plain := *wrong
	plain.Value, _, _ = strings.Cut(wrong.Value, " ") // "number 1e999"
	return &plain
}

// SequenceRecord is a sequence as a bundle holds it: self-contained, and there whole or not at all.
type SequenceRecord struct {
	Sequence     Sequence
	Camera       *Camera       // as of the fetch; nil where the platform did not show it
	Organization *Organization // as of the fetch; nil where it could not be read
	Detections   []Detection   // by created_at, then id
	Frames       []Frame       // one for each distinct bucket key, in the order of Detections
	Coverage     Coverage
}

// OrganizationID returns the organization that the camera belongs to, 0 where the camera is unknown. Bucket keys are
// unique within it (contract A.4).
func (r *SequenceRecord) OrganizationID() int64 {
	if r.Camera == nil {
		return 0
	}
	return r.Camera.OrganizationID
}

// Lost reports whether the image that one of the frames lacks is gone for good: proven so, or with its sequence, of which no fetch
// tries anything again once that is gone from the platform.
func (r *SequenceRecord) Lost(f Frame) bool { return f.Permanent || r.Coverage.Gone }

// Frame is one uploaded image of a sequence: several detections may share it.
type Frame struct {
	Key       string `json:"key"`                 // the platform's bucket key
	Image     Hash   `json:"image,omitzero"`      // zero where the bundle has no image for it
	Problem   string `json:"problem,omitempty"`   // why there is no image; empty where there is one
	Permanent bool   `json:"permanent,omitempty"` // the image is proven gone: trying again is not worth it
}

// Coverage says how much of a sequence was fetched, and when.
type Coverage struct {
	FetchedAt time.Time `json:"fetched_at"` // UTC
	Limit     int       `json:"limit"`      // frames with boxes asked for; 0: all
	Order     Order     `json:"order"`
	// Complete: every row within Limit was listed and every frame has its image or is proven to have none.
	Complete bool `json:"complete"`
	// Exhausted: the listing was read to its end, so a wider Limit would bring nothing.
	Exhausted bool `json:"exhausted,omitempty"`
	// Live: the sequence was still growing when fetched (last_seen_at within two hours).
	Live bool `json:"live,omitempty"`
	// Gone: a later listing of its day did not show the sequence any more.
	Gone bool `json:"gone,omitempty"`
}

// Class separates problems worth another try from proven permanent ones (DESIGN, promise 1).
type Class string

// The two classes of problems.
const (
	Failed     Class = "failed"
	Incomplete Class = "incomplete"
)

// Problem is something that could not be fetched or loaded. Kind and ID identify it; recording it again replaces it.
type Problem struct {
	Class      Class     `json:"class"`
	Kind       string    `json:"kind"` // "day", "sequence", "image", "camera", "organization", "detection", "annotation"
	ID         string    `json:"id"`
	SequenceID int64     `json:"sequence_id,omitempty"` // the sequence it concerns; 0: none
	Reason     string    `json:"reason"`
	At         time.Time `json:"at,omitzero"` // UTC
}

// String is the one line of a report.
func (p Problem) String() string {
	subject := p.Kind + " " + p.ID
	if p.SequenceID != 0 && p.Kind != "sequence" {
		subject += fmt.Sprintf(" of sequence %d", p.SequenceID)
	}
	return subject + ": " + p.Reason
}

// DayRecord says that a UTC day's listing was read, by which account's organization, and what it held. A run that left some
// of its sequences out writes none.
type DayRecord struct {
	Day            Day       `json:"day"`
	OrganizationID int64     `json:"organization_id"` // whose listing; 0: an administrator's listing of everything
	ListedAt       time.Time `json:"listed_at"`       // UTC
	Sequences      int       `json:"sequences"`
	Complete       bool      `json:"complete"` // every page was read, and the day had ended
}

// Source is the platform that a bundle mirrors; a bundle has one.
type Source struct {
	URL string `json:"url"`        // the platform's base URL, without credentials, query or trailing slash
	API string `json:"source_api"` // pyronear_french, alert_wildfire or api_cenia (contract B.1); empty: not known
}

// Image says where a frame's bytes are and what they are.
type Image struct {
	Hash   Hash
	Size   int64 // bytes
	Format Format
}

// Errors that callers may match with errors.Is. The error's text says what and which.
var (
	ErrNotBundle = errors.New("not a pyrobundle bundle")
	ErrVersion   = errors.New("bundle format not supported by this version")
	ErrLocked    = errors.New("another process is using the bundle")
	ErrCorrupt   = errors.New("bundle is damaged")
	ErrNotFound  = errors.New("not in the bundle")
	ErrSource    = errors.New("bundle mirrors another platform")
	ErrSpace     = errors.New("too little room on the disk") // what was put before is kept
	ErrRefused   = errors.New("a bundle does not take it")   // what was to be put, for what it is; nothing was written
)

// memberName is the name of an image inside its shard.
func memberName(h Hash, f Format) string { return strings.Join([]string{h.String(), string(f)}, ".") }
