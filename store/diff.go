package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
)

// Sign says how an object of one bundle compares with that of another.
type Sign string

// The signs of a Difference.
const (
	Same       Sign = "="
	OnlyInA    Sign = "-"
	OnlyInB    Sign = "+"
	Differs    Sign = "*"
	Unreadable Sign = "!" // damaged in one of the bundles, so nothing is proven about it
)

// Difference is how one object compares: the source, an organization, a camera, a sequence, or the image of a frame.
type Difference struct {
	Sign       Sign   `json:"sign"`
	Kind       string `json:"kind"`                  // "source", "organization", "camera", "sequence", "image"
	ID         string `json:"id,omitempty"`          // of an image its bucket key; empty for the source
	SequenceID int64  `json:"sequence_id,omitempty"` // whose frame an image is; 0: none

	What       []string `json:"what,omitempty"`       // differs: "document", "detections", "images", "content"
	Fields     []string `json:"fields,omitempty"`     // of the document, whose values differ
	Detections *Tally   `json:"detections,omitempty"` // of a sequence that is not the same
	Images     *Tally   `json:"images,omitempty"`     // likewise, of its frames

	A      Hash   `json:"a,omitzero"` // of an image that is not the same
	B      Hash   `json:"b,omitzero"`
	Reason string `json:"reason,omitempty"` // of Unreadable: in which bundle, and what is wrong
}

// Tally counts what is the same in both bundles and what is not.
type Tally struct {
	Same    int `json:"same"`
	OnlyInA int `json:"only_in_a"`
	OnlyInB int `json:"only_in_b"`
	Differ  int `json:"differ"`
}

func (t Tally) equal() bool { return t.OnlyInA == 0 && t.OnlyInB == 0 && t.Differ == 0 }

// DiffOptions choose how much Diff reads.
type DiffOptions struct {
	ReadData bool                    // the bytes of every image, in both bundles
	Progress func(done, total int64) // sequences of both; may be nil
}

// Diff compares what two bundles hold, in constant memory: the source, then organizations, cameras and sequences by id, and after
// each sequence the images of its frames by bucket key. It yields what is the same, too.
//
// Two sound bundles have the same Digest exactly if every Difference is Same: as with it, fetch times, coverage, problems and
// images that no sequence shows are not compared. Of images the hashes are; that their bytes are there is looked at, and with
// ReadData that they are what was stored. Damage of a single object is Unreadable; an error ends the comparison.
func Diff(ctx context.Context, a, b *Bundle, o DiffOptions) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		d := &comparison{ctx: ctx, options: o, sides: [2]*side{newSide(a, "A"), newSide(b, "B")}, yield: yield}
		err := d.run()
		if err != nil && !errors.Is(err, errEnough) {
			yield(Difference{}, fmt.Errorf("compare bundles %s and %s: %w", a.path, b.path, err))
		}
	}
}

// errEnough ends a comparison whose caller wants no more.
var errEnough = errors.New("enough")

// comparison is the state of one Diff.
type comparison struct {
	ctx     context.Context // of one call of Diff
	options DiffOptions
	sides   [2]*side
	yield   func(Difference, error) bool
	buffers [2][]byte
}

func (d *comparison) run() error {
	if err := d.source(); err != nil {
		return err
	}
	if err := d.documents("organization", bucketOrganizations, func(doc []byte) (int64, error) {
		o, err := bounded(ParseOrganization)(doc)
		return o.ID, err
	}); err != nil {
		return err
	}
	if err := d.documents("camera", bucketCameras, func(doc []byte) (int64, error) {
		c, err := bounded(ParseCamera)(doc)
		return c.ID, err
	}); err != nil {
		return err
	}
	return d.sequences()
}

func (d *comparison) tell(found Difference) error {
	if !d.yield(found, nil) {
		return errEnough
	}
	return nil
}

func (d *comparison) bundles() []*Bundle { return []*Bundle{d.sides[0].bundle, d.sides[1].bundle} }

// source compares what the digest holds of the source: its name, where it is known.
func (d *comparison) source() error {
	a, b := d.sides[0].bundle.Source().API, d.sides[1].bundle.Source().API
	found := Difference{Sign: presence(a != "", b != ""), Kind: "source"}
	if found.Sign == Same && a != b {
		found.Sign, found.What = Differs, []string{"document"}
		found.Fields = []string{"source_api"}
	}
	return d.tell(found)
}

