package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"

	"pyrobundle/store"
)

// cropURL is the field crop_url: the URL of a detection's crop where it has one and it is asked for, null otherwise. The
// object behind it is not in a bundle, so the URL answers 404.
func cropURL(d store.Detection, wanted bool, sign func(key string) string) field {
	var view struct {
		Key *string `json:"crop_bucket_key"`
	}
	if !wanted || json.Unmarshal(d.Document, &view) != nil || view.Key == nil || *view.Key == "" {
		return null("crop_url")
	}
	return text("crop_url", sign(*view.Key))
}

// imagesPresent is the check of servers before 2026-07-22: one frame without image fails the whole answer (contract A.4).
func imagesPresent(record *store.SequenceRecord, rows []store.Detection) error {
	present := make(map[string]bool, len(record.Frames))
	for _, f := range record.Frames {
		present[f.Key] = !f.Image.IsZero()
	}
	for _, d := range rows {
		if !present[d.BucketKey] {
			return refuse(http.StatusNotFound, "File cannot be found on the bucket storage")
		}
	}
	return nil
}

// place says which sequence holds a detection.
type place struct{ detection, sequence int64 }

// detectionIndex holds a place for each detection of the bundle, by detection id: 16 bytes each. A bundle keeps detections
// inside their sequences and has no such index; building it reads every sequence once.
type detectionIndex []place

// indexing is one building of the index. Once done is closed, index or err is there.
type indexing struct {
	done  chan struct{}
	index detectionIndex
	err   error
}

// detections returns the index. The first call begins to build it, on behalf of nobody in particular: clients that give up
// sooner than it is there find it the next time. A building that failed is tried again by the next call.
func (s *server) detections(ctx context.Context) (detectionIndex, error) {
	s.indexMu.Lock()
	building := s.indexing
	if building == nil {
		building = &indexing{done: make(chan struct{})}
		s.indexing = building
		go s.build(building)
	}
	s.indexMu.Unlock()
	select {
	case <-building.done:
		return building.index, building.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the index of detections: %w", ctx.Err())
	}
}

// build fills in b. It ends by itself: it reads every sequence once and stops at the first that cannot be read, which in a
// bundle that has been closed is the next one.
func (s *server) build(b *indexing) {
	defer close(b.done)
	defer func() {
		if v := recover(); v != nil {
			b.err = fmt.Errorf("index detections: panic: %v\n%s", v, debug.Stack())
		}
		if b.err != nil {
			s.indexMu.Lock()
			s.indexing = nil
			s.indexMu.Unlock()
		}
	}()
	b.index, b.err = indexDetections(context.Background(), s.bundle)
}

// indexDetections reads the whole bundle.
func indexDetections(ctx context.Context, bundle *store.Bundle) (detectionIndex, error) {
	index := detectionIndex{}
	for record, err := range bundle.Sequences(ctx, store.Query{}) {
		if err != nil {
			return nil, fmt.Errorf("index detections: %w", err)
		}
		for _, d := range record.Detections {
			index = append(index, place{d.ID, record.Sequence.ID})
		}
	}
	// A detection that moved between two fetches is in two sequences: the one that started last has it now.
	slices.Reverse(index)
	slices.SortStableFunc(index, func(a, b place) int { return cmp.Compare(a.detection, b.detection) })
	index = slices.CompactFunc(index, func(a, b place) bool { return a.detection == b.detection })
	return slices.Clone(index), nil // without the room in which it grew
}

// find returns the sequence that holds a detection.
func (x detectionIndex) find(detection int64) (sequence int64, ok bool) {
	i, ok := slices.BinarySearchFunc(x, detection, func(p place, id int64) int { return cmp.Compare(p.detection, id) })
	if !ok {
		return 0, false
	}
	return x[i].sequence, true
}

// readDetection returns the detection of the path, with its sequence, if the caller may see it.
func (s *server) readDetection(c *call) (store.SequenceRecord, store.Detection, error) {
	index, err := s.detections(c.r.Context())
	if err != nil {
		return store.SequenceRecord{}, store.Detection{}, err
	}
	id, ok := index.find(c.id)
	if !ok {
		return store.SequenceRecord{}, store.Detection{}, noEntry("Detection")
	}
	record, err := s.bundle.Sequence(c.r.Context(), id)
	if err != nil {
		return record, store.Detection{}, fmt.Errorf("read sequence %d: %w", id, err)
	}
	i := slices.IndexFunc(record.Detections, func(d store.Detection) bool { return d.ID == c.id })
	if i < 0 {
		return record, store.Detection{}, noEntry("Detection")
	}
	if !c.caller.sees(record.OrganizationID()) {
		return record, store.Detection{}, forbidden()
	}
	return record, record.Detections[i], nil
}

// detection answers GET /detections/{id}.
func (s *server) detection(c *call) error {
	_, d, err := s.readDetection(c)
	if err != nil {
		return err
	}
	return c.document(d.Document)
}

// detectionURL answers GET /detections/{id}/url: fresh URLs of a detection's image and crop.
func (s *server) detectionURL(c *call) error {
	record, d, err := s.readDetection(c)
	if err != nil {
		return err
	}
	sign := s.storage.signFor(c.r, record.OrganizationID())
	if s.options.OldPlatform {
		if err := imagesPresent(&record, []store.Detection{d}); err != nil {
			return err
		}
		return c.document(json.RawMessage("{}"), text("url", sign(d.BucketKey)))
	}
	return c.document(json.RawMessage("{}"), text("url", sign(d.BucketKey)), cropURL(d, true, sign))
}

// listingWindow is how many detections a listing by id gathers at once: about 2 MB. Ids of sequences that were live at the
// same time alternate; within a window each sequence is read once however they do.
const listingWindow = 4096

// listDetections answers GET /detections/: everything that the caller may see, by id, without limit.
func (s *server) listDetections(c *call) error {
	index, err := s.detections(c.r.Context())
	if err != nil {
		return err
	}
	answer := c.list()
	for window := range slices.Chunk(index, listingWindow) {
		docs, err := s.gather(c, window)
		if err != nil {
			return err
		}
		for i, doc := range docs {
			if doc == nil {
				continue
			}
			if err := answer.add(doc); err != nil {
				return fmt.Errorf("detection %d: %w", window[i].detection, err)
			}
		}
	}
	return answer.end()
}

// gather returns the documents of the detections at places; nil for those that the caller may not see.
func (s *server) gather(c *call, places []place) ([]json.RawMessage, error) {
	positions := map[int64]map[int64]int{} // sequence → detection → position in places
	for i, p := range places {
		if positions[p.sequence] == nil {
			positions[p.sequence] = map[int64]int{}
		}
		positions[p.sequence][p.detection] = i
	}
	docs := make([]json.RawMessage, len(places))
	for sequence, wanted := range positions {
		record, err := s.bundle.Sequence(c.r.Context(), sequence)
		if err != nil {
			return nil, fmt.Errorf("read sequence %d: %w", sequence, err)
		}
		if !c.caller.sees(record.OrganizationID()) {
			continue
		}
		for _, d := range record.Detections {
			if i, ok := wanted[d.ID]; ok {
				docs[i] = slices.Clone(d.Document) // of its own, so that the record can go
			}
		}
	}
	return docs, nil
}
