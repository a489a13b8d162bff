package sandbox

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// AddUser gives the API another account. A name that is taken gets the new password.
func (a *AnnotationAPI) AddUser(login, password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.users {
		if a.users[i].name == login {
			a.users[i].password = password
			return
		}
	}
	a.users = append(a.users, user{id: int64(len(a.users)) + 1, name: login, password: password})
}

// DeactivateUser lets the account fail with 400 from now on, its tokens included.
func (a *AnnotationAPI) DeactivateUser(login string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.users {
		if a.users[i].name == login {
			a.users[i].inactive = true
		}
	}
}

// userID is 0 for names without an account.
func (a *AnnotationAPI) userID(name string) int64 {
	for _, u := range a.users {
		if u.name == name {
			return u.id
		}
	}
	return 0
}

// ExpireTokens makes every token and presigned address given out so far invalid.
func (a *AnnotationAPI) ExpireTokens() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secret = newSecret()
}

// Sequences returns copies of all sequences, by id.
func (a *AnnotationAPI) Sequences() []SequenceRow {
	a.mu.Lock()
	defer a.mu.Unlock()
	return copies(a.sequences, func(row *SequenceRow) SequenceRow { return *row })
}

// Detections returns copies of the detections of a sequence, by id; of sequence 0, of all.
func (a *AnnotationAPI) Detections(sequence int64) []DetectionRow {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := copies(a.detections, copyDetection)
	if sequence == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(row DetectionRow) bool { return row.SequenceID != sequence })
}

func copyDetection(row *DetectionRow) DetectionRow {
	out := *row
	out.Predictions, out.Others, out.Auto = slices.Clone(row.Predictions), slices.Clone(row.Others), slices.Clone(row.Auto)
	return out
}

// Annotations returns copies of all sequence annotations, by id.
func (a *AnnotationAPI) Annotations() []AnnotationRow {
	a.mu.Lock()
	defer a.mu.Unlock()
	return copies(a.annotations, copyAnnotation)
}

func copyAnnotation(row *AnnotationRow) AnnotationRow {
	out := *row
	out.Contributors = slices.Clone(row.Contributors)
	out.Tracks = slices.Clone(row.Tracks)
	for i := range out.Tracks {
		out.Tracks[i].FalsePositive = slices.Clone(out.Tracks[i].FalsePositive)
		out.Tracks[i].Boxes = slices.Clone(out.Tracks[i].Boxes)
	}
	return out
}

func copies[T any](rows map[int64]*T, duplicate func(*T) T) []T {
	out := make([]T, 0, len(rows))
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, duplicate(rows[id]))
	}
	return out
}

// Image returns the stored bytes of a detection's image; false when there is none or its bytes were discarded.
func (a *AnnotationAPI) Image(detection int64) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	row, ok := a.detections[detection]
	if !ok {
		return nil, false
	}
	stored, ok := a.objects[row.BucketKey]
	if !ok || stored.data == nil && stored.size > 0 {
		return nil, false
	}
	return bytes.Clone(stored.data), true
}

// DropImage removes the image of a detection from the storage, as an accident there would.
func (a *AnnotationAPI) DropImage(detection int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if row, ok := a.detections[detection]; ok {
		delete(a.objects, row.BucketKey)
	}
}

// Skipped reports whether an alert of the newest generation is skipped, and with which note.
func (a *AnnotationAPI) Skipped(source string, platformAlert int64) (note string, skipped bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, skipped := a.skips[alertKey{source, platformAlert}]
	if s.note != nil {
		note = *s.note
	}
	return note, skipped
}

// EditAnnotation changes a sequence annotation as a person at work would have left it: stage, contributors, types.
// Ids and times of the row stay; contributors without an account get one. False: no such annotation.
func (a *AnnotationAPI) EditAnnotation(id int64, edit func(*AnnotationRow)) bool {
	a.mu.Lock()
	row, ok := a.annotations[id]
	if !ok {
		a.mu.Unlock()
		return false
	}
	next := copyAnnotation(row)
	edit(&next)
	next.ID, next.SequenceID, next.CreatedAt = row.ID, row.SequenceID, row.CreatedAt
	*row = next
	unknown := slices.DeleteFunc(slices.Clone(next.Contributors), func(name string) bool { return a.userID(name) != 0 })
	a.mu.Unlock()
	for _, name := range distinct(unknown) {
		a.AddUser(name, string(newSecret()))
	}
	return true
}

// EditSequence changes a sequence as another tool would have written it. Its id and its identity (source and
// alert_api_id) stay. False: no such sequence.
func (a *AnnotationAPI) EditSequence(id int64, edit func(*SequenceRow)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	row, ok := a.sequences[id]
	if !ok {
		return false
	}
	next := *row
	edit(&next)
	next.ID, next.SourceAPI, next.AlertAPIID = row.ID, row.SourceAPI, row.AlertAPIID
	*row = next
	return true
}

// EditDetection changes a detection: its predictions, as another tool would have split them, or its own annotation
// (Stage, Boxes). Its ids and its image stay. False: no such detection.
func (a *AnnotationAPI) EditDetection(id int64, edit func(*DetectionRow)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	row, ok := a.detections[id]
	if !ok {
		return false
	}
	next := copyDetection(row)
	edit(&next)
	next.ID, next.SequenceID, next.AlertAPIID, next.BucketKey = row.ID, row.SequenceID, row.AlertAPIID, row.BucketKey
	next.SHA256, next.Size = row.SHA256, row.Size
	*row = next
	return true
}

// RequestCount is how often an operation was asked for.
type RequestCount struct {
	Route string // "POST /api/v1/detections/", variable parts in braces
	Count int
}

// Requests returns the counts of all operations asked for since the last ResetCounters, by route.
func (a *AnnotationAPI) Requests() []RequestCount {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]RequestCount, 0, len(a.requests))
	for route, count := range a.requests {
		out = append(out, RequestCount{route, count})
	}
	slices.SortFunc(out, func(x, y RequestCount) int { return cmp.Compare(x.Route, y.Route) })
	return out
}

// RequestsTo returns the count of one operation.
func (a *AnnotationAPI) RequestsTo(route string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[route]
}

// Writes returns how many requests have changed something since the last ResetCounters: POST, PATCH and DELETE, logins
// excepted, that were answered with success.
func (a *AnnotationAPI) Writes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes
}

// ResetCounters starts counting anew.
func (a *AnnotationAPI) ResetCounters() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.requests)
	a.writes = 0
}