// presence is the sign of an object that one side or both have; neither has counts as the same.
func presence(inA, inB bool) Sign {
	switch {
	case inA == inB:
		return Same
	case inA:
		return OnlyInA
	}
	return OnlyInB
}

// documents compares a bucket of documents.
func (d *comparison) documents(kind, bucket string, parse func([]byte) (int64, error)) error {
	for row, err := range together(d.ctx, d.bundles(), bucket) {
		if err != nil {
			return err
		}
		var damage []string
		for i, e := range row {
			if e == nil {
				continue
			}
			err := e.err
			if err == nil {
				var id int64
				id, err = parse(e.body)
				err = checkID(kind, e.key, id, err)
			}
			if err != nil {
				damage = append(damage, d.sides[i].blame(err))
			}
		}
		found := Difference{Sign: presence(row[0] != nil, row[1] != nil), Kind: kind, ID: idOf(row)}
		switch {
		case len(damage) > 0:
			found.Sign, found.Reason = Unreadable, joinReasons(damage)
		case found.Sign == Same && !d.sameDocument(row[0].body, row[1].body):
			found.Sign, found.What = Differs, []string{"document"}
			found.Fields = differingFields(row[0].body, row[1].body)
		}
		if err := d.tell(found); err != nil {
			return err
		}
	}
	return nil
}

// idOf is the id under which a row's objects lie.
func idOf(row []*entry) string {
	for _, e := range row {
		if e != nil {
			return strconv.FormatInt(documentID(e.key), 10)
		}
	}
	return ""
}

// sameDocument compares documents as the digest does.
func (d *comparison) sameDocument(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	d.buffers[0], d.buffers[1] = canonical(d.buffers[0][:0], a), canonical(d.buffers[1][:0], b)
	return bytes.Equal(d.buffers[0], d.buffers[1])
}

// differingFields names the fields whose values differ, in order.
func differingFields(a, b json.RawMessage) []string {
	values := map[string][]byte{}
	for _, f := range fields(a) {
		values[f.name] = canonical(nil, f.value)
	}
	var names []string
	for _, f := range fields(b) {
		value, both := values[f.name]
		delete(values, f.name)
		if !both || !bytes.Equal(value, canonical(nil, f.value)) {
			names = append(names, f.name)
		}
	}
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sequences compares sequences, and after each one the images of its frames.
func (d *comparison) sequences() error {
	var done, total int64
	for _, s := range d.sides {
		total += s.bundle.count(bucketSequences)
	}
	for row, err := range together(d.ctx, d.bundles(), bucketSequences) {
		if err != nil {
			return err
		}
		if err := d.sequence(row); err != nil {
			return err
		}
		for _, e := range row {
			if e != nil {
				done++
			}
		}
		if d.options.Progress != nil {
			d.options.Progress(done, max(done, total))
		}
	}
	return nil
}

// count is the number of entries of a bucket, as the index says.
func (b *Bundle) count(bucket string) int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.meta.Counts[bucket]
}

func (d *comparison) sequence(row []*entry) error {
	found := Difference{Sign: presence(row[0] != nil, row[1] != nil), Kind: "sequence", ID: idOf(row)}
	var records [2]SequenceRecord
	var damage []string
	for i, e := range row {
		if e == nil {
			continue
		}
		err := e.err
		if err == nil {
			records[i], err = d.sides[i].bundle.codec.openRecord(documentID(e.key), e.body)
		}
		if err != nil {
			damage = append(damage, d.sides[i].blame(err))
		}
	}
	if len(damage) > 0 {
		found.Sign, found.Reason = Unreadable, joinReasons(damage)
		return d.tell(found)
	}
	detections, sameDetections, err := d.detections(records[0].Detections, records[1].Detections)
	if err != nil {
		return err
	}
	id := documentID(cmp.Or(row[0], row[1]).key)
	images, pictures, err := d.images(id, records[0].Frames, records[1].Frames)
	if err != nil {
		return err
	}
	if found.Sign == Same {
		if !d.sameDocument(records[0].Sequence.Document, records[1].Sequence.Document) {
			found.What = append(found.What, "document")
			found.Fields = differingFields(records[0].Sequence.Document, records[1].Sequence.Document)
		}
		if !sameDetections {
			found.What = append(found.What, "detections")
		}
		if !images.equal() {
			found.What = append(found.What, "images")
		}
		if len(found.What) > 0 {
			found.Sign = Differs
		}
	}
	if found.Sign != Same {
		found.Detections, found.Images = &detections, &images
	}
	if err := d.tell(found); err != nil {
		return err
	}
	for _, picture := range pictures {
		if err := d.tell(picture); err != nil {
			return err
		}
	}
	return nil
}

