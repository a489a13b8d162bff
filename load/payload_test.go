package load

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// readVectors decodes a file of testdata/vectors, or of the folder that PYROBUNDLE_VECTORS names. A missing folder or
// file fails the test.
func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	folder := filepath.Join("..", "testdata", "vectors")
	if set := os.Getenv("PYROBUNDLE_VECTORS"); set != "" {
		folder = set
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
}

// flatRecord is the importers' flattened record (contract C.5).
type flatRecord struct {
	SequenceID       int64      `json:"sequence_id"`
	CameraName       string     `json:"camera_name"`
	CameraID         int64      `json:"camera_id"`
	CameraLat        *float64   `json:"camera_lat"`
	CameraLon        *float64   `json:"camera_lon"`
	CameraAzimuth    *float64   `json:"camera_azimuth"`
	OrganizationName string     `json:"organization_name"`
	OrganizationID   int64      `json:"organization_id"`
	IsWildfire       *string    `json:"sequence_is_wildfire"`
	StartedAt        store.Time `json:"sequence_started_at"`
	LastSeenAt       store.Time `json:"sequence_last_seen_at"`
	Score            *float64   `json:"sequence_temporal_model_score"`
	ModelVersion     *string    `json:"sequence_temporal_model_version"`
	APIVersion       *string    `json:"sequence_temporal_api_version"`

	DetectionID int64           `json:"detection_id"`
	CreatedAt   store.Time      `json:"detection_created_at"`
	BBoxes      json.RawMessage `json:"detection_bboxes"`
	Others      json.RawMessage `json:"detection_others_bboxes"`
}

// stored is the bundle's record of the same sequence.
func (f flatRecord) stored() store.SequenceRecord {
	return store.SequenceRecord{
		Sequence: store.Sequence{
			ID: f.SequenceID, CameraID: f.CameraID, CameraAzimuth: f.CameraAzimuth, IsWildfire: f.IsWildfire,
			StartedAt: f.StartedAt, LastSeenAt: f.LastSeenAt,
			TemporalModelScore: f.Score, TemporalModelVersion: f.ModelVersion, TemporalAPIVersion: f.APIVersion,
		},
		Camera:       &store.Camera{ID: f.CameraID, OrganizationID: f.OrganizationID, Name: f.CameraName, Lat: f.CameraLat, Lon: f.CameraLon},
		Organization: &store.Organization{ID: f.OrganizationID, Name: f.OrganizationName},
	}
}

func TestAzimuthAgreesWithTheImporters(t *testing.T) {
	var vectors struct {
		Azimuth []struct {
			Camera   json.RawMessage `json:"camera_azimuth"`
			Expected *int            `json:"expected"`
		} `json:"azimuth"`
	}
	readVectors(t, "transform_sequence.json", &vectors)
	if len(vectors.Azimuth) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range vectors.Azimuth {
		var degrees *float64
		if err := json.Unmarshal(c.Camera, &degrees); err != nil {
			var text string // the importers take numbers in strings; the platform sends none (contract A.3)
			if json.Unmarshal(c.Camera, &text) != nil {
				continue
			}
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
			degrees = &value
		}
		if diff := cmp.Diff(c.Expected, azimuth(degrees)); diff != "" {
			t.Errorf("azimuth(%s): -want +got\n%s", c.Camera, diff)
		}
	}
}

