package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"go.etcd.io/bbolt"
)

// shards walks the members of every shard in their order.
func (v *verification) shards(ctx context.Context) error {
	if v.counts[bucketMembers] != v.counts[bucketImages] {
		v.add("index", fmt.Sprintf("%d members hold %d images", v.counts[bucketMembers], v.counts[bucketImages]))
	}
	last := v.index.OpenShard
	if sealed := v.counts[bucketShards]; sealed != int64(last)-1 {
		v.add("index", fmt.Sprintf("%d sealed shards are listed, and shard %d is open", sealed, last))
		last = uint32(min(int64(last), sealed+1)) //nolint:gosec // not more than last: what nothing bears out is not counted up to
	}
	s := &shardWalk{v: v, last: last, buffer: make([]byte, 256<<10)}
	defer s.closeFile()
	for e, err := range v.b.entries(ctx, bucketMembers, nil) {
		if e.key == nil {
			if err := v.unreadable(err); err != nil {
				return err
			}
			break
		}
		if err != nil {
			continue // buckets reported it
		}
		if err := s.member(ctx, e); err != nil {
			return err
		}
	}
	return s.finish(ctx)
}

// shardWalk goes through the shards as the bucket members lists them.
type shardWalk struct {
	v      *verification
	last   uint32 // the open shard, as far as the index can be believed
	buffer []byte

	shard   uint32 // the current one; 0: before the first
	file    *os.File
	size    int64
	end     int64 // of the member before
	known   bool  // end is known: the entry before was not damaged
	whole   hash.Hash
	finding int // of a shard that is missing, -1: none
}

func (s *shardWalk) object() string { return fmt.Sprintf("shard %06d", s.shard) }

// add records a finding about the current shard.
func (s *shardWalk) add(reason string) (number int) {
	if number = s.v.add(s.object(), reason); number >= 0 {
		s.v.report.Findings[number].Shard = s.shard
	}
	return number
}

// member checks one entry of the bucket members and what it points to.
func (s *shardWalk) member(ctx context.Context, e entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := s.v
	shard, offset, err := splitMemberKey(e.key)
	if err != nil {
		v.add("index", reason(err))
		return nil
	}
	h, err := decodeHash(e.body)
	if err != nil {
		v.add(describeKey(bucketMembers, e.key), reason(err))
		return nil
	}
	if shard == 0 || shard > s.last {
		v.image(h, v.add(describeKey(bucketMembers, e.key), "there is no such shard"))
		return nil
	}
	for s.shard < shard {
		if err := s.next(ctx); err != nil {
			return err
		}
	}
	body, err := v.b.get(ctx, bucketImages, h[:])
	if err != nil {
		s.lose()
		v.image(h, v.add("image "+h.String(), "its entry in the index is damaged"))
		return nil //nolint:nilerr // it is a finding
	}
	at, err := decodeLocation(body)
	if err != nil || at.shard != shard || at.offset != offset {
		s.lose()
		v.image(h, v.add("image "+h.String(), fmt.Sprintf("the index does not agree where it is: %s", describeKey(bucketMembers, e.key))))
		return nil //nolint:nilerr // it is a finding
	}
	m := member{h, at}
	if s.known && at.offset-blockSize != s.end {
		s.whole = nil
		s.add(fmt.Sprintf("a gap from %d to %d, where the index lists nothing", s.end, at.offset-blockSize))
	}
	s.end, s.known = m.end(), true
	if s.finding >= 0 {
		v.image(h, s.finding)
		return nil
	}
	return s.read(m)
}

