package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// When pending images are committed: whichever comes first.
const (
	batchImages = 64
	batchBytes  = 16 << 20
	batchAge    = time.Second

	batchRequests = 256 // that share a transaction

	// manifestAge is how long the manifest may lag behind the index while images arrive: it costs three syncs, and only
	// its last state matters.
	manifestAge = 5 * time.Second
)

// owner is the state of the one goroutine that writes.
type owner struct {
	w        *Writer
	disk     disk
	now      func() time.Time
	sealSize int64
	mending  bool             // WriteOptions.Mend
	vacant   map[Hash]vacancy // while mending
	doubtful map[uint32]bool  // sealed shards whose hash may be wrong; see mend_seals.go

	meta   indexMeta // as committed
	shards []sealed

	file     diskFile // of the open shard; nil before its first image
	newFile  bool     // its directory entry is not synced yet
	end      int64    // where the next member begins
	members  []member // pending ones; beside them Bundle.pending, which readers see
	bytes    int64    // of their images
	ageTimer *time.Timer

	manifestWriting bool   // the manifest on disk says that somebody is writing
	manifestState   uint64 // the generation that it describes
	manifestAt      time.Time

	failed error // a write failed: nothing more is written
}

// run serves requests until the Writer is closed.
func (o *owner) run() {
	defer close(o.w.done)
	o.ageTimer = time.NewTimer(time.Hour)
	o.ageTimer.Stop()
	for {
		select {
		case r := <-o.w.requests:
			o.serve(r)
		case <-o.ageTimer.C:
			o.commit(nil)
		case <-o.w.closing:
			o.w.closed = o.shut()
			return
		}
	}
}

// serve takes a request and whatever else waits at this moment, so that all share a sync and a transaction.
//
// Where the disk runs out of room they are refused: nothing is written that could fail halfway, and what is pending can
// still be committed.
func (o *owner) serve(r request) {
	var changes []request
	for taken := 1; ; taken++ {
		if full := enoughRoom(o.disk, o.w.path, spaceKept); full != nil && o.failed == nil {
			r.done <- full
		} else if r.image != nil {
			r.done <- o.take(r.image)
		} else if r.own != nil {
			r.done <- o.act(r.own)
		} else {
			changes = append(changes, r)
		}
		if taken == batchRequests {
			break // before another one is taken off the channel: nobody would answer it
		}
		next, waits := o.waiting()
		if !waits {
			break
		}
		r = next
	}
	if len(changes) > 0 {
		o.commit(changes)
	}
}

// waiting returns a request that somebody waits to hand over at this moment, if there is one.
func (o *owner) waiting() (request, bool) {
	select {
	case r := <-o.w.requests:
		return r, true
	default:
		return request{}, false
	}
}

// act does what needs the owner's own state.
func (o *owner) act(own func(o *owner) error) (err error) {
	defer func() { o.fail(err) }()
	defer guard(&err)()
	if o.failed != nil {
		return o.failed
	}
	return own(o)
}

// take appends an image to the open shard, unless the bundle has it.
func (o *owner) take(image *newImage) (err error) {
	defer func() { o.fail(err) }()
	defer guard(&err)()
	if o.failed != nil {
		return o.failed
	}
	known, err := o.known(image)
	if err != nil || known && !o.mending {
		return err
	}
	if !o.w.pending.any() {
		o.ageTimer.Reset(batchAge)
	}
	if _, pending := o.w.pending.images[image.hash]; !pending {
		if body, err := o.w.get(neverDone, bucketImages, image.hash[:]); err != nil {
			return err
		} else if body == nil {
			if err := o.store(image); err != nil {
				return err
			}
		} else if o.mending {
			at, err := decodeLocation(body)
			if err == nil {
				err = o.heal(image, at)
			}
			if err != nil {
				return err
			}
		}
	}
	o.w.mu.Lock()
	o.w.pending.keys[string(image.key)] = image.hash
	o.w.mu.Unlock()
	if len(o.members) >= batchImages || o.bytes >= batchBytes {
		o.commit(nil)
	}
	return o.failed
}

