package load

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
)

// there is the sequence on the target that a run works on.
type there struct {
	known
	isNew   bool          // created by this run, or, in a dry run, to be created
	foreign string        // why it is another tool's; one that is left alone may not exist at all
	turn    *httpapi.Turn // to hold its rows, where they are many
}

// detectionPlan is what the target's detections of a sequence come to beside the wanted ones.
type detectionPlan struct {
	missing    []wantedDetection
	present    int
	foreign    string                 // how another tool's work shows; "" where it does not
	detections []annotation.Detection // what generation works from: one row for each detection, ordered
	duplicates []annotation.Detection // later rows of the same detections
	removable  []annotation.Detection // those of duplicates that may go, once no annotation refers to them
}

// staying are the rows that the target has once removable ones are gone, by recorded_at.
func (p detectionPlan) staying() []annotation.Detection {
	rows := slices.Clone(p.detections)
	for _, row := range p.duplicates {
		if !slices.ContainsFunc(p.removable, func(r annotation.Detection) bool { return r.ID == row.ID }) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b annotation.Detection) int { return a.RecordedAt.Compare(b.RecordedAt.Time) })
	return rows
}

// compare holds the wanted detections against the target's rows. Rows of detections that are not wanted are no
// contradiction: an earlier run may have had a wider limit, or a newer bundle.
func compare(want wanted, there there, rows []annotation.Detection) detectionPlan {
	plan := detectionPlan{foreign: there.foreign}
	plan.detections, plan.duplicates = oncePerDetection(rows)
	have := make(map[int64]annotation.Detection, len(plan.detections))
	for _, row := range plan.detections {
		have[row.AlertAPIID] = row
	}
	differing := 0
	for _, d := range want.detections {
		row, ok := have[d.id]
		if !ok {
			plan.missing = append(plan.missing, d)
			continue
		}
		plan.present++
		if reason := differs(d, row); reason != "" {
			differing++
			if plan.foreign == "" {
				plan.foreign = reason
			}
		}
	}
	if differing > 1 {
		plan.foreign = fmt.Sprintf("%s (and %d more)", plan.foreign, differing-1)
	}
	if plan.foreign == "" { // of what is another tool's, nothing is removed
		plan.removable = removable(plan.detections, plan.duplicates)
	}
	return plan
}

// differs says how a row contradicts the bundle; "" where it does not.
func differs(d wantedDetection, row annotation.Detection) string {
	switch {
	case !microseconds(row.RecordedAt.Time).Equal(microseconds(d.recordedAt)):
		return fmt.Sprintf("detection %d is there with time %s, where the bundle has %s", d.id,
			annotation.FormatTime(row.RecordedAt.Time), annotation.FormatTime(d.recordedAt))
	case !sameBoxes(row.AlgoPredictions.Boxes(), d.own):
		return fmt.Sprintf("detection %d is there with other boxes", d.id)
	}
	if !sameBoxes(othersOf(row), d.others) {
		return fmt.Sprintf("detection %d is there with other boxes beside its own", d.id)
	}
	return ""
}

func othersOf(row annotation.Detection) []annotate.Box {
	if row.OthersBBoxes == nil {
		return nil
	}
	return row.OthersBBoxes.Boxes()
}

// sameBoxes compares boxes whatever their order.
func sameBoxes(a, b []annotate.Box) bool {
	return slices.Equal(sortedBoxes(a), sortedBoxes(b))
}

func sortedBoxes(boxes []annotate.Box) []annotate.Box {
	sorted := slices.Clone(boxes)
	slices.SortFunc(sorted, func(a, b annotate.Box) int {
		return cmp.Or(cmp.Compare(a.X1, b.X1), cmp.Compare(a.Y1, b.Y1), cmp.Compare(a.X2, b.X2),
			cmp.Compare(a.Y2, b.Y2), cmp.Compare(a.Confidence, b.Confidence))
	})
	return sorted
}

// oncePerDetection keeps the earliest row of each detection, ordered by recorded_at, then the platform's id, and returns
// the later rows beside it (contract E14).
func oncePerDetection(rows []annotation.Detection) (kept, later []annotation.Detection) {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b annotation.Detection) int {
		return cmp.Or(cmp.Compare(a.AlertAPIID, b.AlertAPIID), cmp.Compare(a.ID, b.ID))
	})
	for i, row := range sorted {
		if i > 0 && row.AlertAPIID == sorted[i-1].AlertAPIID {
			later = append(later, row)
		} else {
			kept = append(kept, row)
		}
	}
	slices.SortStableFunc(kept, func(a, b annotation.Detection) int { // stable: by the platform's id where times are equal
		return a.RecordedAt.Compare(b.RecordedAt.Time)
	})
	return kept, later
}