// read checks a member's header, and its data if they are to be read.
func (s *shardWalk) read(m member) error {
	v := s.v
	found, err := readHeader(s.file, s.shard, m.at.offset-blockSize)
	if err == nil && found != m {
		err = damage(fmt.Sprintf("its place in %s holds image %s", s.object(), found.hash))
	}
	if err == nil && s.whole != nil {
		header := memberHeader(m.hash, m.at.format, m.at.size)
		s.whole.Write(header[:])
	}
	if err == nil && v.selected(m.hash) {
		var also io.Writer
		if s.whole != nil {
			also = s.whole
		}
		err = hashMember(s.file, m, also, s.buffer)
		v.report.Images++
		v.report.Bytes += m.at.size
	} else if err == nil && m.end() > s.size {
		err = io.ErrUnexpectedEOF
	}
	if v.selected(m.hash) {
		v.done += m.at.size
		if v.options.Progress != nil {
			v.options.Progress(v.done, v.total)
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = damage(s.object() + " is shorter than it was")
		fallthrough
	case isDamage(err):
		s.whole = nil
		v.image(m.hash, v.add("image "+m.hash.String(), err.Error()))
		return nil
	case err != nil:
		// An unreadable sector is damage too: what cannot be read is not proven.
		s.whole = nil
		v.image(m.hash, v.add("image "+m.hash.String(), "read "+s.object()+": "+err.Error()))
	}
	return nil
}

// next ends the current shard and opens the one after it.
func (s *shardWalk) next(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.endShard(); err != nil {
		return err
	}
	s.shard++
	s.end, s.known, s.finding, s.whole = 0, true, -1, nil
	if s.v.options.ReadData && s.v.options.Parts == 1 && s.shard < s.v.index.OpenShard {
		s.whole = sha256.New()
	}
	f, err := openRegular(shardPath(s.v.b.path, s.shard))
	if err == nil {
		s.file = f
		info, err := f.Stat()
		if err != nil {
			return err
		}
		s.size = info.Size()
		return nil
	}
	open := s.shard == s.v.index.OpenShard
	switch {
	case isMissing(err) && open && s.v.index.OpenSize == 0:
	case isMissing(err):
		s.finding = s.add("it is missing")
	case errors.Is(err, ErrCorrupt):
		s.finding = s.add(reason(err))
	default:
		s.finding = s.add("it cannot be read: " + err.Error())
	}
	return nil
}

func (s *shardWalk) closeFile() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
	}
}

// lose gives up what depends on having seen every member of the shard.
func (s *shardWalk) lose() { s.known, s.whole = false, nil }

// endShard checks how the current shard ends.
func (s *shardWalk) endShard() error {
	if s.file == nil {
		return nil
	}
	defer s.closeFile()
	v := s.v
	if s.shard == v.index.OpenShard {
		want := v.index.OpenSize
		switch {
		case s.size < want:
			s.add(fmt.Sprintf("it has %d bytes instead of %d", s.size, want))
		case s.known && s.end != want:
			s.add(fmt.Sprintf("its images end at %d instead of %d", s.end, want))
		case s.size > want:
			v.note("%s has an uncommitted tail of %d bytes: a run was interrupted, the next one takes it up", s.object(), s.size-want)
		}
		return nil
	}
	var want sealed
	if err := v.b.view(func(tx *bbolt.Tx) error {
		body, err := lookup(tx, bucketShards, shardKey(s.shard))
		if err != nil {
			return err
		}
		want, err = decodeSealed(body)
		return err
	}); err != nil {
		s.add(reason(err))
		return nil
	}
	if s.size != want.size || s.known && s.end+endSize != want.size {
		s.add(fmt.Sprintf("it has %d bytes, its images end at %d, and it was sealed at %d", s.size, s.end, want.size))
		return nil
	}
	var end [endSize]byte
	if err := readFull(s.file, end[:], want.size-endSize); err != nil {
		s.add("its end cannot be read: " + err.Error())
		return nil
	}
	if !isZero(end[:]) {
		s.add("its end-of-archive mark is damaged")
		return nil
	}
	if s.whole != nil {
		s.whole.Write(end[:])
		if Hash(s.whole.Sum(nil)) != want.hash {
			s.add("its SHA-256 is not that of the sealed file")
		}
	}
	return nil
}

// finish goes on to the last shard, which may hold no image.
func (s *shardWalk) finish(ctx context.Context) error {
	for s.shard < s.last {
		if err := s.next(ctx); err != nil {
			return err
		}
	}
	return s.endShard()
}
