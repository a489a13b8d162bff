package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
)

// VerifyOptions choose how much Verify reads.
type VerifyOptions struct {
	ReadData      bool                    // every image's bytes; otherwise the structure only
	Subset, Parts int                     // with ReadData: part Subset of Parts, 1-based; 0, 0: all
	Progress      func(done, total int64) // bytes of images; may be nil
}

// Finding is one damage.
type Finding struct {
	Object    string  `json:"object"` // "manifest", "index", "shard 000003", "image <sha256>", "sequence 4242", ...
	Reason    string  `json:"reason"`
	Shard     uint32  `json:"shard,omitempty"`     // the number of the shard that it is about, for Writer.Reseal
	Sequences []int64 `json:"sequences,omitempty"` // the sequences it affects
}

// Report is the outcome of Verify. No findings: everything that was to be read is proven intact.
type Report struct {
	Findings  []Finding
	Sequences int64
	Images    int64 // whose bytes were read
	Bytes     int64
	Notes     []string // what is not damage: an uncommitted tail, an index newer than its manifest
}

// maxFindings bounds a report: what has this many damages is fetched again, not studied.
const maxFindings = 10_000

// Verify proves the bundle's integrity. It returns an error only where it could not look; damage is in the Report.
//
// It looks at what is committed; a Writer should be flushed, and left alone meanwhile. Memory grows with the damage found and by one bit
// per page of the index, not with the data.
func (b *Bundle) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	if o.Subset == 0 && o.Parts == 0 {
		o.Subset, o.Parts = 1, 1
	}
	if o.Subset < 1 || o.Subset > o.Parts {
		return Report{}, fmt.Errorf("verify bundle %s: part %d of %d is none", b.path, o.Subset, o.Parts)
	}
	v := &verification{b: b, options: o, images: map[Hash][]int{}, counts: map[string]int64{}}
	for _, step := range []func(context.Context) error{
		v.pages, v.meta, v.buckets, v.sequences, v.keys, v.shards, v.affected,
	} {
		err := ctx.Err()
		if err == nil {
			err = step(ctx)
		}
		if errors.Is(err, errUnusable) {
			break // what is left cannot be looked at; a finding says why
		}
		if err != nil {
			return v.report, fmt.Errorf("verify bundle %s: %w", b.path, err)
		}
	}
	if v.omitted > 0 {
		v.add("bundle", fmt.Sprintf("%d further findings are left out", v.omitted))
	}
	return v.report, nil
}

// errUnusable ends a verification whose findings already say why.
var errUnusable = errors.New("the index is unusable")

// verification is the state of one Verify.
type verification struct {
	b       *Bundle
	options VerifyOptions
	report  Report
	omitted int

	index  indexMeta
	counts map[string]int64
	sum    rootSum
	images map[Hash][]int // images that cannot be had, and the findings that say so
	total  int64          // bytes of images to read
	done   int64
}

// add records a finding and returns its number, -1 where there are too many.
func (v *verification) add(object, reason string, sequences ...int64) int {
	if len(v.report.Findings) >= maxFindings && object != "bundle" {
		v.omitted++
		return -1
	}
	v.report.Findings = append(v.report.Findings, Finding{Object: object, Reason: reason, Sequences: sequences})
	return len(v.report.Findings) - 1
}

// image records that an image cannot be had, as part of a finding: affected finds the sequences.
func (v *verification) image(h Hash, finding int) {
	if finding >= 0 && !slices.Contains(v.images[h], finding) {
		v.images[h] = append(v.images[h], finding)
	}
}

func (v *verification) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// reason is an error's text without what a finding says anyway.
func reason(err error) string {
	return string(bytes.TrimPrefix([]byte(err.Error()), []byte(ErrCorrupt.Error()+": ")))
}

