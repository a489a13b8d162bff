// Package annotate turns the model's boxes into a sequence annotation.
package annotate

// Box is a model's prediction: corners as fractions of the image (0..1, origin top left) and confidence 0..1.
type Box struct {
	X1, Y1, X2, Y2 float64
	Confidence     float64
}

// Thresholds are the knobs of generation, all validated by Validate.
type Thresholds struct {
	Confidence     float64 // 0..1; boxes below are left out; 0 keeps all
	IoU            float64 // 0..1; boxes overlapping by more belong together
	MinClusterSize int     // boxes, at least 1
}

// Validate returns an error that names the first threshold outside its range.
func (t Thresholds) Validate() error { panic("not built yet") }

// ParseBoxes reads a platform box string (contract A.5, C.5 stage 1 and 2); anything unreadable yields no boxes.
func ParseBoxes(s string) []Box { panic("not built yet") }

// Sanitize drops boxes whose four coordinates are all zero (C.5); Acceptable says whether the annotation API takes a box (B.3).
func Sanitize(boxes []Box) []Box { panic("not built yet") }
func (b Box) Acceptable() error  { panic("not built yet") }

// IoU returns the intersection over union of two boxes.
func IoU(a, b Box) float64 { panic("not built yet") }

// Frame is one detection of the target with its boxes, in the order that generation sees them.
type Frame struct {
	DetectionID int64
	Boxes       []Box
}

// Generate clusters the frames' boxes into the annotation document (contract C.9, newest tracks).
func Generate(frames []Frame, t Thresholds) Document { panic("not built yet") }

// Document is the annotation field of a sequence annotation (contract B.4). No tracks: no usable boxes.
type Document struct {
	Tracks []Track `json:"sequences_bbox"`
}

// Track is one object seen over frames. Generated ones are smoke of unknown type.
type Track struct {
	IsSmoke            bool       `json:"is_smoke"`
	SmokeType          *string    `json:"smoke_type"`
	FalsePositiveTypes []string   `json:"false_positive_types"`
	Boxes              []TrackBox `json:"bboxes"`
}

// TrackBox is a track's box on one detection.
type TrackBox struct {
	DetectionID int64      `json:"detection_id"`
	XYXYN       [4]float64 `json:"xyxyn"`
}

// Prediction and Predictions are the wire form of boxes on a detection (contract B.3: algo_predictions, others_bboxes).
type Prediction struct {
	XYXYN      [4]float64 `json:"xyxyn"`
	Confidence float64    `json:"confidence"`
	ClassName  string     `json:"class_name"`
}
type Predictions struct {
	Predictions []Prediction `json:"predictions"`
}

// Predict converts boxes to their wire form with class "smoke"; the list is empty, never null.
func Predict(boxes []Box) Predictions { panic("not built yet") }

// Boxes converts back.
func (p Predictions) Boxes() []Box { panic("not built yet") }
