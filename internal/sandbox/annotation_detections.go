package sandbox

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// createDetection is POST /detections/, the multipart route.
func (a *AnnotationAPI) createDetection(c *call) reply {
	var row DetectionRow
	algo, _ := c.formStr("algo_predictions", true, 0)
	row.AlertAPIID, _ = c.formInt("alert_api_id", true)
	row.SequenceID, _ = c.formInt("sequence_id", true)
	recorded := c.formClock("recorded_at")
	image := c.formFile("file")
	texts := []struct{ name, value string }{{"algo_predictions", algo}}
	for _, name := range a.predictionFields() {
		value, _ := c.formStr(name, false, 0)
		texts = append(texts, struct{ name, value string }{name, value})
	}
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	var lists [3][]Prediction
	for i, text := range texts {
		if text.value == "" && i > 0 {
			continue
		}
		list, refusal := predictionsText(text.value)
		if refusal != "" {
			return refuse(http.StatusUnprocessableEntity, "Invalid "+text.name+" format: "+refusal)
		}
		lists[i] = list
	}
	row.RecordedAt = recorded.UTC()
	row.Predictions, row.Others, row.Auto = lists[0], lists[1], lists[2]
	return a.storeDetection(row, recorded, func() (object, string, *reply) {
		stored, refusal := upload(image.data)
		return stored, "", refusal
	})
}

// predictionFields are the optional documents of a detection, in their order.
func (a *AnnotationAPI) predictionFields() []string {
	if a.newest {
		return []string{"others_bboxes", "auto_predictions"}
	}
	return []string{"others_bboxes"}
}

// formClock reads a required time and keeps its zone.
func (c *call) formClock(name string) time.Time {
	value, ok := c.formValue(name, true)
	if !ok {
		return time.Time{}
	}
	t, _ := c.v.datetime([]any{"body", name}, value)
	return t
}

// formFile reads a required file part.
func (c *call) formFile(name string) pyUpload {
	value, ok := c.formValue(name, true)
	if !ok {
		return pyUpload{}
	}
	file, ok := value.(pyUpload)
	if !ok {
		c.v.reject([]any{"body", name}, value, "Expected UploadFile, received: <class '"+pyTypeName(value)+"'>")
	}
	return file
}

