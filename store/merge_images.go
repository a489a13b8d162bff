package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// image sees to it that the bundle has an image under its key.
func (m *merge) image(ctx context.Context, organizationID int64, key string, h Hash) error {
	one := &m.images[int(h[0])%len(m.images)]
	one.Lock()
	defer one.Unlock()
	stored, err := m.writer.StatImage(ctx, h)
	has := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if under, err := m.writer.ImageOf(ctx, organizationID, key); err == nil && under.Hash == h && has {
		m.count(func(r *MergeResult) { r.Reused++ })
		return nil
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	format, data := stored.Format, []byte(nil)
	if has {
		data, err = m.writer.ReadImage(ctx, h)
	}
	if !has || errors.Is(err, ErrCorrupt) {
		format, data, err = m.readImage(ctx, h)
	}
	if err != nil {
		return err
	}
	if _, err := m.writer.PutImage(ctx, organizationID, key, format, data); err != nil {
		return err
	}
	m.count(func(r *MergeResult) {
		if has {
			r.Reused++
			return
		}
		r.Images++
		r.ImageBytes += int64(len(data))
	})
	return nil
}

// errNowhereWhole is of an image that is damaged in every bundle that has it.
var errNowhereWhole = errors.New("no bundle has it whole")

// readImage reads an image from the first bundle that has it sound.
func (m *merge) readImage(ctx context.Context, h Hash) (Format, []byte, error) {
	var damage error
	for _, b := range m.bundles[1:] {
		image, err := b.StatImage(ctx, h)
		var data []byte
		if err == nil {
			data, err = b.ReadImage(ctx, h)
		}
		switch {
		case err == nil:
			return image.Format, data, nil
		case errors.Is(err, ErrNotFound):
		case errors.Is(err, ErrCorrupt):
			damage = errors.Join(damage, fmt.Errorf("bundle %s: %w", b.path, err))
		default:
			return "", nil, fmt.Errorf("bundle %s: %w", b.path, err)
		}
	}
	if damage == nil {
		damage = corruptf("image %s is in none of the bundles", h)
	}
	return "", nil, fmt.Errorf("%w: %w", errNowhereWhole, damage)
}

// keys takes over images that no sequence shows yet: an interrupted fetch has them, and its next run would ask for them
// again. Where a key leads to different images the bundle's own stays. Of a damaged one nothing is lost that a fetch would not ask
// for again.
func (m *merge) keys(ctx context.Context) error {
	return m.each(ctx, bucketKeys, func(ctx context.Context, row []*entry) error {
		if row[0] != nil {
			return nil
		}
		var key []byte
		var image Hash
		for i, e := range row {
			if e == nil {
				continue
			}
			body, err := m.readable(i, e)
			if err != nil {
				return err
			}
			h, err := decodeHash(body)
			if err == nil && len(e.key) <= 8 {
				err = corruptf("index: a key of %d bytes", len(e.key))
			}
			if err != nil {
				return fmt.Errorf("bundle %s: %w", m.bundles[i].path, err)
			}
			if key = e.key; bytes.Compare(h[:], image[:]) > 0 {
				image = h
			}
		}
		err := m.image(ctx, documentID(key[:8]), string(key[8:]), image)
		if errors.Is(err, errNowhereWhole) {
			m.count(func(r *MergeResult) { r.Damaged++ })
			return nil
		}
		return err
	})
}
