package sandbox

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Stages that the API's own rules name.
const (
	stageReady     = "ready_to_annotate"
	stageSequence  = "seq_annotation_done"
	stageAnnotated = "annotated"
)

// stages of a sequence annotation, as error messages list them (contract B.1).
func (a *AnnotationAPI) stages() []string {
	if a.newest {
		return []string{"imported", stageReady, stageSequence, stageAnnotated}
	}
	return []string{"imported", stageReady, "under_annotation", stageSequence, "in_review", "needs_manual", stageAnnotated}
}

// falsePositiveTypes as error messages list them (contract B.1).
func (a *AnnotationAPI) falsePositiveTypes() []string {
	types := strings.Fields("antenna building cliff dark dust high_cloud low_cloud lens_flare lens_droplet light rain trail " +
		"road sky tree water_body other")
	if a.newest {
		types = append(slices.Insert(types, 3, "combine_harvester"), "unlabeled")
	}
	return types
}

// hasSmoke, falsePositives and smokes are what the API derives from the tracks.

func (r *AnnotationRow) hasSmoke() bool {
	return slices.ContainsFunc(r.Tracks, func(t Track) bool { return t.IsSmoke })
}

func (r *AnnotationRow) falsePositives() []string {
	var types []string
	for _, t := range r.Tracks {
		types = append(types, t.FalsePositive...)
	}
	return distinct(types)
}

func (r *AnnotationRow) smokes() []string {
	var types []string
	for _, t := range r.Tracks {
		if t.IsSmoke && t.SmokeType != "" {
			types = append(types, t.SmokeType)
		}
	}
	return distinct(types)
}

func (r *AnnotationRow) needsLocalization() bool {
	return (r.hasSmoke() || r.MissedSmoke) && !r.Unsure
}

// distinct keeps the first of equal strings.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// annotationBody is a request to create or to change an annotation.
type annotationBody struct {
	sequence            int64
	missedSmoke, unsure bool
	tracks              []Track
	stage               string
	confidence, iou     float64
	minCluster          int64
	updatedAt           time.Time
	given               map[string]bool // the keys that were sent: true with a value, false with null
}

// annotationBody reads the body; in a change every field is optional and nullable.
func (a *AnnotationAPI) annotationBody(c *call, d pyDict, change bool) annotationBody {
	b := annotationBody{minCluster: 1, given: map[string]bool{}}
	loc := []any{"body"}
	value := func(name string, required, nullable bool) (any, bool) {
		v, ok := d.get(name)
		if !ok {
			if required {
				c.v.missing(at(loc, name), d)
			}
			return nil, false
		}
		b.given[name] = v != nil
		return v, v != nil || !nullable
	}
	if !change {
		if v, ok := value("sequence_id", true, false); ok {
			b.sequence, _ = c.v.integer(at(loc, "sequence_id"), v)
		}
	}
	if v, ok := value("has_missed_smoke", !change, change); ok {
		b.missedSmoke, _ = c.v.boolean(at(loc, "has_missed_smoke"), v)
	}
	if v, ok := value("is_unsure", false, change); ok {
		b.unsure, _ = c.v.boolean(at(loc, "is_unsure"), v)
	}
	if v, ok := value("annotation", !change, change); ok {
		b.tracks = a.tracks(&c.v, at(loc, "annotation"), v)
	}
	if v, ok := value("processing_stage", !change, change); ok {
		b.stage, _ = c.v.enum(at(loc, "processing_stage"), v, a.stages(), "enum")
	}
	if change && !a.newest {
		if v, ok := value("updated_at", false, true); ok {
			b.updatedAt, _ = c.v.datetime(at(loc, "updated_at"), v)
		}
	}
	if v, ok := value("confidence_threshold", false, true); ok {
		b.confidence = c.v.fraction(at(loc, "confidence_threshold"), v)
	}
	if v, ok := value("iou_threshold", false, true); ok {
		b.iou = c.v.fraction(at(loc, "iou_threshold"), v)
	}
	if v, ok := value("min_cluster_size", false, true); ok {
		b.minCluster, _ = c.v.atLeast(at(loc, "min_cluster_size"), v, 1)
	}
	return b
}

