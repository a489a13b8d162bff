package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"time"

	"go.etcd.io/bbolt"
)

// The buckets of the index (docs/bundle-format.md).
const (
	bucketMeta          = "meta"
	bucketSequences     = "sequences"
	bucketByDay         = "by_day"
	bucketImages        = "images"
	bucketMembers       = "members"
	bucketKeys          = "keys"
	bucketCameras       = "cameras"
	bucketOrganizations = "organizations"
	bucketDays          = "days"
	bucketProblems      = "problems"
	bucketShards        = "shards"
)

// dataBuckets are all buckets that counts and root sum cover.
func dataBuckets() []string {
	return []string{
		bucketSequences, bucketByDay, bucketImages, bucketMembers, bucketKeys, bucketCameras, bucketOrganizations,
		bucketDays, bucketProblems, bucketShards,
	}
}

const (
	formatVersion = 1
	minReader     = 1
	pageSize      = 4096     // bytes; fixed, so that a bundle is the same whatever machine made it
	maxValue      = 64 << 20 // bytes; nothing that the index holds comes near it
	hashSize      = sha256.Size
)

// metaKey is the only key of the bucket meta.
var metaKey = []byte("bundle") //nolint:gochecknoglobals // a constant in all but type

// indexMeta is the body of that key.
type indexMeta struct {
	Format     int              `json:"format"`
	MinReader  int              `json:"min_reader"`
	ID         string           `json:"id"`
	Source     Source           `json:"source"`
	CreatedAt  time.Time        `json:"created_at"`
	UpdatedAt  time.Time        `json:"updated_at"`
	Generation uint64           `json:"generation"`
	Counts     map[string]int64 `json:"counts"`
	RootSum    rootSum          `json:"root_sum"`
	OpenShard  uint32           `json:"open_shard"`
	OpenSize   int64            `json:"open_size"` // bytes
}

// rootSum is a sum of hashes modulo 2^256, most significant word first. It does not depend on the order of its terms, so
// it is kept up to date by one addition or subtraction per change.
type rootSum [4]uint64

func (s *rootSum) add(h [hashSize]byte) {
	var carry uint64
	for i := 3; i >= 0; i-- {
		s[i], carry = bits.Add64(s[i], binary.BigEndian.Uint64(h[8*i:]), carry)
	}
}

func (s *rootSum) subtract(h [hashSize]byte) {
	var borrow uint64
	for i := 3; i >= 0; i-- {
		s[i], borrow = bits.Sub64(s[i], binary.BigEndian.Uint64(h[8*i:]), borrow)
	}
}

// MarshalText writes 64 hexadecimal digits.
func (s rootSum) MarshalText() ([]byte, error) {
	var raw [hashSize]byte
	for i, word := range s {
		binary.BigEndian.PutUint64(raw[8*i:], word)
	}
	return hex.AppendEncode(nil, raw[:]), nil
}

// UnmarshalText reads them.
func (s *rootSum) UnmarshalText(text []byte) error {
	h, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	for i := range s {
		s[i] = binary.BigEndian.Uint64(h[8*i:])
	}
	return nil
}

// valueHash is the hash that stands in front of a body.
func valueHash(bucket string, key, body []byte) [hashSize]byte {
	h := sha256.New()
	h.Write([]byte(bucket))
	var length [5]byte // a zero byte, then the key's length
	binary.BigEndian.PutUint32(length[1:], uint32(len(key)))
	h.Write(length[:])
	h.Write(key)
	h.Write(body)
	return [hashSize]byte(h.Sum(nil))
}

// openValue checks a stored value and returns its hash and its body, which still lies in the mapped file.
func openValue(bucket string, key, value []byte) (hash [hashSize]byte, body []byte, err error) {
	if len(value) < hashSize || len(value) > maxValue {
		return hash, nil, corruptf("index: %s has a value of %d bytes", describeKey(bucket, key), len(value))
	}
	hash, body = [hashSize]byte(value), value[hashSize:]
	if valueHash(bucket, key, body) != hash {
		return hash, nil, corruptf("index: %s is not what was stored", describeKey(bucket, key))
	}
	return hash, body, nil
}