func TestSequencePayloadAgreesWithTheImporters(t *testing.T) {
	var vectors struct {
		Cases []struct {
			Record    flatRecord     `json:"record"`
			SourceAPI string         `json:"source_api"`
			Seed      map[string]any `json:"expected_seed"`
			Newest    map[string]any `json:"expected_newest"`
		} `json:"sequence_payload"`
	}
	readVectors(t, "transform_sequence.json", &vectors)
	if len(vectors.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range vectors.Cases {
		for generation, expected := range map[annotation.Generation]map[string]any{
			annotation.SeedEra: c.Seed, annotation.Newest: c.Newest,
		} {
			sequence, err := newSequence(c.Record.stored(), c.SourceAPI, generation)
			if err != nil {
				t.Errorf("sequence %d: %v", c.Record.SequenceID, err)
				continue
			}
			form := sequence.Form()
			if generation == annotation.Newest {
				// A bundle's sequence always stands for itself; in the vectors it may be a split-off lane.
				if got, want := form.Get("platform_alert_id"), strconv.FormatInt(c.Record.SequenceID, 10); got != want {
					t.Errorf("platform_alert_id = %q, want %q", got, want)
				}
				form.Del("platform_alert_id")
				delete(expected, "platform_alert_id")
			}
			if diff := cmp.Diff(formOf(t, expected), form); diff != "" {
				t.Errorf("sequence %d of %s, %s: -want +got\n%s", c.Record.SequenceID, c.SourceAPI, generation, diff)
			}
		}
	}
}

// formOf is a vector's payload on the wire: null is not sent, times have their zone.
func formOf(t *testing.T, payload map[string]any) url.Values {
	t.Helper()
	form := url.Values{}
	for name, value := range payload {
		switch value := value.(type) {
		case nil:
		case float64:
			form.Set(name, strconv.FormatFloat(value, 'f', -1, 64))
		case string:
			if name == "recorded_at" || name == "last_seen_at" {
				at, err := store.ParseTime(value)
				if err != nil {
					t.Fatal(err)
				}
				value = annotation.FormatTime(at)
			}
			form.Set(name, value)
		default:
			t.Fatalf("%s is a %T", name, value)
		}
	}
	return form
}

// TestDetectionPayloadAgreesWithTheImporters: but for boxes that the server refuses, which we leave out (E21).
func TestDetectionPayloadAgreesWithTheImporters(t *testing.T) {
	var vectors struct {
		Cases []struct {
			Record     flatRecord `json:"record"`
			SequenceID int64      `json:"annotation_sequence_id"`
			Expected   struct {
				SequenceID      int64                 `json:"sequence_id"`
				AlertAPIID      int64                 `json:"alert_api_id"`
				RecordedAt      store.Time            `json:"recorded_at"`
				AlgoPredictions annotate.Predictions  `json:"algo_predictions"`
				OthersBBoxes    *annotate.Predictions `json:"others_bboxes"`
			} `json:"expected"`
		} `json:"detection_payload"`
	}
	readVectors(t, "transform_sequence.json", &vectors)
	if len(vectors.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range vectors.Cases {
		record := c.Record.stored()
		own, others := string(c.Record.BBoxes), string(c.Record.Others)
		record.Detections = []store.Detection{{
			ID: c.Record.DetectionID, BucketKey: "k", CreatedAt: c.Record.CreatedAt, BBox: &own, OthersBBoxes: &others,
		}}
		frames := framesOf(record, 0, store.Ascending)
		if len(frames) != 1 {
			t.Fatalf("%d frames of one row", len(frames))
		}
		d, _ := frames[0].detection(DetectionTimeCreated)
		got, err := newDetection(d, c.SequenceID, []byte(jpeg))
		if err != nil {
			t.Fatal(err)
		}
		want := annotation.NewDetection{
			SequenceID: c.Expected.SequenceID, AlertAPIID: c.Expected.AlertAPIID, RecordedAt: c.Expected.RecordedAt.Time,
			Predictions: annotate.Predict(acceptable(c.Expected.AlgoPredictions.Boxes())),
			Image:       got.Image, FileName: got.FileName, ContentType: got.ContentType,
		}
		if c.Expected.OthersBBoxes != nil {
			others := annotate.Predict(acceptable(c.Expected.OthersBBoxes.Boxes()))
			want.OthersBBoxes = &others
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("detection %d: -want +got\n%s", c.Record.DetectionID, diff)
		}
	}
}

func acceptable(boxes []annotate.Box) []annotate.Box {
	var kept []annotate.Box
	for _, box := range boxes {
		if box.Acceptable() == nil {
			kept = append(kept, box)
		}
	}
	return kept
}

const (
	jpeg = "\xff\xd8\xff\xe0 a picture \xff\xd9"
	png  = "\x89PNG\r\n\x1a\n a picture"
)

// TestE32_OnlyImagesAreUploaded: the API would store any bytes.
func TestE32_OnlyImagesAreUploaded(t *testing.T) {
	for name, c := range map[string]struct {
		image, contentType string
		refused            bool
	}{
		"JPEG":        {image: jpeg, contentType: "image/jpeg"},
		"PNG":         {image: png, contentType: "image/png"},
		"empty":       {image: "", refused: true},
		"text":        {image: "<html>not found</html>", refused: true},
		"cut JPEG":    {image: "\xff\xd8", refused: true},
		"GIF":         {image: "GIF89a", refused: true},
		"cut PNG":     {image: "\x89PNG", refused: true},
		"JPEG in XML": {image: " \xff\xd8\xff", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newDetection(wantedDetection{id: 1}, 2, []byte(c.image))
			if (err != nil) != c.refused {
				t.Fatalf("error = %v, refused = %v", err, c.refused)
			}
			if err == nil && got.ContentType != c.contentType {
				t.Errorf("content type = %q, want %q", got.ContentType, c.contentType)
			}
		})
	}
}

// TestE9_UnknownMetadataIsNamed: a field left out would be refused with a 422 that says nothing to the user.
func TestE9_UnknownMetadataIsNamed(t *testing.T) {
	complete := func() store.SequenceRecord { return record(4242) }
	for name, c := range map[string]struct {
		change func(*store.SequenceRecord)
		reason string
	}{
		"no camera":       {func(r *store.SequenceRecord) { r.Camera = nil }, "camera 7 is not in the bundle; fetch with an account that sees it"},
		"no coordinates":  {func(r *store.SequenceRecord) { r.Camera.Lat = nil }, "camera 7 has no coordinates in the bundle"},
		"no camera name":  {func(r *store.SequenceRecord) { r.Camera.Name = "" }, "camera 7 has no name in the bundle"},
		"no organization": {func(r *store.SequenceRecord) { r.Organization = nil }, "the name of organization 2 is not in the bundle; fetch with an administrator's login"},
	} {
		t.Run(name, func(t *testing.T) {
			r := complete()
			c.change(&r)
			_, err := newSequence(r, "pyronear_french", annotation.Newest)
			if err == nil || err.Error() != c.reason {
				t.Errorf("error = %v, want %q", err, c.reason)
			}
		})
	}
	if _, err := newSequence(complete(), "pyronear_french", annotation.Newest); err != nil {
		t.Errorf("complete record: %v", err)
	}
}

// TestE28_IdsBeyondTheOlderColumnAreRefusedHere: its database has 32 bits for them.
func TestE28_IdsBeyondTheOlderColumnAreRefusedHere(t *testing.T) {
	big := record(1 << 31)
	if _, err := newSequence(big, "pyronear_french", annotation.SeedEra); classOf(err) != store.Incomplete {
		t.Errorf("older generation: error = %v, want an incomplete one", err)
	}
	if _, err := newSequence(big, "pyronear_french", annotation.Newest); err != nil {
		t.Errorf("newer generation: %v", err)
	}
}

// record is a sequence of camera 7 that lacks nothing, with one row for each of boxes, 30 s apart, on its own frame.
func record(id int64, boxes ...string) store.SequenceRecord {
	lat, lon, azimuth := 44.67, 4.35, 120.4
	started := time.Date(2026, 8, 1, 10, 0, 0, 123456000, time.UTC)
	r := store.SequenceRecord{
		Sequence: store.Sequence{
			ID: id, CameraID: 7, CameraAzimuth: &azimuth,
			StartedAt: store.Time{Time: started}, LastSeenAt: store.Time{Time: started.Add(5 * time.Minute)},
		},
		Camera:       &store.Camera{ID: 7, OrganizationID: 2, Name: "brison-01", Lat: &lat, Lon: &lon},
		Organization: &store.Organization{ID: 2, Name: "sdis-07"},
	}
	for i, text := range boxes {
		row := store.Detection{
			ID: id*1000 + int64(i), CameraID: 7, SequenceID: &r.Sequence.ID, BBox: &text,
			BucketKey: "frame-" + strconv.FormatInt(id, 10) + "-" + strconv.Itoa(i),
			CreatedAt: store.Time{Time: started.Add(time.Duration(i) * 30 * time.Second)},
		}
		captured := store.Time{Time: row.CreatedAt.Add(-2 * time.Second)}
		row.RecordedAt = &captured
		r.Detections = append(r.Detections, row)
		r.Frames = append(r.Frames, store.Frame{Key: row.BucketKey, Image: hashOf(jpegOf(row.BucketKey))})
	}
	return r
}