// tracks reads a SequenceAnnotationData document.
func (a *AnnotationAPI) tracks(v *validator, loc []any, input any) []Track {
	tracks := []Track{}
	d, ok := v.dict(loc, input)
	if !ok {
		return tracks
	}
	value, ok := v.field(loc, d, "sequences_bbox")
	if !ok {
		return tracks
	}
	loc = at(loc, "sequences_bbox")
	items, _ := v.list(loc, value)
	for i, item := range items {
		here := at(loc, int64(i))
		if entry, ok := v.dict(here, item); ok {
			tracks = append(tracks, a.track(v, here, entry))
		}
	}
	return tracks
}

func (a *AnnotationAPI) track(v *validator, loc []any, d pyDict) (t Track) {
	known := len(v.issues)
	if value, ok := v.field(loc, d, "is_smoke"); ok {
		t.IsSmoke, _ = v.boolean(at(loc, "is_smoke"), value)
	}
	if value, ok := d.get("smoke_type"); ok && value != nil {
		t.SmokeType, _ = v.enum(at(loc, "smoke_type"), value, smokeTypes(), "enum")
	}
	if value, ok := d.get("false_positive_types"); ok {
		items, _ := v.list(at(loc, "false_positive_types"), value)
		for i, item := range items {
			kind, _ := v.enum(at(at(loc, "false_positive_types"), int64(i)), item, a.falsePositiveTypes(), "enum")
			t.FalsePositive = append(t.FalsePositive, kind)
		}
	}
	if value, ok := v.field(loc, d, "bboxes"); ok {
		items, _ := v.list(at(loc, "bboxes"), value)
		for i, item := range items {
			here := at(at(loc, "bboxes"), int64(i))
			box, ok := v.dict(here, item)
			if !ok {
				continue
			}
			var b TrackBox
			if value, ok := v.field(here, box, "detection_id"); ok {
				b.DetectionID, _ = v.integer(at(here, "detection_id"), value)
			}
			if value, ok := v.field(here, box, "xyxyn"); ok {
				b.Box = v.xyxyn(at(here, "xyxyn"), value)
			}
			t.Boxes = append(t.Boxes, b)
		}
	}
	if repeated := t.repeated(); a.newest && len(v.issues) == known && len(repeated) > 0 {
		v.reject(loc, d, "At most one box is allowed per detection within a sequence bbox (detection_id repeated: "+
			idList(repeated)+"). A plume that forks into two strands and rejoins is one object — box it once. "+
			"A persistent second plume is a separate object, with its own annotation track.")
	}
	return t
}

// repeated lists the detections with more than one box, sorted.
func (t Track) repeated() []int64 {
	counts := map[int64]int{}
	var ids []int64
	for _, b := range t.Boxes {
		if counts[b.DetectionID]++; counts[b.DetectionID] == 2 {
			ids = append(ids, b.DetectionID)
		}
	}
	slices.Sort(ids)
	return ids
}

