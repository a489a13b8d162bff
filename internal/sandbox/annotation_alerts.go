package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
)

// Routes of the newest generation that know alerts: all objects of one platform sequence.

// setTemporalScore is PATCH /sequences/temporal-score: all five keys are required, null included.
func (a *AnnotationAPI) setTemporalScore(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	loc := []any{"body"}
	var score *float64
	versions := [2]*string{}
	source, id := c.alertIdentity(d, "alert_api_id")
	if value, ok := c.v.field(loc, d, "temporal_model_score"); ok && value != nil {
		f, _ := c.v.float(at(loc, "temporal_model_score"), value)
		score = &f
	}
	for i, name := range []string{"temporal_model_version", "temporal_api_version"} {
		if value, ok := c.v.field(loc, d, name); ok && value != nil {
			s, _ := c.v.shortStr(at(loc, name), value, 32)
			versions[i] = &s
		}
	}
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if saturates(id) {
		return *overflow(id, "int64")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, ok := a.sequences[a.byAlert[alertKey{source, id}]]
	if !ok {
		return refuse(http.StatusNotFound, fmt.Sprintf("No sequence with alert_api_id=%d for source_api=%s", id, source))
	}
	row.TemporalScore, row.TemporalModelVersion, row.TemporalAPIVersion = score, versions[0], versions[1]
	return answer(http.StatusOK, a.sequenceDocument(row, isoZ))
}

// alertIdentity reads source_api and an id from a JSON body.
func (c *call) alertIdentity(d pyDict, idField string) (source string, id int64) {
	loc := []any{"body"}
	if value, ok := c.v.field(loc, d, "source_api"); ok {
		source, _ = c.v.enum(at(loc, "source_api"), value, sourceAPIs(), "enum")
	}
	if value, ok := c.v.field(loc, d, idField); ok {
		id, _ = c.v.integer(at(loc, idField), value)
	}
	return source, id
}

// alertQuery reads source_api and platform_alert_id from the query.
func (c *call) alertQuery() alertKey {
	var key alertKey
	loc := []any{"query", "source_api"}
	if text := c.queryStr("source_api"); text != nil {
		key.source, _ = c.v.enum(loc, *text, sourceAPIs(), "enum")
	} else {
		c.v.missing(loc, nil)
	}
	if id := c.queryInt("platform_alert_id"); id != nil {
		key.id = *id
	} else if !c.query.Has("platform_alert_id") {
		c.v.missing([]any{"query", "platform_alert_id"}, nil)
	}
	return key
}

// lanes are the sequences of an alert, by alert_api_id.
func (a *AnnotationAPI) lanes(key alertKey) []*SequenceRow {
	var lanes []*SequenceRow
	for _, row := range a.sequences {
		if row.SourceAPI == key.source && row.PlatformAlertID == key.id {
			lanes = append(lanes, row)
		}
	}
	slices.SortFunc(lanes, func(x, y *SequenceRow) int { return cmp.Compare(x.AlertAPIID, y.AlertAPIID) })
	return lanes
}

// getAlert is GET /sequences/alert.
func (a *AnnotationAPI) getAlert(c *call) reply {
	key := c.alertQuery()
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	lanes := a.lanes(key)
	if len(lanes) == 0 {
		return refuse(http.StatusNotFound, "Alert not found")
	}
	first := lanes[0].RecordedAt
	list := make([]any, len(lanes))
	for i, row := range lanes {
		if row.RecordedAt.Before(first) {
			first = row.RecordedAt
		}
		var annotation any
		if own, ok := a.annotations[a.bySequence[row.ID].annotation]; ok {
			annotation = a.annotationDocument(own, isoZ, false)
		}
		list[i] = pyDict{{"sequence", a.sequenceDocument(row, isoZ)}, {"annotation", annotation}}
	}
	return answer(http.StatusOK, pyDict{
		{"source_api", key.source},
		{"platform_alert_id", key.id},
		{"camera_name", lanes[0].CameraName},
		{"organisation_name", lanes[0].OrganisationName},
		{"recorded_at", isoZ(first)},
		{"lanes", list},
	})
}

// skipAlert is POST /sequences/alert/skip.
func (a *AnnotationAPI) skipAlert(c *call) reply {
	d, ok := c.object()
	if !ok {
		return c.invalid()
	}
	source, id := c.alertIdentity(d, "platform_alert_id")
	var note *string
	if value, ok := d.get("note"); ok && value != nil {
		text, _ := c.v.str([]any{"body", "note"}, value)
		note = &text
	}
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := alertKey{source, id}
	lanes := a.lanes(key)
	if len(lanes) == 0 {
		return refuse(http.StatusNotFound, "Alert not found")
	}
	if !slices.ContainsFunc(lanes, func(row *SequenceRow) bool {
		own, ok := a.annotations[a.bySequence[row.ID].annotation]
		return !ok || own.Stage != stageAnnotated
	}) {
		return refuse(http.StatusConflict, "Alert is fully annotated — nothing to skip")
	}
	if _, skipped := a.skips[key]; skipped {
		return refuse(http.StatusConflict, "Alert is already skipped")
	}
	a.skips[key] = skip{at: a.now(), by: c.user, note: note}
	return answer(http.StatusCreated, pyDict{
		{"skipped_at", isoZ(a.skips[key].at)}, {"skipped_by", c.user}, {"note", optional(note)},
	})
}

// unskipAlert is DELETE /sequences/alert/skip.
func (a *AnnotationAPI) unskipAlert(c *call) reply {
	key := c.alertQuery()
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, skipped := a.skips[key]; !skipped {
		return refuse(http.StatusNotFound, "Alert is not skipped")
	}
	delete(a.skips, key)
	return noContent()
}
