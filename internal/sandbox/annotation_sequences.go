package sandbox

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// The enums of contract B.1, in the order in which error messages list them.

func sourceAPIs() []string { return []string{"pyronear_french", "alert_wildfire", "api_cenia"} }

func platformLabels() []string { return []string{"wildfire_smoke", "other_smoke", "other"} }

func smokeTypes() []string { return []string{"wildfire", "industrial", "other"} }

// Newest-generation identity of split alerts: object n ≥ 1 of platform sequence s has the id base + 1000 s + n.
const (
	splitBase = 1_000_000_000
	splitStep = 1000
)

// createSequence is POST /sequences/.
func (a *AnnotationAPI) createSequence(c *call) reply {
	row, source, platformGiven := c.sequenceForm(a.newest)
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if row.LastSeenAt.IsZero() {
		row.LastSeenAt = now
	}
	// Without platform_alert_id the newest generation builds the enum outside of validation.
	var v validator
	row.SourceAPI, _ = v.enum([]any{"source_api"}, source, sourceAPIs(), "enum")
	switch {
	case len(v.issues) == 0:
	case a.newest && !platformGiven:
		return crash("ValueError: " + pyQuote(source, false) + " is not a valid SourceApi")
	default:
		return answer(http.StatusUnprocessableEntity, pyDict{{"detail", v.detail(true)}})
	}
	if a.newest && !platformGiven {
		row.PlatformAlertID = a.platformAlert(row.SourceAPI, row.AlertAPIID)
	}
	if refusal := a.sequenceColumns(row); refusal != nil {
		return *refusal
	}
	a.lastID.sequence++ // a refused insert has taken its id
	key := alertKey{row.SourceAPI, row.AlertAPIID}
	if _, taken := a.byAlert[key]; taken {
		return refuse(http.StatusConflict, "Resource already exists")
	}
	row.ID, row.CreatedAt = a.lastID.sequence, now
	a.sequences[row.ID] = &row
	a.byAlert[key] = row.ID
	a.bySequence[row.ID] = &sequenceIndex{alertIDs: map[int64]struct{}{}}
	return answer(http.StatusCreated, a.sequenceDocument(&row, isoZ))
}

// sequenceForm reads the form of a new sequence, its fields in the order in which the API declares them.
func (c *call) sequenceForm(newest bool) (row SequenceRow, source string, platformGiven bool) {
	source, _ = c.formStr("source_api", true, 0)
	row.AlertAPIID, _ = c.formInt("alert_api_id", true)
	row.CameraName, _ = c.formStr("camera_name", true, 0)
	row.CameraID, _ = c.formInt("camera_id", true)
	row.OrganisationName, _ = c.formStr("organisation_name", true, 0)
	row.OrganisationID, _ = c.formInt("organisation_id", true)
	if value, ok := c.formValue("is_wildfire_alertapi", false); ok {
		if label, ok := c.v.enum([]any{"body", "is_wildfire_alertapi"}, value, platformLabels(), "enum"); ok {
			row.IsWildfire = &label
		}
	}
	row.Lat, _ = c.formFloat("lat", true)
	row.Lon, _ = c.formFloat("lon", true)
	if azimuth, ok := c.formInt("azimuth", false); ok {
		row.Azimuth = &azimuth
	}
	c.formTime("created_at", false) // accepted, without effect
	row.RecordedAt = c.formTime("recorded_at", true)
	row.LastSeenAt = c.formTime("last_seen_at", false)
	if !newest {
		return row, source, false
	}
	row.PlatformAlertID, platformGiven = c.formInt("platform_alert_id", false)
	if score, ok := c.formFloat("temporal_model_score", false); ok {
		row.TemporalScore = &score
	}
	if version, ok := c.formStr("temporal_model_version", false, 32); ok {
		row.TemporalModelVersion = &version
	}
	if version, ok := c.formStr("temporal_api_version", false, 32); ok {
		row.TemporalAPIVersion = &version
	}
	return row, source, platformGiven
}

// formTime reads a time as UTC in the database's precision.
func (c *call) formTime(name string, required bool) time.Time {
	value, ok := c.formValue(name, required)
	if !ok {
		return time.Time{}
	}
	t, ok := c.v.datetime([]any{"body", name}, value)
	if !ok {
		return time.Time{}
	}
	return t.UTC()
}

// platformAlert is the default of platform_alert_id (contract B.2): a synthetic id is decoded when its primary exists.
func (a *AnnotationAPI) platformAlert(source string, id int64) int64 {
	if source == "alert_wildfire" || id < splitBase {
		return id
	}
	primary := (id - splitBase) / splitStep
	if _, ok := a.byAlert[alertKey{source, primary}]; ok {
		return primary
	}
	return id
}

