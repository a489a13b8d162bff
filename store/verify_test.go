package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestVerifyFindsWhatNoHashShows: entries that are sound each by itself, in an index that is not.
func TestVerifyFindsWhatNoHashShows(t *testing.T) {
	t.Parallel()
	s := newSample(3, 2, 300)
	first := s.sequences[0]
	raw := func(t *txn, bucket string, key, body []byte) error { // past counts and root sum
		hash := valueHash(bucket, key, body)
		return t.tx.Bucket([]byte(bucket)).Put(key, append(hash[:], body...))
	}
	record := func(change func(r *SequenceRecord)) func(*txn) error {
		return func(tx *txn) error {
			c := newCodec()
			r := first
			r.Sequence.Document = must(strip(sequenceKind(), r.Sequence.Document, nil))
			r.Camera = &Camera{ID: r.Camera.ID, Document: must(strip(cameraKind(), r.Camera.Document, nil))}
			r.Camera.OrganizationID = first.Camera.OrganizationID
			r.Organization = nil
			r.Detections = slices.Clone(r.Detections)
			for i := range r.Detections {
				r.Detections[i].Document = must(strip(detectionKind(), r.Detections[i].Document, nil))
			}
			r.Frames = slices.Clone(r.Frames)
			change(&r)
			if err := tx.put(bucketSequences, idKey(1), must(c.compress(must(encodeRecord(&r))))); err != nil {
				return err
			}
			return tx.putJSON(bucketByDay, dayKey(r.Sequence.StartedAt.Time, 1), summarise(&r))
		}
	}
	image := first.Frames[0].Image
	for _, tt := range []struct {
		name   string
		edit   func(tx *txn) error
		object string
		reason string
	}{
		{"an entry is lost", func(tx *txn) error {
			return tx.tx.Bucket([]byte(bucketDays)).Delete(dayRecordKey(DayRecord{Day: "2026-07-01"}))
		}, "index", "bucket days has"},
		{"an entry is too many", func(tx *txn) error { return raw(tx, bucketDays, []byte("2026-09-0100000000"), []byte("{}")) }, "index", "bucket days has"},
		{"an entry is another", func(tx *txn) error {
			return raw(tx, bucketDays, dayRecordKey(DayRecord{Day: "2026-07-01"}), []byte(`{"day":"2026-07-01"}`))
		}, "index", "root sum"},
		{"a bucket is lost", func(tx *txn) error { return tx.tx.DeleteBucket([]byte(bucketDays)) }, "index", "bucket days"},
		{"a sequence is lost", func(tx *txn) error { return tx.remove(bucketSequences, idKey(1)) }, "summary of sequence 1", "the sequence is missing"},
		{"a summary is lost", func(tx *txn) error { return tx.remove(bucketByDay, dayKey(first.Sequence.StartedAt.Time, 1)) }, "sequence 1", "summary"},
		{"a summary is another", func(tx *txn) error {
			return tx.putJSON(bucketByDay, dayKey(first.Sequence.StartedAt.Time, 1), summaryBody{CameraID: 9})
		}, "sequence 1", "summary"},
		{"a summary too many", func(tx *txn) error { return tx.putJSON(bucketByDay, dayKey(time.Unix(0, 0), 1), summaryBody{}) }, "index", "4 summaries describe 3 sequences"},
		{"a sequence under another's id", func(tx *txn) error {
			body, err := tx.get(bucketSequences, idKey(2))
			if err != nil {
				return err
			}
			return tx.put(bucketSequences, idKey(1), slices.Clone(body))
		}, "sequence 1", "that of sequence 2"},
		{"an image is lost", func(tx *txn) error { return tx.remove(bucketImages, image[:]) }, "sequence 1", "not in the bundle"},
		{"a member is lost", func(tx *txn) error { return tx.remove(bucketMembers, memberKey(1, 512)) }, "shard 000001", "a gap from 0"},
		{"an image is elsewhere", func(tx *txn) error {
			return tx.put(bucketImages, image[:], location{shard: 1, offset: 512 + 1024, size: 300, format: JPEG}.encode())
		}, "image " + image.String(), "does not agree"},
		{"an image is in no shard", func(tx *txn) error { return tx.put(bucketMembers, memberKey(7, 512), image[:]) }, "member at 512 of shard 000007", "no such shard"},
		{"a key leads nowhere", func(tx *txn) error { return tx.put(bucketKeys, bucketKey(1, "x"), make([]byte, 32)) }, `key "x" of organization 1`, "is missing"},
		{"a camera under another's id", func(tx *txn) error { return tx.put(bucketCameras, idKey(1), []byte(`{"id":2}`)) }, "camera 1", "that of 2"},
		{"an organization with a secret", func(tx *txn) error { return tx.put(bucketOrganizations, idKey(1), []byte(`{"id":1,"slack_hook":"x"}`)) }, "organization 1", "slack_hook"},
		{"a problem with a secret", func(tx *txn) error {
			return tx.putJSON(bucketProblems, problemKey("day", "x"), Problem{Reason: "http://x/?X-Amz-Signature=1"})
		}, `problem "day x"`, "signed URL"},
		{"a sequence with a secret", record(func(r *SequenceRecord) {
			r.Sequence.Document = []byte(`{"id":1,"camera_id":2,"started_at":"2026-07-01T22:47:00.123456","x":"http://x/?Signature=1"}`)
		}), "sequence 1", "signed URL"},
		{"a detection with a secret", record(func(r *SequenceRecord) {
			r.Detections[0].Document = append([]byte(`{"url":"x",`), r.Detections[0].Document[1:]...)
		}), "sequence 1", `"url"`},
		{"a detection with a URL", record(func(r *SequenceRecord) {
			r.Detections[0].Document = append([]byte(`{"page":"https://u:p@x.test/a",`), r.Detections[0].Document[1:]...)
		}), "sequence 1", `a URL in "page"`},
		{"a sequence with a token by its name", record(func(r *SequenceRecord) {
			r.Sequence.Document = append([]byte(`{"api_token":1,`), r.Sequence.Document[1:]...)
		}), "sequence 1", `"api_token"`},
		{"a camera with a known field in other letters", func(tx *txn) error {
			return tx.put(bucketCameras, idKey(1), []byte(`{"id":1,"Last_Image_URL":"x"}`))
		}, "camera 1", `"Last_Image_URL"`},
		{"detections out of order", record(func(r *SequenceRecord) { slices.Reverse(r.Detections) }), "sequence 1", "detections are out of order"},
		{"frames out of order", record(func(r *SequenceRecord) { slices.Reverse(r.Frames) }), "sequence 1", "frames are out of order"},
		{"a frame twice", record(func(r *SequenceRecord) { r.Frames = append(r.Frames, r.Frames[0]) }), "sequence 1", "frames are out of order"},
		{"a document nested deeply", record(func(r *SequenceRecord) {
			r.Detections[0].Document = append([]byte(`{"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`,`), r.Detections[0].Document[1:]...)
		}), "sequence 1", "nested too deeply"},
		{"a camera nested deeply", func(tx *txn) error {
			return tx.put(bucketCameras, idKey(1), []byte(`{"id":1,"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`}`))
		}, "camera 1", "nested too deeply"},
		{"a shard open that there is not", func(tx *txn) error {
			tx.meta.OpenShard, tx.meta.OpenSize = maxShards, 0
			return nil
		}, "index", "0 sealed shards are listed, and shard 32768 is open"},
		{"a pose with a secret", record(func(r *SequenceRecord) {
			r.Camera.Document = append([]byte(`{"poses":[{"image_url":null}],`), strings.Replace(string(r.Camera.Document[1:]), "poses", "poses2", 1)...)
		}), "sequence 1", `"image_url"`},
		{"a detection without frame", record(func(r *SequenceRecord) { r.Frames = r.Frames[:1] }), "sequence 1", "has no frame"},
		{"a frame with an unknown image", record(func(r *SequenceRecord) { r.Frames[0].Image = Hash{1} }), "sequence 1", "not in the bundle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := s.build(t, WriteOptions{})
			edit(t, path, tt.edit)
			b := openForTest(t, path)
			report := verifyAll(t, b)
			if !slices.ContainsFunc(report.Findings, func(f Finding) bool {
				return f.Object == tt.object && strings.Contains(f.Reason, tt.reason)
			}) {
				t.Errorf("findings: %+v", report.Findings)
			}
		})
	}
}

// edit changes an index behind the back of its Writer; the manifest stays as it was, which is no damage.
func edit(t *testing.T, path string, change func(tx *txn) error) {
	t.Helper()
	alterIndex(t, path, func(tx *bbolt.Tx) error {
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		changed := &txn{tx: tx, meta: meta}
		if err := change(changed); err != nil {
			return err
		}
		return changed.finish(time.Now())
	})
}

// TestVerifyMissesShardsInTheManifest: of the same generation it lists every sealed one.
func TestVerifyMissesShardsInTheManifest(t *testing.T) {
	t.Parallel()
	path := newSample(6, 4, 1000).build(t, WriteOptions{SealSize: 8000})
	m := must(readManifest(path, manifestName))
	m.Shards = m.Shards[:1]
	if err := os.WriteFile(filepath.Join(path, manifestName), must(m.encode()), fileMode); err != nil {
		t.Fatal(err)
	}
	if found := verified(t, path); len(found) != 1 || found[0].Object != "manifest" || !strings.Contains(found[0].Reason, "1 sealed shards") {
		t.Errorf("%+v", found)
	}
}

// TestVerifyEndsWithItsContext: also in the middle of the images of one shard.
func TestVerifyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := openForTest(t, newSample(4, 10, 500).build(t, WriteOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	report, err := b.Verify(ctx, VerifyOptions{ReadData: true, Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) || report.Images != 1 || len(report.Findings) > 0 {
		t.Errorf("%+v, %v; want one image and %v", report, err, context.Canceled)
	}
}

func TestVerifyReportsProgress(t *testing.T) {
	s := newSample(4, 3, 500)
	b := openForTest(t, s.build(t, WriteOptions{}))
	var last int64
	report, err := b.Verify(t.Context(), VerifyOptions{ReadData: true, Progress: func(done, total int64) {
		if done <= last || total != 12*500 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}})
	if err != nil || last != 6000 || report.Images != 12 || report.Bytes != 6000 || report.Sequences != 4 {
		t.Errorf("report %+v, %v, progress %d", report, err, last)
	}
}
