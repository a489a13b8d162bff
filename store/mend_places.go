package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// Where an image lies is said three times: by its entry in images, by that in members, and by its header in the shard. Two of them
// may be lost. What is known by entries that agree stays; between these, shard by shard, are the places of what is damaged. There a
// header that is whole puts both entries back. Where the header is damaged, too, but the entry in members is not, the place is kept
// for that image, to be written when it is put again. Of a place about which all three are lost nothing is known: it stays a gap,
// which Verify reports.

// vacancy is a place in a shard that is kept for an image.
type vacancy struct {
	shard    uint32
	position int64 // of the header
	room     int64 // bytes, up to the next member
}

func (v vacancy) key() []byte { return memberKey(v.shard, v.position+blockSize) }

// restoreMembers lists images again in the order of the shards.
func restoreMembers(t *txn, damaged damagedEntries) error {
	if len(damaged[bucketMembers]) == 0 {
		return nil
	}
	return t.each(bucketImages, func(hash, body []byte) error {
		at, err := decodeLocation(body)
		if err != nil {
			return err
		}
		return t.put(bucketMembers, memberKey(at.shard, at.offset), hash)
	})
}

// restorePlaces looks at every place that entries do not agree about.
func (o *owner) restorePlaces(t *txn, _ damagedEntries) error {
	w := &placeWalk{o: o, t: t, found: map[Hash]member{}, vacant: map[Hash]vacancy{}}
	if err := t.each(bucketMembers, w.member); err != nil {
		return err
	}
	for w.shard <= o.meta.OpenShard {
		w.next()
	}
	for _, key := range w.wrong {
		if err := t.remove(bucketMembers, key); err != nil {
			return err
		}
	}
	for _, h := range w.nowhere {
		if err := t.remove(bucketImages, h[:]); err != nil {
			return err
		}
	}
	for h, m := range w.found {
		if err := t.put(bucketImages, h[:], m.at.encode()); err != nil {
			return err
		}
		if err := t.put(bucketMembers, memberKey(m.at.shard, m.at.offset), h[:]); err != nil {
			return err
		}
	}
	o.vacant = w.vacant
	return nil
}

// placeWalk goes through the shards as members lists them.
type placeWalk struct {
	o *owner
	t *txn

	shard uint32
	end   int64   // of the last member of the shard that is known
	alone []alone // entries of members behind it whose images have none

	found   map[Hash]member  // by their headers
	vacant  map[Hash]vacancy // of images whose headers are damaged
	wrong   [][]byte         // keys of members
	nowhere []Hash           // images that no shard can hold
}

// alone is an entry of members whose image has no entry.
type alone struct {
	hash     Hash
	position int64 // of the header
}

// member looks at an entry of the bucket members.
func (w *placeWalk) member(key, body []byte) error {
	shard, offset, err := splitMemberKey(key)
	if err != nil {
		return err
	}
	h, err := decodeHash(body)
	if err != nil {
		return err
	}
	at, known, err := w.locate(h)
	if err != nil {
		return err
	}
	agrees := known && at.shard == shard && at.offset == offset
	inside := shard > 0 && shard <= w.o.meta.OpenShard && offset >= blockSize && offset%blockSize == 0
	for inside && w.shard < shard {
		w.next()
	}
	switch {
	case !inside || agrees && (member{h, at}).end() > w.o.membersEnd(shard):
		w.wrong = append(w.wrong, bytes.Clone(key))
		if agrees {
			w.nowhere = append(w.nowhere, h)
		}
	case agrees:
		w.upTo(offset - blockSize)
		w.end = max(w.end, (member{h, at}).end())
	case known:
		w.wrong = append(w.wrong, bytes.Clone(key))
	default:
		w.alone = append(w.alone, alone{h, offset - blockSize})
	}
	return nil
}

func (w *placeWalk) locate(h Hash) (at location, known bool, err error) {
	body, err := w.t.get(bucketImages, h[:])
	if err != nil || body == nil {
		return location{}, false, err
	}
	at, err = decodeLocation(body)
	return at, err == nil, err
}

// membersEnd is where the committed members of a shard end.
func (o *owner) membersEnd(shard uint32) int64 {
	if int(shard) <= len(o.shards) {
		return o.shards[shard-1].size - endSize
	}
	return o.meta.OpenSize
}

// next ends the current shard and begins the one after it.
func (w *placeWalk) next() {
	if w.shard > 0 {
		w.upTo(w.o.membersEnd(w.shard))
	}
	w.shard++
	w.end = 0
}