// known reports whether the image's key leads to it already.
func (o *owner) known(image *newImage) (bool, error) {
	if h, ok := o.w.pending.keys[string(image.key)]; ok {
		return h == image.hash, nil
	}
	body, err := o.w.get(neverDone, bucketKeys, image.key)
	if err != nil || body == nil {
		return false, err
	}
	h, err := decodeHash(body)
	return h == image.hash, err
}

// append writes the image's member to the open shard.
func (o *owner) append(image *newImage) error {
	size := int64(len(image.data))
	if o.end > 0 && o.end+blockSize+padded(size)+endSize > o.sealSize {
		o.commit(nil)
		if o.failed != nil {
			return o.failed
		}
		if err := o.seal(image.ctx); err != nil {
			return err
		}
	}
	if err := o.openShard(); err != nil {
		return err
	}
	m := member{image.hash, location{shard: o.meta.OpenShard, offset: o.end + blockSize, size: size, format: image.format}}
	if err := writeMember(o.file, m, image.data); err != nil {
		return fmt.Errorf("append to shard %06d: %w", o.meta.OpenShard, err)
	}
	o.remember(m)
	return nil
}

// remember makes a member that lies in the open shard pending.
func (o *owner) remember(m member) {
	o.end = m.end()
	o.members = append(o.members, m)
	o.bytes += m.at.size
	o.w.mu.Lock()
	o.w.pending.images[m.hash] = m.at
	o.w.mu.Unlock()
}

// openShard opens the open shard's file, and creates it where there is none.
func (o *owner) openShard() error {
	if o.file != nil {
		return nil
	}
	f, err := o.disk.open(shardPath(o.w.path, o.meta.OpenShard), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("open shard %06d: %w", o.meta.OpenShard, err)
	}
	o.file, o.newFile = f, o.end == 0
	return nil
}

// commit makes pending images and the changes durable: the shard first, then one transaction. A change that is refused
// fails alone; a write that fails ends all writing.
func (o *owner) commit(changes []request) {
	outcomes, err := o.transact(changes)
	o.fail(err)
	for i, r := range changes {
		switch {
		case o.failed != nil:
			r.done <- o.failed
		default:
			r.done <- outcomes[i]
		}
	}
}

