package fetch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// Sizes of images in memory. A camera's frame has 100 to 400 kB, so that half of the memory is room enough for the downloads
// of 16 workers, and the other half for what waits for the disk meanwhile. An image that needs more room than a download
// has at first is downloaded again; after that, downloads have the room that such images need.
const (
	bufferBytes = 32 << 20  // all images in memory at once
	maxImage    = 16 << 20  // the largest image taken: ten times a large frame
	mostRoom    = 1 << 20   // what a download reserves at first, before its size is known
	leastRoom   = 512 << 10 // however many workers there are
	grownRoom   = 4 << 20   // what it reserves at most by experience
)

// firstRoom shares half of the memory among the workers.
func firstRoom(workers int) int64 {
	return int64(max(leastRoom, min(mostRoom, bufferBytes/2/workers)))
}

// framesPerWorker is how many frames may be under way for each request: one downloads, the others wait for the disk.
const framesPerWorker = 4

// hostPatience is how many images in a row may fail because their host does not answer, none coming between, before the
// run ends: it has then nothing to fetch, and thousands of equal lines help nobody.
const hostPatience = 32

// secondLooks is how many images of a run are asked for again because what came was too large, to prove that they are: each look
// is maxImage, and a storage that answers so for all of them would double what they cost. The others have failed, for the next run.
const secondLooks = 16