// upTo settles what lies between the last known member and a position.
func (w *placeWalk) upTo(position int64) {
	for at := w.end; at < position; {
		for len(w.alone) > 0 && w.alone[0].position < at {
			w.drop()
		}
		m, ok := w.header(at)
		switch {
		case ok && m.end() <= position:
			if len(w.alone) > 0 && w.alone[0].position == at {
				w.alone = w.alone[1:] // its entry is written again
			}
			w.found[m.hash] = m
			at = m.end()
		case len(w.alone) == 0:
			at = position // a gap
		case w.alone[0].position > at:
			at = w.alone[0].position // a gap up to there
		default:
			kept := w.alone[0]
			w.alone = w.alone[1:]
			at = position
			if len(w.alone) > 0 {
				at = min(at, w.alone[0].position)
			}
			w.vacant[kept.hash] = vacancy{w.shard, kept.position, at - kept.position}
		}
	}
	for len(w.alone) > 0 {
		w.drop()
	}
}

// drop gives up an entry that lies inside of another member.
func (w *placeWalk) drop() {
	w.wrong = append(w.wrong, memberKey(w.shard, w.alone[0].position+blockSize))
	w.alone = w.alone[1:]
}

// header reads the header at a position, if it is whole and of an image that is not known to lie elsewhere.
func (w *placeWalk) header(position int64) (member, bool) {
	m, err := w.o.memberAt(w.shard, position)
	if err != nil {
		return member{}, false // damaged, or it cannot be read
	}
	_, twice := w.found[m.hash]
	return m, !twice && !w.placed(m.hash)
}

// placed reports whether both entries of an image agree about a place in a shard.
func (w *placeWalk) placed(h Hash) bool {
	at, known, err := w.locate(h)
	if err != nil || !known || at.shard > w.o.meta.OpenShard || (member{h, at}).end() > w.o.membersEnd(at.shard) {
		return false
	}
	body, err := w.t.get(bucketMembers, memberKey(at.shard, at.offset))
	return err == nil && bytes.Equal(body, h[:])
}

// memberAt reads a member's header.
func (o *owner) memberAt(shard uint32, position int64) (m member, err error) {
	f, err := openRegular(shardPath(o.w.path, shard))
	if err != nil {
		return member{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readHeader(f, shard, position)
}

// store puts an image that the index does not know into the place that is kept for it, or behind the others.
func (o *owner) store(image *newImage) error {
	v, kept := o.vacant[image.hash]
	if !kept {
		return o.append(image)
	}
	delete(o.vacant, image.hash)
	m := member{image.hash, location{shard: v.shard, offset: v.position + blockSize, size: int64(len(image.data)), format: image.format}}
	if m.end() != v.position+v.room {
		if err := o.update(func(t *txn) error { return t.remove(bucketMembers, v.key()) }); err != nil {
			return fmt.Errorf("mend the index: %w", err)
		}
		return o.append(image)
	}
	if err := o.heal(image, m.at); err != nil {
		return err
	}
	return o.update(func(t *txn) error {
		if err := t.put(bucketImages, m.hash[:], m.at.encode()); err != nil {
			return err
		}
		return t.put(bucketMembers, v.key(), m.hash[:])
	})
}

// heal is the second step of mending: it writes an image over what its shard holds in its place, where that is not the image.
func (o *owner) heal(image *newImage, at location) (err error) {
	if at.shard > o.meta.OpenShard {
		return corruptf("index: image %s lies in shard %06d, which there is not", image.hash, at.shard)
	}
	m := member{image.hash, at}
	f := o.file
	if f == nil || at.shard != o.meta.OpenShard {
		if f, err = o.disk.open(shardPath(o.w.path, at.shard), os.O_RDWR); err != nil {
			return fmt.Errorf("mend shard %06d: %w", at.shard, err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	found, err := readHeader(f, at.shard, at.offset-blockSize)
	if err == nil && found == m {
		err = hashMember(f, m, nil, make([]byte, 64<<10))
	} else if err == nil {
		err = damage("another image")
	}
	if err == nil {
		return nil
	}
	if int64(len(image.data)) != at.size {
		return corruptf("index: image %s has %d bytes instead of %d", image.hash, at.size, len(image.data))
	}
	if err := writeMember(f, m, image.data); err != nil {
		return fmt.Errorf("mend shard %06d: %w", at.shard, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("mend shard %06d: %w", at.shard, err)
	}
	o.doubt(at.shard)
	return nil
}

// writeMember writes header, image and padding to a member's place.
func writeMember(f diskFile, m member, data []byte) error {
	header := memberHeader(m.hash, m.at.format, m.at.size)
	var zero [blockSize]byte
	for _, part := range []struct {
		data []byte
		at   int64
	}{{header[:], m.at.offset - blockSize}, {data, m.at.offset}, {zero[:padded(m.at.size)-m.at.size], m.at.offset + m.at.size}} {
		if len(part.data) == 0 {
			continue
		}
		if _, err := f.WriteAt(part.data, part.at); err != nil {
			return err
		}
	}
	return nil
}