// pages checks the file of the index, without bbolt: its own check runs in a goroutine, where no guard holds, and finds nothing that
// this and the look-up of every key do not.
func (v *verification) pages(ctx context.Context) (err error) {
	f, err := openRegular(filepath.Join(v.b.path, indexName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	before := len(v.report.Findings)
	if err := walkPages(f, info.Size(), allPages, func(reason string) { v.add("index", reason) }); err != nil {
		return err
	}
	if len(v.report.Findings) > before {
		return errUnusable
	}
	return ctx.Err()
}

// meta compares the manifest with the index.
func (v *verification) meta(context.Context) error {
	if err := v.b.view(func(tx *bbolt.Tx) (err error) {
		v.index, err = readMeta(tx)
		return err
	}); err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		v.add("index", reason(err))
		return errUnusable
	}
	m, err := readManifest(v.b.path, v.b.manifest)
	if err == nil {
		err = m.agrees(v.index)
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotBundle) || errors.Is(err, ErrVersion) || isMissing(err) {
		v.add("manifest", reason(err))
		return nil
	}
	if err != nil {
		return err
	}
	if m.Generation < v.index.Generation {
		v.note("the index is newer than the manifest: a run was interrupted, nothing of it is lost")
	} else if m.Writing {
		v.note("the manifest says that a run is under way: it was interrupted")
	}
	if m.Source != v.index.Source && m.Generation == v.index.Generation || !m.CreatedAt.Equal(v.index.CreatedAt) {
		v.add("manifest", "it does not describe the index")
	}
	return errors.Join(v.metaPages(m), v.manifestShards(m))
}

// metaPages looks at both meta pages of the index; bbolt is content with one.
func (v *verification) metaPages(m manifest) (err error) {
	f, err := openRegular(filepath.Join(v.b.path, indexName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, valid, err := readMetaPages(f)
	switch {
	case err != nil:
		return err
	case valid < 2 && m.Writing:
		v.note("a meta page of the index is torn: a run was interrupted while it committed")
	case valid < 2:
		v.add("index", "one of its two meta pages is damaged")
	}
	return nil
}

// manifestShards compares the sealed shards of the manifest with those of the index.
func (v *verification) manifestShards(m manifest) error {
	if m.Generation != v.index.Generation {
		return nil // it describes what was, until the run that was interrupted is taken up
	}
	if sealed := int64(v.index.OpenShard) - 1; int64(len(m.Shards)) != sealed {
		v.add("manifest", fmt.Sprintf("it lists %d sealed shards of %d", len(m.Shards), sealed))
	}
	return v.b.view(func(tx *bbolt.Tx) error {
		for i, s := range m.Shards {
			body, err := lookup(tx, bucketShards, shardKey(uint32(i+1)))
			if err != nil {
				continue // buckets reports it
			}
			want, err := decodeSealed(body)
			if err != nil || s.Name != shardName(uint32(i+1)) || s.Size != want.size || s.SHA256 != want.hash {
				v.add("manifest", fmt.Sprintf("it does not describe shard %06d", i+1))
			}
		}
		return nil
	})
}

// buckets reads every value: its hash, its place, the counts and the root sum.
func (v *verification) buckets(ctx context.Context) error {
	for _, name := range dataBuckets() {
		var last []byte
		for e, err := range v.b.entries(ctx, name, nil) {
			if e.key == nil {
				if err := v.unreadable(err); err != nil {
					return err
				}
				break
			}
			v.counts[name]++
			if last != nil && bytes.Compare(last, e.key) >= 0 {
				v.add("index", fmt.Sprintf("the keys of %s are out of order", name))
			}
			last = e.key
			if err != nil {
				v.add(describeKey(name, e.key), "its entry in the index is not what was stored", sequencesOf(name, e.key)...)
				continue
			}
			v.sum.add(valueHash(name, e.key, e.body))
			if found, err := v.b.get(ctx, name, e.key); err != nil || !bytes.Equal(found, e.body) {
				v.add(describeKey(name, e.key), "look-up in the index does not find it", sequencesOf(name, e.key)...)
			}
			if name == bucketImages {
				if at, err := decodeLocation(e.body); err != nil {
					v.image(Hash(e.key), v.add(describeKey(name, e.key), reason(err)))
				} else if v.selected(Hash(e.key)) {
					v.total += at.size
				}
			}
		}
		if v.counts[name] != v.index.Counts[name] {
			v.add("index", fmt.Sprintf("bucket %s has %d entries instead of %d", name, v.counts[name], v.index.Counts[name]))
		}
	}
	if v.sum != v.index.RootSum {
		v.add("index", "its root sum does not match its entries")
	}
	return nil
}

// unreadable turns damage that ends an iteration into a finding; any other error is returned.
func (v *verification) unreadable(err error) error {
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	v.add("index", reason(err))
	return nil
}

// sequencesOf names the sequence that an entry belongs to, where its key says so.
func sequencesOf(bucket string, key []byte) []int64 {
	switch {
	case bucket == bucketSequences && len(key) == 8:
		return []int64{documentID(key)}
	case bucket == bucketByDay && len(key) == 16:
		return []int64{documentID(key[8:])}
	}
	return nil
}

// keys checks that every summary and every bucket key leads somewhere. With the counts equal, and every sequence having
// its summary, the summaries are those of the sequences.
func (v *verification) keys(ctx context.Context) error {
	if v.counts[bucketByDay] != v.counts[bucketSequences] {
		v.add("index", fmt.Sprintf("%d summaries describe %d sequences", v.counts[bucketByDay], v.counts[bucketSequences]))
	}
	for e, err := range v.b.entries(ctx, bucketByDay, nil) {
		if e.key == nil {
			return v.unreadable(err)
		}
		if err != nil {
			continue
		}
		s, err := decodeSummary(e.key, e.body)
		if err != nil {
			v.add(describeKey(bucketByDay, e.key), reason(err), sequencesOf(bucketByDay, e.key)...)
			continue
		}
		if body, err := v.b.get(ctx, bucketSequences, idKey(s.ID)); err == nil && body == nil {
			v.add(describeKey(bucketByDay, e.key), "the sequence is missing", s.ID)
		}
	}
	for e, err := range v.b.entries(ctx, bucketKeys, nil) {
		if e.key == nil {
			return v.unreadable(err)
		}
		if err != nil {
			continue
		}
		h, err := decodeHash(e.body)
		if err != nil {
			v.add(describeKey(bucketKeys, e.key), reason(err))
			continue
		}
		if body, err := v.b.get(ctx, bucketImages, h[:]); err == nil && body == nil {
			v.add(describeKey(bucketKeys, e.key), fmt.Sprintf("its image %s is missing", h))
		}
	}
	for _, bucket := range []string{bucketDays, bucketProblems} {
		for e, err := range v.b.entries(ctx, bucket, nil) {
			if e.key == nil {
				return v.unreadable(err)
			}
			if err != nil {
				continue
			}
			if !json.Valid(e.body) {
				v.add(describeKey(bucket, e.key), "it is not JSON")
			} else if isSigned(string(e.body)) {
				v.add(describeKey(bucket, e.key), "it holds a signed URL")
			}
		}
	}
	return nil
}

// selected reports whether an image is in the part that is read.
func (v *verification) selected(h Hash) bool {
	return v.options.ReadData && binary.BigEndian.Uint64(h[:])%uint64(v.options.Parts) == uint64(v.options.Subset-1)
}

// affected names the sequences that refer to images which cannot be had.
func (v *verification) affected(ctx context.Context) error {
	if len(v.images) == 0 {
		return nil
	}
	for r, err := range v.b.Sequences(ctx, Query{}) {
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			continue // reported
		}
		for _, f := range r.Frames {
			for _, n := range v.images[f.Image] {
				finding := &v.report.Findings[n]
				if last := len(finding.Sequences) - 1; last < 0 || finding.Sequences[last] != r.Sequence.ID {
					finding.Sequences = append(finding.Sequences, r.Sequence.ID)
				}
			}
		}
	}
	return nil
}
