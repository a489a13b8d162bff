package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// detections returns the index, built at the first call.
func (s *server) detections(ctx context.Context) (detectionIndex, error) {
	s.whereMu.Lock()
	defer s.whereMu.Unlock()
	if s.where != nil {
		return s.where, nil
	}
	index := detectionIndex{}
	for record, err := range s.bundle.Sequences(ctx, store.Query{}) {
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
	s.where = slices.Clip(index)
	return s.where, nil
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
	if err != nil && !errors.Is(err, store.ErrNotFound) {
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

// listDetections answers GET /detections/: everything that the caller may see, by id, without limit. Only the rows of the
// sequences around the current id are in memory.
func (s *server) listDetections(c *call) error {
	index, err := s.detections(c.r.Context())
	if err != nil {
		return err
	}
	near := neighbours{bundle: s.bundle}
	answer := c.list()
	for _, at := range index {
		record, err := near.read(c.r.Context(), at.sequence)
		if err != nil {
			return err
		}
		if !c.caller.sees(record.OrganizationID()) {
			continue
		}
		i := slices.IndexFunc(record.Detections, func(d store.Detection) bool { return d.ID == at.detection })
		if i < 0 {
			continue // the bundle has changed since the index was made
		}
		if err := answer.add(record.Detections[i].Document); err != nil {
			return fmt.Errorf("detection %d: %w", at.detection, err)
		}
	}
	return answer.end()
}

// maxNeighbours bounds the detections that a listing by id holds at once, but for those of one sequence. Ids of sequences
// that were live at the same time alternate, so the few last read are asked for again and again.
const maxNeighbours = 4096

// neighbours keeps the sequences read last, for one request.
type neighbours struct {
	bundle  *store.Bundle
	records []*store.SequenceRecord // oldest first
	rows    int
}

func (n *neighbours) read(ctx context.Context, id int64) (*store.SequenceRecord, error) {
	for _, r := range slices.Backward(n.records) {
		if r.Sequence.ID == id {
			return r, nil
		}
	}
	record, err := n.bundle.Sequence(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		record.Sequence.ID = id // gone since the index was made: without rows
	} else if err != nil {
		return nil, fmt.Errorf("read sequence %d: %w", id, err)
	}
	n.records = append(n.records, &record)
	n.rows += len(record.Detections)
	for n.rows > maxNeighbours && len(n.records) > 1 {
		n.rows -= len(n.records[0].Detections)
		n.records = slices.Delete(n.records, 0, 1)
	}
	return &record, nil
}
