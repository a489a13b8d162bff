package annotate

import "encoding/json"

// Document is the annotation field of a sequence annotation (contract B.4). No tracks: no usable boxes.
type Document struct {
	Tracks []Track `json:"sequences_bbox"`
}

// Track is one object seen over frames. Generated ones are smoke of unknown type; false-positive types and another
// verdict are a person's.
type Track struct {
	IsSmoke            bool       `json:"is_smoke"`
	SmokeType          *string    `json:"smoke_type"` // wildfire, industrial or other; nil: nobody has said
	FalsePositiveTypes []string   `json:"false_positive_types"`
	Boxes              []TrackBox `json:"bboxes"`
}

// TrackBox is a track's box on one detection: left, top, right, bottom as fractions of the image.
type TrackBox struct {
	DetectionID int64      `json:"detection_id"`
	XYXYN       [4]float64 `json:"xyxyn"`
}

// MarshalJSON writes empty lists as [], because the annotation API refuses null in their place.
func (d Document) MarshalJSON() ([]byte, error) {
	type plain Document
	d.Tracks = notNil(d.Tracks)
	return json.Marshal(plain(d))
}

// MarshalJSON writes empty lists as [], because the annotation API refuses null in their place.
func (t Track) MarshalJSON() ([]byte, error) {
	type plain Track
	t.FalsePositiveTypes = notNil(t.FalsePositiveTypes)
	t.Boxes = notNil(t.Boxes)
	return json.Marshal(plain(t))
}

// Prediction is the wire form of a box on a detection (contract B.3).
type Prediction struct {
	XYXYN      [4]float64 `json:"xyxyn"`
	Confidence float64    `json:"confidence"`
	ClassName  string     `json:"class_name"`
}

// Predictions is the wire form of a detection's boxes: the fields algo_predictions and others_bboxes (contract B.3).
type Predictions struct {
	Predictions []Prediction `json:"predictions"`
}

// className is what the platform's model detects, and the only class that importers have ever sent (contract C.5).
const className = "smoke"

// Predict converts boxes to their wire form with class "smoke"; the list is empty, never nil.
func Predict(boxes []Box) Predictions {
	wire := make([]Prediction, len(boxes))
	for i, b := range boxes {
		wire[i] = Prediction{XYXYN: b.XYXYN(), Confidence: b.Confidence, ClassName: className}
	}
	return Predictions{Predictions: wire}
}

// Boxes converts back, in order. The class is left behind: generation on the server does not look at it either.
func (p Predictions) Boxes() []Box {
	boxes := make([]Box, len(p.Predictions))
	for i, w := range p.Predictions {
		boxes[i] = Box{X1: w.XYXYN[0], Y1: w.XYXYN[1], X2: w.XYXYN[2], Y2: w.XYXYN[3], Confidence: w.Confidence}
	}
	return boxes
}

// MarshalJSON writes an empty list as [], because the annotation API refuses null in its place.
func (p Predictions) MarshalJSON() ([]byte, error) {
	type plain Predictions
	p.Predictions = notNil(p.Predictions)
	return json.Marshal(plain(p))
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
