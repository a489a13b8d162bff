package sandbox

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The readers below take one query parameter each and record what is wrong; nil stands for an absent one.

func (c *call) queryStr(name string) *string {
	values := c.query[name]
	if len(values) == 0 {
		return nil
	}
	last := strings.ToValidUTF8(values[len(values)-1], "\uFFFD") // of a repeated parameter the last one counts
	return &last
}

func (c *call) queryInt(name string) *int64 {
	text := c.queryStr(name)
	if text == nil {
		return nil
	}
	n, ok := c.v.integer([]any{"query", name}, *text)
	if !ok {
		return nil
	}
	return &n
}

func (c *call) queryOptionalBool(name string) *bool {
	text := c.queryStr(name)
	if text == nil {
		return nil
	}
	b, ok := c.v.boolean([]any{"query", name}, *text)
	if !ok {
		return nil
	}
	return &b
}

// queryBool reads a bool that is false by default.
func (c *call) queryBool(name string) bool {
	b := c.queryOptionalBool(name)
	return b != nil && *b
}

func (c *call) queryTime(name string) *time.Time {
	text := c.queryStr(name)
	if text == nil {
		return nil
	}
	t, ok := c.v.datetime([]any{"query", name}, *text)
	if !ok {
		return nil
	}
	return &t
}

// queryEnum reads one value of an enum; kind is enum or literal_error.
func (c *call) queryEnum(name, fallback, kind string, values ...string) string {
	text := c.queryStr(name)
	if text == nil {
		return fallback
	}
	value, _ := c.v.enum([]any{"query", name}, *text, values, kind)
	return value
}

// queryEnums reads a repeatable parameter.
func (c *call) queryEnums(name string, values []string) []string {
	for i, text := range c.query[name] {
		c.v.enum([]any{"query", name, int64(i)}, text, values, "enum")
	}
	return c.query[name]
}

// page is the part of a list that a client asks for.
type page struct{ number, size int64 }

// page reads page and size. The service validates them twice, and says so twice.
func (c *call) page() page {
	out := page{1, 50}
	known := len(c.v.issues)
	if text := c.queryStr("page"); text != nil {
		out.number, _ = c.v.atLeast([]any{"query", "page"}, *text, 1)
	}
	if text := c.queryStr("size"); text != nil {
		loc := []any{"query", "size"}
		n, ok := c.v.atLeast(loc, *text, 1)
		if ok && n > 100 {
			c.v.add(loc, *text, "less_than_equal", "Input should be less than or equal to 100", pyMember{"le", int64(100)})
		}
		out.size = n
	}
	c.v.issues = append(c.v.issues, c.v.issues[known:]...)
	return out
}

// order reads order_by and order_direction.
func (c *call) order(fields ...string) (field string, descending bool) {
	field = c.queryEnum("order_by", fields[0], "enum", fields...)
	return field, c.queryEnum("order_direction", "desc", "enum", "asc", "desc") == "desc"
}

// ties returns what rows of equal times go by in one answer, which the database leaves open: their id or, on demand,
// what looks like chance. The caller holds the lock.
func (a *AnnotationAPI) ties() func(id int64) uint64 {
	if !a.options.ShuffleTies {
		return func(id int64) uint64 { return uint64(id) }
	}
	a.lists++
	list := uint64(a.lists)
	return func(id int64) uint64 { return rand.NewPCG(list, uint64(id)).Uint64() }
}

// byTime sorts rows by the time of their key, ties by its id.
func byTime[T any](rows []T, descending bool, ties func(id int64) uint64, key func(T) (time.Time, int64)) {
	slices.SortFunc(rows, func(x, y T) int {
		xt, xid := key(x)
		yt, yid := key(y)
		order := xt.Compare(yt)
		if order == 0 {
			order = cmp.Compare(ties(xid), ties(yid))
		}
		if descending {
			return -order
		}
		return order
	})
}

// cut returns the rows of a page and how many pages there are.
func cut[T any](rows []T, p page) (part []T, pages int64) {
	total := int64(len(rows))
	pages = (total + p.size - 1) / p.size
	if p.number > pages { // also keeps the product below from overflowing
		return nil, pages
	}
	from := (p.number - 1) * p.size
	return rows[from:min(from+p.size, total)], pages
}

// envelope is a page as the API writes it.
func envelope(items []any, total int, p page, pages int64) pyDict {
	return pyDict{{"items", items}, {"total", int64(total)}, {"page", p.number}, {"size", p.size}, {"pages", pages}}
}