// detections reports whether both lists are the same, in the same order, and counts by id what is not.
func (d *comparison) detections(a, b []Detection) (t Tally, same bool, err error) {
	if slices.EqualFunc(a, b, func(a, b Detection) bool {
		return d.ctx.Err() == nil && d.sameDocument(a.Document, b.Document)
	}) {
		return Tally{Same: len(a)}, true, nil
	}
	at := make(map[int64]int, len(a))
	for i, v := range a {
		at[v.ID] = i
	}
	for _, v := range b {
		if err := d.ctx.Err(); err != nil {
			return t, false, err
		}
		switch i, both := at[v.ID]; {
		case !both:
			t.OnlyInB++
			continue
		case d.sameDocument(a[i].Document, v.Document):
			t.Same++
		default:
			t.Differ++
		}
		delete(at, v.ID)
	}
	t.OnlyInA = len(at)
	return t, false, nil
}

// images compares frames that have an image by their bucket keys, and looks whether the images are there.
func (d *comparison) images(id int64, a, b []Frame) (t Tally, found []Difference, err error) {
	a, b = pictured(a), pictured(b)
	for len(a) > 0 || len(b) > 0 {
		picture := Difference{Kind: "image", SequenceID: id}
		var hashes [2]Hash
		var order int
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = cmp.Compare(a[0].Key, b[0].Key)
		}
		if order <= 0 {
			picture.ID, hashes[0], a = a[0].Key, a[0].Image, a[1:]
		}
		if order >= 0 {
			picture.ID, hashes[1], b = b[0].Key, b[0].Image, b[1:]
		}
		switch picture.Sign = presence(order <= 0, order >= 0); {
		case picture.Sign == OnlyInA:
			t.OnlyInA++
		case picture.Sign == OnlyInB:
			t.OnlyInB++
		case hashes[0] != hashes[1]:
			picture.Sign, picture.What = Differs, []string{"content"}
			t.Differ++
		default:
			t.Same++
		}
		if picture.Sign != Same {
			picture.A, picture.B = hashes[0], hashes[1]
		}
		var damage []string
		for i, h := range hashes {
			if h.IsZero() {
				continue
			}
			if err := d.sides[i].look(d.ctx, h, d.options.ReadData); d.ctx.Err() != nil {
				return t, nil, d.ctx.Err()
			} else if err != nil {
				damage = append(damage, d.sides[i].blame(err))
			}
		}
		if len(damage) > 0 {
			picture.Sign, picture.What, picture.Reason = Unreadable, nil, joinReasons(damage)
		}
		found = append(found, picture)
	}
	return t, found, nil
}

// pictured returns the frames that have an image, by key.
func pictured(frames []Frame) []Frame {
	out := slices.DeleteFunc(slices.Clone(frames), func(f Frame) bool { return f.Image.IsZero() })
	slices.SortFunc(out, func(a, b Frame) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), bytes.Compare(a.Image[:], b.Image[:]))
	})
	return out
}

func joinReasons(reasons []string) string {
	if len(reasons) == 2 {
		return reasons[0] + "; " + reasons[1]
	}
	return reasons[0]
}

// side is one of the two bundles.
type side struct {
	bundle *Bundle
	name   string
	shards map[uint32]int64 // sizes of the shard files that were looked at; -1: missing
}

func newSide(b *Bundle, name string) *side {
	return &side{bundle: b, name: name, shards: map[uint32]int64{}}
}

func (s *side) blame(err error) string { return "in " + s.name + ": " + reason(err) }

// look finds out whether an image can be had: its place exists, and with readData its bytes are what was stored.
func (s *side) look(ctx context.Context, h Hash, readData bool) error {
	at, err := s.bundle.locate(ctx, h)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("image %s is not in its index", h)
	}
	if err != nil {
		return err
	}
	if readData {
		_, err := s.bundle.readImage(ctx, h)
		return err
	}
	size, known := s.shards[at.shard]
	if !known {
		size = -1
		if info, err := os.Lstat(shardPath(s.bundle.path, at.shard)); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		} else if err != nil && !isMissing(err) {
			return err
		}
		s.shards[at.shard] = size
	}
	switch {
	case size < 0:
		return fmt.Errorf("shard %06d is missing", at.shard)
	case at.offset+at.size > size:
		return fmt.Errorf("shard %06d is shorter than it was", at.shard)
	}
	return nil
}