func (o *owner) transact(changes []request) (outcomes []error, err error) {
	defer guard(&err)()
	if o.failed != nil {
		return nil, o.failed
	}
	outcomes = make([]error, len(changes))
	if !o.w.pending.any() && len(changes) == 0 {
		return outcomes, nil
	}
	if err := o.syncShard(); err != nil {
		return nil, err
	}
	err = o.update(func(t *txn) error {
		if err := o.putPending(t); err != nil {
			return err
		}
		for i, r := range changes {
			before := t.writes
			if outcomes[i] = r.apply(t); outcomes[i] != nil && t.writes != before {
				return outcomes[i] // half done: only a rollback undoes it
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.ageTimer.Stop()
	o.members, o.bytes = o.members[:0], 0
	o.w.mu.Lock()
	o.w.pending = newPending()
	o.w.mu.Unlock()
	if o.manifestState != o.meta.Generation && o.now().Sub(o.manifestAt) >= manifestAge {
		return outcomes, o.writeManifest(true)
	}
	return outcomes, nil
}

// syncShard makes the appended members durable, and the shard's name where it is new.
func (o *owner) syncShard() error {
	if len(o.members) == 0 {
		return nil
	}
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("sync shard %06d: %w", o.meta.OpenShard, err)
	}
	if o.newFile {
		if err := o.disk.syncDir(filepath.Join(o.w.path, imagesName)); err != nil {
			return fmt.Errorf("sync shard %06d: %w", o.meta.OpenShard, err)
		}
		o.newFile = false
	}
	return nil
}

// putPending enters pending images and keys into the index.
func (o *owner) putPending(t *txn) error {
	for _, m := range o.members {
		if err := t.put(bucketImages, m.hash[:], m.at.encode()); err != nil {
			return err
		}
		if err := t.put(bucketMembers, memberKey(m.at.shard, m.at.offset), m.hash[:]); err != nil {
			return err
		}
	}
	for key, h := range o.w.pending.keys {
		if err := t.put(bucketKeys, []byte(key), h[:]); err != nil {
			return err
		}
	}
	if len(o.members) > 0 {
		t.meta.OpenSize = o.end
	}
	return nil
}

// update runs a write transaction and commits it, unless it changed nothing.
func (o *owner) update(change func(t *txn) error) error {
	tx, err := o.w.index.begin()
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // of no effect after a commit
	t := &txn{tx: tx, meta: o.meta}
	t.meta.Counts = maps.Clone(o.meta.Counts)
	if err := change(t); err != nil {
		return err
	}
	if t.writes == 0 {
		return nil
	}
	if err := o.announce(); err != nil {
		return err
	}
	if err := t.finish(o.now()); err != nil {
		return err
	}
	if err := o.disk.commit(tx.Commit); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	o.meta = t.meta
	o.w.mu.Lock()
	o.w.meta = t.meta
	o.w.mu.Unlock()
	return o.w.index.committed(tx)
}

// announce says in the manifest that a writer is at work, before its first change.
func (o *owner) announce() error {
	if o.manifestWriting {
		return nil
	}
	return o.writeManifest(true)
}

func (o *owner) writeManifest(writing bool) error {
	data, err := manifestOf(o.meta, o.shards, writing).encode()
	if err != nil {
		return err
	}
	if len(data) > maxManifest {
		return fmt.Errorf("write %s: too many shards; begin another bundle", manifestName)
	}
	path := func(name string) string { return filepath.Join(o.w.path, name) }
	if err := replaceFile(o.disk, path(manifestName), path(manifestNewName), data); err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	o.manifestWriting, o.manifestState, o.manifestAt = writing, o.meta.Generation, o.now()
	return nil
}

// markEnd writes the end-of-archive mark, behind which nothing may be: the file may have been another bundle's, longer than ours is.
func (o *owner) markEnd() error {
	var zero [endSize]byte
	if _, err := o.file.WriteAt(zero[:], o.end); err != nil {
		return err
	}
	if err := o.file.Truncate(o.end + endSize); err != nil {
		return err
	}
	return o.file.Sync()
}

// seal ends the open shard, whose members are all committed, and begins the next. Where ctx ends meanwhile it stays the open one.
func (o *owner) seal(ctx context.Context) error {
	n := o.meta.OpenShard
	if err := o.openShard(); err != nil {
		return err
	}
	if err := o.markEnd(); err != nil {
		return fmt.Errorf("seal shard %06d: %w", n, err)
	}
	h := sha256.New()
	if size, err := io.Copy(h, interruptible{ctx, io.NewSectionReader(o.file, 0, o.end+endSize)}); err != nil {
		return fmt.Errorf("seal shard %06d: %w", n, err)
	} else if size != o.end+endSize {
		return fmt.Errorf("seal shard %06d: %w", n, io.ErrUnexpectedEOF)
	}
	s := sealed{size: o.end + endSize, hash: Hash(h.Sum(nil))}
	if err := o.update(func(t *txn) error {
		t.meta.OpenShard, t.meta.OpenSize = n+1, 0
		return t.put(bucketShards, shardKey(n), s.encode())
	}); err != nil {
		return fmt.Errorf("seal shard %06d: %w", n, err)
	}
	o.shards = append(o.shards, s)
	err := o.file.Close()
	o.file, o.end = nil, 0
	if err != nil {
		return fmt.Errorf("seal shard %06d: %w", n, err)
	}
	return o.writeManifest(true)
}

// fail remembers the first failed write. After it nothing is written: what the disk holds then is unknown to us, and
// opening the bundle again finds out. That a caller did not wait is no failure.
func (o *owner) fail(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if err != nil && o.failed == nil {
		o.failed = err
		o.ageTimer.Stop()
	}
}

// shut commits what is pending, completes the manifest and closes the files.
func (o *owner) shut() (err error) {
	o.commit(nil)
	if o.failed == nil && (o.manifestWriting || o.manifestState != o.meta.Generation) {
		o.fail(o.writeManifest(false))
	}
	err = o.failed
	if o.file != nil {
		err = errors.Join(err, o.file.Close())
	}
	defer guard(&err)()
	return errors.Join(err, o.w.index.Close())
}