// fetchImages sees to it that each frame of the draft has its image in the bundle, or says why not.
func (r *run) fetchImages(ctx context.Context, d *draft) error {
	if !d.listed {
		r.countHeld(d)
		return nil
	}
	group, groupCtx := errgroup.WithContext(ctx)
	rows := d.rowsByKey()
	var mu sync.Mutex // of d.problems
	for i := range d.record.Frames {
		frame := &d.record.Frames[i]
		if frame.Permanent && !r.cfg.RetryIncomplete {
			mu.Lock()
			d.problems = append(d.problems, r.imageProblem(store.Incomplete, d.record.Sequence.ID, frame.Key, frame.Problem))
			mu.Unlock()
			r.countImage(*frame, 0)
			continue
		}
		if err := r.frames.Acquire(groupCtx, 1); err != nil {
			break // the group, or the run, has ended: its error says why
		}
		group.Go(func() error {
			defer r.frames.Release(1)
			fetched, size, err := r.frame(groupCtx, d, *frame, rows[frame.Key])
			if err != nil {
				return err
			}
			*frame = fetched
			r.countImage(fetched, size)
			if fetched.Image.IsZero() {
				class := store.Failed
				if fetched.Permanent {
					class = store.Incomplete
				}
				mu.Lock()
				d.problems = append(d.problems, r.imageProblem(class, d.record.Sequence.ID, fetched.Key, fetched.Problem))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (r *run) countHeld(d *draft) {
	for _, frame := range d.record.Frames {
		r.countImage(frame, 0)
	}
}

// countImage counts a frame; downloaded is the size of what was downloaded for it, 0: nothing was.
func (r *run) countImage(frame store.Frame, downloaded int64) {
	r.tally.count(func(result *Result) {
		images := &result.Images
		images.Total++
		switch {
		case downloaded > 0:
			images.Downloaded++
			images.Bytes += downloaded
		case !frame.Image.IsZero():
			images.Reused++
		case frame.Permanent:
			images.Gone++
		default:
			images.Failed++
		}
	})
}

// frame brings one frame its image: the one that the bundle knows under its key, or a download. Two sequences that share
// it download it once.
func (r *run) frame(ctx context.Context, d *draft, frame store.Frame, rows []int64) (store.Frame, int64, error) {
	if frame.Image.IsZero() || r.damaged[d.record.Sequence.ID] { // whoever brings it: that is chance where sequences share it
		r.cfg.Progress("images", 0, 1)
		defer r.progressed(ctx, "images")
	}
	known, err := r.known(ctx, d, frame)
	if err != nil || !known.IsZero() {
		return store.Frame{Key: frame.Key, Image: known}, 0, err
	}
	for {
		fetched, size, ours, err := r.flight(ctx, d, frame, rows)
		switch {
		case err == nil:
			return fetched, size, nil
		case ours || ctx.Err() != nil || !errors.Is(err, context.Canceled):
			return frame, 0, err
		} // otherwise the sequence that downloaded it for both was ended, and ours was not
	}
}

// flight downloads a frame's image, or waits for another sequence that does; ours says that it did not wait. The size is
// that of what was downloaded for this sequence.
func (r *run) flight(ctx context.Context, d *draft, frame store.Frame, rows []int64) (_ store.Frame, size int64, ours bool, _ error) {
	key := strconv.FormatInt(d.record.OrganizationID(), 10) + "/" + frame.Key
	result, err, _ := r.flights.Do(key, func() (any, error) {
		ours = true
		known, err := r.known(ctx, d, frame)
		if err != nil || !known.IsZero() {
			return store.Frame{Key: frame.Key, Image: known}, err // it came while we were on our way
		}
		var fetched store.Frame
		fetched, size, err = r.download(ctx, d, frame.Key, rows)
		return fetched, err
	})
	if err != nil {
		return store.Frame{}, 0, ours, err
	}
	return result.(store.Frame), size, ours, nil
}

// known finds a frame's image in the bundle; the zero Hash: it is not there, or damaged and to be repaired.
func (r *run) known(ctx context.Context, d *draft, frame store.Frame) (store.Hash, error) {
	if r.have == nil {
		return store.Hash{}, nil
	}
	hash := frame.Image
	image, err := r.have.ImageOf(ctx, d.record.OrganizationID(), frame.Key)
	repairing := r.damaged[d.record.Sequence.ID]
	switch {
	case err == nil:
		hash = image.Hash
	case errors.Is(err, store.ErrCorrupt) && repairing:
		return store.Hash{}, nil
	case !errors.Is(err, store.ErrNotFound):
		return store.Hash{}, err
	case !hash.IsZero() && r.dst != nil:
		return hash, r.rekey(ctx, d, frame)
	}
	if hash.IsZero() || !repairing {
		return hash, nil
	}
	if _, err := r.have.ReadImage(ctx, hash); errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
		return store.Hash{}, nil
	} else if err != nil {
		return store.Hash{}, err
	}
	return hash, nil
}

// rekey files a held image under the key of the organization that its camera turned out to belong to.
func (r *run) rekey(ctx context.Context, d *draft, frame store.Frame) error {
	image, err := r.have.StatImage(ctx, frame.Image)
	if err != nil {
		return err
	}
	room := min(image.Size, bufferBytes)
	if err := r.buffers.Acquire(ctx, room); err != nil {
		return err
	}
	defer r.buffers.Release(room)
	data, err := r.have.ReadImage(ctx, frame.Image)
	if err != nil {
		return err
	}
	_, err = r.dst.PutImage(ctx, d.record.OrganizationID(), frame.Key, image.Format, data)
	return err
}

// download gets a frame's image, checks it and puts it into the bundle. A URL that is refused, or leads to something that is
// not the image, is asked for again once: what a gateway puts in its place, if only once, is not taken for what the storage
// holds. The size is that of the image, 0 where there is none.
func (r *run) download(ctx context.Context, d *draft, key string, rows []int64) (store.Frame, int64, error) {
	url := d.listedURL(rows)
	fresh := false
	var before error // of the download before, which was not the image
	for {
		if url == "" {
			var err error
			if url, err = r.freshURL(ctx, rows); err != nil {
				return r.lost(ctx, key, err, errors.Is(err, platform.ErrMissing))
			}
			fresh = true
		}
		image, err := r.take(ctx, d, key, url)
		var wrong *wrongImage
		switch {
		case err == nil:
			r.unanswered.Store(0)
			return store.Frame{Key: key, Image: image.Hash}, image.Size, nil
		case errors.Is(err, platform.ErrURLRefused) && !fresh: // it may have expired
		case before == nil && (errors.As(err, &wrong) || errors.Is(err, httpapi.ErrTooLarge) && r.tooLarge.Add(1) <= secondLooks):
			before = err
		default:
			return r.lost(ctx, key, err, errors.Is(err, platform.ErrImageGone) || sameAgain(before, err))
		}
		url = ""
	}
}

// sameAgain reports whether two downloads came to the same that is not the image, and that the storage may well hold.
func sameAgain(before, err error) bool {
	var first, second *wrongImage
	if errors.As(before, &first) && errors.As(err, &second) {
		return second.lasting && second.hash == first.hash
	}
	return errors.Is(before, httpapi.ErrTooLarge) && errors.Is(err, httpapi.ErrTooLarge)
}

// listedURL is the URL that the listing gave for one of the rows; empty: it gave none.
func (d *draft) listedURL(rows []int64) string {
	for _, id := range rows {
		if url := d.urls[id]; url != "" {
			return url
		}
	}
	return ""
}

// freshURL asks for a new URL by one of the rows; a row that was deleted leaves its siblings.
func (r *run) freshURL(ctx context.Context, rows []int64) (url string, err error) {
	err = errors.New("no detection shows the image any more")
	for _, id := range rows {
		url, err = r.src.ImageURL(ctx, id)
		if !errors.Is(err, platform.ErrMissing) {
			return url, err
		}
	}
	return "", err
}

// lost is a frame without image, and the end of the run where the reason concerns more than the image.
func (r *run) lost(ctx context.Context, key string, err error, permanent bool) (store.Frame, int64, error) {
	var ours *storeError
	switch {
	case errors.As(err, &ours) && !errors.Is(err, store.ErrRefused):
		return store.Frame{}, 0, ours.error
	case endsRun(ctx, err):
		return store.Frame{}, 0, err
	case errors.Is(err, httpapi.ErrHostUnreachable) && r.unanswered.Add(1) >= hostPatience:
		return store.Frame{}, 0, err
	}
	return store.Frame{Key: key, Problem: err.Error(), Permanent: permanent}, 0, nil
}

// storeError is an error of the bundle on the way out of a download.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// take downloads a URL into the bundle, if it is the image that key promises.
func (r *run) take(ctx context.Context, d *draft, key, url string) (store.Image, error) {
	image, err := r.takeWithin(ctx, d, key, url, r.room.Load())
	if !errors.Is(err, httpapi.ErrTooLarge) {
		return image, err
	}
	image, err = r.takeWithin(ctx, d, key, url, maxImage)
	if needed := min(grownRoom, image.Size+image.Size/4); needed > r.room.Load() {
		r.room.Store(needed)
	}
	return image, err
}

// takeWithin holds room bytes of the memory for images while it downloads, and what the image takes until it is stored.
func (r *run) takeWithin(ctx context.Context, d *draft, key, url string, room int64) (store.Image, error) {
	if err := r.buffers.Acquire(ctx, room); err != nil {
		return store.Image{}, err
	}
	data, err := r.src.Image(ctx, url, room)
	size, held := int64(len(data)), min(int64(cap(data)), room)
	r.buffers.Release(room - held)
	defer r.buffers.Release(held)
	defer r.src.Recycle(data) // the store keeps none of it, nor does an error
	if err != nil {
		return store.Image{}, err
	}
	content := store.NewContent(data)
	format, err := checkImage(key, content)
	if err != nil {
		return store.Image{}, err
	}
	if err := r.dst.PutContent(ctx, d.record.OrganizationID(), key, format, content); err != nil {
		return store.Image{}, &storeError{fmt.Errorf("store image %s: %w", key, err)}
	}
	if r.damaged[d.record.Sequence.ID] {
		if _, err := r.have.ReadImage(ctx, content.Hash()); err != nil {
			return store.Image{}, fmt.Errorf("the image was downloaded, the bundle's copy stays damaged: %w", err)
		}
	}
	r.cfg.Progress("bytes", size, 0)
	return store.Image{Hash: content.Hash(), Size: size, Format: format}, nil
}
