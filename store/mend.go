package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Mending, which WriteOptions.Mend asks for, makes a damaged bundle one that can be written to again, in two steps.
//
// When the bundle is opened, entries of the index whose hash is wrong are removed. What the rest of the bundle knows is put
// back at once: where an image lies (mend_places.go), summaries and keys (the sequences know them). A sequence itself is not
// known elsewhere: it is recorded as failed, so that it is missing for all to see until it has been fetched again. A shard that
// was cut or lost gets its length back.
//
// Later, an image that is put again is compared with what its shard holds. Other bytes there are written over in their old
// place: content and name being the same, a shard that was sealed becomes again what it was. In the end the hashes of sealed
// shards are put right where they are in doubt (mend_seals.go).

// damagedEntries are the keys of a bucket whose values are not what was stored.
type damagedEntries map[string][][]byte

// mend is the first step. It runs before anything is appended or adopted.
func (o *owner) mend(ctx context.Context) error {
	if err := o.stretchShards(); err != nil {
		return err
	}
	return o.update(func(t *txn) error {
		damaged, err := t.recount(ctx)
		if err != nil {
			return err
		}
		for _, restore := range []func(*txn, damagedEntries) error{
			o.restoreSeals, restoreMembers, o.restorePlaces, o.restoreSummaries, o.restoreKeys, o.restoreProblems, o.recordLost,
		} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := restore(t, damaged); err != nil {
				return err
			}
		}
		return nil
	})
}

// stretchShards gives every shard the length that the index says, and a sealed one its end mark: what is missing reads as
// zeros, which are damage to be mended image by image.
func (o *owner) stretchShards() error {
	for i, s := range o.shards {
		if err := o.stretch(uint32(i+1), s.size, endSize); err != nil { //nolint:gosec // shards are counted in 32 bits
			return err
		}
	}
	return o.stretch(o.meta.OpenShard, o.meta.OpenSize, 0)
}

func (o *owner) stretch(n uint32, size, end int64) (err error) {
	path := shardPath(o.w.path, n)
	err = requireRegular(path)
	missing := isMissing(err)
	if missing && size == 0 {
		return nil
	} else if err != nil && !missing {
		return err
	}
	f, err := o.disk.open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("mend shard %06d: %w", n, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("mend shard %06d: %w", n, err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size || end > 0 && info.Size() > size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	mark := make([]byte, end)
	if err := readFull(f, mark, size-end); err == nil && isZero(mark) && info.Size() == size {
		return nil
	}
	if _, err := f.WriteAt(make([]byte, end), size-end); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || !missing {
		return err
	}
	return o.disk.syncDir(filepath.Dir(path))
}

// recount removes damaged entries, and counts and sums up what is left. Its memory grows with what is damaged, and with a bucket
// whose keys are out of order.
func (t *txn) recount(ctx context.Context) (damagedEntries, error) {
	damaged := damagedEntries{}
	counts, sum := map[string]int64{}, rootSum{}
	for _, name := range dataBuckets() {
		b := t.tx.Bucket([]byte(name))
		if b == nil {
			return nil, corruptf("index: bucket %s is missing", name)
		}
		counts[name] = 0
		c := b.Cursor()
		var before []byte
		ordered := true
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			ordered = ordered && (before == nil || bytes.Compare(before, k) < 0)
			before = k
			hash, _, err := openValue(name, k, v)
			if err != nil {
				damaged[name] = append(damaged[name], bytes.Clone(k))
				continue
			}
			counts[name]++
			sum.add(hash)
		}
		if !ordered {
			if err := t.rebuild(name); err != nil {
				return nil, err
			}
			continue
		}
		for _, key := range damaged[name] {
			if err := b.Delete(key); err != nil {
				return nil, err
			}
		}
	}
	if len(damaged) > 0 || sum != t.meta.RootSum {
		t.writes++
	}
	for name, n := range counts {
		if t.meta.Counts[name] != n {
			t.meta.Counts[name] = n
			t.writes++
		}
	}
	t.meta.RootSum = sum
	return damaged, nil
}

// rebuild makes a bucket anew of its intact entries. Where a damaged key is out of order bbolt finds neither that nor some others, and
// what it does not find it does not delete.
func (t *txn) rebuild(name string) error {
	type entry struct{ key, value []byte }
	var intact []entry
	c := t.tx.Bucket([]byte(name)).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if _, _, err := openValue(name, k, v); err == nil {
			intact = append(intact, entry{bytes.Clone(k), bytes.Clone(v)}) // bbolt may map the file elsewhere while it commits them
		}
	}
	if err := t.tx.DeleteBucket([]byte(name)); err != nil {
		return err
	}
	b, err := t.tx.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	b.FillPercent = ascendingFill
	for _, e := range intact {
		if err := b.Put(e.key, e.value); err != nil {
			return err
		}
	}
	t.writes++
	return nil
}

