package fetch

import (
	"context"
	"crypto/sha256"
	"hash/maphash"
	"strconv"
	"sync"
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
			missing := known.IsZero()
			if missing {
				known = standIn(frame.Key)
			}
			*frame = store.Frame{Key: frame.Key, Image: known}
			if missing && !r.foreseen.again(d.record.OrganizationID(), frame.Key) {
				r.tally.count(func(result *Result) {
					result.Images.Total++
					result.Images.Downloaded++
				})
				continue
			}
		}
		r.countImage(*frame, 0)
	}
	r.account(d, changed, false)
	if r.emit != nil {
		return r.emit(d.record)
	}
	return nil
}

// standIn is the hash of an image that a dry run would have downloaded.
func standIn(key string) store.Hash { return sha256.Sum256([]byte(key)) }

// foreseen remembers which images a dry run has counted, in bounded memory: a slot holds the last of the images that fall into
// it. Sequences that share an image follow each other closely, so that it is still there when the next one shows it.
type foreseen struct {
	mu    sync.Mutex
	seed  maphash.Seed
	slots []uint64
}

const foreseenSlots = 1 << 17 // of 8 bytes; a day of the whole platform has some ten thousand images

func newForeseen() *foreseen {
	return &foreseen{seed: maphash.MakeSeed(), slots: make([]uint64, foreseenSlots)}
}

// again reports whether the image was counted before, and counts it.
func (f *foreseen) again(organization int64, key string) bool {
	image := maphash.String(f.seed, strconv.FormatInt(organization, 10)+"/"+key)
	f.mu.Lock()
	defer f.mu.Unlock()
	slot := &f.slots[image%foreseenSlots]
	again := *slot == image
	*slot = image
	return again
}

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
