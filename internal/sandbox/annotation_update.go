package sandbox

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
)

// updateAnnotation is PATCH /annotations/sequences/{id}.
func (a *AnnotationAPI) updateAnnotation(c *call) reply {
	id := c.pathID("annotation_id")
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	b := a.annotationBody(c, d, true)
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.annotation(id)
	if refusal != nil {
		return *refusal
	}
	next := *row
	if b.given["has_missed_smoke"] {
		next.MissedSmoke = b.missedSmoke
	}
	if b.given["is_unsure"] {
		next.Unsure = b.unsure
	}
	if b.given["annotation"] {
		next.Tracks = b.tracks
	}
	if b.given["processing_stage"] {
		next.Stage = b.stage
	}
	demotes := a.newest && row.Stage == stageAnnotated && next.Stage == stageSequence && next.needsLocalization()
	if refusal := a.updateGuards(row, &next); refusal != nil {
		return *refusal
	}
	replaces := b.given["annotation"]
	if next.Stage == stageReady && len(next.Tracks) == 0 {
		if generated := a.generate(row.SequenceID, b.confidence, b.iou, b.minCluster); len(generated) > 0 {
			next.Tracks, replaces = generated, true
			b.given["annotation"] = true
		}
	}
	if replaces {
		if refusal := a.unknownDetections(next.Tracks); refusal != nil {
			return *refusal
		}
	}
	if refusal := a.updateNulls(b); refusal != nil {
		return *refusal
	}
	if b.given["updated_at"] {
		if refusal := timeColumn(b.updatedAt); refusal != nil {
			return *refusal
		}
	}
	if demotes {
		if refusal := a.demote(row.SequenceID); refusal != nil {
			return *refusal
		}
	}
	_, updatedGiven := b.given["updated_at"]
	switch {
	case a.newest && !sameContent(row, &next):
		next.UpdatedAt = a.now() // stamped by the database layer, only when something has changed
	case !a.newest && updatedGiven:
		next.UpdatedAt = b.updatedAt.UTC() // every key that was sent is assigned, null too
	}
	if next.Stage == stageAnnotated {
		next.Contributors = append(slices.Clone(row.Contributors), c.user)
		if row.Stage != stageAnnotated {
			a.annotateDetections(&next)
		}
	}
	*row = next
	return answer(http.StatusOK, a.annotationDocument(row, isoZ, true))
}

// updateGuards are the newest generation's rules on changes of the stage.
func (a *AnnotationAPI) updateGuards(row, next *AnnotationRow) *reply {
	if !a.newest || row.Stage == next.Stage {
		return nil
	}
	if next.Stage == stageSequence || next.Stage == stageAnnotated {
		sequence := a.sequences[row.SequenceID]
		if _, skipped := a.skips[alertKey{sequence.SourceAPI, sequence.PlatformAlertID}]; skipped {
			out := refuse(http.StatusConflict, "Alert is skipped — unskip it before submitting")
			return &out
		}
	}
	if next.Stage == stageAnnotated && next.needsLocalization() {
		return a.notLocalized(row.SequenceID)
	}
	return nil
}

// updateNulls are the failures of the update itself: keys that the table does not have, and nulls that it does not
// take (contract B.4).
func (a *AnnotationAPI) updateNulls(b annotationBody) *reply {
	for _, name := range []string{"confidence_threshold", "iou_threshold", "min_cluster_size"} {
		if _, given := b.given[name]; given {
			out := crash(`ValueError: "SequenceAnnotation" object has no field "` + name + `"`)
			return &out
		}
	}
	isNull := func(name string) bool {
		value, given := b.given[name]
		return given && !value
	}
	switch {
	case isNull("annotation"):
		out := crash("ValueError: Invalid annotation data format: argument after ** must be a mapping, not NoneType")
		return &out
	case isNull("processing_stage") || isNull("has_missed_smoke"):
		out := refuse(http.StatusConflict, "Resource already exists")
		return &out
	case isNull("is_unsure"):
		var v validator
		v.add([]any{"is_unsure"}, nil, "bool_type", "Input should be a valid boolean")
		return &reply{status: http.StatusUnprocessableEntity, body: pyDict{{"detail", v.detail(true)}}}
	}
	return nil
}

// demote takes an annotated sequence back to localization, unless its detections carry boxes.
func (a *AnnotationAPI) demote(sequence int64) *reply {
	committed := 0
	for _, id := range a.bySequence[sequence].detections {
		if a.detections[id].Boxes > 0 {
			committed++
		}
	}
	if committed > 0 {
		out := refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Cannot demote: sequence %d carries %d committed detection "+
			"annotation(s); re-localizing finished work is not supported", sequence, committed))
		return &out
	}
	for _, id := range a.bySequence[sequence].detections {
		a.detections[id].Stage = ""
	}
	return nil
}

// sameContent compares what an update may change.
func sameContent(x, y *AnnotationRow) bool {
	return x.MissedSmoke == y.MissedSmoke && x.Unsure == y.Unsure && x.Stage == y.Stage &&
		reflect.DeepEqual(tracksDocument(x.Tracks), tracksDocument(y.Tracks))
}
