package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Query selects sequences. Zero fields do not restrict.
type Query struct {
	From, To       Day // inclusive UTC days by started_at
	CameraID       int64
	OrganizationID int64
	IDs            []int64
}

// Summary is what the index knows of a sequence without decoding it.
type Summary struct {
	ID             int64
	CameraID       int64
	OrganizationID int64 // 0: camera unknown
	StartedAt      time.Time
	Detections     int
	Frames         int
	Images         int // frames that have their image
	Coverage       Coverage
}

// entry is a key of a bucket and its checked body, both copies; err concerns this entry alone.
type entry struct {
	key, body []byte
	err       error
}

// Entries are read in chunks, each in a transaction of its own: a transaction held open while the caller works would keep a
// Writer from growing its file, and for ever if the caller is that writer.
const (
	chunkEntries = 256
	chunkBytes   = 1 << 20
)

// chunk reads entries from a key on; nil begins at the first.
func (b *Bundle) chunk(bucket string, from []byte) (out []entry, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		bkt := tx.Bucket([]byte(bucket))
		if bkt == nil {
			return corruptf("index: bucket %s is missing", bucket)
		}
		size := 0
		c := bkt.Cursor()
		k, v := c.First()
		if from != nil {
			k, v = c.Seek(from)
		}
		for ; k != nil && len(out) < chunkEntries && size < chunkBytes; k, v = c.Next() {
			if len(k) > pageSize || bytes.Compare(k, from) < 0 {
				return corruptf("index: the keys of %s are out of order", bucket)
			}
			e := entry{key: bytes.Clone(k)}
			_, body, err := openValue(bucket, k, v)
			if err != nil {
				e.err = err
			} else {
				e.body = append(make([]byte, 0, len(body)), body...)
			}
			size += len(e.key) + len(e.body)
			out = append(out, e)
			from = e.key
		}
		return nil
	})
	return out, err
}

// entries yields a bucket's entries from a key on, in order. An error beside an entry without key ends the iteration.
func (b *Bundle) entries(ctx context.Context, bucket string, from []byte) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for {
			if err := ctx.Err(); err != nil {
				yield(entry{}, err)
				return
			}
			found, err := b.chunk(bucket, from)
			if err != nil {
				yield(entry{}, err)
				return
			}
			for _, e := range found {
				if !yield(e, e.err) {
					return
				}
			}
			if len(found) == 0 {
				return
			}
			from = append(found[len(found)-1].key, 0)
		}
	}
}

// decoded yields a bucket's entries decoded; context names them in errors.
func decoded[T any](ctx context.Context, b *Bundle, bucket string, decode func(key, body []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for e, err := range b.entries(ctx, bucket, nil) {
			var value T
			if err == nil {
				value, err = decode(e.key, e.body)
			}
			if err != nil {
				err = fmt.Errorf("read %s: %w", bucket, err)
			}
			if !yield(value, err) {
				return
			}
		}
	}
}

