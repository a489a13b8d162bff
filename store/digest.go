package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
)

// Digest is equal for bundles of equal content (docs/bundle-format.md, Digest).
func (b *Bundle) Digest(ctx context.Context) (Hash, error) {
	h := sha256.New()
	var buffer []byte
	line := func(kind string, doc json.RawMessage) {
		buffer = append(append(buffer[:0], kind...), ' ')
		buffer = append(canonical(buffer, doc), '\n')
		h.Write(buffer)
	}
	h.Write([]byte("pyrobundle digest 1\n"))
	if api := b.Source().API; api != "" {
		line("source", appendString(nil, api))
	}
	for o, err := range b.Organizations(ctx) {
		if err != nil {
			return Hash{}, fmt.Errorf("digest organizations: %w", err)
		}
		line("organization", o.Document)
	}
	for c, err := range b.Cameras(ctx) {
		if err != nil {
			return Hash{}, fmt.Errorf("digest cameras: %w", err)
		}
		line("camera", c.Document)
	}
	for e, err := range b.entries(ctx, bucketSequences, nil) {
		var r SequenceRecord
		if err == nil {
			r, err = b.codec.openRecord(documentID(e.key), e.body)
		}
		if err != nil {
			return Hash{}, fmt.Errorf("digest sequences: %w", err)
		}
		line("sequence", r.Sequence.Document)
		for _, d := range r.Detections {
			if err := ctx.Err(); err != nil {
				return Hash{}, fmt.Errorf("digest sequences: %w", err)
			}
			line("detection", d.Document)
		}
		slices.SortFunc(r.Frames, func(a, b Frame) int { return cmp.Compare(a.Key, b.Key) })
		for _, f := range r.Frames {
			if f.Image.IsZero() {
				continue
			}
			doc := appendString([]byte(`{"image":"`+f.Image.String()+`","key":`), f.Key)
			line("image", append(doc, '}'))
		}
	}
	return Hash(h.Sum(nil)), nil
}