// removable returns the duplicates that are nothing but a second copy: equal to the row that stays, and with an image
// object of their own, because the API deletes the object with the row (contract E33).
func removable(kept, duplicates []annotation.Detection) []annotation.Detection {
	first := make(map[int64]annotation.Detection, len(kept))
	users := make(map[string]int, len(kept)+len(duplicates))
	for _, row := range kept {
		first[row.AlertAPIID] = row
		users[row.BucketKey]++
	}
	for _, row := range duplicates {
		users[row.BucketKey]++
	}
	var removable []annotation.Detection
	for _, row := range duplicates {
		stays := first[row.AlertAPIID]
		if users[row.BucketKey] == 1 && row.RecordedAt.Equal(stays.RecordedAt.Time) &&
			sameBoxes(row.AlgoPredictions.Boxes(), stays.AlgoPredictions.Boxes()) && sameBoxes(othersOf(row), othersOf(stays)) {
			removable = append(removable, row)
		}
	}
	return removable
}

// agrees returns an error where a sequence of the target that has our id is another one (DESIGN, promise 10). It repeats what
// redact leaves of either.
func agrees(want annotation.NewSequence, have annotation.Sequence, redact func(string) string) error {
	var differences []string
	differ := func(what string, there, here any) {
		if there != here {
			differences = append(differences, fmt.Sprintf("%s %s, not %s", what, quoted(there, redact), quoted(here, redact)))
		}
	}
	differ("camera", have.CameraID, want.CameraID)
	differ("camera name", have.CameraName, want.CameraName)
	differ("organization", have.OrganisationID, want.OrganisationID)
	if differences == nil {
		return nil
	}
	return fmt.Errorf("%w on the target: %s; not touched", errAlien, strings.Join(differences, ", "))
}

// drift says which metadata of a sequence changed since it was loaded, as far as redact shows them. The API cannot update them.
func drift(want annotation.NewSequence, have annotation.Sequence, redact func(string) string) string {
	var changed []string
	note := func(what string, same bool, there, here any) {
		if !same {
			changed = append(changed, fmt.Sprintf("%s is %s, now %s", what, quoted(there, redact), quoted(here, redact)))
		}
	}
	note("is_wildfire", equalValues(have.IsWildfire, want.IsWildfire), value(have.IsWildfire), value(want.IsWildfire))
	note("azimuth", equalValues(have.Azimuth, want.Azimuth), value(have.Azimuth), value(want.Azimuth))
	note("recorded_at", have.RecordedAt.Equal(want.RecordedAt),
		annotation.FormatTime(have.RecordedAt.Time), annotation.FormatTime(want.RecordedAt))
	note("last_seen_at", have.LastSeenAt.Equal(want.LastSeenAt),
		annotation.FormatTime(have.LastSeenAt.Time), annotation.FormatTime(want.LastSeenAt))
	note("lat", have.Lat == want.Lat, have.Lat, want.Lat)
	note("lon", have.Lon == want.Lon, have.Lon, want.Lon)
	note("organisation_name", have.OrganisationName == want.OrganisationName, have.OrganisationName, want.OrganisationName)
	return strings.Join(changed, ", ")
}

// staleTemporal returns the verdict to be written where the bundle knows one that the target has not. A version that the
// bundle does not know stays as the target has it: unknown never overwrites known.
func staleTemporal(want, have annotation.Temporal) (annotation.Temporal, bool) {
	if want.Score == nil {
		return have, false
	}
	fresh := have
	fresh.Score = want.Score
	if want.ModelVersion != nil {
		fresh.ModelVersion = want.ModelVersion
	}
	if want.APIVersion != nil {
		fresh.APIVersion = want.APIVersion
	}
	stale := !equalValues(fresh.Score, have.Score) || !equalValues(fresh.ModelVersion, have.ModelVersion) ||
		!equalValues(fresh.APIVersion, have.APIVersion)
	return fresh, stale
}

func equalValues[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

func value[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func quoted(v any, redact func(string) string) string {
	switch v := v.(type) {
	case nil:
		return "unknown"
	case string:
		return fmt.Sprintf("%q", redact(v))
	default:
		return redact(fmt.Sprint(v)) // a password may be a number
	}
}