// Summaries yields the selected sequences by started_at, then id, in constant memory. An error concerns one sequence or
// ends the iteration; a caller that goes on gets the others.
func (b *Bundle) Summaries(ctx context.Context, q Query) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		var from, before []byte
		if q.From != "" {
			from = dayKey(q.From.Start(), 0)
		}
		if q.To != "" {
			before = dayKey(q.To.End(), 0)
		}
		ids := make(map[int64]bool, len(q.IDs))
		for _, id := range q.IDs {
			ids[id] = true
		}
		for e, err := range b.entries(ctx, bucketByDay, from) {
			if before != nil && e.key != nil && bytes.Compare(e.key, before) >= 0 {
				return
			}
			var s Summary
			if err == nil {
				s, err = decodeSummary(e.key, e.body)
			}
			if err == nil && (q.CameraID != 0 && s.CameraID != q.CameraID ||
				q.OrganizationID != 0 && s.OrganizationID != q.OrganizationID || len(ids) > 0 && !ids[s.ID]) {
				continue
			}
			if err != nil {
				err = fmt.Errorf("read summaries: %w", err)
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// Sequences yields the selected sequences whole, by started_at, then id, in constant memory. An error concerns one
// sequence or ends the iteration; a caller that goes on gets the others.
func (b *Bundle) Sequences(ctx context.Context, q Query) iter.Seq2[SequenceRecord, error] {
	return func(yield func(SequenceRecord, error) bool) {
		for s, err := range b.Summaries(ctx, q) {
			var r SequenceRecord
			if err == nil {
				r, err = b.Sequence(ctx, s.ID)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Cameras yields the newest documents by id.
func (b *Bundle) Cameras(ctx context.Context) iter.Seq2[Camera, error] {
	return decoded(ctx, b, bucketCameras, cameraUnder)
}

func cameraUnder(key, body []byte) (Camera, error) {
	c, err := bounded(ParseCamera)(body)
	return c, checkID("camera", key, c.ID, err)
}

// Organizations yields the newest documents by id.
func (b *Bundle) Organizations(ctx context.Context) iter.Seq2[Organization, error] {
	return decoded(ctx, b, bucketOrganizations, organizationUnder)
}

func organizationUnder(key, body []byte) (Organization, error) {
	o, err := bounded(ParseOrganization)(body)
	return o, checkID("organization", key, o.ID, err)
}

// checkID compares a document with the key that it was found under.
func checkID(kind string, key []byte, id int64, err error) error {
	if err != nil {
		return corruptf("%w", err)
	}
	if documentID(key) != id {
		return corruptf("index: %s %d lies under another id", kind, id)
	}
	return nil
}

// Days yields the listed days in order.
func (b *Bundle) Days(ctx context.Context) iter.Seq2[DayRecord, error] {
	return decoded(ctx, b, bucketDays, func(_, body []byte) (d DayRecord, err error) { return d, decodeJSON(body, &d) })
}

// Problems yields what is recorded as failed or incomplete, by kind and id.
func (b *Bundle) Problems(ctx context.Context) iter.Seq2[Problem, error] {
	return decoded(ctx, b, bucketProblems, func(_, body []byte) (p Problem, err error) { return p, decodeJSON(body, &p) })
}

func decodeJSON(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return corruptf("index: %w", err)
	}
	return nil
}

// Stats counts what the bundle holds.
type Stats struct {
	Sequences     int64
	Detections    int64
	Frames        int64
	FramesMissing int64 // frames without image
	Images        int64 // distinct
	ImageBytes    int64
	IndexBytes    int64
	ShardBytes    int64
	Cameras       int64
	Organizations int64
	Problems      map[Class]int64
	First, Last   Day // of the sequences held; empty where there are none
}

// Stats counts in one pass over the summaries and one over the index of images: linear time, constant memory.
func (b *Bundle) Stats(ctx context.Context) (Stats, error) {
	s := Stats{Problems: map[Class]int64{}}
	for summary, err := range b.Summaries(ctx, Query{}) {
		if err != nil {
			return Stats{}, fmt.Errorf("count sequences: %w", err)
		}
		s.Sequences++
		s.Detections += int64(summary.Detections)
		s.Frames += int64(summary.Frames)
		s.FramesMissing += int64(summary.Frames - summary.Images)
		if day := DayOf(summary.StartedAt); s.First == "" {
			s.First, s.Last = day, day
		} else {
			s.Last = day
		}
	}
	for at, err := range decoded(ctx, b, bucketImages, func(_, body []byte) (location, error) { return decodeLocation(body) }) {
		if err != nil {
			return Stats{}, fmt.Errorf("count images: %w", err)
		}
		s.Images++
		s.ImageBytes += at.size
	}
	for p, err := range b.Problems(ctx) {
		if err != nil {
			return Stats{}, fmt.Errorf("count problems: %w", err)
		}
		s.Problems[p.Class]++
	}
	if err := b.view(func(tx *bbolt.Tx) error {
		m, err := readMeta(tx)
		s.Cameras, s.Organizations = m.Counts[bucketCameras], m.Counts[bucketOrganizations]
		return err
	}); err != nil {
		return Stats{}, err
	}
	info, err := os.Stat(filepath.Join(b.path, indexName))
	if err != nil {
		return Stats{}, fmt.Errorf("measure the index: %w", err)
	}
	s.IndexBytes = info.Size()
	shards, err := os.ReadDir(filepath.Join(b.path, imagesName))
	if err != nil && !isMissing(err) {
		return Stats{}, fmt.Errorf("measure the shards: %w", err)
	}
	for _, shard := range shards {
		info, err := shard.Info()
		if err != nil {
			return Stats{}, fmt.Errorf("measure the shards: %w", err)
		}
		s.ShardBytes += info.Size()
	}
	return s, nil
}