// storeDetection inserts a row, stores its image, and commits, in the service's order: constraints are judged before
// the storage is touched, and an id that was taken once is gone. The row's time is that of the insert, so that it can
// appear behind rows that others have added and read meanwhile. fetch returns the image and its key's ending, empty
// to derive it from the image.
func (a *AnnotationAPI) storeDetection(row DetectionRow, clock time.Time, fetch func() (object, string, *reply)) reply {
	if refusal := a.detectionColumns(row); refusal != nil {
		return *refusal
	}
	a.mu.Lock()
	a.lastID.detection++
	row.ID, row.CreatedAt = a.lastID.detection, a.now()
	conflict := a.detectionConflict(row)
	a.mu.Unlock()
	if conflict {
		return refuse(http.StatusConflict, "Resource already exists")
	}
	image, ending, refusal := fetch()
	if refusal != nil {
		return *refusal
	}
	if ending == "" {
		ending = image.sum[:8] + image.extension
	}
	row.BucketKey = fmt.Sprintf("detections/sequence_%d/%s_det%d_%s",
		row.SequenceID, clock.Format("20060102_150405"), row.ID, ending)
	row.SHA256, row.Size = image.sum, image.size
	if a.options.DiscardImages {
		image.data = nil
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.detectionConflict(row) { // another request was faster
		return refuse(http.StatusConflict, "Resource already exists")
	}
	index := a.bySequence[row.SequenceID]
	index.detections = append(index.detections, row.ID)
	index.alertIDs[row.AlertAPIID] = struct{}{}
	a.detections[row.ID] = &row
	a.objects[row.BucketKey] = image
	return answer(http.StatusCreated, a.detectionDocument(&row))
}

// detectionColumns refuses what the columns of the database cannot hold, before any id is taken.
func (a *AnnotationAPI) detectionColumns(row DetectionRow) *reply {
	if row.SequenceID < math.MinInt32 || row.SequenceID > math.MaxInt32 {
		return overflow(row.SequenceID, "int32")
	}
	if !a.newest && (row.AlertAPIID < math.MinInt32 || row.AlertAPIID > math.MaxInt32) {
		return overflow(row.AlertAPIID, "int32")
	}
	if saturates(row.AlertAPIID) {
		return overflow(row.AlertAPIID, "int64")
	}
	if refusal := timeColumn(row.RecordedAt); refusal != nil {
		return refusal
	}
	for _, p := range slices.Concat(row.Predictions, row.Others, row.Auto) {
		if strings.ContainsRune(p.Class, 0) {
			out := crash("sqlalchemy.exc.DBAPIError: unsupported Unicode escape sequence: \\u0000 cannot be converted to text.")
			return &out
		}
	}
	return nil
}

// detectionConflict is a missing sequence or, in the newest generation, a second row for the same pair. The seed era's
// unique constraint includes the primary key and never fires.
func (a *AnnotationAPI) detectionConflict(row DetectionRow) bool {
	index, ok := a.bySequence[row.SequenceID]
	if !ok {
		return true
	}
	_, taken := index.alertIDs[row.AlertAPIID]
	return a.newest && taken
}

// createDetectionFromURL is POST /detections/from-url: the server fetches the image.
func (a *AnnotationAPI) createDetectionFromURL(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	loc := []any{"body"}
	var source string
	if value, ok := c.v.field(loc, d, "source_url"); ok {
		source, _ = c.v.str(at(loc, "source_url"), value)
	}
	// Null is a valid sequence_id here. The service then keeps a detection of no sequence; here there is no sequence 0
	// either, and the answer is 409.
	row, clock := a.detectionBody(c, d, math.MinInt64)
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	return a.storeDetection(row, clock, func() (object, string, *reply) {
		image, refusal := download(c.r.Context(), source)
		return image, "", refusal
	})
}

// createDetectionFromBucket is POST /detections/from-bucket-key: the server copies the image from the platform's
// storage.
func (a *AnnotationAPI) createDetectionFromBucket(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	loc := []any{"body"}
	var key string
	if value, ok := c.v.field(loc, d, "source_key"); ok {
		if key, ok = c.v.str(at(loc, "source_key"), value); ok && key == "" {
			c.v.add(at(loc, "source_key"), key, "string_too_short", "String should have at least 1 character",
				pyMember{"min_length", int64(1)})
		}
	}
	row, clock := a.detectionBody(c, d, 1)
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if row.SequenceID > math.MaxInt32 {
		return *overflow(row.SequenceID, "int32")
	}
	a.mu.Lock()
	sequence, known := a.sequences[row.SequenceID]
	var bucket string
	if known {
		bucket = fmt.Sprintf("platform-alert-api-%d", sequence.OrganisationID)
	}
	a.mu.Unlock()
	if !known {
		return refuse(http.StatusNotFound, fmt.Sprintf("Sequence %d not found", row.SequenceID))
	}
	return a.storeDetection(row, clock, func() (object, string, *reply) {
		return a.copyObject(bucket, key)
	})
}

// detectionBody reads what both JSON routes share.
func (a *AnnotationAPI) detectionBody(c *call, d pyDict, leastSequence int64) (row DetectionRow, clock time.Time) {
	loc := []any{"body"}
	if value, ok := c.v.field(loc, d, "sequence_id"); ok && (value != nil || leastSequence > 0) {
		row.SequenceID, _ = c.v.atLeast(at(loc, "sequence_id"), value, leastSequence)
	}
	if value, ok := c.v.field(loc, d, "recorded_at"); ok {
		clock, _ = c.v.datetime(at(loc, "recorded_at"), value)
	}
	if value, ok := c.v.field(loc, d, "alert_api_id"); ok {
		row.AlertAPIID, _ = c.v.integer(at(loc, "alert_api_id"), value)
	}
	if value, ok := c.v.field(loc, d, "algo_predictions"); ok {
		row.Predictions = c.v.predictions(at(loc, "algo_predictions"), value)
	}
	for i, name := range a.predictionFields() {
		if value, ok := d.get(name); ok && value != nil {
			list := c.v.predictions(at(loc, name), value)
			if i == 0 {
				row.Others = list
			} else {
				row.Auto = list
			}
		}
	}
	row.RecordedAt = clock.UTC()
	return row, clock
}

// detectionDocument is a DetectionRead.
func (a *AnnotationAPI) detectionDocument(row *DetectionRow) pyDict {
	d := pyDict{
		{"id", row.ID},
		{"sequence_id", row.SequenceID},
		{"recorded_at", isoZ(row.RecordedAt)},
		{"alert_api_id", row.AlertAPIID},
		{"bucket_key", row.BucketKey},
		{"algo_predictions", predictionsDocument(row.Predictions)},
		{"others_bboxes", predictionsDocument(row.Others)},
	}
	if a.newest {
		d = append(d, pyMember{"auto_predictions", predictionsDocument(row.Auto)})
	}
	return append(d, pyMember{"created_at", isoZ(row.CreatedAt)})
}

// predictionsDocument is null for a nil list.
func predictionsDocument(list []Prediction) any {
	if list == nil {
		return nil
	}
	items := make([]any, len(list))
	for i, p := range list {
		items[i] = pyDict{{"xyxyn", corners(p.Box)}, {"confidence", p.Confidence}, {"class_name", p.Class}}
	}
	return pyDict{{"predictions", items}}
}

func corners(box [4]float64) []any { return []any{box[0], box[1], box[2], box[3]} }

// listDetections is GET /detections/.
func (a *AnnotationAPI) listDetections(c *call) reply {
	p := c.page()
	sequence := c.queryInt("sequence_id")
	field, descending := c.order("created_at", "recorded_at")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if sequence != nil && (*sequence < math.MinInt32 || *sequence > math.MaxInt32) {
		return *overflow(*sequence, "int32")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var rows []*DetectionRow
	if sequence == nil {
		for _, row := range a.detections {
			rows = append(rows, row)
		}
	} else if index, ok := a.bySequence[*sequence]; ok {
		for _, id := range index.detections {
			rows = append(rows, a.detections[id])
		}
	}
	byTime(rows, descending, a.ties(), func(row *DetectionRow) (time.Time, int64) {
		if field == "recorded_at" {
			return row.RecordedAt, row.ID
		}
		return row.CreatedAt, row.ID
	})
	part, pages := cut(rows, p)
	items := make([]any, len(part))
	for i, row := range part {
		items[i] = a.detectionDocument(row)
	}
	return answer(http.StatusOK, envelope(items, len(rows), p, pages))
}

// detection finds the row that the path names; the caller holds the lock.
func (a *AnnotationAPI) detection(id int64, missing string) (*DetectionRow, *reply) {
	if id > math.MaxInt32 {
		return nil, overflow(id, "int32")
	}
	row, ok := a.detections[id]
	if !ok {
		out := refuse(http.StatusNotFound, missing)
		return nil, &out
	}
	return row, nil
}

// getDetection is GET /detections/{id}.
func (a *AnnotationAPI) getDetection(c *call) reply {
	id := c.pathID("detection_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.detection(id, "Detection not found.")
	if refusal != nil {
		return *refusal
	}
	return answer(http.StatusOK, a.detectionDocument(row))
}

// getDetectionURL is GET /detections/{id}/url.
func (a *AnnotationAPI) getDetectionURL(c *call) reply {
	id := c.pathID("detection_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.detection(id, "Detection not found")
	if refusal != nil {
		return *refusal
	}
	if _, ok := a.objects[row.BucketKey]; !ok {
		return refuse(http.StatusNotFound, "File cannot be found on the bucket storage")
	}
	return answer(http.StatusOK, pyDict{{"url", a.presign(c.r, row.BucketKey)}})
}

// deleteDetection is DELETE /detections/{id}: the stored image first, then the row.
func (a *AnnotationAPI) deleteDetection(c *call) reply {
	id := c.pathID("detection_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.detection(id, "Detection not found.")
	if refusal != nil {
		return *refusal
	}
	delete(a.objects, row.BucketKey)
	delete(a.detections, id)
	index := a.bySequence[row.SequenceID]
	index.detections = slices.DeleteFunc(index.detections, func(other int64) bool { return other == id })
	delete(index.alertIDs, row.AlertAPIID)
	for _, other := range index.detections { // the seed era may hold the same pair twice
		if a.detections[other].AlertAPIID == row.AlertAPIID {
			index.alertIDs[row.AlertAPIID] = struct{}{}
		}
	}
	return noContent()
}
