package fetch

import (
	"context"
	"crypto/sha256"
	"time"

	"pyrobundle/store"
)

// usualImage is the size of a frame, in bytes, where no image is held to know better: 924 frames of the platform's
// reference data have 259 MB (contract I), production's have a little less.
const usualImage = 250_000

// foresee counts what fetching the draft would do.
func (r *run) foresee(ctx context.Context, d *draft) error {
	changed := d.changed()
	for i := range d.record.Frames {
		frame := &d.record.Frames[i]
		if frame.Image.IsZero() && (!frame.Permanent || r.cfg.RetryIncomplete) {
			known, err := r.known(ctx, d, *frame)
			if err != nil {
				return err
			}
			if known.IsZero() {
				*frame = store.Frame{Key: frame.Key, Image: standIn(frame.Key)}
				r.tally.count(func(result *Result) {
					result.Images.Total++
					result.Images.Downloaded++
				})
				continue
			}
			*frame = store.Frame{Key: frame.Key, Image: known}
		}
		r.countImage(*frame, 0)
	}
	r.account(d, changed, false)
	if r.emit != nil {
		r.emit(d.record)
	}
	return nil
}

// standIn is the hash of an image that a dry run would have downloaded.
func standIn(key string) store.Hash { return sha256.Sum256([]byte(key)) }

// estimate says what n images would cost: their size by the mean of what is held, their time at the pace of this dry run's
// requests, and no faster than the limit.
func (r *run) estimate(n int64) *Estimate {
	e := &Estimate{Images: n, Bytes: n * r.imageBytes}
	e.Duration = r.src.each() * time.Duration(n) / time.Duration(r.cfg.Workers)
	if r.cfg.BytesPerSecond > 0 {
		e.Duration = max(e.Duration, time.Duration(float64(e.Bytes)/float64(r.cfg.BytesPerSecond)*float64(time.Second)))
	}
	return e
}

// meanImage is the mean size, in bytes, of the images held.
func (r *run) meanImage(ctx context.Context) (int64, error) {
	if r.have == nil {
		return usualImage, nil
	}
	stats, err := r.have.Stats(ctx)
	if err != nil || stats.Images == 0 {
		return usualImage, err
	}
	return stats.ImageBytes / stats.Images, nil
}