// idList is repr(list of int).
func idList(ids []int64) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatInt(id, 10)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// unknownDetections refuses tracks that name detections that do not exist, of whichever sequence.
func (a *AnnotationAPI) unknownDetections(tracks []Track) *reply {
	var missing []int64
	for _, t := range tracks {
		for _, b := range t.Boxes {
			if b.DetectionID < math.MinInt32 || b.DetectionID > math.MaxInt32 {
				return overflow(b.DetectionID, "int32")
			}
			if _, ok := a.detections[b.DetectionID]; !ok {
				missing = append(missing, b.DetectionID)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	out := refuse(http.StatusUnprocessableEntity,
		"Detection IDs "+idList(slices.Compact(missing))+" do not exist in the database")
	return &out
}

// notLocalized refuses the stage annotated while detections of the sequence are not annotated themselves (newest).
func (a *AnnotationAPI) notLocalized(sequence int64) *reply {
	count := a.unlocalized(sequence)
	if count == 0 {
		return nil
	}
	out := refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Cannot mark annotated: %d detection(s) of sequence %d lack an "+
		"annotated-stage detection annotation (localization incomplete)", count, sequence))
	return &out
}

// createAnnotation is POST /annotations/sequences/.
func (a *AnnotationAPI) createAnnotation(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	b := a.annotationBody(c, d, false)
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if b.sequence < math.MinInt32 || b.sequence > math.MaxInt32 {
		return *overflow(b.sequence, "int32")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row := AnnotationRow{
		SequenceID: b.sequence, Tracks: b.tracks, MissedSmoke: b.missedSmoke, Unsure: b.unsure, Stage: b.stage,
	}
	if row.Stage == stageReady && len(row.Tracks) == 0 {
		row.Tracks = a.generate(row.SequenceID, b.confidence, b.iou, b.minCluster)
	}
	if refusal := a.unknownDetections(row.Tracks); refusal != nil {
		return *refusal
	}
	if a.newest && row.Stage == stageAnnotated && row.needsLocalization() {
		if refusal := a.notLocalized(row.SequenceID); refusal != nil {
			return *refusal
		}
	}
	a.lastID.annotation++ // a refused insert has taken its id
	index, known := a.bySequence[row.SequenceID]
	if !known || index.annotation != 0 {
		return refuse(http.StatusConflict, "Resource already exists")
	}
	row.ID, row.CreatedAt = a.lastID.annotation, a.now()
	if row.Stage == stageAnnotated {
		row.Contributors = []string{c.user}
		a.annotateDetections(&row)
	}
	a.annotations[row.ID] = &row
	index.annotation = row.ID
	return answer(http.StatusCreated, a.annotationDocument(&row, isoZ, true))
}

// annotateDetections is what reaching the stage annotated does to a sequence's detections without an annotation of
// their own.
func (a *AnnotationAPI) annotateDetections(row *AnnotationRow) {
	if row.Unsure {
		return
	}
	stage := "visual_check"
	smoke, falsePositive := row.hasSmoke(), len(row.falsePositives()) > 0
	truePositive := smoke && !row.MissedSmoke && !falsePositive
	switch {
	case a.newest && (smoke || row.MissedSmoke):
		return // already localized, or it would not be annotated
	case falsePositive && !smoke && !row.MissedSmoke:
		stage = stageAnnotated
	case truePositive:
	case smoke || row.MissedSmoke:
		stage = "bbox_annotation"
	}
	for _, id := range a.bySequence[row.SequenceID].detections {
		if detection := a.detections[id]; detection.Stage == "" {
			detection.Stage = stage
			if truePositive {
				detection.Boxes = len(detection.Predictions)
			}
		}
	}
}

// annotation finds the row that the path names; the caller holds the lock.
func (a *AnnotationAPI) annotation(id int64) (*AnnotationRow, *reply) {
	if id > math.MaxInt32 {
		return nil, overflow(id, "int32")
	}
	row, ok := a.annotations[id]
	if !ok {
		out := refuse(http.StatusNotFound, "Sequence annotation not found.")
		return nil, &out
	}
	return row, nil
}

// annotationDocument is a SequenceAnnotationRead. Single answers name each contributor once, lists every contribution.
func (a *AnnotationAPI) annotationDocument(row *AnnotationRow, iso func(time.Time) string, single bool) pyDict {
	var updated any
	if !row.UpdatedAt.IsZero() {
		updated = iso(row.UpdatedAt)
	}
	names := row.Contributors
	if single {
		names = distinct(names)
	}
	contributors := make([]any, len(names))
	for i, name := range names {
		contributors[i] = pyDict{{"id", a.userID(name)}, {"username", name}}
	}
	d := pyDict{
		{"id", row.ID},
		{"sequence_id", row.SequenceID},
		{"has_smoke", row.hasSmoke()},
		{"has_false_positives", len(row.falsePositives()) > 0},
		{"false_positive_types", stringList(row.falsePositives())},
		{"smoke_types", stringList(row.smokes())},
		{"has_missed_smoke", row.MissedSmoke},
		{"is_unsure", row.Unsure},
		{"annotation", tracksDocument(row.Tracks)},
		{"processing_stage", row.Stage},
		{"created_at", iso(row.CreatedAt)},
		{"updated_at", updated},
		{"contributors", contributors},
	}
	if a.newest {
		d = append(d, pyMember{"group_propagation_warning", nil})
	}
	return d
}

func stringList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func tracksDocument(tracks []Track) pyDict {
	list := make([]any, len(tracks))
	for i, t := range tracks {
		boxes := make([]any, len(t.Boxes))
		for j, b := range t.Boxes {
			boxes[j] = pyDict{{"detection_id", b.DetectionID}, {"xyxyn", corners(b.Box)}}
		}
		var smoke any
		if t.SmokeType != "" {
			smoke = t.SmokeType
		}
		list[i] = pyDict{
			{"is_smoke", t.IsSmoke},
			{"smoke_type", smoke},
			{"false_positive_types", stringList(t.FalsePositive)},
			{"bboxes", boxes},
		}
	}
	return pyDict{{"sequences_bbox", list}}
}

// listAnnotations is GET /annotations/sequences/.
func (a *AnnotationAPI) listAnnotations(c *call) reply {
	p := c.page()
	sequence := c.queryInt("sequence_id")
	smoke := c.queryOptionalBool("has_smoke")
	falsePositives := c.queryOptionalBool("has_false_positives")
	fpTypes := c.queryEnums("false_positive_types", a.falsePositiveTypes())
	smokes := c.queryEnums("smoke_types", smokeTypes())
	missed := c.queryOptionalBool("has_missed_smoke")
	unsure := c.queryOptionalBool("is_unsure")
	stage := c.queryEnum("processing_stage", "", "enum", a.stages()...)
	field, descending := c.order("created_at", "sequence_recorded_at")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if sequence != nil && (*sequence < math.MinInt32 || *sequence > math.MaxInt32) {
		return *overflow(*sequence, "int32")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var rows []*AnnotationRow
	for _, row := range a.candidates(sequence) {
		if equals(smoke, row.hasSmoke()) && equals(falsePositives, len(row.falsePositives()) > 0) &&
			equals(missed, row.MissedSmoke) && equals(unsure, row.Unsure) && (stage == "" || stage == row.Stage) &&
			(len(fpTypes) == 0 || intersects(fpTypes, row.falsePositives())) &&
			(len(smokes) == 0 || intersects(smokes, row.smokes())) {
			rows = append(rows, row)
		}
	}
	byTime(rows, descending, a.ties(), func(row *AnnotationRow) (time.Time, int64) {
		if field == "sequence_recorded_at" {
			return a.sequences[row.SequenceID].RecordedAt, row.ID
		}
		return row.CreatedAt, row.ID
	})
	part, pages := cut(rows, p)
	items := make([]any, len(part))
	for i, row := range part {
		items[i] = a.annotationDocument(row, isoZ, false)
	}
	return answer(http.StatusOK, envelope(items, len(rows), p, pages))
}

// candidates are the annotations of one sequence, or all.
func (a *AnnotationAPI) candidates(sequence *int64) []*AnnotationRow {
	var rows []*AnnotationRow
	if sequence == nil {
		for _, row := range a.annotations {
			rows = append(rows, row)
		}
	} else if index, ok := a.bySequence[*sequence]; ok && index.annotation != 0 {
		rows = append(rows, a.annotations[index.annotation])
	}
	return rows
}

// getAnnotation is GET /annotations/sequences/{id}.
func (a *AnnotationAPI) getAnnotation(c *call) reply {
	id := c.pathID("annotation_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.annotation(id)
	if refusal != nil {
		return *refusal
	}
	return answer(http.StatusOK, a.annotationDocument(row, isoZ, true))
}

// deleteAnnotation is DELETE /annotations/sequences/{id}.
func (a *AnnotationAPI) deleteAnnotation(c *call) reply {
	id := c.pathID("annotation_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.annotation(id)
	if refusal != nil {
		return *refusal
	}
	delete(a.annotations, id)
	a.bySequence[row.SequenceID].annotation = 0
	return noContent()
}