// sequenceFilter is the query of GET /sequences/.
type sequenceFilter struct {
	source, cameraName, organisationName, label *string
	cameraID, organisationID, platformAlert     *int64
	hasAnnotation, missedSmoke, smoke           *bool
	falsePositives, unsure, needsLocalization   *bool
	stages, fpTypes, smokeTypes                 []string
	from, to                                    *time.Time
	completion                                  string
}

// sequenceFilter reads the filters in the order in which the API declares them.
func (c *call) sequenceFilter(a *AnnotationAPI) sequenceFilter {
	var f sequenceFilter
	f.source = c.queryStr("source_api")
	f.cameraID = c.queryInt("camera_id")
	f.cameraName = c.queryStr("camera_name")
	f.organisationID = c.queryInt("organisation_id")
	f.organisationName = c.queryStr("organisation_name")
	f.label = c.queryStr("is_wildfire_alertapi")
	f.hasAnnotation = c.queryOptionalBool("has_annotation")
	c.queryBool("include_annotation")
	f.stages = c.query["processing_stage"]
	if !a.newest && len(f.stages) > 1 {
		f.stages = f.stages[len(f.stages)-1:]
	}
	f.missedSmoke = c.queryOptionalBool("has_missed_smoke")
	f.smoke = c.queryOptionalBool("has_smoke")
	f.falsePositives = c.queryOptionalBool("has_false_positives")
	f.fpTypes = c.queryEnums("false_positive_types", a.falsePositiveTypes())
	f.smokeTypes = c.queryEnums("smoke_types", smokeTypes())
	f.unsure = c.queryOptionalBool("is_unsure")
	if a.newest {
		f.needsLocalization = c.queryOptionalBool("needs_localization")
	}
	f.from = c.queryTime("recorded_at_gte")
	f.to = c.queryTime("recorded_at_lte")
	if a.newest {
		f.platformAlert = c.queryInt("platform_alert_id")
	}
	f.completion = c.queryEnum("detection_annotation_completion", "all", "literal_error", "complete", "incomplete", "all")
	c.queryBool("include_detection_stats") // accepted; adds nothing to the answer
	return f
}

// refusal is what the database makes of values that validation let through.
func (f sequenceFilter) refusal() *reply {
	if f.source != nil && !slices.Contains(sourceAPIs(), *f.source) {
		out := crash("LookupError: " + pyQuote(*f.source, false) + " is not among the defined enum values. Enum name: sourceapi.")
		return &out
	}
	for _, n := range []*int64{f.cameraID, f.organisationID} {
		if n != nil && (*n < math.MinInt32 || *n > math.MaxInt32) {
			return overflow(*n, "int32")
		}
	}
	if f.platformAlert != nil && saturates(*f.platformAlert) {
		return overflow(*f.platformAlert, "int64")
	}
	for _, t := range []*time.Time{f.from, f.to} {
		if t != nil {
			if refusal := timeColumn(*t); refusal != nil {
				return refusal
			}
		}
	}
	return nil
}