// sequenceColumns refuses what the columns of the database cannot hold, before any id is taken.
func (a *AnnotationAPI) sequenceColumns(row SequenceRow) *reply {
	narrow := []int64{row.CameraID, row.OrganisationID}
	if row.Azimuth != nil {
		narrow = append(narrow, *row.Azimuth)
	}
	if !a.newest {
		narrow = append(narrow, row.AlertAPIID)
	}
	for _, n := range narrow {
		if n < math.MinInt32 || n > math.MaxInt32 {
			return overflow(n, "int32")
		}
	}
	for _, n := range []int64{row.AlertAPIID, row.PlatformAlertID} {
		if saturates(n) {
			return overflow(n, "int64")
		}
	}
	for _, t := range []time.Time{row.RecordedAt, row.LastSeenAt} {
		if refusal := timeColumn(t); refusal != nil {
			return refusal
		}
	}
	if strings.ContainsRune(row.CameraName+row.OrganisationName, 0) {
		out := crash("sqlalchemy.exc.DBAPIError: invalid byte sequence for encoding \"UTF8\": 0x00")
		return &out
	}
	return nil
}

func saturates(n int64) bool { return n == math.MaxInt64 || n == math.MinInt64 }

// overflow is the driver's refusal of a number; no handler of the API catches it.
func overflow(n int64, column string) *reply {
	out := crash(fmt.Sprintf("sqlalchemy.exc.DBAPIError: (asyncpg.exceptions.DataError) invalid input for query argument: "+
		"%d (value out of %s range)", n, column))
	return &out
}

// timeColumn is the driver's refusal of a time that its zone takes out of years 1 to 9999.
func timeColumn(t time.Time) *reply {
	if year := t.UTC().Year(); year >= 1 && year <= 9999 {
		return nil
	}
	out := crash("sqlalchemy.exc.DBAPIError: (asyncpg.exceptions.DataError) invalid input for query argument: " +
		t.Format(time.RFC3339) + " (date value out of range)")
	return &out
}

// sequenceDocument is a SequenceRead.
func (a *AnnotationAPI) sequenceDocument(row *SequenceRow, iso func(time.Time) string) pyDict {
	d := pyDict{
		{"azimuth", optional(row.Azimuth)},
		{"id", row.ID},
		{"source_api", row.SourceAPI},
		{"alert_api_id", row.AlertAPIID},
		{"created_at", iso(row.CreatedAt)},
		{"recorded_at", iso(row.RecordedAt)},
		{"last_seen_at", iso(row.LastSeenAt)},
		{"camera_name", row.CameraName},
		{"camera_id", row.CameraID},
		{"lat", row.Lat},
		{"lon", row.Lon},
		{"is_wildfire_alertapi", optional(row.IsWildfire)},
		{"organisation_name", row.OrganisationName},
		{"organisation_id", row.OrganisationID},
	}
	if a.newest {
		d = append(d,
			pyMember{"platform_alert_id", row.PlatformAlertID},
			pyMember{"sequence_group_id", nil},
			pyMember{"temporal_model_score", optional(row.TemporalScore)},
			pyMember{"temporal_model_version", optional(row.TemporalModelVersion)},
			pyMember{"temporal_api_version", optional(row.TemporalAPIVersion)},
			pyMember{"is_manual", row.IsManual})
	}
	return d
}

// optional turns nil pointers into null.
func optional[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// getSequence is GET /sequences/{id}.
func (a *AnnotationAPI) getSequence(c *call) reply {
	id := c.pathID("sequence_id")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.sequence(id)
	if refusal != nil {
		return *refusal
	}
	return answer(http.StatusOK, a.sequenceDocument(row, isoZ))
}

func (a *AnnotationAPI) sequence(id int64) (*SequenceRow, *reply) {
	if id > math.MaxInt32 {
		return nil, overflow(id, "int32")
	}
	row, ok := a.sequences[id]
	if !ok {
		out := refuse(http.StatusNotFound, "Sequence not found.")
		return nil, &out
	}
	return row, nil
}

// deleteSequence is DELETE /sequences/{id}. Stored images stay.
func (a *AnnotationAPI) deleteSequence(c *call) reply {
	id := c.pathID("sequence_id")
	force := false
	if a.newest {
		force = c.queryBool("force")
	}
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	row, refusal := a.sequence(id)
	if refusal != nil {
		return *refusal
	}
	if a.newest && !row.IsManual && !force {
		return refuse(http.StatusConflict,
			"Only manually added objects can be removed. To retire an imported object, reclassify it as a false positive.")
	}
	index := a.bySequence[id]
	for _, detection := range index.detections {
		delete(a.detections, detection)
	}
	delete(a.annotations, index.annotation)
	delete(a.bySequence, id)
	delete(a.byAlert, alertKey{row.SourceAPI, row.AlertAPIID})
	delete(a.sequences, id)
	return noContent()
}