// describeKey names an entry for an error or finding.
func describeKey(bucket string, key []byte) string {
	number := func(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
	switch {
	case bucket == bucketSequences && len(key) == 8:
		return fmt.Sprintf("sequence %d", number(key))
	case bucket == bucketCameras && len(key) == 8:
		return fmt.Sprintf("camera %d", number(key))
	case bucket == bucketOrganizations && len(key) == 8:
		return fmt.Sprintf("organization %d", number(key))
	case bucket == bucketByDay && len(key) == 16:
		return fmt.Sprintf("summary of sequence %d", number(key[8:]))
	case bucket == bucketImages && len(key) == hashSize:
		return "image " + Hash(key).String()
	case bucket == bucketMembers && len(key) == 12:
		return fmt.Sprintf("member at %d of shard %06d", number(key[4:]), binary.BigEndian.Uint32(key))
	case bucket == bucketKeys && len(key) > 8 && len(key) <= 8+maxKey:
		return fmt.Sprintf("key %q of organization %d", key[8:], number(key))
	case bucket == bucketDays && len(key) == 18:
		return fmt.Sprintf("day %q", key[:10])
	case bucket == bucketProblems && len(key) <= maxKey:
		return fmt.Sprintf("problem %q", bytes.ReplaceAll(key, []byte{0}, []byte{' '}))
	case bucket == bucketShards && len(key) == 4:
		return fmt.Sprintf("shard %06d", binary.BigEndian.Uint32(key))
	}
	return fmt.Sprintf("entry %x of %s", key[:min(len(key), 64)], bucket)
}

// lookup returns the checked body of a key, nil where there is none. It lies in the mapped file: copy or decode it
// before the transaction ends.
func lookup(tx *bbolt.Tx, bucket string, key []byte) ([]byte, error) {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil, corruptf("index: bucket %s is missing", bucket)
	}
	value := b.Get(key)
	if value == nil {
		return nil, nil
	}
	_, body, err := openValue(bucket, key, value)
	return body, err
}

// readMeta reads and checks the meta record, also its versions.
func readMeta(tx *bbolt.Tx) (indexMeta, error) {
	body, err := lookup(tx, bucketMeta, metaKey)
	if err != nil {
		return indexMeta{}, err
	}
	if body == nil {
		return indexMeta{}, corruptf("index: its meta record is missing")
	}
	return decodeMeta(body)
}

// decodeMeta reads the body of the meta record.
func decodeMeta(body []byte) (indexMeta, error) {
	const most = 64 << 10 // bytes; it has some 700
	if len(body) > most {
		return indexMeta{}, corruptf("index: its meta record has %d bytes", len(body))
	}
	var m indexMeta
	if err := json.Unmarshal(body, &m); err != nil {
		return indexMeta{}, corruptf("index: its meta record: %w", err)
	}
	if err := checkVersion(m.Format, m.MinReader); err != nil {
		return indexMeta{}, err
	}
	if m.Generation == 0 || m.OpenShard == 0 || m.OpenSize < 0 || m.Counts == nil {
		return indexMeta{}, corruptf("index: its meta record is incomplete")
	}
	if m.OpenShard > maxShards {
		return indexMeta{}, corruptf("index: %d shards cannot be", m.OpenShard)
	}
	return m, nil
}

// checkVersion refuses what this version cannot read.
func checkVersion(format, oldestReader int) error {
	if format < 1 || oldestReader < 1 || oldestReader > formatVersion {
		return fmt.Errorf("%w: format %d needs a reader of format %d, this version reads format %d (use a newer pyrobundle)",
			ErrVersion, format, oldestReader, formatVersion)
	}
	return nil
}

// txn is a write transaction that keeps counts and root sum.
type txn struct {
	tx     *bbolt.Tx
	meta   indexMeta // as it will be after the transaction
	writes int       // changes so far
}

// get returns the checked body of a key, nil where there is none.
func (t *txn) get(bucket string, key []byte) ([]byte, error) { return lookup(t.tx, bucket, key) }

// ascendingFill is how full pages may be of a bucket whose keys come mostly in order: they need little room for inserts.
const ascendingFill = 0.9

// put stores a body; an equal one is not written again.
func (t *txn) put(bucket string, key, body []byte) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return corruptf("index: bucket %s is missing", bucket)
	}
	if hashSize+len(body) > maxValue {
		return fmt.Errorf("store %s: %d bytes, at most %d fit", describeKey(bucket, key), len(body), maxValue-hashSize)
	}
	if old := b.Get(key); old != nil {
		hash, oldBody, err := openValue(bucket, key, old)
		if err != nil {
			return err // its share of the root sum is unknown
		}
		if bytes.Equal(oldBody, body) {
			return nil
		}
		t.meta.RootSum.subtract(hash)
	} else {
		t.meta.Counts[bucket]++
	}
	hash := valueHash(bucket, key, body)
	t.meta.RootSum.add(hash)
	t.writes++
	switch bucket {
	case bucketMembers, bucketSequences, bucketByDay:
		b.FillPercent = ascendingFill
	}
	return b.Put(bytes.Clone(key), append(hash[:], body...))
}

// putJSON stores a value as JSON.
func (t *txn) putJSON(bucket string, key []byte, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return t.put(bucket, key, body)
}

// remove forgets a key; there may be none.
func (t *txn) remove(bucket string, key []byte) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return corruptf("index: bucket %s is missing", bucket)
	}
	old := b.Get(key)
	if old == nil {
		return nil
	}
	hash, _, err := openValue(bucket, key, old)
	if err != nil {
		return err
	}
	t.meta.RootSum.subtract(hash)
	t.meta.Counts[bucket]--
	t.writes++
	return b.Delete(key)
}