// listSequences is GET /sequences/.
func (a *AnnotationAPI) listSequences(c *call) reply {
	p := c.page()
	f := c.sequenceFilter(a)
	field, descending := c.order("created_at", "recorded_at")
	if len(c.v.issues) > 0 {
		return c.invalid()
	}
	if refusal := f.refusal(); refusal != nil {
		return *refusal
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var rows []*SequenceRow
	for _, row := range a.sequences {
		if a.sequenceMatches(row, f) {
			rows = append(rows, row)
		}
	}
	byTime(rows, descending, a.ties(), func(row *SequenceRow) (time.Time, int64) {
		if field == "recorded_at" {
			return row.RecordedAt, row.ID
		}
		return row.CreatedAt, row.ID
	})
	part, pages := cut(rows, p)
	if c.queryBool("include_annotation") {
		return a.sequencesWithAnnotations(part, len(rows), p, pages)
	}
	items := make([]any, len(part))
	for i, row := range part {
		items[i] = a.sequenceDocument(row, isoZ)
	}
	return answer(http.StatusOK, envelope(items, len(rows), p, pages))
}

// sequencesWithAnnotations is the answer that goes by another way through the service: other times, other blanks,
// other order of keys.
func (a *AnnotationAPI) sequencesWithAnnotations(part []*SequenceRow, total int, p page, pages int64) reply {
	items := make([]any, len(part))
	for i, row := range part {
		var annotation any
		if own, ok := a.annotations[a.bySequence[row.ID].annotation]; ok {
			annotation = a.annotationDocument(own, isoBlank, false)
		}
		items[i] = append(a.sequenceDocument(row, isoBlank), pyMember{"annotation", annotation})
	}
	return reply{status: http.StatusOK, spaced: true, body: pyDict{
		{"items", items}, {"page", p.number}, {"pages", pages}, {"size", p.size}, {"total", int64(total)},
	}}
}

// equals is true without a filter.
func equals[T comparable](filter *T, value T) bool { return filter == nil || *filter == value }

func (a *AnnotationAPI) sequenceMatches(row *SequenceRow, f sequenceFilter) bool {
	return equals(f.source, row.SourceAPI) &&
		equals(f.cameraID, row.CameraID) &&
		equals(f.cameraName, row.CameraName) &&
		equals(f.organisationID, row.OrganisationID) &&
		equals(f.organisationName, row.OrganisationName) &&
		equals(f.platformAlert, row.PlatformAlertID) &&
		(f.from == nil || !row.RecordedAt.Before(*f.from)) &&
		(f.to == nil || !row.RecordedAt.After(*f.to)) &&
		labelMatches(f.label, row.IsWildfire) &&
		a.annotationMatches(row, f)
}

// labelMatches compares the platform's label; "null" means unclassified, an unknown value no filter.
func labelMatches(filter, label *string) bool {
	switch {
	case filter == nil:
		return true
	case *filter == "null":
		return label == nil
	case !slices.Contains(platformLabels(), *filter):
		return true
	}
	return label != nil && *label == *filter
}

// annotationMatches applies the filters on a sequence's annotation. As in SQL, a comparison with an annotation that
// does not exist is not true.
func (a *AnnotationAPI) annotationMatches(row *SequenceRow, f sequenceFilter) bool {
	own, has := a.annotations[a.bySequence[row.ID].annotation]
	if !equals(f.hasAnnotation, has) || !a.stageMatches(own, f.stages) {
		return false
	}
	flags := f.missedSmoke != nil || f.smoke != nil || f.falsePositives != nil || f.unsure != nil ||
		f.needsLocalization != nil || len(f.fpTypes) > 0 || len(f.smokeTypes) > 0 || f.completion != "all"
	if !flags {
		return true
	}
	return has &&
		equals(f.missedSmoke, own.MissedSmoke) &&
		equals(f.smoke, own.hasSmoke()) &&
		equals(f.falsePositives, len(own.falsePositives()) > 0) &&
		equals(f.unsure, own.Unsure) &&
		equals(f.needsLocalization, own.needsLocalization()) &&
		(len(f.fpTypes) == 0 || intersects(f.fpTypes, own.falsePositives())) &&
		(len(f.smokeTypes) == 0 || intersects(f.smokeTypes, own.smokes())) &&
		a.completionMatches(own, f.completion)
}

// stageMatches accepts any of the stages; unknown ones are left out, and nothing left is no filter.
func (a *AnnotationAPI) stageMatches(own *AnnotationRow, stages []string) bool {
	known := false
	for _, stage := range stages {
		switch {
		case stage == "no_annotation":
			if own == nil {
				return true
			}
		case !slices.Contains(a.stages(), stage):
			continue
		case own != nil && own.Stage == stage:
			return true
		}
		known = true
	}
	return !known
}

func intersects(x, y []string) bool {
	return slices.ContainsFunc(x, func(s string) bool { return slices.Contains(y, s) })
}

// completionMatches compares how many detections of an annotated sequence are annotated themselves.
func (a *AnnotationAPI) completionMatches(own *AnnotationRow, completion string) bool {
	if completion == "all" {
		return true
	}
	detections := a.bySequence[own.SequenceID].detections
	if own.Stage != stageAnnotated || len(detections) == 0 {
		return false
	}
	return (a.unlocalized(own.SequenceID) == 0) == (completion == "complete")
}

// unlocalized counts the detections of a sequence without an annotated detection annotation.
func (a *AnnotationAPI) unlocalized(sequence int64) int {
	index, ok := a.bySequence[sequence]
	if !ok {
		return 0
	}
	count := 0
	for _, id := range index.detections {
		if a.detections[id].Stage != stageAnnotated {
			count++
		}
	}
	return count
}
