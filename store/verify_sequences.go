package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// sequences decodes every sequence and compares it with its summary and with the index of images.
func (v *verification) sequences(ctx context.Context) error {
	for e, err := range v.b.entries(ctx, bucketSequences, nil) {
		if e.key == nil {
			return v.unreadable(err)
		}
		if err != nil {
			continue // buckets reported it
		}
		v.report.Sequences++
		id := documentID(e.key)
		object := describeKey(bucketSequences, e.key)
		r, err := v.b.codec.openRecord(id, e.body)
		if err != nil {
			v.add(object, reason(err), id)
			continue
		}
		if err := v.sequence(ctx, &r); err != nil {
			if ctx.Err() != nil {
				return err
			}
			v.add(object, reason(err), id)
		}
	}
	for _, bucket := range []struct {
		name string
		kind kind
	}{{bucketCameras, cameraKind()}, {bucketOrganizations, organizationKind()}} {
		for e, err := range v.b.entries(ctx, bucket.name, nil) {
			if e.key == nil {
				return v.unreadable(err)
			}
			if err != nil {
				continue
			}
			if err := v.document(bucket.kind, e); err != nil {
				v.add(describeKey(bucket.name, e.key), reason(err))
			}
		}
	}
	return nil
}

func (v *verification) document(k kind, e entry) error {
	if err := checkDocument(k, e.body); err != nil {
		return err
	}
	var head struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal(e.body, &head); err != nil {
		return err
	}
	if head.ID != documentID(e.key) {
		return fmt.Errorf("its document is that of %d", head.ID)
	}
	return forbidden(k, e.body)
}

// sequence checks one decoded record.
func (v *verification) sequence(ctx context.Context, r *SequenceRecord) error {
	documents := []struct {
		kind kind
		text json.RawMessage
	}{{sequenceKind(), r.Sequence.Document}}
	if r.Camera != nil {
		documents = append(documents, struct {
			kind kind
			text json.RawMessage
		}{cameraKind(), r.Camera.Document})
	}
	if r.Organization != nil {
		documents = append(documents, struct {
			kind kind
			text json.RawMessage
		}{organizationKind(), r.Organization.Document})
	}
	for _, d := range documents {
		if err := forbidden(d.kind, d.text); err != nil {
			return err
		}
	}
	keys := make(map[string]bool, len(r.Frames))
	for _, f := range r.Frames {
		keys[f.Key] = true
		if isSigned(f.Key) || isSigned(f.Problem) {
			return errors.New("a frame holds a signed URL")
		}
		if f.Image.IsZero() {
			continue
		}
		if body, err := v.b.get(ctx, bucketImages, f.Image[:]); err == nil && body == nil {
			return fmt.Errorf("its image %s is not in the bundle", f.Image)
		}
	}
	for _, d := range r.Detections {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := forbidden(detectionKind(), d.Document); err != nil {
			return err
		}
		if !keys[d.BucketKey] {
			return fmt.Errorf("its detection %d has no frame", d.ID)
		}
	}
	if err := checkOrder(r); err != nil {
		return err
	}
	body, err := v.b.get(ctx, bucketByDay, dayKey(r.Sequence.StartedAt.Time, r.Sequence.ID))
	if err != nil {
		return nil //nolint:nilerr // buckets reported it
	}
	want, err := json.Marshal(summarise(r))
	if err != nil {
		return err
	}
	if !bytes.Equal(body, want) {
		return errors.New("its summary does not describe it")
	}
	return nil
}

// checkOrder returns an error where detections or frames are not as arrange puts them: the digest, and whoever loads them, go
// by their order.
func checkOrder(r *SequenceRecord) error {
	ordered := SequenceRecord{Detections: slices.Clone(r.Detections), Frames: slices.Clone(r.Frames)}
	arrange(&ordered)
	if !slices.EqualFunc(r.Detections, ordered.Detections, func(a, b Detection) bool { return a.ID == b.ID }) {
		return errors.New("its detections are out of order")
	}
	if !slices.EqualFunc(r.Frames, ordered.Frames, func(a, b Frame) bool { return a.Key == b.Key }) {
		return errors.New("its frames are out of order")
	}
	return nil
}