// each calls do for every intact entry of a bucket; do must not change that bucket.
func (t *txn) each(bucket string, do func(key, body []byte) error) error {
	c := t.tx.Bucket([]byte(bucket)).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		_, body, err := openValue(bucket, k, v)
		if err != nil {
			return err
		}
		if err := do(k, body); err != nil {
			return err
		}
	}
	return nil
}

// restoreSummaries describes sequences again, and forgets what describes none: that sequence is lost.
func (o *owner) restoreSummaries(t *txn, damaged damagedEntries) error {
	if len(damaged[bucketByDay]) > 0 { // whose keys may be what is damaged, so they do not say which sequences lack theirs
		if err := t.each(bucketSequences, func(key, body []byte) error {
			r, err := o.w.codec.openRecord(documentID(key), body)
			if err != nil {
				return err
			}
			return t.putJSON(bucketByDay, dayKey(r.Sequence.StartedAt.Time, r.Sequence.ID), summarise(&r))
		}); err != nil {
			return err
		}
	}
	var orphans [][]byte
	if err := t.each(bucketByDay, func(key, _ []byte) error {
		_, id, err := splitDayKey(key)
		if err == nil && t.tx.Bucket([]byte(bucketSequences)).Get(idKey(id)) == nil {
			orphans = append(orphans, bytes.Clone(key))
		}
		return err
	}); err != nil {
		return err
	}
	if len(damaged[bucketByDay]) == 0 {
		damaged[bucketSequences] = nil // summaries name all that are lost; a key may itself be what is damaged, and name none
	}
	for _, key := range orphans {
		if err := t.remove(bucketByDay, key); err != nil {
			return err
		}
		damaged[bucketSequences] = append(damaged[bucketSequences], key[8:]) // for recordLost
	}
	return nil
}

// restoreKeys reads bucket keys from the sequences.
func (o *owner) restoreKeys(t *txn, damaged damagedEntries) error {
	if len(damaged[bucketKeys]) == 0 {
		return nil
	}
	return t.each(bucketSequences, func(key, body []byte) error {
		r, err := o.w.codec.openRecord(documentID(key), body)
		if err != nil {
			return err
		}
		for _, f := range r.Frames {
			k := bucketKey(r.OrganizationID(), f.Key)
			if f.Image.IsZero() || t.tx.Bucket([]byte(bucketKeys)).Get(k) != nil {
				continue
			}
			if err := t.put(bucketKeys, k, f.Image[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// restoreProblems keeps what the keys of damaged problems still say: it is to be tried again.
func (o *owner) restoreProblems(t *txn, damaged damagedEntries) error {
	for _, key := range damaged[bucketProblems] {
		kind, id, _ := strings.Cut(string(key), "\x00")
		if checkProblem(kind, id) != nil {
			continue // it was none
		}
		p := Problem{Class: Failed, Kind: kind, ID: id, Reason: "its record was damaged in the bundle; it is tried again", At: o.now().UTC()}
		if kind == "sequence" || kind == "image" { // an image's id begins with its sequence's
			number, _, _ := strings.Cut(id, "/")
			p.SequenceID, _ = strconv.ParseInt(number, 10, 64) // 0: none is known
		}
		if err := t.putJSON(bucketProblems, key, p); err != nil {
			return err
		}
	}
	return nil
}

// recordLost puts sequences on record that only the platform can give back.
func (o *owner) recordLost(t *txn, damaged damagedEntries) error {
	for _, key := range damaged[bucketSequences] {
		id := documentID(key)
		p := Problem{
			Class: Failed, Kind: "sequence", ID: strconv.FormatInt(id, 10), SequenceID: id,
			Reason: "it was damaged in the bundle and removed from it, to be fetched again", At: o.now().UTC(),
		}
		if err := t.putJSON(bucketProblems, problemKey(p.Kind, p.ID), p); err != nil {
			return err
		}
	}
	return nil
}
