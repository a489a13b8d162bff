package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// A sealed shard's size and hash are said twice, in the bucket shards and in the manifest; each puts the other back. Where both are
// lost, the size follows from the members and the file, and the hash is in doubt. In doubt it also is where an image was written
// again: a shard that was sealed while it was damaged has the hash of the damage. Such a shard is read in the end (Writer.Reseal).
// If every byte of it is what the index says, its hash is the right one.

// knownShards returns the sealed shards in order, for a writer that mends.
func (o *owner) knownShards(tx *bbolt.Tx) ([]sealed, error) {
	m, err := readManifest(o.w.path, o.w.manifest)
	if err != nil || m.ID != o.meta.ID {
		m = manifest{} // which says nothing
	}
	var out []sealed
	for n := uint32(1); n < o.meta.OpenShard; n++ {
		s, known := sealOf(tx, n)
		if i := int(n) - 1; !known && i < len(m.Shards) && m.Shards[i].Name == shardName(n) {
			s = sealed{m.Shards[i].Size, m.Shards[i].SHA256}
			known = s.possible() && !s.hash.IsZero()
		}
		if !known {
			size, err := o.foundSize(tx, n)
			if err != nil {
				return nil, err
			}
			s = sealed{size: size}
			o.doubt(n)
		}
		out = append(out, s)
	}
	return out, nil
}

// sealOf reads the index's entry of a sealed shard.
func sealOf(tx *bbolt.Tx, n uint32) (s sealed, known bool) {
	body, err := lookup(tx, bucketShards, shardKey(n))
	if err != nil {
		return sealed{}, false
	}
	s, err = decodeSealed(body)
	return s, err == nil
}

// foundSize is the size of a sealed shard about which nothing is said any more: that of its file, if it holds the members that
// the index knows.
func (o *owner) foundSize(tx *bbolt.Tx, n uint32) (int64, error) {
	size := int64(endSize)
	c := tx.Bucket([]byte(bucketMembers)).Cursor()
	for k, v := c.Seek(memberKey(n, 0)); len(k) >= 4 && binary.BigEndian.Uint32(k) == n; k, v = c.Next() {
		_, body, err := openValue(bucketMembers, k, v)
		if err != nil {
			continue // the walk of places looks for what it described
		}
		if at, err := lookup(tx, bucketImages, body); err == nil {
			if at, err := decodeLocation(at); err == nil && at.shard == n {
				size = max(size, (member{at: at}).end()+endSize)
			}
		}
	}
	f, err := openRegular(shardPath(o.w.path, n))
	if isMissing(err) {
		return size, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // it was only looked at
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size()%blockSize == 0 {
		size = max(size, info.Size())
	}
	return size, nil
}

// restoreSeals puts the entries of sealed shards back that recount has removed, or that were missing. Without its hash one stays
// missing until Reseal: nobody must take the shard for proven.
func (o *owner) restoreSeals(t *txn, _ damagedEntries) error {
	for i, s := range o.shards {
		if _, known := sealOf(t.tx, uint32(i+1)); known || s.hash.IsZero() { //nolint:gosec // shards are counted in 32 bits
			continue
		}
		if err := t.put(bucketShards, shardKey(uint32(i+1)), s.encode()); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	return nil
}

// doubt has the hash of a sealed shard computed again in the end.
func (o *owner) doubt(n uint32) {
	if n > 0 && n < o.meta.OpenShard {
		o.doubtful[n] = true
	}
}

// Reseal is the last step of mending. Of the given sealed shards, and of those into which images were written again, it computes the
// hash once more, and records it if every byte of the shard is what the index says. Others stay as they are, for Verify to tell.
func (w *Writer) Reseal(ctx context.Context, shards []uint32) error {
	if err := w.do(ctx, request{own: func(o *owner) error { return o.reseal(ctx, shards) }}); err != nil {
		return fmt.Errorf("mend bundle %s: %w", w.path, err)
	}
	return nil
}

func (o *owner) reseal(ctx context.Context, shards []uint32) error {
	for _, n := range shards {
		o.doubt(n)
	}
	for _, n := range slices.Sorted(maps.Keys(o.doubtful)) {
		found, err := o.wholeHash(ctx, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		delete(o.doubtful, n)
		if err != nil || found == o.shards[n-1].hash {
			continue
		}
		s := sealed{o.shards[n-1].size, found}
		if err := o.update(func(t *txn) error { return t.put(bucketShards, shardKey(n), s.encode()) }); err != nil {
			return err
		}
		o.shards[n-1] = s
		if err := o.writeManifest(true); err != nil { // which describes the shard as it was
			return err
		}
	}
	return nil
}

// wholeHash is the SHA-256 of a sealed shard whose every byte is what the index says; anything else is damage.
func (o *owner) wholeHash(ctx context.Context, n uint32) (_ Hash, err error) {
	f, err := openRegular(shardPath(o.w.path, n))
	if err != nil {
		return Hash{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, end, buffer := sha256.New(), int64(0), make([]byte, 256<<10)
	for e, err := range o.w.entries(ctx, bucketMembers, memberKey(n, 0)) {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return Hash{}, err
		}
		if shard, offset, err := splitMemberKey(e.key); err != nil {
			return Hash{}, err
		} else if shard != n {
			break
		} else if offset-blockSize != end {
			return Hash{}, damage("a gap")
		}
		image, err := decodeHash(e.body)
		if err != nil {
			return Hash{}, err
		}
		at, err := o.w.locate(ctx, image)
		if err != nil {
			return Hash{}, err
		}
		m, err := readHeader(f, n, end)
		if err != nil {
			return Hash{}, err
		}
		if m != (member{image, at}) {
			return Hash{}, damage("another image")
		}
		header := memberHeader(m.hash, m.at.format, m.at.size)
		h.Write(header[:])
		if err := hashMember(f, m, h, buffer); err != nil {
			return Hash{}, err
		}
		end = m.end()
	}
	var mark [endSize]byte
	if err := readFull(f, mark[:], end); err != nil {
		return Hash{}, err
	}
	if info, err := f.Stat(); err != nil {
		return Hash{}, err
	} else if !isZero(mark[:]) || end+endSize != o.shards[n-1].size || info.Size() != o.shards[n-1].size {
		return Hash{}, damage("it does not end where it was sealed")
	}
	h.Write(mark[:])
	return Hash(h.Sum(nil)), nil
}