// finish writes the meta record; the transaction can be committed then.
func (t *txn) finish(now time.Time) error {
	t.meta.Generation++
	t.meta.UpdatedAt = now.UTC()
	return writeMeta(t.tx, t.meta)
}

func writeMeta(tx *bbolt.Tx, m indexMeta) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	hash := valueHash(bucketMeta, metaKey, body)
	return tx.Bucket([]byte(bucketMeta)).Put(metaKey, append(hash[:], body...))
}

// Keys and small values.

func idKey(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// dayKey orders summaries by start, then id. The inverted sign bit puts times before 1970 first.
func dayKey(start time.Time, id int64) []byte {
	key := binary.BigEndian.AppendUint64(nil, uint64(start.UnixMicro())^(1<<63))
	return binary.BigEndian.AppendUint64(key, uint64(id))
}

func splitDayKey(key []byte) (time.Time, int64, error) {
	if len(key) != 16 {
		return time.Time{}, 0, corruptf("index: a summary's key has %d bytes", len(key))
	}
	micros := int64(binary.BigEndian.Uint64(key) ^ (1 << 63))
	return time.UnixMicro(micros).UTC(), int64(binary.BigEndian.Uint64(key[8:])), nil
}

// maxKey bounds a platform's bucket key and a problem's kind and id, in bytes.
const maxKey = 1024

func bucketKey(organizationID int64, key string) []byte {
	return append(idKey(organizationID), key...)
}

func problemKey(kind, id string) []byte { return []byte(kind + "\x00" + id) }

func dayRecordKey(d DayRecord) []byte { return append([]byte(d.Day), idKey(d.OrganizationID)...) }

func shardKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// location is where an image lies; the value of the bucket images.
type location struct {
	shard  uint32
	offset int64 // of its first byte in the shard
	size   int64 // bytes
	format Format
}

func memberKey(shard uint32, offset int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, shard), uint64(offset))
}

func splitMemberKey(key []byte) (shard uint32, offset int64, err error) {
	if len(key) != 12 {
		return 0, 0, corruptf("index: a member's key has %d bytes", len(key))
	}
	return binary.BigEndian.Uint32(key), int64(binary.BigEndian.Uint64(key[4:])), nil
}

func (l location) encode() []byte {
	body := binary.BigEndian.AppendUint32(nil, l.shard)
	body = binary.BigEndian.AppendUint64(body, uint64(l.offset))
	body = binary.BigEndian.AppendUint32(body, uint32(l.size))
	code := byte(1)
	if l.format == PNG {
		code = 2
	}
	return append(body, code)
}

func decodeLocation(body []byte) (location, error) {
	if len(body) != 17 {
		return location{}, corruptf("index: an image's entry has %d bytes", len(body))
	}
	l := location{
		shard:  binary.BigEndian.Uint32(body),
		offset: int64(binary.BigEndian.Uint64(body[4:])),
		size:   int64(binary.BigEndian.Uint32(body[12:])),
	}
	switch body[16] {
	case 1:
		l.format = JPEG
	case 2:
		l.format = PNG
	default:
		return location{}, corruptf("index: image format %d is unknown", body[16])
	}
	if l.shard == 0 || l.offset < blockSize || l.offset%blockSize != 0 || l.size < 1 || l.size > maxImage {
		return location{}, corruptf("index: an image of %d bytes at %d of shard %d cannot be", l.size, l.offset, l.shard)
	}
	return l, nil
}

// sealed describes a sealed shard; the value of the bucket shards.
type sealed struct {
	size int64
	hash Hash
}

func (s sealed) encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(s.size)), s.hash[:]...)
}

// possible reports whether a sealed shard can have that size. More than a tar says of a file would not be packed; mending gives a
// shard that was cut the length that is said here.
func (s sealed) possible() bool {
	return s.size >= endSize && s.size <= maxMember && s.size%blockSize == 0
}

func decodeSealed(body []byte) (sealed, error) {
	if len(body) != 8+hashSize {
		return sealed{}, corruptf("index: a shard's entry has %d bytes", len(body))
	}
	s := sealed{size: int64(binary.BigEndian.Uint64(body)), hash: Hash(body[8:])}
	if !s.possible() {
		return sealed{}, corruptf("index: a sealed shard of %d bytes cannot be", s.size)
	}
	if s.hash.IsZero() { // it would be taken for one that nothing is known of
		return sealed{}, corruptf("index: a sealed shard has no hash")
	}
	return s, nil
}

func decodeHash(body []byte) (Hash, error) {
	if len(body) != hashSize {
		return Hash{}, corruptf("index: a hash of %d bytes", len(body))
	}
	return Hash(body), nil
}
